"""DuckDB's types as Arrow's."""

from __future__ import annotations

import pyarrow as pa

from beam_pipelines.columnar.types.common import UTC, assemble, decimal, unsupported
from beam_pipelines.columnar.types.grammar import TypeText, TypeTextError, parse

__all__ = ["from_duckdb"]

_NAMES: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(),
    "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(),
    "UBIGINT": pa.uint64(),
    # DuckDB gives both as decimal(38,0): sums of integers are HUGEINT.
    "HUGEINT": pa.decimal128(38, 0),
    "UHUGEINT": pa.decimal128(38, 0),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIME_NS": pa.time64("ns"),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP_S": pa.timestamp("s"),
    "TIMESTAMP_MS": pa.timestamp("ms"),
    "TIMESTAMP_NS": pa.timestamp("ns"),
    # An instant has no zone of its own: DuckDB names the session's.
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", UTC),
    "TIMESTAMPTZ": pa.timestamp("us", UTC),
    "TIMESTAMPTZ_NS": pa.timestamp("ns", UTC),
    "INTERVAL": pa.month_day_nano_interval(),
    # Both come as text, unless `arrow_lossless_conversion` is set; `cast.conform` takes either.
    "UUID": pa.uuid(),
    "JSON": pa.json_(),
    "ENUM": pa.string(),
    "NULL": pa.null(),
}


def from_duckdb(text: str, column: str = "") -> pa.DataType:
    """The Arrow type of a column, from the type as DuckDB's catalog or a result's description prints it.

    Args:
        text: Such as `DECIMAL(10,2)`, `STRUCT(a INTEGER, "b c" VARCHAR[])`, `ENUM('a', 'b')`.
        column: For the message.

    Raises:
        PlanError: The type is not served (UNION, VARIANT, BIT, BIGNUM, GEOMETRY, TIME WITH TIME ZONE: Arrow has nothing that keeps them
        whole).
    """

    def scalar(part: TypeText) -> pa.DataType:
        if part.name == "DECIMAL":
            return decimal(part.numbers, bare=(18, 3))
        kind = _NAMES.get(part.name)
        if kind is None:
            raise unsupported(text, "DuckDB", column, "cast it in the query, such as CAST(x AS VARCHAR)")
        return kind

    try:
        return assemble(parse(text), scalar)
    except TypeTextError as bad:
        raise unsupported(text, "DuckDB", column, "cast it in the query, such as CAST(x AS VARCHAR)") from bad
