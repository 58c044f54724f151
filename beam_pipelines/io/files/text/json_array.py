"""Reads JSON: one array of objects, their keys as columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import origin
from beam_pipelines.io.files.text.block import Block, Misread
from beam_pipelines.io.files.text.elements import ArrayError, elements
from beam_pipelines.io.files.text.jsonl import JsonLinesSource
from beam_pipelines.io.files.text.records import BLOCK_BYTES
from beam_pipelines.io.files.text.stream import TextStream, unreadable
from beam_pipelines.io.objects.store import Stored

__all__ = ["JsonSource"]


class JsonSource(JsonLinesSource):
    """JSON files of this machine, each an array.

    Its elements are read as the lines of JSON Lines are. A file that is no array, or ends before it does, stops the run.
    """

    format: ClassVar[str] = "json"
    shown: ClassVar[str] = "JSON"

    def pieces(self, stream: TextStream, path: Stored, size: int = BLOCK_BYTES) -> Iterator[Block | Misread]:
        try:
            yield from elements(stream.read, self.longest, size)
        except ArrayError as bad:
            raise unreadable(path, bad, "it is no array of JSON, or not the whole of one") from bad

    def splits(self, path: Stored) -> bool:  # noqa: ARG002 (whatever it is)
        return False

    def attached(self, batch: pa.RecordBatch, label: str, lines: pa.Array) -> pa.RecordBatch:
        made = origin.attach(batch, label, lines=pc.subtract(lines, pa.scalar(1, pa.int64())))
        return made.rename_columns([origin.ROW if name == origin.LINE else name for name in made.schema.names])
