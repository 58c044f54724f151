"""One run of a service from start to record: lease, roll-forward, pipeline, ledger, dead letters, record, charge, events.

The launcher writes only to the state store and the dead-letter folder; what happened to the data it reads from the target's ledger.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from beam_pipelines.engine import deliver, letters, notebook, recover, retention
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.outcome import exceeds_budget, outcome_of
from beam_pipelines.engine.parallel import in_parallel
from beam_pipelines.engine.plan import Plan, make_plan
from beam_pipelines.engine.progress import Progress, Receiver
from beam_pipelines.errors import BeamPipelinesError, FatalError, FencedError, PlanError
from beam_pipelines.io import keepers, spares
from beam_pipelines.io.connector import Target
from beam_pipelines.io.state_place import state_url
from beam_pipelines.runs.context import VARIABLE, RunContext
from beam_pipelines.runs.names import new_run
from beam_pipelines.state import lease as leases
from beam_pipelines.state.event import PhaseProgress
from beam_pipelines.state.record import Execution, Files, Outcome
from beam_pipelines.state.store import StateStore

__all__ = [
    "Launch",
    "Result",
    "beginning",
    "check_refresh",
    "finish",
    "in_environment",
    "interrupted",
    "launch",
    "leased",
    "one_run",
    "record_schedule",
    "run_pipeline",
]

_LOG = logging.getLogger(__name__)
_LEASE = 60.0  # seconds: a run whose machine died blocks its service no longer than this
_ONE_RUN = threading.Lock()  # the in-process runner takes its run-time values from the process: one run at a time in it


@dataclass(frozen=True)
class Launch:
    """What a caller asks of a run.

    Args:
        job: The service.
        state: URL of the state store, or the name of a connection that leads to it.
        beside: Folder that relative places (dead letters) are beside of.
        connections: Connections file.
        options: Beam's options.
        full_refresh: Forget the watermark and read everything.
        keep_watermark: Accept a changed fingerprint or a restored target.
        yes: Full refresh of an insert service may replace the table.
        customer: `--customer`.
        request: `--request`.
        run: Run id, None: a new one.
    """

    job: Job
    state: str
    beside: Path
    connections: Path | None = None
    options: Any = None
    full_refresh: bool = False
    keep_watermark: bool = False
    yes: bool = False
    customer: str | None = None
    request: str | None = None
    run: str | None = None

    def context(self, run: str, started: datetime) -> RunContext:
        """What the workers of a run are told, as far as it is asked for here."""
        return RunContext(
            run=run,
            started_at=started.isoformat(timespec="microseconds"),
            connections=str(self.connections) if self.connections else None,
            folder=self.job.folder,
            state=self.state,
            full_refresh=self.full_refresh,
            keep_watermark=self.keep_watermark,
        )


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Args:
        execution: The record, as the state store has it.
        exit_code: 0 success, 1 failed, 3 success above a budget that only warns, 130 cancelled.
        settled: Earlier runs of the service that this one rolled forward.
        error: What ended it, None on success.
    """

    execution: Execution
    exit_code: int
    settled: tuple[str, ...] = ()
    error: BaseException | None = None

    @property
    def success(self) -> bool:
        return self.execution.status == "success"

    def to_json(self) -> dict[str, Any]:
        return self.execution.to_json()

    def _repr_html_(self) -> str:
        """What the run did, in a notebook."""
        ran, metrics = self.execution, self.execution.metrics
        told = [
            (ran.service, f"{ran.status} (run {ran.run})"),
            ("files", _files_line(ran.files) if ran.files is not None else None),
            ("loaded", f"{metrics.records_loaded} rows of {metrics.records_extracted}"),
            ("dead letters", metrics.records_dead_lettered or None),
            ("guarantee", ran.guarantee),
            ("charge", f"{ran.charge['amount']} {ran.charge['currency']}" if ran.charge else None),
            ("error", f"{ran.error} [{ran.error_code}]" if ran.error else None),
        ]
        steps = [
            [one.id, one.records_in, one.records_out, one.records_filtered, one.records_rejected, one.records_dead_lettered]
            for phase in ran.steps
            for one in phase.transformations
        ]
        head = ["step", "in", "out", "filtered", "rejected", "dead"]
        return notebook.facts(told) + (notebook.table(head, steps) if steps else "")


def _files_line(files: Files) -> str:
    return f"{files.processed} processed, {files.skipped} skipped, {files.failed} that cannot be read"


