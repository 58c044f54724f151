"""A stream of text cut into blocks of whole records; records that are none are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile

import numpy as np

from beam_pipelines.io.files.text.block import HEAD_BYTES, Block, Misread, misread
from beam_pipelines.io.files.text.dialect import NONE, Dialect, Positions, count_lines
from beam_pipelines.io.files.text.scan import Scan, scan

__all__ = ["BLOCK_BYTES", "blocks"]

BLOCK_BYTES = 4 << 20
_ROWS = 60_000  # of a block: below what a batch may have
_SMALLEST = 64 * 1024


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
        found = scan(buffer, dialect, last=not more)
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
            count = count_lines(buffer, dialect) + 1
            skipped, buffer = _skipped(buffer, read, line)
            yield skipped
            line += count
        elif not found.pieces:
            # Twice as much, so that a long record is not looked through for each little piece.
            wanted = max(_SMALLEST, min(max(wanted, len(buffer)), dialect.longest + 1 - len(buffer)))


def _assembled(buffer: bytes, line: int, dialect: Dialect, found: Scan) -> tuple[Block, list[Misread]]:
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
        count = count_lines(text, dialect)
        if piece.reason:
            told.append(misread(text, line + lines, piece.reason))
            left_out += count
            places.append(size)
            counts.append(left_out)
        else:
            parts.append(text)
            size += len(text)
        lines += count
    gaps = np.array(places, dtype=np.int64), np.array(counts, dtype=np.int64)
    return Block(b"".join(parts), line, dialect, _moved(found), gaps), told


def _within(found: Scan, end: int) -> tuple[Positions, Positions]:
    high = int(np.searchsorted(found.opens, end))
    return found.opens[:high], found.closes[:high]


def _moved(found: Scan) -> tuple[Positions, Positions]:
    """Quoted parts of the pieces that are records, where these stand one after the other."""
    starts = np.array([piece.start for piece in found.pieces], dtype=np.int64)
    good = np.array([not piece.reason for piece in found.pieces], dtype=bool)
    sizes = np.array([piece.end - piece.start for piece in found.pieces], dtype=np.int64)
    before = np.cumsum(np.where(good, 0, sizes)) - np.where(good, 0, sizes)
    if not len(starts) or not len(found.opens):
        return NONE, NONE
    of = np.searchsorted(starts, found.opens, side="right") - 1
    kept = good[of] & (found.opens < starts[-1] + sizes[-1])
    return (found.opens - before[of])[kept], (found.closes - before[of])[kept]


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
            yield misread(text, int(lines[place]), "", long=True)
        good = place + 1


def _skipped(buffer: bytes, read: Callable[[int], bytes], line: int) -> tuple[Misread, bytes]:
    """Leave out a record that is longer than any may be, up to the next line end; gives what comes behind it."""
    head, size = buffer[:HEAD_BYTES], len(buffer)
    while more := read(_SMALLEST * 16):
        end = more.find(b"\n")
        if end >= 0:
            return Misread(line, head, size + end, "", long=True), more[end + 1 :]
        size += len(more)
    return Misread(line, head, size, "", long=True), b""
