"""What waits for the end of its window: a shard that tells of all keys of a window together, and the counts of a window.

Everything is kept in the global window, under the window that it is of. In windows of their own Beam would drop what is late, and a row
would be neither valid nor rejected.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.coders import BytesCoder, StrUtf8Coder, TupleCoder, VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.utils.timestamp import Timestamp

from beam_pipelines.columnar.compact import joined
from beam_pipelines.columnar.keys import sorted_by
from beam_pipelines.engine.checking.message import Answer, KeyBlock, last_instant
from beam_pipelines.engine.checking.stateful import StatefulFn
from beam_pipelines.rules.checker import Told
from beam_pipelines.rules.judgement import Positions
from beam_pipelines.rules.key.unique import Repeats, repeats
from beam_pipelines.spec.rule.unique import Unique

__all__ = ["TogetherFn", "UntilEndFn"]

_NOBODY: Positions = np.zeros(0, dtype=np.int64)


class UntilEndFn(StatefulFn, ABC):
    """Keeps what comes until the window that it is of has ended, by key; what comes later is told at once."""

    CALLBACKS = ("end",)
    # Windows as text: of rows that nobody gave a time they may begin before all that 64 bits hold.
    KEPT = BagStateSpec("kept", TupleCoder((StrUtf8Coder(), BytesCoder())))
    CLOSED = ReadModifyWriteStateSpec("closed", VarIntCoder())
    ENDS = TimerSpec("ends", TimeDomain.WATERMARK)

    def due(self, span: tuple[int, int]) -> int:
        """When a window is told of: its last instant."""
        return last_instant(span)

    @abstractmethod
    def span(self, data: bytes) -> tuple[int, int]:
        """The window that something is of."""

    @abstractmethod
    def together(self, key: Any, parts: Sequence[bytes], *, late: bool) -> Iterator[Any]:
        """Tell of what is of one window.

        Args:
            key: Of all of it.
            parts: In any order.
            late: It came when the window had been told of.
        """

    def process(
        self,
        element: tuple[Any, bytes],
        kept: Any = beam.DoFn.StateParam(KEPT),
        closed: Any = beam.DoFn.StateParam(CLOSED),
        ends: Any = beam.DoFn.TimerParam(ENDS),
    ) -> Iterator[Any]:
        key, data = element
        span = self.span(data)
        due, reached = self.due(span), closed.read()
        if reached is not None and due <= reached:
            yield from self.together(key, [data], late=True)
            return
        kept.add((f"{span[0]} {span[1]}", data))
        ends.set(Timestamp(micros=due), dynamic_timer_tag=str(due))

    @on_timer(ENDS)  # type: ignore[untyped-decorator]
    def end(
        self,
        key: Any = beam.DoFn.KeyParam,
        fired: Timestamp = beam.DoFn.TimestampParam,
        kept: Any = beam.DoFn.StateParam(KEPT),
        closed: Any = beam.DoFn.StateParam(CLOSED),
    ) -> Iterator[Any]:
        """Tell of the windows that have ended."""
        reached = self.reached(fired, closed)
        ended: dict[tuple[int, int], list[bytes]] = {}
        others = []
        for text, data in kept.read():
            start, end = map(int, text.split(" "))
            if self.due((start, end)) <= reached:
                ended.setdefault((start, end), []).append(data)
            else:
                others.append((text, data))
        kept.clear()
        for one in others:
            kept.add(one)
        for _, parts in sorted(ended.items()):
            yield from self.together(key, parts, late=False)


class TogetherFn(UntilEndFn):
    """Tells which rows of a window repeat a key, of all that are there: keyed by rule and shard. Of late rows it cannot be told.

    Args:
        rules: Those that wait, by their place.
        order: How many columns tell which of several rows is the first; where they do not, the earlier element is.
    """

    def __init__(self, rules: dict[int, Unique], order: int) -> None:
        self._rules, self._order = rules, order

    def span(self, data: bytes) -> tuple[int, int]:
        return KeyBlock.from_bytes(data).stamp.span

    def together(self, key: tuple[int, int], parts: Sequence[bytes], *, late: bool) -> Iterator[tuple[str, bytes]]:
        place = key[0]
        blocks = [KeyBlock.from_bytes(part) for part in parts]
        if late:
            for block in blocks:
                yield block.stamp.name, Answer(place, Told(Repeats(_NOBODY), len(block.rows))).to_bytes()
            return
        ends = np.cumsum([len(block.rows) for block in blocks])
        order = self._ordered(blocks)
        keys = [
            pa.array(np.concatenate([block.high for block in blocks])[order]),
            pa.array(np.concatenate([block.low for block in blocks])[order]),
        ]
        found = repeats([[one] for one in keys], self._rules[place].keep)
        rows = np.sort(order[found.rows])
        for number, (block, part) in enumerate(zip(blocks, np.split(rows, np.searchsorted(rows, ends)[:-1]), strict=True)):
            mine = block.rows[part - (int(ends[number]) - len(block.rows))]
            # How many keys repeat is told once for all batches.
            told = Repeats(mine, *((0, 0) if number else (found.keys, found.members)))
            yield block.stamp.name, Answer(place, Told(told)).to_bytes()

    def _ordered(self, blocks: Sequence[KeyBlock]) -> Positions:
        columns = [joined([block.beside.column(at) for block in blocks]) for at in range(self._order + 1)]
        times = np.repeat([block.stamp.time for block in blocks], [len(block.rows) for block in blocks])
        order = np.lexsort((np.asarray(columns[-1]), times)).astype(np.int64)
        return sorted_by([(column, False) for column in columns[:-1]], order)
