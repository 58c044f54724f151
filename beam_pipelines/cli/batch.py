"""`python -m beam_pipelines.batch`: process the new files of an object store."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from beam_pipelines.cli import of_kind, run
from beam_pipelines.cli.session import Session

__all__ = ["main"]

_KIND = "batch"
_DESCRIPTION = "Process the files that no earlier run is done with: each whole or not at all, once, into a file of its own."


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv`; returns the exit code."""
    return of_kind.execute(argv, _KIND, _DESCRIPTION, "a definition with a section `batch`", _run)


def _run(arguments: argparse.Namespace, session: Session) -> int:
    service = of_kind.load(arguments, session, _KIND)
    of_kind.expect(service, _KIND, "batch")
    return run.carry_out(arguments, session, service)
