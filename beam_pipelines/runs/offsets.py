"""How far a topic is read: per partition the next offset and the newest event time, and the watermark up to which windows are closed.

All of it grows only, so that what two drains say of a topic can be merged in any order, and twice, with the same result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from beam_pipelines.runs.mark import Mark

__all__ = ["Offsets", "Place", "watermark"]


@dataclass(frozen=True)
class Place:
    """How far one partition is read.

    Args:
        next: Offset to read next.
        newest: Greatest event time among its messages so far, ms since the epoch; None: none had one.
        at: Kafka's timestamp of the last message read, ms since the epoch; None: no message was read.
    """

    next: int
    newest: int | None = None
    at: int | None = None

    def merged(self, other: Place) -> Place:
        """The greater of each."""
        return Place(max(self.next, other.next), _greater(self.newest, other.newest), _greater(self.at, other.at))


@dataclass(frozen=True)
class Offsets:
    """How far the partitions of a topic are read.

    Args:
        partitions: Place of each partition that was looked at.
        closed: Watermark of the last commit, ms since the epoch: no window that ends by then takes another row; None: none yet.
    """

    partitions: Mapping[int, Place] = field(default_factory=dict)
    closed: int | None = None

    def merged(self, other: Offsets | None) -> Offsets:
        """Per partition, and of the watermark, the greater of each; `self` when there is no other."""
        if other is None:
            return self
        places = dict(self.partitions)
        for partition, place in other.partitions.items():
            places[partition] = places[partition].merged(place) if partition in places else place
        return Offsets(places, _greater(self.closed, other.closed))

    def closed_at(self, closed: int | None) -> Offsets:
        """The same with the watermark of a commit, which never falls."""
        return replace(self, closed=_greater(self.closed, closed))

    def to_mark(self) -> Mark:
        """As ledger and state store keep it: one text for one meaning."""
        places = {
            str(partition): {"next": place.next, "newest": place.newest, "at": place.at}
            for partition, place in sorted(self.partitions.items())
        }
        return Mark("offsets", json.dumps({"closed": self.closed, "partitions": places}, separators=(",", ":")))

    @classmethod
    def of(cls, mark: Mark) -> Offsets:
        """What a mark says.

        Raises:
            ValueError: It is no mark of offsets.
        """
        if mark.type != "offsets":
            raise ValueError(f"expected a mark of type offsets, got one of type {mark.type}")
        data = json.loads(mark.text)
        if not isinstance(data, dict) or not data.keys() <= {"closed", "partitions"} or not isinstance(data.get("partitions", {}), dict):
            raise ValueError('expected {"closed": ..., "partitions": {"0": {"next": ...}}}')
        places = {_partition(name): _place(place) for name, place in data.get("partitions", {}).items()}
        return cls(places, _whole(data.get("closed"), "closed"))


def watermark(
    before: Offsets | None, after: Offsets, ends: Mapping[int, int], now_ms: int, out_of_orderness_ms: int, idle_ms: int | None
) -> int | None:
    """The event time up to which all has come, as far as anybody can know.

    It is the least over the partitions of `newest - outOfOrderness`. A partition that never had an event is left out, and one that is idle
    (read to its end, its last message older than `idle_ms`) while another is not. Where all are idle none is left out: data at rest.

    Args:
        before: As the last commit left it, None at first.
        after: As it is now.
        ends: Of each partition the offset behind its last message.
        now_ms: The clock, ms since the epoch.
        out_of_orderness_ms: How late within its partition an event may come.
        idle_ms: After how long without a message a partition is idle; None: never.

    Returns:
        ms since the epoch, never below the watermark of a commit; None: nothing is known.
    """
    floor = _greater(before.closed if before else None, after.closed)
    timed: list[tuple[int, bool]] = []
    for partition, place in after.partitions.items():
        read = place.next >= ends.get(partition, place.next + 1)
        if place.newest is not None:
            # Messages of the oldest brokers have no time of their own.
            last = place.newest if place.at is None else place.at
            timed.append((place.newest, read and idle_ms is not None and now_ms - last > idle_ms))
        elif not read:
            return floor  # what waits in it may be of any time
    awake = [newest for newest, idle in timed if not idle] or [newest for newest, _ in timed]
    return _greater(floor, min(awake) - out_of_orderness_ms if awake else None)


def _greater(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)


def _place(data: Any) -> Place:
    if not isinstance(data, dict) or not data.keys() <= {"next", "newest", "at"}:
        raise ValueError('expected {"next": ..., "newest": ..., "at": ...} of each partition')
    following = _whole(data.get("next"), "next")
    if following is None or following < 0:
        raise ValueError("expected the offset to read next, zero or above, of each partition")
    return Place(following, _whole(data.get("newest"), "newest"), _whole(data.get("at"), "at"))


def _partition(name: str) -> int:
    if not name.isdecimal() or not name.isascii():
        raise ValueError("expected the number of a partition as key")
    return int(name)


def _whole(value: Any, name: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"expected a whole number as {name!r}")
    return value
