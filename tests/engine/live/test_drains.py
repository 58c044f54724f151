"""What a stream does around its drains when something fails: nothing that committed is left out of the record, or told twice."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import orjson
import psycopg
import pytest
from confluent_kafka import Producer

from beam_pipelines.cli.main import main
from beam_pipelines.engine import commit as commits
from beam_pipelines.engine import heartbeat, launch
from beam_pipelines.engine.launch import Result
from beam_pipelines.engine.live import drains
from beam_pipelines.engine.live.drains import Until, _Stream
from beam_pipelines.engine.sinks.table import TableSink
from beam_pipelines.errors import FatalError, FencedError, PlanError, TransientError
from beam_pipelines.etl.service import Service
from beam_pipelines.examples.stream import broker
from beam_pipelines.io.http import client
from beam_pipelines.state.record import Execution
from beam_pipelines.state.store import StateStore
from beam_pipelines.testing.api import Api, Reply, serving

BEGIN = 1_700_000_000_000  # ms
POISON = b"hello"


class DeathError(BaseException):
    """The process died."""


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with broker() as address:
        yield address


@dataclass
class World:
    """A topic, and a service that puts its messages into a table as they are."""

    folder: Path
    topic: str
    producer: Producer
    sent: int = 0
    poisoned: int = 0
    drained: list[str] = field(default_factory=list)

    def define(self, *sinks: dict[str, Any], **more: Any) -> None:
        source = {"type": "kafka", "topic": self.topic, "columns": {"id": "bigint", "timestamp": "bigint"}}
        first = {"type": "database", "connection": "db", "table": "results"}
        definition = {"name": "S", "stream": {"source": source, "sinks": [first, *sinks]}, **more}
        (self.folder / "service.json").write_text(json.dumps(definition))

    def send(self, rows: int, poison: int = 0) -> None:
        for _ in range(rows):
            self.producer.produce(self.topic, orjson.dumps({"id": self.sent, "timestamp": BEGIN + self.sent}), partition=0)
            self.sent += 1
        for _ in range(poison):
            self.producer.produce(self.topic, POISON, partition=0)
        self.poisoned += poison
        assert not self.producer.flush(10)

    @property
    def service(self) -> Service:
        return Service.load(self.folder / "service.json")

    def run(self, until: Until | str = "latest", each: Callable[[], None] = lambda: None) -> Result:
        def drained(row: Any) -> None:
            self.drained.append(row.run)
            each()

        return self.service.run(until=until, drained=drained)

    def command(self, *words: str) -> int:
        """Carry out a command on the service; gives its exit code."""
        return main([*words, "--service", str(self.folder / "service.json")])

    def change(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the stream's part of the definition."""
        definition = json.loads((self.folder / "service.json").read_text())
        change(definition["stream"])
        (self.folder / "service.json").write_text(json.dumps(definition))

    def rows(self) -> list[int]:
        with duckdb.connect(str(self.folder / "target.duckdb")) as connection:
            return [row[0] for row in connection.execute("SELECT id FROM results ORDER BY id").fetchall()]

    def store(self) -> StateStore:
        return StateStore(f"sqlite:///{self.folder / '.beam_pipelines' / 'state.db'}")

    @property
    def archive(self) -> Path:
        return self.folder / ".beam_pipelines" / "dead-letters" / "s"

    def letters(self) -> dict[str, int]:
        return {file.name: len(file.read_text().splitlines()) for file in self.archive.glob("*.jsonl")}

    def recorded(self) -> list[tuple[str, int, int]]:
        """Of each execution, oldest first: status, messages read, dead letters in the index."""
        with self.store() as store:
            every: list[Execution] = sorted(store.executions("s"), key=lambda one: one.started_at)
            failed = store.failed_records("s", limit=None)
            return [(one.status, one.metrics.records_extracted, sum(f.count for f in failed if f.run == one.run)) for one in every]


