"""What sources of SQL databases have in common: names of what is read, whole batches with their origin, and rows of a driver as columns."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.kinds import is_bytes, is_list, is_text, is_uuid
from beam_pipelines.errors import FatalError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import CursorSpec, SourceTraits
from beam_pipelines.io.sql.relation import Relation, match_column
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window

if TYPE_CHECKING:
    from beam_pipelines.spec.source import DatabaseSource

__all__ = ["SqlSource", "chunks", "column", "cuts", "increment", "missing_columns", "to_batch", "within"]

_FIRST_CHUNK = 256  # rows: enough to learn how wide they are, little enough when each holds a large document
_CHUNK = 4096  # rows: measured on SQLite, 300k rows of 7 columns: 0.36 s, as with 1,000; 0.52 s with 65,536 (the rows leave the cache)
_CHUNK_BYTES = 8 << 20


class SqlSource(ABC):
    """Base of the database sources: the parts of `connector.Source` that need no client.

    Args:
        model: The source of the definition.
        connection: Where the database is.
        system: `sqlite`, `duckdb`, or the SQLAlchemy dialect's name.
    """

    traits: SourceTraits

    def __init__(self, model: DatabaseSource, connection: Connection, system: str) -> None:
        self.model = model
        self.connection = connection
        self.relation = Relation.of(model, system)
        self.cursor: CursorSpec | None = self.relation.cursor

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.connection.display!r}, {self.relation.name or list(self.relation.patterns)!r})"

    def identity(self, table: str) -> str:
        return self.relation.identity(table)

    def tables(self) -> list[str]:
        if self.relation.patterns:
            return self.relation.matches(self.table_names())
        return [str(self.relation.name)]

    @abstractmethod
    def table_names(self) -> list[str]:
        """Every table and view there is, as `tables:` patterns are held against them."""

    def close(self) -> None:  # noqa: B027 - a source that holds something overrides it
        """Nothing is held between calls."""

    def output_key(self, primary_key: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
        """The primary key of the base table under the names it has in the output; empty unless all of it is there."""
        by_lower = {name.lower(): name for name in columns}
        named = [self.relation.output_name(name) for name in primary_key]
        found = [by_lower[name.lower()] for name in named if name is not None and name.lower() in by_lower]
        return tuple(found) if found and len(found) == len(primary_key) else ()

    def cursor_column(self, cursor: CursorSpec, columns: Sequence[str], table: str) -> str:
        """The cursor's column as the source spells it.

        Raises:
            PlanError: There is none.
        """
        return match_column(cursor.column, columns, repr(table))

    def with_origin(self, batches: Iterable[pa.RecordBatch], part: Range, window: Window) -> Iterator[pa.RecordBatch]:
        """Attach origins: the key where the window or the definition knows one, else the position in the range."""
        columns = origin.names(window.schema())
        key = list(window.source_key or self.model.key_fields)
        if not set(key) <= set(columns):
            key = []
        label = part.table if key or len(window.ranges) < 2 else f"{part.table}[{part.index}]"
        first = 0
        for batch in batches:
            yield origin.attach(batch, label, key=key) if key else origin.attach(batch, label, first_row=first)
            first += batch.num_rows


def increment(part: Range, window: Window) -> dict[str, Any]:
    """Arguments of `Relation.select` for the rows of a window, above the low mark that its range holds."""
    return {
        "low": Mark.from_json(part.bounds.get("low")),
        "low_inclusive": window.inclusive,
        "ceiling": window.ceiling,
        "ceiling_inclusive": window.ceiling_inclusive,
    }


def cuts(column: str, low: int, high: int, parts: int) -> list[dict[str, Any]]:
    """Bounds of equal parts of a range of integers, open at both ends: rows that come after this belong to the first or the last.

    Args:
        column: As SQL.
        low: Least value.
        high: Greatest value.
        parts: How many are wanted, at least 1; never more than there are integers.
    """
    spread = high - low + 1
    count = max(1, min(parts, spread))
    edges: list[int | None] = [None, *(low + spread * index // count for index in range(1, count)), None]
    return [{"by": column, "from": edges[index], "below": edges[index + 1]} for index in range(count)]


def within(bounds: dict[str, Any]) -> str:
    """The condition of one of `cuts`, empty for the whole."""
    found = []
    if bounds.get("from") is not None:
        found.append(f"{bounds['by']} >= {int(bounds['from'])}")
    if bounds.get("below") is not None:
        found.append(f"{bounds['by']} < {int(bounds['below'])}")
    return " AND ".join(found)


def missing_columns(planned: Sequence[str], there: Sequence[str], table: str) -> FatalError | None:
    """The error for planned columns that are gone (compared without case), None when all are there."""
    known = {name.lower() for name in there}
    gone = [name for name in planned if name.lower() not in known]
    if not gone:
        return None
    return FatalError(
        f"expected the columns {', '.join(map(repr, gone))} in {table!r}, where they were when the run was prepared: start a new run",
        code="schema-changed",
        details={"table": table, "columns": gone},
    )


def chunks(fetch: Any) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of a DB-API cursor's `fetchmany`, a few thousand at a time; fewer where rows are wide, so that memory stays flat."""
    size = _FIRST_CHUNK
    while rows := fetch(size):
        yield rows
        sampled = rows[:: max(1, len(rows) // 64)]
        width = max(1, sum(_width(row) for row in sampled) // len(sampled))
        size = max(1, min(_CHUNK, _CHUNK_BYTES // width))


def _width(row: Sequence[Any]) -> int:
    return sum(len(value) if isinstance(value, (str, bytes)) else 16 for value in row)


def to_batch(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as columns. A column whose values do not all fit its planned type comes as text (or binary), each value as it is.

    Args:
        rows: Python values as the driver gives them, one at least.
        schema: Planned schema of the columns, in their order.
    """
    values = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays([column(each, field.type) for each, field in zip(values, schema, strict=True)], names=schema.names)


def column(values: Sequence[Any], planned: pa.DataType) -> pa.Array:
    """One column in a type that holds every value exactly; the planned type where that is possible without parsing."""
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) == 1 and any(native in kinds and fits(planned) for native, fits in _NATIVE):
        try:
            return pa.array(values, planned)
        except (pa.ArrowException, OverflowError, ValueError):
            return _as_text(values)
    carrier = _carrier(planned)
    if memoryview in kinds:
        values = [bytes(value) if isinstance(value, memoryview) else value for value in values]
        kinds = kinds - {memoryview} | {bytes}
    if pa.types.is_integer(carrier) and not kinds <= {int, bool}:
        values = [int(value) if type(value) is float and value.is_integer() else value for value in values]
        if any(type(value) is not int and value is not None for value in values):  # Arrow would cut 2.5 to 2 without a word
            return _as_text(values)
    bytes_fit = pa.types.is_binary(carrier) or is_text(planned) or is_uuid(planned)
    if bytes in kinds and not bytes_fit:  # Arrow would take them for text
        return _as_text(values)
    try:
        return pa.array(values, carrier)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        if bytes in kinds and bytes_fit:
            return pa.array(
                [value if value is None or isinstance(value, bytes) else _text(value).encode() for value in values], pa.binary()
            )
        return _as_text(values)


# Values that Arrow takes over exactly, or refuses: a datetime for a date would lose its time without a word.
_NATIVE: tuple[tuple[type, Callable[[pa.DataType], bool]], ...] = (
    (bool, pa.types.is_boolean),
    (dt.datetime, pa.types.is_timestamp),
    (dt.date, pa.types.is_date),
    (dt.time, pa.types.is_time),
    (dt.timedelta, lambda kind: pa.types.is_duration(kind) or pa.types.is_interval(kind)),
    (Decimal, pa.types.is_decimal),
    (list, is_list),
    (dict, pa.types.is_struct),
)


def _carrier(planned: pa.DataType) -> pa.DataType:
    """The type values travel in, until the caller casts them to the planned one (and so finds those that do not fit)."""
    if pa.types.is_integer(planned) or pa.types.is_boolean(planned):
        return pa.int64()
    if pa.types.is_floating(planned):
        return pa.float64()
    return pa.binary() if is_bytes(planned) else pa.string()


def _as_text(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    """A value as text that only its own kind of value has."""
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"  # with its quotes it can never be taken for a number or a date
    if isinstance(value, (dict, list)):
        return orjson.dumps(value, default=str).decode()
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f") if value - value == 0 else repr(value)
    return str(value)
