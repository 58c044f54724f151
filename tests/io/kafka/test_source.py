from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import FatalError, PlanError, TransientError
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.offsets import Offsets, Place
from tests.io.kafka.conftest import Topic

Make = Callable[..., Topic]
T0 = 1_700_000_000_000


def event(number: int, at: int, **more: Any) -> bytes:
    return json.dumps({"userId": f"u{number}", "value": number, "timestamp": at, **more}).encode()


def test_messages_become_rows_with_their_place_and_time(topic: Make) -> None:
    events = topic(2)
    events.put(event(1, T0 + 5), event(2, T0 + 1), event(3, T0 + 9), event(4, T0 + 7))
    events.put(event(5, T0), partition=1)
    source = events.source(outOfOrderness="2ms")

    described = source.describe(events.name)
    got = events.drain(source)

    assert described.schema == pa.schema([("userId", pa.string()), ("value", pa.int64()), ("timestamp", pa.int64())])
    assert (described.rows, source.tables(), source.cursor) == (5, [events.name], None)
    assert [row["value"] for row in got.rows] == [1, 2, 3, 4, 5]
    assert got.rows[0] == {"userId": "u1", "value": 1, "timestamp": T0 + 5}
    assert got.hidden("__bp_source") == [events.name] * 5
    assert got.hidden("__bp_partition") == [0, 0, 0, 0, 1]
    assert got.hidden("__bp_offset") == [0, 1, 2, 3, 0]
    assert got.hidden("__bp_time") == [T0 + 5, T0 + 1, T0 + 9, T0 + 7, T0]
    assert got.hidden("__bp_behind") == [None, T0 + 3, T0 + 3, T0 + 7, None]
    assert got.offsets == Offsets({0: Place(4, T0 + 9, T0), 1: Place(1, T0, T0)})
    source.close()
    source.close()


def test_a_run_goes_on_where_the_last_one_stopped(topic: Make) -> None:
    events = topic(2)
    events.put(event(1, T0 + 5))
    source = events.source()
    first = events.drain(source)
    assert first.bounds == [
        {"partition": 0, "from": 0, "to": 1, "end": 1, "newest": None, "at": None},
        {"partition": 1, "from": 0, "to": 0, "end": 0, "newest": None, "at": None},
    ]
    events.put(event(2, T0 + 3), event(3, T0 + 8), at=T0 + 100)
    second = events.drain(events.source(), first.offsets)

    assert [row["value"] for row in second.rows] == [2, 3]
    assert second.hidden("__bp_behind") == [T0 + 5, T0 + 5]
    assert second.bounds[0] == {"partition": 0, "from": 1, "to": 3, "end": 3, "newest": T0 + 5, "at": T0}
    assert second.offsets == Offsets({0: Place(3, T0 + 8, T0 + 100), 1: Place(0)})
    assert events.drain(events.source(), second.offsets).rows == []
    source.close()


def test_a_range_gives_the_same_twice(topic: Make) -> None:
    events = topic()
    events.put(*(event(number, T0 + number % 7) for number in range(500)), b"none")
    source = events.source()
    one, two = events.drain(source), events.drain(source)
    assert (one.rows, one.hidden("__bp_behind"), one.dead) == (two.rows, two.hidden("__bp_behind"), two.dead)
    assert len(one.rows) == 500
    source.close()


def test_a_partition_that_is_new_is_read_from_its_beginning_whatever_start_from_says(topic: Make) -> None:
    events = topic(2)
    events.put(event(1, T0))
    events.put(event(2, T0), partition=1)
    got = events.drain(events.source(startFrom="latest"), Offsets({0: Place(1, T0, T0)}))
    assert [row["value"] for row in got.rows] == [2]


@pytest.mark.parametrize(
    ("start", "values"),
    [("committed", [1, 2, 3]), ("earliest", [1, 2, 3]), ("latest", [])],
)
def test_where_the_first_run_starts(topic: Make, start: str, values: list[int]) -> None:
    events = topic(2)
    for number, second in ((1, 0), (2, 1), (3, 2)):
        events.put(event(number, T0), at=T0 + 1000 * second)
    source = events.source(startFrom=start)
    got = events.drain(source)
    assert [row["value"] for row in got.rows] == values
    assert got.offsets.partitions[0].next == 3  # committed though nothing was read
    events.put(event(4, T0))
    assert [row["value"] for row in events.drain(source, got.offsets).rows] == [4]
    source.close()


