"""The Data Quality Checker that the bare command runs, set up in a folder of the user's."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from beam_pipelines import examples
from beam_pipelines.errors import SpecError
from beam_pipelines.examples.accounts import create
from beam_pipelines.examples.placing import copy, sweep

__all__ = ["INPUT", "Placed", "place"]

INPUT = "accounts:accounts"  # as --input names it: the definition of the product's brief says nothing of where rows come from
_NAME = "data_quality"


@dataclass(frozen=True)
class Placed:
    """Where the parts of the example are.

    Args:
        definition: The service definition.
        database: The source, an SQLite file.
    """

    definition: Path
    database: Path


def place(folder: Path, *, accounts: int = 100_000, seed: int = 11) -> Placed:
    """Set the example up in `folder`. Files that are there are the user's and stay as they are.

    Args:
        folder: Made when missing.
        accounts: Rows of a new database.
        seed: Of a new database.

    Raises:
        SpecError: The folder cannot be written.
    """
    database = folder / "accounts.db"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        copy(examples.path(_NAME), folder / f"{_NAME}.yaml")
        copy(examples.path(_NAME).with_name(_NAME) / "connections.yaml", folder / "connections.yaml")
        if not database.exists():
            create(database, accounts, seed)
    except FileExistsError:
        pass  # another process was faster
    except (OSError, sqlite3.Error) as bad:
        reason = bad.strerror if isinstance(bad, OSError) and bad.strerror else str(bad)
        raise SpecError(
            f"cannot set the example up in {str(folder)!r} ({reason}): name another folder with --example-dir", code="option-invalid"
        ) from bad
    return Placed(folder / f"{_NAME}.yaml", database)
