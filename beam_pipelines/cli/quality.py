"""`python -m beam_pipelines.quality`: hold the rows of a source against rules."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from beam_pipelines.cli import command, of_kind, run
from beam_pipelines.cli.arguments import Parser
from beam_pipelines.cli.given import INPUT, source_of
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import SpecError

if TYPE_CHECKING:
    from beam_pipelines.etl.service import Service

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv`; returns the exit code."""
    parser = Parser(
        prog="python -m beam_pipelines.quality",
        description="Hold every row of a source against rules; those that are rejected are kept with every reason.",
        epilog=run.BEAM_HELP,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--service", metavar="FILE", help="a definition with a section `validation`; without it, the packaged example is run")
    what.add_argument("--rules", metavar="FILE", help="a list of rules, or `rules` and `actions`, YAML or JSON; rows come from --input")
    parser.add_argument(
        "--input",
        metavar=INPUT,
        help="where rows come from, whatever the definition says: a Parquet, CSV or JSON Lines file, or a table",
    )
    parser.add_argument("--example-dir", metavar="DIR", help="folder of the example's files; default: beam_pipelines_example/quality")
    run.add_options(parser)
    parser.set_defaults(handler=_run, parser=parser, beam=[])
    return command.execute(parser, argv)


def _run(arguments: argparse.Namespace, session: Session) -> int:
    service, rows = _asked(arguments, session)
    of_kind.expect(service, "quality", "validation")
    if rows is not None:
        service = replace(service, definition=service.definition.reading(source_of(rows)))
    return run.carry_out(arguments, session, service)


def _asked(arguments: argparse.Namespace, session: Session) -> tuple[Service, str | None]:
    """Return the service that is asked for, and where its rows come from, if the definition does not say."""
    if arguments.service is None and arguments.rules is None:
        from beam_pipelines.cli import example
        from beam_pipelines.examples import quality as packaged

        if arguments.input is not None:
            raise SpecError("--input goes with --service or --rules: the packaged example has its own", code="option-invalid")
        return example.load(arguments, session, "quality"), packaged.INPUT
    if arguments.example_dir:
        raise SpecError("--example-dir is where the packaged example goes: it has no meaning beside another service", code="option-invalid")
    if arguments.service is not None:
        return session.load(arguments.service, arguments.connections, arguments.state), arguments.input
    from beam_pipelines.spec.load import load_rules

    session.definition = Path(arguments.rules)
    return session.opened(load_rules(arguments.rules), arguments.rules, arguments.connections, arguments.state), arguments.input
