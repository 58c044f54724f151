"""Streams joined with another one end to end: messages of two topics in any order, held against plain Python."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest

from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.testing.api import Asked, Reply, serving
from tests.service.conftest import Desk
from tests.service.test_stream import BEGIN, PARTITIONS, Topic, killed_soon, letters, servers

__all__ = ["servers"]  # a fixture

pytestmark = pytest.mark.long

LATE = 2_000  # ms that an event may be late
WITHIN = 10_000  # ms that two may be apart
COLUMNS = {"user": "text", "cost": "bigint", "timestamp": "bigint"}
Event = dict[str, Any]


@pytest.fixture
def shown(servers: str, desk: Desk) -> Topic:
    desk.connect(kafka={"bootstrap.servers": servers}, db="duckdb:///target.duckdb")
    return Topic(servers, f"shown-{random.SystemRandom().getrandbits(40)}")


@pytest.fixture
def clicks(servers: str) -> Topic:
    return Topic(servers, f"clicks-{random.SystemRandom().getrandbits(40)}")


def define(desk: Desk, shown: Topic, clicks: Topic, how: str = "inner", *behind: Any, source: Any = None, **more: Any) -> None:
    late = {"outOfOrderness": f"{LATE}ms"}
    right = {"type": "kafka", "topic": clicks.name, "columns": COLUMNS, **late, **(source or {})}
    right = {key: value for key, value in right.items() if value is not None}
    join = {"id": "clicked", "type": "join", "source": right, "on": ["user"], "how": how, "suffix": "_click", "within": f"{WITHIN}ms"}
    declared = {"user": "text", "ad": "bigint", "timestamp": "bigint"}
    given = {
        "source": {"type": "kafka", "topic": shown.name, "columns": declared, **late},
        "processors": [{**join, **more}, *behind],
        "sinks": [{"type": "database", "connection": "db", "table": "results"}],
    }
    desk.define({"name": "Stream", "stream": given})


def send(topic: Topic, dice: random.Random, begin: int, seconds: int, name: str, each: int = 4) -> list[Event]:
    """Events of some seconds, up to 2 s late and one of 30 up to 60 s."""
    sent = []
    for second in range(seconds):
        for _ in range(each):
            back = dice.randrange(60_000) if dice.random() < 0.03 else dice.randrange(LATE)
            user = f"u{dice.randrange(12)}" if dice.random() < 0.95 else None
            fields = {"user": user, name: dice.randrange(10**6)}
            sent.append(topic.send(dice.randrange(PARTITIONS), begin + second * 1000 - back, **fields))
    topic.flush()
    return sent


class Oracle:
    """What a join gives, message by message."""

    def __init__(self) -> None:
        self.newest: dict[tuple[str, int], int] = {}
        self.rows: dict[str, list[Event]] = {"shown": [], "clicks": []}
        self.late: list[tuple[int, int]] = []

    def read(self, topic: str, events: list[Event]) -> None:
        for event in sorted(events, key=lambda one: (one["partition"], one["offset"])):
            before = self.newest.get((topic, event["partition"]))
            self.newest[topic, event["partition"]] = max(event["time"], before or 0)
            if before is not None and event["time"] < before - LATE:
                self.late.append((event["partition"], event["offset"]))
            else:
                self.rows[topic].append(event)

    def pairs(self) -> Iterator[tuple[Event, Event]]:
        by_user: dict[str, list[Event]] = {}
        for click in self.rows["clicks"]:
            by_user.setdefault(click["user"], []).append(click)
        for one in self.rows["shown"]:
            for click in by_user.get(one["user"], ()) if one["user"] is not None else ():
                if abs(one["time"] - click["time"]) <= WITHIN:
                    yield one, click

    @property
    def watermark(self) -> int:
        return min(self.newest.values()) - LATE

    def table(self, how: str) -> Counter[tuple[Any, ...]]:
        """`ad` and `cost` of the rows that have come out."""
        pairs = list(self.pairs())
        met = {id(one) for pair in pairs for one in pair}
        gone = [one for one in self.rows["shown"] if id(one) not in met and one["time"] + WITHIN < self.watermark]
        if how == "semi":
            return Counter((one["ad"],) for one in self.rows["shown"] if id(one) in met)
        if how == "anti":
            return Counter((one["ad"],) for one in gone)
        rows = Counter((one["ad"], click["cost"]) for one, click in pairs)
        rows.update((one["ad"], None) for one in gone if how in ("left", "full"))
        others = [one for one in self.rows["clicks"] if id(one) not in met and one["time"] + WITHIN < self.watermark]
        rows.update((None, one["cost"]) for one in others if how == "full")
        return rows


def table(desk: Desk, columns: str = "ad, cost", name: str = "results") -> Counter[tuple[Any, ...]]:
    return Counter(desk.duckdb("target.duckdb", f"SELECT {columns} FROM {name}"))


def late(desk: Desk) -> list[tuple[int, int]]:
    return [(one["origin"]["partition"], one["origin"]["offset"]) for one in letters(desk) if one["code"] == "late-row"]


@pytest.mark.parametrize("how", ["inner", "full", *(pytest.param(how, marks=pytest.mark.soak) for how in ("left", "semi", "anti"))])
def test_pairs_come_out_once_whichever_row_comes_first_and_late_rows_one_by_one(desk: Desk, shown: Topic, clicks: Topic, how: str) -> None:
    define(desk, shown, clicks, how)
    oracle, dice = Oracle(), random.Random(how)
    for drain in range(4):
        begin = BEGIN + drain * 25_000
        # Now the one is ahead, now the other.
        ours = send(shown, dice, begin + (20_000 if drain == 1 else 0), 25, "ad") if drain != 2 else []
        theirs = send(clicks, dice, begin, 25, "cost")
        oracle.read("shown", ours)
        oracle.read("clicks", theirs)
        record = desk.ran(until="latest")
        assert record["metrics"]["recordsExtracted"] == len(ours)
        assert table(desk, "ad" if how in ("semi", "anti") else "ad, cost") == oracle.table(how)
        assert sorted(late(desk)) == sorted(oracle.late)
    assert oracle.late
    assert oracle.table(how).total() > 5
    every = [row for side in ("shown", "clicks") for row in oracle.rows[side] if row["time"] + WITHIN >= oracle.watermark]
    waits = every if how == "full" else [row for row in every if row["user"] is not None]
    live = record["live"]
    assert live["waitingRows"] == len(waits) or how not in ("inner", "full")
    assert live["lag"] == {
        **{f"{number}": 0 for number in range(PARTITIONS)},
        **{f"{clicks.name}/{number}": 0 for number in range(PARTITIONS)},
    }


def test_a_join_that_is_killed_again_and_again_ends_as_one_that_was_not(desk: Desk, shown: Topic, clicks: Topic) -> None:
    define(desk, shown, clicks, "left")
    oracle, dice, killed = Oracle(), random.Random(9), 0
    for number in range(5):
        begin = BEGIN + number * 20_000
        oracle.read("shown", send(shown, dice, begin, 20, "ad", each=40))
        oracle.read("clicks", send(clicks, dice, begin, 20, "cost", each=40))
        killed += killed_soon(desk, dice)
    assert killed
    desk.ran(until="latest")
    assert table(desk) == oracle.table("left")
    assert sorted(late(desk)) == sorted(oracle.late)


def test_pairs_are_summed_up_by_windows_of_the_later_time(desk: Desk, shown: Topic, clicks: Topic) -> None:
    window = {"id": "sum", "type": "window", "window": {"type": "tumbling", "size": "15s"}, "groupBy": ["user"]}
    define(desk, shown, clicks, "inner", {**window, "aggregations": {"spent": "sum:cost"}})
    oracle, dice = Oracle(), random.Random(4)
    for drain in range(3):
        begin = BEGIN + drain * 30_000
        oracle.read("shown", send(shown, dice, begin, 30, "ad"))
        oracle.read("clicks", send(clicks, dice, begin + 3_000 * (drain % 2), 30, "cost"))
        desk.ran(until="latest")
    sums: dict[tuple[int, str], list[int]] = {}
    for one, click in oracle.pairs():
        start = max(one["time"], click["time"]) // 15_000 * 15_000
        sums.setdefault((start, one["user"]), []).append(click["cost"])
    expected = Counter((*key, len(costs), sum(costs)) for key, costs in sums.items() if key[0] + 15_000 <= oracle.watermark)
    assert expected
    assert table(desk, "epoch_ms(windowStart), user, eventCount, spent") == expected


@pytest.mark.no_bundle
@pytest.mark.parametrize("how", ["inner", "full"])
def test_prism_gives_the_same_pairs(desk: Desk, shown: Topic, clicks: Topic, prism: Path, how: str) -> None:
    known = {"id": "known", "type": "filter", "condition": "cost % 10 <> 3"}
    define(desk, shown, clicks, how, source={"transformations": [known]})
    desk.options = ("--runner=PrismRunner", f"--prism_location={prism}")
    oracle, dice = Oracle(), random.Random(how)
    for drain in range(2):
        oracle.read("shown", send(shown, dice, BEGIN + drain * 40_000, 40, "ad"))
        oracle.read("clicks", send(clicks, dice, BEGIN + drain * 40_000, 40, "cost"))
        desk.ran(until="latest")
        lost = [(one["partition"], one["offset"]) for one in oracle.rows["clicks"] if one["cost"] % 10 == 3]
        assert lost
        kept = {**oracle.rows, "clicks": [one for one in oracle.rows["clicks"] if one["cost"] % 10 != 3]}
        told, oracle.rows = oracle.rows, kept
        assert table(desk) == oracle.table(how)
        oracle.rows = told


def test_another_topic_or_another_meaning_of_what_waits_is_refused(desk: Desk, shown: Topic, clicks: Topic, servers: str) -> None:
    define(desk, shown, clicks)
    send(shown, random.Random(1), BEGIN, 3, "ad")
    desk.ran(until="latest")
    define(desk, shown, Topic(servers, f"{clicks.name}-other"))
    with pytest.raises(PlanError, match="changed since the watermark") as refused:
        desk.run(until="latest")
    assert refused.value.code == "fingerprint-changed"
    desk.connect(other={"bootstrap.servers": servers})
    define(desk, shown, clicks, source={"connection": "other"})  # whose offsets are not those of the topic that was read
    with pytest.raises(PlanError, match="changed since the watermark"):
        desk.run(until="latest")
    define(desk, shown, clicks, within="20s")
    send(shown, random.Random(1), BEGIN, 3, "ad")
    result = desk.run(until="latest")
    assert result.execution.error_code == "fingerprint-changed"
    assert "rows wait for others" in result.execution.error


def test_a_schema_that_is_registered_while_rows_wait_takes_nothing_from_them(desk: Desk, shown: Topic, clicks: Topic, servers: str) -> None:
    fields = [{"name": "user", "type": "string"}, {"name": "cost", "type": "long"}, {"name": "timestamp", "type": "long"}]
    old, new = ({"type": "record", "name": "Click", "fields": [*fields, *more]} for more in ([], [{"name": "n", "type": "int"}]))
    registered = [json.dumps(old)]

    def answer(asked: Asked) -> Reply:
        if asked.target.endswith("/versions/latest"):
            return Reply(body={"id": len(registered), "schema": registered[-1]})
        return Reply(body={"schema": registered[int(asked.target.rpartition("/")[2]) - 1]})

    def click(number: int, schema: dict[str, Any], **row: Any) -> None:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), row)
        clicks.put(0, b"\0" + number.to_bytes(4, "big") + out.getvalue())
        clicks.flush()

    def show(ad: int) -> None:
        shown.send(0, BEGIN, user="u", ad=ad)
        shown.flush()

    with serving(answer) as registry:
        desk.connect(avro={"bootstrap.servers": servers, "schema.registry.url": registry.url})
        define(desk, shown, clicks, source={"connection": "avro", "format": "avro", "columns": None})
        show(1)
        click(1, old, user="u", cost=10, timestamp=BEGIN)
        desk.ran(until="latest")
        registered.append(json.dumps(new))
        show(2)
        desk.ran(until="latest")
        click(2, new, user="u", cost=20, timestamp=BEGIN, n=5)
        desk.ran(until="latest")
    assert table(desk) == Counter([(1, 10), (2, 10), (1, 20), (2, 20)])


@pytest.mark.parametrize(
    ("more", "kind", "told"),
    [
        ({"within": None}, SpecError, "expected 'window' or 'within' beside a topic, got neither"),
        ({"window": {"type": "tumbling", "size": "1m"}}, SpecError, "got 'window' and 'within'"),
        ({"source": {"refresh": "1m"}}, SpecError, "no `refresh` of a topic"),
        ({"source": {"columns": None}}, PlanError, "expected the columns of the topic that is joined with"),
        ({"source": {"timestampField": "at"}}, PlanError, "stream.processors[0].source.timestampField"),
    ],
)
def test_what_cannot_be_joined_is_refused_before_anything_is_read(
    desk: Desk, shown: Topic, clicks: Topic, more: dict[str, Any], kind: type[Exception], told: str
) -> None:
    define(desk, shown, clicks, **more)
    with pytest.raises(kind) as refused:
        desk.run(until="latest")
    assert told in f"{refused.value} {getattr(refused.value, 'problems', '')}"


@pytest.mark.parametrize(
    "steps",
    [
        [{"id": "sums", "type": "sql", "query": "SELECT user, count(*) AS n FROM input GROUP BY user"}],
        [{"id": "one", "type": "deduplicate", "by": ["user"]}],
        [{"id": "sums", "type": "aggregate", "groupBy": ["user"], "aggregations": {"n": "count"}}],
    ],
)
def test_steps_of_a_joined_topic_that_take_all_rows_are_refused(desk: Desk, shown: Topic, clicks: Topic, steps: list[Any]) -> None:
    define(desk, shown, clicks, source={"transformations": steps})
    with pytest.raises(PlanError, match=r"processors\[0\].source.transformations\[0\].*a stream has no end") as refused:
        desk.run(until="latest")
    assert refused.value.code == "mode-refused"


def test_windows_behind_a_join_whose_rows_come_out_late_are_refused(desk: Desk, shown: Topic, clicks: Topic) -> None:
    window = {"id": "sum", "type": "window", "window": {"type": "tumbling", "size": "15s"}, "aggregations": {"n": "count"}}
    define(desk, shown, clicks, "left", window)
    with pytest.raises(PlanError, match="expected an inner join with `within`"):
        desk.run(until="latest")
