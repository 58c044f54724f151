"""The bare command's example: the packaged service, its data, target and state, in a folder of the user's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from beam_pipelines.cli import failure, quantity
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import SpecError

if TYPE_CHECKING:
    from beam_pipelines.etl.service import Service

__all__ = ["FOLDER", "load"]

FOLDER = Path("beam_pipelines_example")


def load(arguments: argparse.Namespace, session: Session, kind: str) -> Service:
    """Set the example up and say so, or find it as an earlier run left it; in those of ETL and batch a day passes.

    Args:
        arguments: Of the command, with `example_dir`.
        session: Of the command.
        kind: `etl`, `batch` or `quality`.

    Raises:
        SpecError: Options that name a user's own service are given without one, or the folder cannot be used.
    """
    for option in ("connections", "state"):
        if getattr(arguments, option):
            raise SpecError(
                f"--{option} goes with --service FILE: the packaged example has its own, in {FOLDER / kind}/ (or --example-dir)",
                code="option-invalid",
            )
    folder = Path(arguments.example_dir) if arguments.example_dir else FOLDER / kind
    if kind == "quality":
        return _quality(folder, session)
    return (_batch if kind == "batch" else _etl)(folder, arguments, session)


def _quality(folder: Path, session: Session) -> Service:
    from beam_pipelines.examples.quality import INPUT, place

    if not (folder / "accounts.db").exists():
        failure.say(f"setting up the example in {folder}/ ...")
    placed = place(folder)
    failure.say(f"no --service is given: this is the packaged example, {placed.definition}")
    failure.say(f"  as if --input {INPUT} were given: {placed.database}, an SQLite database of accounts")
    return session.load(placed.definition)


def _etl(folder: Path, arguments: argparse.Namespace, session: Session) -> Service:
    from beam_pipelines.examples.example import place

    if not (folder / "crm.db").exists():
        failure.say(f"setting up the example in {folder}/ ...")
    placed = place(folder, business=not (arguments.plan or arguments.validate))
    failure.say(f"no --service is given: this is the packaged example, {placed.definition}")
    failure.say(f"  source {placed.crm}, an SQLite CRM; target {placed.warehouse}, DuckDB; functions {placed.functions}")
    if placed.changes is not None:
        changes = placed.changes
        failure.say(
            f"  since the last run a day has passed in the CRM: {quantity.count(changes.updated)} customers changed,"
            f" {quantity.count(changes.inserted)} are new"
        )
    return session.load(placed.definition)


def _batch(folder: Path, arguments: argparse.Namespace, session: Session) -> Service:
    from beam_pipelines.examples.batch import place

    if not (folder / "raw-data").exists():
        failure.say(f"setting up the example in {folder}/ ...")
    placed = place(folder, business=not (arguments.plan or arguments.validate))
    failure.say(f"no --service is given: this is the packaged example, {placed.definition}")
    failure.say(f"  the buckets are folders: from {placed.source}/ into {placed.target}/; functions {placed.functions}")
    if placed.arrived is not None:
        failure.say(f"  since the last run a day has passed, and its file has arrived: {placed.arrived}")
    return session.load(placed.definition)
