"""Cuts a window into ranges of about equal size, from what the server's statistics know.

The first range is open below and the last above, so that together they are exactly the window whatever was inserted since; bounds are
compared by the server, in the column's own order, so that no row is in two ranges and none is between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beam_pipelines.io.sql.literal import literal, quote, quote_table
from beam_pipelines.runs.mark import Mark

if TYPE_CHECKING:
    import psycopg

__all__ = ["SORTABLE", "Cut", "condition", "cuts", "histogram", "sampled", "sortable"]

# Types whose values survive the way through text, and that PostgreSQL orders.
SORTABLE = ("bigint", "integer", "smallint", "numeric", "uuid", "date", "timestamp", "text", "character varying")
_SAMPLE_ROWS = 20_000  # bounds within a few percent of equal parts

_HISTOGRAM = """
SELECT array_agg(value ORDER BY position)
FROM (SELECT s.histogram_bounds::text::text[] AS bounds FROM pg_stats s
      WHERE (quote_ident(s.schemaname) || '.' || quote_ident(s.tablename))::regclass = to_regclass(%(table)s) AND s.attname = %(column)s
        AND s.histogram_bounds IS NOT NULL
      ORDER BY s.inherited DESC LIMIT 1) statistics, unnest(bounds) WITH ORDINALITY bound (value, position)
"""


@dataclass(frozen=True)
class Cut:
    """One range: `from <= column < below`.

    Args:
        column: Output column it is cut by.
        type: The column's type, as the server writes it.
        low: First value, as the server writes it; None: from the beginning.
        below: End; None: to the end.
    """

    column: str
    type: str
    low: str | None = None
    below: str | None = None

    def to_json(self) -> dict[str, str | None]:
        return {"column": self.column, "type": self.type, "from": self.low, "below": self.below}


def sortable(kind: str) -> bool:
    """Whether ranges can be cut by a column of this type."""
    return kind.startswith(SORTABLE) and not kind.endswith("[]")


def cuts(column: str, kind: str, inner: Sequence[str], parts: int) -> list[Cut]:
    """Ranges from sorted, possibly repeated values that divide the rows into equal parts.

    Args:
        column: Output column.
        kind: Its type.
        inner: Values, ascending in the server's order, least and greatest excluded.
        parts: Ranges wanted; fewer come when there are too few values.
    """
    chosen = [inner[len(inner) * index // parts] for index in range(1, parts)] if inner else []
    bounds: list[str | None] = [None, *dict.fromkeys(chosen), None]
    return [Cut(column, kind, low, below) for low, below in itertools.pairwise(bounds)]


def condition(bounds: dict[str, Any]) -> str:
    """The condition of a range, as SQL: values are quoted text, cast to the column's type by the server."""
    column, kind = quote(bounds["column"], "postgresql"), str(bounds["type"])
    if not sortable(kind):
        raise ValueError(f"expected a type that ranges can be cut by, got {kind!r}")
    parts = []
    if bounds.get("from") is not None:
        parts.append(f"{column} >= {_value(bounds['from'], kind)}")
    if bounds.get("below") is not None:
        parts.append(f"{column} < {_value(bounds['below'], kind)}")
    return " AND ".join(parts)


def _value(text: str, kind: str) -> str:
    return f"CAST({literal(Mark('text', str(text)), 'postgresql')} AS {_bare(kind)})"


def _quoted(table: str) -> str:
    return quote_table(table, "postgresql")


def _bare(kind: str) -> str:
    """The type without its modifier: a cast to varchar(3) or numeric(4,1) would change the bound."""
    found = next(known for known in SORTABLE if kind.startswith(known))
    return f"{found} with time zone" if found == "timestamp" and kind.endswith("with time zone") else found


def histogram(connection: psycopg.Connection[Any], table: str, column: str, kind: str, above: Mark | None = None) -> list[str]:
    """Inner bounds of the statistics' equal parts of a column.

    Args:
        connection: In autocommit.
        table: Base table.
        column: Column of the base table.
        kind: Its type.
        above: Leave out bounds that are not above this value.

    Returns:
        Ascending values as text; none where there are no statistics (never analysed, few rows, no privilege).
    """
    sql = _HISTOGRAM
    if above is not None:
        sql += f" WHERE CAST(value AS {_bare(kind)}) > {literal(above, 'postgresql')}"
    row = connection.execute(sql.encode(), {"table": _quoted(table), "column": column}).fetchone()
    values = [str(value) for value in row[0]] if row and row[0] else []
    return values[:-1] if above is not None else values[1:-1]


def sampled(connection: psycopg.Connection[Any], table: str, column: str, rows: int, parts: int) -> list[str]:
    """Inner bounds from a sample of the table's pages."""
    percent = min(100.0, 100.0 * _SAMPLE_ROWS / max(rows, 1))
    fractions = [index / parts for index in range(1, parts)]
    sql = (
        f"SELECT percentile_disc(%s::float8[]) WITHIN GROUP (ORDER BY {quote(column, 'postgresql')})::text[]"
        f" FROM {_quoted(table)} TABLESAMPLE SYSTEM ({percent:.4f})"
    )
    row = connection.execute(sql.encode(), [fractions]).fetchone()
    return [str(value) for value in row[0]] if row and row[0] else []
