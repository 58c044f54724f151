"""What becomes of an Arrow type in a database: the type of the column, and the type that the values are cast to before they are written.

Cast with `cast.conform` to `writable`, every value arrives whole, with these limits: times of nanoseconds are cut to microseconds where
the database keeps no more; SQLite keeps NaN as null; a duration becomes an interval (PostgreSQL, DuckDB) or its number in its own unit
(SQLite, others).
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from beam_pipelines.columnar.kinds import is_bytes, is_list, is_text, is_uuid
from beam_pipelines.columnar.types.common import UTC, unsupported
from beam_pipelines.columnar.types.generic import to_sqlalchemy

__all__ = ["ddl", "writable"]

_REMEDY = "cast it in a map step or in the query, to text if nothing else fits"
# Digits that SQLite's floats keep; a decimal of more must be text to stay exact.
_SQLITE_DIGITS = 15
_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}


def writable(kind: pa.DataType, system: str, column: str = "") -> pa.DataType:
    """The type that a column of `kind` becomes in a database: cast to it before writing; reading the column gives it back.

    Args:
        kind: Any Arrow type.
        system: `duckdb`, `postgresql`, `sqlite`, or a SQLAlchemy dialect's name.
        column: For the message.

    Raises:
        PlanError: The database has nothing that keeps the type whole (`type-unsupported`); says how to cast.
    """

    def refuse(remedy: str = _REMEDY) -> Exception:
        return unsupported(kind, system, column, remedy)

    bare = _bare(kind)
    if pa.types.is_null(bare):
        return pa.string()
    if pa.types.is_union(bare) or (isinstance(bare, pa.BaseExtensionType) and not is_uuid(bare) and bare.extension_name != "arrow.json"):
        raise refuse()
    return _SYSTEMS.get(system, _generic)(bare, system, column)


def _bare(kind: pa.DataType) -> pa.DataType:
    """The type without layout: no dictionaries, runs, views or 64-bit offsets, one width of date and decimal."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _bare(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        opaque = kind.extension_name == "arrow.opaque" and is_text(kind.storage_type)
        return pa.string() if opaque else kind
    if is_text(kind):
        return pa.string()
    if is_bytes(kind):
        return pa.binary()
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= 38 else kind
    if pa.types.is_time(kind) and kind != pa.time64("ns"):
        return pa.time64("us")
    return kind


def _utc(kind: pa.DataType, unit: str) -> pa.DataType:
    return pa.timestamp(unit, UTC if kind.tz else None)


def _duckdb(kind: pa.DataType, system: str, column: str) -> pa.DataType:
    if pa.types.is_decimal(kind) and (kind.precision > 38 or kind.scale < 0):
        raise unsupported(kind, system, column, "DuckDB keeps 38 digits: round it, or cast it to text")
    if pa.types.is_timestamp(kind):
        return _utc(kind, "us" if kind.tz and kind.unit != "ns" else kind.unit)
    if pa.types.is_duration(kind):
        return pa.month_day_nano_interval()
    if pa.types.is_map(kind):
        return pa.map_(writable(kind.key_type, system, column), writable(kind.item_type, system, column))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(writable(kind.value_type, system, column), kind.list_size)
    if is_list(kind):
        return pa.list_(writable(kind.value_type, system, column))
    if pa.types.is_struct(kind):
        if not kind.num_fields:
            raise unsupported(kind, system, column, "DuckDB has no struct without fields: leave the column out")
        return pa.struct([(field.name, writable(field.type, system, column)) for field in kind])
    return kind


def _postgresql(kind: pa.DataType, system: str, column: str) -> pa.DataType:
    if pa.types.is_integer(kind):
        return _signed(kind, least=16)
    if pa.types.is_timestamp(kind):
        return _utc(kind, "us")
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind):
        return pa.month_day_nano_interval()
    if is_list(kind):
        item = writable(kind.value_type, system, column)
        # PostgreSQL's arrays are rectangular, and none of json keeps the order of a merge: lists of lists and of structs are one jsonb.
        return pa.json_() if pa.types.is_nested(item) or item == pa.json_() else pa.list_(item)
    return pa.json_() if pa.types.is_nested(kind) else kind


def _sqlite(kind: pa.DataType, _system: str, _column: str) -> pa.DataType:
    if pa.types.is_integer(kind):
        return pa.decimal128(20, 0) if pa.types.is_uint64(kind) else pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    return _portable(kind)


