"""What a step puts aside for outputs of its own, staged as it comes: blocks of rows, in the one schema that every target stages.

A target's staging takes the types that the target has. These rows are of other types, for another target, so they travel as text, like the
payload of a dead letter: batches of Arrow IPC in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timezone

import pyarrow as pa

from beam_pipelines.columnar import dead, ipc, size
from beam_pipelines.columnar.compact import compact
from beam_pipelines.io.connector import Stager, Target
from beam_pipelines.runs.facts import Aside
from beam_pipelines.runs.names import StagingName, new_attempt

__all__ = ["AsideBox", "blocks"]

_BYTES = 2 * 1024 * 1024  # of a block before it is packed: some of them are held in memory, and a statement may have one as a parameter
_ROWS = 16_384


class AsideBox:
    """Rows of one bundle and load for one output; little of them is in memory."""

    def __init__(self, target: Target, service: str, run: str, load: str, step: str, output: str) -> None:
        self._target, self._name = target, str(StagingName.of(service, run, new_attempt()))
        self._load, self._step, self._output = load, step, output
        self._stager: Stager | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._waiting_rows = self._waiting_bytes = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Put rows aside."""
        rows = rows.replace_schema_metadata(None)
        for part in size.split(rows, _ROWS, _BYTES):
            bytes_ = size.slice_bytes(part)
            full = self._waiting_rows + part.num_rows > _ROWS or self._waiting_bytes + bytes_ > _BYTES
            if self._waiting and (full or not self._waiting[0].schema.equals(part.schema)):
                self._flush()
            self._waiting.append(compact(part))  # of a slice of a batch, the batch is not held
            self._waiting_rows += part.num_rows
            self._waiting_bytes += bytes_

    def _flush(self) -> None:
        if self._stager is None:
            self._stager = self._target.stager(self._name, dead.SCHEMA, 0)
        rows = pa.concat_batches(self._waiting)
        # One block a call: each may be as large as the target takes of one statement.
        self._stager.write(_block(rows, self._load, self._step, self._output))
        self._rows += rows.num_rows
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    def finish(self) -> Aside:
        if self._waiting:
            self._flush()
        assert self._stager is not None  # it is made for rows
        return Aside(self._output, self._stager.finish(), self._rows)

    def abort(self) -> None:
        if self._stager:
            self._stager.abort()


def _block(rows: pa.RecordBatch, load: str, step: str, output: str) -> pa.RecordBatch:
    packed = base64.b64encode(ipc.encode(rows, "zstd")).decode()
    row = {"load": load, "step": step, "at": datetime.now(timezone.utc), "code": output, "message": str(rows.num_rows), "origin": "{}"}
    return pa.RecordBatch.from_pylist([{**row, "payload": packed}], schema=dead.SCHEMA)


def blocks(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Open the blocks of a staged batch, one at a time."""
    for packed in batch.column("payload"):
        yield ipc.decode(base64.b64decode(packed.as_py()))
