"""Streams end to end: messages of a broker through windows into a table, drain after drain, held against plain Python."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from beam_pipelines.engine.live import remembered
from beam_pipelines.errors import PlanError
from beam_pipelines.examples.stream import broker
from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.testing.api import Api, Reply, serving
from beam_pipelines.testing.windows import Event, WindowOracle
from tests.service.conftest import Desk

pytestmark = pytest.mark.long

BEGIN = 1_700_000_000_000  # ms
PARTITIONS = 4
WINDOWS = {
    "tumbling": {"type": "tumbling", "size": "60s"},
    "sliding": {"type": "sliding", "size": "60s", "slide": "20s"},
    "session": {"type": "session", "gap": "10s"},
}
AGGREGATIONS = {
    "n": "count",
    "total": "sum:value",
    "different": "count_distinct:value",
    "least": "min:value",
    "most": "max:value",
    "mean": "avg:value",
    "opened": "first:value",
    "closed": "last:value",
}


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with broker() as address:
        yield address


@dataclass
class Topic:
    """A topic of a test's own."""

    servers: str
    name: str
    offsets: dict[int, int] = field(default_factory=dict)

    def send(self, partition: int, time: int, *, stamp: int = 0, **fields: Any) -> dict[str, Any]:
        """Send an event, whose message is of so many ms from now, and give it as the oracle takes it."""
        offset = self.put(partition, orjson.dumps({**fields, "timestamp": time}), stamp)
        return {"partition": partition, "offset": offset, "time": time, **fields}

    def put(self, partition: int, value: bytes | None, stamp: int = 0) -> int:
        """Send a value as it is; gives its offset."""
        producer = self._producer
        producer.produce(self.name, value, partition=partition, timestamp=round(time.time() * 1000) + stamp)
        producer.poll(0)
        self.offsets[partition] = self.offsets.get(partition, 0) + 1
        return self.offsets[partition] - 1

    def flush(self) -> None:
        assert not self._producer.flush(10)

    def __post_init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})
        self._producer.list_topics(self.name, timeout=5)  # makes it


@pytest.fixture
def topic(servers: str, desk: Desk) -> Topic:
    desk.connect(kafka={"bootstrap.servers": servers}, db="duckdb:///target.duckdb")
    return Topic(servers, f"events-{random.SystemRandom().getrandbits(40)}")


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(lambda asked: Reply()) as server:
        yield server


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, timezone.utc).isoformat(timespec="milliseconds")


def window_step(window: str, **more: Any) -> dict[str, Any]:
    return {"id": "sum", "type": "window", "window": WINDOWS[window], "aggregations": AGGREGATIONS, **more}


def define(desk: Desk, topic: Topic, steps: list[dict[str, Any]], sinks: list[dict[str, Any]] | None = None, **source: Any) -> None:
    stream = {
        "source": {"type": "kafka", "topic": topic.name, **source},
        "processors": steps,
        "sinks": sinks or [{"type": "database", "connection": "db", "table": "results"}],
    }
    desk.define({"name": "Stream", "stream": stream})


def events(topic: Topic, dice: random.Random, begin: int, seconds: int, each: int = 8) -> list[Event]:
    """Events of some seconds, each up to 5 s late and one of 50 up to 100 s."""
    sent: list[Event] = []
    for second in range(seconds):
        for _ in range(each):
            back = dice.randrange(100_000) if dice.random() < 0.02 else dice.randrange(5_000)
            value = dice.randrange(50) if dice.random() < 0.9 else None
            user = f"u{dice.randrange(5)}"
            sent.append(topic.send(dice.randrange(PARTITIONS), begin + second * 1000 - back, user=user, value=value))
    topic.flush()
    return sent


