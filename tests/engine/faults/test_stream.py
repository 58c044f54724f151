"""A stream killed around each call that makes something last: each window, late row and bad message is in the sinks, and told, once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb
import orjson
import pytest
from confluent_kafka import Producer

from beam_pipelines.examples.stream import broker
from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.testing.faults import KINDS, Child, Ended, Fault, Kind, can_fail, explore, once, verb
from beam_pipelines.testing.windows import Event, WindowOracle

World = Any
BEGIN = 1_700_000_040_000  # ms; a full minute
STEP = {
    "id": "sum",
    "type": "window",
    "window": {"type": "tumbling", "size": "10s"},
    "groupBy": ["user"],
    "aggregations": {"total": "sum:value", "different": "count_distinct:value"},
    "allowedLateness": "10s",
}


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with broker() as address:
        yield address


@dataclass
class Visits:
    """A world at the moment before the second run of a stream: windows are open, messages have come, and of two sinks both are behind.

    Args:
        world: Where.
        servers: Of the broker.
    """

    world: World
    servers: str
    topic: str = field(default_factory=lambda: f"visits-{random.SystemRandom().getrandbits(40)}")
    offset: int = 0
    poisoned: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self.world
        world.fresh()
        places = {**orjson.loads((world.folder / "connections.yaml").read_bytes()), "copies": "duckdb:///copies.duckdb"}
        places["kafka"] = {"bootstrap.servers": self.servers}
        (world.folder / "connections.yaml").write_bytes(orjson.dumps(places))
        columns = {"user": "text", "value": "bigint", "timestamp": "bigint"}
        stream = {
            "source": {"type": "kafka", "topic": self.topic, "outOfOrderness": "2s", "columns": columns},
            "processors": [STEP],
            "sinks": [
                {"type": "database", "connection": "target", "table": "results"},
                {"type": "database", "connection": "copies", "table": "results"},
            ],
        }
        world.put({"name": "Visits", "stream": stream, "pricing": {"model": "per-hour", "rate": 2}})
        self.oracle = WindowOracle(WindowStep.model_validate(STEP), 2_000)
        producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})
        producer.list_topics(self.topic, timeout=5)  # makes it
        self._send(producer, 0)
        assert self.start().wait().exit_code == 0
        self._send(producer, 30_000)
        world.save()

    def _send(self, producer: Producer, begin: int) -> None:
        """Events of half a minute, some late, and two messages that are none."""
        dice, sent = random.Random(begin), list[Event]()
        for number in range(60):
            back = 25_000 if number % 17 == 9 else dice.randrange(2_000)
            fields = {"user": f"u{dice.randrange(3)}", "value": dice.randrange(5)}
            time = BEGIN + begin + number * 500 - back
            producer.produce(self.topic, orjson.dumps({**fields, "timestamp": time}), partition=0)
            sent.append({**fields, "partition": 0, "offset": self.offset, "time": time})
            self.offset += 1
            if number in (20, 59):
                producer.produce(self.topic, b"hello", partition=0)
                self.poisoned.append(self.offset)
                self.offset += 1
        assert not producer.flush(10)
        self.oracle.drain(sent)

    def reset(self) -> None:
        self.world.restore()

    def start(self, fault: Fault | None = None, **run: Any) -> Child:
        child: Child = self.world.start(fault, until="latest", **run)
        return child

    def trace(self) -> Ended:
        self.reset()
        ended = self.start(watched=self.world.folder).wait()
        assert ended.exit_code == 0, ended
        return ended

    def check(self) -> None:
        world = self.world
        wanted = sorted(
            (row["user"], row["windowStart"], row["eventCount"], row["total"], row["different"]) for row in self.oracle.table.values()
        )
        columns = '"user", "windowStart", "eventCount", total, different'
        found = world.target(f"SELECT {columns} FROM results")
        assert sorted((row[0], round(row[1].timestamp() * 1000), *map(int, row[2:])) for row in found) == wanted
        with duckdb.connect(str(world.folder / "copies.duckdb")) as copies:
            found = copies.execute('SELECT "user", epoch_ms("windowStart"), "eventCount", total, different FROM results').fetchall()
        assert sorted(found) == wanted
        kinds = world.target("SELECT DISTINCT kind FROM _beam_pipelines_kept")
        assert kinds == [("open",)]  # nothing waits
        assert [path.name for path in world.folder.rglob("*.part")] == []
        told = sorted((letter["code"], letter["origin"]["offset"]) for letter in world.letters())
        late = sorted(("late-row", offset) for _, offset in self.oracle.late)
        assert late
        assert told == [*late, *(("row-invalid", offset) for offset in self.poisoned)]
        with world.store() as store:
            executions = store.executions("visits")
            assert {one.status for one in executions} <= {"success", "failed", "lost"}
            assert sum(one.metrics.records_extracted for one in executions) == self.offset
            assert sum(one.metrics.records_dead_lettered for one in executions) == len(told)
            assert sum(one.count for one in store.failed_records("visits", limit=None)) == len(told)
            hours = store.hours("visits")
            assert sum(hour.events for hour in hours) == self.offset
            assert len({hour.hour for hour in hours}) == len(hours)


def lasting(traced: Ended) -> list[str]:
    """The calls of a run that make something last, here or at a server."""
    return [call for call in traced.calls if call in traced.effects or call.partition("#")[0].lower().endswith((".commit", ".copy"))]


@pytest.mark.timeout(900)
def test_killed_between_commit_record_and_the_other_sink(worlds: Any, servers: str) -> None:
    made = [Visits(worlds("duckdb", number), servers) for number in range(2)]
    traced = made[0].trace()
    made[0].check()
    calls = lasting(traced)
    first = next(place for place, call in enumerate(calls) if call.startswith("target.commit"))
    rooms = ("target.", "letters.", "state.advance")
    calls = [call for call in calls[first:] if call.startswith(rooms) and verb(call).lower() in ("commit", "replace")]
    assert [call.partition(":")[0] for call in once(calls)].count("target.forget_kept") == 2  # rows and note
    broken = explore(made, [Fault(calls[0], "die-before"), *(Fault(call, "die-after") for call in calls)])
    assert not broken, "\n".join(broken)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("system", ["duckdb", "postgresql"])
def test_killed_at_each_call_that_makes_something_last(worlds: Any, servers: str, system: str) -> None:
    made = [Visits(worlds(system, number), servers) for number in range(2)]
    calls = lasting(made[0].trace())
    broken = explore(made, [Fault(calls[0], "die-before"), *(Fault(call, "die-after") for call in once(calls))])
    assert not broken, "\n".join(broken)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("hang")])
@pytest.mark.parametrize("system", ["duckdb", "postgresql"])
def test_every_call_of_a_drain(worlds: Any, servers: str, system: str, kind: Kind) -> None:
    made = [Visits(worlds(system, number), servers) for number in range(2)]
    calls = [call for call in made[0].trace().calls if can_fail(call) or not kind.startswith("fail")]
    broken = explore(made, [Fault(call, kind) for call in calls])
    assert not broken, "\n".join(broken)
