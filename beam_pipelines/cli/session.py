"""What one command works with: its output, the secrets to hide, the definition it is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from beam_pipelines.cli import log
from beam_pipelines.cli.output import Output
from beam_pipelines.cli.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beam_pipelines.etl.service import Service
    from beam_pipelines.io.connections import Connections
    from beam_pipelines.spec import Loaded

__all__ = ["Session"]


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
        from beam_pipelines.spec import load

        self.definition = Path(path)
        return self.opened(load(path), path, connections, state)

    def opened(self, loaded: Loaded, path: str | Path, connections: str | None = None, state: str | None = None) -> Service:
        """Make a service of a definition that was read, and learn which secrets it may lead to.

        Raises:
            SpecError: Mistakes of the connections file.
        """
        from beam_pipelines.etl.service import Service
        from beam_pipelines.io.connections import Connections

        service = Service.of(loaded, path, connections=connections, state=state)
        log.concern(service.id, "")
        self._learn(Connections(service.connections_file), service.definition.connection_names, state)
        return service

    def find_state(self, text: str, connections: str | None = None) -> str:
        """Return the URL of a state store that is given without a definition, and learn the secrets that it may lead to.

        Args:
            text: A URL, a path, or the name of a connection.
            connections: Connections file; None: `connections.yaml` in the working directory, when it is there.

        Raises:
            SpecError: It is named like a connection that cannot be one, or that needs a secret that is missing.
        """
        from beam_pipelines.io.connections import Connections
        from beam_pipelines.io.state_place import may_be_name, state_url

        here = Path("connections.yaml")
        file = Path(connections) if connections else (here if may_be_name(text) and here.exists() else None)
        known = Connections(file)
        self._learn(known, (), text)
        return state_url(text, known)

    def _learn(self, known: Connections, names: Iterable[str], state: str | None) -> None:
        self.redact.learn_connections(known, dict.fromkeys((*names, *known.names(), *([state] if state else []))))
        if state:
            self.redact.learn_url(state)
