"""The bare `python -m beam_pipelines.stream`: a packaged stream, with a broker and events of its own."""

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
from beam_pipelines.cli.shown_windows import ShownWindows
from beam_pipelines.errors import SpecError

if TYPE_CHECKING:
    from beam_pipelines.examples.replay import Replay
    from beam_pipelines.examples.stream import Placed

__all__ = ["run"]

_VARIABLE = "BEAM_PIPELINES_CONNECTION_KAFKA"
_MINUTE = 60_000


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Run the example: ten minutes of events in one, then it stops; windows are shown as they close.

    Raises:
        SpecError: Options that name a user's own service are given without one, or the folder cannot be used.
    """
    from beam_pipelines.examples import replay
    from beam_pipelines.examples.stream import EXAMPLES, broker, place

    example = EXAMPLES[arguments.example or next(iter(EXAMPLES))]
    folder = FOLDER / example.place
    for option in ("connections", "state"):
        if getattr(arguments, option):
            raise SpecError(
                f"--{option} goes with --service FILE: the packaged example has its own, in {folder}/ (or --example-dir)",
                code="option-invalid",
            )
    placed = place(Path(arguments.example_dir) if arguments.example_dir else folder, example.name)
    service = session.load(placed.definition)
    if arguments.validate:
        return runs.carry_out(arguments, session, service)
    with broker() as servers, _named(servers):
        sinks = "" if len(service.definition.destinations) == 1 else ", and a topic"
        failure.say(f"no --service is given: this is the packaged example, {placed.definition}")
        failure.say(f"  a broker of this process alone; into {placed.database}, DuckDB{sinks}" + _functions(placed))
        if not arguments.plan:
            pace = f"{replay.MINUTES} minutes of events are replayed {replay.SPEED:g} times as fast"
            failure.say(f"  {pace}; results come out as their windows close:")
        begin = (int(time.time()) // 60 - replay.MINUTES) * _MINUTE
        # What an earlier run knows is of a broker that is gone: each begins its topic anew.
        arguments.full_refresh = arguments.yes = True
        with replay.Replay(example.reads, servers, begin, replay.SPEED, replay.MINUTES) as sending:
            shown = ShownWindows(service.definition, placed.database, begin)
            return runs.carry_out(arguments, session, service, shown, until=_until(arguments, sending))


def _functions(placed: Placed) -> str:
    return f"; functions {placed.functions}" if placed.functions else ""


def _until(arguments: argparse.Namespace, replay: Replay) -> Any:
    """Until all events have been read, unless something else is asked for."""
    from beam_pipelines.engine.live.drains import Until

    return Until(latest=True, when=lambda: replay.done) if arguments.until is None else arguments.until


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
