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

_BITS = ((sa.SmallInteger, 16), (sa.BigInteger, 64))
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


def misfits(kind: Any, value: Any) -> bool:
    """Whether a column of this SQLAlchemy type has no room for a value: a text too long, a number too large, or no number at all."""
    if value is None:
        return False
    if isinstance(kind, sa.String):
        return bool(kind.length and isinstance(value, str) and len(value) > kind.length)
    if not isinstance(kind, (sa.Integer, sa.Numeric, sa.Float)) or not isinstance(value, (str, int, float, decimal.Decimal)):
        return False
    try:
        number = decimal.Decimal(str(value).strip())
    except decimal.InvalidOperation:
        return True
    if not number.is_finite():
        return True  # NaN has no order: to compare it is an error
    if isinstance(kind, sa.Integer):
        bits = next((bits for integer, bits in _BITS if isinstance(kind, integer)), 32)
        return not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1)
    return bool(
        kind.precision
        and not isinstance(kind, sa.Float)
        and number.copy_abs() >= decimal.Decimal(10) ** (kind.precision - (kind.scale or 0))
    )


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
