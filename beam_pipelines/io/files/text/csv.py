"""Reads files of delimited text (CSV, TSV): each field as text, which the read step makes into the planned types."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.convert import family
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.files.text.block import Block, Misread
from beam_pipelines.io.files.text.dialect import Dialect
from beam_pipelines.io.files.text.fields import Parser
from beam_pipelines.io.files.text.infer import altered, column_type
from beam_pipelines.io.files.text.rows import Rows
from beam_pipelines.io.files.text.source import TextSource
from beam_pipelines.io.files.text.stream import unreadable
from beam_pipelines.io.objects.store import Stored

__all__ = ["CsvSource"]

_LOOK = 64 * 1024  # bytes of the beginning of a file that are read to find its header
_ALTERED = (
    "column {name!r}: expected {kind} written as in the sample, got one that is not (a zero or plus before it, yes): declare its type"
)


class CsvSource(TextSource):
    """CSV files of this machine or of a bucket.

    The grammar is that of RFC 4180, of Python's `csv` and of Arrow: a quote opens a field at its beginning only, is doubled within it, and
    the field ends where it is closed. Records end with LF, CRLF or CR; empty ones are no rows. An empty field is null, one of two quotes
    is empty text; of columns that are no text it is null too. Where line breaks do not stand between quotes, a file may be cut at any.
    """

    format: ClassVar[str] = "csv"
    shown: ClassVar[str] = "CSV"

    def dialect(self, path: Stored) -> Dialect:
        return Dialect(self._delimiter(path).encode(), self.model.quote.encode(), self.longest, lines=not self.model.quoted_newlines)

    def splits(self, path: Stored) -> bool:
        return not (self.model.quoted_newlines and self.model.quote) and super().splits(path)

    def beginning(self, path: Stored) -> int:
        """Where the header begins, which may have empty lines before it: whoever reads the first rows reads it."""
        at = 0
        if not self.model.header:
            return at
        try:
            with path.open() as file:
                while data := file.read(_LOOK):
                    text = data.removeprefix(b"" if at else codecs.BOM_UTF8).lstrip(b"\r\n")
                    if text:
                        return at + len(data) - len(text)
                    at += len(data)
        except (pa.ArrowException, OSError) as bad:
            raise unreadable(path, bad) from bad
        return at

    def head(self, path: Stored, pieces: Iterator[Block | Misread], limit: int) -> tuple[tuple[str, ...], Any, int]:
        names, rest = self._named(path, pieces)
        if not names:
            return (), {}, 0
        parser = self._parser(path, names)
        batches, count = [], 0
        for piece in rest:
            if isinstance(piece, Block):
                batches.append(parser.parse(piece).batch)
                count += batches[-1].num_rows
                if count >= limit:
                    break
        table = pa.Table.from_batches(batches, parser.schema).slice(0, limit)
        return names, {name: table[name].combine_chunks() for name in names}, count

    def inferred(self, name: str, samples: Sequence[Any]) -> pa.DataType:
        return column_type([sample[name] for sample in samples])

    def rows(self, path: Stored, pieces: Iterator[Block | Misread], schema: pa.Schema, *, later: bool = False) -> Iterator[Rows]:
        names, rest = (self._names(path), pieces) if later else self._named(path, pieces)
        if not names:
            return
        parser = self._parser(path, names)
        for piece in rest:
            if isinstance(piece, Misread):
                yield Rows(_nothing(schema), _NO_LINES, [self.misread(piece)])
            else:
                yield self._planned(parser.parse(piece), schema)

    @property
    def inferring(self) -> bool:
        return self.model.header  # without one every column is declared

    def _delimiter(self, path: Stored) -> str:
        return self.model.delimiter or ("\t" if ".tsv" in (suffix.lower() for suffix in path.suffixes[-2:]) else ",")

    def _named(self, path: Stored, pieces: Iterator[Block | Misread]) -> tuple[tuple[str, ...], Iterator[Block | Misread]]:
        """The names of a file's columns, and what follows them."""
        if not self.model.header:
            return tuple(self.declared), pieces
        for piece in pieces:
            if isinstance(piece, Misread):
                why = piece.reason or "it is longer than maxCellBytes"
                raise FatalError(f"the header of {str(path)!r} (line {piece.line}) cannot be read: {why}", code="read-failed")
            starts = piece.starts()
            for place, (start, end) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
                if text := piece.data[start:end].rstrip(b"\r\n"):
                    lines = piece.lines_of(starts[place : place + 2])
                    names = self._header(path, text, int(lines[0]))
                    rest = [piece.part(end, len(piece.data), int(lines[1]))] if end < len(piece.data) else []
                    return names, _chained(rest, pieces)
        return (), iter(())

    def _parser(self, path: Stored, names: tuple[str, ...]) -> Parser:
        model = self.model
        return Parser(path, names, self._delimiter(path), model.quote, model.null_values, lines=not model.quoted_newlines)

    def _names(self, path: Stored) -> tuple[str, ...]:
        """The names of a file's columns, for who reads none of its beginning."""
        with self.opened(path) as stream:
            return self._named(path, self.pieces(stream, path, _LOOK))[0]

    def _header(self, path: Stored, text: bytes, line: int) -> tuple[str, ...]:
        """The names in a header; one that is empty is named by its place.

        Raises:
            PlanError: Two are alike.
            FatalError: It is no text.
        """
        quote = self.model.quote
        quoting: dict[str, Any] = {"quotechar": quote, "quoting": csv.QUOTE_MINIMAL} if quote else {"quoting": csv.QUOTE_NONE}
        try:
            (names,) = csv.reader(io.StringIO(text.decode(), newline=""), delimiter=self._delimiter(path), **quoting)
        except (UnicodeDecodeError, csv.Error, ValueError) as bad:
            raise unreadable(path, bad, f"its header (line {line}) is none") from bad
        if b"\0" in text:  # what is left of a file whose blocks were never written
            raise unreadable(path, ValueError("a zero byte"), f"its header (line {line}) is none")
        other = next((sign for sign in ";\t|" if sign in names[0]), "") if len(names) == 1 else ""
        if other and self.model.delimiter is None:
            message = (
                f"{self.place.label(path)!r} has one column, with {other!r} in its name: say delimiter: {other!r}, or ',' if it is one"
            )
            raise PlanError(message, code="option-invalid", details={"sourceKey": "delimiter"})
        names = [name or f"column_{place}" for place, name in enumerate(names, 1)]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise PlanError(
                f"{self.place.label(path)!r} has two columns of one name: {', '.join(map(repr, twice))} (line {line}); rename one, or leave"
                " the header out and give header: false with `columns`",
                code="type-unsupported",
                details={"file": str(path), "line": line, "columns": twice},
            )
        return tuple(names)

    def _planned(self, parsed: Rows, schema: pa.Schema) -> Rows:
        """The planned columns; empty text where no text is planned becomes null, and what the sample did not have is told."""
        columns: list[pa.Array] = []
        misfits: dict[int, str] = {}
        there = parsed.batch.schema.names
        for planned in schema:
            if planned.name not in there:
                columns.append(pa.nulls(parsed.batch.num_rows, planned.type))
                continue
            texts = parsed.batch.column(planned.name)
            if family(planned.type) not in ("text", "bytes"):
                texts = _without_empty(texts) if parsed.quoted else texts
                wrong = None if planned.name in self.declared else altered(texts, planned.type)
                if wrong is not None:
                    message = _ALTERED.format(name=planned.name, kind=planned.type)
                    for place in np.flatnonzero(wrong).tolist():
                        misfits[place] = f"{misfits[place]}; {message}" if place in misfits else message
            columns.append(texts)
        batch = pa.RecordBatch.from_arrays(columns, names=schema.names)
        return Rows(batch, parsed.lines, parsed.bad, misfits=misfits)


_NO_LINES = pa.array([], pa.int64())


def _nothing(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], pa.string()) for _ in schema], names=schema.names)


def _without_empty(texts: pa.Array) -> pa.Array:
    empty = pc.equal(pc.binary_length(texts), 0)
    return pc.if_else(empty, None, texts) if pc.any(empty).as_py() else texts


def _chained(first: list[Block], rest: Iterator[Block | Misread]) -> Iterator[Block | Misread]:
    yield from first
    yield from rest
