"""Which rows repeat a key that was seen before, in rows without an end: a shard remembers its keys for a while of event time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.coders import BytesCoder, VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from beam_pipelines.engine.checking.message import MS, Answer, KeyBlock, last_instant, span_of
from beam_pipelines.engine.checking.stateful import StatefulFn
from beam_pipelines.rules.checker import Told
from beam_pipelines.rules.key.seen import NEVER, Seen
from beam_pipelines.rules.key.unique import Repeats

__all__ = ["RememberFn"]

_SLICES = 16  # of a horizon: so often are keys looked through for those that are past it
_PARTS = 64  # in the state, before they are put together


class RememberFn(StatefulFn):
    """Answers for a shard at once; keyed by rule and shard, in the global window.

    A row violates when its key arrived before with an event time above its own less the horizon; it is remembered itself. Keys are
    forgotten when the watermark has passed their latest time by the horizon. A row that comes when keys are forgotten which it might repeat
    is told to be unknown, unless what is remembered tells that it does.

    Args:
        horizons: In microseconds, by the place of the rule.
    """

    CALLBACKS = ("forget",)
    KEYS = BagStateSpec("keys", BytesCoder())
    PASSED = ReadModifyWriteStateSpec("passed", VarIntCoder())
    PAST = TimerSpec("past", TimeDomain.WATERMARK)

    def __init__(self, horizons: dict[int, int]) -> None:
        self._horizons = horizons

    def start_bundle(self) -> None:
        # State may have changed elsewhere since the last bundle; within one nobody else changes that of its keys.
        self._seen: dict[tuple[int, int], Seen] = {}
        self._parts: dict[tuple[int, int], int] = {}
        self._asked: set[tuple[tuple[int, int], int]] = set()

    def process(
        self,
        element: tuple[tuple[int, int], bytes],
        keys: Any = beam.DoFn.StateParam(KEYS),
        passed: Any = beam.DoFn.StateParam(PASSED),
        past: Any = beam.DoFn.TimerParam(PAST),
    ) -> Iterator[tuple[str, bytes]]:
        shard, data = element
        block, horizon = KeyBlock.from_bytes(data), self._horizons[shard[0]]
        time = block.stamp.time
        self._ask(shard, time, horizon, past)
        again = np.zeros(0, dtype=np.bool_)
        if len(block.rows):
            again, news = self._known(shard, keys).meet(block.high, block.low, time, max(time - horizon, NEVER))
            if len(news):
                self._keep(shard, news.to_bytes(), keys)
        reached = passed.read()
        unknown = int((~again).sum()) if reached is not None and time < reached else 0
        yield block.stamp.name, Answer(shard[0], Told(Repeats(block.rows[again]), unknown)).to_bytes()

    @on_timer(PAST)  # type: ignore[untyped-decorator]
    def forget(
        self,
        shard: Any = beam.DoFn.KeyParam,
        fired: Timestamp = beam.DoFn.TimestampParam,
        keys: Any = beam.DoFn.StateParam(KEYS),
        passed: Any = beam.DoFn.StateParam(PASSED),
    ) -> None:
        """Drop the keys that the watermark has passed by the horizon."""
        seen, reached = self._known(shard, keys), self.reached(fired, passed)
        held = len(seen)
        seen.forget(reached - self._horizons[shard[0]])
        if len(seen) < held:
            self._rewrite(shard, keys)

    def _ask(self, shard: tuple[int, int], time: int, horizon: int, past: Any) -> None:
        """Ask to be called when what is seen now can be forgotten; at the end of a slice, each under a name of its own.

        One timer for all would be set back by a row that is out of order.
        """
        slice_ = -(-horizon // (_SLICES * MS)) * MS
        due = min(-(-(time + horizon) // slice_) * slice_, last_instant(span_of(GlobalWindow())))
        if (shard, due) not in self._asked:
            self._asked.add((shard, due))
            past.set(Timestamp(micros=due), dynamic_timer_tag=str(due))

    def _known(self, shard: tuple[int, int], keys: Any) -> Seen:
        if shard not in self._seen:
            parts = list(keys.read())
            self._seen[shard], self._parts[shard] = Seen(parts), len(parts)
        return self._seen[shard]

    def _keep(self, shard: tuple[int, int], news: bytes, keys: Any) -> None:
        self._parts[shard] += 1
        if self._parts[shard] <= _PARTS:
            keys.add(news)
        else:
            self._rewrite(shard, keys)

    def _rewrite(self, shard: tuple[int, int], keys: Any) -> None:
        parts = self._seen[shard].parts()
        keys.clear()
        for part in parts:
            keys.add(part)
        self._parts[shard] = len(parts)
