"""Windows of a stream: states of windows per bundle, those that the last commit left beside them, and what the watermark closes.

What a window is, and when it is closed, is a pure function in `transforms.window`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import PCollection

from beam_pipelines.columnar import origin, size
from beam_pipelines.columnar.compact import take
from beam_pipelines.engine.bundle import FACTS
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live import held_blocks
from beam_pipelines.engine.live.kept_states import KeptFn, Sharded, is_kept, keep, states_of
from beam_pipelines.engine.live.noted import reads_of, view_of
from beam_pipelines.engine.live.reached import watermark_of
from beam_pipelines.engine.live.state_blocks import state_blocks
from beam_pipelines.engine.shuffle import Shard, ShuffleFn, sharded
from beam_pipelines.engine.states import States
from beam_pipelines.runs.facts import LATE, OPEN, ReadFact, StepFact
from beam_pipelines.runs.offsets import Offsets
from beam_pipelines.transforms.step import Applied
from beam_pipelines.transforms.window import Screened, Windowed

if TYPE_CHECKING:
    from beam_pipelines.spec.step.window import WindowStep

__all__ = ["SumWindows"]

_ORIGIN = ("topic", "partition", "offset")  # columns beside rows that came too late, where these have none of the name


class _StatesFn(ShuffleFn[Windowed]):
    def start_bundle(self) -> None:
        super().start_bundle()
        self._held: dict[str, States[Windowed]] = {}

    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[Sharded]:
        load = origin.load_of(batch)
        with self.timed(load):
            step, low = self.step(load, texts), self.window(load, texts).low
            screened = step.screened(batch, Offsets.of(low).closed if low is not None else None)
            self.count(load, self._left(screened), batch.num_rows)
            fact, late = self._facts[load], 0 if screened.late is None else len(screened.late.rows)
            self._facts[load] = replace(fact, late=fact.late + late, partly=fact.partly + screened.partly)
            held = self._held.setdefault(load, States(step))
            if screened.rows.num_rows:
                held.add(step.states(screened.rows))
            full = held.take() if held.large else None
        if full is not None:
            yield from sharded(load, step.shard_keys(full), full)

    def _left(self, screened: Screened) -> Applied:
        """What became of a batch: rows that came too late are dead letters, or go where the step says."""
        late = screened.late
        if late is None:
            return Applied((), absorbed=screened.absorbed)
        if cast("WindowStep", self._job.definition.steps[self._position]).late == "deadletter":
            return Applied((), dead=(late,), absorbed=screened.absorbed)
        rows = _with_origin(take(late.batch, np.asarray(late.rows)))
        return Applied((), filtered=rows.num_rows, asides=((LATE, rows),), absorbed=screened.absorbed)

    def finish_bundle(self) -> Iterator[Any]:
        for load, held in self._held.items():
            with self.timed(load):
                states = held.take()
            if states is not None:
                yield from map(self.told, sharded(load, held.step.shard_keys(states), states))
        self._held = {}
        yield from super().finish_bundle()


class _KeptFn(KeptFn[Windowed]):
    def version(self, step: Windowed, states: pa.RecordBatch) -> str:  # noqa: ARG002 - all of them mean the same
        return step.state_version

    def cut(self, load: str, step: Windowed, states: pa.RecordBatch) -> Iterator[Sharded]:
        return sharded(load, step.shard_keys(states), states)


class _ResultsFn(ShuffleFn[Windowed]):
    def process(
        self, shard: tuple[Shard, Iterable[pa.RecordBatch]], texts: dict[str, str], facts: Iterable[ReadFact]
    ) -> Iterator[pa.RecordBatch]:
        (load, number), blocks = shard
        with self.timed(load):
            step, window = self.step(load, texts), self.window(load, texts)
            held, kept = States(step), list[pa.RecordBatch]()
            came = False
            for block in (block for batch in blocks for block in held_blocks.opened(load, batch)):
                held.add(block)
                if is_kept(block):
                    kept.append(block)
                else:
                    came = True
            states = held.take()
            assert states is not None
            settled = step.settle([states], watermark_of(self._job, window, facts), load, early=window.early)
            self.count(load, settled.applied)
            if settled.held:
                as_before = not came and not settled.written and settled.held == states.num_rows
                blocks = kept if as_before else state_blocks(settled.open, step.state_keys(settled.open))
                keep(self.aside_box(load, step.id, OPEN), number, blocks, kept, states_of(step.id, step.state_version))
            fact = self._facts[load]
            self._facts[load] = replace(fact, windows=fact.windows + settled.written, open_windows=fact.open_windows + settled.held)
        for batch in settled.applied.batches:
            yield from size.split(batch)


def _with_origin(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows as they go to a place of their own, with where in the topic each was."""
    shown = origin.visible(rows)
    columns = [pc.cast(rows.column(origin.SOURCE), pa.string()), rows.column(origin.PARTITION), rows.column(origin.OFFSET)]
    told = [(name, column) for name, column in zip(_ORIGIN, columns, strict=True) if name not in shown.schema.names]
    return pa.RecordBatch.from_arrays(
        [*shown.columns, *(column for _, column in told)], names=[*shown.schema.names, *(name for name, _ in told)]
    )


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
        windows = view_of(self._windows)
        pairs = tuple[tuple[str, int], pa.RecordBatch]
        states = beam.ParDo(_StatesFn(self._job, self._position), windows).with_output_types(pairs, **{FACTS: StepFact})
        each = states.with_outputs(FACTS, main="states")
        begun = [rows | f"States{number or ''}" >> each for number, rows in enumerate(streams)]
        kept = self._windows | "Kept" >> beam.ParDo(_KeptFn(self._job, self._position)).with_output_types(pairs)
        results = beam.ParDo(_ResultsFn(self._job, self._position), windows, reads_of(read))
        typed = results.with_output_types(pa.RecordBatch, **{FACTS: StepFact})
        together = (*(one.states for one in begun), kept) | "Both" >> beam.Flatten()
        ended = together | "Shards" >> beam.GroupByKey() | "Results" >> typed.with_outputs(FACTS, main="rows")
        return ended.rows, (*(one[FACTS] for one in begun), ended[FACTS])
