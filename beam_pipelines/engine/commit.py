"""Commit every load of a run, from the facts that reached it. One element, hung on a seed: with an empty source it still runs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, PCollection

from beam_pipelines.columnar import memory
from beam_pipelines.engine import beside
from beam_pipelines.engine.bundle import PlainFn
from beam_pipelines.engine.gathered import gathered
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.judged import judged
from beam_pipelines.engine.live.noted import by_drain, view_of
from beam_pipelines.engine.prepare import TARGET, windows_of
from beam_pipelines.engine.progress import Reporter
from beam_pipelines.errors import BeamPipelinesError, FencedError
from beam_pipelines.io import keepers, spares
from beam_pipelines.io.connector import Target
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import LoadCounts, Tally
from beam_pipelines.runs.file import of_no_account, unbilled
from beam_pipelines.runs.window import Window

__all__ = ["Commit", "commit_loads"]

_LOG = logging.getLogger(__name__)


class _CommitFn(PlainFn):
    def __init__(self, job: Job) -> None:
        self._job = job

    def process(
        self,
        seed: bytes,  # noqa: ARG002 - the seed says nothing: it only makes Commit run, whatever was staged
        facts: Any,
        texts: dict[str, str],
    ) -> Iterator[tuple[str, LoadCounts]]:
        context = RunContext.current()
        # Every range is read: a snapshot held any longer would only keep the source from cleaning up.
        keepers.release(context.run)
        with contextlib.closing(Reporter("commit")) as report:
            report.open(context)
            report.flush()
        spares.hold(True)
        beside.clear()
        job = self._job.at(context)
        with contextlib.closing(job.open_target(context)) as target:
            if target.traits.in_process:
                memory.give_back()  # by now nothing is read any more
            yield from commit_loads(job, context, target, texts, gathered(job, texts, facts))


class _CommitDrainFn(PlainFn):
    """Commits what comes with the run of a drain."""

    def __init__(self, job: Job) -> None:
        self._once = _CommitFn(job)

    def process(self, drain: tuple[int, Iterable[Any]], texts: Mapping[str, str]) -> Iterator[str]:
        told = list(drain[1])
        (run,) = (one for one in told if isinstance(one, str))
        if run != RunContext.current().run:
            raise FencedError(f"drain {run} was given up, and commits nothing")
        for _ in self._once.process(b"", [one for one in told if not isinstance(one, str)], dict(texts)):
            pass
        yield run


def commit_loads(
    job: Job, context: RunContext, target: Target, texts: dict[str, str], facts: list[Any]
) -> Iterator[tuple[str, LoadCounts]]:
    """Commit one load after the other, each in a transaction of its own.

    Raises:
        BeamPipelinesError: What the first load failed by that failed; the others are committed.
    """
    failure: BeamPipelinesError | None = None
    policy, windows = job.policy(context), windows_of(texts)
    for load, window in windows.items():
        try:
            tally = judged(job, window, _paid(window, Tally.of(load, facts, job.step_ids)), target)
            if job.live:
                from beam_pipelines.engine.live.reached import reached

                tally = replace(tally, newest=reached(job, window, tally.newest).to_mark())
            yield load, target.commit(window, policy, window.schema(TARGET), tally)
        except BeamPipelinesError as error:
            # One that fails does not hold up the others.
            if len(windows) > 1:
                _LOG.error("the load of %s failed: %s", load, error)
            failure = failure or error
    if failure is not None:
        raise failure


def _paid(window: Window, tally: Tally) -> Tally:
    """What is paid for and judged: of a file that cannot be read, none of its parts."""
    if not any(file.error for file in tally.files):
        return tally
    return replace(tally, bytes=tally.bytes - unbilled(window, tally), no_account=of_no_account(window, tally))


class Commit(beam.PTransform):
    """Commit the loads of a run; one element a load, `(load, counts)`.

    Args:
        job: The service.
        windows: One element, `{load: window as text}`.
        facts: `ReadFact`, `StepFact` and `StagedFact` of every bundle.
    """

    def __init__(self, job: Job, windows: PCollection, facts: PCollection) -> None:
        super().__init__()
        self._job, self._windows, self._facts = job, windows, facts

    def expand(self, seed: PCollection) -> PCollection:
        if by_drain(self._windows):
            return self._by_drain(seed)
        once = beam.ParDo(_CommitFn(self._job), AsIter(self._facts), view_of(self._windows))
        return seed | "Once" >> once.with_output_types(tuple[str, LoadCounts])

    def _by_drain(self, runs: PCollection) -> PCollection:
        """Commit each drain once all of it is staged: what groups by its window waits for that. Gives the runs that have committed."""
        pairs = tuple[int, Any]
        told = (
            runs | "Runs" >> beam.Map(_paired).with_output_types(pairs),
            self._facts | "Facts" >> beam.Map(_paired).with_output_types(pairs),
        )
        behind = told | "Both" >> beam.Flatten() | "Barrier" >> beam.GroupByKey()
        return behind | "Once" >> beam.ParDo(_CommitDrainFn(self._job), view_of(self._windows)).with_output_types(str)


def _paired(value: Any) -> tuple[int, Any]:
    return 0, value
