"""What files of text have in common, whatever separates their rows: a sample that tells the types, and ranges of lines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.numbering import in_part
from beam_pipelines.columnar.size import split
from beam_pipelines.columnar.types.names import parse_name
from beam_pipelines.errors import PlanError
from beam_pipelines.io import spares
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import CursorSpec, Described, SourceTraits, Unread
from beam_pipelines.io.files.format import compression_of, refuse_keys
from beam_pipelines.io.files.place import Place
from beam_pipelines.io.files.stretch import Lines, Stretch, edges_of, one_byte_a_line_end
from beam_pipelines.io.files.text.block import Block, Misread
from beam_pipelines.io.files.text.dialect import Dialect
from beam_pipelines.io.files.text.records import BLOCK_BYTES, blocks
from beam_pipelines.io.files.text.rows import Bad, Head, Rows
from beam_pipelines.io.files.text.stream import TextStream
from beam_pipelines.io.files.whole import WholeFiles
from beam_pipelines.io.objects.store import Stored
from beam_pipelines.runs.window import Range, Window

if TYPE_CHECKING:
    from beam_pipelines.spec.source import FileSource

__all__ = ["RAW", "TextSource"]

RAW = "$raw"  # what a dead letter calls the text of a row that is none
_LETTERS, _LETTER_BYTES = 1000, 8 << 20  # rows that are none, given at a time, and their bytes
_KEPT_HEAD = 16 * 1024  # bytes of a file that is looked at once, and not again when it is prepared
_HEAD_BYTES = 64 * 1024  # read at a time for a sample: that of a large file is no larger than needed


class TextSource(WholeFiles):
    """Files of text of this machine or of a bucket.

    Files may differ in their columns: they are united by name, and what a file lacks is null in its rows. A file that
    changes between the preparing of a run and its reading stops the run; a record that is no row costs itself.

    Args:
        model: The source of the definition.
        connection: The folder given as bucket, None with `path`.
        folder: The definition's, that `path` is relative to.
        longest: Bytes of the longest record.
    """

    shown: ClassVar[str]
    foreign: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: FileSource, connection: Connection | None, folder: Path | None = None, longest: int = 32 << 20) -> None:
        refuse_keys(model, self.foreign, self.shown)
        self.model, self.longest = model, longest
        self.place = Place.of(model, connection, folder)
        self.traits = SourceTraits(self.format, incremental=False, counts_late=True)
        self.declared = {name: _declared(name, kind) for name, kind in (model.columns or {}).items()}
        self._counts: dict[Stored, int] = {}  # rows of files that were described, about

    def describe(self, table: str) -> Described:  # noqa: ARG002 (there is one)
        heads = self.looked(self._head)
        sizes = [head.path.size for head in heads]
        counts = list(map(_rows, heads, sizes))
        for head, count in zip(heads, counts, strict=True):
            self._counts[head.path] = count
            spares.note(self._note(head.path), count)
        return Described(self._schema(heads), (), sum(counts), sum(sizes))

    def ranges(self, table: str, parts: int) -> Iterable[Range]:
        """Files whose lines are records wherever they are cut are read in several parts."""
        files = self.stored()
        total = max(1, sum(path.size for path in files))
        for path in files:
            wanted = round(parts * path.size / total) if self.splits(path) else 1
            edges = edges_of(path.size, wanted)
            if len(edges) > 2:
                edges = edges_of(path.size, wanted, self.beginning(path))
            yield from self.stretches(table, path, self._about(path), edges)

    def splits(self, path: Stored) -> bool:
        """Whether every end of a line in the bytes of a file ends a record."""
        return compression_of(Path(path.name), self.model.compression) is None and one_byte_a_line_end(self.model.encoding)

    def beginning(self, path: Stored) -> int:  # noqa: ARG002 (of a format that has none)
        """Bytes at the beginning of a file that whoever reads its first rows must have."""
        return 0

    def _about(self, path: Stored) -> int:
        """Rows of a file, about; planning may have looked: a request to a bucket is dear."""
        known: int | None = self._counts.get(path, spares.noted(self._note(path)))
        return _rows(self._head(path), path.size) if known is None else known

    def _note(self, path: Stored) -> str:
        return f"rows {self.format} {path} {path.size} {path.tag} {self.model.sample_rows}"

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch | Unread]:  # noqa: ARG002
        bounds, schema = part.bounds, origin.visible_schema(window.schema())
        path = self.place.at(bounds)
        yield from self.ahead(path, lambda: self._labelled(path, bounds["label"], schema, part))
        path.unchanged()  # while it was read, too

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        heads = self.looked(self._head)
        schema, paths = self._schema(heads), [head.path for head in heads]
        found: list[pa.RecordBatch] = []
        for path in paths:
            for rows in self._labelled(path, self.place.label(path), schema):
                # Blocks of JSON may come in other types than the first; those are enough.
                if isinstance(rows, pa.RecordBatch) and (not found or rows.schema.equals(found[0].schema)):
                    found.append(rows.slice(0, limit - sum(one.num_rows for one in found)))
                if sum(one.num_rows for one in found) >= limit:
                    return pa.concat_batches(found)
        if found:
            return pa.concat_batches(found)
        return origin.attach(pa.RecordBatch.from_pylist([], schema), table, lines=pa.array([], pa.int64()))

    def check(self) -> str:
        paths = self.stored()
        columns = len(self._schema(self.looked(self._head)))
        size = sum(path.size for path in paths)
        files = "file" if len(paths) == 1 else "files"
        return f"{len(paths)} {self.shown} {files}, {columns} {'column' if columns == 1 else 'columns'}, {size:,} bytes, {self.place.name}"

    def named(self) -> list[tuple[Stored, Sequence[str]]]:
        return [(head.path, head.names) for head in self.looked(self._head)]

    # What a format knows of itself.

    @abstractmethod
    def dialect(self, path: Stored) -> Dialect:
        """How the records of a file are told apart."""

    def pieces(self, stream: TextStream, path: Stored, size: int = BLOCK_BYTES) -> Iterator[Block | Misread]:
        """A file in blocks of about so many bytes, and what of it is no record."""
        return blocks(stream.read, self.dialect(path), size)

    def attached(self, batch: pa.RecordBatch, label: str, lines: pa.Array) -> pa.RecordBatch:
        """Rows with their origin; `lines` is where each begins, from 1."""
        return origin.attach(batch, label, lines=lines)

    @abstractmethod
    def head(self, path: Stored, pieces: Iterator[Block | Misread], limit: int) -> tuple[tuple[str, ...], Any, int]:
        """The columns of a file, a sample of at most `limit` rows, and how many were read for it."""

    @abstractmethod
    def inferred(self, name: str, samples: Sequence[Any]) -> pa.DataType:
        """The type of a column that is not declared, by the samples of the files that have it."""

    @abstractmethod
    def rows(self, path: Stored, pieces: Iterator[Block | Misread], schema: pa.Schema, *, later: bool = False) -> Iterator[Rows]:
        """The rows of a file in the planned columns, a block at a time, with what is no row; `later`: its beginning is not among them."""

    # What is the same of all.

    def misread(self, piece: Misread) -> Bad:
        if piece.reason:
            return Bad(piece.line, piece.text, f"expected a row, got {piece.reason}")
        message = f"the row is longer than maxCellBytes ({self.longest} bytes): it has {piece.size} bytes"
        return Bad(piece.line, piece.text, message, "cell-too-large")

    def opened(self, path: Stored, stretch: Stretch | None = None) -> TextStream:
        """A file as a stream of text, or the lines of a stretch of it."""
        compression = compression_of(Path(path.name), self.model.compression)
        if stretch is None:
            return TextStream(path, compression, self.model.encoding)
        dialect = self.dialect(path)
        return TextStream(path, compression, self.model.encoding, lambda file: Lines(file, stretch, dialect))

    def _head(self, path: Stored) -> Head:
        """The beginning of a file; planning may have looked, and small ones are kept until it is read."""
        place = f"head {self._note(path)}"
        known: Head | None = spares.noted(place)
        if known is None:
            known = self._looked_at(path)
            if known.taken <= _KEPT_HEAD:
                spares.note(place, known)
        return known

    def _looked_at(self, path: Stored) -> Head:
        with self.opened(path) as stream:
            pieces = self.pieces(stream, path, _HEAD_BYTES)
            limit = self.model.sample_rows if self.inferring else 1
            names, sample, rows = self.head(path, pieces, limit)
            if set(names) <= {*self.declared, *(self.known or pa.schema([])).names}:
                sample = {}  # of a hundred thousand files, what says nothing new is not kept
            return Head(path, names, sample, rows, stream.taken, rows < limit)

    @property
    def inferring(self) -> bool:
        """Whether rows are looked at to tell types."""
        return True

    def _schema(self, heads: Sequence[Head]) -> pa.Schema:
        """The columns of all files by name, in the order they first come.

        Raises:
            PlanError: A declared column is in no file, or there is none at all.
        """
        samples: dict[str, list[Any]] = {name: [] for name in (self.known or pa.schema([])).names}
        for head in heads:
            for name in head.names:
                samples.setdefault(name, []).append(head.sample)
        missing = [name for name in self.declared if name not in samples]
        if missing and not self.may_lack(heads):
            raise PlanError(
                f"expected columns of {self.place.name!r}, got {', '.join(map(repr, missing))}, which it has not;"
                f" it has {', '.join(map(repr, samples))}",
                code="column-missing",
                details={"sourceKey": f"columns.{missing[0]}", "columns": missing},
            )
        known = {} if self.known is None else dict(zip(self.known.names, self.known.types, strict=True))
        kinds = {name: self.declared.get(name) or known.get(name) or self.inferred(name, found) for name, found in samples.items()}
        kinds |= {name: self.declared[name] for name in missing}
        if not kinds and not (self._broken and not heads):  # where no file can be read, that is what is wrong
            raise PlanError(
                f"{self.place.name!r} has neither a row nor a header that tells its columns: declare them (columns: {{id: bigint}})",
                code="column-missing",
            )
        return pa.schema(list(kinds.items()))

    def may_lack(self, heads: Sequence[Head]) -> bool:
        """Whether declared columns may be in no file."""
        return not any(head.names for head in heads)

    def _labelled(self, path: Stored, label: str, schema: pa.Schema, part: Range | None = None) -> Iterator[pa.RecordBatch | Unread]:
        stretch = Stretch.of(part.bounds) if part is not None else None
        number = stretch.part if stretch is not None else 0
        with self.opened(path, stretch) as stream:
            bad: list[Bad] = []
            for rows in self.rows(path, self.pieces(stream, path), schema, later=number > 0):
                bad += rows.bad
                if len(bad) >= _LETTERS or sum(len(one.text) for one in bad) >= _LETTER_BYTES:
                    yield self._unread(bad, label, number)
                    bad = []
                batch = self.attached(rows.batch, label, in_part(rows.lines, number))
                if rows.misfits:
                    places = np.array(sorted(rows.misfits))
                    told = [rows.misfits[place] for place in places.tolist()]
                    yield Unread(batch.take(pa.array(places)), ["cast-failed"] * len(told), told)
                    keep = np.ones(batch.num_rows, dtype=bool)
                    keep[places] = False
                    batch = batch.filter(pa.array(keep))
                if batch.num_rows:
                    yield from split(batch)
            if bad:
                yield self._unread(bad, label, number)
            if part is not None and stream.lines is not None:
                self.counted[part.index] = stream.lines.count

    def _unread(self, bad: Sequence[Bad], label: str, number: int) -> Unread:
        batch = pa.RecordBatch.from_pydict({RAW: pa.array([one.text.decode("utf-8", "backslashreplace") for one in bad], pa.string())})
        lines = in_part(pa.array([one.line for one in bad], pa.int64()), number)
        return Unread(self.attached(batch, label, lines), [one.code for one in bad], [one.message for one in bad])


def _declared(name: str, kind: str) -> pa.DataType:
    try:
        return parse_name(kind)
    except PlanError as bad:
        raise PlanError(bad.message, code=bad.code, details={"sourceKey": f"columns.{name}"}) from bad


def _rows(head: Head, size: int) -> int:
    """Rows of a file, about: by the bytes that those of its beginning take."""
    return head.rows if head.whole or not head.rows else max(head.rows, int(size * head.rows / max(head.taken, 1)))