def launch(ask: Launch, listener: Callable[[Progress], None] | None = None) -> Result:
    """Run a service once.

    Args:
        ask: What to run.
        listener: Called with the progress, from a thread of its own.

    Raises:
        SpecError: The definition or the command cannot be run as asked; nothing was started or recorded.
        ActiveRunError: Another run of the service is active.
        TransientError: The state store or the target is away before the run began.
    """
    job, run = ask.job, ask.run or new_run()
    started = datetime.now(timezone.utc)
    context = ask.context(run, started)
    archive = letters.Archive.of(job.definition.dead_letters, ask.beside)
    url = state_url(ask.state, job.connections(context))
    with one_run(), spares.kept():
        plan = make_plan(job, context)
        check_refresh(ask, plan)
        with StateStore(url) as store, leased(store, job.service, run), contextlib.closing(job.open_target(context)) as target:
            accepted = ask.full_refresh or ask.keep_watermark
            settled = recover.roll_forward(job, store, target, archive, replace(context, store=store.id), accepted=accepted)
            recover.check_ahead(job, store, target, accepted=accepted)
            record_schedule(store, job)
            store.begin(beginning(ask, run, started, plan, target.place))
            error = run_pipeline(
                replace(ask, options=in_parallel(job, plan, ask.options)), replace(context, store=store.id), store, listener
            )
            return finish(ask, store, target, archive, replace(context, store=store.id), tuple(settled), error)


@contextlib.contextmanager
def one_run() -> Iterator[None]:
    """Let no other run begin in this process while the block runs."""
    with _ONE_RUN:
        yield


def check_refresh(ask: Launch, plan: Plan) -> None:
    """Refuse a full refresh that would replace a table nobody meant to be replaced, or bring rows that are there already once more.

    Raises:
        PlanError: It would, and nobody said `--yes`.
    """
    if not ask.full_refresh or ask.yes:
        return
    costs = []
    if plan.mode == "insert" and ask.job.destination.type != "none" and not ask.job.by_file:
        costs.append(f"with mode: insert replaces the whole table {plan.destination!r}")
    if ask.job.live:
        from beam_pipelines.engine.sinks.every import sinks_of  # few services are streams

        again = [f"{sink.what} ({sink.id})" for sink in sinks_of(ask.job) if sink.again(ask.job)]
        if again:
            costs.append(f"brings all rows again, beside those that are there, to {', '.join(again)}")
    if costs:
        raise PlanError(f"--full-refresh {', and '.join(costs)}; say --yes if that is meant", code="mode-refused")


def record_schedule(store: StateStore, job: Job) -> None:
    """Put the schedule that the definition asks for into the store, or that it asks for none."""
    from beam_pipelines.state.record import Schedule

    asked = job.definition.schedule
    store.set_schedule(job.service, Schedule(job.service, asked.expression, asked.timezone) if asked is not None else None)


def beginning(ask: Launch, run: str, started: datetime, plan: Plan, place: str) -> Execution:
    """The record of a run that begins."""
    return Execution(
        service=ask.job.service,
        run=run,
        started_at=started,
        name=ask.job.definition.name or "",
        kind=ask.job.definition.kind,
        request=ask.request,
        customer=ask.customer,
        guarantee="\n".join(map(str, plan.promises)),
        place=place or None,
    )


@contextlib.contextmanager
def leased(store: StateStore, service: str, run: str) -> Iterator[list[FencedError]]:
    """Hold the lease of a service, and keep it while the run goes on.

    A lease that another run has taken is only logged and noted: the target's fence decides who commits.

    Yields:
        What says that the lease is lost, once it is.
    """
    lease = store.acquire(service, run, ttl_seconds=_LEASE, holder=leases.this_process())
    stopped, gone = threading.Event(), list[FencedError]()

    def renew() -> None:
        held = lease
        while not stopped.wait(_LEASE / 3):
            try:
                held = store.renew(held)
            except BeamPipelinesError as lost:
                _LOG.warning("the lease of this run is not renewed: %s", lost)
                if isinstance(lost, FencedError):
                    gone.append(lost)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield gone
    finally:
        stopped.set()
        thread.join()
        store.release(lease)


def run_pipeline(
    ask: Launch,
    context: RunContext,
    store: StateStore,
    listener: Callable[[Progress], None] | None,
    run_by: Callable[[Job, Any], None] | None = None,
) -> BaseException | None:
    """Run the pipeline to its end; what it raised is data from here on.

    Args:
        ask: What to run.
        context: What is known of the run; in the environment while it goes on.
        store: Hears of phases.
        listener: Called with the progress, from a thread of its own.
        run_by: What runs it, given job and options; None: Beam's in-process runner.
    """
    if run_by is None:
        from beam_pipelines.engine.local import run_here

        run_by = run_here
    phases = _PhaseEvents(store, context.session or context.run)

    def heard(progress: Progress) -> None:
        phases.heard(progress)
        if listener is not None:
            listener(progress)

    # What is told last is told when nothing is heard any more.
    with contextlib.closing(phases), Receiver(heard) as receiver, in_environment(replace(context, progress=receiver.port)):
        try:
            run_by(ask.job, ask.options)
        except KeyboardInterrupt as interrupt:
            return interrupt
        except Exception as error:  # noqa: BLE001 - recorded, and raised again by the command line
            _LOG.debug("the pipeline failed", exc_info=True)
            return KeyboardInterrupt() if interrupted(error) else error
        finally:
            keepers.release(context.run)
    return None


