"""Batches as they came, made into the planned schema; rows that cannot be are named, with the reason, and left out.

Nothing is done by row unless a row is bad, and a column that has its type already is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.column import Mask, convert_column
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.types.common import BARE_DECIMAL
from beam_pipelines.errors import FatalError

__all__ = ["Conformed", "conform", "convert_column"]

_BARE = (
    "; a number without a declared precision keeps 29 digits before the point and 9 behind it: for others CAST it in the query, such as to"
    " numeric(38, 20) or text"
)


@dataclass(frozen=True)
class Conformed:
    """What `conform` made of a batch.

    Args:
        batch: The rows that fit, in their order, with the planned columns, the hidden ones and the load.
        bad: Positions in the input of the rows that do not, ascending.
        reasons: One for each of `bad`: column, expected type and what came, by type, never the value.
    """

    batch: pa.RecordBatch
    bad: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> Conformed:
    """Give a batch the planned columns, in order and type; zero-copy where types are equal already.

    Columns that are not planned are dropped. `convert` says what is converted and what is refused.

    Args:
        batch: Visible columns in any order and of any type; hidden columns and metadata are carried.
        schema: The planned, visible schema. A null in a field that is not nullable makes the row bad.

    Raises:
        FatalError: A planned column is missing or there twice (`schema-changed`).
    """
    columns: list[pa.Array] = []
    faults: list[tuple[Mask, str]] = []
    for planned in schema:
        given = batch.column(_index(batch.schema, planned.name))
        column = given
        if given.type != planned.type:
            column, wrong = convert_column(given, planned.type)
            if wrong is not None:
                faults.append((wrong, _reason(planned, given.type)))
        if not planned.nullable and given.null_count:
            missing = given.is_null().to_numpy(zero_copy_only=False)
            faults.append((missing, f"column {planned.name!r}: expected a value ({planned.type} not null), got null"))
        columns.append(column)
    bad, reasons = _listed(faults)
    result = _assembled(batch, columns, schema)
    if bad:
        keep = np.ones(batch.num_rows, dtype=bool)
        keep[bad] = False
        result = _kept(result, keep)
    return Conformed(result, bad, reasons)


def _index(schema: pa.Schema, name: str) -> int:
    found = schema.get_all_field_indices(name)
    if len(found) == 1:
        return int(found[0])
    what = f"is there {len(found)} times" if found else "is gone"
    raise FatalError(
        f"expected the column {name!r}, which {what}: the columns are {', '.join(map(repr, origin.names(schema)))};"
        " the source has changed since the run was planned, start it again",
        code="schema-changed",
        details={"column": name},
    )


def _assembled(batch: pa.RecordBatch, columns: list[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    if list(origin.visible(batch).schema) == list(schema):
        return batch
    metadata = {**(schema.metadata or {}), **(batch.schema.metadata or {})} or None
    hidden = origin.hidden(batch)
    fields, arrays = list(schema), list(columns)
    if hidden is not None:
        fields += list(hidden.schema)
        arrays += hidden.columns
    if not arrays:
        return batch.select([])
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))


def _listed(faults: list[tuple[Mask, str]]) -> tuple[list[int], list[str]]:
    """Rows that have a fault, with all their reasons."""
    found: dict[int, list[str]] = {}
    for mask, reason in faults:
        for row in np.flatnonzero(mask).tolist():
            found.setdefault(row, []).append(reason)
    bad = sorted(found)
    return bad, ["; ".join(found[row]) for row in bad]


def _kept(batch: pa.RecordBatch, keep: Mask) -> pa.RecordBatch:
    try:
        return batch.filter(pa.array(keep))
    except pa.ArrowNotImplementedError:
        return take(batch, np.flatnonzero(keep).tolist())


def _reason(planned: pa.Field, given: pa.DataType) -> str:
    text = "text that does not read as one"
    if pa.types.is_decimal(planned.type):
        text = "text that is no number of so many digits before and after the point"
    elif pa.types.is_timestamp(planned.type) or pa.types.is_date(planned.type):
        text += " (infinity and years beyond 9999 do not)"
    what = {
        "text": text,
        "int": "a number that does not fit",
        "float": "a number that does not fit exactly",
        "decimal": "a number that does not fit exactly",
        "bytes": "bytes that do not read as one",
    }.get(family(given), f"{given} that does not fit")
    remedy = _BARE if planned.type == pa.decimal128(*BARE_DECIMAL) else ""
    return f"column {planned.name!r}: expected {planned.type}, got {what}{remedy}"
