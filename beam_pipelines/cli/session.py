"""What one command works with: its output, the secrets to hide, the definition it is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from beam_pipelines.cli import log
from beam_pipelines.cli.output import Output
from beam_pipelines.cli.redaction import Redactor

if TYPE_CHECKING:
    from beam_pipelines.etl.service import Service

__all__ = ["Session", "state_url"]


@dataclass
class Session:
    """One command.

    Args:
        out: Where its answer goes.
        redact: Knows the secrets.
        definition: The file that it is about, once it is known; errors are shown at their places in it.
    """

    out: Output
    redact: Redactor = field(default_factory=Redactor)
    definition: Path | None = None

    def load(self, path: str | Path, connections: str | None = None, state: str | None = None) -> Service:
        """Load a definition, and learn which secrets it may lead to.

        Raises:
            SpecError: Its mistakes, or those of the connections file.
        """
        from beam_pipelines.etl.service import Service
        from beam_pipelines.io.connections import Connections

        self.definition = Path(path)
        service = Service.load(path, connections=connections, state=state_url(state) if state else None)
        log.concern(service.id, "")
        known = Connections(service.connections_file)
        self.redact.learn_connections(known, dict.fromkeys((*service.definition.connection_names, *known.names())))
        self.redact.learn_url(service.state_url)
        return service


def state_url(text: str) -> str:
    """Return a state store's URL; a path alone is one of SQLite."""
    return text if "://" in text else f"sqlite:///{Path(text).absolute()}"
