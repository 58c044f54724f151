"""Reads JSON Lines: an object a line, its keys as columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.kinds import is_list
from beam_pipelines.errors import Code
from beam_pipelines.io.files.json_kinds import as_text, as_written, finished, kind_of, merged
from beam_pipelines.io.files.json_text import LineError, Number, loads, text, word
from beam_pipelines.io.files.records import Block, Dialect, Misread
from beam_pipelines.io.files.text import Bad, Rows, TextSource, is_text

__all__ = ["JsonLinesSource"]

# Arrow takes these for numbers; JSON has no such words.
_NO_JSON = re.compile(rb"[:\[,]\s*-?(?:NaN|Inf)")
_FEW, _PARTS = 2000, 8  # lines of a block that is not cut again, and parts of one that is
_OPEN, _CLOSED, _LF, _CR = b"{}\n\r"


class JsonLinesSource(TextSource):
    """JSON Lines files of this machine.

    Lines that Arrow reads as the planned columns are read by it, a block at a time; a block in which one is not is read line by line, and
    comes to the same. A key that is no column makes its line a dead letter, a key that a line lacks is null. A column of text takes every
    value: what is no text as its JSON.
    """

    format: ClassVar[str] = "jsonl"
    shown: ClassVar[str] = "JSON Lines"
    foreign: ClassVar[tuple[str, ...]] = ("header", "delimiter", "quote", "null_values")

    def dialect(self, path: Path) -> Dialect:  # noqa: ARG002
        return Dialect(longest=self.longest)

    def head(self, path: Path, pieces: Iterator[Block | Misread], limit: int) -> tuple[tuple[str, ...], Any, int]:  # noqa: ARG002
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

    def rows(self, path: Path, pieces: Iterator[Block | Misread], schema: pa.Schema) -> Iterator[Rows]:  # noqa: ARG002
        reader = _Lines(schema, frozenset(self.declared))
        for piece in pieces:
            if isinstance(piece, Misread):
                yield Rows(reader.nothing, pa.array([], pa.int64()), [self.misread(piece)])
            else:
                yield from reader.read(piece)


class _MisfitError(ValueError):
    """A value that is not of its column's type."""


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
        self._takers = {field.name: _taker(field.type, strict=field.name not in declared) for field in schema}
        self._kinds = {field.name: field.type for field in schema}
        self.nothing = pa.RecordBatch.from_pylist([], self._slow)

    def read(self, block: Block) -> Iterator[Rows]:
        batch = self._at_once(block)
        if batch is not None:
            yield Rows(batch, pa.array(np.arange(block.line, block.line + batch.num_rows, dtype=np.int64)))
        elif block.breaks < _FEW:
            yield self._by_line(block)
        else:
            # A bad line costs those around it the way of many at once, not the whole block.
            starts = block.starts()
            edges = starts[np.linspace(0, len(starts) - 1, _PARTS + 1).astype(np.int64)]
            for start, end, line in zip(edges[:-1].tolist(), edges[1:].tolist(), block.lines_of(edges[:-1]).tolist(), strict=True):
                part = block.part(start, end, line)
                batch = self._at_once(part)
                lines = np.arange(line, line + (batch.num_rows if batch is not None else 0), dtype=np.int64)
                yield self._by_line(part) if batch is None else Rows(batch, pa.array(lines))

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
            except (LineError, _MisfitError) as no:
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
            raise LineError(_OTHER_KEY)
        row = []
        for name, taken in self._takers.items():
            value = found.get(name)
            try:
                row.append(None if value is None else taken(value))
            except _MisfitError as no:
                raise _MisfitError(f"column {name!r}: {no}") from None
        return row


_OTHER_KEY = "expected the keys that the sample has, got another: declare it in `columns`, or raise sampleRows"


def _taker(kind: pa.DataType, *, strict: bool) -> Callable[[Any], Any]:
    """What makes a value (never null) of a column into text in the column's shape, for the read step to cast.

    The function raises `_MisfitError` when the value is of another shape, or `LineError` for a key that is no field.
    """
    if is_list(kind):
        item = _taker(kind.value_type, strict=strict)
        return lambda value: [None if one is None else item(one) for one in _expect(value, list, kind)]
    if pa.types.is_map(kind):
        item = _taker(kind.item_type, strict=strict)
        return lambda value: [(key, None if one is None else item(one)) for key, one in _expect(value, dict, kind).items()]
    if pa.types.is_struct(kind):
        return _Struct({field.name: _taker(field.type, strict=strict) for field in kind}, kind)
    what = family(kind)
    if what == "json":
        return text
    if what == "text":
        return lambda value: value if type(value) is str else text(value)
    return _Scalar(kind, what, strict)


def _expect(value: Any, shape: type, kind: pa.DataType) -> Any:
    if not isinstance(value, shape):
        raise _MisfitError(f"expected {kind}, got {word(value)}")
    return value


@dataclass(frozen=True)
class _Struct:
    fields: dict[str, Callable[[Any], Any]]
    kind: pa.DataType

    def __call__(self, value: Any) -> dict[str, Any]:
        _expect(value, dict, self.kind)
        if not value.keys() <= self.fields.keys():
            raise LineError(_OTHER_KEY)
        return {name: taken(value[name]) for name, taken in self.fields.items() if value.get(name) is not None}


@dataclass(frozen=True)
class _Scalar:
    kind: pa.DataType
    what: str
    strict: bool

    def __call__(self, value: Any) -> str:
        own = isinstance(value, bool) if self.what == "bool" else isinstance(value, Number)
        if isinstance(value, (list, dict)) or (self.strict and not own):
            raise _MisfitError(f"expected {self.kind}, got {word(value)}")
        return text(value) if isinstance(value, bool) else str(value)
