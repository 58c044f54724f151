"""`python -m beam_pipelines.batch`: process the new files of an object store."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from beam_pipelines.cli import command, run
from beam_pipelines.cli.arguments import Parser
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import SpecError

__all__ = ["main"]

_KIND = "batch"


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv`; returns the exit code."""
    parser = Parser(
        prog=f"python -m beam_pipelines.{_KIND}",
        description="Process the files that no earlier run is done with: each whole or not at all, once, into a file of its own.",
        epilog=run.BEAM_HELP,
    )
    parser.add_argument("--service", metavar="FILE", help="a definition with a section `batch`; without it, the packaged example is run")
    parser.add_argument("--example-dir", metavar="DIR", help=f"folder of the example's files; default: beam_pipelines_example/{_KIND}")
    run.add_options(parser)
    parser.set_defaults(handler=_run, parser=parser, beam=[])
    return command.execute(parser, argv)


def _run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.service is None:
        from beam_pipelines.cli import example

        return run.carry_out(arguments, session, example.load(arguments, session, _KIND))
    if arguments.example_dir:
        raise SpecError("--example-dir is where the packaged example goes: it has no meaning beside --service", code="option-invalid")
    service = session.load(arguments.service, arguments.connections, arguments.state)
    kind = service.definition.kind
    if kind != _KIND:
        raise SpecError(
            f"expected a definition with a section `batch`, got one of kind {kind!r}: beam-pipelines run FILE runs any kind",
            code="option-invalid",
        )
    return run.carry_out(arguments, session, service)
