"""Values that occur once in rows without an end: which rows repeat a key that came before, and what is remembered for rows to come.

A key is remembered as its digest (`columnar.digest`) and the event time until which it counts, of which the latest one holds. So what is
told of a row goes by the rows before it alone, and not by the batches or commits that they came in. Nothing is done by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.digest import digests
from beam_pipelines.columnar.hashing import Words
from beam_pipelines.rules.judgement import Positions

__all__ = ["HIGH", "LOW", "STATES", "UNTIL", "Horizon", "Memory", "Rows"]

HIGH, LOW, UNTIL = "high", "low", "until"
STATES = pa.schema([(HIGH, pa.uint64()), (LOW, pa.uint64()), (UNTIL, pa.int64())])  # of keys: their digests, and ms since 1970

Flags = npt.NDArray[np.bool_]
Longs = npt.NDArray[np.int64]
_NEVER = np.iinfo(np.int64).min
_SLACK = 16  # part of a horizon that keys are held beyond it, so that of rows that are not very late all is known


@dataclass(frozen=True)
class Horizon:
    """How long a value may not come again.

    Args:
        span: ms of event time; with `size`, for which a window takes rows behind its end.
        size: ms of the tumbling windows in each of which a value may occur; None: there are none, and `span` counts from each row.
    """

    span: int
    size: int | None = None

    def keyed(self, columns: Sequence[pa.Array], times: Longs) -> tuple[Words, Words]:
        """Return the digests of the keys of rows.

        Args:
            columns: Of the keys, as `UniqueKey.keys` gives them.
            times: Of the rows, ms.
        """
        windows = [] if self.size is None else [pa.array(times // self.size)]
        return digests([*columns, *windows], len(times))

    def until(self, times: Longs) -> Longs:
        """Return up to which event time, ms, the keys of rows count: a row of it or later repeats none of them."""
        return times + self.span if self.size is None else (times // self.size + 1) * self.size + self.span

    def forgets(self, until: Longs, watermark: int | None) -> Flags:
        """Return which keys are remembered no more at a watermark, ms."""
        return np.zeros(len(until), dtype=np.bool_) if watermark is None else until + self._slack <= watermark

    def untold(self, times: Longs, closed: int | None) -> Flags:
        """Return of which rows it cannot be told that they do not repeat a key, for one may have been forgotten.

        Args:
            times: Of the rows, ms.
            closed: The watermark up to which keys have been forgotten, ms.
        """
        if closed is None:
            return np.zeros(len(times), dtype=np.bool_)
        return times + self._slack < closed if self.size is None else self.forgets(self.until(times), closed)

    @property
    def _slack(self) -> int:
        return self.span // _SLACK if self.size is None else 0


@dataclass(frozen=True)
class Rows:
    """Rows that ask whether they repeat a key.

    Args:
        high: First words of the digests of their keys.
        low: The second ones.
        times: Event times, ms.
        until: As of `Horizon.until`.
        order: What tells which of them came first: columns of whole numbers, the first of which counts most.
    """

    high: Words
    low: Words
    times: Longs
    until: Longs
    order: Sequence[npt.NDArray[Any]]

    @classmethod
    def together(cls, parts: Sequence[Rows]) -> Rows:
        """Put rows of several batches together; at least one."""
        columns = [[part.high, part.low, part.times, part.until, *part.order] for part in parts]
        high, low, times, until, *order = (np.concatenate(column) for column in zip(*columns, strict=True))
        return cls(high, low, times, until, order)


class Memory:
    """The keys of one shard that are remembered, in the blocks that they are kept in.

    Args:
        blocks: In the schema `STATES`, in any order; a key stands once in all of them.
    """

    def __init__(self, blocks: Sequence[pa.RecordBatch] = ()) -> None:
        self._blocks = [block for block in blocks if block.num_rows]
        self._high, self._low = (self._column(name, np.uint64) for name in (HIGH, LOW))
        self._until: Longs = self._column(UNTIL, np.int64)
        self._stays = np.ones(len(self._until), dtype=np.bool_)
        self._new: tuple[pa.Array, Longs] | None = None

    def __len__(self) -> int:
        """Keys that are remembered."""
        return int(self._stays.sum()) + (len(self._new[1]) if self._new is not None else 0)

    def _column(self, name: str, kind: type) -> Any:
        return np.concatenate([np.zeros(0, dtype=kind), *(np.asarray(block.column(name)) for block in self._blocks)])

    def meet(self, rows: Rows) -> Positions:
        """Return which rows repeat a key, ascending: one of a row before them, that counts at their time. All are remembered; once."""
        assert self._new is None
        encoded = _words(rows.high, rows.low).dictionary_encode()
        keys, codes = encoded.dictionary, np.asarray(encoded.indices, dtype=np.int64)
        known, last = self._known(keys)
        order = np.lexsort([*reversed(rows.order), codes])
        codes, until = codes[order], rows.until[order]
        first = np.ones(len(codes), dtype=np.bool_)
        first[1:] = codes[1:] != codes[:-1]
        latest = _latest(codes, first, np.maximum(until, last[codes]))
        before = np.empty_like(latest)
        before[1:] = latest[:-1]
        before[first] = last[codes[first]]
        ends = np.flatnonzero(np.append(first[1:], True))
        after = np.empty(len(keys), dtype=np.int64)
        after[codes[ends]] = latest[ends]
        changed = after > last
        self._stays[known[changed & (known >= 0)]] = False
        self._new = keys.filter(pa.array(changed)), after[changed]
        return np.sort(order[before > rows.times[order]])

    def _known(self, keys: pa.Array) -> tuple[Positions, Longs]:
        """Where each of some keys stands, and until when it counts; `_NEVER`: it is not remembered, and stands nowhere."""
        places, last = np.full(len(keys), -1, dtype=np.int64), np.full(len(keys), _NEVER, dtype=np.int64)
        if len(self._until):
            found = pc.index_in(_words(self._high, self._low), value_set=keys)
            rows = np.flatnonzero(np.asarray(found.is_valid()))
            of = np.asarray(found.drop_null())
            places[of], last[of] = rows, self._until[rows]
        return places, last

    def forget(self, horizon: Horizon, watermark: int | None) -> None:
        """Drop the keys that a watermark, ms, has passed."""
        self._stays &= ~horizon.forgets(self._until, watermark)
        if self._new is not None:
            stays = ~horizon.forgets(self._new[1], watermark)
            self._new = self._new[0].filter(pa.array(stays)), self._new[1][stays]

    def parts(self) -> tuple[list[pa.RecordBatch], pa.RecordBatch | None]:
        """Return the blocks that go on as they are, and the keys that are to be cut into blocks anew; None: there are none.

        Among these are the keys of all blocks that reach into the times of new ones: else each commit would leave small blocks.
        """
        sizes = np.array([block.num_rows for block in self._blocks], dtype=np.int64)
        begins = np.cumsum(sizes) - sizes
        whole = np.zeros(len(sizes), dtype=np.bool_)
        if len(sizes):
            whole = np.logical_and.reduceat(self._stays, begins)
            if self._new is not None and len(self._new[1]):
                whole &= np.maximum.reduceat(self._until, begins) < self._new[1].min()
        again = self._stays & ~np.repeat(whole, sizes)
        states = [_states(self._high[again], self._low[again], self._until[again])]
        if self._new is not None:
            states.append(_states(*_halves(self._new[0]), self._new[1]))
        cut = pa.concat_batches(states)
        return [block for block, stays in zip(self._blocks, whole, strict=True) if stays], cut if cut.num_rows else None


def _latest(codes: Positions, first: Flags, until: Longs) -> Longs:
    """The greatest of the values of each key so far, of rows in the order of their keys."""
    values, ranks = np.unique(until, return_inverse=True)
    # Ranks and not the values themselves: together with the number of a key they must not be above 64 bits.
    lifted = (np.cumsum(first) - 1) * len(values) + ranks
    return values[np.maximum.accumulate(lifted) % len(values)] if len(codes) else until


def _words(high: Words, low: Words) -> pa.Array:
    """Digests as values that Arrow looks up."""
    data = pa.py_buffer(np.column_stack([high, low]).astype(np.uint64, copy=False).tobytes())
    return pa.Array.from_buffers(pa.binary(16), len(high), [None, data])


def _halves(words: pa.Array) -> tuple[Words, Words]:
    pairs = np.frombuffer(words.buffers()[1], dtype=np.uint64, count=2 * len(words), offset=16 * words.offset).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _states(high: Words, low: Words, until: Longs) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(high), pa.array(low), pa.array(until)], schema=STATES)
