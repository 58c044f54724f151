"""Values of JSON: an object a message, its keys as columns."""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from beam_pipelines.errors import Code
from beam_pipelines.io.files.text.json_kinds import as_text, as_written, finished, kind_of, merged
from beam_pipelines.io.files.text.json_text import LineError, loads, refuse_twice
from beam_pipelines.io.files.text.json_values import ShapeError, taken_row, taker
from beam_pipelines.io.files.text.rows import is_text
from beam_pipelines.io.kafka.decode import Bad, Decoded, Positions, gathered, without_null

__all__ = ["JsonDecoder", "inferred"]

_LOG = logging.getLogger(__name__)
# Arrow takes these for numbers; JSON has no such words.
_NO_JSON = re.compile(rb"[:\[,]\s*-?(?:NaN|Inf)")
_OTHER_KEY = "expected the keys that are columns, got another: declare it in `columns`, or say unknownKeys: ignore"
_OPEN, _CLOSED = b"{}"
_FEW, _PARTS = 64, 8  # values that are not parted again, and parts of more
_NEARLY = 0.9  # of the values of a column
_SPACE = b" \t\r\n"
_LOOKED_AT, _TOLD = 50, 20  # values in which keys that are no columns are looked for, and how many of them are told
Part = tuple[Positions, pa.RecordBatch]


def inferred(values: Iterable[bytes]) -> pa.Schema:
    """Columns and types by a sample of values; those that are no object are left out.

    A column is of what nine in ten of its values are: one message of another type is a dead letter, and makes no text of all numbers.
    """
    kinds: dict[str, list[pa.DataType]] = {}
    for value in values:
        try:
            row = loads(value, lenient=True)
        except LineError:
            continue
        for name, item in row.items():
            kinds.setdefault(name, []).append(kind_of(item))
    return pa.schema([(name, finished(merged(_most(found)))) for name, found in kinds.items()])


def _most(kinds: list[pa.DataType]) -> list[pa.DataType]:
    """The types of one shape, where nearly all have it; else all."""
    known = [kind for kind in kinds if not pa.types.is_null(kind)]
    counts = Counter(map(_shape, known))
    if len(counts) < 2:
        return known
    shape, count = counts.most_common(1)[0]
    return [kind for kind in known if _shape(kind) == shape] if count >= _NEARLY * len(known) else known


def _shape(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    return "object" if pa.types.is_struct(kind) else "list" if pa.types.is_list(kind) else str(kind)


class JsonDecoder:
    """Makes objects into the planned columns.

    A key that a value lacks is null. A column of text takes every value: what is no text as its JSON.

    Args:
        schema: Planned.
        declared: Columns whose type the definition says: they take text that reads as their type, the others what the sample has alone.
        reject: A key that is no column makes its message a dead letter; else it is left out.
        topic: As the log names it.
    """

    def __init__(self, schema: pa.Schema, declared: Collection[str] = (), *, reject: bool = False, topic: str = "") -> None:
        self.schema = schema
        self._reject, self._topic = reject, topic
        parts = [(column.name, as_written(column.type)) for column in schema]
        self._fast = None if any(part is None for _, part in parts) else pa.schema(parts)
        self._slow = pa.schema([(column.name, as_text(column.type)) for column in schema])
        self._takers = {column.name: taker(column.type, strict=column.name not in declared, others=not reject) for column in schema}
        self._others = False  # keys that are no columns have come

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        there, places, bad = without_null(values)
        batch = self._at_once(there) if there else None
        if batch is not None:
            return gathered([(places, batch)], self.schema, bad)
        return gathered(list(self._decoded([value.strip(_SPACE) for value in there], places, bad)), self.schema, bad)

    def _decoded(self, values: list[bytes], places: Positions, bad: dict[int, Bad]) -> Iterator[Part]:
        """Rows by parts, so that a value that is none costs those around it alone the way of many at once."""
        batch = self._at_once(values) if values else None
        if batch is not None:
            yield places, batch
        elif len(values) <= _FEW:
            if values:
                yield self._by_value(values, places, bad)
        else:
            edges = np.linspace(0, len(values), _PARTS + 1).astype(np.int64).tolist()
            for start, end in itertools.pairwise(edges):
                yield from self._decoded(values[start:end], places[start:end], bad)

    def _at_once(self, values: list[bytes]) -> pa.RecordBatch | None:
        """All rows of some values; None when one may be none.

        Values that begin and end with a brace, and are read as as many objects as there are values, are an object each: no object goes on
        behind a closing brace and an end of line with an opening one, and no text of JSON has an end of line within it.
        """
        if self._fast is None:
            return None
        data = b"\n".join(values)
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        if int(sizes.min()) < 2 or not is_text(data) or ((b"NaN" in data or b"Inf" in data) and _NO_JSON.search(data)):
            return None
        ends = np.cumsum(sizes + 1) - 1
        array = np.frombuffer(data, np.uint8)
        if not ((array[ends - sizes] == _OPEN).all() and (array[ends - 1] == _CLOSED).all()):
            return None
        table = None
        if self._reject or not self._others:
            table = self._parsed(data, "error")
        if table is None and not self._reject:
            table = self._parsed(data, "ignore")
            if table is not None and not self._others:
                self._others = True
                self._tell(values)
        if table is None or table.num_rows != len(values):
            return None
        columns = [table[name].combine_chunks() for name in self.schema.names]
        return pa.RecordBatch.from_arrays(columns, names=self.schema.names)

    def _parsed(self, data: bytes, others: str) -> pa.Table | None:
        try:
            return pj.read_json(
                pa.BufferReader(data),
                pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
                pj.ParseOptions(explicit_schema=self._fast, unexpected_field_behavior=others),
            )
        except (pa.ArrowException, UnicodeDecodeError):
            return None

    def _tell(self, values: Sequence[bytes]) -> None:
        """Say once which keys are no columns."""
        found: dict[str, int] = {}
        for value in values[:_LOOKED_AT]:
            for name in loads(value, lenient=True).keys() - self._takers.keys():
                found[name] = found.get(name, 0) + 1
        names = ", ".join(repr(name) for name in sorted(found)[:_TOLD]) or "keys within objects"
        said = "messages of topic %r have keys that are no columns, and are left out: %s; declare them in `columns` to have them"
        _LOG.warning(said, self._topic, names)

    def _by_value(self, values: list[bytes], places: Positions, bad: dict[int, Bad]) -> Part:
        columns: dict[str, list[Any]] = {name: [] for name in self.schema.names}
        rows: list[int] = []
        for value, place in zip(values, places.tolist(), strict=True):
            try:
                row = self._row(value)
            except (LineError, ShapeError) as no:
                code: Code = "row-invalid" if isinstance(no, LineError) else "cast-failed"
                bad[place] = code, str(no)
                continue
            rows.append(place)
            for name, item in zip(columns, row, strict=True):
                columns[name].append(item)
        arrays = [pa.array(columns[column.name], column.type) for column in self._slow]
        return np.array(rows, np.int64), pa.RecordBatch.from_arrays(arrays, schema=self._slow)

    def _row(self, value: bytes) -> list[Any]:
        found = loads(value, lenient=not self._reject)
        refuse_twice(found, self._takers)
        if self._reject and not found.keys() <= self._takers.keys():
            raise LineError(_OTHER_KEY)
        return taken_row(found, self._takers)
