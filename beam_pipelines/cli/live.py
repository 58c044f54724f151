"""How a stream stands, and the hours it paid for, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import quantity
from beam_pipelines.runs.offsets import told

if TYPE_CHECKING:
    from beam_pipelines.state.record import Execution, StreamHour

__all__ = ["charged", "facts", "offsets", "read_up_to"]

_PARTITIONS = 10  # on the screen, those that lag most; `--output json` tells all
_COUNTS = {
    "open windows": "openWindows",
    "waiting rows": "waitingRows",
    "remembered keys": "rememberedKeys",
    "windows written": "windowsWritten",
    "late": "late",
}
_HOURS = 5  # on the screen, the newest


def facts(live: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Label and text of what is known, in order."""
    count = quantity.count
    if (rate := live.get("eventsPerSecond")) is not None:
        yield "events", f"{rate:,.1f} a second"
    if (lag := live.get("lag")) is not None:
        yield "lag", _lag(lag)
    if (mark := live.get("watermark")) is not None:
        delay = live.get("watermarkDelay")
        behind = f", {quantity.span(delay / 1000)} behind the clock" if delay is not None else ""
        yield "watermark", f"{quantity.moment(datetime.fromisoformat(mark))}{behind}"
    for label, name in _COUNTS.items():
        if live.get(name) is not None:
            yield label, count(live[name])
    if live.get("updatedAt") is not None:
        yield "last commit", quantity.moment(datetime.fromisoformat(live["updatedAt"]))


def offsets(recorded: Any) -> Iterator[tuple[str, str]]:
    """Label and text of the offsets that are read next, of a recorded watermark."""
    found = told(recorded)
    if isinstance(found, dict) and found.get("offsets"):
        yield "read up to", _by_partition(found["offsets"])


def read_up_to(found: Mapping[str, Any]) -> str:
    """The watermark of a topic, as `runs.offsets` tells it, in a line."""
    closed = "nothing closed yet" if found["closed"] is None else f"closed up to {found['closed']}"
    return f"{closed}; next {_by_partition(found['offsets'])}" if found["offsets"] else closed


def _by_partition(next_: Mapping[str, int]) -> str:
    shown = [f"{name}: {number}" for name, number in list(next_.items())[:_PARTITIONS]]
    more = len(next_) - len(shown)
    return ", ".join(shown) + (f", and {quantity.count(more)} more" if more else "")


def charged(execution: Execution) -> str:
    """The sum of the charges of a stream, and the newest of them."""
    total, hours = execution.charge or {}, execution.charges or ()
    lines = [f"{total['amount']} {total['currency']} ({total['description']})"]
    lines += [f"- {_hour(one)}" for one in hours[-_HOURS:]]
    if len(hours) > _HOURS:
        lines.append(f"- {quantity.count(len(hours) - _HOURS)} more hours before: --output json tells them")
    return "\n".join(lines)


def _lag(lag: Mapping[str, int]) -> str:
    behind = sorted(((number, name) for name, number in lag.items() if number), key=lambda one: (-one[0], one[1]))
    partitions = f"{quantity.count(len(lag))} partition{'' if len(lag) == 1 else 's'}"
    lines = [f"{quantity.count(sum(lag.values()))} messages in {partitions}"]
    lines += [f"- {quantity.count(number)} in partition {name}" for number, name in behind[:_PARTITIONS]]
    if len(behind) > _PARTITIONS:
        rest = sum(number for number, _ in behind[_PARTITIONS:])
        lines.append(f"- {quantity.count(rest)} in {quantity.count(len(behind) - _PARTITIONS)} others")
    return "\n".join(lines)


def _hour(one: StreamHour) -> str:
    return f"{one.hour:%Y-%m-%d %H}:00Z: {quantity.count(one.events)} events, {one.amount} {one.currency}"
