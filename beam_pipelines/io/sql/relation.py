"""What a `database` source reads, as SQL: a table, tables by patterns, or a query; the whole of it or a window of its cursor.

Pure: nothing here connects. The window's predicate goes into the query where its `?` stood, or around it where the definition names a
`cursor`. Every incremental read carries `cursor IS NOT NULL`, so that a first run and the increments after it see the same rows.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import CursorSpec
from beam_pipelines.io.sql.literal import bound, literal, quote, quote_table
from beam_pipelines.io.sql.query import Query, cut_error, normalise, parse_query
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.names import PREFIX

if TYPE_CHECKING:
    from beam_pipelines.spec.source import Cursor, DatabaseSource

__all__ = ["QUERY", "ParamStyle", "Relation", "decide_kind", "match_column", "nearest"]

QUERY = "query"  # what origins and messages call the rows of a query
ParamStyle = Literal["literal", "numeric", "format", "qmark", "named"]
_STAMPS = frozenset({"postgresql", "sqlite", "duckdb"})  # where the database's own clock is what most schemas stamp with
_OURS = (PREFIX, "_beam_pipelines_")


@dataclass(frozen=True)
class Relation:
    """What one `database` source reads.

    Args:
        dialect: `postgresql`, `sqlite`, `duckdb`, or a SQLAlchemy dialect's name.
        table: Its table, as the definition names it.
        patterns: Its `tables`.
        query: Its query, read.
        text: Its query, as written.
        cursor: How new rows are told; `kind` is empty when the definition leaves it to the column's type (`decide_kind`).
    """

    dialect: str
    table: str | None = None
    patterns: tuple[str, ...] = ()
    query: Query | None = None
    text: str = ""
    cursor: CursorSpec | None = None

    @classmethod
    def of(cls, source: DatabaseSource, dialect: str) -> Relation:
        """Read a source's model.

        Raises:
            PlanError: The query is not one SELECT, or an incremental source does not say what is new.
        """
        query = parse_query(source.query, dialect, source.increments) if source.query is not None else None
        found = query.cursor if query else None
        stated = source.cursor
        cursor: CursorSpec | None = None
        if stated is not None:
            if found is not None and found.lower() != stated.column.lower():
                raise PlanError(
                    f"the query compares {found!r} with '?', but the cursor's column is {stated.column!r}: name the same column",
                    code="cursor-invalid",
                )
            kind = stated.kind if "kind" in stated.model_fields_set else ""
            overlap = stated.overlap.total_seconds() if isinstance(stated.overlap, timedelta) else float(stated.overlap or 0)
            stamper = stated.stamped_by or _stamped_by(dialect)
            cursor = CursorSpec(found or stated.column, kind, stamper, overlap, _max_lag(stated, dialect, stamper))
        elif found is not None:
            cursor = CursorSpec(found, "", _stamped_by(dialect))
        elif source.increments:
            raise PlanError(
                "an incremental source says what is new: a query with '?', such as SELECT * FROM customers WHERE updated_at > ?,"
                " or cursor: {column: updated_at}",
                code="cursor-invalid",
            )
        if query is not None and cursor is not None and query.cuts:
            raise cut_error()
        return cls(dialect, source.table, source.tables or (), query, source.query or "", cursor)

    @property
    def name(self) -> str | None:
        """What is read, for origins and messages; None when patterns decide."""
        return QUERY if self.query else self.table

    def base(self, table: str) -> str | None:
        """The one table that the rows of `table` (or of the query) come from, each at most once; None when the query may do more.

        Its primary key is then unique in the output as well, where `output_name` still gives every column of it.
        """
        return self.query.base if self.query else table

    def output_name(self, column: str) -> str | None:
        """What a column of the base table is called in the output; None when the query does not give it unchanged."""
        if self.query is None or self.query.outputs is None:
            return column
        return dict(self.query.outputs).get(column)

    def base_name(self, output: str) -> str | None:
        """The column of the base table that an output column gives unchanged; the inverse of `output_name`."""
        if self.query is None or self.query.outputs is None:
            return output
        return next((column for column, name in self.query.outputs if name == output), None)

    def matches(self, names: Iterable[str]) -> list[str]:
        """The tables that the patterns mean, sorted, each once; staging and ledger tables of this package never.

        Args:
            names: Every table there is, as `schema.table` or `table`.

        Raises:
            PlanError: A pattern matches none.
        """
        known = sorted({name for name in names if not name.split(".")[-1].strip('"').startswith(_OURS)})
        chosen: set[str] = set()
        for pattern in self.patterns:
            found = fnmatch.filter(known, pattern) if pattern not in known else [pattern]
            if not found:
                raise PlanError(f"expected a table that matches {pattern!r}, got none{nearest(pattern, known)}", code="table-missing")
            chosen.update(found)
        return sorted(chosen)

    def select(
        self,
        table: str,
        columns: Sequence[str] = (),
        *,
        low: Mark | None = None,
        low_inclusive: bool = False,
        ceiling: Mark | None = None,
        ceiling_inclusive: bool = False,
        where: str = "",
        order: Sequence[str] = (),
        limit: int | None = None,
        paramstyle: ParamStyle = "literal",
    ) -> tuple[str, list[Any]]:
        """Write the SELECT of a window or a part of it.

        Args:
            table: Table to read; ignored for a query.
            columns: Output columns by name, or expressions that begin with `=` (`=CAST("a" AS text) AS "a"`); none: all.
            low: Rows after it; None: from the beginning.
            low_inclusive: Rows at `low` too.
            ceiling: Rows before it; None: no bound.
            ceiling_inclusive: Rows at `ceiling` too.
            where: Further condition on the output columns, as SQL without placeholders.
            order: Output columns to sort by.
            limit: Rows at most.
            paramstyle: How the bounds are passed: `literal` in the text, or as `numeric` ($1), `format` (%s), `qmark` (?) or
                `named` (:p1, :p2) parameters, in their order.

        Returns:
            The statement and its parameters (none for `literal`).
        """
        params: list[Any] = []
        columns_sql = ", ".join(item[1:] if item.startswith("=") else self.quote(item) for item in columns) or "*"
        conditions: list[str] = []
        inline = self.query is not None and self.query.column_sql is not None
        predicate = ""
        if self.cursor is not None:
            column = (self.query.column_sql or "") if inline and self.query else self.quote(self.cursor.column)
            predicate = self._window(column, low, low_inclusive, ceiling, ceiling_inclusive, paramstyle, params)
        elif inline:
            predicate = "(1 = 1)"  # read whole, whatever the query compares
        if self.query is not None:
            # On lines of its own: a comment at the query's end must not swallow what follows.
            source = (
                f"(\n{_escape(self.query.head, paramstyle)}{predicate if inline else ''}{_escape(self.query.tail, paramstyle)}\n) bp_query"
            )
        else:
            source = quote_table(table, self.dialect)
        if predicate and not inline:
            conditions.append(predicate)
        if where:
            conditions.append(f"({_escape(where, paramstyle)})")
        sql = f"SELECT {_escape(columns_sql, paramstyle)} FROM {_escape(source, paramstyle) if self.query is None else source}"
        if conditions:
            sql += " WHERE " + " AND ".join(conditions)
        if order:
            sql += " ORDER BY " + ", ".join(self.quote(name) for name in order)
        return _limited(sql, limit, self.dialect), params

    def quote(self, name: str) -> str:
        return quote(name, self.dialect)

    def identity(self, table: str = "") -> str:
        """What a watermark belongs to, as JSON text: table or normalised query, and the cursor's column.

        Formatting, comments and the case of words outside quotes do not change it.
        """
        what = {"query": normalise(self.text)} if self.query else {"table": table or self.table or ""}
        return json.dumps({**what, "cursor": self.cursor.column if self.cursor else None}, sort_keys=True, ensure_ascii=False)

    def _window(
        self,
        column: str,
        low: Mark | None,
        low_inclusive: bool,
        ceiling: Mark | None,
        ceiling_inclusive: bool,
        paramstyle: ParamStyle,
        params: list[Any],
    ) -> str:
        column = _escape(column, paramstyle)
        parts = [f"{column} IS NOT NULL"]
        for mark, operator in ((low, ">=" if low_inclusive else ">"), (ceiling, "<=" if ceiling_inclusive else "<")):
            if mark is not None:
                parts.append(f"{column} {operator} {self._value(mark, paramstyle, params)}")
        return "(" + " AND ".join(parts) + ")"

    def _value(self, mark: Mark, paramstyle: ParamStyle, params: list[Any]) -> str:
        if paramstyle == "literal":
            return literal(mark, self.dialect)
        params.append(bound(mark, self.dialect))
        return {"numeric": f"${len(params)}", "format": "%s", "qmark": "?", "named": f":p{len(params)}"}[paramstyle]


def decide_kind(cursor: CursorSpec, column: pa.DataType) -> CursorSpec:
    """Fill in the kind that the definition left to the column's type: dates are `date`, numbers `sequence`, the rest `timestamp`.

    Raises:
        PlanError: The stated kind does not fit the column.
    """
    fits: tuple[str, ...]
    if pa.types.is_date(column):
        fits = ("date", "timestamp")
    elif pa.types.is_integer(column) or pa.types.is_decimal(column):
        fits = ("sequence", "timestamp")  # epoch seconds and the like are stamps kept as numbers
    elif pa.types.is_floating(column):
        fits = ("timestamp", "sequence")
    elif pa.types.is_timestamp(column):
        fits = ("timestamp", "date")
    elif pa.types.is_string(column) or pa.types.is_large_string(column):
        fits = ("timestamp", "date", "sequence")
    else:
        raise PlanError(f"expected a timestamp, date or number as cursor column {cursor.column!r}, got {column}", code="cursor-invalid")
    kind = cursor.kind or fits[0]
    if kind not in fits:
        raise PlanError(
            f"the cursor column {cursor.column!r} is of type {column}: expected kind {' or '.join(fits)}, got {kind}", code="cursor-invalid"
        )
    if cursor.max_lag is not None and kind != "timestamp":
        raise PlanError(f"maxCeilingLag is for timestamps: {cursor.column!r} is a {kind}", code="cursor-invalid")
    return replace(cursor, kind=kind)


def match_column(name: str, columns: Sequence[str], where: str) -> str:
    """Return the column meant by `name`: the same, or the only one that differs in case.

    Raises:
        PlanError: There is none; names the nearest.
    """
    if name in columns:
        return name
    same = [column for column in columns if column.lower() == name.lower()]
    if len(same) == 1:
        return same[0]
    raise PlanError(f"expected a column {name!r} in {where}, got none{nearest(name, columns)}", code="column-missing")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x' or 'y'?)`, or how many there are when none is near; for the end of a message."""
    names = sorted(set(known))
    by_key = {key: candidate for candidate in names for key in (candidate.lower(), candidate.split(".")[-1].lower())}
    close = difflib.get_close_matches(name.lower(), by_key, n=3, cutoff=0.6) or difflib.get_close_matches(
        name.split(".")[-1].lower(), by_key, n=3, cutoff=0.6
    )
    found = list(dict.fromkeys(by_key[key] for key in close))
    if found:
        return f" (did you mean {' or '.join(repr(each) for each in found)}?)"
    return f" (there are: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''})" if names else " (there are none)"


