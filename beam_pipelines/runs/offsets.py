"""How far a topic is read: per partition the next offset and the newest event time, and the watermark up to which windows are closed.

All of it grows only, so that what two drains say of a topic can be merged in any order, and twice, with the same result.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_pipelines.runs.mark import Mark

__all__ = ["Offsets", "Place", "told", "watermark"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


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
        from beam_pipelines.runs.mark import Mark  # loads Arrow, which who only tells of offsets does without

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
        return cls._read(mark.text)

    @classmethod
    def _read(cls, text: str) -> Offsets:
        data = json.loads(text)
        if not isinstance(data, dict) or not data.keys() <= {"closed", "partitions"} or not isinstance(data.get("partitions", {}), dict):
            raise ValueError('expected {"closed": ..., "partitions": {"0": {"next": ...}}}')
        places = {_partition(name): _place(place) for name, place in data.get("partitions", {}).items()}
        return cls(places, _whole(data.get("closed"), "closed"))

    def told(self) -> dict[str, Any]:
        """As records tell it: `{"closed": ISO 8601 or null, "offsets": {"0": the offset to read next, ...}}`."""
        offsets = {str(partition): place.next for partition, place in sorted(self.partitions.items())}
        return {"closed": None if self.closed is None else _moment_text(self.closed), "offsets": offsets}

    def moved(self, text: str) -> Offsets:
        """What a person wants to go on from, written as `told` gives it.

        A partition that is not named stays. One that goes back has no newest event any more, so that what is read again is not late for
        having been read. The watermark stays when it is not named and no partition goes back, and is unknown when one does.

        Raises:
            ValueError: It is written otherwise.
        """
        data = json.loads(text)
        if (
            not isinstance(data, dict)
            or not data
            or not data.keys() <= {"closed", "offsets"}
            or not isinstance(data.get("offsets", {}), dict)
        ):
            raise ValueError('expected {"offsets": {"0": 4711}}, and perhaps "closed"')
        wanted = {_partition(name): _offset(value) for name, value in data.get("offsets", {}).items()}
        places = dict(self.partitions)
        back = False
        for partition, following in wanted.items():
            place = places.get(partition)
            if place is None or following < place.next:
                back, places[partition] = True, Place(following)
            else:
                places[partition] = replace(place, next=following)
        closed = _moment(data["closed"]) if "closed" in data else None if back else self.closed
        return Offsets(places, closed)

    def back_from(self, before: Offsets) -> list[int]:
        """The partitions of which something is read again that was read before."""
        return sorted(
            number
            for number, place in self.partitions.items()
            if number in before.partitions and place.next < before.partitions[number].next
        )


def told(recorded: Any) -> Any:
    """A recorded watermark as records tell it: of a topic as an object, of several tables each; others as they are."""
    if isinstance(recorded, dict) and set(recorded) == {"type", "text"}:
        return Offsets._read(recorded["text"]).told() if recorded["type"] == "offsets" else recorded
    return {name: told(value) for name, value in recorded.items()} if isinstance(recorded, dict) else recorded


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


def _offset(value: Any) -> int:
    following = _whole(value, "offset")
    if following is None or following < 0:
        raise ValueError("expected the offset to read next, zero or above, of each partition")
    return following


def _moment(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError('expected a time such as "2026-01-31T00:00:00Z" as "closed"')
    moment = dt.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value))  # Python 3.10 does not read the `Z`
    if moment.tzinfo is None:
        raise ValueError('expected a time with its zone as "closed"')
    return (moment - _EPOCH) // dt.timedelta(milliseconds=1)


def _moment_text(ms: int) -> str:
    try:
        return (_EPOCH + dt.timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{ms} ms"  # a topic whose first events are of the year 1, less what may come late


def _partition(name: str) -> int:
    if not name.isdecimal() or not name.isascii():
        raise ValueError("expected the number of a partition as key")
    return int(name)


def _whole(value: Any, name: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"expected a whole number as {name!r}")
    return value
