"""What of a buffer of text is whole records, whatever stands between quotes.

Nothing is looked at byte by byte: quotes and line ends are found by numpy, and where every quote stands as it should (at the edge of a
field), each second one closes. Only a buffer that has others is walked through from quote to quote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from beam_pipelines.io.files.text.dialect import CR, LF, NONE, Dialect, Positions, last_end, line_ends

__all__ = ["Piece", "Scan", "scan"]


@dataclass(frozen=True)
class Piece:
    """A part of a buffer: whole records, or one that is none.

    Args:
        start: Where it begins.
        end: Where the next begins.
        reason: What is wrong with the record; empty: nothing.
    """

    start: int
    end: int
    reason: str = ""


@dataclass(frozen=True)
class Scan:
    """What was found in a buffer.

    Args:
        pieces: From its beginning on, one after the other; what is behind the last is not whole yet.
        opens: Where quoted fields open.
        closes: Where each of them closes.
    """

    pieces: list[Piece]
    opens: Positions = field(default_factory=lambda: NONE)
    closes: Positions = field(default_factory=lambda: NONE)


def scan(data: bytes, dialect: Dialect, *, last: bool) -> Scan:
    """What of a buffer that begins with a record is whole."""
    if not dialect.quote or dialect.quote not in data:
        end = len(data) if last else last_end(data, dialect)
        return Scan([Piece(0, end)] if end else [])
    array = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(array == dialect.quote[0])
    if not _well_placed(array, quotes, dialect) or (last and len(quotes) % 2):
        return _walk(data, dialect, last=last)
    opens, closes = quotes[0::2], quotes[1::2]
    end = len(data)
    if dialect.lines:
        end = len(data) if last else last_end(data, dialect)
        if _broken(array, opens, closes, end, dialect):
            return _walk(data, dialect, last=last)
    elif not last:
        end = last_end(data, dialect)
        # An end of line between quotes ends no record: the last one before the quotes opened may.
        while end:
            place = int(np.searchsorted(opens, end)) - 1
            if place < 0 or (place < len(closes) and closes[place] < end):
                break
            end = last_end(data, dialect, 0, int(opens[place]) + 1)
        if len(data) - end > dialect.longest:
            return _walk(data, dialect, last=last)
    return Scan([Piece(0, end)] if end else [], opens[: len(closes)], closes)


def _broken(array: npt.NDArray[np.uint8], opens: Positions, closes: Positions, end: int, dialect: Dialect) -> bool:
    """Whether a line ends between quotes, up to a place behind which a line may be cut off."""
    if len(opens) > len(closes) and opens[-1] < end:
        return True
    ends = line_ends(array, dialect)
    before = np.searchsorted(opens[: len(closes)], ends) - 1
    return bool(((before >= 0) & (closes[np.maximum(before, 0)] > ends)).any()) if len(closes) else False


def _well_placed(array: npt.NDArray[np.uint8], quotes: Positions, dialect: Dialect) -> bool:
    """Whether each second quote opens a field, and the others close one or are doubled: then no other reading is possible."""
    edges = np.zeros(256, dtype=bool)
    edges[[dialect.delimiter[0], dialect.quote[0], LF, CR]] = True
    opens, closes = quotes[0::2], quotes[1::2]
    before = array[opens[1:] - 1] if opens[0] == 0 else array[opens - 1]
    after = array[closes[:-1] + 1] if len(closes) and closes[-1] == len(array) - 1 else array[closes + 1]
    return bool(edges[before].all() and edges[after].all())


def _walk(data: bytes, dialect: Dialect, *, last: bool) -> Scan:
    """The same from quote to quote, where some do not stand as they should."""
    quote, length = dialect.quote, len(data)
    edge = re.compile(b"[" + re.escape(dialect.delimiter) + b"\r\n]")
    pieces: list[Piece] = []
    opens: list[int] = []
    closes: list[int] = []
    at = record = good = 0  # outside of quotes; where the record of `at` starts; where the records start that no piece has yet
    open_end = length if last else None
    while (found := data.find(quote, at)) >= 0:
        record = last_end(data, dialect, at, found + 1) or record
        if found != record and data[found - 1] not in (dialect.delimiter[0], LF, CR):
            # Within a field that is not quoted a quote is a character.
            match = edge.search(data, found + 1)
            at = match.start() if match else length
            continue
        line = _END.search(data, found) if dialect.lines else None
        close = _closing(data, quote, found + 1, line.start() if line else length)
        if line is None and (close < 0 or close + 1 == length) and not last and length - record <= dialect.longest:
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
            pieces.append(Piece(good, record))
        at = match.end() if match else length
        # Empty lines go with it: behind a carriage return that ends the row before, a line feed would end no line of its own.
        while data.startswith(b"\n", at):
            at += 1
        good = at
        reason = "a quoted field that is not closed" if close < 0 else "a quoted field that goes on behind its closing quote"
        pieces.append(Piece(record, good, reason))
        record = good
    if open_end is None:
        open_end = max(last_end(data, dialect, at), record)
    if open_end > good:
        pieces.append(Piece(good, open_end))
    return Scan(pieces, np.array(opens, dtype=np.int64), np.array(closes, dtype=np.int64))


_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")


def _closing(data: bytes, quote: bytes, at: int, stop: int) -> int:
    """Where quotes close that opened before `at`; -1: they do not before `stop`."""
    while (found := data.find(quote, at, stop)) >= 0 and data[found + 1 : found + 2] == quote:
        at = found + 2
    return found