def test_a_run_reads_so_many_at_most_and_some_of_every_partition(topic: Make) -> None:
    events = topic(4)
    for partition, count in enumerate((100, 3, 0, 50)):
        events.put(*(event(number, T0) for number in range(count)), partition=partition)
    source = events.source(most=43)
    got = events.drain(source)
    assert [(one["from"], one["to"], one["end"]) for one in got.bounds] == [(0, 20, 100), (0, 3, 3), (0, 0, 0), (0, 20, 50)]
    assert len(got.rows) == 43
    rest, low = [], got.offsets
    while True:
        got = events.drain(source, low)
        if not got.rows:
            break
        rest += got.rows
        low = got.offsets
    assert len(rest) == 110
    source.close()


GONE = Offsets({0: Place(2, T0, T0), 1: Place(7, T0, T0)})


def test_messages_that_retention_took_before_they_were_read_stop_the_service(topic: Make, caplog: pytest.LogCaptureFixture) -> None:
    events = topic()
    many = [b'{"a": "' + b"x" * 100_000 + b'"}' for _ in range(80)]  # the mock broker keeps 5 MB
    events.put(*many)
    source = events.source()
    first = source.fix(events.name, None, None, False, 1).ranges[0].bounds["from"]
    assert 0 < first < 80
    low = Offsets({0: Place(2)}).to_mark()
    with pytest.raises(
        FatalError, match=rf"{first - 2} offsets .* are gone.*{first - 2} of partition 0; start once with --keep-watermark"
    ) as no:
        source.fix(events.name, None, low, False, 1)
    assert (no.value.code, no.value.details["lost"]) == ("read-failed", {"0": first - 2})
    accepted = events.source(context=RunContext("run", "2026-01-01T00:00:00Z", keep_watermark=True))
    with caplog.at_level(logging.ERROR):
        fixed = accepted.fix(events.name, None, low, False, 1)
    assert fixed.ranges[0].bounds["from"] == first
    assert f"{first - 2} offsets" in caplog.text
    source.close()
    accepted.close()


def test_a_topic_that_ends_before_what_was_read_stops_the_service(topic: Make) -> None:
    events = topic()
    events.put(event(1, T0))
    with pytest.raises(FatalError, match=r"partition 0 ends at 1 and was read up to 2; was the topic made anew\? .*--full-refresh"):
        events.source().fix(events.name, None, Offsets({0: Place(2, T0, T0)}).to_mark(), False, 1)


def test_a_partition_that_is_gone_stops_the_service_until_that_is_accepted(topic: Make, caplog: pytest.LogCaptureFixture) -> None:
    events = topic()
    events.put(event(1, T0), event(2, T0), event(3, T0))
    with pytest.raises(FatalError, match=r"name partition 1, and the topic has 0 only; was the topic made anew\? .*--full-refresh") as no:
        events.source().fix(events.name, None, GONE.to_mark(), False, 1)
    assert (no.value.code, no.value.details["partitions"]) == ("read-failed", [1])
    accepted = events.source(context=RunContext("run", "2026-01-01T00:00:00Z", keep_watermark=True))
    with caplog.at_level(logging.ERROR):
        fixed = accepted.fix(events.name, None, GONE.to_mark(), False, 1)
    assert [(one.bounds["partition"], one.bounds["from"], one.bounds["to"]) for one in fixed.ranges] == [(0, 2, 3)]
    assert "name partition 1" in caplog.text
    accepted.close()


def test_a_topic_that_is_not_there_is_named_with_the_nearest(topic: Make) -> None:
    events = topic()
    wrong = Topic(events.servers, events.name + "s")
    with pytest.raises(PlanError, match=f"did you mean '{events.name}'") as no:
        wrong.source().describe(wrong.name)
    assert no.value.code == "table-missing"


def test_a_topic_without_messages_does_not_tell_its_columns(topic: Make) -> None:
    events = topic()
    with pytest.raises(PlanError, match=r"it has no messages: declare them \(columns:") as no:
        events.source().describe(events.name)
    assert (no.value.code, no.value.details) == ("column-missing", {"sourceKey": "columns"})
    declared = events.source(columns={"userId": "text", "timestamp": "timestamptz"}).describe(events.name)
    assert declared.schema.names == ["userId", "timestamp"]
    events.put(b"none", b"[]", None)
    with pytest.raises(PlanError, match="none of its newest messages is a JSON object"):
        events.source().describe(events.name)


