"""Whole records of a file of text, as they stand there, and what is no record."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from beam_pipelines.io.files.text.dialect import NONE, Dialect, Positions, count_lines, line_ends

__all__ = ["HEAD_BYTES", "Block", "Misread", "misread"]

HEAD_BYTES = 64 * 1024  # what is kept of a record that is too long


@dataclass(frozen=True)
class Misread:
    """A record that is none.

    Args:
        line: Of its beginning, from 1.
        text: It, or its first 64 KiB.
        size: Its bytes.
        reason: What is wrong with it.
        long: It is longer than a record may be.
    """

    line: int
    text: bytes
    size: int
    reason: str
    long: bool = False


def misread(text: bytes, line: int, reason: str, *, long: bool = False) -> Misread:
    """What is told of a record that is none.

    Args:
        text: Of the file.
        line: Of its beginning.
        reason: What is wrong with it.
        long: It is longer than a record may be.
    """
    text = text.rstrip(b"\r\n")
    return Misread(line, text[:HEAD_BYTES], len(text), reason, long or len(text) > HEAD_BYTES)


@dataclass(frozen=True)
class Block:
    """Whole records.

    Args:
        data: Their bytes, with line ends.
        line: Of the first, from 1.
        dialect: Of the file.
        quotes: Where quoted parts begin and end.
        gaps: Where lines are left out that stand in the file, and how many up to there.
    """

    data: bytes
    line: int
    dialect: Dialect
    quotes: tuple[Positions, Positions] = field(default=(NONE, NONE))
    gaps: tuple[Positions, Positions] = field(default=(NONE, NONE))

    @cached_property
    def breaks(self) -> int:
        """How many lines end in it; a record with line breaks in it has several."""
        return count_lines(self.data, self.dialect)

    def starts(self) -> Positions:
        """Where its records start, empty ones included, and behind them where the last one ends."""
        ends = self._line_ends
        opens, closes = self.quotes
        if len(opens):
            before = np.searchsorted(opens, ends) - 1
            ends = ends[(before < 0) | (closes[np.maximum(before, 0)] < ends)]
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends + 1])
        return starts if starts[-1] >= len(self.data) else np.append(starts, len(self.data))

    def lines_of(self, starts: Positions) -> Positions:
        """The lines in which records start."""
        lines: Positions = self.line + np.searchsorted(self._line_ends, starts)
        places, left_out = self.gaps
        return lines + np.append(0, left_out)[np.searchsorted(places, starts, side="right")] if len(places) else lines

    def fields(self, starts: Positions) -> Positions:
        """How many fields each record has."""
        places = np.flatnonzero(np.frombuffer(self.data, np.uint8) == self.dialect.delimiter[0])
        opens, closes = self.quotes
        if len(opens):
            before = np.searchsorted(opens, places) - 1
            places = places[(before < 0) | (closes[np.maximum(before, 0)] < places)]
        found: Positions = np.diff(np.searchsorted(places, starts)) + 1
        return found

    @cached_property
    def _line_ends(self) -> Positions:
        return line_ends(np.frombuffer(self.data, np.uint8), self.dialect)

    def part(self, start: int, end: int, line: int) -> Block:
        """Some of its records, given where they start and end."""
        opens, closes = self.quotes
        low, high = np.searchsorted(opens, [start, end])
        quotes = opens[low:high] - start, closes[low:high] - start
        places, left_out = self.gaps
        first, last = np.searchsorted(places, start, side="right"), np.searchsorted(places, end)
        gaps = places[first:last] - start, left_out[first:last] - (left_out[first - 1] if first else 0)
        return Block(self.data[start:end], line, self.dialect, quotes, gaps)
