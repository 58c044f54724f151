"""Call a function batch by batch; where it fails, by halves, so that only the rows that fail are lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.cast import conform
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.numbering import first_of
from beam_pipelines.transforms.caller import Caller, Failure, Parts, Refused, assembled
from beam_pipelines.transforms.rows import to_rows

__all__ = ["apply_batch"]


def apply_batch(caller: Caller, batch: pa.RecordBatch) -> Parts:
    """Call the function on a batch.

    Returns:
        Batches with the planned columns and their origin; while it is sampled, what it gave.
    """
    parts = Parts()
    _halve(caller, batch, 0, parts)
    return parts


def _halve(caller: Caller, batch: pa.RecordBatch, begin: int, parts: Parts) -> None:
    rows = batch.num_rows
    if rows == 0:
        return
    try:
        out, misfits = _called(caller, batch)
    except (SystemExit, GeneratorExit) as leave:
        raise caller.left(leave) from leave
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 (the dead-letter boundary: whatever a user's code raises costs one row)
        failure = caller.failure(error, _shown_row(batch) if rows == 1 else {})
        if rows > 1:
            half = rows // 2
            _halve(caller, batch.slice(0, half), begin, parts)
            _halve(caller, batch.slice(half), begin + half, parts)
            return
        parts.failed[begin] = failure
        if caller.passes:
            parts.batches.append(origin.carry(batch, assembled(caller.passed(batch), caller.schema, 1)))
        return
    parts.failed.update((begin + row, failure) for row, failure in misfits.items())
    change = out.num_rows + len(misfits) - rows
    parts.made += max(change, 0)
    parts.filtered += max(-change, 0)
    parts.batches.append(_with_passed(caller, batch, out, sorted(misfits)) if misfits and caller.passes else out)


def _shown_row(batch: pa.RecordBatch) -> dict[str, Any]:
    try:
        return to_rows(origin.visible(batch))[0]
    except UnicodeDecodeError:
        return {}


def _called(caller: Caller, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, Failure]]:
    """Return what fits of what the function gave for a batch, and the rows that do not fit, by their position in the batch.

    Raises:
        Refused: It does not fit, and the position does not tell which row is to blame.
    """
    made = _one_batch(caller, caller.call(batch if caller.code.origin else origin.visible(batch)))
    if caller.planned is None:
        return origin.visible(made), {}
    _check_names(caller, made)
    by_position = False
    if origin.hidden(made) is not None:
        made = made.replace_schema_metadata(batch.schema.metadata)
    elif made.num_rows == batch.num_rows:
        made, by_position = origin.carry(batch, made), True
    else:
        made = _with_range(batch, made)
    conformed = conform(made, caller.schema)
    if conformed.bad and not by_position:
        raise Refused(conformed.reasons[0], "cast-failed")
    return conformed.batch, {row: ("cast-failed", why) for row, why in zip(conformed.bad, conformed.reasons, strict=True)}


def _one_batch(caller: Caller, made: Any) -> pa.RecordBatch:
    if isinstance(made, pa.Table):
        pieces = made.combine_chunks().to_batches()
        made = pieces[0] if len(pieces) == 1 else pa.RecordBatch.from_pylist([], made.schema)
    if not isinstance(made, pa.RecordBatch):
        raise Refused(f"expected a RecordBatch from {caller.code.name}, got {type(made).__name__}")
    return made


def _check_names(caller: Caller, made: pa.RecordBatch) -> None:
    names, planned = origin.names(made.schema), caller.schema.names
    extra = [name for name in names if name not in planned]
    missing = [name for name in planned if name not in names]
    if extra or missing:
        what = [f"gave {', '.join(map(repr, extra))}"] if extra else []
        what += [f"did not give {', '.join(map(repr, missing))}"] if missing else []
        raise Refused(f"{caller.code.name} {' and '.join(what)}: expected the columns {', '.join(planned)}")


def _with_passed(caller: Caller, batch: pa.RecordBatch, out: pa.RecordBatch, failed: list[int]) -> pa.RecordBatch:
    """Put rows that do not fit back between those that do: `out` has the others, in the order of the batch."""
    good = np.delete(np.arange(batch.num_rows), failed)
    order = pa.array(np.argsort(np.concatenate([good, failed]), kind="stable"))
    passed = caller.passed(take(batch, failed))
    arrays = [pa.concat_arrays([out.column(name), more]).take(order) for name, more in zip(caller.schema.names, passed, strict=True)]
    return origin.carry(batch, assembled(arrays, caller.schema, batch.num_rows))


def _with_range(batch: pa.RecordBatch, made: pa.RecordBatch) -> pa.RecordBatch:
    """Give rows that cannot be told apart the range of the batch they came from."""
    hidden = origin.hidden(batch)
    if hidden is None:
        return made.replace_schema_metadata(batch.schema.metadata)
    first, last = origin.describe(batch, [0, batch.num_rows - 1])
    place = next((name for name in ("row", "key") if name in first), None)
    sources = batch.column(origin.SOURCE).unique().to_pylist() if origin.SOURCE in batch.schema.names else []
    text = ", ".join(map(str, sources))
    # Places in several sources are no range, and in later parts of a file nobody knows them yet.
    if place and len(sources) == 1 and not (place == "row" and last[place] >= first_of(1)):
        text += f" (among {place}s {_shown(first[place])} to {_shown(last[place])})"
    columns = [
        pa.DictionaryArray.from_arrays(pa.array([0] * made.num_rows, pa.int32()), pa.array([text]))
        if field.name == origin.SOURCE
        else pa.nulls(made.num_rows, field.type)
        for field in hidden.schema
    ]
    beside = pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(hidden.schema), metadata=batch.schema.metadata))
    return origin.carry(beside, made)


def _shown(value: Any) -> str:
    return ", ".join(str(part) for part in value.values()) if isinstance(value, dict) else str(value)
