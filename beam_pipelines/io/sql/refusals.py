"""Which staged rows a table would refuse, found by set from its constraints: one query a constraint, however many rows break it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from beam_pipelines.io.sql.merge import ROW, MergeSql
from beam_pipelines.io.sql.session import quote

__all__ = ["Constraint", "queries"]


@dataclass(frozen=True)
class Constraint:
    """One constraint of the target, as its catalog has it.

    Args:
        kind: `NOT NULL`, `CHECK`, `UNIQUE` (primary keys and unique indexes too) or `FOREIGN KEY`.
        text: As people read it.
        columns: Constrained columns; of a unique index with `parts` those that the parts are made of.
        expression: Of a CHECK, over unqualified column names.
        references: Quoted referenced table of a FOREIGN KEY.
        referenced: Its columns.
        parts: Of a unique index on expressions: these and the columns, each over unqualified column names.
    """

    kind: str
    text: str
    columns: tuple[str, ...]
    expression: str = ""
    references: str = ""
    referenced: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def queries(
    sql: MergeSql, constraints: Iterable[Constraint], all_columns: Iterable[str], *, insert: bool, fold: Callable[[str], str] = str
) -> list[tuple[str, str]]:
    """For each way the target can refuse a row: the reason, and a query of the `_bp_row`s it strikes.

    Args:
        sql: The merge; its staged relation has `_bp_row`.
        constraints: Of the target.
        all_columns: Of the target; those that are not staged are null in new rows.
        insert: Rows are inserted, whatever is there; else they update the row with their key.
        fold: Makes equal the names that are the same to the target.
    """
    found = []
    spelled = {fold(column): column for column in sql.columns}
    for constraint in constraints:
        one = replace(constraint, columns=tuple(spelled.get(fold(column), column) for column in constraint.columns))
        if one.kind == "NOT NULL" and one.columns[0] in sql.columns:
            found.append((f"column {one.columns[0]!r} must not be null", _rows(sql, f"s.{quote(one.columns[0])} IS NULL")))
        elif one.kind == "CHECK":
            missing = [column for column in all_columns if fold(column) not in spelled]
            found.append((f"{one.text} does not hold", _check(sql, one.expression, missing)))
        elif one.kind == "UNIQUE" and set(one.columns) <= set(sql.columns):
            found.append((f"{one.text} is taken", _unique(sql, one, insert=insert)))
        elif one.kind == "FOREIGN KEY" and set(one.columns) <= set(sql.columns):
            found.append((f"{one.text} finds no such row", _foreign(sql, one)))
    return found


def _rows(sql: MergeSql, condition: str) -> str:
    return f"SELECT {ROW} FROM {sql.staged} AS s WHERE {condition}"


def _typed(sql: MergeSql) -> str:
    """The staged rows with the target's types."""
    parts = [f"{sql.value(column)} AS {quote(column)}" for column in sql.columns]
    return f"(SELECT {ROW}, {', '.join(parts)} FROM {sql.staged} AS s)"


def _check(sql: MergeSql, expression: str, missing: Iterable[str]) -> str:
    nulls = [f"NULL AS {quote(column)}" for column in missing]
    relation = f"(SELECT {', '.join(['y.*', *nulls])} FROM {_typed(sql)} AS y)"
    return f"SELECT {ROW} FROM {relation} AS s WHERE NOT COALESCE(({expression}), TRUE)"


def _unique(sql: MergeSql, one: Constraint, *, insert: bool) -> str:
    """Rows whose unique value is taken: by a row of the target that is not the one they update, else by an earlier staged one."""
    columns, staged, target = one.columns, _typed(sql), sql.target
    if one.parts:
        columns = tuple(f"_bp_part_{number}" for number in range(len(one.parts)))
        parts = ", ".join(f"{part} AS {quote(column)}" for part, column in zip(one.parts, columns, strict=True))
        staged, target = f"(SELECT y.*, {parts} FROM {staged} AS y)", f"(SELECT *, {parts} FROM {target})"
    elif not insert and set(columns) == set(sql.keys):
        return f"SELECT {ROW} FROM {sql.staged} AS s WHERE FALSE"
    same = " AND ".join(f"t.{quote(c)} = s.{quote(c)}" for c in columns)
    itself = " AND ".join(f"t.{quote(k)} = s.{quote(k)}" for k in sql.keys)
    other = f" AND NOT ({itself})" if not insert and sql.keys else ""
    partition = ", ".join(f"s.{quote(c)}" for c in columns)
    whole = " AND ".join(f"s.{quote(c)} IS NOT NULL" for c in columns)
    taken = f"t.{quote(columns[0])} IS NOT NULL"
    return (
        f"SELECT {ROW} FROM (SELECT s.{ROW}, {taken} AS taken, row_number() OVER (PARTITION BY {taken}, {partition} ORDER BY s.{ROW}) AS n"
        f" FROM {staged} AS s LEFT JOIN {target} AS t ON {same}{other} WHERE {whole}) AS r WHERE taken OR n > 1"
    )


def _foreign(sql: MergeSql, one: Constraint) -> str:
    same = " AND ".join(f"f.{quote(there)} = s.{quote(here)}" for here, there in zip(one.columns, one.referenced, strict=True))
    whole = " AND ".join(f"s.{quote(c)} IS NOT NULL" for c in one.columns)
    return f"SELECT {ROW} FROM {_typed(sql)} AS s WHERE {whole} AND NOT EXISTS (SELECT 1 FROM {one.references} AS f WHERE {same})"
