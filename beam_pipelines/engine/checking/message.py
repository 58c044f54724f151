"""What travels between the parts: keys of a batch to a shard, the shard's answer, and the stamp that a batch keeps while it waits."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import BoundedWindow, IntervalWindow
from apache_beam.utils.timestamp import Timestamp

from beam_pipelines.columnar import ipc
from beam_pipelines.columnar.hashing import Words
from beam_pipelines.rules.checker import Told
from beam_pipelines.rules.judgement import Positions
from beam_pipelines.rules.key.unique import Repeats

__all__ = ["MS", "Answer", "KeyBlock", "Stamp", "last_instant", "read_span", "span_of"]

MS = 1_000  # microseconds

_STAMP = b"bp:stamp"
_HIGH, _LOW, _ROW = "high", "low", "row"
# A letter, with which no Arrow stream begins; place of the rule, rows that cannot be told, keys, members.
_ANSWER = struct.Struct("<cqqqq")
_LETTER = b"A"


def span_of(window: BoundedWindow) -> tuple[int, int]:
    """Return the start of a window and the end of it, which is no part of it, in microseconds since 1970."""
    if isinstance(window, IntervalWindow):
        return int(window.start.micros), int(window.end.micros)
    return int(window.start.micros), int(window.max_timestamp().micros) + 1  # the global window


def last_instant(span: tuple[int, int]) -> int:
    """Return the last whole millisecond of a window, in microseconds since 1970: runners cut the times of elements and timers to those."""
    return (span[1] - 1) // MS * MS


def read_span(span: tuple[int, int]) -> IntervalWindow:
    """Return the window of a span, which is not the global one."""
    return IntervalWindow(Timestamp(micros=span[0]), Timestamp(micros=span[1]))


@dataclass(frozen=True)
class Stamp:
    """Which batch rows are of.

    Args:
        name: Of the batch.
        time: Of its element, microseconds since 1970.
        span: Of its window.
    """

    name: str
    time: int
    span: tuple[int, int]

    def on(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with the stamp in its metadata."""
        text = f"{self.name} {self.time} {self.span[0]} {self.span[1]}"
        return batch.replace_schema_metadata({**(batch.schema.metadata or {}), _STAMP: text.encode()})

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> Stamp:
        name, time, start, end = batch.schema.metadata[_STAMP].decode().split(" ")
        return cls(name, int(time), (int(start), int(end)))

    @staticmethod
    def off(batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch as it was before `on`."""
        left = {key: value for key, value in batch.schema.metadata.items() if key != _STAMP}
        return batch.replace_schema_metadata(left or None)


@dataclass(frozen=True)
class KeyBlock:
    """Keys of a batch that are of one shard.

    Args:
        stamp: Of the batch.
        high: First words of their digests.
        low: Second words.
        rows: Their positions in the batch, ascending.
        beside: Columns beside them.
    """

    stamp: Stamp
    high: Words
    low: Words
    rows: Positions
    beside: pa.RecordBatch

    def to_bytes(self) -> bytes:
        first = [pa.array(self.high), pa.array(self.low), pa.array(self.rows.astype(np.int32))]
        whole = pa.RecordBatch.from_arrays([*first, *self.beside.columns], names=[_HIGH, _LOW, _ROW, *self.beside.schema.names])
        return ipc.encode(self.stamp.on(whole))

    @classmethod
    def from_bytes(cls, data: bytes) -> KeyBlock:
        whole = ipc.decode(data)
        high, low = (np.asarray(whole.column(name)) for name in (_HIGH, _LOW))
        rows = np.asarray(whole.column(_ROW)).astype(np.int64)
        return cls(Stamp.of(whole), high, low, rows, whole.select(whole.schema.names[3:]))


@dataclass(frozen=True)
class Answer:
    """What a shard tells of a batch.

    Args:
        place: Of the rule.
        told: Of the rows of this shard.
    """

    place: int
    told: Told

    def to_bytes(self) -> bytes:
        repeats = self.told.repeats
        return _ANSWER.pack(_LETTER, self.place, self.told.unknown, repeats.keys, repeats.members) + repeats.rows.astype(np.int32).tobytes()

    @staticmethod
    def is_one(data: bytes) -> bool:
        """Whether it is an answer, and not a batch."""
        return data[:1] == _LETTER

    @classmethod
    def from_bytes(cls, data: bytes) -> Answer:
        _, place, unknown, keys, members = _ANSWER.unpack_from(data)
        rows = np.frombuffer(data, dtype=np.int32, offset=_ANSWER.size).astype(np.int64)
        return cls(place, Told(Repeats(rows, keys, members), unknown))

    def __add__(self, other: Answer) -> Answer:
        mine, theirs = self.told.repeats, other.told.repeats
        rows = np.sort(np.concatenate([mine.rows, theirs.rows]))
        repeats = Repeats(rows, mine.keys + theirs.keys, mine.members + theirs.members)
        return Answer(self.place, Told(repeats, self.told.unknown + other.told.unknown))
