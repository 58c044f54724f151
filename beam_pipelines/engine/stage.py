"""Stage rows where the target can take them from: bulk, parallel, named after run and attempt. Nothing here touches the target's tables."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from typing import cast as cast_type

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import PCollection

from beam_pipelines.columnar import cast, origin, size
from beam_pipelines.columnar.compact import take
from beam_pipelines.engine.bundle import BundleFn
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live.noted import view_of
from beam_pipelines.engine.parts import RANGES, tables_of
from beam_pipelines.engine.prepare import TARGET
from beam_pipelines.engine.sorted_out import SortedOut
from beam_pipelines.errors import DataError
from beam_pipelines.io.connector import Stager
from beam_pipelines.runs.facts import PENDING, Staged, StagedFact
from beam_pipelines.runs.names import StagingName, new_attempt
from beam_pipelines.runs.window import Window

if TYPE_CHECKING:
    from beam_pipelines.io.connector import SizedStager

__all__ = ["Stage"]

_TABLES = 4  # objects of one bundle that are written at a time, each of a table
_AT_ONCE = 1  # objects of one bundle that are written at a time, where each holds the rows of one range: files come one after the other
_STEPS = 16  # parts of a file of a wanted size that are written at a time: it is too large by no more than one
_AHEAD = 2  # batches waiting for the writer: reading and writing overlap, and memory stays flat


@dataclass(frozen=True)
class _Bad:
    """Rows the stager would not take."""

    batch: pa.RecordBatch
    rows: list[int]
    message: str


class _Writer:
    """A stager fed by a thread of its own, so that the next batch is read while this one is written (drivers release the GIL).

    The thread is begun with the second batch: of a thousand small files each has one alone.

    Args:
        begin: Begins an object.
        most: Bytes of an object that becomes a file, about: what is more goes into others. None: all goes into one.
    """

    def __init__(self, begin: Callable[[], Stager], most: int | None) -> None:
        self._begin, self._most = begin, most
        self._stager: Stager | None = begin()
        self._ended: list[Staged] = []
        self._queue: queue.Queue[tuple[pa.RecordBatch, pa.RecordBatch] | None] = queue.Queue(_AHEAD)
        self._error: BaseException | None = None
        self.bad: list[_Bad] = []
        self._first: tuple[pa.RecordBatch, pa.RecordBatch] | None = None
        self._thread: threading.Thread | None = None

    def write(self, rows: pa.RecordBatch, origins: pa.RecordBatch) -> None:
        """Queue rows; `origins` is the same rows with origin columns, for dead letters."""
        self._raise()
        if self._thread is None and self._first is None:
            self._first = rows, origins
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="stage", daemon=True)
            self._thread.start()
            self._queue.put(self._first)
            self._first = None
        self._queue.put((rows, origins))

    def _work(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if self._error is None:
                try:
                    self._write(*item)
                except BaseException as error:  # noqa: BLE001 - handed to the bundle's thread, which raises it
                    self._error = error

    def _write(self, rows: pa.RecordBatch, origins: pa.RecordBatch) -> None:
        if self._most is None:
            self._put(rows, origins)
            return
        at = 0
        for part in size.split(rows, max_bytes=max(1, self._most // _STEPS)):
            self._put(part, origins.slice(at, part.num_rows))
            at += part.num_rows
            if self._stager is not None and cast_type("SizedStager", self._stager).full(self._most):
                self._ended.append(self._stager.finish())
                self._stager = None

    def _put(self, rows: pa.RecordBatch, origins: pa.RecordBatch) -> None:
        while rows.num_rows:
            self._stager = self._stager or self._begin()
            try:
                self._stager.write(rows)
                return
            except DataError as refusal:
                refused = set(refusal.details.get("rows", range(rows.num_rows)))
                self.bad.append(_Bad(origins, sorted(refused), refusal.message))
                keep = pa.array([row not in refused for row in range(rows.num_rows)], pa.bool_())
                rows, origins = rows.filter(keep), origins.filter(keep)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _join(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def finish(self) -> list[Staged]:
        """End the objects, in the order of their rows."""
        self._join()
        self._raise()
        if self._first is not None:
            first, self._first = self._first, None
            self._write(*first)
        return [*self._ended, self._stager.finish()] if self._stager is not None else self._ended

    def abort(self) -> None:
        self._join()
        if self._stager is not None:
            self._stager.abort()


@dataclass
class _Open:
    writer: _Writer
    schema: pa.Schema
    keys: list[int]
    window: Window
    first: int
    through: int = 0
    sources: tuple[str, ...] = ()
    tables: list[tuple[str, ...]] = field(default_factory=list)


class _StageFn(BundleFn):
    def __init__(self, job: Job) -> None:
        super().__init__(job, "load")

    def start_bundle(self) -> None:
        super().start_bundle()
        # A bundle that failed left its writer behind: nothing of it counts, and its thread must go.
        for one in getattr(self, "_open", {}).values():
            one.writer.abort()
        self._open: dict[tuple[str, int], _Open] = {}
        self._ended: dict[str, list[Staged]] = {}
        self._pieces: dict[tuple[str, int], int] = {}
        self._rows_in: dict[str, int] = {}
        self._apart, self._most = self._job.by_file, self._job.shard_size
        self._pending = bool(self._job.others)
        self._mixed, self._texts = SortedOut(), dict[str, str]()

    def teardown(self) -> None:
        for one in getattr(self, "_open", {}).values():
            one.writer.abort()
        self._open = {}
        super().teardown()

    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[StagedFact]:
        load = origin.load_of(batch)
        with self.timed(load):
            if not self._apart or origin.part_of(batch) is not None:
                self._take(batch, load, texts)
            else:  # behind a shuffle
                self._texts = texts
                self._mixed.add(batch)
                if self._mixed.full:
                    self._sort_out()
        yield from ()

    def _sort_out(self) -> None:
        """Stage the rows of several files that wait."""
        places: dict[str, dict[str, int]] = {}
        for load, source, rows in self._mixed.taken():
            if load not in places:
                ranges = reversed(self.window(load, self._texts).ranges)
                places[load] = {part.bounds["label"]: part.index for part in ranges}
            self._take(origin.with_part(rows, places[load][source]), load, self._texts)

    def _take(self, batch: pa.RecordBatch, load: str, texts: dict[str, str]) -> None:
        key = (load, (origin.part_of(batch) or 0) if self._apart else 0)
        one = self._open.get(key) or self._begin(key, self.window(load, texts), batch)
        self._rows_in[load] = self._rows_in.get(load, 0) + batch.num_rows
        self._note(one, batch)
        batch = self._without_null_keys(one, _renamed(batch, one.schema), load)
        conformed = cast.conform(batch, one.schema)
        if conformed.bad:
            self.letter(batch, conformed.bad, load, "load", ["cast-failed"] * len(conformed.bad), conformed.reasons)
        rows = pa.RecordBatch.from_arrays(origin.visible(conformed.batch).columns, schema=one.schema)
        one.writer.write(rows, conformed.batch)
        if self._pending:
            kept = np.delete(np.arange(batch.num_rows), conformed.bad) if conformed.bad else None
            self.put_aside(load, "load", PENDING, origin.visible(batch if kept is None else take(batch, kept)))
        self._report.add(batch.num_rows)

    def _begin(self, key: tuple[str, int], window: Window, batch: pa.RecordBatch) -> _Open:
        if len(self._open) >= (_AT_ONCE if self._apart else _TABLES):
            self._end(next(iter(self._open)))
        schema = window.schema(TARGET)
        keys = [schema.names.index(key) for key in window.key_fields]
        first = origin.part_of(batch) or 0

        def begin() -> Stager:
            return self.target.stager(str(StagingName.of(window.service, window.run, new_attempt())), schema, first)

        one = self._open[key] = _Open(_Writer(begin, self._most), schema, keys, window, first)
        return one

    def _end(self, key: tuple[str, int]) -> None:
        """Close the objects of one writer, and make dead letters of the rows that these would not take."""
        one, load = self._open.pop(key), key[0]
        try:
            ended = one.writer.finish()
        except BaseException:
            one.writer.abort()
            raise
        for staged in ended:
            piece = self._pieces[key] = self._pieces.get(key, -1) + 1
            self._ended.setdefault(load, []).append(replace(staged, through=one.through, sources=one.sources, piece=piece))
        for bad in one.writer.bad:
            self.letter(bad.batch, bad.rows, load, "load", ["target-refused"] * len(bad.rows), [bad.message] * len(bad.rows))

    def _note(self, one: _Open, batch: pa.RecordBatch) -> None:
        """Note what parts of what sources the rows of an object are of."""
        part = origin.part_of(batch)
        one.through = max(one.through, part or 0)
        if part is None or part >> RANGES:
            one.tables = one.tables or tables_of(self._job, one.window)
            more = one.tables[(part or 0) >> RANGES]
        else:
            # Ranges that come in no order, as behind a join by shards, are not all between the first and the last.
            more = (one.window.table,) if part < one.first else ()
        one.sources = tuple(dict.fromkeys((*one.sources, *more)))

    def _without_null_keys(self, one: _Open, batch: pa.RecordBatch, load: str) -> pa.RecordBatch:
        """A row without its key can neither be found nor be told from others: it is a dead letter."""
        for index in one.keys:
            column = batch.column(index)
            if not column.null_count:
                continue
            rows = pc.indices_nonzero(pc.is_null(column)).to_pylist()
            message = f"key column {one.schema.names[index]!r} is null"
            self.letter(batch, rows, load, "load", ["key-null"] * len(rows), [message] * len(rows))
            batch = batch.filter(pc.is_valid(column))
        return batch

    def finish_bundle(self) -> Iterator[Any]:
        self._sort_out()
        for key in list(self._open):
            self._end(key)
        for load, staged in self._ended.items():
            dead = self.dead_count(load)
            letters = self.close_letters(load)
            seconds, asides = self._seconds.get(load, 0.0), self.close_asides(load, "load")
            yield self.told(StagedFact(load, self._rows_in[load], tuple(staged), dead, letters, seconds, asides))
        self._report.flush()


def _renamed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the target's names; the hidden columns keep theirs."""
    hidden = batch.schema.names[len(schema.names) :]
    return batch.rename_columns([*schema.names, *hidden])


class Stage(beam.PTransform):
    """Write batches to attempt-named staging; one manifest a bundle and load, yielded after the staging is durable.

    Args:
        job: The service.
        windows: One element, `{load: window as text}`.
    """

    def __init__(self, job: Job, windows: PCollection) -> None:
        super().__init__()
        self._job, self._windows = job, windows

    def expand(self, rows: PCollection) -> PCollection:
        return rows | "Write" >> beam.ParDo(_StageFn(self._job), view_of(self._windows)).with_output_types(StagedFact)
