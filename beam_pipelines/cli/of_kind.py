"""What the commands of the kinds of services have in common: `python -m beam_pipelines.KIND` with a definition, or with none."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from beam_pipelines.cli import command, run
from beam_pipelines.cli.arguments import Parser
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import SpecError

if TYPE_CHECKING:
    from beam_pipelines.etl.service import Service

__all__ = ["execute", "expect", "load"]


def execute(
    argv: Sequence[str],
    kind: str,
    description: str,
    service: str,
    handler: Callable[[argparse.Namespace, Session], int],
    more: Callable[[Parser], None] = lambda _: None,
) -> int:
    """Run the command line of a kind; returns the exit code.

    Args:
        argv: Without the program.
        kind: `etl` or `batch`.
        description: Of the command.
        service: What `--service` takes, in words.
        handler: Carries it out.
        more: Adds options of this kind alone.
    """
    parser = Parser(prog=f"python -m beam_pipelines.{kind}", description=description, epilog=run.BEAM_HELP)
    parser.add_argument("--service", metavar="FILE", help=f"{service}; without it, the packaged example is run")
    parser.add_argument("--example-dir", metavar="DIR", help=f"folder of the example's files; default: beam_pipelines_example/{kind}")
    more(parser)
    run.add_options(parser)
    parser.set_defaults(handler=handler, parser=parser, beam=[])
    return command.execute(parser, argv)


def load(arguments: argparse.Namespace, session: Session, kind: str) -> Service:
    """Load the service that is asked for: the user's, or the packaged example of the kind.

    Raises:
        SpecError: It cannot be loaded, or options go with the other of the two.
    """
    if arguments.service is None:
        from beam_pipelines.cli import example

        return example.load(arguments, session, kind)
    if arguments.example_dir:
        raise SpecError("--example-dir is where the packaged example goes: it has no meaning beside --service", code="option-invalid")
    return session.load(arguments.service, arguments.connections, arguments.state)


def expect(service: Service, kind: str, section: str) -> None:
    """Refuse a service of another kind.

    Args:
        service: As it was loaded.
        kind: That the command runs.
        section: Of the definition, which says so.

    Raises:
        SpecError: It is of another.
    """
    found = service.definition.kind
    if found != kind:
        raise SpecError(
            f"expected a definition with a section `{section}`, got one of kind {found!r}: beam-pipelines run FILE runs any kind",
            code="option-invalid",
        )
