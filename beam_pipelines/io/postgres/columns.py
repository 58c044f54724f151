"""How each column of PostgreSQL is read: what the statement selects, and how rows with values that Arrow cannot hold stay rows.

ADBC decodes the binary form of a few types and hands others on as opaque bytes: those are cast to text by the server, and the caller's
cast to the planned type (`columnar.cast`) reads the text. Three kinds of values would be lost or changed without a word, and come as text
instead, so that they fail alone, in that cast:

- infinite and far timestamps and dates (outside the years 1 to 9999): ADBC wraps them round;
- the time 24:00:00;
- arrays of more than one dimension: ADBC flattens them; and intervals of more than 285 years in hours: ADBC stops at them. The server
  says which rows have any; they travel alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.types import from_postgres
from beam_pipelines.io.sql.literal import quote

__all__ = ["ODD", "Column", "expressions", "honest"]

ODD = "__bp_odd"  # positions of a row's columns whose value only the server can hold; null for nearly all rows
_NATIVE = frozenset(
    (
        *("bool", "int2", "int4", "int8", "float4", "float8", "numeric"),
        *("text", "varchar", "bpchar", "name", "bytea", "uuid"),
        *("timestamp", "timestamptz", "date", "time", "interval"),
    )
)
_NATIVE_ITEMS = _NATIVE - {"numeric", "bytea", "interval", "uuid", "name", "bpchar"}
_INTERVAL_HOURS = 2_500_000  # 285 years: Arrow counts nanoseconds, 292 years of them
_DAY_US = 86_400_000_000
# Years 1 to 9999, which Python's datetime holds as well: microseconds and days since 1970.
_FIRST_DAY, _END_DAY = -719_162, 2_932_897


@dataclass(frozen=True)
class Column:
    """A column of a table's or query's output, as the catalog knows it.

    Args:
        name: In the output.
        type: Name of its type, domains resolved (`int8`, `numeric`, `_text`); `schema.name` for types that are not built in.
        typmod: Type modifier, -1: none.
        item: For an array, the type of its items; else empty.
        label: The type as SQL writes it, without modifier: `timestamp with time zone`.
    """

    name: str
    type: str
    typmod: int = -1
    item: str = ""
    label: str = ""

    @property
    def scalar(self) -> bool:
        return not self.item

    @property
    def arrow(self) -> pa.DataType:
        """The planned type."""
        return pa.list_(from_postgres(self.item, self.typmod)) if self.item else from_postgres(self.type, self.typmod)

    @property
    def precision(self) -> int:
        """Digits of a second that a timestamp or time keeps."""
        return self.typmod if self.type in ("timestamp", "timestamptz") and 0 <= self.typmod <= 6 else 6

    @property
    def sql(self) -> str:
        """The expression that is selected for it, without its name."""
        name = quote(self.name, "postgresql")
        if self.item:
            return name if self.item in _NATIVE_ITEMS else f"CAST({name} AS text[])"
        if self.type == "interval":
            return f"CASE WHEN {_fits(name)} THEN {name} END"
        if self.type in _NATIVE:
            return name
        if self.type == "money":
            return f"CAST({name} AS numeric(19, 2))"
        if self.type == "oid":
            return f"CAST({name} AS bigint)"
        return f"CAST({name} AS text)"

    @property
    def odd(self) -> str:
        """The condition that is true of values only the server can hold; empty for types that have none."""
        name = quote(self.name, "postgresql")
        if self.item:
            return f"array_ndims({name}) > 1"
        return f"NOT {_fits(name)}" if self.type == "interval" else ""


def _fits(name: str) -> str:
    return f"abs(extract(hour FROM {name})) < {_INTERVAL_HOURS}"


def expressions(columns: Sequence[Column]) -> list[str]:
    """What `Relation.select` selects for the columns; with `ODD` at the end where there may be odd values."""
    wanted = [f"={column.sql} AS {quote(column.name, 'postgresql')}" for column in columns]
    tests = [f"CASE WHEN {column.odd} THEN '{position}' END" for position, column in enumerate(columns) if column.odd]
    if tests:
        wanted.append(f"=nullif(concat_ws(',', {', '.join(tests)}), '') AS {quote(ODD, 'postgresql')}")
    return wanted


def honest(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Put text in the place of values that Arrow holds wrongly or not at all, and take the driver's own types off.

    Args:
        batch: As the driver gave it, `ODD` included where it was selected.

    Yields:
        The same rows in the same order; more than one batch only where rows are odd.
    """
    names = [name for name in batch.schema.names if name != ODD]
    plain = pa.RecordBatch.from_arrays([_honest_column(batch.column(name)) for name in names], names=names)
    if len(names) == batch.num_columns or batch.column(ODD).null_count == batch.num_rows:
        yield plain
        return
    odd = batch.column(ODD)
    start = 0
    for row in np.flatnonzero(odd.is_valid().to_numpy(zero_copy_only=False)).tolist():
        if row > start:
            yield plain.slice(start, row - start)
        yield _alone(plain.slice(row, 1), [int(word) for word in odd[row].as_py().split(",")])
        start = row + 1
    if start < batch.num_rows:
        yield plain.slice(start)


def _alone(row: pa.RecordBatch, positions: Sequence[int]) -> pa.RecordBatch:
    """A row with text in the place of its odd values: a type that no cast accepts, so that the row fails and says why."""
    columns = list(row.columns)
    for position in positions:
        kind = columns[position].type
        text = "interval out of range" if pa.types.is_interval(kind) else "array of more than one dimension"
        columns[position] = pa.array([text], pa.string())
    return pa.RecordBatch.from_arrays(columns, names=row.schema.names)


def _honest_column(column: pa.Array) -> pa.Array:
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return column if kind.extension_name in ("arrow.uuid", "arrow.json") else column.storage
    if pa.types.is_timestamp(kind):
        return _within(column, pa.int64(), _FIRST_DAY * _DAY_US, _END_DAY * _DAY_US, "timestamp")
    if pa.types.is_date32(kind):
        return _within(column, pa.int32(), _FIRST_DAY, _END_DAY, "date")
    if pa.types.is_time64(kind):
        return _within(column, pa.int64(), 0, _DAY_US, "time")
    return column


def _within(column: pa.Array, storage: pa.DataType, first: int, end: int, what: str) -> pa.Array:
    numbers = column.view(storage)
    span = pc.min_max(numbers)
    if span["min"].as_py() is None or (span["min"].as_py() >= first and span["max"].as_py() < end):
        return column
    inside = pc.and_(pc.greater_equal(numbers, pa.scalar(first, storage)), pc.less(numbers, pa.scalar(end, storage)))
    text = pc.if_else(inside, column, pa.scalar(None, column.type)).cast(pa.string())
    return pc.if_else(pc.fill_null(inside, True), text, pa.scalar(f"{what} out of range (infinity, or outside the years 1 to 9999)"))
