"""What shuffling steps share: a step opened for each load of a bundle, its facts, and rows cut by shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar, cast

import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.columnar import hashing, size
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.path import FieldPath
from beam_pipelines.engine.bundle import FACTS, BundleFn
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.opening import open_steps
from beam_pipelines.runs.facts import StepFact
from beam_pipelines.transforms.step import Applied, Step

__all__ = ["COMPRESSION", "SHARDS", "Shard", "ShuffleFn", "cut", "sharded", "shards_by"]

# Enough for the workers of one job, few enough that small results do not fall apart; a shard is worked on whole, in memory.
SHARDS = 16
# What is shuffled is held whole by Beam's local runner, more than once, and written to disks or networks by others.
COMPRESSION = "zstd"

Shard = tuple[str, int]  # load and number
_Step = TypeVar("_Step", bound=Step)


class ShuffleFn(BundleFn, Generic[_Step]):
    """Base of the DoFns of one step.

    Args:
        job: The service.
        position: Of the step.
    """

    def __init__(self, job: Job, position: int) -> None:
        super().__init__(job, job.step_ids[position], "transform")
        self._position = position

    def start_bundle(self) -> None:
        super().start_bundle()
        self._leave()

    def teardown(self) -> None:
        self._leave()
        super().teardown()

    def _leave(self) -> None:
        """Close the steps of the bundle before."""
        for step in getattr(self, "_steps", {}).values():
            step.close()
        self._steps: dict[str, _Step] = {}
        self._facts: dict[str, StepFact] = {}

    def step(self, load: str, texts: dict[str, str]) -> _Step:
        if load not in self._steps:
            (step,) = open_steps(self._job, [self._position], self.window(load, texts))
            self._steps[load] = cast("_Step", step)
            self._facts[load] = StepFact(load, self._job.step_ids[self._position])
        return self._steps[load]

    def count(self, load: str, applied: Applied, rows_in: int = 0) -> None:
        """Count what became of some rows of a load."""
        self._report.add(applied.rows_out)
        self._facts[load] = self.counted(self._facts[load], applied, rows_in)
        self.weigh(load, applied.batches)

    def carried_out(self, load: str, parts: Iterator[Applied], rows_in: int = 0) -> Iterator[pa.RecordBatch]:
        """What comes out of some rows of a load, a part at a time, counted and timed."""
        while True:
            with self.timed(load):
                applied = next(parts, None)
            if applied is None:
                return
            self.count(load, applied, rows_in)
            rows_in = 0
            for out in applied.batches:
                yield from size.split(out)

    def finish_bundle(self) -> Iterator[Any]:
        for load, fact in self._facts.items():
            spent, size_out = self._seconds.get(load, 0.0), self._bytes_out.get(load, 0)
            told = replace(fact, letters=self.close_letters(load), bytes_out=size_out, seconds=spent)
            told = replace(told, asides=self.close_asides(load, fact.step))
            yield TaggedOutput(FACTS, self.told(told))
        self._leave()
        self._report.flush()


def sharded(load: str, keys: Sequence[str], states: pa.RecordBatch) -> Iterator[tuple[Shard, pa.RecordBatch]]:
    """Cut states into those of each shard, by the hash of their keys; without keys all are of one."""
    if not keys:
        yield (load, 0), states
        return
    for number, part in cut(states, hashing.shard(states, keys, SHARDS, one_type=True)):
        yield (load, number), part


def shards_by(batch: pa.RecordBatch, keys: Sequence[FieldPath]) -> pa.Int32Array:
    """The shard of each row by its keys: of rows that meet by equal keys it is the same one, whatever the types of these."""
    names = [f"k{number}" for number in range(len(keys))]
    return hashing.shard(pa.RecordBatch.from_arrays([key.read(batch) for key in keys], names=names), names, SHARDS)


def cut(batch: pa.RecordBatch, shards: pa.Int32Array) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut a batch into the rows of each shard.

    Args:
        batch: Rows.
        shards: Of each row, below `SHARDS`.

    Yields:
        Number and rows, batches within the size policy.
    """
    numbers = np.asarray(shards).astype(np.uint8)  # numbers this small are sorted by radix, in a fifth of the time
    ends = np.cumsum(np.bincount(numbers, minlength=SHARDS)).tolist()
    ordered = take(batch, np.argsort(numbers, kind="stable"))
    for number, end in enumerate(ends):
        begin = ends[number - 1] if number else 0
        if end > begin:
            for part in size.split(ordered.slice(begin, end - begin)):
                yield number, part
