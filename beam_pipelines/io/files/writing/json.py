"""Writes JSON: an object a line, or one array of objects.

Values are those of `columnar.plain`: decimals are text, so that none loses digits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.convert import decoded, family
from beam_pipelines.columnar.json_text import json_objects, json_texts
from beam_pipelines.columnar.plain import plain
from beam_pipelines.columnar.text_data import data_of
from beam_pipelines.io.files.writing.sink import CHUNK, compressed, copied, decompressed

__all__ = ["JsonArrayWriter", "JsonLinesWriter", "json_rows"]

_TEXT = pa.string()
_NOTHING, _NEXT, _END = (pa.scalar(text, _TEXT) for text in ("", ",\n", "\n"))


class _Objects(ABC):
    """Writes rows as objects.

    Args:
        sink: Where to.
        schema: Of every batch.
        compression: `gzip`, `bz2`, `zstd`, or None.
    """

    begin: ClassVar[bytes] = b""
    end: ClassVar[bytes] = b""

    def __init__(self, sink: Any, schema: pa.Schema, compression: str | None = None) -> None:
        self._schema, self._compression = schema, compression
        self._some = self._ended = False
        self._out = compressed(sink, compression)
        if self.begin:
            self._out.write(self.begin)

    def write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        self._add(json_rows(batch))
        self._some = True

    @abstractmethod
    def _add(self, objects: pa.Array) -> None:
        """Write objects, with what stands between them."""

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self.end:
            self._out.write(self.end)
        if self._compression:
            self._out.close()


def json_rows(batch: pa.RecordBatch) -> pa.Array:
    """The rows of a batch as texts, an object each."""
    return json_objects(batch.schema.names, [_texts(decoded(column)) for column in batch.columns], batch.num_rows)


def _texts(values: pa.Array) -> pa.Array:
    if family(values.type) != "json":
        return json_texts(values)
    return pa.array(["null" if text is None else _document(text) for text in plain(values)], _TEXT)


def _document(text: str) -> str:
    """JSON that is a value already, in one line; what is none becomes a text."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return orjson.dumps(text).decode()
    return text.replace("\n", " ").replace("\r", " ")  # outside of texts, where they are blanks


class JsonLinesWriter(_Objects):
    """Writes one file of JSON Lines."""

    def _add(self, objects: pa.Array) -> None:
        self._out.write(data_of(pc.binary_join_element_wise(objects, _END, _NOTHING)))

    def append(self, path: str) -> None:
        with decompressed(path, self._compression) as source:
            copied(source, self._out)


class JsonArrayWriter(_Objects):
    """Writes one file that is an array of objects, each in a line of its own."""

    begin = b"["
    end = b"\n]\n"

    def _add(self, objects: pa.Array) -> None:
        data = pa.py_buffer(data_of(pc.binary_join_element_wise(_NEXT, objects, _NOTHING)))
        self._out.write(data if self._some else data.slice(1))

    def append(self, path: str) -> None:
        with decompressed(path, self._compression) as source:
            first = source.read(len(self.begin) + len(self.end))
            more = source.read(CHUNK)
            if not more:
                return
            if self._some:
                self._out.write(b",")
            self._some = True
            _Rest(first[len(self.begin) :] + more, source).copy_to(self._out, len(self.end))


class _Rest:
    """What was read of a stream already, and what follows it."""

    def __init__(self, first: bytes, source: Any) -> None:
        self._first, self._source = first, source

    def read(self, size: int) -> bytes:
        first, self._first = self._first, b""
        return first or bytes(self._source.read(size))

    def copy_to(self, sink: Any, hold: int) -> None:
        """Copy all of it but its last `hold` bytes."""
        copied(self, sink, hold=hold)
