"""The merge of a load into a database, written once; each gives its connection, its staging and, where it is faster, its own statements."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import pyarrow as pa

from beam_pipelines.columnar import types
from beam_pipelines.errors import BalanceError, BeamPipelinesError, DataError, FatalError, TransientError
from beam_pipelines.io.connector import Described, Policy
from beam_pipelines.io.sql import refusals
from beam_pipelines.io.sql.blame import Blame, FoundError, LostError
from beam_pipelines.io.sql.ledger_target import Judged, LedgerTarget
from beam_pipelines.io.sql.merge import ROW, MergeSql
from beam_pipelines.io.sql.origins import origins
from beam_pipelines.io.sql.session import Outcome, Session, quote, quote_table
from beam_pipelines.io.sql.swap import gone, obstructed
from beam_pipelines.runs.counts import Merged, Tally
from beam_pipelines.runs.facts import Dead, Staged
from beam_pipelines.runs.names import StagingName
from beam_pipelines.runs.window import Window

__all__ = ["MergePlan", "Refused", "SqlTarget", "letters_name", "several"]

_LOG = logging.getLogger(__name__)
_LITERALS = 10_000  # row numbers a statement: its text stays below 100 KB
T = TypeVar("T")


@dataclass(frozen=True)
class Refused:
    """A staged row that the target will not take.

    Args:
        row: Its `_bp_row`.
        code: Error code.
        message: The target's reason, without values.
    """

    row: int
    code: str
    message: str


@dataclass(frozen=True)
class MergePlan:
    """Everything a merge needs to know.

    Args:
        sql: Statements, over the winners where keys may repeat.
        policy: How rows go in.
        rows: Rows in `sql.staged`.
        empty: The target holds no row now (or none after a whole-table replace).
        indexed: The target has a primary key or unique index on the keys.
        span: Of `_bp_row`, from and below; None: all rows.
    """

    sql: MergeSql
    policy: Policy
    rows: int
    empty: bool
    indexed: bool
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class _Into:
    """The table that rows are written to.

    Args:
        window: Of the load.
        table: The load's own table, or the one that takes its place.
        known: Its columns and key.
        blame: The row is looked for that fails the load; None: the load is meant.
    """

    window: Window
    table: str
    known: Described
    blame: Blame | None = None


class SqlTarget(LedgerTarget):
    """A database as target: ledger, staging by attempt, one commit transaction."""

    system: str
    numbered_from = 0  # the least `_bp_row`

    # What each database gives.

    @abstractmethod
    def columns(self, tx: Session, table: str) -> Described | None:
        """Schema and primary key of a table as the transaction sees it; None when there is none."""

    @abstractmethod
    def attach(self, tx: Session, staged: Sequence[Staged], schema: pa.Schema, *, once: bool, numbered: bool) -> str:
        """Make all rows of the staging objects one relation of the transaction, with `_bp_row`, and give its quoted name.

        Args:
            tx: The commit's transaction.
            staged: Objects, in the order of their rows.
            schema: Of the staged rows.
            once: The relation is read by one statement.
            numbered: `_bp_row` is needed.

        Raises:
            FatalError: A staging object is gone, or holds another number of rows than its manifest says (`staging-lost`).
        """

    @abstractmethod
    def fetch(self, tx: Session, relation: str, rows: Sequence[int], schema: pa.Schema) -> pa.RecordBatch:
        """Rows of an attached relation by `_bp_row`, in that order."""

    @abstractmethod
    def keep_letters(self, tx: Session, window: Window, letters: pa.RecordBatch) -> Staged:
        """Stage the dead letters of refused rows: there if, and only if, the transaction commits (or harmless if it does not)."""

    @abstractmethod
    def savepoint(self, tx: Session) -> AbstractContextManager[None]:
        """A savepoint: undone when the block raises. Databases without one say `savepoints = False`, and override `apply_rest`."""

    savepoints = True

    def constraints(self, tx: Session, table: str) -> list[refusals.Constraint]:  # noqa: ARG002
        """What the catalog knows of the table's constraints; those it does not know cost more to find."""
        return []

    # The catalog, read.

    def describe(self, table: str) -> Described | None:
        with self.reading() as tx:
            return self.columns(tx, table) if tx is not None else None

    def merge(self, tx: Session, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> Merged:
        return self._merge(tx, window, policy, schema, tally, None)

    def _merge(self, tx: Session, window: Window, policy: Policy, schema: pa.Schema, tally: Tally, blame: Blame | None) -> Merged:
        known, made = self.columns(tx, window.load), False
        if known is None and window.there and not policy.whole:
            raise _dropped(window)
        if known is None and (tally.read or tally.staged_rows or window.live):
            # Also when no row arrives: a watermark moves on, and a table that is not there later was dropped by somebody. Of a stream also
            # when no row was read: its offsets are stored all the same.
            self.create_table(tx, window, schema, policy)
            known, made = self.columns(tx, window.load), True
        if known is None:
            return Merged(method="nothing to load")
        if not policy.whole:
            return self._load(tx, _Into(window, window.load, known, blame), policy, schema, tally)
        if policy.swap and not made:
            obstacles = self.obstacles_in(tx, window.load)
            if obstacles:
                raise Judged("mode-refused", obstructed(window.load, obstacles))
            with self.swapping(tx, window) as (fresh, deleted):
                merged = self._load(tx, _Into(window, fresh, known, blame), policy, schema, tally)
            return replace(merged, deleted=deleted, method="swap")
        deleted = tx.execute(f"DELETE FROM {quote_table(window.load)}").count
        return replace(self._load(tx, _Into(window, window.load, known, blame), policy, schema, tally), deleted=max(deleted, 0))

    def _load(self, tx: Session, into: _Into, policy: Policy, schema: pa.Schema, tally: Tally) -> Merged:
        if not tally.staged_rows:
            return Merged(method="nothing to load")
        window, table, known = into.window, into.table, self._fit(tx, into, policy, schema)
        plain = policy.whole or policy.mode == "insert"
        casts = self.casts(schema, known)
        repeated = not plain and not _unique(window, casts)
        single = not policy.stop or into.blame is not None
        relation = self.attach(tx, tally.staged, schema, once=plain and not single, numbered=repeated or single)
        sql = MergeSql(
            table,
            relation,
            tuple(schema.names),
            () if plain else window.key_fields,
            window.version_column if policy.mode == "upsert" else None,
            casts,
            self.compared(schema, known),
        )
        superseded = 0
        if repeated:
            try:
                sql, superseded = self.pick_winners(tx, sql, window, tally.staged_rows, stop=policy.stop)
            except DataError:
                if into.blame is not None:
                    into.blame.key(tx, MergePlan(sql, policy, tally.staged_rows, empty=False, indexed=False))
                raise
        fold = str.lower if self.traits.folds_case else str
        indexed = bool(known.primary_key) and set(map(fold, known.primary_key)) <= set(map(fold, sql.keys))
        plan = MergePlan(sql, policy, tally.staged_rows - superseded, self.is_empty(tx, table), indexed)
        if into.blame is not None:
            into.blame.row(tx, plan)
        return replace(self._apply(tx, window, plan, schema, tally), superseded=superseded)

    # Whole-table replace by a new table (`strategy: swap`).

    def obstacles(self, table: str) -> list[str]:
        with self.reading() as tx:
            return self.obstacles_in(tx, table) if tx is not None and self.has_table(tx, table) else []

    def obstacles_in(self, tx: Session, table: str) -> list[str]:  # noqa: ARG002
        """What hangs on a table and would be lost with it, or keep to it; databases that swap say."""
        return []

    def swapping(self, tx: Session, window: Window) -> AbstractContextManager[tuple[str, int]]:  # noqa: ARG002
        """Give an empty table like the target's, which has its place and name when the block ends, and the number of rows that go."""
        raise FatalError(f"{self.traits.system} does not swap tables, and the plan should have said so", code="internal")

    def _apply(self, tx: Session, window: Window, plan: MergePlan, schema: pa.Schema, tally: Tally) -> Merged:
        if plan.policy.stop:
            return self.apply(tx, plan)  # refused rows are named when the transaction is undone: see `blamed`
        merged, refused = self.apply_rest(tx, plan)
        if not refused:
            return merged
        from beam_pipelines.columnar import dead

        rows = self.fetch(tx, plan.sql.staged, [one.row for one in refused], schema)
        letters = dead.letters(
            rows,
            list(range(rows.num_rows)),
            load=window.load,
            step="load",
            codes=[one.code for one in refused],
            messages=[one.message for one in refused],
            at=datetime.fromisoformat(window.started_at),
            origins=origins(window, rows, [one.row - self.numbered_from for one in refused], tally.staged),
        )
        self.refused = letters
        staged = self.keep_letters(tx, window, letters)
        codes: dict[str, int] = {}
        for one in refused:
            codes[one.code] = codes.get(one.code, 0) + 1
        return replace(merged, dead=len(refused), codes=codes, letters=(Dead(staged, codes),))

    def pick_winners(self, tx: Session, sql: MergeSql, window: Window, staged: int, *, stop: bool) -> tuple[MergeSql, int]:  # noqa: ARG002
        """Keep one staged row a key; give the merge over them and the number of superseded rows.

        Args:
            tx: The commit's transaction.
            sql: The merge over all staged rows.
            window: Of the load.
            staged: Number of staged rows.
            stop: A row that the target refuses fails the load; else rows whose key will not cast are kept, for the merge to refuse.

        Raises:
            DataError: A key will not cast, and `stop`.
        """
        return self._keep_winners(tx, sql, window, staged)

    @staticmethod
    def _keep_winners(tx: Session, sql: MergeSql, window: Window, staged: int, apart: str = "") -> tuple[MergeSql, int]:
        """The winners in a temporary table; `apart` as `MergeSql.winners` has it."""
        name = quote(f"_bp_winners_{window.run}")
        tx.execute(f"CREATE TEMP TABLE {name} AS {sql.winners(apart)}")
        kept = tx.execute(f"SELECT count(*) FROM {name}").rows[0][0]
        return sql.of(name), staged - kept

    def apply(self, tx: Session, plan: MergePlan) -> Merged:
        """Write the rows of the plan.

        Raises:
            DataError: The target refuses a row; nothing tells which.
        """
        sql, policy = plan.sql, plan.policy
        if policy.mode == "insert" or policy.whole or not sql.keys:
            took(tx.execute(sql.insert()), plan.rows, sql)
            return Merged(inserted=plan.rows, method="insert" if not policy.whole else "delete+insert")
        joined, inserted, stale, unchanged, updated = tx.execute(sql.classify()).rows[0]
        if joined != plan.rows:
            raise several(sql)
        if policy.mode == "replace":
            tx.execute(sql.delete_matching())
            took(tx.execute(sql.insert()), plan.rows, sql)
            return Merged(inserted=inserted, updated=plan.rows - inserted, method="delete+insert by key")
        method = self.upsert(tx, plan, writes=inserted + updated)
        return Merged(inserted=inserted, updated=updated, unchanged=unchanged, stale=stale, method=method)

    def upsert(self, tx: Session, plan: MergePlan, writes: int) -> str:
        """Insert absent rows and update older ones that differ; say how."""
        if writes == 0:
            return "nothing changed"
        if plan.empty:
            took(tx.execute(plan.sql.insert()), writes, plan.sql)
            return "insert"
        return self.upsert_rows(tx, plan, writes)

    def upsert_rows(self, tx: Session, plan: MergePlan, writes: int) -> str:  # noqa: ARG002 - for those that count what they write
        """Do so by the statements of this database, where the table holds rows already; say which."""
        tx.execute(plan.sql.merge())
        return "merge"

    def apply_rest(self, tx: Session, plan: MergePlan) -> tuple[Merged, list[Refused]]:
        """Write all rows the target takes, and name those it refuses.

        Rows that break a constraint of the catalog are found by set, so that many of them cost one query; what fails then is halved, in
        savepoints, until one row is left.
        """
        found: dict[int, Refused] = {}
        for reason, query in self.refusal_queries(tx, plan):
            # A value that will not cast to the target's type fails the query: its row is found by halves.
            with contextlib.suppress(DataError), self.savepoint(tx):
                for (row,) in tx.execute(query).rows:
                    found.setdefault(row, Refused(row, "target-refused", reason))
        if found:
            plan = self.without(tx, plan, sorted(found))
        merged, refused = self._halve(tx, plan)
        return merged, sorted([*found.values(), *refused], key=lambda one: one.row)

    def refusal_queries(self, tx: Session, plan: MergePlan) -> list[tuple[str, str]]:
        """Queries of the rows that the table refuses, each with the reason: one for each constraint that the catalog knows."""
        known = self.columns(tx, plan.sql.table)
        names = known.schema.names if known else []
        insert = plan.policy.mode == "insert" or plan.policy.whole
        fold = str.lower if self.traits.folds_case else str
        return refusals.queries(plan.sql, self.constraints(tx, plan.sql.table), names, insert=insert, fold=fold)

    def reason(self, tx: Session, plan: MergePlan, row: int, refusal: DataError) -> str:  # noqa: ARG002
        """Why one staged row (`_bp_row`) is refused; databases that do not name the column say how it is found."""
        return str(refusal)

    def _why(self, tx: Session, plan: MergePlan, row: int, refusal: DataError) -> str:
        """The reason of a row on its way to the dead letters; where looking for it fails, what the database said is reason enough."""
        try:
            with self.savepoint(tx):
                return self.reason(tx, plan, row, refusal)
        except TransientError:
            raise  # the transaction may be lost with it, and the commit begins again by itself
        except Exception:  # noqa: BLE001 - a reason is decoration
            _LOG.debug("looking for the reason of a refused row failed", exc_info=True)
            return str(refusal)

    def _halve(self, tx: Session, plan: MergePlan) -> tuple[Merged, list[Refused]]:
        bounds = self.row_bounds(tx, plan)
        if bounds is None:
            return Merged(method="nothing to load"), []
        done, refused = Merged(), list[Refused]()
        parts = [bounds]
        while parts:
            low, high = parts.pop()
            part = self.part(tx, plan, low, high)
            if not part.rows:
                continue
            try:
                with self.savepoint(tx):
                    merged = self.apply(tx, part)
            except DataError as refusal:
                if high - low == 1:
                    refused.append(Refused(low, "target-refused", self._why(tx, plan, low, refusal)))
                else:
                    middle = (low + high) // 2
                    parts += [(middle, high), (low, middle)]
                continue
            plan = replace(plan, empty=False)
            done = replace(
                merged,
                inserted=done.inserted + merged.inserted,
                updated=done.updated + merged.updated,
                unchanged=done.unchanged + merged.unchanged,
                stale=done.stale + merged.stale,
            )
        return done, refused

    # The row that failed a load, looked for when its transaction is undone.

    def blamed(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally, refusal: DataError) -> str:
        if not policy.stop:
            return super().blamed(window, policy, schema, tally, refusal)  # the rows that could be found were set aside
        try:
            with self.transaction() as tx:
                self._merge(tx, window, policy, schema, tally, Blame(self, window, schema, tally.staged))
                raise LostError("there is nothing to load now")
        except FoundError as found:
            return f"{found.reason} (row {found.origin}); mend it, or have such rows become dead letters by errorHandling: continue"
        except LostError as lost:
            why = str(lost)
        except BeamPipelinesError as failed:
            why = f"looking for it failed: {failed}"
        except Exception as failed:  # noqa: BLE001 - whatever a search meets, the verdict stands
            _LOG.debug("looking for the refused row failed", exc_info=True)
            why = f"looking for it failed: {type(failed).__name__}"
        return f"{refusal} (which row is not known: {why}); errorHandling: continue makes such rows dead letters"

    def without(self, tx: Session, plan: MergePlan, rows: Sequence[int]) -> MergePlan:
        """The plan without some of its rows."""
        tx.execute("CREATE TEMP TABLE _bp_refused (gone BIGINT PRIMARY KEY)")
        for first in range(0, len(rows), _LITERALS):
            tx.execute(f"INSERT INTO _bp_refused VALUES {', '.join(f'({row})' for row in rows[first : first + _LITERALS])}")
        rest = f"(SELECT a.* FROM {plan.sql.staged} AS a WHERE NOT EXISTS (SELECT 1 FROM _bp_refused AS r WHERE r.gone = a.{ROW}))"
        return replace(plan, sql=plan.sql.of(rest), rows=plan.rows - len(rows))

    def row_bounds(self, tx: Session, plan: MergePlan) -> tuple[int, int] | None:
        """The least `_bp_row`, and one above the greatest; None when there is no row."""
        low, high = tx.execute(f"SELECT min({ROW}), max({ROW}) FROM {plan.sql.staged} AS s").rows[0]
        return None if low is None else (int(low), int(high) + 1)

    def part(self, tx: Session, plan: MergePlan, low: int, high: int) -> MergePlan:
        """The plan for `low <= _bp_row < high`."""
        sql = plan.sql.part(low, high)
        return replace(plan, sql=sql, rows=tx.execute(f"SELECT count(*) FROM {sql.staged} AS s").rows[0][0])

    # Tables.

    def stored(self, schema: pa.Schema) -> pa.Schema:
        return pa.schema([field.with_type(types.writable(field.type, self.system, field.name)) for field in schema])

    def ddl(self, arrow: pa.DataType) -> str:
        """The column type this database keeps an Arrow type in."""
        return types.ddl(arrow, self.system)

    def is_empty(self, tx: Session, table: str) -> bool:
        return not tx.execute(f"SELECT 1 FROM {quote_table(table)} LIMIT 1").rows

    def create_table(self, tx: Session, window: Window, schema: pa.Schema, policy: Policy) -> None:
        """Create the target table for rows of a schema; where rows are told by keys, they become its primary key."""
        keyed = window.key_fields if policy.mode != "insert" else ()
        lines = [f"{quote(field.name)} {self.ddl(field.type)}{' NOT NULL' if field.name in keyed else ''}" for field in schema]
        if keyed and self.creates_primary_key:
            lines.append(f"PRIMARY KEY ({', '.join(map(quote, keyed))})")
        tx.execute(f"CREATE TABLE {quote_table(window.load)} ({', '.join(lines)})")

    creates_primary_key = True

    def _fit(self, tx: Session, into: _Into, policy: Policy, schema: pa.Schema) -> Described:
        """Add the columns the table lacks, or refuse them."""
        load, known = into.window.load, into.known
        fold = str.lower if self.traits.folds_case else str
        there = {fold(name) for name in known.schema.names}
        new = [field for field in schema if fold(field.name) not in there]
        if not new:
            return known
        names = ", ".join(repr(field.name) for field in new)
        if not policy.evolve:
            raise Judged("schema-frozen", f"the rows have columns that {load!r} lacks ({names}), and schema: freeze refuses to add them")
        for field in new:
            self.add_column(tx, into.table, field)
        if into.blame is None:
            _LOG.info("added to %s: %s", load, names)
        again = self.columns(tx, into.table)
        return again or known

    def add_column(self, tx: Session, table: str, field: pa.Field) -> None:
        tx.execute(f"ALTER TABLE {quote_table(table)} ADD COLUMN {quote(field.name)} {self.ddl(field.type)}")

    def casts(self, schema: pa.Schema, known: Described) -> tuple[tuple[str, str], ...]:
        """Columns whose staged type is not the target's, with the target's type as SQL."""
        fold = str.lower if self.traits.folds_case else str
        there = {fold(field.name): field.type for field in known.schema}
        return tuple((f.name, self.ddl(there[fold(f.name)])) for f in schema if there.get(fold(f.name), f.type) != f.type)

    def compared(self, schema: pa.Schema, known: Described) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """Columns whose type in the target has no equality, with one to compare them as."""
        return ()


def took(done: Outcome, rows: int, sql: MergeSql) -> None:
    """Hold a statement to the rows it was given, where the database counts: a trigger or a rule may drop rows without a word.

    Raises:
        BalanceError: It wrote another number of rows.
    """
    if done.count not in (-1, rows):
        raise BalanceError(
            f"{sql.table!r} took {done.count} of {rows} rows without refusing any: a trigger or a rule of the target is in the way;"
            " nothing is committed"
        )


def _dropped(window: Window) -> Judged:
    """The verdict on a table that somebody dropped while the run read: a new one would hold the rows of this run alone."""
    return Judged("table-missing", gone(window.load, "it was there when the run began"))


def several(sql: MergeSql) -> Judged:
    """The verdict on a target that holds a key twice: somebody changed it by hand."""
    return Judged(
        "key-missing",
        f"{sql.table!r} holds several rows with the same {', '.join(sql.keys)}, so there is no telling which to update;"
        " remove the duplicates, or make the key a primary key",
    )


def _unique(window: Window, casts: Sequence[tuple[str, str]]) -> bool:
    """Staged keys cannot repeat: they are exactly the source's own key, carried through unrenamed or traced by the caller.

    Of keys that are cast nothing is known: '7' and '07' are two keys as text, and one as a number.
    """
    cast = {name for name, _ in casts}
    return bool(window.key_fields) and window.unique_on == window.key_fields and cast.isdisjoint(window.key_fields)


def letters_name(window: Window) -> str:
    """Staging name of the letters of refused rows: the load's, not an attempt's, so that a commit that is tried again writes the same."""
    return str(StagingName.of(window.service, window.run, hashlib.sha256(window.load.encode()).hexdigest()[:16]))
