"""Keys that were seen, and when last: the memory of a `unique` rule over rows without an end. Nothing is done by row.

Keys are digests (`columnar.digest`), in runs that are sorted by their first words; two neighbours are merged when the later one is at least
half as long, so that there are about as many runs as the binary logarithm of the keys (O'Neil et al., The log-structured merge-tree, 1996).
A key may stand in several runs: what counts is its latest time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_pipelines.columnar.hashing import Words
from beam_pipelines.rules.judgement import Positions

__all__ = ["NEVER", "Seen", "Sightings"]

NEVER = np.iinfo(np.int64).min
_BYTES = 24  # of a key: digest and time
_FEW = 4_096  # keys that are merged whatever the run before is: a run costs a search


@dataclass(frozen=True)
class Sightings:
    """Keys and when each was last seen.

    Args:
        high: First words of the digests, ascending.
        low: Their second words, ascending where the first are the same; no key stands here twice.
        times: Microseconds since 1970.
    """

    high: Words
    low: Words
    times: Positions

    def __len__(self) -> int:
        return len(self.high)

    def to_bytes(self) -> bytes:
        return self.high.tobytes() + self.low.tobytes() + self.times.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Sightings:
        keys = len(data) // _BYTES
        words = np.frombuffer(data, dtype=np.uint64, count=2 * keys)
        return cls(words[:keys], words[keys:], np.frombuffer(data, dtype=np.int64, offset=16 * keys))

    def picked(self, which: npt.NDArray[np.bool_]) -> Sightings:
        return Sightings(self.high[which], self.low[which], self.times[which])

    def merged(self, other: Sightings) -> Sightings:
        """Return the keys of both, each with its latest time."""
        places = np.searchsorted(self.high, other.high, side="right") + np.arange(len(other))
        ours = np.ones(len(self) + len(other), dtype=np.bool_)
        ours[places] = False
        high, low, times = (
            _interleaved(ours, places, mine, theirs)
            for mine, theirs in ((self.high, other.high), (self.low, other.low), (self.times, other.times))
        )
        if _crossed(high, low):
            order = np.lexsort((low, high))
            high, low, times = high[order], low[order], times[order]
        again = np.flatnonzero((high[1:] == high[:-1]) & (low[1:] == low[:-1])) + 1
        if not len(again):
            return Sightings(high, low, times)
        # A key stands in a run once, so that at most two of them meet.
        times[again] = np.maximum(times[again], times[again - 1])
        kept = np.ones(len(high), dtype=np.bool_)
        kept[again - 1] = False
        return Sightings(high, low, times).picked(kept)

    def last(self, high: Words, low: Words) -> Positions:
        """Return when keys were last seen, `NEVER` for those that are not here."""
        found = np.full(len(high), NEVER, dtype=np.int64)
        places = np.searchsorted(self.high, high)
        asked = np.arange(len(high))
        while len(asked):  # once, but for keys whose first words meet
            inside = places < len(self.high)
            asked, places = asked[inside], places[inside]
            meets = self.high[places] == high[asked]
            asked, places = asked[meets], places[meets]
            alike = self.low[places] == low[asked]
            found[asked[alike]] = np.maximum(found[asked[alike]], self.times[places[alike]])
            asked, places = asked[~alike], places[~alike] + 1
        return found


def _interleaved(ours: npt.NDArray[np.bool_], places: Positions, mine: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    joined = np.empty(len(ours), dtype=mine.dtype)
    joined[ours], joined[places] = mine, theirs
    return joined


class Seen:
    """The keys of one shard.

    Args:
        parts: What was added before, in any order, as `Sightings.to_bytes` wrote it.
    """

    def __init__(self, parts: Iterable[bytes] = ()) -> None:
        self._runs: list[Sightings] = []
        for part in sorted(parts, key=len, reverse=True):
            self._push(Sightings.from_bytes(part))

    def __len__(self) -> int:
        """Keys that are held; one that stands in several runs as often."""
        return sum(map(len, self._runs))

    def parts(self) -> list[bytes]:
        """Return all that is held: few parts, however many there were."""
        return [run.to_bytes() for run in self._runs]

    def meet(self, high: Words, low: Words, time: int, above: int) -> tuple[npt.NDArray[np.bool_], Sightings]:
        """Take in rows of one time, in the order in which they arrived.

        Args:
            high: First words of the digests of their keys.
            low: Second words.
            time: Of all of them, microseconds since 1970.
            above: What was seen at this time or before is as good as forgotten, below `time`.

        Returns:
            Which rows have a key that a row before them had, of a time that is `above`; and what is new to remember.
        """
        order = np.argsort(high, kind="stable")
        if _crossed(high[order], low[order]):
            order = np.lexsort((low, high))
        high, low = high[order], low[order]
        first = np.ones(len(high), dtype=np.bool_)
        first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        again = np.ones(len(high), dtype=np.bool_)
        high, low = high[first], low[first]
        last = self._last(high, low)
        again[order[first]] = last > above
        fresh = last < time
        news = Sightings(high[fresh], low[fresh], np.full(int(fresh.sum()), time, dtype=np.int64))
        self._push(news)
        return again, news

    def forget(self, until: int) -> None:
        """Drop keys that were last seen at a time or before."""
        runs, self._runs = self._runs, []
        for run in runs:
            self._push(run.picked(run.times > until))

    def _last(self, high: Words, low: Words) -> Positions:
        last = np.full(len(high), NEVER, dtype=np.int64)
        for run in self._runs:
            np.maximum(last, run.last(high, low), out=last)
        return last

    def _push(self, run: Sightings) -> None:
        if not len(run):
            return
        while self._runs and len(self._runs[-1]) <= max(2 * len(run), _FEW):
            run = self._runs.pop().merged(run)
        self._runs.append(run)


def _crossed(high: Words, low: Words) -> bool:
    """Whether keys are there that differ but whose first words are the same: rows of one of them may then stand apart."""
    return bool(((high[1:] == high[:-1]) & (low[1:] != low[:-1])).any())
