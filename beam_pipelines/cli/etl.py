"""`python -m beam_pipelines.etl`: run a service of the user's, or the packaged example."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from beam_pipelines.cli import of_kind, run
from beam_pipelines.cli.session import Session

__all__ = ["main"]

_KIND = "etl"
_DESCRIPTION = "Run an ETL service once: what is new in the source goes through the steps into the target, all of it or nothing."


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv`; returns the exit code."""
    return of_kind.execute(argv, _KIND, _DESCRIPTION, "the service definition, YAML or JSON", _run)


def _run(arguments: argparse.Namespace, session: Session) -> int:
    return run.carry_out(arguments, session, of_kind.load(arguments, session, _KIND))