def results(desk: Desk, table: str = "results") -> list[dict[str, Any]]:
    import duckdb

    with duckdb.connect(str(desk.folder / "target.duckdb"), read_only=True) as connection:
        found = connection.execute(
            f"SELECT * REPLACE (epoch_ms(windowStart) AS windowStart, epoch_ms(windowEnd) AS windowEnd) FROM {table}"
        )
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def letters(desk: Desk) -> list[dict[str, Any]]:
    lines = [line for file in desk.folder.glob(".beam_pipelines/dead-letters/*/*.jsonl") for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def ordered(rows: Any) -> list[dict[str, Any]]:
    return sorted(({**row, "mean": round(row["mean"], 9) if row["mean"] is not None else None} for row in rows), key=str)


CASES = [(window, group, lateness) for window in WINDOWS for group in ([], ["user"]) for lateness in ("0s", "30s")]


@pytest.mark.parametrize(
    ("window", "group", "lateness"),
    # Half of them at each commit: with groups and lateness, or without both.
    [pytest.param(*case, marks=() if bool(case[1]) == (case[2] != "0s") else pytest.mark.soak) for case in CASES],
)
def test_drains_give_what_plain_python_gives_and_late_rows_one_by_one(
    desk: Desk, topic: Topic, window: str, group: list[str], lateness: str
) -> None:
    step = window_step(window, groupBy=group, allowedLateness=lateness)
    define(desk, topic, [step], outOfOrderness="5s")
    oracle = WindowOracle(WindowStep.model_validate(step), 5_000)
    dice = random.Random(f"{window} {group} {lateness}")
    read = 0
    for drain in range(3):
        sent = events(topic, dice, BEGIN + drain * 70_000, 70)
        oracle.drain(sent)
        record = desk.ran(until="latest")
        read += len(sent)
        assert record["metrics"]["recordsExtracted"] == len(sent)
    assert ordered(results(desk)) == ordered(oracle.table.values())
    found = [(letter["origin"]["partition"], letter["origin"]["offset"]) for letter in letters(desk) if letter["code"] == "late-row"]
    assert sorted(found) == sorted(oracle.late)
    assert oracle.late


@pytest.mark.parametrize("window", ["tumbling", pytest.param("session", marks=pytest.mark.soak)])
def test_a_drain_keeps_anew_only_what_it_has_changed_of_open_windows(desk: Desk, topic: Topic, window: str) -> None:
    step = window_step(window, groupBy=["user"])
    define(desk, topic, [step])
    oracle = WindowOracle(WindowStep.model_validate(step))

    def drain(*sent: Event) -> dict[tuple[str, int], str]:
        topic.flush()
        oracle.drain(sent)
        desk.ran(until="latest")
        kept = "SELECT run, part, md5(content) FROM _beam_pipelines_kept WHERE kind = 'open'"
        return {(run, part): digest for run, part, digest in desk.duckdb("target.duckdb", kept)}

    first = drain(*(topic.send(0, BEGIN + n, user=f"u{n}", value=n) for n in range(2_000)))
    second = drain(topic.send(0, BEGIN + 2_000, user="u77", value=-1))
    assert len(first) >= 16  # one a shard at least
    assert (len(second.keys() - first.keys()), len(first.keys() - second.keys())) == (1, 1)
    third = drain(topic.send(0, BEGIN + 2_001, user="new", value=1), topic.send(0, BEGIN + 2_002, user=None, value=1))
    assert 1 <= len(third.keys() - second.keys()) <= 2
    assert drain() == third
    assert not drain(topic.send(0, BEGIN + 3_600_000, user="u1", value=5)).keys() & third.keys()  # all came out
    got = {row["user"]: row for row in results(desk)}
    assert ordered(got.values()) == ordered(row for row in oracle.table.values() if row["user"] is not None)
    assert (got["u77"]["total"], got["u78"]["total"], got["new"]["eventCount"]) == (76, 78, 1)


def test_a_stream_that_is_killed_again_and_again_ends_as_one_that_was_not(desk: Desk, topic: Topic, api: Api) -> None:
    step = window_step("tumbling", groupBy=["user"])
    others = [{"type": "database", "connection": "db", "table": "copies"}, {"type": "api", "endpoint": f"{api.url}/rows", "batchSize": 3}]
    define(desk, topic, [step], [{"type": "database", "connection": "db", "table": "results"}, *others], outOfOrderness="5s")
    dice, sent = random.Random(5), list[Event]()
    killed = 0
    for number in range(6):
        sent += events(topic, dice, BEGIN + number * 40_000, 40, each=50)
        killed += killed_soon(desk, dice)
    assert killed
    oracle = WindowOracle(WindowStep.model_validate(step), 5_000)
    oracle.drain(sent)
    desk.ran(until="latest")
    assert ordered(results(desk)) == ordered(oracle.table.values())
    assert ordered(results(desk, "copies")) == ordered(oracle.table.values())
    heeded = {asked.headers["idempotency-key"]: asked.body for asked in api.asked}
    assert all(asked.body == heeded[asked.headers["idempotency-key"]] for asked in api.asked)
    told = sorted((row["windowStart"], row["user"], row["eventCount"], row["total"]) for body in heeded.values() for row in body)
    windows = [(iso(row["windowStart"]), row["user"], row["eventCount"], row["total"]) for row in oracle.table.values()]
    assert told == sorted(windows)
    found = [(letter["origin"]["partition"], letter["origin"]["offset"]) for letter in letters(desk) if letter["code"] == "late-row"]
    assert sorted(found) == sorted(oracle.late)
    with desk.store() as store:
        assert sum(execution.metrics.records_extracted for execution in store.executions("stream")) == len(sent)
        assert {execution.status for execution in store.executions("stream")} <= {"lost", "success"}


def killed_soon(desk: Desk, dice: random.Random) -> bool:
    """Start the command and kill it, at some moment from the import of Beam on: some die before they begin, some in the middle of a commit.

    Returns:
        Whether it was running then.
    """
    process = stream(desk)
    began = time.monotonic()
    while time.monotonic() - began < 1.5 + dice.random() * 2.5 and process.poll() is None:
        process.poll()
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


def stream(desk: Desk, *arguments: str) -> subprocess.Popen[bytes]:
    """The command, running."""
    command = [sys.executable, "-m", "beam_pipelines.stream", "--service", "service.json", *arguments, *desk.options]
    return subprocess.Popen(command, cwd=desk.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


POISON = {
    "not JSON": b"hello",
    "no object": b"[1, 2]",
    "cut off": b'{"user": "u1", "va',
    "null": None,
    "no text": b'{"user": "\xff", "timestamp": 1700000000000}',
    "wrong type": b'{"user": "u1", "value": {"a": 1}, "timestamp": 1700000000000}',
    "no time": b'{"user": "u1", "value": 1}',
    "the year 30000": b'{"user": "u1", "value": 1, "timestamp": 884541340800000}',
    "the year 2100": b'{"user": "u1", "value": 1, "timestamp": 4102444800000}',
    "time in words": b'{"user": "u1", "value": 1, "timestamp": "yesterday"}',
}


def test_a_message_that_is_no_event_costs_itself_wherever_it_stands(desk: Desk, topic: Topic) -> None:
    step = window_step("tumbling", groupBy=["user"])
    define(desk, topic, [step], outOfOrderness="5s", columns={"user": "text", "value": "bigint", "timestamp": "bigint"})
    oracle = WindowOracle(WindowStep.model_validate(step), 5_000)
    sent, poisoned = list[Event](), dict[tuple[int, int], bytes | None]()
    for place, poison in enumerate([*POISON.values(), *reversed(POISON.values())]):
        for number in range(3):
            poisoned[place % 2, topic.put(place % 2, poison)] = poison
            sent.append(topic.send(place % 2, BEGIN + place * 10_000 + number, user="u1", value=number))
    topic.flush()
    oracle.drain(sent)
    record = desk.ran(until="latest")
    assert record["metrics"]["recordsExtracted"] == len(sent) + len(poisoned)
    assert ordered(results(desk)) == ordered(oracle.table.values())
    found = {(letter["origin"]["partition"], letter["origin"]["offset"]) for letter in letters(desk)}
    assert found == set(poisoned)
    assert record["metrics"]["recordsDeadLettered"] == len(poisoned)
    assert not desk.ran(until="latest")["metrics"]["recordsExtracted"]  # and it is not read again


def test_a_stream_that_begins_before_the_first_message_goes_on_with_what_comes(desk: Desk, topic: Topic) -> None:
    columns = {"user": "text", "value": "bigint", "timestamp": "bigint"}
    define(desk, topic, [window_step("tumbling")], outOfOrderness="5s", columns=columns)
    desk.ran(until="2s")
    start = BEGIN - BEGIN % 60_000
    for moment in (start, start + 70_000):
        topic.send(0, moment, user="u1", value=3)
    topic.flush()
    desk.ran(until="latest")
    assert [(row["eventCount"], row["total"]) for row in results(desk)] == [(1, 3)]


def test_open_windows_come_out_early_and_are_replaced(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [window_step("tumbling", emit="every 1ms")])
    topic.send(0, BEGIN - BEGIN % 60_000, user="u1", value=1)
    topic.flush()
    desk.ran(until="latest")
    assert [(row["eventCount"], row["total"]) for row in results(desk)] == [(1, 1)]
    topic.send(0, BEGIN - BEGIN % 60_000 + 1000, user="u1", value=5)
    topic.flush()
    desk.ran(until="latest")
    assert [(row["eventCount"], row["total"]) for row in results(desk)] == [(2, 6)]


def test_early_results_wait_for_no_further_message(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [window_step("tumbling", emit="every 1s")])
    topic.send(0, BEGIN - BEGIN % 60_000, user="u1", value=1)
    topic.flush()
    desk.ran(until="5s")
    assert [(row["eventCount"], row["total"]) for row in results(desk)] == [(1, 1)]


def test_rows_that_are_late_are_no_failures_of_the_budget(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [window_step("tumbling")])
    start = BEGIN - BEGIN % 60_000
    topic.send(0, start + 120_000, user="u1", value=1)
    for number in range(1200):
        topic.send(0, start + number, user="u1", value=2)
    topic.flush()
    record = desk.ran(until="latest")
    assert (record["live"]["late"], record["metrics"]["recordsDeadLettered"]) == (1200, 1200)
    with desk.store() as store:
        assert store.alerts("stream") == []


def test_a_partition_that_is_idle_holds_no_window_open(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [window_step("tumbling")], idleTimeout="60s")
    start, hour = BEGIN - BEGIN % 60_000, 3_600_000
    topic.send(0, start, stamp=-hour, user="u1", value=1)
    topic.send(1, start + 1, stamp=hour, user="u1", value=2)
    topic.send(1, start + 130_000, stamp=hour, user="u1", value=3)
    topic.flush()
    desk.ran(until="latest")
    assert [row["total"] for row in results(desk)] == [3]
    # It wakes with an event of a window that is closed by now, and with one of a window that is not.
    topic.send(0, start + 2, stamp=hour, user="u1", value=4)
    topic.send(0, start + 131_000, stamp=hour, user="u1", value=5)
    topic.flush()
    assert desk.ran(until="latest")["live"]["late"] == 1
    assert [row["total"] for row in results(desk)] == [3]


def test_rows_that_come_too_late_go_where_the_step_says(desk: Desk, topic: Topic) -> None:
    late = {"type": "database", "connection": "db", "table": "late_rows"}
    define(desk, topic, [window_step("tumbling", late=late)])
    start = BEGIN - BEGIN % 60_000
    for seconds in (0, 61, 5, 125):
        topic.send(2, start + seconds * 1000, user=f"at {seconds}", value=seconds)
    topic.flush()
    record = desk.ran(until="latest")
    (rows,) = desk.duckdb("target.duckdb", 'SELECT "user", value, topic, "partition", "offset" FROM late_rows')
    assert rows == ("at 5", 5, topic.name, 2, 2)
    assert record["live"]["late"] == 1
    assert letters(desk) == []
    assert [row["eventCount"] for row in ordered(results(desk))] == [1, 1]


def test_steps_before_and_behind_the_windows_and_a_table_to_join_with(desk: Desk, topic: Topic) -> None:
    desk.duckdb("side.duckdb", "CREATE TABLE users AS SELECT * FROM (VALUES ('u1', 'team'), ('u2', 'free')) AS t(\"user\", plan)")
    desk.connect(side="duckdb:///side.duckdb")
    steps = [
        {"id": "large", "type": "filter", "condition": "value > 1"},
        {"id": "plans", "type": "join", "source": {"type": "database", "connection": "side", "table": "users"}, "on": ["user"]},
        {**window_step("tumbling", groupBy=["plan"]), "aggregations": {"total": "sum:value"}},
        {
            "id": "shown",
            "type": "map",
            "mappings": {"start": {"source": "windowStart"}, "plan": {"source": "plan"}, "twice": {"expression": "total * 2"}},
        },
    ]
    define(desk, topic, steps, [{"type": "database", "connection": "db", "table": "results", "keyFields": ["start", "plan"]}])
    start = BEGIN - BEGIN % 60_000
    for number, user in enumerate(["u1", "u1", "u2", "u3", "u2"]):
        topic.send(0, start + number, user=user, value=number + 1)
    topic.send(0, start + 60_000, user="u1", value=100)
    topic.flush()
    desk.ran(until="latest")
    assert sorted(desk.duckdb("target.duckdb", "SELECT plan, twice FROM results")) == [("free", 16), ("team", 4)]


def test_a_table_to_join_with_is_read_anew_when_it_is_older_than_it_may_be(
    desk: Desk, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(remembered, "_now", lambda: clock[0])
    desk.duckdb("side.duckdb", "CREATE TABLE users AS SELECT 'u1' AS \"user\", 'first' AS plan")
    desk.connect(side="duckdb:///side.duckdb")
    source = {"type": "database", "connection": "side", "table": "users", "refresh": "10m"}
    lookup = {"id": "plans", "type": "enrich", "source": source, "on": ["user"], "fields": ["plan"]}
    define(desk, topic, [lookup], columns={"user": "text", "n": "bigint", "timestamp": "bigint"})
    desk.ran(until="latest")
    changes = iter([("second", 599.0), ("third", 601.0), (None, 602.0)])

    def send(number: int) -> None:
        topic.send(0, BEGIN + number, user="u1", n=number)
        topic.flush()

    def drained(row: Any) -> None:
        plan, clock[0] = next(changes)
        if plan is None:
            raise KeyboardInterrupt  # as a user stops it
        desk.duckdb("side.duckdb", f"UPDATE users SET plan = '{plan}'")
        send(int(clock[0]))

    send(0)
    desk.run(drained=drained)
    send(700)
    desk.ran(until="latest")  # who starts again reads it anew
    found = desk.duckdb("target.duckdb", "SELECT n, plan FROM results ORDER BY n")
    assert found == [(0, "first"), (599, "first"), (601, "third"), (700, "third")]


@pytest.mark.no_bundle
def test_how_old_a_joined_table_may_be_is_said_of_streams_alone(desk: Desk) -> None:
    source = {"type": "database", "connection": "source", "table": "people", "refresh": "10m"}
    desk.people(1, 3)
    desk.etl({"table": "people"}, {"table": "people"}, [{"id": "again", "type": "join", "source": source, "on": ["id"], "suffix": "_2"}])
    with pytest.raises(PlanError, match="`refresh` is of streams"):
        desk.run()


def test_without_windows_each_message_is_a_row_once(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [{"id": "some", "type": "filter", "condition": "value % 2 = 0"}])
    for number in range(10):
        topic.send(number % 3, BEGIN + number, user="u", value=number)
    topic.flush()
    desk.ran(until="latest")
    for number in range(10, 15):
        topic.send(number % 3, BEGIN + number, user="u", value=number)
    topic.flush()
    desk.ran(until="latest")
    desk.ran(until="latest")
    assert [row[0] for row in desk.duckdb("target.duckdb", "SELECT value FROM results ORDER BY value")] == [0, 2, 4, 6, 8, 10, 12, 14]


def test_a_definition_that_changes_while_windows_are_open_is_refused_until_somebody_chooses(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [window_step("tumbling")])
    start = BEGIN - BEGIN % 60_000
    topic.send(0, start, user="u1", value=7)
    topic.flush()
    desk.ran(until="latest")
    define(desk, topic, [{**window_step("tumbling"), "aggregations": {"most": "max:value"}}])
    topic.send(0, start + 1, user="u1", value=2)
    topic.send(0, start + 60_000, user="u1", value=3)
    topic.flush()
    refused = desk.run(until="latest")
    assert (refused.exit_code, refused.execution.error_code) == (2, "fingerprint-changed")
    desk.ran(until="latest", keep_watermark=True)
    assert [row["most"] for row in results(desk)] == [2]
    desk.ran(until="latest", full_refresh=True)
    assert [row["most"] for row in results(desk)] == [7]


def test_another_topic_is_refused_before_anything_is_read_of_it(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [])
    topic.send(0, BEGIN, user="u1", value=7)
    topic.flush()
    desk.ran(until="latest")
    another = Topic(topic.servers, f"{topic.name}-other")
    define(desk, another, [])
    another.send(0, BEGIN, user="u2", value=8)  # no more messages than were read of the other: offsets alone tell no difference
    another.flush()
    with pytest.raises(PlanError, match="--keep-watermark"):
        desk.run(until="latest")
    desk.ran(until="latest", full_refresh=True, yes=True)
    assert desk.duckdb("target.duckdb", 'SELECT "user", value FROM results ORDER BY value')[-1] == ("u2", 8)


def test_a_stream_stops_when_it_is_asked_to(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [window_step("tumbling")])
    topic.send(0, BEGIN, user="u1", value=1)
    topic.flush()
    process = stream(desk, "--output", "json")
    with desk.store() as store:
        while not any(execution.metrics.records_extracted for execution in store.executions("stream")):
            assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=10)
    record = json.loads(out)
    assert (process.returncode, record["status"], record["metrics"]["recordsExtracted"]) == (0, "success", 1)


@pytest.mark.no_bundle
def test_a_stream_that_is_stopped_before_it_has_begun_ends_as_well(desk: Desk) -> None:
    desk.connect(kafka={"bootstrap.servers": "127.0.0.1:1"}, db="duckdb:///target.duckdb")  # nobody is there, which takes a minute to tell
    desk.define({"name": "S", "stream": {"source": {"type": "kafka", "topic": "t"}, "sinks": [{"type": "none"}]}})
    process = stream(desk)
    assert process.stderr is not None
    assert b"service s, run" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, b"stopped before the stream had begun" in err) == (0, True)


def test_a_burst_of_poison_stops_a_stream_only_where_it_is_told_to(desk: Desk, topic: Topic) -> None:
    budget = {"max": "10%"}
    define(desk, topic, [window_step("tumbling")], columns={"user": "text", "value": "bigint", "timestamp": "bigint"})
    for number in range(1100):
        topic.put(0, b"poison") if number % 2 else topic.send(0, BEGIN + number, user="u", value=1)
    topic.flush()
    definition = json.loads((desk.folder / "service.json").read_text())
    desk.define({**definition, "errorBudget": budget})
    refused = desk.run(until="latest")
    assert (refused.exit_code, refused.execution.error_code, refused.execution.metrics.records_extracted) == (1, "budget-exceeded", 0)
    with desk.store() as store:
        assert sum(failed.count for failed in store.failed_records(run=refused.execution.run)) == 550
    desk.define(definition)
    record = desk.ran(until="latest")
    assert (record["metrics"]["recordsExtracted"], record["metrics"]["recordsDeadLettered"]) == (1100, 550)


def test_what_is_asked_for_at_the_start_holds_until_the_first_commit(desk: Desk, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    from beam_pipelines.engine import launch

    asked: list[tuple[bool, bool]] = []
    run = launch.run_pipeline

    def noted(ask: Any, context: Any, *more: Any) -> Any:
        ended = run(ask, context, *more)
        asked.append((context.full_refresh, context.keep_watermark))
        if len(asked) < 3:
            topic.send(0, BEGIN + len(asked), user="u", value=1)
            topic.flush()
        return ended

    monkeypatch.setattr(launch, "run_pipeline", noted)
    define(desk, topic, [window_step("tumbling")])
    topic.send(0, BEGIN, user="u", value=1)
    topic.flush()
    desk.ran(until="3s", keep_watermark=True)
    assert [keep for _, keep in asked][:2] == [True, False]
    asked.clear()
    desk.ran(until="3s", full_refresh=True)
    assert [full for full, _ in asked][:2] == [True, False]


def test_columns_that_are_declared_anew_arrive(desk: Desk, topic: Topic) -> None:
    declared = {"user": "text", "timestamp": "bigint"}
    define(desk, topic, [], columns=declared)
    topic.send(0, BEGIN, user="ann", value=1)
    topic.flush()
    desk.ran(until="latest")
    define(desk, topic, [], columns={**declared, "value": "bigint"})
    topic.send(0, BEGIN, user="bob", value=2)
    topic.flush()
    desk.ran(until="latest")
    assert sorted(desk.duckdb("target.duckdb", "SELECT user, value FROM results")) == [("ann", None), ("bob", 2)]