@pytest.fixture
def world(servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(drains, "_PATIENCE", 0.01)
    monkeypatch.setattr(drains, "_PACE", 0.0)
    monkeypatch.setattr(drains, "_LOOK", 0.01)
    monkeypatch.setattr(client, "_BACK_OFF", lambda state: 0.001)
    (tmp_path / "connections.yaml").write_text(json.dumps({"kafka": {"bootstrap.servers": servers}, "db": "target.duckdb"}))
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    topic = f"drains-{random.SystemRandom().getrandbits(40)}"
    producer.list_topics(topic, timeout=5)  # makes it
    made = World(tmp_path, topic, producer)
    made.define()
    return made


def failing(monkeypatch: pytest.MonkeyPatch, error: Callable[[int], BaseException | None]) -> list[int]:
    """Have the store's record of a drain fail as a function of its number says; gives the numbers of the calls."""
    calls: list[int] = []
    advance = StateStore.advance

    def advanced(store: StateStore, *arguments: Any) -> bool:
        calls.append(len(calls))
        raised = error(calls[-1])
        if raised is not None:
            raise raised
        return advance(store, *arguments)

    monkeypatch.setattr(StateStore, "advance", advanced)
    return calls


def test_what_a_store_that_was_away_missed_is_recorded_before_the_next_drain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(5, poison=2)

    def away(number: int) -> BaseException | None:
        if number:
            return None
        world.send(3, poison=1)  # what the next drain reads
        return TransientError("the store is away")

    calls = failing(monkeypatch, away)
    result = world.run(Until(latest=True, when=lambda: bool(calls)))
    assert result.exit_code == 0
    assert world.recorded() == [("success", 11, 3)]
    assert world.rows() == list(range(8))
    assert sorted(world.letters().values()) == [1, 2]
    with world.store() as store:
        assert sum(hour.events for hour in store.hours("s")) == 11


def test_what_committed_is_recorded_though_its_record_is_what_ends_the_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(4, poison=1)
    failing(monkeypatch, lambda number: None if number else FatalError("the store is ill", code="authentication-failed"))
    assert world.run().exit_code == 1
    assert world.recorded() == [("failed", 5, 1)]


def test_what_an_execution_that_ended_left_out_the_next_one_records(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(4, poison=1)
    with monkeypatch.context() as patched:
        failing(patched, lambda number: FatalError("the store is ill", code="authentication-failed"))
        assert world.run().exit_code == 1
    assert world.recorded() == [("failed", 0, 0)]
    world.run()
    assert world.recorded() == [("failed", 5, 1), ("success", 0, 0)]
    assert list(world.letters().values()) == [1]


@pytest.mark.parametrize("command", ["set", "reset"])
def test_a_mark_that_is_moved_by_hand_leaves_nothing_unrecorded(world: World, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    world.send(4, poison=1)
    with monkeypatch.context() as patched:
        failing(patched, lambda number: DeathError())
        with pytest.raises(DeathError):
            world.run()
    value = ['{"offsets": {"0": 3}}'] if command == "set" else []
    assert world.command("state", command, *value) == 0
    assert [recorded[1:] for recorded in world.recorded()] == [(5, 1)]
    world.run()
    # From offset 3 on there is one good message and the bad one; from the beginning all five.
    again = (2, 1) if command == "set" else (5, 1)
    assert world.recorded() == [("lost", 5, 1), ("success", *again)]


def test_copies_that_are_cleared_bring_no_old_drain_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(4, poison=2)
    world.run()
    before = world.letters()
    with world.store() as store:
        assert store.clear_watermark("s") == 1
    with monkeypatch.context() as patched:  # it dies before it has recorded a drain of its own
        failing(patched, lambda number: DeathError())
        world.send(1)
        with pytest.raises(DeathError):
            world.run()
    world.run()
    assert world.letters() == before
    assert world.recorded() == [("success", 6, 2), ("lost", 1, 0), ("success", 0, 0)]


def test_a_heart_beats_on_when_a_beat_fails() -> None:
    beats, enough = list[int](), threading.Event()

    def beat() -> None:
        beats.append(len(beats))
        if len(beats) < 3:
            raise TransientError("the store is away")
        enough.set()

    with heartbeat.beating(beat, 0.001):
        assert enough.wait(10)
    count = len(beats)
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())
    assert len(beats) == count


def test_a_drain_that_takes_long_says_that_the_stream_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(1)
    touched, enough = list[str](), threading.Event()
    touch, run = StateStore.touch_hour, launch.run_pipeline

    def touching(store: StateStore, session: str) -> None:
        touch(store, session)
        if threading.current_thread().name == "heartbeat":
            touched.append(session)
            enough.set()

    def long(*arguments: Any) -> Any:
        assert enough.wait(10)
        return run(*arguments)

    monkeypatch.setattr(StateStore, "touch_hour", touching)
    monkeypatch.setattr(launch, "run_pipeline", long)
    monkeypatch.setattr(drains, "beating", functools.partial(heartbeat.beating, every=0.01))
    result = world.run()
    assert result.exit_code == 0
    assert set(touched) == {result.execution.run}


def test_what_is_older_than_it_may_be_goes_while_the_stream_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.define(retention={"deadLetters": "1d"})
    monkeypatch.setattr(drains, "_TIDY", -1.0)
    world.archive.mkdir(parents=True)
    old = [world.archive / "00000000000a.jsonl", world.archive / "00000000000a.sinks1.jsonl"]
    for path in old:
        path.write_text("{}\n")
        os.utime(path, (time.time() - 90_000,) * 2)
    there: list[int] = []

    def each() -> None:
        there.append(sum(path.exists() for path in old))
        if len(there) == 1:
            world.send(1)

    world.send(1)
    world.run(Until(latest=True, when=lambda: bool(there)), each)
    assert there == [2, 0]


@contextlib.contextmanager
def api_sink(world: World, answer: Callable[[int], Reply], **more: Any) -> Iterator[Api]:
    """A stream that posts to an API, too, whose answers go by the number of the request."""
    with serving(lambda asked: answer(len(api.asked) - 1)) as api:
        world.define({"type": "api", "endpoint": f"{api.url}/rows", "batchSize": 100, **more})
        yield api


def ids(api: Api) -> dict[str, list[int]]:
    return {asked.headers["idempotency-key"]: [row["id"] for row in asked.body] for asked in api.asked}


def test_an_api_that_is_ill_for_long_has_all_rows_when_the_stream_stops(world: World) -> None:
    world.send(3)
    with api_sink(world, lambda number: Reply(503 if number < 12 else 200)) as api:
        assert world.run().exit_code == 0
        assert (len(api.asked), list(ids(api).values())) == (13, [[0, 1, 2]])
    assert world.recorded() == [("success", 3, 0)]


def test_an_api_that_refuses_rows_stops_the_stream_until_it_is_mended(world: World) -> None:
    world.send(3)
    with api_sink(world, lambda number: Reply(400 if number < 2 else 200)) as api:
        first = world.run()
        assert (first.exit_code, first.execution.status, first.execution.error_code) == (1, "failed", "target-refused")
        with pytest.raises(FatalError, match="400"):  # before it begins again
            world.run()
        world.send(1)
        assert world.run().exit_code == 0
        assert sorted(ids(api).values()) == [[0, 1, 2], [3]]
    assert world.recorded() == [("failed", 3, 0), ("success", 1, 0)]


def test_an_api_may_be_the_only_sink(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(3)
    with api_sink(world, lambda number: Reply(200)) as api:
        definition = json.loads((world.folder / "service.json").read_text())
        del definition["stream"]["sinks"][0]
        (world.folder / "service.json").write_text(json.dumps(definition))
        with monkeypatch.context() as patched:
            failing(patched, lambda number: DeathError())  # behind the commit, and before a row is posted
            with pytest.raises(DeathError):
                world.run()
        assert api.asked == []
        world.send(2)
        result = world.run()
        assert sorted(ids(api).values()) == [[0, 1, 2], [3, 4]]
    assert result.execution.guarantee is not None
    assert result.execution.guarantee.startswith("at-least-once")
    assert "Idempotency-Key" in result.execution.guarantee
    assert world.recorded() == [("lost", 3, 0), ("success", 2, 0)]


def test_rows_that_an_api_refuses_are_counted_and_the_stream_goes_on(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.send(3)
    with api_sink(world, lambda number: Reply(400 if number == 0 else 200), errorHandling="continue") as api:
        assert world.run().exit_code == 0
        world.send(2)
        assert world.run().exit_code == 0
        assert len(api.asked) == 2
    assert world.recorded() == [("success", 3, 3), ("success", 2, 0)]
    assert world.letters() == {f"{world.drained[0]}.sinks1.jsonl": 3}
    assert world.command("dead-letters", "show") == 0
    assert "3 of 3 dead letters" in capsys.readouterr().out
    assert world.rows() == [0, 1, 2, 3, 4]


def test_rows_that_wait_for_a_sink_follow_it_and_are_given_up_by_word_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ({"type": "database", "connection": "db", "table": name, "mode": "insert"} for name in ("a", "b"))
    write = TableSink.write

    def writing(sink: TableSink, *arguments: Any) -> int:
        if sink.model.table == "b":
            raise DeathError
        return write(sink, *arguments)

    def counts() -> list[int]:
        with duckdb.connect(str(world.folder / "target.duckdb")) as connection:
            return [connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in ("results", "a", "b")]

    def killed() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(TableSink, "write", writing)
            with pytest.raises(DeathError):
                world.run()

    world.define(first, second)
    world.send(3)
    killed()
    world.define(second, first)
    world.send(1)
    assert world.run().exit_code == 0
    assert counts() == [4, 4, 4]
    world.send(2)
    killed()
    world.define()
    with pytest.raises(PlanError, match="rows are kept for sinks"):
        world.run()
    assert world.service.run(until="latest", keep_watermark=True).exit_code == 0
    with duckdb.connect(str(world.folder / "target.duckdb")) as connection:
        assert connection.execute("SELECT kind FROM _beam_pipelines_kept").fetchall() == []
    world.define(second, first)
    world.send(1)
    assert world.run().exit_code == 0
    # Where b stood first it died before a had got anything of the two: both are given up for both of them.
    assert counts() == [7, 5, 5]


def test_who_reads_a_topic_again_is_told_which_sinks_get_rows_again(world: World) -> None:
    tables: list[dict[str, Any]] = [
        {"type": "database", "connection": "db", "table": name, "mode": mode} for name, mode in (("a", "insert"), ("b", "upsert"))
    ]
    tables[1]["keyFields"] = ["id"]
    posted: list[int] = []
    with serving(lambda asked: posted.extend(row["id"] for row in asked.body) or Reply(200)) as api:
        world.define(*tables, {"type": "api", "endpoint": f"{api.url}/rows"}, {"type": "file", "path": "out/", "format": "csv"})
        world.send(2)
        assert world.run().exit_code == 0
        with pytest.raises(PlanError) as caught:
            world.service.run(until="latest", full_refresh=True)
        assert caught.value.code == "mode-refused"
        replaces, again = caught.value.message.split(", and ")
        assert "'results'" in replaces
        assert re.findall(r"\((.*?)\)", again) == ["sinks[1]", "sinks[3]", "sinks[4]"]
        assert world.service.run(until="latest", full_refresh=True, yes=True).exit_code == 0
    assert sorted(posted) == [0, 0, 1, 1]
    assert world.rows() == [0, 1]
    with duckdb.connect(str(world.folder / "target.duckdb")) as connection:
        found = [connection.execute(f"SELECT id FROM {name} ORDER BY id").fetchall() for name in ("a", "b")]
    assert found == [[(0,), (0,), (1,), (1,)], [(0,), (1,)]]


def _written(place: str, folder: Path) -> int:
    """Rows that a stream has put into a place."""
    if place == "files":
        return sum(len(file.read_text().splitlines()) for file in (folder / "out").glob("*.jsonl"))
    opened = {"sqlite": sqlite3.connect, "duckdb": duckdb.connect}
    there: Any = psycopg.connect(place) if "://" in place else opened[place](folder / f"target.{place}")
    with contextlib.closing(there):
        return int(there.execute("SELECT count(*) FROM results").fetchone()[0])


@pytest.mark.parametrize("kind", ["duckdb", "sqlite", "postgres", "files"])
def test_a_stream_that_begins_with_what_comes_from_now_on_goes_on(world: World, kind: str, request: pytest.FixtureRequest) -> None:
    place: str = request.getfixturevalue("postgres_database") if kind == "postgres" else kind
    if kind == "files":
        world.change(lambda stream: stream.update(sinks=[{"type": "file", "path": "out", "format": "jsonl"}]))
    else:
        connections = json.loads((world.folder / "connections.yaml").read_text())
        connections["db"] = place if kind == "postgres" else f"{kind}:///target.{kind}"
        (world.folder / "connections.yaml").write_text(json.dumps(connections))
    world.change(lambda stream: stream["source"].update(startFrom="latest"))
    world.send(4)
    assert (world.run().exit_code, _written(place, world.folder)) == (0, 0)
    assert world.run().exit_code == 0  # nothing came
    world.send(2)
    assert (world.run().exit_code, _written(place, world.folder)) == (0, 2)


def test_of_an_execution_that_died_and_wrote_elsewhere_nothing_is_assumed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(3)
    with monkeypatch.context() as patched:
        failing(patched, lambda number: DeathError())  # behind its first commit, before it is recorded
        with pytest.raises(DeathError):
            world.run()
    there = (world.folder / "connections.yaml").read_text()
    (world.folder / "connections.yaml").write_text(there.replace("target.duckdb", "other.duckdb"))
    with pytest.raises(PlanError, match=r"which died, wrote to duckdb:.*target\.duckdb, but the destination leads to") as no:
        world.run()
    assert no.value.code == "ledger-behind"
    # The ledger that has it may have another name now: it is the right one.
    (world.folder / "connections.yaml").write_text(there.replace("target.duckdb", "moved.duckdb"))
    (world.folder / "target.duckdb").rename(world.folder / "moved.duckdb")
    assert world.run().exit_code == 0
    assert world.recorded() == [("lost", 3, 0), ("success", 0, 0)]


def test_an_execution_that_died_and_wrote_elsewhere_is_given_up_when_the_user_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(3)
    with monkeypatch.context() as patched:
        failing(patched, lambda number: DeathError())
        with pytest.raises(DeathError):
            world.run()
    connections = world.folder / "connections.yaml"
    connections.write_text(connections.read_text().replace("target.duckdb", "other.duckdb"))
    assert world.service.run(until="latest", keep_watermark=True).exit_code == 0
    assert world.recorded() == [("lost", 0, 0), ("success", 3, 0)]
    with world.store() as store:
        assert [one.error_code for one in store.executions("s") if one.status == "lost"] == ["ledger-behind"]


SUMS = {"id": "sums", "type": "window", "window": {"type": "tumbling", "size": "5ms"}, "aggregations": {"total": "sum:twice"}}


def function(world: World, *steps: dict[str, Any]) -> None:
    """Put a function whose output is sampled into the stream, and steps behind it."""
    (world.folder / "functions.py").write_text('def double(row):\n    return {**row, "twice": 2 * row["id"]}\n')
    first = {"id": "double", "type": "function", "handler": "functions:double"}
    world.change(lambda stream: stream.update(processors=[first, *steps]))


def test_what_a_function_before_a_window_gives_is_sampled(world: World) -> None:
    function(world, SUMS)
    world.send(12)  # a millisecond apart
    assert world.run().exit_code == 0
    with duckdb.connect(str(world.folder / "target.duckdb")) as connection:
        found = connection.execute("SELECT eventCount, total FROM results ORDER BY windowStart").fetchall()
    assert found == [(5, 20), (5, 70)]


def test_what_a_function_behind_a_window_gives_is_declared(world: World) -> None:
    function(world, SUMS, {"id": "after", "type": "function", "handler": "functions:double"})
    world.send(12)
    with pytest.raises(PlanError) as no:
        world.run()
    (problem,) = no.value.problems
    assert (no.value.code, problem.path) == ("type-unsupported", "stream.processors[2]")
    assert "'after' stands behind a window, where what it returns cannot be sampled: declare it" in problem.message


def test_a_function_is_not_sampled_from_messages_that_are_none(world: World) -> None:
    function(world)
    world.send(0, poison=3)
    result = world.run()
    assert (result.exit_code, result.execution.error_code, world.drained) == (2, "empty-source", [])
    assert "no message of the topic can be read yet, so what the function 'double' gives cannot be found out" in str(result.error)
    assert world.recorded() == [("failed", 0, 0)]  # nothing was passed over
    world.send(2)
    assert world.run().exit_code == 0
    assert world.recorded() == [("failed", 0, 0), ("success", 5, 3)]


def test_who_stops_a_stream_that_waits_to_try_again_stops_it_in_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(3)
    failing(monkeypatch, lambda number: TransientError("the store is away") if number == 0 else None)

    def asked(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(drains.time, "sleep", asked)
    assert world.run(Until()).exit_code == 0
    assert world.recorded() == [("success", 3, 0)]


def test_a_stream_whose_lease_another_has_taken_stops(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was paused for so long that its lease ran out: were it to go on, there would be two of it for ever."""
    monkeypatch.setattr(launch, "_LEASE", 0.3)
    world.send(2)

    def taken() -> None:
        with contextlib.closing(sqlite3.connect(world.folder / ".beam_pipelines" / "state.db")) as store, store:
            store.execute("UPDATE leases SET run = 'another', token = token + 1")

    result = world.run(Until(seconds=10.0), taken)
    assert (result.exit_code, result.execution.error_code) == (1, "fenced")
    assert "run another" in str(result.error)
    assert world.rows() == [0, 1]


def cut_off(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have the first drain fail at its commit, as if its engine were gone; gives its worker, which outlives it and commits then."""
    commit, workers = commits.commit_loads, list[Callable[[], None]]()

    def first(job: Any, context: Any, target: Any, texts: Any, facts: Any) -> Iterator[Any]:
        if workers:
            yield from commit(job, context, target, texts, facts)
            return

        def worker() -> None:
            with contextlib.closing(job.open_target(context)) as again:
                list(commit(job, context, again, texts, facts))

        workers.append(worker)
        raise TransientError("the engine is gone")

    monkeypatch.setattr(commits, "commit_loads", first)
    return lambda: workers[0]()


def test_a_drain_that_was_given_up_commits_no_more_once_its_letters_may_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(0, poison=3)
    worker, bury = cut_off(monkeypatch), _Stream._bury

    def buried(one: _Stream, target: Any, rows: Any) -> None:
        bury(one, target, rows)
        with pytest.raises(FencedError, match="given up"):
            worker()

    monkeypatch.setattr(_Stream, "_bury", buried)
    assert world.run().exit_code == 0
    assert world.recorded() == [("success", 3, 3)]
    assert list(world.letters().values()) == [3]


def test_a_drain_of_an_execution_that_died_commits_no_more_once_another_begins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(0, poison=3)
    worker, run = cut_off(monkeypatch), launch.run_pipeline

    def dies(*arguments: Any) -> None:
        assert run(*arguments)
        raise DeathError

    with monkeypatch.context() as patched:
        patched.setattr(launch, "run_pipeline", dies)
        with pytest.raises(DeathError):
            world.run()
    settle = drains.settle

    def settled(*arguments: Any, **more: Any) -> list[str]:
        done = settle(*arguments, **more)
        with pytest.raises(FencedError, match="given up"):
            worker()
        return done

    monkeypatch.setattr(drains, "settle", settled)
    assert world.run().exit_code == 0
    assert world.recorded() == [("lost", 0, 0), ("success", 3, 3)]
    assert list(world.letters().values()) == [3]


def test_who_stops_a_stream_within_a_statement_of_duckdb_stops_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(3)
    with monkeypatch.context() as patched:
        calls = failing(patched, lambda number: RuntimeError("Query interrupted"))  # which is all that DuckDB leaves of the signal
        assert world.run(Until()).exit_code == 0
    assert len(calls) == 1
    assert world.run().exit_code == 0
    assert [recorded[1] for recorded in world.recorded()] == [3, 0]