def _max_lag(stated: Cursor, dialect: str, stamper: str) -> float | None:
    """Seconds, None when the definition does not say it. Elsewhere no open transaction holds a ceiling back.

    Raises:
        PlanError: It is said where it would do nothing.
    """
    if "max_ceiling_lag" not in stated.model_fields_set:
        return None
    if dialect != "postgresql" or stamper == "client":
        where = "a cursor that clients stamp" if dialect == "postgresql" else dialect
        raise PlanError(
            f"maxCeilingLag watches open transactions of PostgreSQL, which hold back stamps that the database sets: not those of {where}",
            code="cursor-invalid",
        )
    return stated.max_ceiling_lag.total_seconds()


def _stamped_by(dialect: str) -> str:
    return "database" if dialect in _STAMPS else "client"


def _escape(sql: str, paramstyle: ParamStyle) -> str:
    """Make text of ours or the user's mean itself in a statement with parameters."""
    if paramstyle == "format":
        return sql.replace("%", "%%")
    if paramstyle == "named":
        return re.sub(r"(?<![:\w\\]):(?=\w)", r"\\:", sql)
    return sql


def _limited(sql: str, limit: int | None, dialect: str) -> str:
    if limit is None:
        return sql
    if dialect == "mssql":
        return sql.replace("SELECT ", f"SELECT TOP {int(limit)} ", 1)
    return f"{sql} FETCH FIRST {int(limit)} ROWS ONLY" if dialect in ("oracle", "db2") else f"{sql} LIMIT {int(limit)}"
