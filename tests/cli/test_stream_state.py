"""Where a stream goes on from: told in records, and changed by hand; and what its messages become, looked at beforehand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from confluent_kafka import Producer

from beam_pipelines.cli import main
from beam_pipelines.testing.kafka import mock_broker

MINUTE = 60_000
BEGIN = 28_333_333 * MINUTE  # 2023-11-14T22:13:00Z
DEFINITION = """\
name: Clicks
stream:
  source: {type: kafka, topic: clicks, columns: {user: text, value: bigint, timestamp: bigint}}
  processors:
    - {id: sums, type: window, window: {type: tumbling, size: 1m}, aggregations: {total: "sum:value"}}
  sinks: [{type: database, connection: db, table: sums}]
"""


@dataclass
class Room:
    """A folder with a stream of two partitions."""

    folder: Path
    producer: Producer
    capture: pytest.CaptureFixture[str]

    def send(self, partition: int, *events: tuple[int, int]) -> None:
        """Send events: milliseconds behind `BEGIN`, and value."""
        for at, value in events:
            self.producer.produce("clicks", json.dumps({"user": "u", "value": value, "timestamp": BEGIN + at}), partition=partition)
        assert not self.producer.flush(10)

    def __call__(self, *words: str, code: int = 0) -> str:
        got = main.main(list(words))
        said = self.capture.readouterr()
        assert got == code, said.err
        return said.out if not code else said.err

    def run(self, *words: str) -> dict[str, Any]:
        return dict(json.loads(self("run", "service.yaml", "--until", "latest", "--output", "json", *words)))

    def state(self) -> dict[str, Any]:
        (one,) = json.loads(self("state", "show", "--output", "json"))
        return dict(one)

    def sums(self) -> dict[int, tuple[int, int]]:
        """By minute: events and total."""
        with duckdb.connect(str(self.folder / "t.duckdb"), read_only=True) as connection:
            found = connection.execute("SELECT epoch_ms(windowStart), eventCount, total FROM sums").fetchall()
        return {(start - BEGIN) // MINUTE: (count, total) for start, count, total in found}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Room]:
    monkeypatch.chdir(tmp_path)
    with mock_broker(clicks=2) as broker:
        (tmp_path / "service.yaml").write_text(DEFINITION)
        (tmp_path / "connections.yaml").write_text(f"kafka: {{bootstrap.servers: '{broker.servers}'}}\ndb: duckdb:///t.duckdb\n")
        yield Room(tmp_path, Producer({"bootstrap.servers": broker.servers, "log_level": 0}), capsys)


def filled(room: Room) -> dict[str, Any]:
    """Two minutes in both partitions, of which the first one is closed."""
    room.send(0, (0, 1), (1_000, 2), (61_000, 4))
    room.send(1, (2_000, 8), (62_000, 16))
    return room.run()


WHERE = {"closed": "2023-11-14T22:14:01.000+00:00", "offsets": {"0": 3, "1": 2}}


def test_records_tell_offsets_and_the_time_up_to_which_windows_are_closed(room: Room) -> None:
    assert filled(room)["watermark"] == WHERE
    shown = room.state()
    assert (shown["watermark"], shown["same"]) == (WHERE, True)
    assert "closed up to 2023-11-14T22:14:01.000+00:00; next 0: 3, 1: 2  offsets" in room("state", "show")
    (record,) = json.loads(room("runs", "--output", "json"))
    assert record["watermark"] == WHERE
    assert "  read up to       0: 3, 1: 2\n" in room("runs", "show", record["runId"])
    assert json.loads(room("runs", "show", record["runId"], "--output", "json"))["watermark"] == WHERE


def test_what_is_read_again_counts_once(room: Room) -> None:
    filled(room)
    assert room.sums() == {0: (3, 11)}
    told = room("state", "set", '{"offsets": {"0": 0, "1": 0}}')
    assert told == f"clicks, sums: closed up to {WHERE['closed']}; next 0: 3, 1: 2 -> nothing closed yet; next 0: 0, 1: 0\n"
    room.send(0, (121_000, 32))
    room.send(1, (121_000, 64))
    assert room.run()["metrics"]["recordsExtracted"] == 7
    # The second minute was open, with the states of its events: these were given up, and are read anew.
    assert room.sums() == {0: (3, 11), 1: (2, 20)}


def test_windows_that_are_to_stay_are_closed_to_what_is_read_again(room: Room) -> None:
    filled(room)
    room("state", "set", json.dumps({"offsets": {"0": 1, "1": 0}, "closed": "2023-11-14T22:14:00Z"}))
    room.send(0, (121_000, 32))
    room.send(1, (121_000, 64))
    assert room.run()["live"]["late"] == 2
    assert room.sums() == {0: (3, 11), 1: (2, 20)}


def test_messages_are_passed_over_and_open_windows_stay(room: Room) -> None:
    filled(room)
    room.send(0, (63_000, 1_000), (64_000, 32))
    room("state", "set", '{"offsets": {"0": 4}}')
    assert room.state()["watermark"] == {**WHERE, "offsets": {"0": 4, "1": 2}}
    room.send(0, (121_000, 0))
    room.send(1, (121_000, 0))
    assert room.run()["metrics"]["recordsExtracted"] == 3
    assert room.sums() == {0: (3, 11), 1: (3, 52)}


WRONG = {
    "2023-11-14T22:14:00Z": "expected offsets such as",
    '{"offsets": {"first": 1}}': "expected the number of a partition as key",
    '{"offsets": {"0": -1}}': "zero or above",
    '{"offsets": {"0": true}}': "expected a whole number",
    '{"offsets": {"0": 1, "1": 1}, "closed": "2023-11-14T22:14:00"}': "with its zone",
    '{"offset": {"0": 1}}': 'expected {"offsets"',
    '{"offsets": {"0": 1}}': "partition 0 goes back, and 1 would not",
    '{"offsets": {"0": 3, "7": 0}}': "partition 7 is not among those that the service reads (0, 1)",
}


def test_what_is_no_place_to_go_on_from_is_refused_and_nothing_changes(room: Room) -> None:
    filled(room)
    for value, why in WRONG.items():
        assert why in room("state", "set", value, code=2), value
    assert room.state()["watermark"] == WHERE


def test_after_a_reset_everything_is_read_once(room: Room) -> None:
    filled(room)
    room("state", "reset")
    room.send(0, (121_000, 32))
    room.send(1, (121_000, 64))
    assert room.run()["metrics"]["recordsExtracted"] == 7
    assert room.sums() == {0: (3, 11), 1: (2, 20)}


def test_a_preview_shows_the_windows_of_a_sample_and_what_of_it_is_late(room: Room) -> None:
    room.send(0, (0, 1), (61_000, 4), (1_000, 2))
    room.send(1, (2_000, 8))
    shown = json.loads(room("preview", "service.yaml", "--output", "json"))
    assert sorted((row["windowStart"], row["eventCount"], row["total"]) for row in shown["rows"]) == [
        ("2023-11-14T22:13:00.000+00:00", 2, 9),
        ("2023-11-14T22:14:00.000+00:00", 1, 4),
    ]
    (late,) = shown["dead"]
    assert (late["step"], late["code"], late["origin"]) == (
        "sums",
        "late-row",
        {"source": "clicks", "partition": 0, "offset": 2},
    )
    assert shown["notes"] == ["windows of 'sums' hold what of them was sampled, and all of them come out"]
    assert not (room.folder / "t.duckdb").exists()


@pytest.mark.parametrize(
    ("window", "line"),
    [
        ("{type: tumbling, size: 60000}", "tumbling windows of 1m"),
        (
            "{type: sliding, size: 90s, slide: 1s}, groupBy: [user], allowedLateness: 1h",
            "sliding windows of 90s, one each 1s, by user, kept 1h for late events",
        ),
        ("{type: session, gap: 1500}, groupBy: [user]", "session windows that end 1500ms after their last event, by user"),
        ("{type: tumbling, size: 1d}, emit: every 10s", "tumbling windows of 1d, also as they are every 10s"),
    ],
)
def test_the_plan_tells_which_windows_there_are(room: Room, window: str, line: str) -> None:
    (room.folder / "service.yaml").write_text(DEFINITION.replace("{type: tumbling, size: 1m}", window))
    assert f"  2. sums: {line}\n" in room("plan", "service.yaml")


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("table: sums", "table: sums, mode: replace", "stream.sinks[0].mode"),
        ("table: sums", "table: sums, mode: replace, keyFields: [windowStart]", "stream.sinks[0].mode"),
        ("table: sums}", "table: sums}, {type: database, connection: db, table: more, mode: replace}", "stream.sinks[1].mode"),
        ("size: 1m}", "size: 1m}, late: {type: database, connection: db, table: late, mode: replace}", "stream.processors[0].late.mode"),
    ],
)
def test_a_sink_that_each_commit_would_empty_is_refused(room: Room, old: str, new: str, path: str) -> None:
    (room.folder / "service.yaml").write_text(DEFINITION.replace(old, new))
    said = room("plan", "service.yaml", code=2)
    assert f"{path}: expected insert or upsert, got replace" in said
    assert "mode-refused" in said


def test_a_stream_that_inserts_begins_anew_although_its_first_commit_has_no_result(room: Room) -> None:
    (room.folder / "service.yaml").write_text(DEFINITION.replace("table: sums", "table: sums, mode: insert"))
    room.send(0, (0, 1), (1_000, 2))
    room.send(1, (2_000, 8))
    assert room.run("--full-refresh", "--yes")["live"]["openWindows"] == 1
    room.send(0, (61_000, 4))
    room.send(1, (62_000, 16))
    room.run()
    assert room.sums() == {0: (3, 11)}
    room.run("--full-refresh", "--yes")
    assert room.sums() == {0: (3, 11)}


def test_a_partition_that_is_gone_holds_up_no_window_once_that_is_accepted(room: Room) -> None:
    filled(room)
    with mock_broker(clicks=1) as anew:
        (room.folder / "connections.yaml").write_text(f"kafka: {{bootstrap.servers: '{anew.servers}'}}\ndb: duckdb:///t.duckdb\n")
        room.producer = Producer({"bootstrap.servers": anew.servers, "log_level": 0})
        room.send(0, *((0, 0) for _ in range(3)), (62_500, 64), (121_000, 32))
        room("run", "service.yaml", "--until", "latest", code=1)
        assert room.state()["watermark"] == WHERE
        room.run("--keep-watermark")
        assert room.state()["watermark"] == {"closed": "2023-11-14T22:15:01.000+00:00", "offsets": {"0": 5}}
        assert room.sums() == {0: (3, 11), 1: (3, 84)}
        room.send(0, (181_000, 0))
        room.run()
        assert room.sums() == {0: (3, 11), 1: (3, 84), 2: (1, 32)}


@pytest.mark.parametrize(
    ("partitions", "events", "why"), [(2, 1, "partition 0 ends at 1 and was read up to 3"), (1, 0, "name partition 1")]
)
def test_a_topic_made_anew_is_noticed_though_nothing_is_behind_what_was_read(room: Room, partitions: int, events: int, why: str) -> None:
    filled(room)
    with mock_broker(clicks=partitions) as anew:
        (room.folder / "connections.yaml").write_text(f"kafka: {{bootstrap.servers: '{anew.servers}'}}\ndb: duckdb:///t.duckdb\n")
        room.producer = Producer({"bootstrap.servers": anew.servers, "log_level": 0})
        room.send(0, *((0, 0) for _ in range(events)))
        room("run", "service.yaml", "--until", "latest", code=1)
        (record,) = [run for run in json.loads(room("runs", "--output", "json")) if run["status"] == "failed"]
    assert why in record["error"]
    assert room.state()["watermark"] == WHERE
