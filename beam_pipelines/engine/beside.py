"""Batches that wait in this process until another stage wants them, in the place of bytes that go through Beam.

Beam's local runner copies what goes from stage to stage about a dozen times (4 ms of processor time a MB, measured with Beam 2.77), and to
pack it first takes as long. Where all workers are this process (`room`), batches stay where they are, up to a bound; what is beyond it, and
all of it on any other runner, is packed and goes the usual way.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar import ipc
from beam_pipelines.engine.shuffle import COMPRESSION

__all__ = ["ROOM", "begin", "begun", "clear", "packed", "room", "unpacked"]

ROOM = 128 << 20  # bytes that wait here at most

_lock = threading.Lock()
_waiting: dict[str, pa.RecordBatch] | None = None  # None: workers may be elsewhere
_left = 0
_begun: dict[str, Future[Any]] = {}


@contextlib.contextmanager
def room() -> Iterator[None]:
    """Let batches wait here until the block ends: of a runner that works in this process alone. One run at a time in a process does so."""
    global _waiting, _left
    with _lock:
        before = _waiting, _left
        _waiting, _left = {}, ROOM
    try:
        yield
    finally:
        clear()
        with _lock:
            _waiting, _left = before


def clear() -> None:
    """Drop all that waits here: nothing will ask for it any more."""
    with _lock:
        if _waiting is not None:
            _waiting.clear()
        for work in _begun.values():
            work.cancel()
        _begun.clear()


def packed(name: str, batch: pa.RecordBatch, compression: str | None = COMPRESSION) -> bytes:
    """Return a batch as bytes, none where it waits here.

    Args:
        name: Unlike any other.
        batch: It may be asked for several times, as a bundle that fails is carried out again.
        compression: Of the bytes.
    """
    global _left
    size = batch.get_total_buffer_size()
    with _lock:
        if _waiting is not None and size <= _left:
            _waiting[name] = batch
            _left -= size
            return b""
    return ipc.encode(batch, compression)


def unpacked(name: str, data: bytes) -> pa.RecordBatch:
    """Return the batch of a name again."""
    if data:
        return ipc.decode(data)
    assert _waiting is not None  # nobody else makes no bytes of a batch
    return _waiting[name]


def begin(name: str, work: Future[Any]) -> None:
    """Say that work has begun on a batch that waits here, before the stage that wants it."""
    with _lock:
        _begun[name] = work


def begun(name: str) -> Any | None:
    """What came of the work on a batch, once it is done; None: there is none, or it was not its turn, and will not be."""
    with _lock:
        work = _begun.pop(name, None)
    return None if work is None or work.cancel() else work.result()
