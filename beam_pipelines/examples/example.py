"""The customer ETL that the bare command runs, set up in a folder of the user's."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from beam_pipelines import examples
from beam_pipelines.errors import SpecError
from beam_pipelines.examples.crm import Changes, change, create
from beam_pipelines.examples.placing import copy, sweep

__all__ = ["Placed", "place"]

_NAME = "customer_data_etl"


@dataclass(frozen=True)
class Placed:
    """Where the parts of the example are.

    Args:
        definition: The service definition.
        functions: The code of its steps.
        connections: Names the two databases.
        crm: The source, an SQLite file.
        warehouse: The target, a DuckDB file that the first run makes.
        made: Names of the files that were not there before.
        changes: The day of business that passed in a CRM that was there; None when something was made, or none was wanted.
    """

    definition: Path
    functions: Path
    connections: Path
    crm: Path
    warehouse: Path
    made: tuple[str, ...] = ()
    changes: Changes | None = None


def place(folder: Path, *, business: bool = True, customers: int = 250_000, seed: int = 7) -> Placed:
    """Set the example up in `folder`; when it is there, let a day of business pass in its CRM, for the next run to have something to do.

    Files that are there are the user's and stay as they are. Two processes may do this at once, and each may die at any time.

    Args:
        folder: Made when missing.
        business: False: leave a CRM that is there alone (`--plan`, `preview`).
        customers: Rows of a new CRM.
        seed: Of a new CRM.

    Raises:
        SpecError: The folder cannot be written, or the CRM that is there is not the example's any more.
        TransientError: Another program holds the CRM's lock.
    """
    beside = examples.path(_NAME).with_suffix("")
    sources = {
        f"{_NAME}.yaml": examples.path(_NAME),
        "functions.py": beside / "functions.py",
        "connections.yaml": beside / "connections.yaml",
    }
    database = folder / "crm.db"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        made = [name for name, source in sources.items() if copy(source, folder / name)]
        if _create(database, customers, seed):
            made.append(database.name)
    except (OSError, sqlite3.Error) as bad:
        reason = bad.strerror if isinstance(bad, OSError) and bad.strerror else str(bad)
        raise SpecError(
            f"cannot set the example up in {str(folder)!r} ({reason}): name another folder with --example-dir", code="option-invalid"
        ) from bad
    changes = _change(database) if business and not made else None
    return Placed(
        definition=folder / f"{_NAME}.yaml",
        functions=folder / "functions.py",
        connections=folder / "connections.yaml",
        crm=database,
        warehouse=folder / "warehouse.duckdb",
        made=tuple(made),
        changes=changes,
    )


def _create(database: Path, customers: int, seed: int) -> bool:
    try:
        if not database.exists():
            create(database, customers, seed)
            return True
    except FileExistsError:  # another process was faster
        pass
    return False


def _change(database: Path) -> Changes:
    try:
        return change(database)
    except sqlite3.Error as bad:
        raise SpecError(
            f"{str(database)!r} is not the example's CRM as it was made ({bad}): remove it, and the next run makes a new one",
            code="option-invalid",
        ) from bad
