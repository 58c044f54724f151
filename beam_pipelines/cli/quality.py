"""`python -m beam_pipelines.quality`: hold the rows of a source against the rules of a service."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from beam_pipelines.cli import command, run
from beam_pipelines.cli.arguments import Parser
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import SpecError

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv`; returns the exit code."""
    parser = Parser(
        prog="python -m beam_pipelines.quality",
        description="Hold every row of a source against rules: those that obey go to the destination, the others are kept with every reason.",
        epilog=run.BEAM_HELP,
    )
    parser.add_argument(
        "--service", metavar="FILE", required=True, help="the service definition, YAML or JSON, with a section `validation`"
    )
    run.add_options(parser)
    parser.set_defaults(handler=_run, parser=parser, beam=[])
    return command.execute(parser, argv)


def _run(arguments: argparse.Namespace, session: Session) -> int:
    service = session.load(arguments.service, arguments.connections, arguments.state)
    if service.definition.kind != "quality":
        raise SpecError(
            f"expected a definition with a section `validation`, got one of kind {service.definition.kind!r}: beam-pipelines run FILE runs"
            " a service of any kind",
            code="option-invalid",
        )
    return run.carry_out(arguments, session, service)
