"""SQLite's declared types as Arrow's: what a column is meant to hold, since SQLite lets it hold anything."""

from __future__ import annotations

import pyarrow as pa

from beam_pipelines.columnar.types.common import UTC, decimal
from beam_pipelines.columnar.types.grammar import TypeTextError, parse

__all__ = ["from_sqlite"]

_NAMES: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "BOOL": pa.bool_(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITHOUT TIME ZONE": pa.timestamp("us"),
    "TIMESTAMPTZ": pa.timestamp("us", UTC),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", UTC),
    "STRING": pa.string(),
    "UUID": pa.uuid(),
    "JSON": pa.json_(),
    "JSONB": pa.binary(),
}
# https://www.sqlite.org/datatype3.html, section 3.1: the first part found in the declaration gives the affinity.
_AFFINITIES: tuple[tuple[tuple[str, ...], pa.DataType], ...] = (
    (("INT",), pa.int64()),
    (("CHAR", "CLOB", "TEXT"), pa.string()),
    (("BLOB",), pa.binary()),
    (("REAL", "FLOA", "DOUB"), pa.float64()),
)


def from_sqlite(declared: str) -> pa.DataType:
    """The Arrow type of a column, from its declaration.

    Names that people use for dates, booleans and decimals mean what they say; for the rest SQLite's rules of affinity hold. A value of
    another kind in such a column is a dead letter, not a wrong value. Undeclared columns and unknown names are text: any value can be that.
    `NUMERIC` without precision is a float, which is what SQLite keeps; `DECIMAL_TEXT(p,s)` is how `ddl` keeps decimals of more than 15
    digits exact.
    """
    try:
        text = parse(declared)
    except TypeTextError:
        return _by_affinity(declared.upper())
    if text.name in ("DECIMAL", "NUMERIC", "DEC", "DECIMAL_TEXT", "NUMBER", "MONEY", "CURRENCY"):
        return decimal(text.numbers) if text.numbers else pa.float64()
    return _NAMES.get(text.name) or _by_affinity(text.name)


def _by_affinity(name: str) -> pa.DataType:
    for parts, kind in _AFFINITIES:
        if any(part in name for part in parts):
            return kind
    return pa.string()
