"""`beam-pipelines schema`: the JSON Schema of a definition, for editors."""

from __future__ import annotations

import argparse
from typing import Any

from beam_pipelines.cli.arguments import Parser, add_log
from beam_pipelines.cli.session import Session

__all__ = ["add"]

_HELP = """\
Save it, and name it in the first line of a definition: # yaml-language-server: $schema=definition.schema.json"""


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("schema", help="print the JSON Schema of a definition, for editors", epilog=_HELP)
    add_log(parser)
    parser.set_defaults(handler=_schema, parser=parser)


def _schema(arguments: argparse.Namespace, session: Session) -> int:  # noqa: ARG001 - the signature of handlers
    from beam_pipelines.spec.schema import schema_text

    session.out.raw(schema_text())
    return 0
