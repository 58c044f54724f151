"""`python -m beam_pipelines.stream`: run a stream until it is stopped."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from beam_pipelines.cli import of_kind, run
from beam_pipelines.cli.session import Session

__all__ = ["main"]

_KIND = "stream"
_DESCRIPTION = "Run a stream: messages of a topic go through the processors, windows of time are summed up, and results go to the sinks."


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv`; returns the exit code."""
    return of_kind.execute(argv, _KIND, _DESCRIPTION, "a definition with a section `stream`", _run)


def _run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.service is None:
        from beam_pipelines.cli import stream_example

        return stream_example.run(arguments, session)
    service = of_kind.load(arguments, session, _KIND)
    of_kind.expect(service, _KIND, "stream")
    return run.carry_out(arguments, session, service)
