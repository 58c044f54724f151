"""Read the ranges of a run into batches of the planned schema; rows that do not fit it become dead letters here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from typing import cast as cast_type

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_pipelines.columnar import cast, origin, size
from beam_pipelines.columnar.column import convert_column
from beam_pipelines.engine.bundle import FACTS, BundleFn, PlainFn
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live.noted import note_facts, view_of
from beam_pipelines.engine.prepare import windows_of
from beam_pipelines.io.connector import CursorSpec, Source, Topic, Unread
from beam_pipelines.io.sql.relation import match_column
from beam_pipelines.runs.facts import ReadFact
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.offsets import Offsets
from beam_pipelines.runs.window import Range, Window

if TYPE_CHECKING:
    from beam_pipelines.engine.by_file import FileReader

__all__ = ["Read"]


class _ReadFn(BundleFn):
    def __init__(self, job: Job, step: str = "") -> None:
        super().__init__(job, f"{step} source" if step else "extract", "transform" if step else None)
        self._step = step or "extract"

    def setup(self) -> None:
        super().setup()
        self._source: Source | None = None

    def start_bundle(self) -> None:
        super().start_bundle()
        self._facts: dict[str, ReadFact] = {}
        self._files: list[tuple[str, FileReader]] = []
        self._counted: dict[str, list[tuple[int, int]]] = {}

    def teardown(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
        super().teardown()

    def process(self, parts: tuple[str, Iterable[tuple[str, int]]], texts: dict[str, str]) -> Iterator[Any]:
        for load, index in parts[1]:
            yield from self._read(load, index, texts)

    def _read(self, load: str, index: int, texts: dict[str, str]) -> Iterator[pa.RecordBatch]:
        if self._source is None:
            self._source = self._job.open_source(self.context)
        window = self.window(load, texts)
        fact = self._facts.get(load, ReadFact(load))
        self._facts[load] = replace(fact, bytes=fact.bytes + int(window.ranges[index].bounds.get("billed", 0)))
        self._unshown = int(window.ranges[index].bounds.get("billed", 0))
        batches = self._batches(self._source, window, window.ranges[index])
        while True:
            with self.timed(load):
                batch = next(batches, None)
                if isinstance(batch, Unread):
                    self._bury(batch, load)
                    continue
                read = self._take(batch, window, window.ranges[index]) if batch is not None else None
            if read is None:
                self._report.add(0, self._unshown)
                self._count(self._source, window.ranges[index], load)
                if self._job.live or self._job.beside:
                    self._reach(self._source, window.ranges[index], load)
                return
            if read.num_rows:
                yield read

    def _batches(self, source: Source, window: Window, part: Range) -> Iterator[pa.RecordBatch | Unread]:
        """The rows of a range; of a service whose unit is the file, in chunks, with an account of the file."""
        if not self._job.by_file:
            return source.read(part, window, source.cursor)
        from beam_pipelines.engine.by_file import FileReader, meets_others

        twice = meets_others(self._job)
        reader = FileReader(source, window, part, goes_on=self._job.goes_on, rows=self._job.chunk_rows, twice=twice)
        self._files.append((window.load, reader))
        return iter(reader)

    def _count(self, source: Source, part: Range, load: str) -> None:
        """Note how many lines or rows a part of a file has: the numbers of those behind it go by that."""
        if "part" not in part.bounds:
            return
        from beam_pipelines.io.files.whole import WholeFiles

        if isinstance(source, WholeFiles) and part.index in source.counted:
            self._counted.setdefault(load, []).append((part.index, source.counted.pop(part.index)))

    def _reach(self, source: Source, part: Range, load: str) -> None:
        """Note how far the partition is read that a range is of."""
        fact, mark = self._facts[load], cast_type("Topic", source).position(part)
        if self._job.beside:
            mark = Offsets.of(mark).of_side(part.table).to_mark()
        self._facts[load] = replace(fact, newest=mark.later(fact.newest))

    def _bury(self, rows: Unread, load: str) -> None:
        """Count rows that the source could not read, and make them dead letters."""
        count = rows.batch.num_rows
        fact = self._facts.get(load, ReadFact(load))
        self._facts[load] = replace(fact, rows=fact.rows + count)
        self._report.add(count)
        self.letter(rows.batch, range(count), load, self._step, rows.codes, rows.messages)

    def _take(self, batch: pa.RecordBatch, window: Window, part: Range) -> pa.RecordBatch:
        """Note what was read, cast it to the planned schema, and split off what does not fit."""
        fact = self._facts.get(window.load, ReadFact(window.load))
        # Of files the object's bytes are billed, by range and not by batch; of everything else the values.
        billed = 0 if "billed" in part.bounds else size.canonical_bytes(origin.visible(batch))
        newest = _newest(batch, window, self._source.cursor if self._source else None)
        newest = newest.later(fact.newest) if newest else fact.newest
        self._facts[window.load] = replace(fact, rows=fact.rows + batch.num_rows, bytes=fact.bytes + billed, newest=newest)
        shown = billed
        if "billed" in part.bounds:
            # The screen shows a file's bytes as they are read; of a file of text the number of its rows is a guess.
            shown = min(self._unshown, int(part.bounds["billed"]) * batch.num_rows // max(part.rows, 1))
            self._unshown -= shown
        self._report.add(batch.num_rows, shown)
        batch = self._without_huge_cells(batch, window.load)
        conformed = cast.conform(batch, window.schema())
        if conformed.bad:
            codes = ["cast-failed"] * len(conformed.bad)
            self.letter(batch, conformed.bad, window.load, self._step, codes, conformed.reasons)
        return _label(conformed.batch, window.load, part)

    def _without_huge_cells(self, batch: pa.RecordBatch, load: str) -> pa.RecordBatch:
        limit = self._job.definition.max_cell_bytes
        huge = size.oversized(batch, limit)
        if huge is None:
            return batch
        rows = pc.indices_nonzero(huge).to_pylist()
        message = f"a cell is larger than maxCellBytes ({limit} bytes)"
        self.letter(batch, rows, load, self._step, ["cell-too-large"] * len(rows), [message] * len(rows))
        return batch.filter(pc.invert(huge))

    def finish_bundle(self) -> Iterator[Any]:
        for load, fact in self._facts.items():
            dead = self.dead_count(load)
            letters = self.close_letters(load)
            seconds = self._seconds.get(load, 0.0)
            files = tuple(reader.fact for of, reader in self._files if of == load)
            counted = tuple(self._counted.get(load, ()))
            told = replace(fact, dead=dead, letters=letters, seconds=seconds, files=files, counted=counted)
            if self.context.drain:
                note_facts(self.context.run, told)
            yield TaggedOutput(FACTS, self.told(told))
        self._report.flush()


def _newest(batch: pa.RecordBatch, window: Window, cursor: CursorSpec | None) -> Mark | None:
    """Greatest cursor value of a batch, as the planned type: before any filter, and whatever else is wrong with its row."""
    if cursor is None or not batch.num_rows:
        return None
    name = match_column(cursor.column, batch.schema.names, window.table)
    kind = window.schema().field(match_column(cursor.column, window.schema().names, window.table)).type
    values, _ = convert_column(batch.column(name), kind)
    top = pc.max(values)
    return Mark.of(top) if top.is_valid else None


def _label(batch: pa.RecordBatch, load: str, part: Range) -> pa.RecordBatch:
    """Say which load and range the rows are of; both survive every step."""
    return origin.with_part(origin.with_load(batch, load), part.index)


class _RangesFn(PlainFn):
    """Every range under a key of its own: grouped by it, they are free to go to any worker."""

    def process(self, texts: dict[str, str]) -> Iterator[tuple[str, tuple[str, int]]]:
        for load, window in windows_of(texts).items():
            for part in window.ranges:
                yield f"{load} {part.index}", (load, part.index)


class Read(beam.PTransform):
    """Read every range of every window, in parallel where the runner has workers.

    Takes one element, `{load: window as text}`. Bounded. Order within a range only. Rows that do not fit the planned schema, and rows
    with a cell above `maxCellBytes`, become dead letters.

    Args:
        job: The service.
        step: Id of the join whose right side is read; empty: it is the source.
    """

    def __init__(self, job: Job, step: str = "") -> None:
        super().__init__()
        self._job, self._step = job, step

    def expand(self, windows: PCollection) -> Any:
        # Typed, for untyped batches are pickled whenever Beam wonders how large they are.
        rows = beam.ParDo(_ReadFn(self._job, self._step), view_of(windows, self._job.path)).with_output_types(
            pa.RecordBatch, **{FACTS: ReadFact}
        )
        return (
            windows
            | "Ranges" >> beam.ParDo(_RangesFn()).with_output_types(tuple[str, tuple[str, int]])
            # A Reshuffle would do the same by way of four more transforms.
            | "Spread" >> beam.GroupByKey()
            | "Rows" >> rows.with_outputs(FACTS, main="rows")
        )