def _generic(kind: pa.DataType, system: str, column: str) -> pa.DataType:
    if pa.types.is_integer(kind):
        return _signed(kind, least=16)
    if pa.types.is_decimal(kind) and kind.precision > 38:
        raise unsupported(kind, system, column, "few databases keep more than 38 digits: round it, or cast it to text")
    return _portable(kind)


def _portable(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return _utc(kind, "us")
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind):
        return pa.int64()
    if pa.types.is_nested(kind) or pa.types.is_interval(kind) or isinstance(kind, pa.BaseExtensionType):
        return pa.string()
    return kind


def _signed(kind: pa.DataType, least: int) -> pa.DataType:
    """The narrowest signed integer of at least `least` bits that holds all values of an integer type."""
    bits = kind.bit_width if pa.types.is_signed_integer(kind) else kind.bit_width * 2
    return pa.decimal128(20, 0) if bits > 64 else _SIGNED[max(bits, least)]


_SYSTEMS: dict[str, Callable[[pa.DataType, str, str], pa.DataType]] = {"duckdb": _duckdb, "postgresql": _postgresql, "sqlite": _sqlite}


def ddl(kind: pa.DataType, system: str, column: str = "") -> str:
    """The type to write in `CREATE TABLE` for a column of `kind`.

    Args:
        kind: Any Arrow type; `writable` is applied to it first.
        system: As for `writable`.
        column: For the message.

    Raises:
        PlanError: As `writable`, or SQLAlchemy has no dialect of that name.
    """
    target = writable(kind, system, column)
    if system in _SPELLED:
        return _SPELLED[system](target)
    return _compiled(target, system)


def _spelled_duckdb(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_map(kind):
        return f"MAP({_spelled_duckdb(kind.key_type)}, {_spelled_duckdb(kind.item_type)})"
    if pa.types.is_fixed_size_list(kind):
        return f"{_spelled_duckdb(kind.value_type)}[{kind.list_size}]"
    if pa.types.is_list(kind):
        return f"{_spelled_duckdb(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        fields = ", ".join('"' + field.name.replace('"', '""') + f'" {_spelled_duckdb(field.type)}' for field in kind)
        return f"STRUCT({fields})"
    if pa.types.is_timestamp(kind):
        if kind.tz:
            return "TIMESTAMPTZ_NS" if kind.unit == "ns" else "TIMESTAMP WITH TIME ZONE"
        return {"s": "TIMESTAMP_S", "ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}[kind.unit]
    return _DUCKDB_NAMES[kind]


_DUCKDB_NAMES: dict[pa.DataType, str] = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.time64("ns"): "TIME_NS",
    pa.month_day_nano_interval(): "INTERVAL",
    pa.uuid(): "UUID",
    pa.json_(): "JSON",
}


def _spelled_postgresql(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    if pa.types.is_list(kind):
        return f"{_spelled_postgresql(kind.value_type)}[]"
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    return _POSTGRESQL_NAMES[kind]


_POSTGRESQL_NAMES: dict[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.date32(): "date",
    pa.time64("us"): "time",
    pa.month_day_nano_interval(): "interval",
    pa.uuid(): "uuid",
    # Not json, which cannot be compared: a merge must see whether a row has changed.
    pa.json_(): "jsonb",
}


def _spelled_sqlite(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        name = "DECIMAL" if kind.precision <= _SQLITE_DIGITS else "DECIMAL_TEXT"  # with TEXT in its name it has text affinity
        return f"{name}({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ" if kind.tz else "TIMESTAMP"
    return _SQLITE_NAMES[kind]


_SQLITE_NAMES: dict[pa.DataType, str] = {
    pa.bool_(): "BOOLEAN",
    pa.int64(): "INTEGER",
    pa.float64(): "REAL",
    pa.string(): "TEXT",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
}
_SPELLED: dict[str, Callable[[pa.DataType], str]] = {
    "duckdb": _spelled_duckdb,
    "postgresql": _spelled_postgresql,
    "sqlite": _spelled_sqlite,
}


def _compiled(kind: pa.DataType, system: str) -> str:
    from sqlalchemy.dialects import registry
    from sqlalchemy.exc import NoSuchModuleError

    try:
        dialect = registry.load(system)()
    except NoSuchModuleError as missing:
        raise unsupported(kind, system, "", f"SQLAlchemy has no dialect {system!r}: install the package that brings it") from missing
    return str(to_sqlalchemy(kind).compile(dialect=dialect))
