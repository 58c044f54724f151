"""A stretch of a file that is read by itself: which records are its own, and where it may be cut.

A record is of the stretch that holds the byte before its first one; the first stretch has the record at the beginning of the file as well.
So each is read once, wherever files are cut, as Hadoop's `LineRecordReader` has it.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from beam_pipelines.io.files.text.dialect import Dialect, count_lines

__all__ = ["LEAST", "Lines", "Stretch", "edges_of", "one_byte_a_line_end"]

LEAST = 1 << 20  # bytes of a stretch: each costs an opening
_LOOK = 64 * 1024


@dataclass(frozen=True)
class Stretch:
    """A part of a file.

    Args:
        part: Its number in the file, from 0.
        start: Its first byte.
        end: Behind its last one.
    """

    part: int
    start: int
    end: int

    @classmethod
    def of(cls, bounds: Mapping[str, Any]) -> Stretch | None:
        """That of a range; None: it is the whole file."""
        return cls(bounds["part"], bounds["start"], bounds["end"]) if "part" in bounds else None

    @property
    def bounds(self) -> dict[str, int]:
        """It, for the bounds of a range."""
        return {"part": self.part, "start": self.start, "end": self.end}


def edges_of(size: int, parts: int, least: int = 0) -> list[int]:
    """Where a file is cut into about equal stretches, its beginning and its end included.

    Args:
        size: Its bytes.
        parts: How many are wanted.
        least: Bytes that must stand before the first cut.
    """
    parts = max(1, min(parts, size // LEAST))
    inner = (size * place // parts for place in range(1, parts))
    return [0, *(edge for edge in inner if edge > least), size]


@lru_cache(maxsize=64)
def one_byte_a_line_end(encoding: str) -> bool:
    """Whether in text of an encoding each byte of LF and CR ends a line, whatever stands before it."""
    name = codecs.lookup(encoding).name
    if name in ("utf-8", "utf-8-sig", "ascii"):
        return True
    alone = []
    for byte in range(256):
        try:
            alone.append(codecs.getincrementaldecoder(name)("replace").decode(bytes([byte])))
        except (UnicodeError, ValueError):
            return False
    return all(len(text) == 1 for text in alone) and [at for at, text in enumerate(alone) if text in "\n\r"] == [10, 13]


class Lines:
    """The whole lines of a stretch of a file that is not compressed, as a stream.

    Args:
        file: Opened.
        stretch: Of it.
        dialect: Tells what ends a line.
    """

    def __init__(self, file: pa.NativeFile, stretch: Stretch, dialect: Dialect) -> None:
        self._file, self._stretch, self._dialect = file, stretch, dialect
        self._begun = self._ended = False
        self._held = b""
        self._at = 0
        self.part = stretch.part
        self.count = 0  # line ends that were read

    def read(self, size: int) -> bytes:
        """About so many bytes more, none at the end of the last line."""
        if not self._begun:
            self._begin()
        if self._ended:
            return b""
        data = self._next(size)
        at, self._at = self._at, self._at + len(data)
        if self._at > self._stretch.end and (behind := self._behind_line(data, max(0, self._stretch.end - at))):
            data, self._ended = data[:behind], True
        self.count += count_lines(data, self._dialect)
        return data

    def _begin(self) -> None:
        """Go behind the first line end of the stretch; a stretch in which no line begins has none."""
        self._begun = True
        if not self._stretch.part:
            return
        self._at = self._stretch.start
        self._file.seek(self._at)
        while self._at <= self._stretch.end and (data := self._next(_LOOK)):
            if behind := self._behind_line(data, 0):
                self._at += behind
                self._file.seek(self._at)
                self._held = b""
                self._ended = self._at > self._stretch.end
                return
            self._at += len(data)
        self._ended = True

    def _next(self, size: int) -> bytes:
        """More of the file; a carriage return at the end waits for what follows it, for the two may end one line."""
        while True:
            more = self._file.read(size)
            data, self._held = self._held + more, b""
            if more and self._dialect.returns and data.endswith(b"\r"):
                data, self._held = data[:-1], b"\r"
            if data or not more:
                return data

    def _behind_line(self, data: bytes, start: int) -> int:
        """Behind the first line end from a place on; 0: there is none."""
        end = data.find(b"\n", start)
        if self._dialect.returns:
            alone = data.find(b"\r", start, end if end >= 0 else len(data))
            if alone >= 0 and alone + 1 != end:
                end = alone
        return end + 1
