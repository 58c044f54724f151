"""Tables of any SQLAlchemy dialect: types, names, and values as its driver takes them."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from beam_pipelines.columnar import types
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.io.sql.arrays import array_of
from beam_pipelines.io.sql.merge import ROW
from beam_pipelines.io.sql.portable_session import PortableDatabase

__all__ = ["column_type", "create_table", "misfits", "rows_of", "split", "staging_table", "table_of", "to_batch", "unstorable"]

# What an integer type holds where its name says it; elsewhere INTEGER is 64 bits (BigQuery), 38 digits (Oracle, Snowflake) or anything.
_SIZED = ("postgresql", "mysql", "mssql")
_BITS = {"TINYINT": 8, "SMALLINT": 16, "SMALLINTEGER": 16, "MEDIUMINT": 24, "INTEGER": 32, "BIGINT": 64, "BIGINTEGER": 64}
_FINITE = ("mysql", "mssql")  # no number of theirs is NaN or an infinity
_KEY_LENGTH = 255  # of text in a key, where a key must have a length


def split(table: str) -> tuple[str | None, str]:
    """Schema and name of a table."""
    schema, _, name = table.rpartition(".")
    return schema or None, name


def column_type(kind: pa.DataType, database: PortableDatabase, *, key: bool = False) -> Any:
    """SQLAlchemy's type of a column; text compares by its bytes, whatever the server's collation is."""
    made = types.to_sqlalchemy(kind)
    if not is_text(kind) or database.name == "postgresql":
        return made
    if database.name == "mysql":
        how = {"charset": "utf8mb4", "collation": "utf8mb4_bin"}
        return mysql.VARCHAR(_KEY_LENGTH, **how) if key else mysql.LONGTEXT(**how)
    return sa.String(_KEY_LENGTH) if key and database.name != "sqlite" else made


def _named(name: str) -> sa.quoted_name:
    return sa.quoted_name(name, quote=True)


def table_of(table: str, names: Sequence[str]) -> sa.TableClause:
    """A table that is there, by the columns a statement needs."""
    schema, name = split(table)
    return sa.table(_named(name), *(sa.column(_named(column)) for column in names), schema=_named(schema) if schema else None)


def _column(field: pa.Field, database: PortableDatabase, keys: Sequence[str]) -> sa.Column[Any]:
    kind = column_type(field.type, database, key=field.name in keys)
    return sa.Column(_named(field.name), kind, nullable=field.name not in keys, primary_key=field.name in keys, autoincrement=False)


def create_table(table: str, schema: pa.Schema, keys: Sequence[str], database: PortableDatabase) -> sa.Executable:
    """CREATE TABLE for the target; the keys are its primary key, in their order."""
    space, name = split(table)
    columns = [_column(field, database, keys) for field in schema]
    made = sa.Table(_named(name), sa.MetaData(), *columns, schema=_named(space) if space else None)
    return CreateTable(made)


def staging_table(name: str, schema: pa.Schema, database: PortableDatabase) -> sa.Table:
    """A staging table: the rows' columns, and their position."""
    columns = [_column(field, database, ()) for field in schema]
    return sa.Table(name, sa.MetaData(), sa.Column(ROW, sa.BigInteger, primary_key=True, autoincrement=False), *columns)


def rows_of(batch: pa.RecordBatch, first: int, database: PortableDatabase) -> list[dict[str, Any]]:
    """The rows of a batch as parameters of an insert into a staging table; moments are UTC, without a zone where the database has none."""
    zoned = database.name in ("postgresql", "mssql", "oracle")
    columns = [_values(column, zoned) for column in batch.columns]
    names = [*batch.schema.names, ROW]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, range(first, first + batch.num_rows), strict=True)]


def _values(column: pa.Array, zoned: bool) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz and not zoned:
        column = column.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit))
    elif pa.types.is_timestamp(kind) and kind.tz:
        return [value if value is None else value.astimezone(dt.timezone.utc) for value in column.to_pylist()]
    return list(column.to_pylist())


def unstorable(batch: pa.RecordBatch, database: PortableDatabase) -> list[int]:
    """Rows with a number that the database cannot hold: NaN and the infinities on MySQL, whose driver does not say which, NaN on SQLite."""
    if database.name not in ("mysql", "sqlite"):
        return []
    kept = math.isfinite if database.name == "mysql" else lambda value: not math.isnan(value)
    floats = [column.to_pylist() for column in batch.columns if pa.types.is_floating(column.type)]
    return [row for row, values in enumerate(zip(*floats, strict=True)) if any(v is not None and not kept(v) for v in values)]


def misfits(kind: Any, value: Any, database: str) -> bool:
    """Whether a column surely has no room for a value: a text too long, a number too large, or no number at all.

    Args:
        kind: SQLAlchemy's type of the column, as reflected.
        value: As it is staged.
        database: Name of the dialect, `mysql` for MariaDB as well. SQLite keeps any value in any column, so that nothing is sure there.
    """
    if value is None or isinstance(value, bool) or database == "sqlite":
        return False
    if isinstance(kind, sa.String):
        # Blanks at the end are cut without a word; the length of a SET is that of one of its members.
        length = None if isinstance(kind, mysql.SET) else kind.length
        return bool(length and isinstance(value, str) and len(value.rstrip(" ")) > length)
    if not isinstance(kind, (sa.Integer, sa.Numeric, sa.Float)) or not isinstance(value, (str, int, float, decimal.Decimal)):
        return False
    try:
        number = decimal.Decimal(str(value).strip())
    except decimal.InvalidOperation:
        return True
    exact = not isinstance(kind, (sa.Numeric, sa.Float))
    if not number.is_finite():
        return exact or database in _FINITE  # NaN has no order: to compare it is an error
    if exact:
        low, below = _bounds(kind, database)
        # Databases round a fraction, not all of them the same half.
        return not low <= number.to_integral_value(decimal.ROUND_HALF_DOWN) < below
    return _too_large(kind, number)


def _bounds(kind: Any, database: str) -> tuple[float, float]:
    """The least value of an integer column, and one above the greatest; infinite where they are not known."""
    bits = _BITS.get(type(kind).__name__.upper()) if database in _SIZED else None
    if bits is None:
        return -math.inf, math.inf
    unsigned = getattr(kind, "unsigned", False) or (database == "mssql" and bits == 8)
    return (0, 2**bits) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1))


def _too_large(kind: Any, number: decimal.Decimal) -> bool:
    """Whether a number has more digits before its point than a column of a precision, or a sign where that has none."""
    if isinstance(kind, sa.Float):
        return bool(getattr(kind, "unsigned", False)) and number < 0
    if not kind.precision:
        return False
    scale = kind.scale or 0
    if getattr(kind, "unsigned", False) and number <= -(decimal.Decimal(10) ** -scale):
        return True  # what is nearer to zero is rounded to it
    return number.copy_abs() >= decimal.Decimal(10) ** (kind.precision - scale)


def to_batch(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as a driver gives them, in a schema; what it gives otherwise than it was given is text."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [_array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=schema.names)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind) and kind.tz:
        values = [v.replace(tzinfo=dt.timezone.utc) if isinstance(v, dt.datetime) and v.tzinfo is None else v for v in values]
    elif pa.types.is_boolean(kind):
        values = [None if v is None else bool(v) for v in values]
    elif pa.types.is_binary(kind):
        values = [bytes(v) if isinstance(v, memoryview) else v for v in values]
    return array_of(values, kind)
