"""Rows of another source added to those of the first. What becomes of columns stands in `transforms.union`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from beam_pipelines.columnar import origin, size
from beam_pipelines.engine.bundle import FACTS
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live.noted import view_of
from beam_pipelines.engine.parts import RANGES, sources_in
from beam_pipelines.engine.shuffle import ShuffleFn
from beam_pipelines.runs.facts import StepFact
from beam_pipelines.transforms.union import Union

__all__ = ["UnionRows"]


class _OursFn(ShuffleFn[Union]):
    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[pa.RecordBatch]:
        load = origin.load_of(batch)
        with self.timed(load):
            applied = self.step(load, texts).apply(batch)
            self.count(load, applied, batch.num_rows)
        for out in applied.batches:
            yield from size.split(out)


class _TheirsFn(ShuffleFn[Union]):
    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[pa.RecordBatch]:
        load = origin.load_of(batch)
        with self.timed(load):
            applied = self.step(load, texts).added(self._behind(batch))
            self.count(load, applied)
            self._facts[load] = replace(self._facts[load], right=self._facts[load].right + batch.num_rows)
        for out in applied.batches:
            yield from size.split(out)

    def _behind(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Label rows as of ranges behind those of the other side: of two rows of one key theirs is the later one, on every run.

        Sources are numbered as the definition names them, so that no two have one number, however unions stand inside of one another.
        """
        first = 1 + sources_in(self._job.definition.steps[: self._position])
        return origin.with_part(batch, (origin.part_of(batch) or 0) + (first << RANGES))


class UnionRows(beam.PTransform):
    """One union step of a definition, over the rows of every worker.

    Takes the rows that reach the step and those of the other source, each in one stream or several. Gives both in streams of their own, and
    the facts: Beam's local runner would hold the inputs of a Flatten whole.

    Args:
        job: The service.
        position: Of the step.
        windows: One element, `{load: window as text}`.
    """

    def __init__(self, job: Job, position: int, windows: PCollection) -> None:
        super().__init__()
        self._job, self._position, self._windows = job, position, windows

    def expand(self, sides: tuple[tuple[PCollection, ...], tuple[PCollection, ...]]) -> Any:
        windows = view_of(self._windows, self._job.path)
        done = []
        for rows, name, function in zip(sides, ("Ours", "Theirs"), (_OursFn, _TheirsFn), strict=True):
            each = beam.ParDo(function(self._job, self._position), windows).with_output_types(pa.RecordBatch, **{FACTS: StepFact})
            each = each.with_outputs(FACTS, main="rows")
            done.append([one | f"{name}{number or ''}" >> each for number, one in enumerate(rows)])
        ours, theirs = (tuple(one.rows for one in side) for side in done)
        return ours, theirs, tuple(one[FACTS] for side in done for one in side)
