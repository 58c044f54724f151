"""Streams on Prism, one job in which drains follow each other: the same rows as on the DirectRunner, also when Prism is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engine.live import remembered
from beam_pipelines.errors import PlanError
from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.testing.windows import Event, WindowOracle
from tests.service.conftest import Desk
from tests.service.test_stream import (
    BEGIN,
    PARTITIONS,
    POISON,
    Topic,
    define,
    events,
    letters,
    ordered,
    results,
    servers,
    stream,
    window_step,
)

__all__ = ["servers"]  # a fixture

pytestmark = pytest.mark.no_bundle  # none that Beam's in-process runner starts


@pytest.fixture
def topic(servers: str, desk: Desk, prism: Path) -> Topic:
    desk.connect(kafka={"bootstrap.servers": servers}, db="duckdb:///target.duckdb")
    desk.options = ("--runner=PrismRunner", f"--prism_location={prism}")
    return Topic(servers, f"events-{random.SystemRandom().getrandbits(40)}")


def check(desk: Desk, oracle: WindowOracle) -> None:
    """Compare results and late rows with plain Python's."""
    assert ordered(results(desk)) == ordered(oracle.table.values())
    found = [(letter["origin"]["partition"], letter["origin"]["offset"]) for letter in letters(desk) if letter["code"] == "late-row"]
    assert sorted(found) == sorted(oracle.late)


@pytest.mark.parametrize(
    ("window", "group", "lateness"), [("tumbling", ["user"], "30s"), ("sliding", [], "0s"), ("session", ["user"], "0s")]
)
def test_prism_gives_what_plain_python_gives_and_late_rows_one_by_one(
    desk: Desk, topic: Topic, window: str, group: list[str], lateness: str
) -> None:
    step = window_step(window, groupBy=group, allowedLateness=lateness)
    filtered = {"id": "known", "type": "filter", "condition": "user <> 'nobody'"}
    define(desk, topic, [filtered, step], outOfOrderness="5s")
    oracle, dice = WindowOracle(WindowStep.model_validate(step), 5_000), random.Random(window)
    for part in range(2):
        sent = events(topic, dice, BEGIN + part * 70_000, 70)
        oracle.drain(sent)
        assert desk.ran(until="latest")["metrics"]["recordsExtracted"] == len(sent)
    check(desk, oracle)
    assert oracle.late


def test_drains_follow_each_other_in_one_job_while_events_come(desk: Desk, topic: Topic) -> None:
    step = window_step("tumbling", groupBy=["user"])
    define(desk, topic, [step], outOfOrderness="5s")
    sent = events(topic, random.Random(1), BEGIN, 30)
    commits: list[int] = []

    def drained(row: object) -> None:
        commits.append(1)
        if len(commits) < 5:
            sent.extend(events(topic, random.Random(len(commits)), BEGIN + len(commits) * 30_000, 30))
        elif len(commits) == 5:
            raise KeyboardInterrupt

    desk.run(drained=drained)
    assert len(commits) == 5
    # What each drain read is known by the offsets; what all of them gave is not, for late is what came late in its partition.
    read = sum(row["eventCount"] for row in results(desk)) + len(letters(desk))
    record = desk.ran(until="latest")
    assert not record["metrics"]["recordsExtracted"]
    assert 0 < read <= len(sent)
    oracle = WindowOracle(WindowStep.model_validate(step), 5_000)
    oracle.drain(sent)
    check(desk, oracle)


def test_poison_costs_itself(desk: Desk, topic: Topic) -> None:
    step = window_step("tumbling", groupBy=["user"])
    define(desk, topic, [step], outOfOrderness="5s", columns={"user": "text", "value": "bigint", "timestamp": "bigint"})
    oracle, sent, poisoned = WindowOracle(WindowStep.model_validate(step), 5_000), list[Event](), set[tuple[int, int]]()
    for place, poison in enumerate(POISON.values()):
        poisoned.add((0, topic.put(0, poison)))
        sent.append(topic.send(0, BEGIN + place * 10_000, user="u1", value=place))
    topic.flush()
    oracle.drain(sent)
    desk.ran(until="latest")
    assert ordered(results(desk)) == ordered(oracle.table.values())
    assert {(letter["origin"]["partition"], letter["origin"]["offset"]) for letter in letters(desk)} == poisoned


def test_the_stream_outlives_prism_and_leaves_none_behind(desk: Desk, topic: Topic) -> None:
    step = window_step("tumbling", groupBy=["user"])
    define(desk, topic, [step], outOfOrderness="5s")
    oracle, dice, sent = WindowOracle(WindowStep.model_validate(step), 5_000), random.Random(3), list[Event]()
    process = stream(desk)
    try:
        before = -1
        for part in range(3):
            sent += events(topic, dice, BEGIN + part * 60_000, 60)
            engine = awaited(lambda last=before: next((one for one in children(process.pid) if one != last), None))
            wait_until_read(desk, len(sent))
            os.kill(engine, signal.SIGKILL)
            before = engine
        sent += events(topic, dice, BEGIN + 180_000, 60)
        wait_until_read(desk, len(sent))
        last = awaited(lambda: next((one for one in children(process.pid) if one != before), None))
    finally:
        process.kill()
        process.communicate()
    awaited(lambda: not Path(f"/proc/{last}").exists())
    desk.ran(until="latest")
    oracle.drain(sent)
    check(desk, oracle)


