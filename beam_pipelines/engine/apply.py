"""Apply steps to every batch: count in and out, stage the rows that fail. What a step does is a pure function in `transforms`.

Adjacent filters and maps are one DoFn (`transforms.fused`); each still counts for itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_pipelines.columnar import origin
from beam_pipelines.engine import calls
from beam_pipelines.engine.bundle import FACTS, BundleFn
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live.noted import view_of
from beam_pipelines.engine.opening import open_steps
from beam_pipelines.engine.progress import Reporter
from beam_pipelines.runs.facts import StepFact
from beam_pipelines.runs.window import Window
from beam_pipelines.transforms.fused import Fused
from beam_pipelines.transforms.step import Step

__all__ = ["ApplySteps"]


@dataclass
class _Open:
    steps: list[Step]
    fused: Fused
    facts: list[StepFact]


class _ApplyFn(BundleFn):
    def __init__(self, job: Job, steps: range) -> None:
        super().__init__(job, job.step_ids[steps[-1]], "transform")
        self._steps = steps

    def setup(self) -> None:
        super().setup()
        self._earlier = [Reporter(self._job.step_ids[index], "transform") for index in self._steps[:-1]]

    def start_bundle(self) -> None:
        super().start_bundle()
        for report in self._earlier:
            report.open(self.context)
        self._leave()

    def teardown(self) -> None:
        self._leave()
        for report in self._earlier:
            report.close()
        calls.leave()
        super().teardown()

    def _leave(self) -> None:
        """Close the steps that a bundle which failed left open."""
        for one in getattr(self, "_open", {}).values():
            for step in one.steps:
                with contextlib.suppress(Exception):  # a user's clean-up: what went wrong was raised where it did
                    step.close()
        self._open: dict[str, _Open] = {}

    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[pa.RecordBatch]:
        load = origin.load_of(batch)
        with self.timed(load):
            one = self._open.get(load) or self._begin(load, self.window(load, texts))
            pieces = list(one.fused.pieces(batch))
        for piece in pieces:
            with self.timed(load):
                outputs = self._apply(load, one, piece)
            yield from outputs

    def _apply(self, load: str, one: _Open, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, ...]:
        results = one.fused.apply(batch)
        rows_in = batch.num_rows
        for position, (applied, report) in enumerate(zip(results, [*self._earlier, self._report], strict=True)):
            one.facts[position] = self.counted(one.facts[position], applied, rows_in)
            rows_in = applied.rows_out
            report.add(rows_in)
        self.weigh(load, results[-1].batches)
        return results[-1].batches

    def _begin(self, load: str, window: Window) -> _Open:
        steps = open_steps(self._job, self._steps, window)
        names = [step.id for step in steps]
        facts = [StepFact(load, name, fused_with=tuple(other for other in names if other != name)) for name in names]
        one = self._open[load] = _Open(steps, Fused(steps, [window.schema(name) for name in names]), facts)
        return one

    def finish_bundle(self) -> Iterator[Any]:
        for load, one in self._open.items():
            for step in one.steps:
                step.close()
            for fact in one.facts:
                letters = self.close_letters(load, fact.step)
                told = replace(fact, letters=letters, bytes_out=self._bytes_out.get(load, 0), seconds=self._seconds.get(load, 0.0))
                told = replace(told, asides=self.close_asides(load, fact.step))
                yield TaggedOutput(FACTS, self.told(told))
        self._open = {}
        for report in (*self._earlier, self._report):
            report.flush()


class ApplySteps(beam.PTransform):
    """Steps of a definition that run as one.

    Args:
        job: The service.
        steps: Their positions.
        windows: One element, `{load: window as text}`.
    """

    def __init__(self, job: Job, steps: range, windows: PCollection) -> None:
        super().__init__()
        self._job, self._steps, self._windows = job, steps, windows

    def expand(self, rows: PCollection) -> Any:
        apply = beam.ParDo(_ApplyFn(self._job, self._steps), view_of(self._windows, self._job.path))
        return rows | "Apply" >> apply.with_output_types(pa.RecordBatch, **{FACTS: StepFact}).with_outputs(FACTS, main="rows")
