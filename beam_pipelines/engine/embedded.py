"""A service inside a user's own pipeline. There is no launcher, so two elements do what it does: one begins the run, one ends it.

The id of the run is made by the first element, and goes with the windows from there on: a pipeline that is built once may run often.
A retry finds its run begun, or ended, and goes on from there.

What a launcher does all the time nobody does here: nothing renews the lease, which lasts for a fixed time, and nobody hears of progress. A
pipeline that fails between its two ends leaves its run as `running`; the next run of the service settles it, at once where this process can
tell that the pipeline is over (`engine.presence`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsSingleton, PBegin, PCollection

from beam_pipelines.columnar import coder
from beam_pipelines.engine import presence, recover
from beam_pipelines.engine.bundle import PlainFn
from beam_pipelines.engine.commit import commit_loads
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.launch import Launch, beginning, check_refresh, finish, record_schedule
from beam_pipelines.engine.letters import Archive
from beam_pipelines.engine.pipeline import loaded
from beam_pipelines.engine.plan import make_plan
from beam_pipelines.engine.prepare import prepare, windows_of
from beam_pipelines.errors import ActiveRunError, BeamPipelinesError, Code, FatalError, FencedError, TransientError
from beam_pipelines.io import keepers
from beam_pipelines.io.connector import Target
from beam_pipelines.io.state_place import state_url
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.names import new_run
from beam_pipelines.runs.window import Window
from beam_pipelines.state.lease import EMBEDDED, this_process
from beam_pipelines.state.record import FINAL, Execution
from beam_pipelines.state.store import StateStore

__all__ = ["Asked", "RunEmbedded"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What a user asks of a service in a pipeline of theirs.

    Args:
        beside: Folder that relative places (dead letters) are beside of.
        lease_seconds: How long no other run of the service may begin, unless this one ends before.
        runner: What `presence.watch` calls the runner of the pipeline.
        yes: Full refresh of an insert service may replace the table.
        customer: Who pays.
        request: What asked for the run.
    """

    beside: str
    lease_seconds: float
    runner: str = ""
    yes: bool = False
    customer: str | None = None
    request: str | None = None


@dataclass(frozen=True)
class _Run:
    """One run, as one of the two elements has it before it."""

    job: Job
    asked: Asked
    context: RunContext

    @property
    def launch(self) -> Launch:
        connections = Path(self.context.connections) if self.context.connections else None
        return Launch(
            job=self.job,
            state=self.context.state or "",
            beside=Path(self.asked.beside),
            connections=connections,
            full_refresh=self.context.full_refresh,
            keep_watermark=self.context.keep_watermark,
            yes=self.asked.yes,
            customer=self.asked.customer,
            request=self.asked.request,
            run=self.context.run,
        )

    @property
    def archive(self) -> Archive:
        return Archive.of(self.job.definition.dead_letters, Path(self.asked.beside))

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[StateStore, Target]]:
        """The state store, which is named by a URL without secrets or like a connection, and the target."""
        url = state_url(self.context.state or "", self.job.connections(self.context))
        with StateStore(url) as store, contextlib.closing(self.job.open_target(self.context)) as target:
            yield store, target

    def end(self, store: StateStore, target: Target, error: BaseException | None) -> Execution:
        """Write the record, and let the next run begin."""
        execution = finish(self.launch, store, target, self.archive, replace(self.context, store=store.id), (), error).execution
        with contextlib.suppress(ActiveRunError):  # another run has it already
            store.release(store.acquire(self.job.service, self.context.run, ttl_seconds=1, holder=this_process()))
        presence.end(self.asked.runner, self.context.run)
        return execution


def _run(job: Job, asked: Asked, run: str, started_at: str) -> _Run:
    context = replace(job.run_context(), run=run, started_at=started_at)
    return _Run(job.at(context), asked, context)


class _NameFn(PlainFn):
    """Make the id of a run. Its output is shuffled, so that every retry of what follows has the same."""

    def process(self, seed: bytes) -> Iterator[tuple[str, str]]:  # noqa: ARG002 - the seed says nothing
        yield new_run(), datetime.now(timezone.utc).isoformat(timespec="microseconds")


