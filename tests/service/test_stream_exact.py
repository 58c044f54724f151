"""A million events that look like real ones, drain after drain, held against plain Python event by event: every row, and every late one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.testing.windows import Event, WindowOracle
from tests.service.conftest import Desk
from tests.service.test_stream import BEGIN, PARTITIONS, Topic, define, letters, ordered, results, servers, topic

__all__ = ["servers", "topic"]  # fixtures

EVENTS, PIECES = 1_000_000, 20
BUSY, QUIET = 170_000, 30_000  # ms of traffic, and of none, by which sessions of the whole stream end
USERS = [*(f"user-{number}" for number in range(2_000)), None, "", " ", "Zoë", "null", "a\tb\"c\\d'e", "\u200b", "x" * 300]
WINDOWS = {
    "tumbling": {"type": "tumbling", "size": "60s"},
    "sliding": {"type": "sliding", "size": "90s", "slide": "30s"},
    "session": {"type": "session", "gap": "12s"},
}
AGGREGATIONS = {
    "total": "sum:amount",
    "different": "count_distinct:amount",
    "most": "max:amount",
    "mean": "avg:amount",
    "opened": "first:page",
    "closed": "last:page",
}
CASES = [(window, group, lateness) for window in WINDOWS for group, lateness in (([], "0s"), (["user"], "20s"))]


def traffic(topic: Topic, dice: random.Random, events: int) -> Iterator[Event]:
    """Send events of an hour: few users make most of them, 5 s out of order, two of a hundred far behind, some fields null or missing."""
    for number in range(events):
        moment = number * 3_600_000 * BUSY // (BUSY + QUIET) // events
        back = dice.randrange(30_000, 300_000) if dice.random() < 0.02 else dice.randrange(5_000)
        at = BEGIN + moment + moment // BUSY * QUIET - back
        user = USERS[int(len(USERS) * dice.random() ** 3)]
        fields: dict[str, Any] = {"user": user, "page": f"/p/{dice.randrange(40)}"}
        if dice.random() < 0.95:
            fields["amount"] = dice.randrange(-5, 500)
        sent = topic.send(dice.randrange(PARTITIONS), at, **fields)
        yield {"amount": None, **sent}


def moment(letter: dict[str, Any]) -> int:
    """Where the window of a dead result begins, ms."""
    return round(datetime.fromisoformat(letter["record"]["windowStart"]).timestamp() * 1000)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("window", "group", "lateness"), CASES)
def test_a_million_events_give_what_plain_python_gives_one_by_one(
    desk: Desk, topic: Topic, window: str, group: list[str], lateness: str
) -> None:
    hold_against_plain_python(desk, topic, ["--runner=DirectRunner"], window, group, lateness)


@pytest.mark.soak
@pytest.mark.no_bundle
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("window", "group", "lateness"), CASES)
def test_a_million_events_on_prism(desk: Desk, topic: Topic, prism: Path, window: str, group: list[str], lateness: str) -> None:
    hold_against_plain_python(desk, topic, ["--runner=PrismRunner", f"--prism_location={prism}"], window, group, lateness)


def hold_against_plain_python(desk: Desk, topic: Topic, options: list[str], window: str, group: list[str], lateness: str) -> None:
    step = {"id": "sum", "type": "window", "window": WINDOWS[window], "aggregations": AGGREGATIONS, "groupBy": group}
    step["allowedLateness"] = lateness
    columns = {"user": "text", "page": "text", "amount": "bigint", "timestamp": "bigint"}
    define(desk, topic, [step], outOfOrderness="5s", columns=columns)
    oracle = WindowOracle(WindowStep.model_validate(step), 5_000)
    sent = traffic(topic, random.Random(f"{window} {group}"), EVENTS)
    read = 0
    while piece := list(islice(sent, EVENTS // PIECES)):
        topic.flush()
        oracle.drain(piece)
        record = desk.ran(until="latest", options=options)
        assert record["metrics"]["recordsExtracted"] == len(piece)
        read += len(piece)
    assert read == EVENTS
    assert ordered(results(desk)) == ordered(row for row in oracle.table.values() if "user" not in row or row["user"] is not None)
    told = letters(desk)
    found = [(letter["origin"]["partition"], letter["origin"]["offset"]) for letter in told if letter["code"] == "late-row"]
    assert len(found) > EVENTS // 100
    assert sorted(found) == sorted(oracle.late)
    # A result of no user has no key to be told by: it is a dead letter each time it comes out.
    nobody = [row["windowStart"] for rows in oracle.written for row in rows if row.get("user", "") is None]
    assert sorted(moment(letter) for letter in told if letter["code"] == "key-null") == sorted(nobody)
    assert {letter["code"] for letter in told} == ({"late-row", "key-null"} if group else {"late-row"})
