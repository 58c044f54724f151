"""Windows of a stream: states of windows per bundle, those that the last commit left beside them, and what the watermark closes.

What a window is, and when it is closed, is a pure function in `transforms.window`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from beam_pipelines.columnar import hashing, ipc, origin, size
from beam_pipelines.engine.bundle import FACTS, in_global_window
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.prepare import windows_of
from beam_pipelines.engine.reached import reached
from beam_pipelines.engine.shuffle import SHARDS, Shard, ShuffleFn, cut
from beam_pipelines.engine.states import States
from beam_pipelines.runs.facts import OPEN, ReadFact, StepFact
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.offsets import Offsets
from beam_pipelines.runs.window import Window
from beam_pipelines.transforms.step import Applied
from beam_pipelines.transforms.window import Windowed

__all__ = ["SumWindows"]

Sharded = tuple[Shard, pa.RecordBatch]


class _StatesFn(ShuffleFn[Windowed]):
    def start_bundle(self) -> None:
        super().start_bundle()
        self._held: dict[str, States[Windowed]] = {}

    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[Sharded]:
        load = origin.load_of(batch)
        with self.timed(load):
            step, low = self.step(load, texts), self.window(load, texts).low
            screened = step.screened(batch, Offsets.of(low).closed if low is not None else None)
            late = (screened.late,) if screened.late is not None else ()
            self.count(load, Applied((), dead=late, absorbed=screened.rows.num_rows), batch.num_rows)
            held = self._held.setdefault(load, States(step))
            if screened.rows.num_rows:
                held.add(step.states(screened.rows))
            full = held.take() if held.large else None
        if full is not None:
            yield from _sharded(load, step, full)

    def finish_bundle(self) -> Iterator[Any]:
        for load, held in self._held.items():
            with self.timed(load):
                states = held.take()
            if states is not None:
                yield from map(in_global_window, _sharded(load, held.step, states))
        self._held = {}
        yield from super().finish_bundle()


class _KeptFn(ShuffleFn[Windowed]):
    """The states that the last commit left."""

    def process(self, texts: dict[str, str]) -> Iterator[Sharded]:
        for load, window in windows_of(texts).items():
            if self._job.step_ids[self._position] not in window.schemas or window.full:
                continue
            kept = self.target.kept(window.service, load, OPEN)
            if kept:
                step = self.step(load, texts)
                for block in kept:
                    yield from _sharded(load, step, ipc.decode(base64.b64decode(block.content)))

    def finish_bundle(self) -> Iterator[Any]:
        self._leave()  # nothing came, and nothing is told of it
        yield from ()


class _ResultsFn(ShuffleFn[Windowed]):
    def process(
        self, shard: tuple[Shard, Iterable[pa.RecordBatch]], texts: dict[str, str], facts: Iterable[ReadFact]
    ) -> Iterator[pa.RecordBatch]:
        (load, _), blocks = shard
        with self.timed(load):
            step, window = self.step(load, texts), self.window(load, texts)
            held = States(step)
            for block in blocks:
                held.add(block)
            states = held.take()
            assert states is not None
            settled = step.settle([states], self._watermark(window, facts), load, early=window.early)
            self.count(load, settled.applied)
            if settled.open is not None and settled.open.num_rows:
                self.put_aside(load, step.id, OPEN, settled.open)
            fact = self._facts[load]
            self._facts[load] = replace(fact, windows=fact.windows + settled.closed, open_windows=fact.open_windows + settled.still_open)
        for batch in settled.applied.batches:
            yield from size.split(batch)

    def _watermark(self, window: Window, facts: Iterable[ReadFact]) -> int | None:
        newest: Mark | None = None
        for fact in facts:
            if fact.load == window.load and fact.newest is not None:
                newest = fact.newest.later(newest)
        return reached(self._job.definition.source, window, newest).closed


def _sharded(load: str, step: Windowed, states: pa.RecordBatch) -> Iterator[Sharded]:
    """Cut states into shards in which those meet that may be of one window."""
    keys = step.shard_keys(states)
    if not keys:
        yield (load, 0), states
        return
    for number, part in cut(states, hashing.shard(states, keys, SHARDS, one_type=True)):
        yield (load, number), part


class SumWindows(beam.PTransform):
    """The window step of a stream, over the rows of every worker and the states that the last commit left.

    Takes the rows, in one stream or several, and the facts of the read, which tell how far event time is. Gives the results that come out,
    and the facts of the step, which name the states of the windows that stay open.

    Args:
        job: The service.
        position: Of the step.
        windows: One element, `{load: window as text}`.
    """

    def __init__(self, job: Job, position: int, windows: PCollection) -> None:
        super().__init__()
        self._job, self._position, self._windows = job, position, windows

    def expand(self, given: tuple[tuple[PCollection, ...], PCollection]) -> Any:
        streams, read = given
        windows = AsSingleton(self._windows)
        pairs = tuple[tuple[str, int], pa.RecordBatch]
        states = beam.ParDo(_StatesFn(self._job, self._position), windows).with_output_types(pairs, **{FACTS: StepFact})
        each = states.with_outputs(FACTS, main="states")
        begun = [rows | f"States{number or ''}" >> each for number, rows in enumerate(streams)]
        kept = self._windows | "Kept" >> beam.ParDo(_KeptFn(self._job, self._position)).with_output_types(pairs)
        results = beam.ParDo(_ResultsFn(self._job, self._position), windows, AsIter(read))
        typed = results.with_output_types(pa.RecordBatch, **{FACTS: StepFact})
        together = (*(one.states for one in begun), kept) | "Both" >> beam.Flatten()
        ended = together | "Shards" >> beam.GroupByKey() | "Results" >> typed.with_outputs(FACTS, main="rows")
        return ended.rows, (*(one[FACTS] for one in begun), ended[FACTS])
