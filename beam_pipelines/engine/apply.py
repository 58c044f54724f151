"""Apply one step to every batch: count in and out, stage the rows that fail. What the step does is a pure function in `transforms`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from beam_pipelines.columnar import cast, origin, size
from beam_pipelines.engine.bundle import FACTS, BundleFn, in_global_window
from beam_pipelines.engine.job import Job
from beam_pipelines.runs.facts import StepFact
from beam_pipelines.runs.window import Window
from beam_pipelines.transforms.step import Step

__all__ = ["ApplyStep"]


@dataclass
class _Open:
    step: Step
    schema: pa.Schema
    fact: StepFact


class _ApplyFn(BundleFn):
    def __init__(self, job: Job, index: int) -> None:
        super().__init__(job, job.step_ids[index], "transform")
        self._index = index

    def start_bundle(self) -> None:
        super().start_bundle()
        self._leave()

    def teardown(self) -> None:
        self._leave()
        super().teardown()

    def _leave(self) -> None:
        """Close the steps that a bundle which failed left open."""
        for one in getattr(self, "_open", {}).values():
            with contextlib.suppress(Exception):  # a user's clean-up: what went wrong was raised where it did
                one.step.close()
        self._open: dict[str, _Open] = {}

    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[pa.RecordBatch]:
        load = origin.load_of(batch)
        with self.timed(load):
            outputs = self._apply(load, batch, texts)
        yield from outputs

    def _apply(self, load: str, batch: pa.RecordBatch, texts: dict[str, str]) -> list[pa.RecordBatch]:
        one = self._open.get(load) or self._begin(load, self.window(load, texts))
        applied = one.step.apply(batch)
        dead = 0
        for rows in applied.dead:
            self.letter(rows.batch, rows.rows, load, one.step.id, rows.codes, rows.messages)
            dead += len(rows.rows)
            one.fact = replace(one.fact, error=one.fact.error or f"{rows.codes[0]}: {rows.messages[0]}")
        outputs: list[pa.RecordBatch] = []
        for out in applied.batches:
            conformed = cast.conform(out, one.schema)
            if conformed.bad:
                self.letter(out, conformed.bad, load, one.step.id, ["cast-failed"] * len(conformed.bad), conformed.reasons)
                dead += len(conformed.bad)
            if conformed.batch.num_rows:
                outputs += size.split(conformed.batch)
        rows_out = sum(out.num_rows for out in outputs)
        fact = one.fact
        one.fact = replace(
            fact,
            records_in=fact.records_in + batch.num_rows,
            records_out=fact.records_out + rows_out,
            filtered=fact.filtered + applied.filtered,
            rejected=fact.rejected + applied.rejected,
            dead=fact.dead + dead,
            nulled=fact.nulled + applied.nulled,
            made=fact.made + applied.made,
        )
        self._report.add(rows_out)
        return outputs

    def _begin(self, load: str, window: Window) -> _Open:
        before = self._job.step_ids[self._index - 1] if self._index else ""
        step = self._job.steps()[self._index]
        schema = window.schema(step.id)
        step.open(window.schema(before), schema, datetime.fromisoformat(window.started_at))
        one = self._open[load] = _Open(step, schema, StepFact(load, step.id))
        return one

    def finish_bundle(self) -> Iterator[Any]:
        for load, one in self._open.items():
            one.step.close()
            letters = self.close_letters(load)
            told = replace(one.fact, letters=letters, seconds=self._seconds.get(load, 0.0))
            yield TaggedOutput(FACTS, in_global_window(told))
        self._open = {}
        self._report.flush()


class ApplyStep(beam.PTransform):
    """One step of a definition, by its position.

    Args:
        job: The service.
        index: Position of the step.
        windows: One element, `{load: window as text}`.
    """

    def __init__(self, job: Job, index: int, windows: PCollection) -> None:
        super().__init__()
        self._job, self._index, self._windows = job, index, windows

    def expand(self, rows: PCollection) -> Any:
        apply = beam.ParDo(_ApplyFn(self._job, self._index), AsSingleton(self._windows))
        return rows | "Apply" >> apply.with_output_types(pa.RecordBatch, **{FACTS: StepFact}).with_outputs(FACTS, main="rows")