def test_rows_meet_those_of_a_table_and_of_a_file(desk: Desk, topic: Topic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = [0.0]
    monkeypatch.setattr(remembered, "_now", lambda: clock[0])
    desk.duckdb("side.duckdb", "CREATE TABLE users AS SELECT 'u' || i AS \"user\", 0 AS paid, i % 3 AS plan FROM range(4) AS r(i)")
    desk.connect(side="duckdb:///side.duckdb")
    desk.duckdb("side.duckdb", 'INSERT INTO users SELECT "user", -1, -1 FROM users')
    (tmp_path / "plans.csv").write_text("plan,price\n0,5\n1,4\n1,3\n")
    (tmp_path / "more.csv").write_text("plan,price\n4,9\n")
    once = {"id": "once", "type": "deduplicate", "by": ["user"], "keep": "last", "orderBy": "paid"}
    users = {"type": "database", "connection": "side", "table": "users", "refresh": "10m", "transformations": [once]}
    steps = [
        {"id": "more", "type": "union", "source": {"type": "file", "path": str(tmp_path / "more.csv")}},
        {"id": "whole", "type": "aggregate", "groupBy": ["plan"], "aggregations": {"price": [{"function": "sum", "as": "price"}]}},
        {"id": "dear", "type": "filter", "condition": "price > 5"},
    ]
    prices = {"type": "file", "path": str(tmp_path / "plans.csv"), "transformations": steps}
    join = {"id": "users", "type": "join", "source": users, "on": ["user"]}
    lookup = {"id": "prices", "type": "enrich", "source": prices, "on": ["plan"], "fields": ["price"]}
    define(desk, topic, [join, lookup], columns={"user": "text", "n": "bigint", "timestamp": "bigint"})
    changes = iter([(1, 601.0), (2, 602.0), (None, 603.0)])

    def send(user: str | None, number: int) -> None:
        topic.send(number % PARTITIONS, BEGIN + number, user=user, n=number)
        topic.flush()

    def drained(row: object) -> None:
        paid, clock[0] = next(changes)
        if paid is None:
            raise KeyboardInterrupt
        desk.duckdb("side.duckdb", f"UPDATE users SET paid = {paid} WHERE paid >= 0")
        send("u1", int(clock[0]))

    for number in range(60):
        send(None if number % 7 == 6 else f"u{number % 7}", number)  # of whom the table knows four
    result = desk.run(drained=drained)
    found = Counter(desk.duckdb("target.duckdb", 'SELECT "user", n, paid, price FROM results'))
    expected = Counter((f"u{number % 7}", number, 0, 7 if number % 7 == 1 else None) for number in range(60) if number % 7 < 4)
    # The table was read anew behind the first drain, and not behind the second one.
    assert found == expected + Counter([("u1", 601, 1, 7), ("u1", 602, 1, 7)])
    (transform,) = (step for step in result.to_json()["steps"] if step["phase"] == "transform")
    steps = {step["id"]: (step["recordsIn"], step["recordsOut"]) for step in transform["transformations"]}
    assert steps == {"users": (62, 38), "prices": (38, 38)}


def test_sigterm_ends_it_in_order(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [window_step("tumbling")], outOfOrderness="5s")
    sent = events(topic, random.Random(2), BEGIN, 20)
    process = stream(desk)
    wait_until_read(desk, len(sent))
    (engine,) = children(process.pid)
    process.terminate()
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err.decode()
    assert "Traceback" not in err.decode() + out.decode()
    assert not Path(f"/proc/{engine}").exists()


def test_an_error_of_a_step_is_told_as_it_is(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [window_step("tumbling")])
    events(topic, random.Random(2), BEGIN, 20)
    desk.ran(until="latest")
    define(desk, topic, [{**window_step("tumbling"), "aggregations": {"most": "max:value"}}])
    events(topic, random.Random(2), BEGIN + 20_000, 1)
    result = desk.run(until="latest")
    assert (result.exit_code, result.execution.error_code) == (2, "fingerprint-changed")
    assert "--keep-watermark" in str(result.error)


def test_what_prism_cannot_do_is_refused_before_anything_starts(desk: Desk, topic: Topic, tmp_path: Path) -> None:
    rates = {"type": "database", "connection": "db", "table": "rates"}
    by_time = {"left": "timestamp", "right": "since"}
    define(desk, topic, [{"id": "rates", "type": "join", "source": rates, "asOf": by_time, "how": "left"}])
    for ask in (lambda: desk.run(until="latest"), lambda: desk.service.plan(options=desk.options)):
        with pytest.raises(PlanError, match=r"processors\[0\].*'rates'"):
            ask()
    define(desk, topic, [])
    desk.options = ("--runner=PrismRunner", f"--prism_location={tmp_path / 'none'}")
    with pytest.raises(PlanError, match="go install"):
        desk.run(until="latest")
    desk.etl({"table": "people"}, {"table": "people"})
    with pytest.raises(PlanError, match="serves streams alone"):
        desk.run()


def children(pid: int) -> list[int]:
    """Processes of Prism that a process has started."""
    found = subprocess.run(["pgrep", "-P", str(pid), "prism"], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


def wait_until_read(desk: Desk, count: int) -> None:
    """Wait until commits have told of so many messages."""

    def read() -> bool:
        with desk.store() as store:
            return sum(one.metrics.records_extracted for one in store.executions("stream")) == count

    awaited(read)


def awaited(found: Callable[[], Any]) -> Any:
    """What is found in the end."""
    until = time.monotonic() + 60
    waiting = threading.Event()
    while not (value := found()):
        assert time.monotonic() < until
        waiting.wait(0.05)
    return value
