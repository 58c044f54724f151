"""A stream of text cut into blocks of whole records, whatever stands between quotes; records that are none are told apart.

Nothing is looked at byte by byte: quotes and line ends are found by numpy, and where every quote stands as it should (at the edge of a
field), each second one closes. Only a buffer that has others is walked through from quote to quote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK_BYTES", "Block", "Dialect", "Misread", "blocks"]

BLOCK_BYTES = 4 << 20
HEAD_BYTES = 64 * 1024  # what is kept of a record that is too long
_ROWS = 60_000  # of a block: below what a batch may have
_SMALLEST = 64 * 1024
_LF, _CR = 10, 13

Positions = npt.NDArray[np.int64]
_NONE: Positions = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Dialect:
    """How fields and records are told apart.

    Args:
        delimiter: One byte between fields; empty: a record is one field (JSON Lines).
        quote: One byte around a field that holds delimiters or line ends, and doubled within; empty: there are no quotes.
        longest: Bytes of the longest record.
    """

    delimiter: bytes = b""
    quote: bytes = b""
    longest: int = 32 << 20

    @property
    def returns(self) -> bool:
        """A carriage return ends a record: it is no blank of the format."""
        return bool(self.delimiter)


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
    quotes: tuple[Positions, Positions] = field(default=(_NONE, _NONE))
    gaps: tuple[Positions, Positions] = field(default=(_NONE, _NONE))

    @cached_property
    def breaks(self) -> int:
        """How many lines end in it; a record with line breaks in it has several."""
        return _count_lines(self.data, self.dialect)

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
        return _line_ends(np.frombuffer(self.data, np.uint8), self.dialect)

    def part(self, start: int, end: int, line: int) -> Block:
        """Some of its records, given where they start and end."""
        opens, closes = self.quotes
        low, high = np.searchsorted(opens, [start, end])
        quotes = opens[low:high] - start, closes[low:high] - start
        places, left_out = self.gaps
        first, last = np.searchsorted(places, start, side="right"), np.searchsorted(places, end)
        gaps = places[first:last] - start, left_out[first:last] - (left_out[first - 1] if first else 0)
        return Block(self.data[start:end], line, self.dialect, quotes, gaps)


def blocks(read: Callable[[int], bytes], dialect: Dialect, size: int = BLOCK_BYTES) -> Iterator[Block | Misread]:
    """Cut a stream into blocks, in order.

    A quoted field must end before a delimiter or a line end. One that does not, or that is not closed within `dialect.longest` bytes, costs
    the line in which it opens (from the beginning of its record): reading goes on with the next line.

    Args:
        read: Gives about so many bytes more, none at the end.
        dialect: How records are told apart.
        size: Bytes of a block, about; more when a record is longer.

    Yields:
        Blocks of at most about 60,000 records, and what is no record: before the block of the lines around it where it stands before all
        of its records, else behind it.
    """
    buffer, line, wanted = b"", 1, min(size, _SMALLEST)
    while True:
        more = read(wanted)
        buffer += more
        if not buffer:
            return
        found = _scan(buffer, dialect, last=not more)
        at = found.pieces[-1].end if found.pieces else 0
        block, told = _assembled(buffer, line, dialect, found)
        leading = sum(1 for _ in takewhile(lambda piece: piece.reason, found.pieces))
        yield from told[:leading]  # so that nobody takes the first row for the header that one of these was to be
        if block.data:
            wanted = int(min(size, max(_SMALLEST, len(block.data) / max(block.breaks, 1) * _ROWS)))
            yield from _bounded(block, wanted)
        yield from told[leading:]
        line += block.breaks + (int(block.gaps[1][-1]) if told else 0)
        buffer = buffer[at:]
        if not more:
            return
        if len(buffer) > dialect.longest:
            count = _count_lines(buffer, dialect) + 1
            skipped, buffer = _skipped(buffer, read, line)
            yield skipped
            line += count
        elif not found.pieces:
            # Twice as much, so that a long record is not looked through for each little piece.
            wanted = max(_SMALLEST, min(max(wanted, len(buffer)), dialect.longest + 1 - len(buffer)))


@dataclass(frozen=True)
class _Piece:
    start: int
    end: int
    reason: str = ""


@dataclass(frozen=True)
class _Scan:
    pieces: list[_Piece]
    opens: Positions = field(default_factory=lambda: _NONE)
    closes: Positions = field(default_factory=lambda: _NONE)


def _assembled(buffer: bytes, line: int, dialect: Dialect, found: _Scan) -> tuple[Block, list[Misread]]:
    """The records of a buffer in one block, and what is none: few rows at a time would cost more than all of them."""
    if len(found.pieces) == 1 and not found.pieces[0].reason:
        end = found.pieces[0].end
        return Block(buffer if end == len(buffer) else buffer[:end], line, dialect, _within(found, end)), []
    parts: list[bytes] = []
    told: list[Misread] = []
    places: list[int] = []
    counts: list[int] = []
    size = lines = left_out = 0
    for piece in found.pieces:
        text = buffer[piece.start : piece.end]
        count = _count_lines(text, dialect)
        if piece.reason:
            told.append(_misread(text, line + lines, piece.reason))
            left_out += count
            places.append(size)
            counts.append(left_out)
        else:
            parts.append(text)
            size += len(text)
        lines += count
    gaps = np.array(places, dtype=np.int64), np.array(counts, dtype=np.int64)
    return Block(b"".join(parts), line, dialect, _moved(found), gaps), told


def _within(found: _Scan, end: int) -> tuple[Positions, Positions]:
    high = int(np.searchsorted(found.opens, end))
    return found.opens[:high], found.closes[:high]


def _moved(found: _Scan) -> tuple[Positions, Positions]:
    """Quoted parts of the pieces that are records, where these stand one after the other."""
    starts = np.array([piece.start for piece in found.pieces], dtype=np.int64)
    good = np.array([not piece.reason for piece in found.pieces], dtype=bool)
    sizes = np.array([piece.end - piece.start for piece in found.pieces], dtype=np.int64)
    before = np.cumsum(np.where(good, 0, sizes)) - np.where(good, 0, sizes)
    if not len(starts) or not len(found.opens):
        return _NONE, _NONE
    of = np.searchsorted(starts, found.opens, side="right") - 1
    kept = good[of] & (found.opens < starts[-1] + sizes[-1])
    return (found.opens - before[of])[kept], (found.closes - before[of])[kept]


def _scan(data: bytes, dialect: Dialect, *, last: bool) -> _Scan:
    """What of a buffer that begins with a record is whole."""
    if not dialect.quote or dialect.quote not in data:
        end = len(data) if last else _last_end(data, dialect)
        return _Scan([_Piece(0, end)] if end else [])
    array = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(array == dialect.quote[0])
    if not _well_placed(array, quotes, dialect) or (last and len(quotes) % 2):
        return _walk(data, dialect, last=last)
    opens, closes = quotes[0::2], quotes[1::2]
    end = len(data)
    if not last:
        end = _last_end(data, dialect)
        # An end of line between quotes ends no record: the last one before the quotes opened may.
        while end:
            place = int(np.searchsorted(opens, end)) - 1
            if place < 0 or (place < len(closes) and closes[place] < end):
                break
            end = _last_end(data, dialect, 0, int(opens[place]) + 1)
        if len(data) - end > dialect.longest:
            return _walk(data, dialect, last=last)
    return _Scan([_Piece(0, end)] if end else [], opens[: len(closes)], closes)


def _well_placed(array: npt.NDArray[np.uint8], quotes: Positions, dialect: Dialect) -> bool:
    """Whether each second quote opens a field, and the others close one or are doubled: then no other reading is possible."""
    edges = np.zeros(256, dtype=bool)
    edges[[dialect.delimiter[0], dialect.quote[0], _LF, _CR]] = True
    opens, closes = quotes[0::2], quotes[1::2]
    before = array[opens[1:] - 1] if opens[0] == 0 else array[opens - 1]
    after = array[closes[:-1] + 1] if len(closes) and closes[-1] == len(array) - 1 else array[closes + 1]
    return bool(edges[before].all() and edges[after].all())


def _walk(data: bytes, dialect: Dialect, *, last: bool) -> _Scan:
    """The same from quote to quote, where some do not stand as they should."""
    quote, length = dialect.quote, len(data)
    edge = re.compile(b"[" + re.escape(dialect.delimiter) + b"\r\n]")
    pieces: list[_Piece] = []
    opens: list[int] = []
    closes: list[int] = []
    at = record = good = 0  # outside of quotes; where the record of `at` starts; where the records start that no piece has yet
    open_end = length if last else None
    while (found := data.find(quote, at)) >= 0:
        record = _last_end(data, dialect, at, found + 1) or record
        if found != record and data[found - 1] not in (dialect.delimiter[0], _LF, _CR):
            # Within a field that is not quoted a quote is a character.
            match = edge.search(data, found + 1)
            at = match.start() if match else length
            continue
        close = _closing(data, quote, found + 1)
        if (close < 0 or close + 1 == length) and not last and length - record <= dialect.longest:
            open_end = record
            break
        if close >= 0 and (close + 1 == length or edge.match(data, close + 1)):
            opens.append(found)
            closes.append(close)
            at = close + 1
            continue
        match = _END.search(data, found)
        if match is None and not last:
            open_end = record
            break
        if record > good:
            pieces.append(_Piece(good, record))
        at = match.end() if match else length
        # Empty lines go with it: behind a carriage return that ends the row before, a line feed would end no line of its own.
        while data.startswith(b"\n", at):
            at += 1
        good = at
        reason = "a quoted field that is not closed" if close < 0 else "a quoted field that goes on behind its closing quote"
        pieces.append(_Piece(record, good, reason))
        record = good
    if open_end is None:
        open_end = max(_last_end(data, dialect, at), record)
    if open_end > good:
        pieces.append(_Piece(good, open_end))
    return _Scan(pieces, np.array(opens, dtype=np.int64), np.array(closes, dtype=np.int64))


_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")


def _closing(data: bytes, quote: bytes, at: int) -> int:
    """Where quotes close that opened before `at`; -1: they do not."""
    while (found := data.find(quote, at)) >= 0 and data[found + 1 : found + 2] == quote:
        at = found + 2
    return found


def _last_end(data: bytes, dialect: Dialect, start: int = 0, stop: int | None = None) -> int:
    """Behind the last end of a line within bounds, 0: there is none. A carriage return at the very end may be the half of one."""
    stop = len(data) if stop is None else stop
    end = data.rfind(b"\n", start, stop)
    if dialect.returns:
        end = max(end, data.rfind(b"\r", start, max(stop - 1, start)))
    return end + 1


def _line_ends(array: npt.NDArray[np.uint8], dialect: Dialect) -> Positions:
    """Where lines end: at a line feed, or at a carriage return that none follows."""
    ends = array == _LF
    if dialect.returns:
        returns = np.flatnonzero(array == _CR)
        if len(returns):
            followed = np.append(array, 0)[returns + 1] == _LF
            ends[returns[~followed]] = True
    return np.flatnonzero(ends)


def _count_lines(data: bytes, dialect: Dialect) -> int:
    count = data.count(b"\n") if len(data) < 1000 else int(np.count_nonzero(np.frombuffer(data, np.uint8) == _LF))
    if dialect.returns and b"\r" in data:
        count += data.count(b"\r") - data.count(b"\r\n")
    return count


def _bounded(block: Block, size: int) -> Iterator[Block | Misread]:
    """A block without records that are too long, in several where it is large: much is behind a quote that was waited for in vain."""
    longest = block.dialect.longest
    if len(block.data) <= min(longest, 2 * size + _SMALLEST):
        yield block
        return
    starts = block.starts()
    lines = block.lines_of(starts)
    end = len(starts) - 1
    good = 0
    for place in [*np.flatnonzero(np.diff(starts) > longest).tolist(), end]:
        wanted = np.arange(starts[good], starts[place], size)
        edges = np.unique(np.append(good + np.searchsorted(starts[good:place], wanted), place))
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            yield block.part(int(starts[low]), int(starts[high]), int(lines[low]))
        if place < end:
            text = block.data[int(starts[place]) : int(starts[place + 1])]
            yield _misread(text, int(lines[place]), "", long=True)
        good = place + 1


def _misread(text: bytes, line: int, reason: str, *, long: bool = False) -> Misread:
    text = text.rstrip(b"\r\n")
    return Misread(line, text[:HEAD_BYTES], len(text), reason, long or len(text) > HEAD_BYTES)


def _skipped(buffer: bytes, read: Callable[[int], bytes], line: int) -> tuple[Misread, bytes]:
    """Leave out a record that is longer than any may be, up to the next line end; gives what comes behind it."""
    head, size = buffer[:HEAD_BYTES], len(buffer)
    while more := read(_SMALLEST * 16):
        end = more.find(b"\n")
        if end >= 0:
            return Misread(line, head, size + end, "", long=True), more[end + 1 :]
        size += len(more)
    return Misread(line, head, size, "", long=True), b""
