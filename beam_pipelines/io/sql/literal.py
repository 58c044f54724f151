"""Identifiers and values as SQL text, exact for each dialect.

ADBC and COPY cannot bind parameters, so bounds of a window are written into the statement. Only a `Mark` can be written, and each of its
types is read by its own rule and written anew: text that did not pass the rule never reaches a statement.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Any

from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.runs.mark import Mark

__all__ = ["bound", "fold", "literal", "quote", "quote_table", "split_table"]

_BACKTICK = frozenset({"mysql", "mariadb", "bigquery", "databricks", "spark", "hive", "clickhouse"})
_BACKSLASH = frozenset({"mysql", "mariadb", "bigquery", "databricks", "spark", "hive", "clickhouse"})  # '\' escapes in a plain string there
_UPPER = frozenset({"oracle", "snowflake", "db2"})
_PART = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^".\s][^".]*?))\s*(\.|$)')


def quote(name: str, dialect: str) -> str:
    """Quote one identifier, so that case, spaces and reserved words stand for themselves.

    Raises:
        PlanError: The name is empty or has a NUL character, which no database can hold.
    """
    if not name or "\0" in name:
        raise PlanError(f"expected the name of a table or column, got {name!r}", code="column-missing")
    if dialect in _BACKTICK:
        return "`" + name.replace("`", "``") + "`"
    if dialect == "mssql":
        return "[" + name.replace("]", "]]") + "]"
    return '"' + name.replace('"', '""') + '"'


def split_table(name: str) -> tuple[str, ...]:
    """Split `crm.customers` into schema and table; a part in double quotes may hold a dot.

    >>> split_table('crm."customers.2024"')
    ('crm', 'customers.2024')

    Raises:
        PlanError: It is no name of one to three parts.
    """
    parts: list[str] = []
    position, more = 0, True
    while more:
        found = _PART.match(name, position)
        if not found or "\0" in name:
            raise PlanError(f'expected a table such as customers, crm.customers or crm."odd.name", got {name!r}', code="table-missing")
        parts.append(found[1].replace('""', '"') if found[1] is not None else found[2])
        position, more = found.end(), found[3] == "."
    if len(parts) > 3:
        raise PlanError(f"expected a table such as customers or crm.customers, got {name!r} of {len(parts)} parts", code="table-missing")
    return tuple(parts)


def quote_table(name: str, dialect: str) -> str:
    """Quote a table, with its schema where it has one."""
    return ".".join(quote(part, dialect) for part in split_table(name))


def fold(name: str, dialect: str) -> str:
    """Return an identifier that stood without quotes as the database stores it."""
    if dialect == "postgresql":
        return name.lower()
    return name.upper() if dialect in _UPPER else name


def literal(mark: Mark, dialect: str) -> str:
    """Write a cursor value as a typed SQL literal.

    Args:
        mark: The value; microseconds at most.
        dialect: `postgresql`, `sqlite`, `duckdb`, or a SQLAlchemy dialect's name.

    Raises:
        FatalError: The mark does not hold a finite value of its type (the ledger was changed by hand).
    """
    try:
        value = mark.value
    except (ValueError, KeyError, ArithmeticError, TypeError) as bad:
        raise FatalError(f"expected a cursor value of type {mark.type!r}, got {mark.text[:60]!r}", code="cursor-invalid") from bad
    if isinstance(value, dt.datetime):
        return _moment(value, dialect)
    if isinstance(value, dt.date):
        text = f"'{value.isoformat()}'"
        return text if dialect == "sqlite" else f"CAST({text} AS date)" if dialect == "mssql" else f"DATE {text}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (Decimal, float)):
        return _number(value, dialect)
    return _string(str(value), dialect)


def bound(mark: Mark, dialect: str) -> Any:
    """Return a cursor value as a driver's parameter: Python's own type, except that SQLite keeps moments, dates and decimals as text."""
    value = mark.value
    if dialect != "sqlite":
        return value
    if isinstance(value, dt.datetime):
        return _text(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _moment(value: dt.datetime, dialect: str) -> str:
    text = f"'{_text(value)}'"
    if dialect == "sqlite":
        return text
    if dialect == "mssql":
        return f"CAST({text} AS {'datetime2' if value.tzinfo is None else 'datetimeoffset'})"
    if value.tzinfo is not None and dialect in ("postgresql", "duckdb"):
        return f"TIMESTAMPTZ {text}"
    return f"TIMESTAMP {text}"


def _text(value: dt.datetime) -> str:
    return value.isoformat(sep=" ", timespec="microseconds")


def _number(value: Decimal | float, dialect: str) -> str:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise FatalError(f"expected a finite cursor value, got {value}", code="cursor-invalid")
        return format(value, "f")
    if value != value or value in (float("inf"), float("-inf")):
        raise FatalError(f"expected a finite cursor value, got {value}", code="cursor-invalid")
    if dialect in ("postgresql", "duckdb"):
        # A bare 0.1 is a decimal there: compared with a double it would be cast the other way round.
        return f"CAST('{value!r}' AS double precision)"
    return repr(value)


def _string(value: str, dialect: str) -> str:
    if "\0" in value:
        raise FatalError("expected a cursor value without NUL characters", code="cursor-invalid")
    text = value.replace("'", "''")
    if "\\" in text:
        if dialect == "postgresql":
            # Means the same whatever standard_conforming_strings says.
            return "E'" + text.replace("\\", "\\\\") + "'"
        if dialect in _BACKSLASH:
            text = text.replace("\\", "\\\\")
    return f"N'{text}'" if dialect == "mssql" else f"'{text}'"
