"""Streams end to end: messages of a broker through windows into a table, drain after drain, held against plain Python."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from beam_pipelines.examples.stream import broker
from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.testing.windows import Event, WindowOracle

from .conftest import Desk

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

    def send(self, partition: int, time: int, **fields: Any) -> dict[str, Any]:
        """Send an event, and give it as the oracle takes it."""
        offset = self.offsets.get(partition, 0)
        self.put(partition, orjson.dumps({**fields, "timestamp": time}))
        return {"partition": partition, "offset": offset, "time": time, **fields}

    def put(self, partition: int, value: bytes | None) -> int:
        """Send a value as it is; gives its offset."""
        producer = self._producer
        producer.produce(self.name, value, partition=partition)
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


@pytest.mark.parametrize("lateness", ["0s", "30s"])
@pytest.mark.parametrize("group", [[], ["user"]], ids=["all", "by user"])
@pytest.mark.parametrize("window", WINDOWS)
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


def test_a_stream_that_is_killed_again_and_again_ends_as_one_that_was_not(desk: Desk, topic: Topic) -> None:
    step = window_step("tumbling", groupBy=["user"])
    other = {"type": "database", "connection": "db", "table": "copies"}
    define(desk, topic, [step], [{"type": "database", "connection": "db", "table": "results"}, other], outOfOrderness="5s")
    dice, sent = random.Random(5), list[Event]()
    killed = 0
    for number in range(6):
        sent += events(topic, dice, BEGIN + number * 40_000, 40, each=50)
        process = stream(desk)
        began = time.monotonic()
        # From the import of Beam on: some die before they begin, some in the middle of a commit.
        while time.monotonic() - began < 1.5 + dice.random() * 2.5 and process.poll() is None:
            process.poll()
        killed += process.poll() is None
        process.kill()
        process.communicate()
    assert killed
    oracle = WindowOracle(WindowStep.model_validate(step), 5_000)
    oracle.drain(sent)
    desk.ran(until="latest")
    assert ordered(results(desk)) == ordered(oracle.table.values())
    assert ordered(results(desk, "copies")) == ordered(oracle.table.values())
    found = [(letter["origin"]["partition"], letter["origin"]["offset"]) for letter in letters(desk) if letter["code"] == "late-row"]
    assert sorted(found) == sorted(oracle.late)
    with desk.store() as store:
        assert sum(execution.metrics.records_extracted for execution in store.executions("stream")) == len(sent)
        assert {execution.status for execution in store.executions("stream")} <= {"lost", "success"}


def stream(desk: Desk, *arguments: str) -> subprocess.Popen[bytes]:
    """The command, running."""
    command = [sys.executable, "-m", "beam_pipelines.stream", "--service", "service.json", *arguments, *desk.options]
    return subprocess.Popen(command, cwd=desk.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
