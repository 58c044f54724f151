"""`python -m beam_pipelines.stream`: run a stream until it is stopped."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from beam_pipelines.cli import of_kind, run
from beam_pipelines.cli.arguments import Parser
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import SpecError

__all__ = ["main"]

_KIND = "stream"
_DESCRIPTION = "Run a stream: messages of a topic go through the processors, windows of time are summed up, and results go to the sinks."


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv`; returns the exit code."""
    return of_kind.execute(argv, _KIND, _DESCRIPTION, "a definition with a section `stream`", _run, _add_example)


def _add_example(parser: Parser) -> None:
    from beam_pipelines.examples.stream import EXAMPLES

    first = next(iter(EXAMPLES))
    parser.add_argument("--example", choices=tuple(EXAMPLES), help=f"without --service: which of the packaged examples; default: {first}")


def _run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.service is None:
        from beam_pipelines.cli import stream_example

        return stream_example.run(arguments, session)
    if arguments.example is not None:
        raise SpecError("--example names a packaged example: it has no meaning beside --service", code="option-invalid")
    service = of_kind.load(arguments, session, _KIND)
    of_kind.expect(service, _KIND, "stream")
    return run.carry_out(arguments, session, service)
