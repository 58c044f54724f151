"""Arithmetic of windows that lie at fixed places: which windows a time is in, and which of them are closed.

Times are int64 ms since the epoch, of the years 1 to 9999 (less than 2^48 either way); durations are at most a century. No sum or product
here comes near to 2^63.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beam_pipelines.transforms.late import NEVER, Longs

__all__ = ["Flags", "Spans"]

Flags = npt.NDArray[np.bool_]

_CELLS = 1 << 22  # of a table of windows by codes


@dataclass(frozen=True)
class Shared:
    """Sets of codes that count in the same windows.

    Args:
        rows: Positions of states, each once for every set that its code is in.
        sets: The number of that set.
        of: By window, the set that counts in it.
        starts: By window, where it begins, ms.
    """

    rows: Longs
    sets: Longs
    of: Longs
    starts: Longs

    def windows(self, sets: Longs) -> tuple[Longs, Longs]:
        """Return positions in `sets`, each once for every window of that set; and the starts of these windows, ms."""
        order = np.argsort(self.of, kind="stable")
        rows, places = _ranges(np.searchsorted(self.of[order], sets), np.bincount(self.of)[sets])
        return rows, self.starts[order][places]


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
        rows, nth = _ranges(np.zeros_like(first), (last - first) // self.slide + 1)
        return rows, first[rows] + nth * self.slide

    def shared(self, codes: Longs) -> Shared | None:
        """Return the windows in which states count as `expanded` does, but those in which the same codes count told once.

        A batch is short against the windows that overlap in it: most of them hold all of it.

        Returns:
            None: it is not worth while.
        """
        known, at = np.unique(codes, return_inverse=True)
        inside, begins = self.expanded(known)
        windows, of = np.unique(begins, return_inverse=True)
        if len(windows) * len(known) > _CELLS:
            return None
        members = np.zeros((len(windows), len(known)), dtype=np.bool_)
        members[of.reshape(-1), inside] = True
        sets, number = np.unique(np.packbits(members, axis=1), axis=0, return_inverse=True)
        of_code, set_of = np.nonzero(np.unpackbits(sets, axis=1, count=len(known)).T)
        at = at.reshape(-1)
        rows, places = _ranges(np.searchsorted(of_code, at), np.bincount(of_code, minlength=len(known))[at])
        return Shared(rows, set_of[places].astype(np.int64), number.reshape(-1).astype(np.int64), windows)

    def _windows(self, panes: Longs) -> tuple[Longs, Longs]:
        """The starts of the first and the last window that panes are in."""
        begins = panes * self.pane
        last = begins // self.slide * self.slide
        if self.most == 1:
            return last, last
        first = -((self.size - self.pane - begins) // self.slide) * self.slide
        return first, last


def _ranges(begins: Longs, counts: Longs) -> tuple[Longs, Longs]:
    """Return which range each number is of, and the numbers: `begins[i], begins[i] + 1, ...`, `counts[i]` of them, for every i."""
    rows = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    nth = np.arange(len(rows), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, begins[rows] + nth
