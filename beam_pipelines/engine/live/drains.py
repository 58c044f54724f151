"""A stream on this machine: one execution, in which bounded runs follow each other, each from where the last one's commit left off.

A drain reads up to the ends that the partitions have when it begins, closes the windows that the watermark has passed, and commits results,
offsets and the states of open windows at once. Between two drains nothing is held that is not in the ledger, so the process may die at any
time, and another one goes on.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

from beam_pipelines.engine import deliver, launch, letters, recover, retention, stopping
from beam_pipelines.engine.heartbeat import beating
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.launch import Launch, Result
from beam_pipelines.engine.live import held_blocks
from beam_pipelines.engine.live.advance import advance_of
from beam_pipelines.engine.live.kept_states import check_kept
from beam_pipelines.engine.live.topics import Topics
from beam_pipelines.engine.plan import make_plan
from beam_pipelines.engine.prepare import check_fingerprints
from beam_pipelines.engine.progress import Progress
from beam_pipelines.engine.sinks.bring import bring
from beam_pipelines.errors import BeamPipelinesError, FatalError, FencedError, SpecError, TransientError
from beam_pipelines.io import spares
from beam_pipelines.io.connector import LedgerRow, Target
from beam_pipelines.io.state_place import state_url
from beam_pipelines.pricing import charge_hour
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.names import new_run
from beam_pipelines.runs.offsets import Offsets
from beam_pipelines.spec.values import parse_duration
from beam_pipelines.state.record import Outcome
from beam_pipelines.state.store import StateStore

if TYPE_CHECKING:
    from beam_pipelines.engine.prism.engine import Engine
    from beam_pipelines.spec.step.window import WindowStep

__all__ = ["Until", "catch_up", "stream"]

_LOG = logging.getLogger(__name__)
_PACE = 0.5  # seconds between the beginnings of two drains: each costs some tenths of a second, however little it reads
_LOOK = 0.2  # seconds between two looks at the ends of the partitions
_PATIENCE = 1.0  # seconds before what failed in passing is tried again; twice as long each time
_LONGEST, _DOUBLED = 60.0, 10
_MIRROR = 5.0  # seconds between two times that the group is told the offsets
_PASSING = ("staging-lost",)
_TIDY = 3600.0  # seconds between two looks at what is older than `retention` allows
_COLLECT = 10.0  # seconds between two times that garbage is collected
_UNKNOWN = 5  # tries of what failed by an error that nobody knows


@dataclass(frozen=True)
class Until:
    """When a stream stops by itself.

    Args:
        latest: Once it has read what the topic holds when it begins.
        seconds: After so long; None: it goes on.
        when: With `latest`: what the topic holds is looked at once this says so, and not at the beginning.
    """

    latest: bool = False
    seconds: float | None = None
    when: Callable[[], bool] | None = None

    @classmethod
    def of(cls, text: str | None) -> Until:
        """Read `latest` or a duration.

        Raises:
            SpecError: It is neither.
        """
        if text is None or text == "latest":
            return cls(latest=text is not None)
        try:
            return cls(seconds=parse_duration(text).total_seconds())
        except ValueError as bad:
            raise SpecError(f"expected latest, or a duration such as 10m, got {text!r}", code="option-invalid") from bad


@dataclass
class _Stream:
    """One execution of a stream."""

    ask: Launch
    until: Until
    store: StateStore
    context: RunContext
    archive: letters.Archive
    listener: Callable[[Progress], None] | None
    drained: Callable[[LedgerRow], None] | None
    lost: Sequence[FencedError] = ()  # what says that another execution has the lease
    engine: Engine | None = None  # where a pipeline goes on from drain to drain; None: each is a run of its own
    began: float = field(default_factory=time.monotonic)
    goal: dict[str, int] | None = None
    failures: int = 0  # one behind the other
    unknown: int = 0  # of these, what may not pass
    full: bool = False  # the next drain reads everything again
    keep: bool = False  # the next drain goes on from what has changed
    last: str = ""  # run of the last drain
    at: Offsets | None = None  # how far the last commit read; None: the target knows
    told_early: float = field(default_factory=time.monotonic)
    open_windows: bool = False  # or rows that wait for others; as far as this process knows
    idle: bool = False  # the last drain read nothing
    untold: bool = False  # rows have come to open windows since their early results were told
    charged: float = 0.0
    collected: float = field(default_factory=time.monotonic)
    tidied: float = field(default_factory=time.monotonic)
    reached: dict[str, int] = field(default_factory=dict)
    mirrored: float = 0.0

    @property
    def job(self) -> Job:
        return self.ask.job

    @contextlib.contextmanager
    def target(self) -> Iterator[Target]:
        with contextlib.closing(self.job.open_target(self.context)) as target:
            yield target

    def run(self) -> BaseException | None:
        """Drain until there is a reason to stop; gives what ended it, None: it has stopped as it was asked to."""
        topics: Topics | None = None
        self.full, self.keep = self.ask.full_refresh, self.ask.keep_watermark
        self.untold = self.job.window_at is not None  # as far as is known: they may have been left open
        self.open_windows = self.untold or bool(self.job.live_joins)
        try:
            while not stopping.asked():
                try:
                    if self.failures:
                        self._mend()
                    topics = topics or Topics(self.job, self.context)
                    if not self._step(topics):
                        return None
                    self.failures = self.unknown = 0
                except Exception as error:  # noqa: BLE001 - what it is decides whether it is tried again
                    if stopping.asked() or launch.interrupted(error):
                        return None
                    if not self._again(error):
                        return error
                    if topics is not None:
                        topics.close()
                        topics = None
            return None
        except KeyboardInterrupt:  # also while it waits to try again
            return None
        finally:
            if topics is not None:
                self._mirror(topics, [])
                topics.close()

    def _again(self, error: Exception) -> bool:
        """Whether to try again what failed; waits before."""
        self.failures += 1
        if not isinstance(error, TransientError):
            # What is staged is gone when a server has crashed; a drain reads it anew. What nobody knows may pass, but not for ever.
            self.unknown += 1
            known = isinstance(error, BeamPipelinesError) and error.code not in _PASSING
            if known or self.unknown > _UNKNOWN:
                return False
        wait = min(_LONGEST, _PATIENCE * 2 ** min(self.failures - 1, _DOUBLED)) * (1 + random.random() / 4)
        left = self._left()
        if left is not None and left <= 0:
            return False
        _LOG.warning("a drain failed, and is tried again in %.0f s: %s", wait, error)
        time.sleep(wait if left is None else min(wait, left))
        return True

    def _mend(self) -> None:
        """Make up for what the failure kept from being done: the record of what committed, and what other sinks have not got.

        What has not committed by now never will: it is read anew, and what is staged of it is swept.
        """
        with self.target() as target:
            if any(row.status == "committed" for row in target.give_up(self.job.service, self.last)):
                self.full = self.keep = False  # what was asked for once is done
            catch_up(self.job, self.store, target, self.archive, self.context)
            bring_all(self.job, self.store, target, self.archive, self.context)

    def _left(self) -> float | None:
        return None if self.until.seconds is None else self.began + self.until.seconds - time.monotonic()

    def _step(self, topics: Topics) -> bool:
        """Wait for something to do, and do it; False: it is time to stop."""
        begun = time.monotonic()
        if self.at is None:
            with self.target() as target:
                self.at = self._heads(target)
        if not self._wait(topics, self.at):
            return False
        self._drain(topics)
        self._collect()
        self._charge()
        pause = _PACE - (time.monotonic() - begun)
        left = self._left()
        if self.goal is not None:
            return True
        if pause > 0 and (left is None or left > 0):
            time.sleep(pause if left is None else min(pause, left))
        return True

    def _heads(self, target: Target) -> Offsets | None:
        """How far the last commit read."""
        heads = target.heads(self.job.service)
        marks = [head.mark for head in heads.values() if head.mark is not None and head.mark.type == "offsets"]
        return None if self.full or not marks else Offsets.of(marks[0])

    def _wait(self, topics: Topics, at: Offsets | None) -> bool:
        """Wait until there is a message, or windows may be closed without one; False: there is a reason to stop.

        Raises:
            FencedError: Another execution has taken the lease, which it may where this one was paused for long.
        """
        looked = time.monotonic()
        known = {} if at is None else at.named
        while not stopping.asked():
            if self.lost:  # a run comes to its end; a stream would go on beside another one for ever
                raise self.lost[0]
            ends = topics.ends()
            if self.goal is None and self.until.latest and (self.until.when is None or self.until.when()):
                self.goal = dict(ends)
            if at is not None and _made_anew(at, ends):
                return True  # the drain looks again, and refuses it: what comes now would be passed over up to where the old one was read
            if self.goal is not None and at is not None and _reached(at, self.goal):
                return False
            if self.goal is not None and not any(self.goal.values()):
                return False
            left = self._left()
            if left is not None and left <= 0:
                return False
            # The first drain fixes where the service begins, though there may be nothing to read: what comes from now on is its own.
            if at is None or any(end > known[name].next for name, end in ends.items() if name in known):
                return True
            if any(end and name not in known for name, end in ends.items()) or self._due(topics, looked):
                return True
            self._charge()
            time.sleep(_LOOK if left is None else max(0.0, min(_LOOK, left)))
        return False

    def _due(self, topics: Topics, looked: float) -> bool:
        """Whether a drain without a message may give something: partitions have become idle, or early results are due."""
        if not self.open_windows:
            return False
        every, now = self._emits, time.monotonic()
        if self.untold and every is not None and now - self.told_early > every:
            return True
        # Once: as long as no message comes, another look tells nothing new.
        return not self.idle and now - looked > topics.idle

    def _charge(self) -> None:
        """Charge the hours that have passed, and delete what is to be kept no longer; looked at now and then."""
        if time.monotonic() - self.charged < 10 and self.charged:
            return
        self.charged = time.monotonic()
        charge_hours(self.job, self.store, self.context.session)
        if self.charged - self.tidied > _TIDY:
            self.tidied = self.charged
            retention.keep_to(self.job.definition.retention, self.store, self.archive, self.job.service, self.context.session)

    def _collect(self) -> None:
        """Collect what drains leave in cycles, some MB each: by itself Python would wait for long (`start.spare_the_collector`)."""
        if time.monotonic() - self.collected > _COLLECT:
            gc.collect()
            self.collected = time.monotonic()

    @property
    def _emits(self) -> float | None:
        """Seconds between early results; None: there are none."""
        place = self.job.window_at
        every = None if place is None else cast("WindowStep", self.job.definition.steps[place]).emit_every
        return None if every is None else every.total_seconds()

    def _early(self) -> bool:
        every, now = self._emits, time.monotonic()
        if every is None or now - self.told_early < every:
            return False
        self.told_early = now
        return True

    def _drain(self, topics: Topics) -> None:
        """One bounded run, from the read to the record.

        Raises:
            BaseException: What it failed by; what it committed is recorded all the same.
        """
        run, now = new_run(), datetime.now(timezone.utc)
        self.last = run
        context = replace(
            self.context,
            run=run,
            started_at=now.isoformat(timespec="microseconds"),
            full_refresh=self.full,
            keep_watermark=self.keep,
            early=self._early(),
            drain=self.engine.next() if self.engine is not None else 0,
        )
        began, self.at = time.monotonic(), None
        run_by = self.engine.run if self.engine is not None else None
        with spares.together():
            error = launch.run_pipeline(self.ask, context, self.store, self.listener, run_by)
            with self.target() as target:
                # A worker of an engine that is gone may be at its commit yet, which comes first, or is refused from now on.
                rows = target.rows(self.job.service, run) if error is None else target.give_up(self.job.service, run)
                committed = bool(rows) and all(row.status == "committed" for row in rows)
                if committed:
                    self._settle(topics, context, target, rows, time.monotonic() - began)
                elif rows:
                    self._bury(target, rows)
        if error is not None:
            raise error
        if not committed:
            verdict = next((row.counts for row in rows if row.counts is not None), None)
            raise FatalError(
                verdict.message if verdict else "the drain ended without a commit",
                code=cast("Any", verdict.code if verdict else "internal"),
            )
        self.at = _offsets(rows)

    def _settle(self, topics: Topics, context: RunContext, target: Target, rows: list[LedgerRow], seconds: float) -> None:
        """Record what a drain has committed, and bring its rows to the other sinks."""
        self.full = self.keep = False
        record(self.job, context, self.store, target, self.archive, rows, seconds)
        tallies = [row.counts.tally for row in rows if row.counts is not None]
        self.open_windows = any(step.open_windows or step.waiting for tally in tallies for step in tally.steps)
        self.idle = not any(tally.read for tally in tallies)
        self.untold = not context.early and (self.untold or not self.idle)
        self._mirror(topics, rows)
        for row in rows:
            bring(self.job, context, target, row.load, self.store, self.archive)
            if self.drained is not None:
                self.drained(row)

    def _mirror(self, topics: Topics, rows: list[LedgerRow]) -> None:
        """Tell the brokers now and then how far the topics are read."""
        at = _offsets(rows)
        if at is not None:
            self.reached = {name: place.next for name, place in at.named.items()}
        if at is None or time.monotonic() - self.mirrored > _MIRROR:
            self.mirrored = time.monotonic()
            topics.mirror(self.reached)

    def _bury(self, target: Target, rows: list[LedgerRow]) -> None:
        """Keep the dead letters of a drain that was judged to fail: nothing of it is loaded."""
        failures = letters.export(target, self.archive, self.job.service, rows, missing_ok=True)
        run = rows[0].run
        if failures:
            self.store.refuse(self.context.session, run, failures, datetime.now(timezone.utc))
        target.drop_staged([name for name in target.staging(self.job.service) if f"_{run}_" in name])


def record(
    job: Job, context: RunContext, store: StateStore, target: Target, archive: letters.Archive, rows: list[LedgerRow], seconds: float | None
) -> None:
    """Record what a drain committed: dead letters, outputs of steps, counts, failures, events of the hour. Safe to repeat."""
    failures = letters.export(target, archive, job.service, rows, missing_ok=seconds is None)
    deliver.deliver(job, context, target, rows, missing_ok=seconds is None)
    for row in rows:
        store.advance(row.window.session, advance_of(job, row, failures, seconds))
    letters.drop(target, rows)
    deliver.drop(target, rows)


def _offsets(rows: list[LedgerRow]) -> Offsets | None:
    """How far commits have read."""
    marks = [row.counts.watermark for row in rows if row.counts is not None and row.counts.watermark is not None]
    return Offsets.of(marks[0]) if marks else None


def charge_hours(job: Job, store: StateStore, session: str) -> None:
    """Note that the stream runs, and charge the hours that have passed, once each."""
    store.touch_hour(session)
    pricing = job.definition.pricing
    store.charge_hours(job.service, lambda hour, events: charge_hour(pricing, hour=hour, events=events) if pricing is not None else None)


def _made_anew(at: Offsets, ends: dict[str, int]) -> bool:
    """Whether a topic lacks what was read: a partition, or messages at its end."""
    return any(name not in ends or ends[name] < place.next for name, place in at.named.items())


def _reached(at: Offsets, goal: dict[str, int]) -> bool:
    known = at.named
    return all(name in known and known[name].next >= end for name, end in goal.items() if end)


def stream(
    ask: Launch,
    until: Until,
    listener: Callable[[Progress], None] | None = None,
    drained: Callable[[LedgerRow], None] | None = None,
) -> Result:
    """Run a stream until it is stopped, or has done what it is asked for.

    Args:
        ask: What to run.
        until: When it stops by itself.
        listener: Called with the progress of each drain, from a thread of its own.
        drained: Called with the ledger row of each drain that committed.

    Raises:
        SpecError: The definition or the command cannot be run as asked; nothing was started or recorded.
        ActiveRunError: The service runs already.
        TransientError: The state store, the sinks or the brokers are away before it began.
        FatalError: A sink refuses what an earlier execution has left for it, and is to stop then.
    """
    job, session = ask.job, ask.run or new_run()
    started = datetime.now(timezone.utc)
    context = replace(ask.context(session, started), session=session)
    archive = letters.Archive.of(job.definition.dead_letters, ask.beside)
    engine = _engine_of(ask)
    with launch.one_run(), spares.kept(), held_blocks.room():
        plan = make_plan(job, context)
        launch.check_refresh(ask, plan)
        with StateStore(state_url(ask.state, job.connections(context))) as store, launch.leased(store, job.service, session) as lost:
            context = replace(context, store=store.id)
            with contextlib.closing(job.open_target(context)) as target:
                settled = settle(job, store, target, archive, context, accepted=ask.full_refresh or ask.keep_watermark)
                recover.check_ahead(job, store, target, accepted=ask.full_refresh or ask.keep_watermark)
                check_fingerprints(job, context, target)
                check_kept(job, context, target)
                place = target.place
            launch.record_schedule(store, job)
            store.begin(launch.beginning(ask, session, started, plan, place))
            charge_hours(job, store, session)
            with _going_on(engine, context):
                one = _Stream(ask, until, store, context, archive, listener, drained, lost, engine)
                # A drain may take longer than an hour.
                with beating(lambda: store.touch_hour(session)):
                    error = one.run()
            with contextlib.suppress(BeamPipelinesError):
                if one.failures:
                    with one.target() as target:
                        catch_up(job, store, target, archive, context)
                charge_hours(job, store, session)
            return _end(ask, store, archive, session, tuple(settled), error)


@contextlib.contextmanager
def _going_on(engine: Engine | None, context: RunContext) -> Iterator[None]:
    """Keep an engine while the block runs; between drains, when it begins bundles of nothing, these find the context of the execution."""
    if engine is None:
        yield
        return
    with launch.in_environment(context), contextlib.closing(engine):
        yield


def _engine_of(ask: Launch) -> Engine | None:
    """What goes on from drain to drain, where the user has chosen such a runner."""
    from beam_pipelines.engine.options import on_prism

    if not on_prism(ask.options):
        return None
    from beam_pipelines.engine.prism.engine import Engine
    from beam_pipelines.engine.prism.steps import check_steps

    check_steps(ask.job)
    return Engine(ask.options)


def settle(job: Job, store: StateStore, target: Target, archive: letters.Archive, context: RunContext, *, accepted: bool) -> list[str]:
    """Write what executions that died did not live to write, and bring their rows to the other sinks.

    Args:
        job: The service.
        store: Where the records are.
        target: Whose ledger is the truth.
        archive: Where dead letters go.
        context: Of the execution that begins.
        accepted: The user has chosen (`--full-refresh` or `--keep-watermark`): an execution whose ledger is elsewhere is given up.

    Returns:
        Run ids of the executions that are recorded as lost now.

    Raises:
        PlanError: `ledger-behind`: an execution that died wrote to another target than this one.
    """
    settled = []
    target.give_up_all(job.service, store.id)
    catch_up(job, store, target, archive, context)
    for execution in store.unfinished(job.service):
        if execution.run == context.run:
            continue
        unknown = recover.elsewhere(job, execution, target)
        if unknown is not None and not accepted:
            raise unknown
        message = "the process ended without a word; what it committed is recorded, and the next start went on from there"
        outcome = Outcome(status="lost", error=message, error_code="internal")
        if unknown is not None:
            outcome = Outcome(status="lost", error=unknown.message, error_code=unknown.code)
        if store.finish(execution.run, outcome):
            settled.append(execution.run)
            _LOG.info("run %s had died, and is recorded as lost now; what it committed counts", execution.run)
    bring_all(job, store, target, archive, context)
    return settled


def catch_up(job: Job, store: StateStore, target: Target, archive: letters.Archive, context: RunContext) -> None:
    """Record the commits that the ledger has and the store does not, in their order. Safe to repeat.

    To be called before another drain commits: an execution is recorded up to its last commit, and what is left out is never asked for.
    """
    copies = {copy.table: copy.generation for copy in store.watermarks(job.service)}
    recorded: dict[str, int | None] = {}
    for load, head in target.heads(job.service).items():
        behind = head.generation - copies.get(load, 0)
        for row in reversed(target.committed(job.service, load, head.generation, behind) if behind > 0 else []):
            session = row.window.session
            if session not in recorded:
                recorded[session] = store.advanced(session) if session and store.execution(session) is not None else None
            # Copies may be cleared (--full-refresh, --keep-watermark): what the execution itself has is not written again.
            through = recorded[session]
            if through is not None and through <= row.window.generation:
                record(job, context, store, target, archive, [row], None)


def bring_all(job: Job, store: StateStore, target: Target, archive: letters.Archive, context: RunContext) -> None:
    """Bring what commits have kept to the other sinks that have not got it."""
    for load in target.heads(job.service):
        bring(job, context, target, load, store, archive)


def _end(
    ask: Launch, store: StateStore, archive: letters.Archive, session: str, settled: tuple[str, ...], error: BaseException | None
) -> Result:
    failed = error is not None
    code = error.code if isinstance(error, BeamPipelinesError) else "internal"
    outcome = Outcome(status="failed" if failed else "success", error=str(error) if failed else None, error_code=code if failed else None)
    store.finish(session, outcome)
    retention.keep_to(ask.job.definition.retention, store, archive, ask.job.service, session)
    execution = store.execution(session)
    assert execution is not None
    exit_code = (error.exit_code if isinstance(error, BeamPipelinesError) else 1) if failed else 0
    return Result(execution, exit_code, settled, error)
