"""Steps that look at the rows of a group: rows by the hash of their group to a shard, and a pure function there on all of them.

What cannot come out whatever else there is goes no further than its bundle. What a step is stands in `transforms.grouped`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from beam_pipelines.columnar import hashing, ipc, origin, size
from beam_pipelines.engine.bundle import FACTS
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live.noted import view_of
from beam_pipelines.engine.places import Places
from beam_pipelines.engine.shuffle import COMPRESSION, SHARDS, Shard, ShuffleFn, cut
from beam_pipelines.runs.facts import StepFact
from beam_pipelines.transforms.grouped import Grouped
from beam_pipelines.transforms.grouped.blocks import placed
from beam_pipelines.transforms.step import Applied

__all__ = ["GroupRows", "Held"]

_LITTLE = 1 << 17  # rows that are not worth cutting yet
_MUCH = 64 << 20  # bytes of rows that a bundle holds once they are cut: what is more goes to its shards

Sharded = tuple[Shard, bytes]


@dataclass
class Held:
    """Rows of one load that may come out, cut now and then, so that a bundle holds those and not all that it has seen."""

    step: Grouped
    blocks: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    left: tuple[int, int] = (0, 0)  # rows and bytes that were left the last time

    def add(self, block: pa.RecordBatch) -> Applied:
        """Add rows; says what became of some that were held."""
        self.blocks.append(block)
        self.rows += block.num_rows
        self.bytes += block.nbytes
        rows, held = self.left
        # Twice what was left the last time: rows of which none can be dropped are gone through a few times, not once a batch.
        if self.rows > max(_LITTLE, 2 * rows) or self.bytes > max(_MUCH // 2, 2 * held):
            return self.cut()
        return Applied(())

    def cut(self) -> Applied:
        self.blocks, told = self.step.cut(self.blocks)
        self.rows = sum(block.num_rows for block in self.blocks)
        self.bytes = sum(block.nbytes for block in self.blocks)
        self.left = self.rows, self.bytes
        return told

    @property
    def large(self) -> bool:
        return self.bytes > _MUCH

    def take(self) -> list[pa.RecordBatch]:
        """Return the rows there are, and begin anew."""
        blocks, self.blocks = self.blocks, []
        self.rows, self.bytes, self.left = 0, 0, (0, 0)
        return blocks


class _CutFn(ShuffleFn[Grouped]):
    def start_bundle(self) -> None:
        super().start_bundle()
        self._held: dict[str, Held] = {}
        self._places = Places(self._job.definition.steps[: self._position])

    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[Sharded]:
        load = origin.load_of(batch)
        with self.timed(load):
            step = self.step(load, texts)
            self._facts[load] = replace(self._facts[load], records_in=self._facts[load].records_in + batch.num_rows)
            block = placed(batch, self._places.of(load, batch))
            ready = [block]
            if step.cuts:
                held = self._held.setdefault(load, Held(step))
                self.count(load, held.add(block))
                ready = held.take() if held.large else []
        yield from _sharded(load, step, ready)

    def finish_bundle(self) -> Iterator[Any]:
        for load, held in self._held.items():
            with self.timed(load):
                if held.blocks:
                    self.count(load, held.cut())
            yield from map(self.told, _sharded(load, held.step, held.take()))
        self._held = {}
        yield from super().finish_bundle()


def _sharded(load: str, step: Grouped, blocks: Iterable[pa.RecordBatch]) -> Iterator[Sharded]:
    """Cut rows into those of each shard, ready to travel."""
    for block in blocks:
        keys = step.keys(block)
        parts: Iterable[tuple[int, pa.RecordBatch]]
        if keys is None:
            parts = ((0, part) for part in size.split(block))
        else:
            parts = cut(block, hashing.shard(keys, keys.schema.names, SHARDS, one_type=True))
        for number, part in parts:
            yield (load, number), ipc.encode(part, COMPRESSION)


class _ResultsFn(ShuffleFn[Grouped]):
    def process(self, shard: tuple[Shard, Iterable[bytes]], texts: dict[str, str]) -> Iterator[pa.RecordBatch]:
        (load, _), blocks = shard
        with self.timed(load):
            applied = self.step(load, texts).results([ipc.decode(block) for block in blocks])
            self.count(load, applied)
        for batch in applied.batches:
            yield from size.split(batch)


class GroupRows(beam.PTransform):
    """One step by groups of a definition, over the rows of every worker.

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
        pairs = tuple[tuple[str, int], bytes]
        cuts = beam.ParDo(_CutFn(self._job, self._position), windows).with_output_types(pairs, **{FACTS: StepFact})
        each = cuts.with_outputs(FACTS, main="rows")
        begun = [rows | f"Cut{number or ''}" >> each for number, rows in enumerate(streams)]
        together = begun[0].rows if len(begun) == 1 else tuple(one.rows for one in begun) | "Both" >> beam.Flatten()
        results = beam.ParDo(_ResultsFn(self._job, self._position), windows).with_output_types(pa.RecordBatch, **{FACTS: StepFact})
        ended = together | "Shards" >> beam.GroupByKey() | "Results" >> results.with_outputs(FACTS, main="rows")
        return ended.rows, (*(one[FACTS] for one in begun), ended[FACTS])
