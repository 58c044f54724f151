"""What became of the files of a run, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import quantity
from beam_pipelines.cli.table import Table

if TYPE_CHECKING:
    from beam_pipelines.state.record import Files

__all__ = ["fact", "overlooked", "table"]

_SHOWN = 20  # files on the screen; `--output json` tells more
_WIDEST = 60  # characters of a reason


def fact(files: Files) -> str:
    """The totals, and a line for each other thing that is to be said."""
    count = quantity.count
    lines = [f"{count(files.processed)} processed, {quantity.size(files.bytes)}: {count(files.records)} rows written"]
    if files.failed:
        lines.append(f"- {count(files.failed)} cannot be read, and {'is a dead letter' if files.failed == 1 else 'are dead letters'}")
    if files.skipped:
        lines.append(f"- {count(files.skipped)} skipped: earlier runs are done with them")
    if files.waiting:
        lines.append(f"- {count(files.waiting)} of these could not be read, and did not change since")
    return "\n".join([*lines, *overlooked(files.hidden, files.closed, files.gone)])


def overlooked(hidden: int, closed: int, gone: int) -> list[str]:
    """A line for each thing that a run passes over; the numbers are those of the record."""
    count, lines = quantity.count, []
    if hidden:
        lines.append(f"- {count(hidden)} left out: a name that begins with . or _ is not taken for data")
    if closed:
        lines.append(f"- {count(closed)} {'folder' if closed == 1 else 'folders'} cannot be read, and what is in there is not known")
    if gone:
        lines.append(f"- the folder of the outputs is gone, with those of {count(gone)} files: --full-refresh writes them again")
    return lines


def table(files: Files) -> Table | None:
    """The first files, those that failed before all others; None where there is none."""
    shown = (files.told or ())[:_SHOWN]
    if not shown:
        return None
    every = files.processed + files.failed if files.processed else len(files.told or ())
    more = ["error"] if any("error" in file for file in shown) else []
    title = f"the first {_SHOWN} of {quantity.count(every)} files; --output json tells more:" if every > len(shown) else ""
    return Table(
        ["file", "output", "records>", "written>", "rejected>", "bytes>", "time>", *more], [_row(file, more) for file in shown], title
    )


def _row(file: dict[str, Any], more: list[str]) -> list[str]:
    numbers = (quantity.count(file[name]) for name in ("records", "recordsWritten", "rejected"))
    error = file.get("error", "")
    cut = error if len(error) <= _WIDEST else f"{error[: _WIDEST - 3]}..."
    took = quantity.span(file["duration"] / 1000)
    return [file["file"], file.get("output", ""), *numbers, quantity.size(file["bytes"]), took, *([cut] if more else [])]
