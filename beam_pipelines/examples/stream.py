"""The Real-Time Event Processor that the bare command runs, set up in a folder of the user's, with a broker of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer

from beam_pipelines import examples
from beam_pipelines.errors import SpecError
from beam_pipelines.examples.placing import copy, sweep

__all__ = ["Placed", "broker", "place"]


@dataclass(frozen=True)
class Placed:
    """Where the parts of the example are.

    Args:
        definition: The service definition.
        functions: The code of its steps.
        database: The sink, a DuckDB file that the first run makes.
    """

    definition: Path
    functions: Path
    database: Path


def place(folder: Path, name: str = "event_stream") -> Placed:
    """Set the example up in `folder`; files that are there are the user's and stay as they are.

    Args:
        folder: Made when missing.
        name: Of the example.

    Raises:
        SpecError: The folder cannot be written.
    """
    beside = examples.path(name).with_suffix("")
    sources = {
        f"{name}.yaml": examples.path(name),
        "functions.py": beside / "functions.py",
        "connections.yaml": beside / "connections.yaml",
    }
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
    return Placed(folder / f"{name}.yaml", folder / "functions.py", folder / "analytics.duckdb")


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """A broker in this process, librdkafka's own for tests; yields its address. What it holds goes with it.

    A topic has four partitions, and is made when it is first written to.
    """
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
