"""The order of a commit, which is the promise, written once for every target that has a ledger.

In one transaction of the ledger (contracts, section 5): claim the run's row, move the generation, check the counts, merge, judge, store
watermark and counters. Whatever dies between two of these leaves target and ledger as they were. Where ledger and rows are in one database
the merge is part of the transaction; where the target has none, the merge promises, in the ledger, what is done right after.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import pyarrow as pa
import tenacity

from beam_pipelines.columnar import packed
from beam_pipelines.errors import BeamPipelinesError, Code, DataError, FatalError, FencedError, PlanError, TransientError
from beam_pipelines.io.connector import Kept, LedgerRow, Left, Policy, Stager, Standing, TargetTraits
from beam_pipelines.io.sql.ledger import Ledger
from beam_pipelines.io.sql.session import Session
from beam_pipelines.runs import balance
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import LoadCounts, Merged, Tally
from beam_pipelines.runs.facts import KEPT, OPEN, Dead, Staged
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.names import StagingName, new_attempt, service_prefix
from beam_pipelines.runs.offsets import Offsets
from beam_pipelines.runs.window import Window

__all__ = ["Judged", "LedgerTarget", "service_staging"]

_LOG = logging.getLogger(__name__)
_THERE = ("42P07", "42710")  # PostgreSQL's states of a table, and of the type of its rows, that are there already
_REMEMBERED = 1000  # commits of a stream whose counts stay in the ledger
T = TypeVar("T")


class Judged(Exception):  # noqa: N818 - a verdict on its way out of the transaction, not an error
    """The load fails by judgement: the transaction is rolled back, the verdict is kept."""

    def __init__(self, code: Code, message: str, merged: Merged | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.merged = code, message, merged or Merged()


class LedgerTarget(ABC):
    """A target whose commits are decided by a ledger in a database."""

    traits: TargetTraits
    place: str
    ledger: Ledger
    retries = 5
    refused: pa.RecordBatch | None = None  # dead letters of the rows that the merge under way could not load

    # What each target gives.

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Session]:
        """A write transaction: committed at the end of the block, rolled back when it raises."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Session | None]:
        """A connection for catalog and ledger; None when the database does not exist yet."""

    @abstractmethod
    def has_table(self, tx: Session, table: str) -> bool:
        """Whether a table is there (the ledger's own are asked for too)."""

    @abstractmethod
    def merge(self, tx: Session, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> Merged:
        """Load the staged rows, or promise to, within the transaction.

        Raises:
            FatalError: A staging object is gone, or holds another number of rows than its manifest says (`staging-lost`).
            Judged: The load fails by judgement: nothing of it may be kept.
        """

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
    def close(self) -> None:
        """Let go of connections; may be called twice."""

    def obstacles(self, table: str) -> list[str]:  # noqa: ARG002 - most swap nothing
        return []

    def fulfil(self, service: str) -> None:  # noqa: B027 - most have nothing to do
        """Do what committed merges of the service have promised; nothing where the merge is part of the transaction.

        Called before anything of a run is read, and after every commit: what a run that died did not do is done by the next.
        """

    # The ledger, read.

    def standing(self, service: str, load: str) -> Standing:
        return self.heads(service).get(load, Standing())

    def heads(self, service: str) -> dict[str, Standing]:
        with self.reading() as tx:
            if tx is None or not self.has_table(tx, self.ledger.heads):
                return {}
            return self.ledger.heads_of(tx, service)

    def rows(self, service: str, run: str) -> list[LedgerRow]:
        self.fulfil(service)
        with self.reading() as tx:
            if tx is None or not self.has_table(tx, self.ledger.loads):
                return []
            return self.ledger.rows(tx, service, run)

    def committed(self, service: str, load: str, before: int, most: int) -> list[LedgerRow]:
        def once() -> list[LedgerRow]:
            with self.reading() as tx:
                if tx is None or not self.has_table(tx, self.ledger.loads):
                    return []
                return self.ledger.committed(tx, service, load, before, most)

        return self._retrying(once)

    def kept(self, service: str, load: str, kind: str, known: Collection[tuple[str, int]] = ()) -> list[Kept]:
        def once() -> list[Kept]:
            with self.reading() as tx:
                if tx is None or not self.has_table(tx, self.ledger.kept_table):
                    return []
                return self.ledger.kept_of(tx, service, load, kind, known)

        return self._retrying(once)

    def left(self, service: str, load: str) -> list[Left]:
        def once() -> list[Left]:
            with self.reading() as tx:
                if tx is None or not self.has_table(tx, self.ledger.kept_table):
                    return []
                return self.ledger.left(tx, service, load)

        return self._retrying(once)

    def kept_block(self, service: str, load: str, kind: str, run: str, part: int) -> str:
        def once() -> str:
            with self.reading() as tx:
                assert tx is not None
                return self.ledger.kept_block(tx, service, load, kind, run, part)

        return self._retrying(once)

    def forget_kept(self, service: str, load: str, kind: str, run: str) -> None:
        def once() -> None:
            with self.transaction() as tx:
                self.ledger.forget_kept(tx, service, load, kind, run)

        self._retrying(once)

    def give_up(self, service: str, run: str) -> list[LedgerRow]:
        if self.rows(service, run):

            def once() -> None:
                with self.transaction() as tx:
                    self.ledger.give_up(tx, service, run)

            self._retrying(once)
        return self.rows(service, run)

    def give_up_all(self, service: str, store: str) -> None:
        def once() -> None:
            with self.transaction() as tx:
                self.ledger.give_up_all(tx, service, store)

        if self.heads(service):
            self._retrying(once)

    def row(self, service: str, load: str, run: str) -> LedgerRow | None:
        return next((row for row in self.rows(service, run) if row.load == load), None)

    def set_mark(self, service: str, load: str, mark: Mark | None, fingerprint: str | None) -> Standing:
        with self.transaction() as tx:
            self.ledger.create(tx)
            before = self.ledger.standing(tx, service, load).mark
            if _goes_back(before, mark):
                # What is read again would count twice in the windows that are open.
                self.ledger.create_kept(tx)
                self.ledger.forget_kept(tx, service, load, OPEN)
            return self.ledger.set_mark(tx, service, load, mark, fingerprint)

    # Prepare.

    def prepare(self, window: Window, context: RunContext) -> Window:
        self.fulfil(window.service)
        # Listed before the ledger is read: a run inserts its row before it stages, so what is listed and not in the ledger is nobody's.
        there = self.staging(window.service)

        def once() -> tuple[Window, set[str], set[str]]:
            try:
                with self.transaction() as tx:
                    self.ledger.create(tx)
                    if window.live:
                        self.ledger.create_kept(tx)
                    self.ledger.insert(tx, window, context.store)
                    row = self.ledger.row(tx, window.service, window.load, window.run)
                    return (row.window if row else window, *self.ledger.living(tx, window.service, context.store))
            except (DataError, PlanError) as other:
                # PostgreSQL's CREATE TABLE IF NOT EXISTS fails when two come at once: by a unique violation, or by what is there since.
                if isinstance(other, PlanError) and other.details.get("sqlstate") not in _THERE:
                    raise
                raise TransientError(f"another run made the ledger at the same moment: {other}", code="conflict") from other

        standing, alive, keep = self._retrying(once)
        orphans = [name for name in there if name not in keep and _run_of(name) not in {*alive, window.run}]
        if orphans:
            _LOG.debug("dropping %d staging objects of ended runs", len(orphans))
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
            failed = LoadCounts(tally, self._rescued(window, verdict.merged), message=verdict.message, code=verdict.code)
            counts, keep = self._retrying(lambda: self._record_failure(window, failed))
        except FencedError:
            raise
        except FatalError as broken:
            # The tally is all that is known of this run: the record and the dead letters depend on it.
            failed = LoadCounts(tally, Merged(), message=broken.message, code=broken.code)
            try:
                counts, keep = self._retrying(lambda: self._record_failure(window, failed))
            except BeamPipelinesError:
                raise broken from None
        except DataError as refusal:
            message = f"{window.load!r} refuses a row: {self.blamed(window, policy, schema, tally, refusal)}; nothing is loaded"
            failed = LoadCounts(tally, Merged(), message=message, code="target-refused")
            counts, keep = self._retrying(lambda: self._record_failure(window, failed))
        self.fulfil(window.service)
        self._sweep(window, tally, keep)
        return counts

    def blamed(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally, refusal: DataError) -> str:  # noqa: ARG002
        """Say what the target refused, which row, where that can be found out now that the transaction is undone, and what to do."""
        return (
            f"{refusal} (which row is not known: nothing told it when the rows went in); mend it in the source, or what the target forbids"
        )

    def _rescued(self, window: Window, merged: Merged) -> Merged:
        """Stage the dead letters of refused rows again: those of the transaction went with it."""
        letters, self.refused = self.refused, None
        if not merged.dead or letters is None:
            return Merged()
        stager = self.stager(str(StagingName.of(window.service, window.run, new_attempt())), letters.schema, 0)
        stager.write(letters)
        return Merged(dead=merged.dead, codes=merged.codes, letters=(Dead(stager.finish(), merged.codes),))

    def _commit_once(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> tuple[LoadCounts, set[str] | None]:
        with self.transaction() as tx:
            done = self.ledger.claim(tx, window)
            if done is not None:
                return done, self.ledger.letters(tx, window.service, window.run)
            standing = self.ledger.standing(tx, window.service, window.load)
            mark = _moved(standing.mark, window, tally)
            self.ledger.fence(tx, window, mark)
            balance.check_flow(tally)
            warned = self._judge(policy, tally, Merged())
            if policy.whole and not tally.staged_rows and not policy.allow_empty:
                what = "the source is empty" if not tally.read else f"none of the {tally.read} rows read arrived"
                raise Judged("empty-source", f"{what}, and the load would empty {window.load!r}; say allowEmpty: true if that is meant")
            merged = self.merge(tx, window, policy, schema, tally)
            balance.check_merge(tally, merged)
            warned = self._judge(policy, tally, merged) or warned
            counts = LoadCounts(tally, merged, watermark=mark, budget_exceeded=bool(warned), message=warned)
            self.ledger.complete(tx, window, counts)
            self.ledger.forget_shown(tx, window)
            if window.live:
                self._leave(tx, window, tally)
            return counts, self.ledger.letters(tx, window.service, window.run)

    def _leave(self, tx: Session, window: Window, tally: Tally) -> None:
        """Take what the commits to come go on from out of staging, into the transaction."""
        stays: set[tuple[str, int]] = set()
        for kind in KEPT:
            part = 0
            for aside in (one for one in tally.asides if one.output == kind):
                found = 0
                for batch in self.read_staged(aside.staged):
                    found += batch.num_rows
                    texts = batch.column("payload").to_pylist()
                    named = [(text, packed.named(text)) for text in texts]
                    contents = [text for text, name in named if name is None]
                    self.ledger.keep(tx, window, kind, part, contents)
                    part += len(contents)
                    stays.update(name for _, name in named if name is not None)
                if found != aside.staged.rows:
                    raise FatalError(
                        f"expected {aside.staged.rows} blocks of {kind} rows in {aside.staged.name!r}, found {found}: staging was emptied"
                        " (PostgreSQL does so when it recovers from a crash); nothing is committed, run it again",
                        code="staging-lost",
                    )
            for note, who in window.waits if part else ():
                if note.partition(" ")[0] == kind:
                    self.ledger.keep(tx, window, note, 0, [who])
        self.ledger.forget_open(tx, window, stays)
        self.ledger.prune(tx, window, _REMEMBERED)

    def _record_failure(self, window: Window, failed: LoadCounts) -> tuple[LoadCounts, set[str] | None]:
        with self.transaction() as tx:
            done = self.ledger.claim(tx, window)
            if done is None:
                self.ledger.complete(tx, window, failed, status="failed")
            return done or failed, self.ledger.letters(tx, window.service, window.run)

    def _judge(self, policy: Policy, tally: Tally, merged: Merged) -> str:
        verdict = policy.verdict(tally, tally.dead + merged.dead)
        if verdict.fails:
            raise Judged(verdict.fails, verdict.message, merged)
        return verdict.message

    def _retrying(self, call: Callable[[], T]) -> T:
        """Call again, with growing waits, while the target is busy or a conflict was lost: from the start, so the ledger is read anew."""
        retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(self.retries),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
            reraise=True,
        )
        return retry(call)


def _goes_back(before: Mark | None, mark: Mark | None) -> bool:
    """Whether messages of a topic are read again that were read before."""
    if before is None or mark is None or not before.type == mark.type == "offsets":
        return False
    return bool(Offsets.of(mark).back_from(Offsets.of(before)))


def _run_of(name: str) -> str | None:
    parsed = StagingName.parse(name)
    return parsed.run if parsed else None


def _moved(stored: Mark | None, window: Window, tally: Tally) -> Mark | None:
    """The watermark after this commit: the newest value read; unchanged when nothing was; anew after a full read."""
    if window.live and tally.newest is not None:
        return tally.newest  # it holds the stored one already, less the partitions that are not in the topic any more
    if window.low is None or stored is None or (tally.newest and tally.newest.type != stored.type):
        # A column that changed its type starts anew: the two cannot be compared, and the new values are what the next run meets.
        return tally.newest
    return tally.newest.later(stored) if tally.newest else stored


def service_staging(service: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that are staging objects of a service."""
    prefix = service_prefix(service)
    return sorted(name for name in names if name.startswith(prefix) and StagingName.parse(name))
