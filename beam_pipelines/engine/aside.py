"""What a step puts aside for outputs of its own, staged as it comes: blocks of rows, in the one schema that every target stages.

A target's staging takes the types that the target has. These rows are of other types, for another target, so they travel as text, like the
payload of a dead letter (`columnar.packed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

import pyarrow as pa

from beam_pipelines.columnar import dead, packed, size
from beam_pipelines.columnar.compact import compact
from beam_pipelines.io.connector import Stager, Target
from beam_pipelines.runs.facts import Aside
from beam_pipelines.runs.names import StagingName, new_attempt

__all__ = ["AsideBox", "blocks", "within"]

_BYTES = 2 * 1024 * 1024  # of a block before it is packed: some of them are held in memory
_ROWS = 16_384


class AsideBox:
    """Rows of one bundle and load for one output; little of them is in memory."""

    def __init__(self, target: Target, service: str, run: str, load: str, step: str, output: str) -> None:
        self._target, self._name = target, str(StagingName.of(service, run, new_attempt()))
        self._load, self._step, self._output = load, step, output
        self._stager: Stager | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._waiting_rows = self._waiting_bytes = 0
        self._texts: list[tuple[int, str]] = []  # rows of the block, and the block or a piece of it
        self._characters = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Put rows aside."""
        for part in within(rows.replace_schema_metadata(None)):
            bytes_ = size.slice_bytes(part)
            full = self._waiting_rows + part.num_rows > _ROWS or self._waiting_bytes + bytes_ > _BYTES
            if self._waiting and (full or not self._waiting[0].schema.equals(part.schema)):
                self._flush()
            self._waiting.append(compact(part))  # of a slice of a batch, the batch is not held
            self._waiting_rows += part.num_rows
            self._waiting_bytes += bytes_

    def block(self, rows: pa.RecordBatch) -> None:
        """Put rows aside that are a block of their own, as `within` cuts them; what their schema says beside is kept with them."""
        self._rows += rows.num_rows
        for text in packed.pack(rows):
            self._write(rows.num_rows, text)

    def stays(self, run: str, part: int) -> None:
        """Name a block, or a piece of it, that an earlier commit has kept: this one keeps it too."""
        self._write(0, packed.naming(run, part))

    def _flush(self) -> None:
        self.block(pa.concat_batches(self._waiting))
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    def _write(self, rows: int, text: str) -> None:
        # Small ones together; of large ones each may be all that the target takes of one statement.
        if self._texts and self._characters + len(text) > packed.PIECE:
            self._stage()
        self._texts.append((rows, text))
        self._characters += len(text)

    def _stage(self) -> None:
        if self._stager is None:
            self._stager = self._target.stager(self._name, dead.SCHEMA, 0)
        told = {"load": self._load, "step": self._step, "at": datetime.now(timezone.utc), "code": self._output, "origin": "{}"}
        self._stager.write(
            pa.RecordBatch.from_pylist([{**told, "message": str(rows), "payload": text} for rows, text in self._texts], schema=dead.SCHEMA)
        )
        self._texts, self._characters = [], 0

    def finish(self) -> Aside:
        if self._waiting:
            self._flush()
        if self._texts:
            self._stage()
        assert self._stager is not None  # it is made for rows
        return Aside(self._output, self._stager.finish(), self._rows)

    def abort(self) -> None:
        if self._stager:
            self._stager.abort()


def within(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut rows into what may be a block: in the same places whenever the rows are the same."""
    return size.split(rows, _ROWS, _BYTES)


def blocks(staged: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Open the blocks of what was staged, one at a time."""
    return packed.unpack(text.as_py() for batch in staged for text in batch.column("payload"))
