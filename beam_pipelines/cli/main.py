"""The command `beam-pipelines`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_pipelines import __version__
from beam_pipelines.cli import (
    command,
    connections,
    dead_letters,
    plan,
    preview,
    run,
    runs,
    schema,
    state,
    suggest_rules,
    test,
    validate,
)
from beam_pipelines.cli.arguments import Parser
from beam_pipelines.engine.start import choose_allocator, leave, spare_the_collector

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line.

    Args:
        argv: Its words; None: this process's own, which then ends with the command, without taking the interpreter apart.

    Returns:
        The exit code.
    """
    if argv is None:
        spare_the_collector()
        choose_allocator()
        leave(command.execute(_parser(), sys.argv[1:]))
    return command.execute(_parser(), argv)


def _parser() -> Parser:
    parser = Parser(prog="beam-pipelines", description="Run data-pipeline services, and look at what they did.")
    parser.add_argument("--version", action="version", version=f"beam-pipelines {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (run, validate, test, plan, preview, schema, suggest_rules, runs, dead_letters, state, connections):
        module.add(commands)
    return parser
