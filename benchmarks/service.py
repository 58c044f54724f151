"""Our services as the benchmarks run them: a definition, connections and a state store in a folder, and the command a user would type."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.process import Command

__all__ = ["CLEAN", "FILES", "OurService", "OurStream"]

# The 3-field map and the filter of the merge cases.
CLEAN: list[dict[str, Any]] = [
    {"id": "adults", "type": "filter", "condition": "age >= 18"},
    {
        "id": "clean",
        "type": "map",
        "unmapped": "keep",
        "mappings": {
            "name": {"source": "name", "converter": "trim"},
            "email": {"source": "email", "converter": "lower"},
            "country": {"source": "country", "converter": "upper"},
        },
    },
]
# The filter and the 4-field map of the Parquet cases.
FILES: list[dict[str, Any]] = [
    {"id": "adults", "type": "filter", "condition": "age >= 18 AND amount > 10"},
    {
        "id": "fields",
        "type": "map",
        "mappings": {
            "country": {"source": "country"},
            "amount": {"expression": "round(amount * 1.1, 2)"},
            "domain": {"expression": "split_part(email, '@', 2)"},
            "month": {"expression": "substr(updated_at, 1, 7)"},
        },
    },
]


class OurService:
    """One service in a folder.

    Args:
        folder: For definition, connections and state; made.
        source: The definition's source.
        steps: Its transformations.
        destination: Its destination.
        connections: URLs by name, or what else a connections file holds.
        processing: How a batch is worked through; None: it is an ETL service.
    """

    def __init__(
        self,
        folder: Path,
        source: Mapping[str, Any],
        steps: list[dict[str, Any]],
        destination: Mapping[str, Any],
        connections: Mapping[str, Any],
        processing: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._kind = "etl" if processing is None else "batch"
        section: dict[str, Any] = {"source": source, "destination": destination}
        section |= {"transformations": steps} if processing is None else {"processing": {**processing, "transformations": steps}}
        # JSON is YAML.
        definition = {"name": "bench", "type": "automation", "pipeline" if processing is None else "batch": section}
        self._write("service.yaml", definition)
        self._write("connections.yaml", dict(connections))

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        (self.folder / name).write_text(json.dumps(content, indent=2))

    @property
    def _state(self) -> Path:
        return self.folder / "state"

    def forget(self) -> None:
        """Begin as if the service had never run."""
        shutil.rmtree(self._state, ignore_errors=True)
        self._state.mkdir()

    def remember(self) -> None:
        """Keep the state store as it is now, for `recall`."""
        kept = self.folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self._state, kept)

    def recall(self) -> None:
        """Put the state store back to what was kept."""
        shutil.rmtree(self._state, ignore_errors=True)
        shutil.copytree(self.folder / "kept", self._state)

    def command(self) -> Command:
        """The whole process, as a user starts it."""
        argv = [sys.executable, "-m", f"beam_pipelines.{self._kind}", "--service", "service.yaml", "--connections", "connections.yaml"]
        return Command(
            [*argv, "--state", f"sqlite:///{self._state / 'state.db'}", "--runner=DirectRunner", "--output", "json"], self.folder
        )


class OurStream(OurService):
    """A stream service in one folder.

    Args:
        folder: As of `OurService`.
        source: The definition's source.
        processors: The definition's processors.
        sinks: The definition's sinks.
        connections: As of `OurService`.
    """

    def __init__(
        self,
        folder: Path,
        source: Mapping[str, Any],
        processors: list[dict[str, Any]],
        sinks: list[dict[str, Any]],
        connections: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._kind = "stream"
        section = {"source": source, "processors": processors, "sinks": sinks}
        self._write("service.yaml", {"name": "bench", "type": "automation", "stream": section})
        self._write("connections.yaml", dict(connections))

    def command(self, until: str = "latest") -> Command:
        """The whole process, which stops once it has read what there is (`latest`), or after so long."""
        command = super().command()
        return Command([*command.argv, "--until", until], command.folder)
