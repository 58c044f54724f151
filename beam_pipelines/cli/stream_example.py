"""The bare `python -m beam_pipelines.stream`: the packaged Real-Time Event Processor, with a broker and events of its own."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import failure
from beam_pipelines.cli import run as runs
from beam_pipelines.cli.example import FOLDER
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import SpecError

if TYPE_CHECKING:
    from beam_pipelines.io.connector import LedgerRow

__all__ = ["run"]

_KIND = "stream"
_VARIABLE = "BEAM_PIPELINES_CONNECTION_KAFKA"
_MINUTE = 60_000


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Run the example: ten minutes of events in one, then it stops; windows are shown as they close.

    Raises:
        SpecError: Options that name a user's own service are given without one, or the folder cannot be used.
    """
    from beam_pipelines.examples.event_stream.events import MINUTES, Replay
    from beam_pipelines.examples.stream import broker, place

    for option in ("connections", "state"):
        if getattr(arguments, option):
            raise SpecError(
                f"--{option} goes with --service FILE: the packaged example has its own, in {FOLDER / _KIND}/ (or --example-dir)",
                code="option-invalid",
            )
    placed = place(Path(arguments.example_dir) if arguments.example_dir else FOLDER / _KIND)
    service = session.load(placed.definition)
    if arguments.validate:
        return runs.carry_out(arguments, session, service)
    with broker() as servers, _named(servers):
        failure.say(f"no --service is given: this is the packaged example, {placed.definition}")
        failure.say(f"  a broker of this process alone; sinks {placed.database}, DuckDB, and a topic; functions {placed.functions}")
        failure.say(f"  {MINUTES} minutes of events are replayed in one; results come out as their windows close:")
        begin = (int(time.time()) // 60 - MINUTES) * _MINUTE
        # What an earlier run knows is of a broker that is gone: each begins its topic anew.
        arguments.full_refresh = True
        with Replay(servers, begin) as replay:
            return runs.carry_out(arguments, session, service, _Shown(placed.database, begin), until=_until(arguments, replay))


def _until(arguments: argparse.Namespace, replay: Any) -> Any:
    """Until all events have been read, unless something else is asked for."""
    from beam_pipelines.engine.drains import Until

    return Until(latest=True, when=lambda: bool(replay.done)) if arguments.until is None else arguments.until


@contextlib.contextmanager
def _named(servers: str) -> Iterator[None]:
    """Lead the connection `kafka` to a broker, for as long as the block runs."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = json.dumps({"bootstrap.servers": servers})
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before


class _Shown:
    """Shows results as they come out.

    Args:
        database: Where they are.
        begin: What windows of this run begin at, or after, ms since the epoch.
    """

    def __init__(self, database: Path, begin: int) -> None:
        self._database, self._seen = database, begin - 1

    def __call__(self, row: LedgerRow) -> None:
        import duckdb

        if row.counts is None or not any(step.windows for step in row.counts.tally.steps):
            return
        with duckdb.connect(str(self._database), read_only=True) as connection:
            found = connection.execute(
                "SELECT epoch_ms(windowStart), eventCount, unique_users, total_value FROM event_aggregates WHERE epoch_ms(windowStart) > ?"
                " ORDER BY 1",
                [self._seen],
            ).fetchall()
        for start, count, users, total in found:
            self._seen = start
            clock = time.strftime("%H:%M", time.gmtime(start / 1000))
            failure.say(f"  {clock} UTC  {count:>7,} events  {users:>4} users  {total:>12,.2f} in value")
