"""Arithmetic of windows that lie at fixed places: which windows a time is in, and which of them are closed.

Times are int64 ms since the epoch, of the years 1 to 9999 (less than 2^48 either way); durations are at most a century. No sum or product
here comes near to 2^63.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NEVER", "Flags", "Longs", "Spans"]

Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NEVER = -(1 << 60)  # before all times: where no time is known


@dataclass(frozen=True)
class Spans:
    """Windows `[n * slide, n * slide + size)` for every whole n.

    A pane is a stretch of `gcd(size, slide)`: all times of one pane are in the same windows. An event of which some windows are closed
    already counts in the others, so what it counts in is told by a code: the pane's number and how many of its windows are closed.

    Args:
        size: ms.
        slide: ms, at most `size`; the same: windows do not overlap.
    """

    size: int
    slide: int

    @property
    def pane(self) -> int:
        """Length of a pane, ms."""
        return math.gcd(self.size, self.slide)

    @property
    def most(self) -> int:
        """Windows that a time is in, at most."""
        return -(-self.size // self.slide)

    def placed(self, times: Longs, limits: Longs | None) -> tuple[Longs, Longs, Longs]:
        """Return where events count.

        Args:
            times: Of the events.
            limits: Windows that end at or before it are closed, for each event; None: none is.

        Returns:
            The code of each event; how many of its windows are closed; and for how long the last one has been, ms, negative where it is
            open.
        """
        panes = times // self.pane
        if limits is None:
            return panes * self.most, np.zeros(len(times), dtype=np.int64), np.full(len(times), NEVER, dtype=np.int64)
        first, last = self._windows(panes)
        closed = np.clip((limits - self.size - first) // self.slide + 1, 0, (last - first) // self.slide + 1)
        return panes * self.most + closed, closed, limits - (last + self.size)

    def expanded(self, codes: Longs) -> tuple[Longs, Longs]:
        """Return the windows in which states of codes count.

        Returns:
            Positions in `codes`, each once for every window that is open to it; and the starts of these windows, ms.
        """
        panes, closed = np.divmod(codes, self.most)
        if self.most == 1:
            return np.arange(len(codes), dtype=np.int64), panes * self.pane
        first, last = self._windows(panes)
        first = first + closed * self.slide
        counts = (last - first) // self.slide + 1
        rows = np.repeat(np.arange(len(codes), dtype=np.int64), counts)
        nth = np.arange(len(rows), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, first[rows] + nth * self.slide

    def _windows(self, panes: Longs) -> tuple[Longs, Longs]:
        """The starts of the first and the last window that panes are in."""
        begins = panes * self.pane
        last = begins // self.slide * self.slide
        if self.most == 1:
            return last, last
        first = -((self.size - self.pane - begins) // self.slide) * self.slide
        return first, last
