"""The SQL of a merge, as text: what PostgreSQL, SQLite and DuckDB agree on. No connection here.

Staged rows are a relation with the target's columns and `_bp_row`, their position over all staged objects in the order of their ranges.
`winners` keeps one row a key: the newest version, on a tie the later row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from beam_pipelines.io.sql.session import quote, quote_table

__all__ = ["ROW", "MergeSql"]

ROW = "_bp_row"


@dataclass(frozen=True)
class MergeSql:
    """Statements for one merge.

    Args:
        table: Target table.
        staged: Relation that holds the staged rows: a quoted name or a parenthesised query.
        columns: Columns to write.
        keys: Columns that identify a row; empty for plain inserts.
        version: Column that orders versions of a row; None: no guard.
        types: Target types to cast to, by column, where the staged type differs.
        compared: Types to compare values as, by column, where the target's own has no equality.
    """

    table: str
    staged: str
    columns: tuple[str, ...]
    keys: tuple[str, ...] = ()
    version: str | None = None
    types: tuple[tuple[str, str], ...] = ()
    compared: tuple[tuple[str, str], ...] = ()

    def part(self, low: int, high: int) -> MergeSql:
        """The same merge for staged rows `low <= _bp_row < high`."""
        return replace(self, staged=f"(SELECT * FROM {self.staged} AS p WHERE p.{ROW} >= {low} AND p.{ROW} < {high})")

    def of(self, staged: str) -> MergeSql:
        return replace(self, staged=staged)

    @property
    def target(self) -> str:
        return quote_table(self.table)

    def value(self, column: str, alias: str = "s") -> str:
        """A staged column, cast to the target's type where it differs."""
        text = f"{alias}.{quote(column)}"
        wanted = dict(self.types).get(column)
        return f"CAST({text} AS {wanted})" if wanted else text

    def distinct(self) -> str:
        """Query: the number of keys among the staged rows, as the target tells keys apart."""
        keys = [self.value(key, "d") for key in self.keys]
        if len(keys) == 1:
            # Measured on PostgreSQL 18, 1,000,000 rows: 0.15 s, where the other one takes 0.7. No staged key is null.
            return f"SELECT count(DISTINCT {keys[0]}) FROM {self.staged} AS d"
        return f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(keys)} FROM {self.staged} AS d) AS k"

    def cast_keys(self) -> str:
        """Query that fails where a staged key will not cast to the target's type."""
        return f"SELECT {', '.join(f'count({self.value(key)})' for key in self.keys)} FROM {self.staged} AS s"

    def winners(self, apart: str = "") -> str:
        """Query: one staged row a key, with `_bp_row`.

        Args:
            apart: Condition (over `d`) of rows whose key will not cast: each stands for itself, to be refused by the merge.
        """
        order = f"{quote(self.version)} DESC NULLS LAST, " if self.version else ""
        names = ", ".join([*map(quote, self.columns), ROW])
        # By the target's types: what is one key there must be one here.
        keys = [self.value(key, "d") for key in self.keys]
        if apart:
            keys = [f"CASE WHEN {apart} THEN NULL ELSE {key} END" for key in keys] + [f"CASE WHEN {apart} THEN d.{ROW} END"]
        return (
            f"SELECT {names} FROM (SELECT *, row_number() OVER (PARTITION BY {', '.join(keys)} ORDER BY {order}{ROW} DESC) AS _bp_rank"
            f" FROM {self.staged} AS d) AS r WHERE _bp_rank = 1"
        )

    def match(self) -> str:
        return " AND ".join(f"t.{quote(key)} = {self.value(key)}" for key in self.keys)

    def stale(self) -> str:
        """Condition: the target's row is newer; one without a version is older than any that has one."""
        return self.newer(self.value(self.version)) if self.version is not None else "FALSE"

    def newer(self, value: str) -> str:
        """Condition: the target's version is above `value`. What is behind the comma is looked at only where one of the two is null."""
        there = f"t.{quote(self.version or '')}"
        return f"COALESCE({there} > {value}, {there} IS NOT NULL)"

    def differs(self) -> str:
        """Condition: some column would change."""
        others = [column for column in self.columns if column not in self.keys]
        # A version that is not older differs most of the time, and what stands behind it need not be compared then.
        others.sort(key=lambda column: column != self.version)
        return "(" + (" OR ".join(self.changes(column, self.value(column)) for column in others) or "FALSE") + ")"

    def changes(self, column: str, value: str) -> str:
        """Condition: the target's column is not `value`."""
        wanted = dict(self.compared).get(column)
        there = f"t.{quote(column)}"
        return f"CAST({there} AS {wanted}) IS DISTINCT FROM CAST({value} AS {wanted})" if wanted else f"{there} IS DISTINCT FROM {value}"

    def classify(self) -> str:
        """Query: one row (joined, inserted, stale, unchanged, updated)."""
        absent = f"t.{quote(self.keys[0])} IS NULL"
        return (
            f"SELECT count(*), count(*) FILTER (WHERE {absent}), count(*) FILTER (WHERE NOT ({absent}) AND {self.stale()}),"
            f" count(*) FILTER (WHERE NOT ({absent}) AND NOT {self.stale()} AND NOT {self.differs()}),"
            f" count(*) FILTER (WHERE NOT ({absent}) AND NOT {self.stale()} AND {self.differs()})"
            f" FROM {self.staged} AS s LEFT JOIN {self.target} AS t ON {self.match()}"
        )

    def insert(self) -> str:
        """Insert every staged row, in order."""
        names = ", ".join(map(quote, self.columns))
        values = ", ".join(self.value(column) for column in self.columns)
        return f"INSERT INTO {self.target} ({names}) SELECT {values} FROM {self.staged} AS s"

    def insert_absent(self) -> str:
        """Insert the staged rows whose key the target lacks (a join, so that databases without an index build one)."""
        return f"{self.insert()} LEFT JOIN {self.target} AS t ON {self.match()} WHERE t.{quote(self.keys[0])} IS NULL"

    def update(self) -> str:
        """Update the target's rows that are older and differ (`UPDATE ... FROM`)."""
        sets = ", ".join(f"{quote(c)} = {self.value(c)}" for c in self.columns if c not in self.keys)
        return (
            f"UPDATE {self.target} AS t SET {sets} FROM {self.staged} AS s WHERE {self.match()} AND NOT {self.stale()} AND {self.differs()}"
        )

    def merge(self) -> str:
        """One MERGE with both guards."""
        names = ", ".join(map(quote, self.columns))
        values = ", ".join(self.value(column) for column in self.columns)
        sets = ", ".join(f"{quote(c)} = {self.value(c)}" for c in self.columns if c not in self.keys)
        update = f" WHEN MATCHED AND NOT {self.stale()} AND {self.differs()} THEN UPDATE SET {sets}" if sets else ""
        insert = f" WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
        return f"MERGE INTO {self.target} AS t USING {self.staged} AS s ON {self.match()}{update}{insert}"

    def delete_known(self) -> str:
        """Delete as `delete_matching` does, where staged keys are unique; one row (deleted, distinct keys of them)."""
        keys = [f"t.{quote(key)}" for key in self.keys]
        names = [f"k{number}" for number in range(len(keys))]
        given = ", ".join(f"{key} AS {name}" for key, name in zip(keys, names, strict=True))
        distinct = f"({', '.join(names)})" if len(names) > 1 else names[0]
        return (
            f"WITH gone AS (DELETE FROM {self.target} AS t USING {self.staged} AS s WHERE {self.match()} RETURNING {given})"
            f" SELECT count(*), count(DISTINCT {distinct}) FROM gone"
        )

    def delete_matching(self) -> str:
        """Delete the target's rows whose key is staged (`replace` with keys: whole rows)."""
        return f"DELETE FROM {self.target} AS t WHERE EXISTS (SELECT 1 FROM {self.staged} AS s WHERE {self.match()})"

    def delete_all(self) -> str:
        return f"DELETE FROM {self.target}"
