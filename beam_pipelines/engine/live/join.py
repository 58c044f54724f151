"""A stream joined with another one: rows of both per bundle, those that waited since the last commit beside them, and what meets of them.

Which rows meet, and how long they wait, is a pure function in `transforms.join.live`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from beam_pipelines.columnar import origin
from beam_pipelines.engine.bundle import FACTS
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live import held_blocks
from beam_pipelines.engine.live.kept_states import KeptFn, Sharded, is_kept, keep, states_of
from beam_pipelines.engine.live.noted import reads_of, view_of
from beam_pipelines.engine.live.reached import watermark_of
from beam_pipelines.engine.live.small import Small
from beam_pipelines.engine.live.state_blocks import state_blocks
from beam_pipelines.engine.shuffle import ShuffleFn, cut, shards_by
from beam_pipelines.runs.facts import OPEN, ReadFact, StepFact
from beam_pipelines.runs.offsets import Offsets
from beam_pipelines.transforms.join.live import LEFT, RIGHT, LiveJoin, Waiting
from beam_pipelines.transforms.step import Applied

__all__ = ["MeetRows"]

_SIDE = b"side"  # of the schema of rows that wait


class _WaitFn(ShuffleFn[LiveJoin]):
    """Rows of one side that come, in their shards; those of small batches together, for each piece costs as much as a thousand rows."""

    def __init__(self, job: Job, position: int, side: str) -> None:
        super().__init__(job, position)
        self._side = side

    def start_bundle(self) -> None:
        super().start_bundle()
        self._small = Small[str]()

    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[Sharded]:
        load, count = origin.load_of(batch), batch.num_rows
        with self.timed(load):
            step, low = self.step(load, texts), self.window(load, texts).low
            rows, late = step.screened(batch, Offsets.of(low).closed if low is not None else None)
            dead = () if late is None else (late,)
            died = count - rows.num_rows
            if self._side == LEFT:
                self.count(load, Applied((), absorbed=rows.num_rows, dead=dead), count)
            else:
                self.count(load, Applied((), made=died, dead=dead))
            fact = self._facts[load]
            self._facts[load] = replace(fact, late=fact.late + died, right=fact.right + (count if self._side == RIGHT else 0))
            waits = step.waiting(rows, self._side).replace_schema_metadata({_SIDE: self._side.encode()})
            self._small.add(load, waits)
        if self._small.enough:
            yield from self._sent()

    def _sent(self) -> Iterator[Sharded]:
        for load, rows in self._small.take():
            yield from _sharded(load, self._steps[load], rows)

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(self.told, self._sent())
        yield from super().finish_bundle()


class _KeptFn(KeptFn[LiveJoin]):
    def version(self, step: LiveJoin, states: pa.RecordBatch) -> str:  # noqa: ARG002 - all of them mean the same
        return step.state_version

    def cut(self, load: str, step: LiveJoin, states: pa.RecordBatch) -> Iterator[Sharded]:
        return _sharded(load, step, states)


class _MeetFn(ShuffleFn[LiveJoin]):
    def process(
        self, shard: tuple[tuple[str, int], Iterable[pa.RecordBatch]], texts: dict[str, str], facts: Iterable[ReadFact]
    ) -> Iterator[pa.RecordBatch]:
        (load, number), blocks = shard
        step, window = self.step(load, texts), self.window(load, texts)
        kept, new = ({LEFT: list[pa.RecordBatch](), RIGHT: list[pa.RecordBatch]()} for _ in range(2))
        for block in (block for batch in blocks for block in held_blocks.opened(load, batch)):
            (kept if is_kept(block) else new)[_side_of(block)].append(block)
        with self.timed(load):
            meeting = step.meeting(Waiting(kept[LEFT], new[LEFT]), Waiting(kept[RIGHT], new[RIGHT]), load)
        yield from self.carried_out(load, meeting.pairs())
        yield from self.carried_out(load, meeting.over(watermark_of(self._job, window, facts)))
        with self.timed(load):
            for side in (LEFT, RIGHT):
                waits = meeting.kept(side)
                if waits is None:
                    continue
                fact = self._facts[load]
                self._facts[load] = replace(fact, waiting=fact.waiting + waits.num_rows)
                same = not new[LEFT] and not new[RIGHT] and waits.num_rows == sum(one.num_rows for one in kept[side])
                states = kept[side] if same else state_blocks(waits, step.state_keys)
                told = {**states_of(step.id, step.state_version), _SIDE: side.encode()}
                keep(self.aside_box(load, step.id, OPEN), number, states, kept[side], told)


def _side_of(rows: pa.RecordBatch) -> str:
    return str(rows.schema.metadata[_SIDE].decode())


def _sharded(load: str, step: LiveJoin, rows: pa.RecordBatch) -> Iterator[Sharded]:
    """Cut rows into those of each shard, by the hash of their keys: those that meet are of one."""
    for number, part in cut(rows, shards_by(rows, step.keys(_side_of(rows)))):
        yield (load, number), part


class MeetRows(beam.PTransform):
    """A join step with a topic, over the rows of every worker and those that the last commit left waiting.

    Takes the left rows, in one stream or several, the right ones, and the facts of all reads, which tell how far event time is. Gives the
    rows that come out, and the facts of the step, which name the rows that go on waiting.

    Args:
        job: The service.
        position: Of the step.
        windows: One element, `{load: window as text}`.
    """

    def __init__(self, job: Job, position: int, windows: PCollection) -> None:
        super().__init__()
        self._job, self._position, self._windows = job, position, windows

    def expand(self, given: tuple[tuple[PCollection, ...], PCollection, PCollection]) -> Any:
        lefts, right, read = given
        windows = view_of(self._windows)
        pairs = tuple[tuple[str, int], pa.RecordBatch]
        sides = [(f"Left{number or ''}", LEFT, rows) for number, rows in enumerate(lefts)] + [("Right", RIGHT, right)]
        came = []
        for label, side, rows in sides:
            wait = beam.ParDo(_WaitFn(self._job, self._position, side), windows).with_output_types(pairs, **{FACTS: StepFact})
            came.append(rows | label >> wait.with_outputs(FACTS, main="rows"))
        kept = self._windows | "Kept" >> beam.ParDo(_KeptFn(self._job, self._position)).with_output_types(pairs)
        meet = beam.ParDo(_MeetFn(self._job, self._position), windows, reads_of(read))
        typed = meet.with_output_types(pa.RecordBatch, **{FACTS: StepFact})
        together = (*(one.rows for one in came), kept) | "Both" >> beam.Flatten()
        met = together | "Shards" >> beam.GroupByKey() | "Meet" >> typed.with_outputs(FACTS, main="rows")
        return met.rows, (*(one[FACTS] for one in came), met[FACTS])
