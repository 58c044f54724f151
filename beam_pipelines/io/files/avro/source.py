"""Reads Avro object container files, a block at a time."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.numbering import first_of
from beam_pipelines.columnar.size import MAX_ROWS, gather, split
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import CursorSpec, Described, SourceTraits
from beam_pipelines.io.files.avro.blocks import AvroError, Header, blocks, read_header, seek_block
from beam_pipelines.io.files.avro.types import Known, base_type, columns_of, without_uuid
from beam_pipelines.io.files.format import TEXT_KEYS, refuse_keys
from beam_pipelines.io.files.place import Place
from beam_pipelines.io.files.stretch import Stretch, edges_of
from beam_pipelines.io.files.text.stream import unreadable
from beam_pipelines.io.files.united import united
from beam_pipelines.io.files.whole import WholeFiles
from beam_pipelines.io.objects.store import Stored
from beam_pipelines.runs.window import Range, Window

if TYPE_CHECKING:
    from beam_pipelines.spec.source import FileSource

__all__ = ["AvroSource", "Column", "schema_of"]


@dataclass(frozen=True)
class _File:
    path: Stored
    schema: pa.Schema
    rows: int  # about

    @property
    def size(self) -> int:
        return self.path.size


class AvroSource(WholeFiles):
    """Avro files of this machine or of a bucket.

    A file says itself what its columns are, and may be cut at the marks behind its blocks. Files may differ: they are united by name, and
    what a file lacks is null in its rows. A file that changes between the preparing of a run and its reading stops the run, and so does one
    that is damaged or cut off.

    Args:
        model: The source of the definition.
        connection: The folder given as bucket, None with `path`.
        folder: The definition's, that `path` is relative to.
        longest: As other files have it; a value is as long as its block may be.
    """

    format = "avro"

    def __init__(self, model: FileSource, connection: Connection | None, folder: Path | None = None, longest: int = 0) -> None:
        del longest
        if model.compression is not None:
            raise PlanError("source.compression: Avro files say how they are compressed themselves; leave it out", code="option-invalid")
        refuse_keys(model, TEXT_KEYS, "Avro")
        self.place = Place.of(model, connection, folder)
        self.traits = SourceTraits("avro", incremental=False, counts_late=True)

    def describe(self, table: str) -> Described:  # noqa: ARG002 (there is one)
        files = self._files()
        return Described(self._united(files), (), sum(file.rows for file in files), sum(file.size for file in files))

    def ranges(self, table: str, parts: int) -> Iterable[Range]:
        files = self._files()
        total = max(1, sum(file.size for file in files))
        for file in files:
            yield from self.stretches(table, file.path, file.rows, edges_of(file.size, round(parts * file.size / total)))

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        bounds, schema = part.bounds, origin.visible_schema(window.schema())
        path = self.place.at(bounds)
        stretch = Stretch.of(bounds)
        first = begin = first_of(stretch.part) if stretch is not None else 0
        for batch in self.ahead(path, lambda: gather(_batches(path, schema, stretch))):
            yield origin.attach(batch, bounds["label"], first_row=first)
            first += batch.num_rows
        path.unchanged()  # while it was read, too
        if stretch is not None:
            self.counted[part.index] = first - begin

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        files = self._files()
        schema = self._united(files)
        for file in files:
            for batch in _batches(file.path, schema):
                return origin.attach(batch.slice(0, limit), self.place.label(file.path), first_row=0)
        return origin.attach(pa.RecordBatch.from_pylist([], schema), table, first_row=0)

    def check(self) -> str:
        files = self._files()
        columns, size = len(self._united(files)), sum(file.size for file in files)
        shown = "file" if len(files) == 1 else "files"
        return f"{len(files)} Avro {shown}, {columns} {'column' if columns == 1 else 'columns'}, {size:,} bytes, {self.place.name}"

    def named(self) -> list[tuple[Stored, Sequence[str]]]:
        return [(file.path, file.schema.names) for file in self._files()]

    def _files(self) -> list[_File]:
        return self.fitting(self.looked(_looked_at))

    def _united(self, files: Sequence[_File]) -> pa.Schema:
        return united([(file.path, file.schema) for file in files], self.place.label, self.known)


def schema_of(path: Stored) -> pa.Schema:
    """The columns of a file.

    Raises:
        FatalError: It is no Avro file.
    """
    with _opened(path) as (_, header):
        return _columns(path, header)


class _Opened:
    """A file that stands behind its header."""

    def __init__(self, path: Stored) -> None:
        try:
            with contextlib.ExitStack() as opened:
                self._file = opened.enter_context(path.open())
                self._header = read_header(self._file)
                self._stack = opened.pop_all()
        except (AvroError, OSError, pa.ArrowException) as bad:
            raise unreadable(path, bad) from bad

    def __enter__(self) -> tuple[pa.NativeFile, Header]:
        return self._file, self._header

    def __exit__(self, *_: object) -> None:
        self._stack.close()


_opened = _Opened


def _columns(path: Stored, header: Header) -> pa.Schema:
    try:
        return columns_of(header.schema, Known(str(path)))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as bad:
        raise unreadable(path, bad, "its schema is none of Avro's") from bad


def _looked_at(path: Stored) -> _File:
    with _opened(path) as (file, header):
        schema = _columns(path, header)
        start = file.tell()
        rows = 0
        try:
            for count, _, _ in blocks(file, header):
                rows = int(count * (path.size - start) / max(1, file.tell() - start))
                break
        except (AvroError, OSError, pa.ArrowException) as bad:
            raise unreadable(path, bad) from bad
    return _File(path, schema, rows)


def _batches(path: Stored, schema: pa.Schema, stretch: Stretch | None = None) -> Iterator[pa.RecordBatch]:
    """The planned columns of a file, or of the blocks of a stretch of it; columns that the file lacks are null."""
    with _opened(path) as (file, header):
        own = _columns(path, header)
        makers = {name: Column(own.field(name).type) for name in schema.names if name in own.names}
        bare = not _is_record(header.schema)
        try:
            if stretch is not None and stretch.part and not seek_block(file, header, stretch.start, stretch.end):
                return
            for _, _, rows in blocks(file, header, stretch.end if stretch is not None else None):
                while some := list(itertools.islice(rows, MAX_ROWS)):
                    yield from split(_batch(some, schema, makers, bare=bare))
        except (AvroError, OSError, pa.ArrowException, ValueError, TypeError, OverflowError) as bad:
            raise unreadable(path, bad) from bad


def _batch(rows: list[Any], schema: pa.Schema, makers: dict[str, Column], *, bare: bool) -> pa.RecordBatch:
    columns = []
    for planned in schema:
        maker = makers.get(planned.name)
        if maker is None:
            columns.append(pa.nulls(len(rows), planned.type))
        else:
            columns.append(maker.array(rows if bare else [row[planned.name] for row in rows]))
    return pa.RecordBatch.from_arrays(columns, names=schema.names)


def _is_record(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") in ("record", "error")


class Column:
    """Makes values of Avro's base types into Arrow's.

    Args:
        kind: What the column is read as. Identifiers stay text, for the read step to hold against their type.
    """

    def __init__(self, kind: pa.DataType) -> None:
        self._kind, self._base = without_uuid(kind), base_type(kind)

    def array(self, values: list[Any]) -> pa.Array:
        made = pa.array(values, self._base)
        return made if self._base == self._kind else made.cast(self._kind)
