"""The commit of a load into a database, written once; each gives its connection, its staging and, where it is faster, its own merge.

The order inside the one transaction is the promise (contracts, section 5): claim the ledger row, move the generation, check the staged
counts, merge, judge, store watermark and counters. Whatever dies between two of these leaves the target as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import pyarrow as pa
import tenacity

from beam_pipelines.columnar import types
from beam_pipelines.errors import BeamPipelinesError, Code, DataError, TransientError
from beam_pipelines.io.connector import Described, LedgerRow, Policy, Stager, Standing, TargetTraits
from beam_pipelines.io.sql import refusals
from beam_pipelines.io.sql.ledger import Ledger
from beam_pipelines.io.sql.merge import ROW, MergeSql
from beam_pipelines.io.sql.session import Session, quote, quote_table
from beam_pipelines.runs import balance
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import LoadCounts, Merged, Tally
from beam_pipelines.runs.facts import Dead, Staged
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.names import StagingName, service_prefix
from beam_pipelines.runs.window import Window

__all__ = ["Judged", "MergePlan", "Refused", "SqlTarget", "describe_error", "letters_name", "service_staging", "several"]

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
    """

    sql: MergeSql
    policy: Policy
    rows: int
    empty: bool
    indexed: bool


class Judged(Exception):  # noqa: N818 - a verdict on its way out of the transaction, not an error
    """The load fails by judgement: the transaction is rolled back, the verdict is kept."""

    def __init__(self, code: Code, message: str, merged: Merged | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.merged = code, message, merged or Merged()


class SqlTarget(ABC):
    """A database as target: ledger, staging by attempt, one commit transaction."""

    traits: TargetTraits
    system: str
    ledger: Ledger
    retries = 5

    # What each database gives.

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Session]:
        """A write transaction: committed at the end of the block, rolled back when it raises."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Session | None]:
        """A connection for catalog and ledger; None when the database does not exist yet."""

    @abstractmethod
    def columns(self, tx: Session, table: str) -> Described | None:
        """Schema and primary key of a table as the transaction sees it; None when there is none."""

    @abstractmethod
    def has_table(self, tx: Session, table: str) -> bool:
        """Whether a table is there (the ledger's own are asked for too)."""

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
    def staging(self, service: str) -> list[str]:
        """Names of all staging objects of a service."""

    @abstractmethod
    def stager(self, name: str, schema: pa.Schema, order: int) -> Stager:
        """Begin a staging object."""

    @abstractmethod
    def read_staged(self, staged: Staged) -> Iterable[pa.RecordBatch]:
        """Rows of a closed staging object."""

    @abstractmethod
    def drop_staged(self, names: Sequence[str]) -> None:
        """Drop staging objects."""

    @abstractmethod
    def savepoint(self, tx: Session) -> AbstractContextManager[None]:
        """A savepoint: undone when the block raises. Databases without one override `apply_rest` instead."""

    def constraints(self, tx: Session, table: str) -> list[refusals.Constraint]:  # noqa: ARG002
        """What the catalog knows of the table's constraints; those it does not know cost more to find."""
        return []

    # The ledger, read.

    def describe(self, table: str) -> Described | None:
        with self.reading() as tx:
            return self.columns(tx, table) if tx is not None else None

    def standing(self, service: str, load: str) -> Standing:
        return self.heads(service).get(load, Standing())

    def heads(self, service: str) -> dict[str, Standing]:
        with self.reading() as tx:
            if tx is None or not self.has_table(tx, self.ledger.heads):
                return {}
            return self.ledger.heads_of(tx, service)

    def rows(self, service: str, run: str) -> list[LedgerRow]:
        with self.reading() as tx:
            if tx is None or not self.has_table(tx, self.ledger.loads):
                return []
            return self.ledger.rows(tx, service, run)

    def row(self, service: str, load: str, run: str) -> LedgerRow | None:
        return next((row for row in self.rows(service, run) if row.load == load), None)

    def set_mark(self, service: str, load: str, mark: Mark | None, fingerprint: str | None) -> Standing:
        with self.transaction() as tx:
            self.ledger.create(tx)
            return self.ledger.set_mark(tx, service, load, mark, fingerprint)

    # Prepare.

    def prepare(self, window: Window, context: RunContext) -> Window:
        # Listed before the ledger is read: a run inserts its row before it stages, so what is listed and not in the ledger is nobody's.
        there = self.staging(window.service)

        def once() -> tuple[Window, set[str], set[str]]:
            try:
                with self.transaction() as tx:
                    self.ledger.create(tx)
                    self.ledger.insert(tx, window, context.store)
                    row = self.ledger.row(tx, window.service, window.load, window.run)
                    return (row.window if row else window, *self.ledger.living(tx, window.service, context.store))
            except DataError as other:
                # PostgreSQL's CREATE TABLE IF NOT EXISTS fails by a unique violation when two come at once.
                raise TransientError(f"another run made the ledger at the same moment: {other}", code="conflict") from other

        standing, alive, keep = self._retrying(once)
        orphans = [name for name in there if name not in keep and _run_of(name) not in {*alive, window.run}]
        if orphans:
            _LOG.info("dropping %d staging objects of ended runs", len(orphans))
        self._drop(lambda: orphans)
        return standing

    def _drop(self, names: Callable[[], list[str]]) -> None:
        try:
            self.drop_staged(names())
        except (OSError, BeamPipelinesError) as failed:
            # Nothing reads them any more: the next run's Prepare drops them.
            _LOG.warning("staging of ended runs is left for the next run to drop: %s", failed)

    def _sweep(self, window: Window, tally: Tally, keep: set[str] | None) -> None:
        """Drop what the run staged: for this load, and for all of them once all have ended."""
        if keep is None:
            self._drop(lambda: [part.name for part in tally.staged])
        else:
            self._drop(lambda: [name for name in self.staging(window.service) if _run_of(name) == window.run and name not in keep])

    # Commit.

    def commit(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> LoadCounts:
        try:
            counts, keep = self._retrying(lambda: self._commit_once(window, policy, schema, tally))
        except Judged as verdict:
            failed = LoadCounts(tally, verdict.merged, message=verdict.message, code=verdict.code)
            counts, keep = self._retrying(lambda: self._record_failure(window, failed))
        except DataError as refusal:
            # A constraint that is checked at COMMIT: which row it was is not known any more.
            failed = LoadCounts(tally, Merged(), message=_refused(window, refusal), code="target-refused")
            counts, keep = self._retrying(lambda: self._record_failure(window, failed))
        self._sweep(window, tally, keep)
        return counts

    def _commit_once(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> tuple[LoadCounts, set[str] | None]:
        with self.transaction() as tx:
            done = self.ledger.claim(tx, window)
            if done is not None:
                return done, self.ledger.letters(tx, window.service, window.run)
            standing = self.ledger.standing(tx, window.service, window.load)
            mark = _moved(standing.mark, window, tally)
            self.ledger.fence(tx, window, mark)
            balance.check_flow(tally)
            warned = self._judge(policy, tally, 0)
            if policy.mode == "replace" and policy.whole and tally.read == 0 and not policy.allow_empty:
                raise Judged(
                    "empty-source", f"the source is empty and the load would empty {window.load!r}; say allowEmpty: true if that is meant"
                )
            merged = self._merge(tx, window, policy, schema, tally)
            balance.check_merge(tally, merged)
            warned = self._judge(policy, tally, merged.dead) or warned
            counts = LoadCounts(tally, merged, watermark=mark, budget_exceeded=bool(warned), message=warned or "")
            self.ledger.complete(tx, window, counts)
            return counts, self.ledger.letters(tx, window.service, window.run)

    def _record_failure(self, window: Window, failed: LoadCounts) -> tuple[LoadCounts, set[str] | None]:
        with self.transaction() as tx:
            done = self.ledger.claim(tx, window)
            if done is None:
                self.ledger.complete(tx, window, failed, status="failed")
            return done or failed, self.ledger.letters(tx, window.service, window.run)

    def _judge(self, policy: Policy, tally: Tally, refused: int) -> str | None:
        exceeded = policy.budget.exceeded(tally.read, tally.dead + refused)
        if exceeded and policy.budget.fail:
            raise Judged("budget-exceeded", f"{exceeded}; nothing is loaded, see the dead letters of this run")
        return exceeded

    def _merge(self, tx: Session, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> Merged:
        deleted = 0
        known = self.columns(tx, window.load)
        if known is None and tally.staged_rows:
            self._create(tx, window, schema, policy)
            known = self.columns(tx, window.load)
        if known is None:
            return Merged(method="nothing to load")
        if policy.whole:
            deleted = tx.execute(f"DELETE FROM {quote_table(window.load)}").count
        if not tally.staged_rows:
            return Merged(deleted=max(deleted, 0), method="nothing to load")
        known = self._fit(tx, window, policy, schema, known)
        plain = policy.whole or policy.mode == "insert"
        repeated = not plain and not _unique(window)
        relation = self.attach(tx, tally.staged, schema, once=policy.stop and plain, numbered=repeated or not policy.stop)
        sql = MergeSql(
            window.load,
            relation,
            tuple(schema.names),
            () if plain else window.key_fields,
            window.version_column if policy.mode == "upsert" else None,
            self.casts(schema, known),
            self.compared(schema, known),
        )
        superseded = 0
        if repeated:
            sql, superseded = self.pick_winners(tx, sql, window, tally.staged_rows)
        empty = not tx.execute(f"SELECT 1 FROM {sql.target} LIMIT 1").rows
        fold = str.lower if self.traits.folds_case else str
        indexed = bool(known.primary_key) and set(map(fold, known.primary_key)) <= set(map(fold, sql.keys))
        plan = MergePlan(sql, policy, tally.staged_rows - superseded, empty, indexed)
        merged = self._apply(tx, window, plan, schema)
        return replace(merged, superseded=superseded, deleted=max(deleted, 0))

    def _apply(self, tx: Session, window: Window, plan: MergePlan, schema: pa.Schema) -> Merged:
        if plan.policy.stop:
            try:
                return self.apply(tx, plan)
            except DataError as refusal:
                raise Judged("target-refused", _refused(window, refusal)) from refusal
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
        )
        staged = self.keep_letters(tx, window, letters)
        codes: dict[str, int] = {}
        for one in refused:
            codes[one.code] = codes.get(one.code, 0) + 1
        return replace(merged, dead=len(refused), codes=codes, letters=(Dead(staged, codes),))

    def pick_winners(self, tx: Session, sql: MergeSql, window: Window, staged: int) -> tuple[MergeSql, int]:
        """Keep one staged row a key, in a temporary table; give the merge over it and the number of superseded rows."""
        name = quote(f"_bp_winners_{window.run}")
        tx.execute(f"CREATE TEMP TABLE {name} AS {sql.winners()}")
        kept = tx.execute(f"SELECT count(*) FROM {name}").rows[0][0]
        return sql.of(name), staged - kept

    def apply(self, tx: Session, plan: MergePlan) -> Merged:
        """Write the rows of the plan.

        Raises:
            DataError: The target refuses a row; nothing tells which.
        """
        sql, policy = plan.sql, plan.policy
        if policy.mode == "insert" or policy.whole or not sql.keys:
            tx.execute(sql.insert())
            return Merged(inserted=plan.rows, method="insert" if not policy.whole else "delete+insert")
        joined, inserted, stale, unchanged, updated = tx.execute(sql.classify()).rows[0]
        if joined != plan.rows:
            raise several(sql)
        if policy.mode == "replace":
            tx.execute(sql.delete_matching())
            tx.execute(sql.insert())
            return Merged(inserted=inserted, updated=plan.rows - inserted, method="delete+insert by key")
        method = self.upsert(tx, plan, writes=inserted + updated)
        return Merged(inserted=inserted, updated=updated, unchanged=unchanged, stale=stale, method=method)

    def upsert(self, tx: Session, plan: MergePlan, writes: int) -> str:
        """Insert absent rows and update older ones that differ; say how."""
        if writes == 0:
            return "nothing changed"
        if plan.empty:
            tx.execute(plan.sql.insert())
            return "insert"
        tx.execute(plan.sql.merge())
        return "merge"

    def apply_rest(self, tx: Session, plan: MergePlan) -> tuple[Merged, list[Refused]]:
        """Write all rows the target takes, and name those it refuses.

        Rows that break a constraint of the catalog are found by set, so that many of them cost one query; what fails then is halved, in
        savepoints, until one row is left.
        """
        found: dict[int, Refused] = {}
        known = self.columns(tx, plan.sql.table)
        names = known.schema.names if known else []
        insert = plan.policy.mode == "insert" or plan.policy.whole
        fold = str.lower if self.traits.folds_case else str
        for reason, query in refusals.queries(plan.sql, self.constraints(tx, plan.sql.table), names, insert=insert, fold=fold):
            # A value that will not cast to the target's type fails the query: its row is found by halves.
            with contextlib.suppress(DataError), self.savepoint(tx):
                for (row,) in tx.execute(query).rows:
                    found.setdefault(row, Refused(row, "target-refused", reason))
        if found:
            plan = _without(tx, plan, sorted(found))
        merged, refused = self._halve(tx, plan)
        return merged, sorted([*found.values(), *refused], key=lambda one: one.row)

    def _halve(self, tx: Session, plan: MergePlan) -> tuple[Merged, list[Refused]]:
        bounds = tx.execute(f"SELECT min(_bp_row), max(_bp_row) FROM {plan.sql.staged} AS s").rows[0]
        if bounds[0] is None:
            return Merged(method="nothing to load"), []
        done, refused = Merged(), list[Refused]()
        parts = [(int(bounds[0]), int(bounds[1]) + 1)]
        while parts:
            low, high = parts.pop()
            part = plan.sql.part(low, high)
            rows = tx.execute(f"SELECT count(*) FROM {part.staged} AS s").rows[0][0]
            if not rows:
                continue
            try:
                with self.savepoint(tx):
                    merged = self.apply(tx, replace(plan, sql=part, rows=rows))
            except DataError as refusal:
                if high - low == 1:
                    refused.append(Refused(low, "target-refused", str(refusal)))
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

    # Tables.

    def stored(self, schema: pa.Schema) -> pa.Schema:
        return pa.schema([field.with_type(types.writable(field.type, self.system, field.name)) for field in schema])

    def ddl(self, arrow: pa.DataType) -> str:
        """The column type this database keeps an Arrow type in."""
        return types.ddl(arrow, self.system)

    def _create(self, tx: Session, window: Window, schema: pa.Schema, policy: Policy) -> None:
        keyed = window.key_fields if policy.mode != "insert" else ()
        lines = [f"{quote(field.name)} {self.ddl(field.type)}{' NOT NULL' if field.name in keyed else ''}" for field in schema]
        if keyed and self.creates_primary_key:
            lines.append(f"PRIMARY KEY ({', '.join(map(quote, keyed))})")
        tx.execute(f"CREATE TABLE {quote_table(window.load)} ({', '.join(lines)})")

    creates_primary_key = True

    def _fit(self, tx: Session, window: Window, policy: Policy, schema: pa.Schema, known: Described) -> Described:
        """Add the columns the target lacks, or refuse them."""
        fold = str.lower if self.traits.folds_case else str
        there = {fold(name) for name in known.schema.names}
        new = [field for field in schema if fold(field.name) not in there]
        if not new:
            return known
        names = ", ".join(repr(field.name) for field in new)
        if not policy.evolve:
            raise Judged(
                "schema-frozen", f"the rows have columns that {window.load!r} lacks ({names}), and schema: freeze refuses to add them"
            )
        for field in new:
            tx.execute(f"ALTER TABLE {quote_table(window.load)} ADD COLUMN {quote(field.name)} {self.ddl(field.type)}")
        _LOG.info("added to %s: %s", window.load, names)
        again = self.columns(tx, window.load)
        return again or known

    def casts(self, schema: pa.Schema, known: Described) -> tuple[tuple[str, str], ...]:
        """Columns whose staged type is not the target's, with the target's type as SQL."""
        fold = str.lower if self.traits.folds_case else str
        there = {fold(field.name): field.type for field in known.schema}
        return tuple((f.name, self.ddl(there[fold(f.name)])) for f in schema if there.get(fold(f.name), f.type) != f.type)

    def compared(self, schema: pa.Schema, known: Described) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """Columns whose type in the target has no equality, with one to compare them as."""
        return ()

    def _retrying(self, call: Callable[[], T]) -> T:
        """Call again, with growing waits, while the target is busy or a conflict was lost: from the start, so the ledger is read anew."""
        retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(self.retries),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
            reraise=True,
        )
        return retry(call)


def several(sql: MergeSql) -> Judged:
    """The verdict on a target that holds a key twice: somebody changed it by hand."""
    return Judged(
        "key-missing",
        f"{sql.table!r} holds several rows with the same {', '.join(sql.keys)}, so there is no telling which to update;"
        " remove the duplicates, or make the key a primary key",
    )


def _refused(window: Window, refusal: DataError) -> str:
    return f"{window.load!r} refuses a row: {refusal}; nothing is loaded (errorHandling: continue would make it a dead letter)"


def _run_of(name: str) -> str | None:
    parsed = StagingName.parse(name)
    return parsed.run if parsed else None


def _unique(window: Window) -> bool:
    """Staged keys cannot repeat: they are exactly the source's own key, carried through unrenamed or traced by the caller."""
    return bool(window.key_fields) and window.unique_on == window.key_fields


def _moved(stored: Mark | None, window: Window, tally: Tally) -> Mark | None:
    """The watermark after this commit: the newest value read; unchanged when nothing was; anew after a full read."""
    if window.low is None or stored is None:
        return tally.newest
    return tally.newest.later(stored) if tally.newest else stored


def _without(tx: Session, plan: MergePlan, rows: Sequence[int]) -> MergePlan:
    """The plan without some of its rows."""
    tx.execute("CREATE TEMP TABLE _bp_refused (gone BIGINT PRIMARY KEY)")
    for first in range(0, len(rows), _LITERALS):
        tx.execute(f"INSERT INTO _bp_refused VALUES {', '.join(f'({row})' for row in rows[first : first + _LITERALS])}")
    rest = f"(SELECT a.* FROM {plan.sql.staged} AS a WHERE NOT EXISTS (SELECT 1 FROM _bp_refused AS r WHERE r.gone = a.{ROW}))"
    return replace(plan, sql=plan.sql.of(rest), rows=plan.rows - len(rows))


def letters_name(window: Window) -> str:
    """Staging name of the letters of refused rows: the load's, not an attempt's, so that a commit that is tried again writes the same."""
    return str(StagingName.of(window.service, window.run, hashlib.sha256(window.load.encode()).hexdigest()[:16]))


def service_staging(service: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that are staging objects of a service."""
    prefix = service_prefix(service)
    return sorted(name for name in names if name.startswith(prefix) and StagingName.parse(name))


def describe_error(error: BaseException) -> str:
    """First line of a driver's message: later lines hold details with values."""
    text = error.message if isinstance(error, BeamPipelinesError) else str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
