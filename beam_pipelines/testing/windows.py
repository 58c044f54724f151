"""What a window step must give, worked out one event at a time in plain Python: nothing of it is shared with the step itself.

An event is a dict with `partition`, `offset`, `time` (ms since the epoch) and the fields of its message.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.spec.window import SessionWindow, SlidingWindow

__all__ = ["Event", "WindowOracle", "result_of", "windows_at"]

Event = Mapping[str, Any]
Row = dict[str, Any]
Group = tuple[Any, ...]


@dataclass
class _Window:
    """One window of one group, with every event that counts in it."""

    start: int
    end: int
    group: Group
    events: list[Event] = field(default_factory=list)
    changed: bool = True


@dataclass
class WindowOracle:
    """A stream summed up by windows, drain after drain.

    Args:
        step: From the definition.
        out_of_orderness: ms.

    Attributes:
        table: What a sink holds that replaces rows: the last result of each window and group, by both.
        written: Results of each drain, in no order.
        late: Partition and offset of each event that counts nowhere, in the order they came.
        partly: How many times an event that counts somewhere does not count in another one of its windows.
        newest: By partition, the greatest event time so far.
        closed: The watermark of the last drain; None: nothing was known yet.
    """

    step: WindowStep
    out_of_orderness: int = 0
    table: dict[tuple[int, Group], Row] = field(default_factory=dict)
    written: list[list[Row]] = field(default_factory=list)
    late: list[tuple[int, int]] = field(default_factory=list)
    partly: int = 0
    newest: dict[int, int] = field(default_factory=dict)
    closed: int | None = None
    _open: dict[Group, list[_Window]] = field(default_factory=dict)

    def drain(self, events: Iterable[Event], *, early: bool = False, end: bool = False) -> list[Row]:
        """Read events and write what comes out.

        Args:
            events: Those of each partition in their order.
            early: Open windows that changed are written as well.
            end: The stream ends behind the events: everything is written.
        """
        for event in events:
            behind = self.behind(event["partition"])
            self._read(event, [time for time in (behind, self.closed) if time is not None])
            self.newest[event["partition"]] = max(event["time"], self.newest.get(event["partition"], event["time"]))
        watermark = self.watermark()
        rows = self._write(watermark, early, end)
        self.closed = watermark
        self.written.append(rows)
        self.table |= {(row["windowStart"], tuple(row[name] for name in self.step.group_names)): row for row in rows}
        return rows

    def behind(self, partition: int) -> int | None:
        """Up to where time has come at the next event of a partition; None: nothing came before."""
        return self.newest[partition] - self.out_of_orderness if partition in self.newest else None

    def watermark(self) -> int | None:
        """Up to where time has come in all partitions that had an event; it never goes back."""
        known = [time - self.out_of_orderness for time in self.newest.values()]
        if not known:
            return self.closed
        return min(known) if self.closed is None else max(min(known), self.closed)

    def _read(self, event: Event, passed: Sequence[int]) -> None:
        lateness = _ms(self.step.allowed_lateness)
        group = tuple(event[name] for name in self.step.group_by)
        if isinstance(self.step.window, SessionWindow):
            if any(event["time"] + lateness < time for time in passed):
                self.late.append((event["partition"], event["offset"]))
            else:
                self._join(event, group, _ms(self.step.window.gap))
            return
        windows = windows_at(self.step, event["time"])
        taking = [(start, end) for start, end in windows if not any(end + lateness <= time for time in passed)]
        if not taking:
            self.late.append((event["partition"], event["offset"]))
            return
        self.partly += len(windows) - len(taking)
        for start, end in taking:
            mine = self._open.setdefault(group, [])
            window = next((one for one in mine if one.start == start), None)
            if window is None:
                window = _Window(start, end, group)
                mine.append(window)
            window.events.append(event)
            window.changed = True

    def _join(self, event: Event, group: Group, gap: int) -> None:
        """Put an event into a session, which may make one of two."""
        time = event["time"]
        mine = self._open.setdefault(group, [])
        session = _Window(time, time + gap, group, [event])
        for one in [one for one in mine if one.start - time < gap and time - (one.end - gap) < gap]:
            session.start, session.end = min(session.start, one.start), max(session.end, one.end)
            fewer, more = sorted((session.events, one.events), key=len)
            more += fewer  # in no order; and a long session is not copied for each event
            session.events = more
            mine.remove(one)
        mine.append(session)

    def _write(self, watermark: int | None, early: bool, end: bool) -> list[Row]:
        lateness = _ms(self.step.allowed_lateness)
        rows: list[Row] = []
        kept: dict[Group, list[_Window]] = {}
        for window in (window for windows in self._open.values() for window in windows):
            passed = watermark is not None and window.end <= watermark
            over = end or (watermark is not None and window.end + lateness <= watermark)
            due = over if isinstance(self.step.window, SessionWindow) else passed or early or end
            if due and window.changed:
                rows.append(self._row(window))
                window.changed = False
            if not over:
                kept.setdefault(window.group, []).append(window)
        self._open = kept
        return rows

    def _row(self, window: _Window) -> Row:
        row = {"windowStart": window.start, "windowEnd": window.end, **dict(zip(self.step.group_names, window.group, strict=True))}
        row["eventCount"] = len(window.events)
        ordered = sorted(window.events, key=lambda event: (event["time"], event["partition"], event["offset"]))
        return row | {name: result_of(text, ordered) for name, text in self.step.aggregations.items()}


def windows_at(step: WindowStep, time: int) -> list[tuple[int, int]]:
    """Return start and end of every window, tumbling or sliding, that a time is in."""
    assert not isinstance(step.window, SessionWindow)
    size = _ms(step.window.size)
    slide = _ms(step.window.slide) if isinstance(step.window, SlidingWindow) else size
    start, found = time - time % slide, []
    while start + size > time:
        found.append((start, start + size))
        start -= slide
    return found


def result_of(text: str, events: Sequence[Event]) -> Any:
    """Return the result of an aggregation, as a definition writes it, over events in the order of their times.

    Those that come near to their result (`approx_...`) are given exactly.
    """
    function, _, name = text.removeprefix("approx_").partition(":")
    if function == "count":
        return len(events)
    values = [event[name] for event in events if event[name] is not None]
    if function == "count_distinct":
        return len(set(values))
    if not values:
        return None
    if function[0] == "p" and function[1:].replace(".", "").isdigit():
        return _share(values, Fraction(function[1:]) / 100)
    return _FUNCTIONS[function](values)


def _share(values: Sequence[Any], share: Fraction) -> float:
    ordered = sorted(map(Fraction, values))
    place = (len(ordered) - 1) * share
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return float(low + (high - low) * (place - math.floor(place)))


_FUNCTIONS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "sum": sum,
    "avg": lambda values: float(sum(map(Fraction, values)) / len(values)),
    "min": min,
    "max": max,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "median": lambda values: _share(values, Fraction(1, 2)),
    "stddev": lambda values: statistics.stdev(map(float, values)) if len(values) > 1 else None,
}


def _ms(span: Any) -> int:
    return int(span.total_seconds() * 1000)
