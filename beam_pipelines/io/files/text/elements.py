"""A JSON array cut into blocks of its elements, a line each, whatever stands within them; nothing is looked at byte by byte.

An element ends at a comma or bracket outside of texts, one level within the array. Quotes that a backslash does not escape open and close
texts in turn, and levels are what brackets add up to; that is the first stage of simdjson (Langdale and Lemire, Parsing Gigabytes of JSON
per Second, VLDB Journal 28, 2019), with numpy in the place of vector instructions. What an element holds is for its reader to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from beam_pipelines.io.files.text.block import HEAD_BYTES, Block, Misread
from beam_pipelines.io.files.text.dialect import Dialect

__all__ = ["ArrayError", "elements"]

_ROWS = 60_000  # of a block: below what a batch may have
_QUOTE, _ESCAPE, _COMMA, _CLOSE, _LF, _CR = b'"\\,]\n\r'
_BLANK = b" \t\r\n"
_DEPTHS = np.zeros(256, dtype=np.int8)
_DEPTHS[list(b"[{")] = 1
_DEPTHS[list(b"]}")] = -1
_MARKS = _DEPTHS != 0
_MARKS[_COMMA] = True
_BREAKS = np.zeros(256, dtype=bool)
_BREAKS[[_LF, _CR]] = True

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


class ArrayError(ValueError):
    """A file that is no array, or not the whole of one."""


def elements(read: Callable[[int], bytes], longest: int, size: int) -> Iterator[Block | Misread]:
    """Cut a stream of UTF-8 into blocks, in order; the line of a block or record is the number of its first element, from 1.

    An element without a character (`[1,,2]`) comes as a comma, for that is what is there.

    Args:
        read: Gives about so many bytes more, none at the end.
        longest: Bytes of the longest element.
        size: Bytes read at a time.

    Raises:
        ArrayError: The stream holds no array, ends within it, or goes on behind it.
    """
    head = _beginning(read, size)
    scan = _Scan()
    number, parts, held, dropped = 1, list[bytes](), 0, 0  # of the element that is open: its pieces, their bytes, bytes not kept
    data: bytes = head
    while data:
        text, ends, closed = scan.cut(data)
        start = 0
        found: list[bytes] = []
        for end in ends:
            piece = text[start:end]
            start = end + 1
            if parts:
                piece = b"".join([*parts, piece])
                parts = []
            piece = piece.strip(_BLANK)
            if len(piece) + dropped > longest:
                yield from _lines(found, number)
                number += len(found) + 1
                found = []
                yield Misread(number - 1, piece[:HEAD_BYTES], len(piece) + dropped, "", long=True)
            else:
                found.append(piece)
            held = dropped = 0
        if closed:
            if found and not found[-1] and number + len(found) == 2:  # `[]`
                found = []
            yield from _lines(found, number)
            _nothing_else(text[start:], read)
            return
        yield from _lines(found, number)
        number += len(found)
        rest = text[start:]
        if held + len(rest) + dropped > longest and held > HEAD_BYTES:
            dropped += len(rest)
        elif rest:
            parts.append(rest)
            held += len(rest)
        data = read(size)
    raise ArrayError("it ends before its array does")


def _beginning(read: Callable[[int], bytes], size: int) -> bytes:
    """What follows the bracket that opens the array, one blank at least."""
    data = b""
    while not data:
        more = read(size)
        if not more:
            raise ArrayError("it is empty")
        data = more.lstrip(_BLANK)
    if not data.startswith(b"["):
        raise ArrayError("it does not begin with '[': an object a line is format jsonl")
    return data[1:] + b" "[: len(data) == 1]


def _nothing_else(rest: bytes, read: Callable[[int], bytes]) -> None:
    while not rest.strip(_BLANK):
        rest = read(1 << 16)
        if not rest:
            return
    raise ArrayError("it goes on behind its array")


def _lines(found: list[bytes], number: int) -> Iterator[Block]:
    for start in range(0, len(found), _ROWS):
        some = found[start : start + _ROWS]
        if not all(some):
            some = [one or b"," for one in some]
        yield Block(b"\n".join(some) + b"\n", number + start, Dialect())


class _Scan:
    """Where the elements of an array end, over pieces of its text."""

    def __init__(self) -> None:
        self._quoted = False  # a text is open
        self._escaped = False  # the next character is what a backslash says
        self._depth = 0  # below the array

    def cut(self, data: bytes) -> tuple[bytes, list[int], bool]:
        """Look through the next piece.

        Returns:
            The piece, with blanks in the place of line ends between values, and what no JSON has in the place of those in texts;
            where elements end in it; whether the last one ends the array.
        """
        array = np.frombuffer(data, np.uint8)
        quotes = self._quotes(data, array)
        marks = np.flatnonzero(_MARKS[array])
        marks = marks[~self._within(quotes, marks)]
        kinds = array[marks]
        depths = self._depth + np.cumsum(_DEPTHS[kinds], dtype=np.int64)
        over = np.flatnonzero(depths < 0)
        closed = len(over) > 0
        if closed:
            if kinds[over[0]] != _CLOSE:
                raise ArrayError("a brace in it closes what is not open")
            marks, kinds, depths = marks[: over[0] + 1], kinds[: over[0] + 1], depths[: over[0] + 1]
        ends = marks[((kinds == _COMMA) & (depths == 0)) | (depths < 0)].tolist()
        if b"\n" in data or b"\r" in data:
            breaks = np.flatnonzero(_BREAKS[array])
            clean = array.copy()
            clean[breaks] = np.where(self._within(quotes, breaks), 1, 32)
            data = clean.tobytes()
        if not closed:
            self._depth = int(depths[-1]) if len(depths) else self._depth
            self._quoted ^= bool(len(quotes) % 2)
        return data, ends, closed

    def _within(self, quotes: Places, places: Places) -> npt.NDArray[np.bool_]:
        """Which places are in a text."""
        odd: npt.NDArray[np.bool_] = (np.searchsorted(quotes, places) % 2).astype(bool)
        return ~odd if self._quoted else odd

    def _quotes(self, data: bytes, array: Bytes) -> Places:
        """The quotes that open or close a text: those behind an even number of backslashes."""
        quotes: Places = np.flatnonzero(array == _QUOTE)
        if b"\\" not in data and not self._escaped:
            return quotes
        slashes = np.flatnonzero(array == _ESCAPE)
        if self._escaped and len(slashes) and slashes[0] == 0:
            slashes = slashes[1:]  # it is escaped itself
        breaks = np.flatnonzero(np.diff(slashes) != 1) + 1
        firsts = slashes[np.append(0, breaks)] if len(slashes) else slashes
        lasts = slashes[np.append(breaks - 1, len(slashes) - 1)] if len(slashes) else slashes
        ends = lasts[(lasts - firsts) % 2 == 0] + 1  # what an odd number of them stands before
        if self._escaped:
            ends = np.append(0, ends)
        self._escaped = bool(len(ends)) and int(ends[-1]) == len(array)
        return quotes[~np.isin(quotes, ends)]
