"""Reads Parquet files, whole, by row group."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.kinds import is_view, plain_type
from beam_pipelines.columnar.size import MAX_BYTES, MAX_ROWS, gather
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io import spares
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import CursorSpec, Described, SourceTraits
from beam_pipelines.io.files.format import TEXT_KEYS, refuse_keys
from beam_pipelines.io.files.place import Place
from beam_pipelines.io.files.united import united
from beam_pipelines.io.files.whole import WholeFiles
from beam_pipelines.io.objects.store import Stored, hindered
from beam_pipelines.runs.window import Range, Window

if TYPE_CHECKING:
    from beam_pipelines.spec.source import FileSource

__all__ = ["ParquetSource"]

# Bytes read ahead of each column. Measured on 30M rows of two doubles in one row group: 83 MB at peak, against 541 with Arrow's defaults.
_BUFFER = 1 << 20


@dataclass(frozen=True)
class _File:
    path: Stored
    schema: pa.Schema
    groups: tuple[int, ...]  # rows of each row group

    @property
    def size(self) -> int:
        return self.path.size

    @property
    def rows(self) -> int:
        return sum(self.groups)


class ParquetSource(WholeFiles):
    """Parquet files of this machine or of a bucket.

    Files may differ in their columns: they are united by name, and what a file lacks is null in its rows. A file that changes between the
    preparing of a run and its reading stops the run. Columns that only the names of folders hold (`year=2026/`) are not made.

    Args:
        model: The source of the definition.
        connection: The folder given as bucket, None with `path`.
        folder: The definition's, that `path` is relative to.
    """

    format = "parquet"

    def __init__(self, model: FileSource, connection: Connection | None, folder: Path | None = None) -> None:
        if model.compression is not None:
            raise PlanError("source.compression: Parquet files say how they are compressed themselves; leave it out", code="option-invalid")
        refuse_keys(model, TEXT_KEYS, "Parquet")
        self.place = Place.of(model, connection, folder)
        self.traits = SourceTraits("parquet", incremental=False, columnar=True)

    def describe(self, table: str) -> Described:  # noqa: ARG002 (there is one)
        files = self._files()
        return Described(self._united(files), (), sum(file.rows for file in files), sum(file.size for file in files))

    def ranges(self, table: str, parts: int) -> Iterator[Range]:
        files = self._files()
        total = max(1, sum(file.size for file in files))
        cuts = [cut for file in files for cut in _cut(file, max(1, round(parts * file.size / total)))]
        for index, cut in enumerate(cuts):
            bounds = {**cut.bounds, "label": self.place.label(self.place.at(cut.bounds))}
            yield Range("", table, index, bounds, cut.rows, cut.bounds["billed"])

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        bounds, schema = part.bounds, origin.visible_schema(window.schema())
        path = self.place.at(bounds)
        first = int(bounds["first_row"])
        for batch in self.ahead(path, lambda: gather(_batches(path, bounds["row_groups"], schema))):
            yield origin.attach(batch, bounds["label"], first_row=first)
            first += batch.num_rows
        path.unchanged()  # while it was read, too

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        files = self._files()
        schema = self._united(files)
        for file in files:
            for batch in _batches(file.path, range(len(file.groups)), schema):
                if batch.num_rows:
                    return origin.attach(batch.slice(0, limit), self.place.label(file.path), first_row=0)
        return origin.attach(pa.RecordBatch.from_pylist([], schema), table, first_row=0)

    def check(self) -> str:
        files = self._files()
        rows, size = sum(file.rows for file in files), sum(file.size for file in files)
        return f"{len(files)} Parquet {'file' if len(files) == 1 else 'files'}, {rows:,} rows, {size:,} bytes, {self.place.name}"

    def named(self) -> list[tuple[Stored, Sequence[str]]]:
        return [(file.path, file.schema.names) for file in self._files()]

    def _files(self) -> list[_File]:
        return self.fitting(self.looked(_footer))

    def _united(self, files: Sequence[_File]) -> pa.Schema:
        return united([(file.path, file.schema) for file in files], self.place.label, self.known)


@dataclass(frozen=True)
class _Cut:
    bounds: dict[str, Any]
    rows: int


def _cut(file: _File, parts: int) -> list[_Cut]:
    """Row groups in order, in about equal parts; together they bill the bytes of the file, whatever columns are read."""
    parts = max(1, min(parts, len(file.groups)))
    edges = [len(file.groups) * index // parts for index in range(parts + 1)]
    cuts = []
    first = billed = 0
    for start, end in itertools.pairwise(edges):
        rows = sum(file.groups[start:end])
        share = file.size if end == len(file.groups) else file.size * (first + rows) // max(1, file.rows)
        bounds = {
            **file.path.bounds,
            "row_groups": list(range(start, end)),
            "first_row": first,
            "billed": share - billed,
        }
        cuts.append(_Cut(bounds, rows))
        first, billed = first + rows, share
    return cuts


def _footer(path: Stored) -> _File:
    known: _File | None = spares.noted(note := f"footer {path} {path.size} {path.tag}")
    if known is not None:  # planning looked: a request to a bucket is dear
        return known
    try:
        with path.open() as opened, pq.ParquetFile(opened) as file:
            groups = tuple(file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups))
            schema = pa.schema([(field.name, plain_type(field.type)) for field in file.schema_arrow])
    except (pa.ArrowException, OSError) as bad:
        raise _unreadable(path, bad) from bad
    found = _File(path, schema, groups)
    spares.note(note, found)
    return found


def _batches(path: Stored, groups: Sequence[int], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The planned columns of row groups; columns that the file lacks are null."""
    if not len(groups):
        return
    try:
        with (
            path.open() as opened,
            pq.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True) as file,
        ):
            known = set(file.schema_arrow.names)  # made anew at each look: of 5,000 columns that took 40 s
            there = [name for name in schema.names if name in known]
            width = _bytes(file, groups, set(there)) / max(1, _rows(file, groups))
            rows = max(1, min(MAX_ROWS, int(MAX_BYTES / max(1.0, width))))
            for batch in file.iter_batches(rows, row_groups=list(groups), columns=there, use_threads=False):
                yield pa.RecordBatch.from_arrays([_column(batch, planned) for planned in schema], names=schema.names)
    except (pa.ArrowException, OSError) as bad:
        raise _unreadable(path, bad) from bad


def _rows(file: pq.ParquetFile, groups: Sequence[int]) -> int:
    return sum(file.metadata.row_group(group).num_rows for group in groups)


def _bytes(file: pq.ParquetFile, groups: Sequence[int], names: set[str]) -> int:
    """Bytes of some columns, not compressed."""
    chunks = [file.metadata.row_group(group).column(at) for group in groups for at in range(file.metadata.num_columns)]
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.partition(".")[0] in names)


def _column(batch: pa.RecordBatch, planned: pa.Field) -> pa.Array:
    position = batch.schema.get_field_index(planned.name)
    if position < 0:
        return pa.nulls(batch.num_rows, planned.type)
    column = batch.column(position)
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return column.cast(plain_type(column.type)) if is_view(column.type) else column


def _unreadable(path: Stored, error: Exception) -> FatalError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    details = hindered(error)
    what = "" if details else " as Parquet, it may be damaged or cut off"
    return FatalError(f"{str(path)!r} cannot be read{what}: {reason}", code="read-failed", details=details)