def test_columns_are_inferred_over_the_newest_messages_of_all_partitions(topic: Make) -> None:
    events = topic(2)
    events.put(b'{"old": 1}', b'{"a": 1}', b'{"a": 2.5, "c": null}')
    events.put(b'{"b": "x"}', partition=1)
    schema = events.source(sampleRows=3).describe(events.name).schema
    assert {column.name: column.type for column in schema} == {"a": pa.float64(), "c": pa.string(), "b": pa.string()}


def test_the_event_time_is_of_the_field_the_column_timestamp_or_the_message(topic: Make) -> None:
    events = topic()
    events.put(b'{"at": 1700000123, "timestamp": 5}', at=T0 + 77)
    assert events.drain(events.source(timestampField="at", timestampUnit="s")).hidden("__bp_time") == [1_700_000_123_000]
    assert events.drain(events.source()).hidden("__bp_time") == [5]
    assert events.drain(events.source(columns={"at": "bigint"})).hidden("__bp_time") == [T0 + 77]
    with pytest.raises(PlanError, match=r"got 'when'.* has 'at', 'timestamp'") as no:
        events.source(timestampField="when").describe(events.name)
    assert no.value.details == {"sourceKey": "timestampField"}


def test_what_kafka_says_of_a_message_comes_as_columns(topic: Make) -> None:
    events = topic(2)
    events.put(b'{"a": 1}', key=b"k1", headers=[("trace", b"t1"), ("trace", b"t2"), ("raw", b"\xff"), ("none", None)], partition=1, at=T0)
    events.put(b'{"a": 2}', b'{"a": 3}', partition=1, at=T0 + 1)
    wanted = {"key": "k", "headers": "h", "partition": "p", "offset": "o", "timestamp": "t"}
    got = events.drain(events.source(metadata=wanted))
    first, second, _ = got.rows
    assert list(first) == ["a", "k", "h", "p", "o", "t"]
    assert (first["k"], first["p"], first["o"], first["t"].isoformat()) == ("k1", 1, 0, "2023-11-14T22:13:20+00:00")
    assert dict(first["h"]) == {"trace": "t2", "raw": "\\xff", "none": None}
    assert (second["k"], second["h"], second["o"]) == (None, [], 1)


def test_a_key_that_is_no_text_costs_its_message_unless_it_is_declared_as_bytes(topic: Make) -> None:
    events = topic()
    events.put(b'{"a": 1}', key=b"\xff")
    events.put(b'{"a": 2}', key=b"k")
    got = events.drain(events.source(metadata={"key": "k"}))
    assert got.rows == [{"a": 2, "k": "k"}]
    ((place, code, message, payload),) = got.dead
    assert (place["offset"], code) == (0, "row-invalid")
    assert "declare its column as bytes (columns: {k: bytes})" in message
    assert payload == {"keyBase64": b"\xff", "value": '{"a": 1}'}
    assert [row["k"] for row in events.drain(events.source(metadata={"key": "k"}, columns={"k": "bytes"})).rows] == [b"\xff", b"k"]


@pytest.mark.parametrize(("form", "values"), [("text", ["größe", ""]), ("bytes", ["größe".encode(), b"\xff", b""])])
def test_values_that_have_no_columns_are_one(topic: Make, form: str, values: list[Any]) -> None:
    events = topic()
    events.put("größe".encode(), b"\xff", None, b"", at=T0)
    got = events.drain(events.source(format=form))
    assert got.rows == [{"value": value} for value in values]
    assert got.hidden("__bp_time") == [T0] * len(values)
    assert [letter[0]["offset"] for letter in got.dead] == ([1, 2] if form == "text" else [2])


def test_brokers_that_are_away_are_told_with_what_to_do(topic: Make) -> None:
    source = Topic("127.0.0.1:1", "events").source(patience=0.3)
    with pytest.raises(
        TransientError, match=r"connection 'kafka' \(127.0.0.1:1\).*no broker gave it within 0.3 s: see that they run"
    ) as no:
        source.describe("events")
    assert no.value.code == "unreachable"
    source.close()


def test_a_source_says_what_answered_and_shows_some_rows(topic: Make) -> None:
    events = topic(2)
    events.put(event(1, T0), b"none", event(2, T0))
    source = events.source()
    said = source.check()
    assert said.startswith("Kafka, cluster ")
    assert said.endswith(f"topic {events.name}, 2 partitions")
    found = source.sample(events.name, 2)
    assert found.column("value").to_pylist() in ([2], [1, 2])
    assert source.sample(events.name, 10).column("value").to_pylist() == [1, 2]
    source.close()
