"""A stream whose process, broker and databases are killed while events come: what is in the sinks in the end is what plain Python says.

The broker is Apache Kafka, the sinks are PostgreSQL, whose transaction holds the offsets, and DuckDB.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson
import psycopg
import pytest
from confluent_kafka import Producer

from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.state.store import StateStore
from beam_pipelines.testing.kafka import KafkaBroker
from beam_pipelines.testing.postgres import PostgresServer
from beam_pipelines.testing.windows import Event, WindowOracle

BEGIN = 1_700_000_040_000  # ms
PARTITIONS = 4
STEP = {
    "id": "sum",
    "type": "window",
    "window": {"type": "tumbling", "size": "10s"},
    "groupBy": ["user"],
    "aggregations": {"total": "sum:value", "different": "count_distinct:value"},
}
DEFINITION = {
    "name": "Faults",
    "stream": {
        "source": {"type": "kafka", "topic": "events", "outOfOrderness": "5s", "consumerGroup": "faults"},
        "processors": [STEP],
        "sinks": [
            {"type": "database", "connection": "results", "table": "results"},
            {"type": "data-warehouse", "connection": "copies", "table": "copies"},
        ],
    },
    "pricing": {"model": "per-hour", "rate": 2},
}


@dataclass(frozen=True)
class Trial:
    """How much of everything there is.

    Args:
        events: Sent in all.
        seconds: In which they are sent, about.
        service: Kills of the service.
        broker: Kills of the broker.
        postgres: Crashes of PostgreSQL.
        prism: Kills of Prism, where the stream runs on it; 0: it runs on the DirectRunner.
    """

    events: int
    seconds: float
    service: int
    broker: int
    postgres: int
    prism: int = 0


TRIALS = [
    pytest.param(Trial(30_000, 14.0, 3, 1, 1), id="short"),
    pytest.param(Trial(30_000, 14.0, 1, 1, 1, prism=2), id="short on Prism"),
    pytest.param(Trial(500_000, 240.0, 20, 5, 5), id="long", marks=pytest.mark.soak),
    pytest.param(Trial(500_000, 240.0, 20, 5, 5, prism=5), id="long on Prism", marks=pytest.mark.soak),
]


@pytest.fixture
def broker() -> Iterator[KafkaBroker]:
    """One of its own: it is killed."""
    with KafkaBroker() as server:
        server.create("events", PARTITIONS)
        yield server


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


class Service:
    """The command, started again whenever it has died."""

    def __init__(self, folder: Path, options: list[str]) -> None:
        self._folder, self._options = folder, options
        self.exits: list[int] = []
        self.engines: set[int] = set()
        self.process = self._start()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "beam_pipelines.stream", "--service", "service.json", *self._options, *arguments]
        log = (self._folder / "log").open("ab")
        return subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)

    def look(self) -> None:
        """Start it again if it has ended; note the processes of Prism that it has."""
        self.engines.update(engines(self.process.pid))
        if self.process.poll() is not None:
            self.exits.append(self.process.returncode)
            self.process = self._start()

    def kill_engine(self) -> None:
        """Kill Prism, if the service has got so far that it has one."""
        for engine in engines(self.process.pid):
            os.kill(engine, signal.SIGKILL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def finish(self) -> None:
        """Let it read what is there, and stop."""
        self.process.terminate()
        # One that has just been started has not got so far that it could stop in order.
        assert self.process.wait(15) in (0, -15), (self._folder / "log").read_text()[-3000:]
        ended = self._start("--until", "latest")
        assert ended.wait(120) == 0, (self._folder / "log").read_text()[-3000:]


def engines(parent: int) -> list[int]:
    """Processes of Prism that another one has started."""
    found = subprocess.run(["pgrep", "-P", str(parent), "prism"], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


class Sender:
    """Sends events at a steady pace, also while the broker is down for a moment."""

    def __init__(self, servers: str, trial: Trial) -> None:
        self._servers, self._trial = servers, trial
        self.sent: list[Event] = []
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        dice, trial = random.Random(3), self._trial
        producer = Producer({"bootstrap.servers": self._servers, "enable.idempotence": True, "log_level": 0})
        offsets = dict.fromkeys(range(PARTITIONS), 0)
        began = time.monotonic()
        for number in range(trial.events):
            back = dice.randrange(60_000) if dice.random() < 0.02 else dice.randrange(5_000)
            at = BEGIN + number * 300_000 // trial.events - back
            event = {"user": f"u{dice.randrange(20)}", "value": dice.randrange(100), "timestamp": at}
            partition = dice.randrange(PARTITIONS)
            producer.produce("events", orjson.dumps(event), partition=partition)
            producer.poll(0)
            self.sent.append({**event, "partition": partition, "offset": offsets[partition], "time": at})
            offsets[partition] += 1
            ahead = began + (number + 1) * trial.seconds / trial.events - time.monotonic()
            if ahead > 0.05:
                time.sleep(ahead)
        assert not producer.flush(60)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("trial", TRIALS)
def test_whatever_is_killed_the_sinks_hold_what_plain_python_says(
    tmp_path: Path, broker: KafkaBroker, postgres: PostgresServer, prism: Path, trial: Trial
) -> None:
    places = {
        "kafka": {"bootstrap.servers": broker.servers},
        "results": postgres.url(),
        "copies": "duckdb:///copies.duckdb",
    }
    (tmp_path / "connections.yaml").write_text(json.dumps(places))
    (tmp_path / "service.json").write_text(json.dumps(DEFINITION))
    options = ["--runner=PrismRunner", f"--prism_location={prism}"] if trial.prism else []
    dice = random.Random(11)
    faults = ["service"] * trial.service + ["broker"] * trial.broker + ["postgres"] * trial.postgres + ["prism"] * trial.prism
    dice.shuffle(faults)
    sender, service = Sender(broker.servers, trial), Service(tmp_path, options)
    try:
        for fault in faults:
            pause = time.monotonic() + dice.uniform(0.6, 1.4) * trial.seconds / (len(faults) + 1)
            while time.monotonic() < pause:
                service.look()
                time.sleep(0.05)
            if fault == "service":
                service.kill()
            elif fault == "broker":
                broker.restart(kill=True)
            elif fault == "prism":
                service.kill_engine()
            else:
                postgres.restart("immediate")
        sender.thread.join(trial.seconds + 120)
        assert not sender.thread.is_alive()
        service.look()
        service.finish()
    finally:
        service.process.kill()
    # What it is not killed by it lives through, once it has begun; where a server is away at its start it says so, and is started again.
    log = (tmp_path / "log").read_text()
    assert set(service.exits) <= {-9, 1}, log[-3000:]
    assert service.exits.count(1) <= log.count("[unreachable; "), log[:3000]

    oracle = WindowOracle(WindowStep.model_validate(STEP), 5_000)
    oracle.drain(sender.sent)
    expected = sorted((row["windowStart"], row["user"], row["eventCount"], row["total"], row["different"]) for row in oracle.table.values())
    columns = '"windowStart", "user", "eventCount", total, different'
    with psycopg.connect(postgres.url()) as connection:
        rows = connection.execute(f"SELECT {columns} FROM results").fetchall()
    assert sorted((round(row[0].timestamp() * 1000), *row[1:]) for row in rows) == expected
    with duckdb.connect(str(tmp_path / "copies.duckdb"), read_only=True) as local:
        copies = local.execute("SELECT epoch_ms(windowStart), * EXCLUDE (windowStart, windowEnd) FROM copies").fetchall()
    assert sorted(copies) == expected

    lines = [line for file in tmp_path.glob(".beam_pipelines/dead-letters/*/*.jsonl") for line in file.read_text().splitlines()]
    letters = [json.loads(line)["origin"] for line in lines]
    assert sorted((letter["partition"], letter["offset"]) for letter in letters) == sorted(oracle.late)
    with StateStore(f"sqlite:///{tmp_path / '.beam_pipelines' / 'state.db'}") as store:
        assert sum(execution.metrics.records_extracted for execution in store.executions("faults")) == len(sender.sent)
        hours = store.hours("faults")
        assert sum(hour.events for hour in hours) == len(sender.sent)
        assert len({hour.hour for hour in hours}) == len(hours)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if b"beam_pipelines.stream" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert bool(service.engines) == bool(trial.prism)
    assert not [engine for engine in service.engines if Path(f"/proc/{engine}").exists()]
