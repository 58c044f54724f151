"""The statements of a merge as SQLAlchemy expressions, for databases whose own words nobody here knows: no MERGE, no ON CONFLICT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from beam_pipelines.io.sql.merge import ROW
from beam_pipelines.io.sql.portable_table import table_of

__all__ = ["PortableMerge", "winners"]


@dataclass(frozen=True)
class PortableMerge:
    """Statements for one merge of staged rows, each key of which comes once.

    Args:
        table: Target table.
        staged: Staging table, with `_bp_row`; rows where it is negative are set aside.
        columns: Columns to write.
        keys: Columns that identify a row; empty for plain inserts.
        version: Column that orders versions of a row; None: no guard.
        types: Types of the target's columns to cast to, by column, where the staged type differs.
        as_text: Columns to compare as text, for their own type has no equality.
        low: Rows from this `_bp_row` on; None: all rows.
        high: Rows below this one.
    """

    table: str
    staged: str
    columns: tuple[str, ...]
    keys: tuple[str, ...] = ()
    version: str | None = None
    types: Mapping[str, Any] = field(default_factory=dict)
    as_text: frozenset[str] = frozenset()
    low: int | None = None
    high: int | None = None

    @property
    def target(self) -> sa.TableClause:
        return table_of(self.table, self.columns)

    @property
    def rows(self) -> Any:
        """The staged rows, by their names in the target and of its types."""
        source = table_of(self.staged, [*self.columns, ROW])
        columns = [self._cast(source.c[name]).label(name) for name in self.columns]
        query = sa.select(*columns, source.c[ROW]).where(source.c[ROW] >= (self.low or 0))
        if self.high is not None:
            query = query.where(source.c[ROW] < self.high)
        return query.subquery("s")

    def set_aside(self, rows: Sequence[int]) -> sa.Update:
        """Take rows out of the merge, but not out of the table: they get a negative position."""
        s = table_of(self.staged, [ROW])
        return sa.update(s).values({s.c[ROW]: -1 - s.c[ROW]}).where(s.c[ROW].in_(rows))

    def _cast(self, column: Any) -> Any:
        wanted = self.types.get(column.name)
        return column if wanted is None else sa.cast(column, wanted)

    def _match(self, s: Any, t: Any) -> Any:
        return sa.and_(*(t.c[key] == s.c[key] for key in self.keys))

    def _stale(self, s: Any, t: Any) -> Any:
        """The target's row is newer, as `MergeSql.stale` has it: never unknown, whatever is null."""
        if self.version is None:
            return sa.false()
        mine, theirs = s.c[self.version], t.c[self.version]
        return sa.and_(theirs.is_not(None), sa.or_(mine.is_(None), theirs > mine))

    def _differs(self, s: Any, t: Any) -> Any:
        others = [name for name in self.columns if name not in self.keys]
        pairs = [(t.c[name], s.c[name]) for name in others if name not in self.as_text]
        pairs += [(sa.cast(t.c[name], sa.Text), sa.cast(s.c[name], sa.Text)) for name in others if name in self.as_text]
        return sa.or_(sa.false(), *(there.is_distinct_from(comes) for there, comes in pairs))

    def _due(self, s: Any, t: Any) -> Any:
        return sa.and_(self._match(s, t), sa.not_(self._stale(s, t)), self._differs(s, t))

    def count(self) -> sa.Select[Any]:
        return sa.select(sa.func.count()).select_from(self.rows)

    def bounds(self) -> sa.Select[Any]:
        """The least and the greatest `_bp_row`."""
        s = self.rows
        return sa.select(sa.func.min(s.c[ROW]), sa.func.max(s.c[ROW]))

    def classify(self) -> sa.Select[Any]:
        """One row (joined, inserted, stale, unchanged, updated)."""
        s, t = self.rows, self.target
        absent = t.c[self.keys[0]].is_(None)
        stale, differs = self._stale(s, t), self._differs(s, t)
        there = sa.and_(sa.not_(absent), sa.not_(stale))
        counts = [absent, sa.and_(sa.not_(absent), stale), sa.and_(there, sa.not_(differs)), sa.and_(there, differs)]
        sums = [sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0) for condition in counts]
        return sa.select(sa.func.count(), *sums).select_from(s.outerjoin(t, self._match(s, t)))

    def insert(self) -> sa.Insert:
        s = self.rows
        return sa.insert(self.target).from_select(list(self.columns), sa.select(*(s.c[name] for name in self.columns)))

    def insert_absent(self) -> sa.Insert:
        """Insert the staged rows whose key the target lacks."""
        s, t = self.rows, self.target.alias("t")
        query = sa.select(*(s.c[name] for name in self.columns)).select_from(s.outerjoin(t, self._match(s, t)))
        return sa.insert(self.target).from_select(list(self.columns), query.where(t.c[self.keys[0]].is_(None)))

    def update(self, *, joined: bool) -> sa.Update:
        """Update the target's rows that are older and differ.

        Args:
            joined: The database takes values from a joined table; else each comes from a subquery.
        """
        s, t = self.rows, self.target
        names = [name for name in self.columns if name not in self.keys]
        if joined:
            return sa.update(t).values({t.c[name]: s.c[name] for name in names}).where(self._due(s, t))
        values = {t.c[name]: sa.select(s.c[name]).where(self._match(s, t)).scalar_subquery() for name in names}
        return sa.update(t).values(values).where(sa.exists(sa.select(sa.literal(1)).select_from(s).where(self._due(s, t))))

    def delete_matching(self) -> sa.Delete:
        """Delete the target's rows whose key is staged."""
        s, t = self.rows, self.target
        return sa.delete(t).where(sa.exists(sa.select(sa.literal(1)).select_from(s).where(self._match(s, t))))


def winners(parts: Sequence[tuple[str, int]], columns: Sequence[str], keys: Sequence[str], version: str | None) -> sa.Select[Any]:
    """Query: the rows of all staging tables with their position over all; with keys one row a key: the newest version, on a tie the later.

    Args:
        parts: Staging tables, each with the number of rows before it.
        columns: Of the rows.
        keys: That may repeat; empty: every row counts.
        version: Orders versions of a row, None: the later row wins.
    """
    selects = []
    for name, first in parts:
        part = table_of(name, [*columns, ROW])
        selects.append(sa.select((part.c[ROW] + sa.literal(first, sa.BigInteger)).label(ROW), *(part.c[column] for column in columns)))
    union = (selects[0] if len(selects) == 1 else sa.union_all(*selects)).subquery("u")
    every = [union.c[ROW], *(union.c[column] for column in columns)]
    if not keys:
        return sa.select(*every)
    order: list[Any] = [union.c[ROW].desc()]
    if version is not None:
        order = [sa.case((union.c[version].is_(None), 1), else_=0), union.c[version].desc(), *order]
    rank = sa.func.row_number().over(partition_by=[union.c[key] for key in keys], order_by=order).label("_bp_rank")
    ranked = sa.select(*every, rank).subquery("r")
    return sa.select(ranked.c[ROW], *(ranked.c[column] for column in columns)).where(ranked.c["_bp_rank"] == 1)