def interrupted(error: BaseException) -> bool:
    """Whether an interrupt is behind an error: Beam makes a RuntimeError of what it meets inside a DoFn, DuckDB of the signal itself."""
    if isinstance(error, RuntimeError) and str(error).startswith("Query interrupted"):
        return True
    behind = error.__cause__ or error.__context__
    return isinstance(behind, KeyboardInterrupt) or (behind is not None and interrupted(behind))


@contextlib.contextmanager
def in_environment(context: RunContext) -> Iterator[None]:
    """Let what begins in this process while the block runs find the context."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = context.to_text()
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


class _PhaseEvents:
    """`PipelineProgress.updated`, every two seconds and at the end: the outbox is no progress bar.

    And the status `committing`, from the moment the commit begins.
    """

    _EVERY = 2.0

    def __init__(self, store: StateStore, run: str) -> None:
        self._store, self._run = store, run
        self._due = self._EVERY
        self._untold: dict[str, PhaseProgress] = {}
        self._committing = False

    def heard(self, progress: Progress) -> None:
        if progress.phase == "commit" and not self._committing:
            self._committing = self._try(lambda: self._store.set_status(self._run, "committing"))
        # What is executed again is read again.
        read = min(progress.bytes, progress.total_bytes) if progress.total_bytes else progress.bytes
        self._untold[progress.phase] = PhaseProgress(progress.phase, "running", progress.extracted, read, progress.total_bytes or None)
        if progress.seconds >= self._due:
            self._due = progress.seconds + self._EVERY
            self.close()

    def close(self) -> None:
        """Tell what has not been told, in one transaction."""
        untold, self._untold = list(self._untold.values()), {}
        if untold:
            self._try(lambda: self._store.progress(self._run, *untold))

    @staticmethod
    def _try(write: Callable[[], object]) -> bool:
        try:
            write()
        except BeamPipelinesError as busy:
            _LOG.debug("progress is not recorded: %s", busy)
            return False
        return True


def finish(
    ask: Launch,
    store: StateStore,
    target: Target,
    archive: letters.Archive,
    context: RunContext,
    settled: tuple[str, ...],
    error: BaseException | None,
) -> Result:
    """End a run by what the ledger says of it: dead letters, outputs of steps, record, charge, events; then clean up behind it.

    Raises:
        FatalError: Dead letters or an output cannot be written: the run is not recorded, and the next one writes the rest.
    """
    job, run = ask.job, context.run
    cancelled = isinstance(error, KeyboardInterrupt)
    rows = target.rows(job.service, run)
    failures = letters.export(target, archive, job.service, rows)
    try:
        deliver.deliver(job, context, target, rows)
    except FatalError as undelivered:
        raise undelivered from error
    outcome = outcome_of(job, rows, failures, error, "cancelled" if cancelled else None)
    if outcome.status == "failed" and error is None and not any(row.status == "failed" for row in rows):
        error = FatalError("the pipeline ended without a commit")
        outcome = replace(outcome, error=str(error), error_code="internal")
    if not store.finish(run, outcome) and outcome.status == "success":
        error = FencedError(f"run {run} committed after it had been given up as lost; its record says lost, and nothing is charged for it")
        outcome = replace(outcome, status="lost")
    _clean(target, job.service, run, rows, everything=outcome.status != "success")
    retention.keep_to(job.definition.retention, store, archive, job.service, run)
    execution = store.execution(run)
    assert execution is not None
    return Result(execution, _exit_code(outcome, rows, error), settled, None if outcome.status == "success" else error)


def _clean(target: Target, service: str, run: str, rows: list[Any], *, everything: bool) -> None:
    """Drop what the run left in staging. The run is recorded: what cannot be dropped now, the next run's Prepare drops."""
    try:
        if everything:
            target.drop_staged([name for name in target.staging(service) if f"_{run}_" in name and name not in _kept(rows)])
        letters.drop(target, rows)
        deliver.drop(target, rows)
    except (OSError, BeamPipelinesError) as failed:
        _LOG.warning("staging of this run is left for the next run to drop: %s", failed)


def _kept(rows: list[Any]) -> set[str]:
    return {name for row in rows if row.counts for name in row.counts.kept}


def _exit_code(outcome: Outcome, rows: list[Any], error: BaseException | None) -> int:
    if outcome.status == "success":
        return 3 if exceeds_budget(rows) else 0
    if outcome.status == "cancelled":
        return 130
    return error.exit_code if isinstance(error, BeamPipelinesError) else 1
