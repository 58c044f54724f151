"""SQLAlchemy's types and Arrow's, for the databases that have no table of their own here."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.types.common import UTC, decimal, unsupported

__all__ = ["from_sqlalchemy", "to_sqlalchemy"]


def from_sqlalchemy(kind: Any, column: str = "") -> pa.DataType:
    """The Arrow type of a column, from its type as SQLAlchemy reflects it (an instance of `sqlalchemy.types.TypeEngine`).

    Raises:
        PlanError: SQLAlchemy does not know the type, or Arrow has nothing that keeps it.
    """
    import sqlalchemy as sa

    if isinstance(kind, sa.ARRAY):
        item = from_sqlalchemy(kind.item_type, column)
        return pa.list_(item)
    if isinstance(kind, sa.Integer) or kind.__visit_name__ == "YEAR":
        return _integer(kind)
    if isinstance(kind, sa.Float):
        # Floats are Numerics to SQLAlchemy, so they come first.
        return pa.float32() if kind.__visit_name__ in ("REAL", "FLOAT4") or (kind.precision or 53) <= 24 else pa.float64()
    if isinstance(kind, sa.Numeric):
        return decimal(tuple(n for n in (kind.precision, kind.scale) if n is not None))
    if isinstance(kind, sa.DateTime):
        # SQL Server has a type of its own for it.
        zoned = kind.timezone or kind.__visit_name__ == "DATETIMEOFFSET"
        return pa.timestamp("us", UTC if zoned else None)
    for known, arrow in (
        (sa.Boolean, pa.bool_()),
        (sa.Uuid, pa.uuid()),
        (sa.JSON, pa.json_()),
        (sa.String, pa.string()),  # Text, Unicode and Enum too
        (sa.LargeBinary, pa.binary()),
        (sa.BINARY, pa.binary()),
        (sa.VARBINARY, pa.binary()),
        (sa.Date, pa.date32()),
        (sa.Time, pa.time64("us")),
        (sa.Interval, pa.month_day_nano_interval()),
    ):
        if isinstance(kind, known):
            return arrow
    raise unsupported(kind.__class__.__name__, "SQLAlchemy", column, "cast it in the query, such as CAST(x AS VARCHAR(100))")


def _integer(kind: Any) -> pa.DataType:
    import sqlalchemy as sa

    name = kind.__visit_name__.upper()
    if name in ("TINYINT", "MEDIUMINT", "YEAR"):
        bits = {"TINYINT": 8, "MEDIUMINT": 32, "YEAR": 16}[name]
    else:
        bits = 64 if isinstance(kind, sa.BigInteger) else 16 if isinstance(kind, sa.SmallInteger) else 32
    if getattr(kind, "unsigned", False):  # MySQL's
        return {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[bits]
    return {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[bits]


def to_sqlalchemy(kind: pa.DataType) -> Any:
    """The SQLAlchemy type of a column that keeps `kind`, which is of a type that `writable` gives for such a database."""
    import sqlalchemy as sa
    from sqlalchemy.dialects import mysql

    if pa.types.is_decimal(kind):
        return sa.Numeric(kind.precision, kind.scale)
    if pa.types.is_timestamp(kind):
        # MySQL's DATETIME keeps no fraction unless told to.
        return sa.DateTime(timezone=kind.tz is not None).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    for arrow, made in (
        (pa.bool_(), sa.Boolean()),
        (pa.int16(), sa.SmallInteger()),
        (pa.int32(), sa.Integer()),
        (pa.int64(), sa.BigInteger()),
        (pa.float32(), sa.REAL()),
        (pa.float64(), sa.Double()),
        (pa.binary(), sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")),
        (pa.date32(), sa.Date()),
        (pa.time64("us"), sa.Time().with_variant(mysql.TIME(fsp=6), "mysql", "mariadb")),
    ):
        if kind == arrow:
            return made
    # MySQL's TEXT ends at 64 KiB.
    return sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
