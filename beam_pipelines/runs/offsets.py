"""How far topics are read: per partition the next offset and the newest event time, and the watermark up to which windows are closed.

All of it grows only, so that what two drains say of a topic can be merged in any order, and twice, with the same result.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_pipelines.runs.mark import Mark

__all__ = ["Offsets", "Place", "Reading", "shown", "told", "watermark"]

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
    """How far the partitions of a topic are read, and of those that it is joined with.

    Args:
        partitions: Place of each partition that was looked at.
        closed: Watermark of the last commit, ms since the epoch: no window that ends by then takes another row; None: none yet.
        sides: Place of each partition of the topics that it is joined with, by their names.
    """

    partitions: Mapping[int, Place] = field(default_factory=dict)
    closed: int | None = None
    sides: Mapping[str, Mapping[int, Place]] = field(default_factory=dict)

    def merged(self, other: Offsets | None) -> Offsets:
        """Per partition, and of the watermark, the greater of each; `self` when there is no other."""
        if other is None:
            return self
        sides = {name: _merged(self.sides.get(name, {}), other.sides.get(name, {})) for name in sorted({*self.sides, *other.sides})}
        return Offsets(_merged(self.partitions, other.partitions), _greater(self.closed, other.closed), sides)

    def topic(self, side: str = "") -> Mapping[int, Place]:
        """Place of each partition of one topic: of that of the service, or of one that it is joined with."""
        return self.sides.get(side, {}) if side else self.partitions

    @property
    def topics(self) -> dict[str, Mapping[int, Place]]:
        """Place of each partition by topic: the service's own is `""`."""
        return {"": self.partitions, **self.sides}

    @property
    def named(self) -> dict[str, Place]:
        """Place of each partition of all topics by its name: `0`, and of a topic that it is joined with `TOPIC/0`."""
        return {shown(side, number): place for side, places in sorted(self.topics.items()) for number, place in sorted(places.items())}

    def of_side(self, name: str) -> Offsets:
        """The same as those of a topic that is joined with, and of nothing else."""
        return Offsets(sides={name: self.partitions})

    def closed_at(self, closed: int | None) -> Offsets:
        """The same with the watermark of a commit, which never falls."""
        return replace(self, closed=_greater(self.closed, closed))

    def to_mark(self) -> Mark:
        """As ledger and state store keep it: one text for one meaning."""
        from beam_pipelines.runs.mark import Mark  # loads Arrow, which who only tells of offsets does without

        sides = {"sides": {name: _written(places) for name, places in sorted(self.sides.items())}} if self.sides else {}
        data = {"closed": self.closed, "partitions": _written(self.partitions), **sides}
        return Mark("offsets", json.dumps(data, separators=(",", ":")))

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
        if not isinstance(data, dict) or data.keys() - {"closed", "partitions", "sides"} or not isinstance(data.get("sides", {}), dict):
            raise ValueError('expected {"closed": ..., "partitions": {"0": {"next": ...}}}')
        sides = {str(name): _places(places) for name, places in data.get("sides", {}).items()}
        return cls(_places(data.get("partitions", {})), _whole(data.get("closed"), "closed"), sides)

    def told(self) -> dict[str, Any]:
        """As records tell it: `{"closed": ISO 8601 or null, "offsets": {"0": the offset to read next, ...}}`.

        Partitions are named as by `named`.
        """
        offsets = {name: place.next for name, place in self.named.items()}
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
        topics = {side: dict(places) for side, places in self.topics.items()}
        back = False
        for name, following in [(name, _offset(value)) for name, value in data.get("offsets", {}).items()]:
            side, _, number = name.rpartition("/")
            places, partition = topics.setdefault(side, {}), _partition(number)
            place = places.get(partition)
            if place is None or following < place.next:
                back, places[partition] = True, Place(following)
            else:
                places[partition] = replace(place, next=following)
        closed = _moment(data["closed"]) if "closed" in data else None if back else self.closed
        return Offsets(topics.pop(""), closed, topics)

    def back_from(self, before: Offsets) -> list[str]:
        """The partitions of which something is read again that was read before, as `told` names them."""
        known = before.named
        return [name for name, place in self.named.items() if name in known and place.next < known[name].next]


def told(recorded: Any) -> Any:
    """A recorded watermark as records tell it: of a topic as an object, of several tables each; others as they are."""
    if isinstance(recorded, dict) and set(recorded) == {"type", "text"}:
        return Offsets._read(recorded["text"]).told() if recorded["type"] == "offsets" else recorded
    return {name: told(value) for name, value in recorded.items()} if isinstance(recorded, dict) else recorded


@dataclass(frozen=True)
class Reading:
    """One topic, as far as it is read.

    Args:
        places: Place of each partition.
        ends: Of each partition the offset behind its last message.
        out_of_orderness_ms: How late within its partition an event may come.
        idle_ms: After how long without a message a partition is idle; None: never.
    """

    places: Mapping[int, Place]
    ends: Mapping[int, int]
    out_of_orderness_ms: int = 0
    idle_ms: int | None = None

    def reached(self, now_ms: int) -> Iterator[tuple[int | None, bool]]:
        """Of each partition up to when all of it has come, and whether it is idle; None: what waits in it may be of any time."""
        for partition, place in self.places.items():
            read = place.next >= self.ends.get(partition, place.next + 1)
            if place.newest is not None:
                # Messages of the oldest brokers have no time of their own.
                last = place.newest if place.at is None else place.at
                idle = read and self.idle_ms is not None and now_ms - last > self.idle_ms
                yield place.newest - self.out_of_orderness_ms, idle
            elif not read:
                yield None, False


def watermark(floor: int | None, topics: Sequence[Reading], now_ms: int) -> int | None:
    """The event time up to which all has come, as far as anybody can know.

    It is the least over the partitions of all topics of `newest - outOfOrderness`. A partition that never had an event is left out, and one
    that is idle (read to its end, its last message older than `idle_ms`) while another is not. Where all are idle none is left out: data at
    rest.

    Args:
        floor: Watermark of the last commit, which is never fallen below; None: there is none.
        topics: As they are now.
        now_ms: The clock, ms since the epoch.

    Returns:
        ms since the epoch; None: nothing is known.
    """
    found = [one for topic in topics for one in topic.reached(now_ms)]
    timed = [(at, idle) for at, idle in found if at is not None]
    if len(timed) < len(found):
        return floor
    awake = [at for at, idle in timed if not idle] or [at for at, _ in timed]
    return _greater(floor, min(awake) if awake else None)


def _merged(one: Mapping[int, Place], other: Mapping[int, Place]) -> dict[int, Place]:
    places = dict(one)
    for partition, place in other.items():
        places[partition] = places[partition].merged(place) if partition in places else place
    return places


def _written(places: Mapping[int, Place]) -> dict[str, dict[str, int | None]]:
    return {str(number): {"next": place.next, "newest": place.newest, "at": place.at} for number, place in sorted(places.items())}


def shown(side: str, partition: int) -> str:
    """The name of a partition, as `Offsets.named` has it."""
    return f"{side}/{partition}" if side else str(partition)


def _greater(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)


def _places(data: Any) -> dict[int, Place]:
    if not isinstance(data, dict):
        raise ValueError('expected {"0": {"next": ...}} of the partitions')
    return {_partition(name): _place(place) for name, place in data.items()}


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
