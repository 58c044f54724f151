"""The streams that the bare command runs, set up in a folder of the user's, with a broker of their own."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from beam_pipelines import examples
from beam_pipelines.errors import SpecError
from beam_pipelines.examples.placing import copy, sweep

if TYPE_CHECKING:
    from beam_pipelines.examples.replay import Script

__all__ = ["EXAMPLES", "Example", "Placed", "broker", "place"]


@dataclass(frozen=True)
class Example:
    """A stream that is packaged, with what it reads.

    Args:
        name: On the command line.
        definition: Name of the packaged definition, and of the package of its parts.
        place: Folder below `beam_pipelines_example/`, where none is named.
        database: The file of its sink.
        script: Where what it reads is described.
    """

    name: str
    definition: str
    place: str
    database: str
    script: str

    @property
    def reads(self) -> Script:
        """What it reads."""
        return cast("Script", importlib.import_module(self.script).SCRIPT)


EXAMPLES = {
    one.name: one
    for one in (
        Example("real-time-events", "event_stream", "stream", "analytics.duckdb", "beam_pipelines.examples.event_stream.events"),
        Example(
            "log-aggregation",
            "log_aggregation_complete",
            "log-aggregation",
            "logs.duckdb",
            "beam_pipelines.examples.log_aggregation_complete.lines",
        ),
    )
}


@dataclass(frozen=True)
class Placed:
    """Where the parts of an example are.

    Args:
        definition: The service definition.
        functions: The code of its steps; None: it has none.
        database: The sink, a DuckDB file that the first run makes.
    """

    definition: Path
    functions: Path | None
    database: Path


def place(folder: Path, name: str = "real-time-events") -> Placed:
    """Set an example up in `folder`; files that are there are the user's and stay as they are.

    Args:
        folder: Made when missing.
        name: One of `EXAMPLES`.

    Raises:
        SpecError: The folder cannot be written.
    """
    example = EXAMPLES[name]
    definition = examples.path(example.definition)
    beside = definition.with_suffix("")
    sources = {definition.name: definition, "connections.yaml": beside / "connections.yaml"}
    functions = beside / "functions.py"
    if functions.exists():
        sources[functions.name] = functions
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        for target, source in sources.items():
            copy(source, folder / target)
    except OSError as bad:
        raise SpecError(
            f"cannot set the example up in {str(folder)!r} ({bad.strerror or bad}): name another folder with --example-dir",
            code="option-invalid",
        ) from bad
    return Placed(folder / definition.name, folder / functions.name if functions.name in sources else None, folder / example.database)


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """A broker in this process, librdkafka's own for tests; yields its address. What it holds goes with it.

    A topic has four partitions, and is made when it is first written to.
    """
    from confluent_kafka import Producer

    keeper = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
    try:
        deadline = time.monotonic() + 10
        while not (brokers := keeper.list_topics(timeout=5).brokers) and time.monotonic() < deadline:
            pass
        (known,) = brokers.values()
        yield f"{known.host}:{known.port}"
    finally:
        keeper.flush(1)
        del keeper
