"""The Batch Data Processor that the bare command runs, set up in a folder of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from beam_pipelines import examples
from beam_pipelines.errors import SpecError
from beam_pipelines.examples.batch_processor import orders
from beam_pipelines.examples.placing import copy, sweep

__all__ = ["DAYS", "Placed", "place"]

DAYS = 8  # files that are made at first
_NAME = "batch_processor"


@dataclass(frozen=True)
class Placed:
    """Where the parts of the example are.

    Args:
        definition: The service definition.
        functions: The code of its steps.
        source: The folder that stands for the bucket it reads.
        target: The folder that stands for the bucket it writes; the first run makes it.
        made: Names of the files that were not there before.
        arrived: The file of a day that passed since; None when something was made, or none was wanted.
    """

    definition: Path
    functions: Path
    source: Path
    target: Path
    made: tuple[str, ...] = ()
    arrived: Path | None = None


def place(folder: Path, *, business: bool = True, orders_a_day: int = orders.ORDERS, seed: int = 13) -> Placed:
    """Set the example up in `folder`; when it is there, let a day pass, whose file is what the next run has to do.

    Files that are there are the user's and stay as they are. Two processes may do this at once, and each may die at any time.

    Args:
        folder: Made when missing.
        business: False: let no day pass (`--plan`).
        orders_a_day: Rows of each new file.
        seed: Of new files.

    Raises:
        SpecError: The folder cannot be written.
    """
    beside = examples.path(_NAME).with_suffix("")
    sources = {
        f"{_NAME}.yaml": examples.path(_NAME),
        "functions.py": beside / "functions.py",
        "connections.yaml": beside / "connections.yaml",
    }
    exports = folder / "raw-data" / "daily-exports"
    try:
        exports.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        sweep(exports)
        made = [name for name, source in sources.items() if copy(source, folder / name)]
        # Files of past days that a user took away stay away.
        known = [day for file in exports.iterdir() if (day := orders.day_of(file.name)) is not None]
        made += [orders.name_of(day) for day in range(max(known, default=-1) + 1, DAYS) if _create(exports, day, orders_a_day, seed)]
        arrived = None
        if business and not made:
            day = max(known) + 1
            arrived = exports / orders.name_of(day) if _create(exports, day, orders_a_day, seed) else None
    except OSError as bad:
        raise SpecError(
            f"cannot set the example up in {str(folder)!r} ({bad.strerror or bad}): name another folder with --example-dir",
            code="option-invalid",
        ) from bad
    return Placed(
        definition=folder / f"{_NAME}.yaml",
        functions=folder / "functions.py",
        source=folder / "raw-data",
        target=folder / "processed-data",
        made=tuple(made),
        arrived=arrived,
    )


def _create(folder: Path, day: int, rows: int, seed: int) -> bool:
    try:
        orders.create(folder / orders.name_of(day), day, rows, seed)
    except FileExistsError:
        return False  # another process was faster
    return True
