"""Writes Avro object container files: fields that may be null, rows in blocks of about 64 KiB before compression."""

from __future__ import annotations

import hashlib
import json
from typing import IO, Any, cast

import fastavro
import pyarrow as pa
from fastavro.write import Writer

from beam_pipelines.columnar.convert import decoded
from beam_pipelines.columnar.plain import plain
from beam_pipelines.io.files.avro.blocks import read_header
from beam_pipelines.io.files.avro.types import avro_schema, base_type
from beam_pipelines.io.files.writing.sink import copied

__all__ = ["AvroWriter"]

_BLOCK_BYTES = 64 * 1024


class AvroWriter:
    """Writes one file.

    Args:
        sink: Where to.
        schema: Of every batch, of types that `avro_types.kept` gave.
        codec: `null`, `deflate`, `bzip2`, `zstandard` or `snappy`.
    """

    def __init__(self, sink: Any, schema: pa.Schema, codec: str = "deflate") -> None:
        told = avro_schema(schema)
        self._names, self._sink = schema.names, sink
        # The mark between blocks is that of all files of the same schema, so that blocks may be copied from one to another.
        mark = hashlib.md5(json.dumps([told, codec]).encode(), usedforsecurity=False).digest()
        self._writer = Writer(
            cast(IO[bytes], _Plain(sink)), fastavro.parse_schema(told), codec, sync_interval=_BLOCK_BYTES, sync_marker=mark
        )

    def write(self, batch: pa.RecordBatch) -> None:
        names, write = self._names, self._writer.write
        columns = [_values(decoded(column)) for column in batch.columns]
        for row in zip(*columns, strict=True):
            write(dict(zip(names, row, strict=True)))

    def append(self, path: str) -> None:
        self._writer.flush()
        with pa.OSFile(path) as source:
            read_header(source)
            copied(source, self._sink)

    def close(self) -> None:
        self._writer.flush()


class _Plain:
    """What fastavro needs of a sink, whatever else it can: it would append to one that can be sought in."""

    def __init__(self, sink: Any) -> None:
        self.write = sink.write

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        """The sink is flushed by who closes it."""


def _values(array: pa.Array) -> list[Any]:
    """Values as Avro's base types: instants, dates and times are numbers, identifiers text."""
    if isinstance(array, pa.ExtensionArray):
        return plain(array)
    kind = base_type(array.type)
    values: list[Any] = (array if kind == array.type else array.cast(kind)).to_pylist(maps_as_pydicts="strict")
    return values
