"""Join the rows of every worker with those of another source: by an index in each worker where the right side is small, else by shards.

Which of the two is decided in the run, from the bytes that the right side really has; on Prism it is always shards (`engine.live.noted`).
What a join is stands in `transforms.join`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsIter, PCollection, TaggedOutput

from beam_pipelines.columnar import ipc, origin, size
from beam_pipelines.columnar.path import FieldPath
from beam_pipelines.engine.bundle import FACTS, PlainFn
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live.noted import by_drain, note_sides, view_of
from beam_pipelines.engine.prepare import windows_of
from beam_pipelines.engine.shuffle import COMPRESSION, Shard, ShuffleFn, cut, shards_by
from beam_pipelines.errors import FatalError
from beam_pipelines.runs.facts import ReadFact, StepFact
from beam_pipelines.transforms.join import Join
from beam_pipelines.transforms.join.step import Right

__all__ = ["NEAR", "JoinRows", "Sides", "TellFn"]

NEAR = 64 << 20  # bytes of a right side that each worker holds whole; its index takes about as much again
_SHARDS = "shards"
_LEFT, _RIGHT = 0, 1


class Sides(beam.PTransform):
    """The windows of the right side of a join: one element, `{load: window as text}`, as `Prepare` gives of the left.

    Args:
        job: Of the right side.
        step: Id of the join.
    """

    def __init__(self, job: Job, step: str) -> None:
        super().__init__()
        self._job, self._step = job, step

    def expand(self, windows: PCollection) -> PCollection:
        return windows | beam.ParDo(_SidesFn(self._job, self._step)).with_output_types(dict[str, str])


class _SidesFn(PlainFn):
    def __init__(self, job: Job, step: str) -> None:
        self._job, self._step = job, step

    def process(self, texts: dict[str, str]) -> Iterator[dict[str, str]]:
        # A load whose source has no row to sample was planned no further: it reads nothing, on either side.
        windows = windows_of(texts).items()
        sides = {load: window.sides[self._step].to_text() for load, window in windows if self._step in window.sides}
        context = self._job.run_context()
        if context.drain:
            note_sides(context.run, self._job.path, sides)
        yield sides


class TellFn(PlainFn):
    """Facts of a right side as the join's own: rows that were lost there are made and lost in it, so that every letter is accounted for.

    Args:
        step: Id of the join.
    """

    def __init__(self, step: str) -> None:
        self._step = step

    def process(self, fact: ReadFact | StepFact) -> Iterator[StepFact]:
        error, read = (None, fact.rows) if isinstance(fact, ReadFact) else (fact.error, fact.right_read)
        rejected = 0 if isinstance(fact, ReadFact) else fact.rejected
        told = StepFact(fact.load, self._step, made=fact.dead + rejected, dead=fact.dead, rejected=rejected)
        yield replace(told, right_read=read, letters=fact.letters, error=error, newest=fact.newest)


class _JoinFn(ShuffleFn[Join]):
    """Base of the DoFns of a join.

    Args:
        job: The service.
        position: Of the step.
        far: All rows go to shards, however small the right side is.
    """

    def __init__(self, job: Job, position: int, *, far: bool = False) -> None:
        super().__init__(job, position)
        self._far = far

    def start_bundle(self) -> None:
        super().start_bundle()
        self._sizes: dict[str, int] | None = None

    def near(self, load: str, step: Join, sizes: Iterable[tuple[str, int]]) -> bool:
        """Whether each worker holds the right side of a load whole.

        Raises:
            FatalError: It is too large for that, and there are no keys to cut it by.
        """
        if self._far:
            return False
        if self._sizes is None:
            self._sizes = {}
            for of, bytes_ in sizes:
                self._sizes[of] = self._sizes.get(of, 0) + bytes_
        held = self._sizes.get(load, 0)
        if held > NEAR and not step.right_keys:
            raise FatalError(
                f"step {step.id!r} joins by time alone with {held:,} bytes in memory, and each worker holds at most {NEAR:,}: give `on`, by"
                " whose keys both sides are cut into shards, or let the `transformations` of its source leave less",
                code="key-missing",
            )
        return not step.keeps_right and held <= NEAR

    def sharded(self, load: str, batch: pa.RecordBatch, keys: Sequence[FieldPath], side: int) -> Iterator[TaggedOutput]:
        for number, part in cut(batch, shards_by(batch, keys)):
            yield TaggedOutput(_SHARDS, ((load, number), (side, ipc.encode(part, COMPRESSION))))

    def joined(self, load: str, step: Join, batch: pa.RecordBatch, right: Right, rows_in: int = 0) -> Iterator[pa.RecordBatch]:
        """Join one batch of the left side, counted and timed."""
        yield from self.carried_out(load, step.joined(batch, right), rows_in)


class _SizeFn(PlainFn):
    def process(self, batch: pa.RecordBatch) -> Iterator[tuple[str, int]]:
        yield origin.load_of(batch), size.slice_bytes(batch)


class _RightFn(_JoinFn):
    def process(self, batch: pa.RecordBatch, sizes: Iterable[tuple[str, int]], texts: dict[str, str]) -> Iterator[Any]:
        load = origin.load_of(batch)
        step = self.step(load, texts)
        self._facts[load] = replace(self._facts[load], right=self._facts[load].right + batch.num_rows)
        if self.near(load, step, sizes):
            yield batch
        else:
            yield from self.sharded(load, batch, step.right_keys, _RIGHT)


class _LeftFn(_JoinFn):
    def start_bundle(self) -> None:
        super().start_bundle()
        self._rights: dict[str, Right] = {}

    def process(
        self, batch: pa.RecordBatch, sizes: Iterable[tuple[str, int]], held: Iterable[pa.RecordBatch], texts: dict[str, str]
    ) -> Iterator[Any]:
        load = origin.load_of(batch)
        step = self.step(load, texts)
        if not self.near(load, step, sizes):
            self._facts[load] = replace(self._facts[load], records_in=self._facts[load].records_in + batch.num_rows)
            yield from self.sharded(load, batch, step.left_keys, _LEFT)
            return
        with self.timed(load):
            if load not in self._rights:
                self._rights[load] = step.indexed([one for one in held if origin.load_of(one) == load])
            right = self._rights[load]
        yield from self.joined(load, step, batch, right, batch.num_rows)

    def finish_bundle(self) -> Iterator[Any]:
        self._rights = {}
        yield from super().finish_bundle()


class _ShardFn(_JoinFn):
    def process(self, shard: tuple[Shard, Iterable[tuple[int, bytes]]], texts: dict[str, str]) -> Iterator[pa.RecordBatch]:
        (load, _), blocks = shard
        step = self.step(load, texts)
        # Gone through twice, as Beam allows of what it has grouped: of the left side, which may be one key's, one block is held at a time.
        with self.timed(load):
            right = step.indexed([ipc.decode(packed) for side, packed in blocks if side == _RIGHT])
        for side, packed in blocks:
            if side == _LEFT:
                yield from self.joined(load, step, ipc.decode(packed), right)
        if step.keeps_right:
            applied = step.unmet(right, load)
            self.count(load, applied)
            for out in applied.batches:
                yield from size.split(out)


class JoinRows(beam.PTransform):
    """One join step of a definition, over the rows of every worker.

    Takes the left rows, in one stream or several, and the right ones. Gives the rows that come out, those that were not sent to shards in
    the streams that they came in and those that were apart from them, and the facts.

    Args:
        job: The service.
        position: Of the step.
        windows: One element, `{load: window as text}`.
        shards: Which of the streams holds rows of the shards of an earlier join, to which those of this one are added.
    """

    def __init__(self, job: Job, position: int, windows: PCollection, shards: int | None) -> None:
        super().__init__()
        self._job, self._position, self._windows, self._shards = job, position, windows, shards

    def expand(self, sides: tuple[tuple[PCollection, ...], PCollection]) -> Any:
        streams, right = sides
        far = by_drain(self._windows)  # there a step may be shown a right side that is not there yet
        windows = view_of(self._windows, self._job.path)
        pairs = tuple[tuple[str, int], tuple[int, bytes]]
        sizes = () if far else AsIter(right | "Sizes" >> beam.ParDo(_SizeFn()).with_output_types(tuple[str, int]))
        theirs = beam.ParDo(_RightFn(self._job, self._position, far=far), sizes, windows)
        theirs = theirs.with_output_types(pa.RecordBatch, **{_SHARDS: pairs, FACTS: StepFact})
        held = right | "Right" >> theirs.with_outputs(_SHARDS, FACTS, main="rows")
        ours = beam.ParDo(_LeftFn(self._job, self._position, far=far), sizes, () if far else AsIter(held.rows), windows)
        ours = ours.with_output_types(pa.RecordBatch, **{_SHARDS: pairs, FACTS: StepFact})
        near = [left | f"Left{number or ''}" >> ours.with_outputs(_SHARDS, FACTS, main="rows") for number, left in enumerate(streams)]
        each = beam.ParDo(_ShardFn(self._job, self._position), windows).with_output_types(pa.RecordBatch, **{FACTS: StepFact})
        shards = (*(one[_SHARDS] for one in near), held[_SHARDS]) | "Both" >> beam.Flatten() | "Shards" >> beam.GroupByKey()
        together = shards | "Join" >> each.with_outputs(FACTS, main="rows")
        facts = (held[FACTS], *(one[FACTS] for one in near), together[FACTS])
        model = self._job.definition.steps[self._position]
        if far or getattr(model, "how", "") in ("right", "full"):
            return (together.rows,), facts  # all rows go to shards
        rows = [one.rows for one in near]
        if self._shards is None:
            return (*rows, together.rows), facts
        rows[self._shards] = (rows[self._shards], together.rows) | "Rows" >> beam.Flatten()
        return tuple(rows), facts