class _BeginFn(PlainFn):
    """Take the lease, settle runs that died, begin the record, and fix the windows."""

    def __init__(self, job: Job, asked: Asked) -> None:
        self._job, self._asked = job, asked

    def process(self, named: tuple[str, str]) -> Iterator[dict[str, str]]:
        presence.check(self._asked.runner)
        run = _run(self._job, self._asked, *named)
        with run.opened() as (store, target):
            holder = {**this_process(), EMBEDDED: True}
            presence.begin(self._asked.runner, run.context.run)
            lease = store.acquire(run.job.service, run.context.run, ttl_seconds=self._asked.lease_seconds, holder=holder)
            try:
                windows = self._begin(run, store, target)
            except BaseException:
                store.release(lease)
                raise
        yield {load: window.to_text() for load, window in windows.items()}

    def _begin(self, run: _Run, store: StateStore, target: Target) -> dict[str, Window]:
        self._record(run, store, target)
        try:
            return prepare(run.job, replace(run.context, store=store.id))
        except TransientError:
            raise  # the runner may try again
        except BeamPipelinesError as error:
            run.end(store, target, error)
            raise

    def _record(self, run: _Run, store: StateStore, target: Target) -> None:
        known = store.execution(run.context.run)
        if known is not None and known.status in FINAL:
            raise FencedError(f"run {known.run} of {known.service!r} has ended as {known.status}: another run gave it up")
        if known is not None:  # this is a retry
            return
        plan = make_plan(run.job, run.context)
        check_refresh(run.launch, plan)
        accepted = run.context.full_refresh or run.context.keep_watermark
        recover.roll_forward(run.job, store, target, run.archive, replace(run.context, store=store.id), accepted=accepted)
        recover.check_ahead(run.job, store, target, accepted=accepted)
        record_schedule(store, run.job)
        store.begin(beginning(run.launch, run.context.run, datetime.fromisoformat(run.context.started_at), plan, target.place))


class _EndFn(PlainFn):
    """Commit every load, and write the record."""

    def __init__(self, job: Job, asked: Asked) -> None:
        self._job, self._asked = job, asked

    def process(self, seed: bytes, facts: Any, texts: dict[str, str]) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - the seed says nothing
        window = next(iter(windows_of(texts).values()))
        run = _run(self._job, self._asked, window.run, window.started_at)
        keepers.release(window.run)
        with run.opened() as (store, target):
            execution = store.execution(window.run)
            if execution is None or execution.status not in FINAL:
                execution = self._end(run, store, target, texts, list(facts))
        if execution.status != "success":
            raise _failure(execution)
        yield execution.to_json()

    @staticmethod
    def _end(run: _Run, store: StateStore, target: Target, texts: dict[str, str], facts: list[Any]) -> Execution:
        try:
            store.set_status(run.context.run, "committing")
        except BeamPipelinesError as busy:  # it is only shown: what is staged is not given up for it
            _LOG.warning("that run %s commits is not recorded: %s", run.context.run, busy)
        failure: BeamPipelinesError | None = None
        try:
            for _ in commit_loads(run.job, run.context, target, texts, facts):
                pass
        except TransientError:
            raise  # the runner may try again
        except BeamPipelinesError as error:
            failure = error
        return run.end(store, target, failure)


def _failure(execution: Execution) -> FatalError:
    """The error of a run that has failed: the same whoever tells it, the first attempt or a later one."""
    told = f"run {execution.run} of {execution.service!r} ended as {execution.status}"
    details = {"run": execution.run}
    if execution.status == "lost":
        return FencedError(f"{told}: its lease had run out, and another run of the service gave it up; nothing is loaded", details=details)
    kind = FencedError if execution.error_code == "fenced" else FatalError
    return kind(f"{told}: {execution.error}", code=cast(Code, execution.error_code or "internal"), details=details)


class RunEmbedded(beam.PTransform):
    """Run a service once, in a pipeline that is somebody else's; gives one element, the record of the run.

    Args:
        job: The service, with its context.
        asked: What is asked of it.
    """

    def __init__(self, job: Job, asked: Asked) -> None:
        super().__init__()
        self._job, self._asked = job, asked

    def expand(self, begin: PBegin) -> PCollection:
        coder.register()
        seed = begin | "Seed" >> beam.Impulse()
        named = seed | "Name" >> beam.ParDo(_NameFn()).with_output_types(tuple[str, str]) | "Keep" >> beam.Reshuffle()
        windows = named | "Begin" >> beam.ParDo(_BeginFn(self._job, self._asked)).with_output_types(dict[str, str])
        facts = loaded(self._job, windows)
        ending = beam.ParDo(_EndFn(self._job, self._asked), AsIter(facts), AsSingleton(windows))
        return seed | "End" >> ending.with_output_types(dict[str, Any])
