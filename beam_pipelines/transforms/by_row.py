"""Call a function row by row: dicts in; a dict, None or several dicts out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.expression import UNREADABLE
from beam_pipelines.transforms.caller import Caller, Failure, Parts, Refused, assembled
from beam_pipelines.transforms.rows import MAX_ROWS, to_columns, to_rows

__all__ = ["apply_rows", "sample_rows"]

Positions = npt.NDArray[np.int64]


def apply_rows(caller: Caller, batch: pa.RecordBatch) -> Parts:
    """Call the function on every row, at most 1,000 of which are dicts at one time.

    Returns:
        Batches with the planned columns and the origin of the rows they came from.
    """
    parts = Parts()
    for begin in range(0, batch.num_rows, MAX_ROWS):
        _apply(caller, batch.slice(begin, MAX_ROWS), begin, parts)
    return parts


def sample_rows(caller: Caller, batch: pa.RecordBatch) -> tuple[list[Mapping[str, Any]], dict[int, Failure]]:
    """Return what the function gives for a sample, and why rows failed."""
    outputs, _, failed = _called(caller, _read(batch))
    return outputs, failed


def _read(batch: pa.RecordBatch) -> list[dict[str, Any] | None]:
    """Return the rows as dicts, None for those that hold text that is not UTF-8."""
    shown = origin.visible(batch)
    try:
        return list(to_rows(shown))
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
        return [row for position in range(batch.num_rows) for row in _read(shown.slice(position, 1))]


def _called(caller: Caller, rows: Sequence[dict[str, Any] | None]) -> tuple[list[Mapping[str, Any]], list[int], dict[int, Failure]]:
    """Return the rows that came out, the position of the row each came from, and what failed."""
    outputs: list[Mapping[str, Any]] = []
    parents: list[int] = []
    failed: dict[int, Failure] = {}
    answers = caller.answers([row for row in rows if row is not None])
    for position, row in enumerate(rows):
        if row is None:
            failed[position] = ("row-invalid", UNREADABLE)
            continue
        try:
            made = _outputs(caller, next(answers)())
        except (SystemExit, GeneratorExit) as leave:
            raise caller.left(leave) from leave
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (the dead-letter boundary: whatever a user's code raises costs one row)
            failed[position] = caller.failure(error, row)
            continue
        outputs += made
        parents += [position] * len(made)
    return outputs, parents, failed


def _outputs(caller: Caller, made: Any) -> list[Mapping[str, Any]]:
    if made is None:
        return []
    if type(made) is dict:  # by far the most, and `isinstance` of an abstract class costs as much as the call
        return [made]
    if isinstance(made, Mapping) or dataclasses.is_dataclass(made):
        return [_row(caller, made)]
    if isinstance(made, Iterable) and not isinstance(made, (str, bytes, pa.RecordBatch, pa.Table)):
        return [_row(caller, one) for one in made]
    raise Refused(f"expected a dict, None or an iterable of dicts from {caller.code.name}, got {type(made).__name__}")


def _row(caller: Caller, made: Any) -> Mapping[str, Any]:
    if isinstance(made, Mapping):
        return made
    if dataclasses.is_dataclass(made) and not isinstance(made, type):
        return dataclasses.asdict(made)
    raise Refused(f"expected dicts from {caller.code.name}, got {type(made).__name__} among them")


def _apply(caller: Caller, batch: pa.RecordBatch, begin: int, parts: Parts) -> None:
    outputs, parents, failed = _called(caller, _read(batch))
    arrays, misfits = to_columns(outputs, caller.schema)
    for place, why in misfits.items():
        failed.setdefault(parents[place], ("cast-failed", why))
    parts.failed.update((begin + position, failure) for position, failure in failed.items())
    of = np.array(parents, dtype=np.int64)
    if failed:
        # All that came of a row goes with it: half of a row's output must not be loaded.
        kept = ~np.isin(of, list(failed))
        arrays, of = [array.take(pa.array(np.flatnonzero(kept))) for array in arrays], of[kept]
    counts = np.bincount(of, minlength=batch.num_rows)
    parts.filtered += int((counts == 0).sum()) - len(failed)
    parts.made += int(np.maximum(counts - 1, 0).sum())
    if failed and caller.passes:
        arrays, of = _with_passed(caller, batch, arrays, of, np.array(sorted(failed), dtype=np.int64))
    straight = len(of) == batch.num_rows and bool((of == np.arange(batch.num_rows)).all())
    like = batch if straight else take(batch, of)
    parts.batches.append(origin.carry(like, assembled(arrays, caller.schema, len(of))))


def _with_passed(
    caller: Caller, batch: pa.RecordBatch, arrays: Sequence[pa.Array], of: Positions, rows: Positions
) -> tuple[list[pa.Array], Positions]:
    """Put rows that failed between those that did not, in the order of the input."""
    passed = caller.passed(take(batch, rows))
    everyone = np.concatenate([of, rows])
    order = np.argsort(everyone, kind="stable")
    return [pa.concat_arrays([array, more]).take(pa.array(order)) for array, more in zip(arrays, passed, strict=True)], everyone[order]
