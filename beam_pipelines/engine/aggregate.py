"""Aggregate rows of every worker: states of groups per bundle, a shuffle of states by the hash of their key, results per shard.

What a state is, and what becomes of it, is a pure function in `transforms.aggregate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from beam_pipelines.columnar import origin, size
from beam_pipelines.engine.bundle import FACTS
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live.noted import view_of
from beam_pipelines.engine.places import Places
from beam_pipelines.engine.prepare import windows_of
from beam_pipelines.engine.shuffle import Shard, ShuffleFn, sharded
from beam_pipelines.engine.states import States
from beam_pipelines.runs.facts import StepFact
from beam_pipelines.transforms.aggregate import Aggregate

__all__ = ["AggregateRows"]

Sharded = tuple[Shard, pa.RecordBatch]


class _StatesFn(ShuffleFn[Aggregate]):
    def start_bundle(self) -> None:
        super().start_bundle()
        self._held: dict[str, States[Aggregate]] = {}
        self._places = Places(self._job.definition.steps[: self._position])

    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[Sharded]:
        load = origin.load_of(batch)
        with self.timed(load):
            step = self.step(load, texts)
            held = self._held.setdefault(load, States(step))
            screened = step.screened(batch)
            self.count(load, replace(screened, batches=()), batch.num_rows)
            for rows in screened.batches:
                held.add(step.states(rows, self._places.of(load, rows, ordered=step.ordered)))
            full = held.take() if held.large else None
        if full is not None:
            yield from sharded(load, _keys(step, full), full)

    def finish_bundle(self) -> Iterator[Any]:
        for load, held in self._held.items():
            with self.timed(load):
                states = held.take()
            if states is not None:
                yield from map(self.told, sharded(load, _keys(held.step, states), states))
        self._held = {}
        yield from super().finish_bundle()


def _keys(step: Aggregate, states: pa.RecordBatch) -> list[str]:
    """The columns of states that name their group."""
    names: list[str] = states.schema.names[: len(step.group_by)]
    return names


class _NothingFn(ShuffleFn[Aggregate]):
    """Of a step without keys, an empty state of each load: it gives one row, of no rows at all too."""

    def process(self, texts: dict[str, str]) -> Iterator[Sharded]:
        for load, window in windows_of(texts).items():
            if self._job.step_ids[self._position] not in window.schemas:
                continue  # of a source without rows, from which nothing could be sampled, there is no plan, and no table either
            step = self.step(load, texts)
            yield (load, 0), step.nothing()

    def finish_bundle(self) -> Iterator[Any]:
        self._leave()  # nothing came, and nothing is told of it
        yield from ()


class _ResultsFn(ShuffleFn[Aggregate]):
    def process(self, shard: tuple[Shard, Iterable[pa.RecordBatch]], texts: dict[str, str]) -> Iterator[pa.RecordBatch]:
        (load, _), blocks = shard
        with self.timed(load):
            step = self.step(load, texts)
            held = States(step)
            for block in blocks:
                held.add(block)
            states = held.take()
            assert states is not None
            applied = step.results([states], load)
            self.count(load, applied)
        for batch in applied.batches:
            yield from size.split(batch)


class AggregateRows(beam.PTransform):
    """One aggregate step of a definition, over the rows of every worker.

    Args:
        job: The service.
        position: Of the step.
        windows: One element, `{load: window as text}`.
    """

    def __init__(self, job: Job, position: int, windows: PCollection) -> None:
        super().__init__()
        self._job, self._position, self._windows = job, position, windows

    def expand(self, streams: tuple[PCollection, ...]) -> Any:
        windows = view_of(self._windows, self._job.path)
        pairs = tuple[tuple[str, int], pa.RecordBatch]
        states = beam.ParDo(_StatesFn(self._job, self._position), windows).with_output_types(pairs, **{FACTS: StepFact})
        each = states.with_outputs(FACTS, main="states")
        begun = [rows | f"States{number or ''}" >> each for number, rows in enumerate(streams)]
        sharded = tuple(one.states for one in begun)
        step = self._job.steps()[self._position]
        assert isinstance(step, Aggregate)
        if not step.group_by:
            sharded += (self._windows | "Nothing" >> beam.ParDo(_NothingFn(self._job, self._position)).with_output_types(pairs),)
        together = sharded[0] if len(sharded) == 1 else sharded | "Both" >> beam.Flatten()
        results = beam.ParDo(_ResultsFn(self._job, self._position), windows).with_output_types(pa.RecordBatch, **{FACTS: StepFact})
        ended = together | "Shards" >> beam.GroupByKey() | "Results" >> results.with_outputs(FACTS, main="rows")
        return ended.rows, (*(one[FACTS] for one in begun), ended[FACTS])
