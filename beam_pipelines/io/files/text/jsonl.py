"""Reads JSON Lines: an object a line, its keys as columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from beam_pipelines.errors import Code
from beam_pipelines.io.files.text.block import Block, Misread
from beam_pipelines.io.files.text.dialect import Dialect
from beam_pipelines.io.files.text.json_kinds import as_text, as_written, finished, kind_of, merged
from beam_pipelines.io.files.text.json_text import LineError, loads
from beam_pipelines.io.files.text.json_values import OTHER_KEY, ShapeError, taken_row, taker
from beam_pipelines.io.files.text.rows import Bad, Rows, is_text
from beam_pipelines.io.files.text.source import TextSource
from beam_pipelines.io.objects.store import Stored

__all__ = ["JsonLinesSource"]

# Arrow takes these for numbers; JSON has no such words.
_NO_JSON = re.compile(rb"[:\[,]\s*-?(?:NaN|Inf)")
_FEW, _PARTS = 500, 8  # lines of a block that is not cut again, and parts of one that is
_OPEN, _CLOSED, _LF, _CR = b"{}\n\r"


class JsonLinesSource(TextSource):
    """JSON Lines files of this machine or of a bucket.

    Lines that Arrow reads as the planned columns are read by it, a block at a time; a block in which one is not is read line by line, and
    comes to the same. A key that is no column makes its line a dead letter, a key that a line lacks is null. A column of text takes every
    value: what is no text as its JSON.
    """

    format: ClassVar[str] = "jsonl"
    shown: ClassVar[str] = "JSON Lines"
    foreign: ClassVar[tuple[str, ...]] = ("header", "delimiter", "quote", "quoted_newlines", "null_values")

    def dialect(self, path: Stored) -> Dialect:  # noqa: ARG002
        return Dialect(longest=self.longest)

    def head(self, path: Stored, pieces: Iterator[Block | Misread], limit: int) -> tuple[tuple[str, ...], Any, int]:  # noqa: ARG002
        kinds: dict[str, list[pa.DataType]] = {}
        count = seen = 0
        for piece in pieces:
            seen += piece.breaks if isinstance(piece, Block) else 0
            for line in piece.data.split(b"\n") if isinstance(piece, Block) else ():
                if count == limit:
                    break
                try:
                    row = loads(line) if line.strip() else {}
                except LineError:
                    continue
                count += bool(line.strip())
                for name, value in row.items():
                    kinds.setdefault(name, []).append(kind_of(value))
            if count == limit:
                break
        return tuple(kinds), {name: merged(found) for name, found in kinds.items()}, seen if count == limit else count

    def inferred(self, name: str, samples: Sequence[Any]) -> pa.DataType:
        return finished(merged(sample[name] for sample in samples))

    def may_lack(self, heads: Sequence[Any]) -> bool:  # noqa: ARG002 (a key need not be in every line)
        return True

    def rows(self, path: Stored, pieces: Iterator[Block | Misread], schema: pa.Schema, *, later: bool = False) -> Iterator[Rows]:  # noqa: ARG002
        reader = _Lines(schema, frozenset(self.declared))
        for piece in pieces:
            if isinstance(piece, Misread):
                yield Rows(reader.nothing, pa.array([], pa.int64()), [self.misread(piece)])
            else:
                yield from reader.read(piece)


class _Lines:
    """Makes blocks of lines into the planned columns.

    Args:
        schema: Planned.
        declared: Columns whose type the definition says: they take text that reads as their type, the others what the sample has alone.
    """

    def __init__(self, schema: pa.Schema, declared: frozenset[str]) -> None:
        self._names = schema.names
        parts = [(field.name, as_written(field.type)) for field in schema]
        self._fast = None if any(part is None for _, part in parts) else pa.schema(parts)
        self._slow = pa.schema([(field.name, as_text(field.type)) for field in schema])
        self._takers = {field.name: taker(field.type, strict=field.name not in declared) for field in schema}
        self._kinds = {field.name: field.type for field in schema}
        self.nothing = pa.RecordBatch.from_pylist([], self._slow)

    def read(self, block: Block) -> Iterator[Rows]:
        batch = self._at_once(block)
        if batch is not None:
            yield _numbered(batch, block)
        else:
            yield from self._apart(block)

    def _apart(self, block: Block) -> Iterator[Rows]:
        """Read a block in which a line is no row: by its parts, so that the line costs those around it alone the way of many at once."""
        if block.breaks < _FEW:
            yield self._by_line(block)
            return
        starts = block.starts()
        edges = starts[np.linspace(0, len(starts) - 1, _PARTS + 1).astype(np.int64)]
        places = zip(edges[:-1].tolist(), edges[1:].tolist(), block.lines_of(edges[:-1]).tolist(), strict=True)
        parts = [block.part(start, end, line) for start, end, line in places]
        batches = [self._at_once(part) for part in parts]
        if all(batch is None for batch in batches):
            yield self._by_line(block)
            return
        for part, batch in zip(parts, batches, strict=True):
            if batch is None:
                yield from self._apart(part)
            else:
                yield _numbered(batch, part)

    def _at_once(self, block: Block) -> pa.RecordBatch | None:
        """All rows of a block; None when one may be none.

        Lines that begin and end with a brace, and are read as as many objects as there are lines, are an object each: no object goes on
        behind a closing brace and an end of line with an opening one.
        """
        data = block.data
        if self._fast is None or not is_text(data) or ((b"NaN" in data or b"Inf" in data) and _NO_JSON.search(data)):
            return None
        array = np.frombuffer(data, np.uint8)
        starts = block.starts()
        last = starts[1:] - 1
        if not last.size or (starts[1:] - starts[:-1] < 2).any():
            return None
        last = last - (array[last] == _LF)
        last = last - (array[last] == _CR)
        if not ((array[starts[:-1]] == _OPEN).all() and (array[last] == _CLOSED).all()):
            return None
        try:
            table = pj.read_json(
                pa.BufferReader(data),
                pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
                pj.ParseOptions(explicit_schema=self._fast, unexpected_field_behavior="error"),
            )
        except (pa.ArrowException, UnicodeDecodeError):
            return None
        if table.num_rows != len(last):
            return None
        columns = [table[name].combine_chunks() for name in self._names]
        return pa.RecordBatch.from_arrays(columns, names=self._names)

    def _by_line(self, block: Block) -> Rows:
        values: dict[str, list[Any]] = {name: [] for name in self._names}
        lines: list[int] = []
        bad: list[Bad] = []
        for number, line in enumerate(block.data.split(b"\n"), block.line):
            if not line.strip():
                continue
            try:
                row = self._row(line)
            except (LineError, ShapeError) as no:
                code: Code = "row-invalid" if isinstance(no, LineError) else "cast-failed"
                bad.append(Bad(number, line.rstrip(b"\r"), str(no), code))
                continue
            lines.append(number)
            for name, value in zip(self._names, row, strict=True):
                values[name].append(value)
        columns = [pa.array(values[field.name], field.type) for field in self._slow]
        return Rows(pa.RecordBatch.from_arrays(columns, schema=self._slow), pa.array(lines, pa.int64()), bad)

    def _row(self, line: bytes) -> list[Any]:
        found = loads(line)
        if not found.keys() <= self._takers.keys():
            raise LineError(OTHER_KEY)
        return taken_row(found, self._takers)


def _numbered(batch: pa.RecordBatch, block: Block) -> Rows:
    """Rows of a block that has one in each of its lines."""
    return Rows(batch, pa.array(np.arange(block.line, block.line + batch.num_rows, dtype=np.int64)))
