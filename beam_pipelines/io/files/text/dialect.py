"""How a file of text tells fields, rows and lines apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CR", "LF", "NONE", "Dialect", "Positions", "count_lines", "last_end", "line_ends"]

LF, CR = 10, 13

Positions = npt.NDArray[np.int64]
NONE: Positions = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Dialect:
    """How fields and records are told apart.

    Args:
        delimiter: One byte between fields; empty: a record is one field (JSON Lines).
        quote: One byte around a field that holds delimiters or line ends, and doubled within; empty: there are no quotes.
        longest: Bytes of the longest record.
        lines: Every end of a line ends a record, also one between quotes, which are none then.
    """

    delimiter: bytes = b""
    quote: bytes = b""
    longest: int = 32 << 20
    lines: bool = False

    @property
    def returns(self) -> bool:
        """A carriage return ends a record: it is no blank of the format."""
        return bool(self.delimiter)


def last_end(data: bytes, dialect: Dialect, start: int = 0, stop: int | None = None) -> int:
    """Behind the last end of a line within bounds, 0: there is none. A carriage return at the very end may be the half of one."""
    stop = len(data) if stop is None else stop
    end = data.rfind(b"\n", start, stop)
    if dialect.returns:
        end = max(end, data.rfind(b"\r", start, max(stop - 1, start)))
    return end + 1


def line_ends(array: npt.NDArray[np.uint8], dialect: Dialect) -> Positions:
    """Where lines end: at a line feed, or at a carriage return that none follows."""
    ends = array == LF
    if dialect.returns:
        returns = np.flatnonzero(array == CR)
        if len(returns):
            followed = np.append(array, 0)[returns + 1] == LF
            ends[returns[~followed]] = True
    return np.flatnonzero(ends)


def count_lines(data: bytes, dialect: Dialect) -> int:
    """How many lines end in a text."""
    count = data.count(b"\n") if len(data) < 1000 else int(np.count_nonzero(np.frombuffer(data, np.uint8) == LF))
    if dialect.returns and b"\r" in data:
        count += data.count(b"\r") - data.count(b"\r\n")
    return count
