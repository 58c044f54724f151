"""PostgreSQL's types as Arrow's."""

from __future__ import annotations

import pyarrow as pa

from beam_pipelines.columnar.types.common import UTC, decimal
from beam_pipelines.columnar.types.grammar import TypeText, TypeTextError, parse

__all__ = ["from_postgres"]

_NAMES: dict[str, pa.DataType] = {
    "BOOL": pa.bool_(),
    "BOOLEAN": pa.bool_(),
    "INT2": pa.int16(),
    "SMALLINT": pa.int16(),
    "SMALLSERIAL": pa.int16(),
    "INT4": pa.int32(),
    "INT": pa.int32(),
    "INTEGER": pa.int32(),
    "SERIAL": pa.int32(),
    "INT8": pa.int64(),
    "BIGINT": pa.int64(),
    "BIGSERIAL": pa.int64(),
    "OID": pa.int64(),
    "FLOAT4": pa.float32(),
    "REAL": pa.float32(),
    "FLOAT8": pa.float64(),
    "DOUBLE PRECISION": pa.float64(),
    "TEXT": pa.string(),
    "VARCHAR": pa.string(),
    "CHARACTER VARYING": pa.string(),
    "BPCHAR": pa.string(),
    "CHAR": pa.string(),
    "CHARACTER": pa.string(),
    "NAME": pa.string(),
    "BYTEA": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIME WITHOUT TIME ZONE": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITHOUT TIME ZONE": pa.timestamp("us"),
    "TIMESTAMPTZ": pa.timestamp("us", UTC),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", UTC),
    "INTERVAL": pa.month_day_nano_interval(),
    "UUID": pa.uuid(),
    "JSON": pa.json_(),
    "JSONB": pa.json_(),
    # Cents as an integer through ADBC, text in the server's locale through psycopg: to be selected as numeric(19,2).
    "MONEY": pa.decimal128(19, 2),
}


def from_postgres(name: str, typmod: int = -1) -> pa.DataType:
    """The Arrow type of a column.

    Args:
        name: As `format_type(atttypid, atttypmod)` prints it (`numeric(10,2)`, `integer[]`), or a `pg_type.typname` (`int4`, `_int4`). A
        domain
            must be given as its base type.
        typmod: `atttypmod`, for names without arguments; -1: none.

    Returns:
        The type. What PostgreSQL has and Arrow has not (enums, inet, ranges, xml, `time with time zone`, composites and all that is unknown
        here) is text, and must be selected as such: ADBC gives it as opaque bytes. `numeric` without precision is decimal(38,9): values
        that need more are dead letters; above 76 digits it is text. Arrays are taken for those of one dimension, since the type of the
        others is the same.
    """
    text = _parsed(name)
    inner = _scalar(text, typmod)
    return pa.list_(inner) if text.dimensions else inner


def _parsed(name: str) -> TypeText:
    try:
        text = parse(name)
    except TypeTextError:
        return TypeText(name)
    base = text.name.removeprefix("PG_CATALOG.")
    dimensions = text.dimensions
    if base.startswith("_") and not text.quoted:
        base, dimensions = base[1:], (None,)
    if base.endswith(" ARRAY"):
        base, dimensions = base.removesuffix(" ARRAY"), (None,)
    return TypeText(base, text.numbers, (), dimensions, text.quoted)


def _scalar(text: TypeText, typmod: int) -> pa.DataType:
    if text.name in ("NUMERIC", "DECIMAL"):
        return decimal(text.numbers or _numbers(typmod))
    if text.name.startswith("INTERVAL "):
        return _NAMES["INTERVAL"]
    return _NAMES.get(text.name, pa.string())


def _numbers(typmod: int) -> tuple[int, ...]:
    """Precision and scale in a `numeric`'s typmod: `((precision << 16) | (scale & 0x7ff)) + 4` (numeric.c, make_numeric_typmod)."""
    if typmod < 4:
        return ()
    packed = typmod - 4
    scale = ((packed & 0x7FF) ^ 1024) - 1024
    return (packed >> 16) & 0xFFFF, scale
