from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError, TransientError
from beam_pipelines.io.kafka.consumer import Reader
from beam_pipelines.io.kafka.producer import TopicWriter
from beam_pipelines.spec.destination import KafkaDestination
from beam_pipelines.testing.kafka import mock_broker
from tests.io.kafka.conftest import Topic, connection

Make = Callable[..., Topic]
ROWS = pa.record_batch(
    {
        "user": ["u1", None, "ü"],
        "windowStart": pa.array([0, 60_000, None], pa.timestamp("ms", "UTC")),
        "total": pa.array([Decimal("1.50"), None, Decimal("2.00")]),
        "n": [1, 2, 3],
        "raw": [b"\xff", b"", None],
        "parts": [{"a": [1]}, None, {"a": []}],
    }
)


def writer(topic: Topic, patience: float = 20.0, **keys: Any) -> TopicWriter:
    return TopicWriter(KafkaDestination.model_validate({"topic": topic.name, **keys}), connection(topic.servers), patience)


def written(topic: Topic, partition: int = 0) -> list[Any]:
    reader = Reader(connection(topic.servers))
    low, high = reader.ends(topic.name, [partition])[partition]
    found = [message for some, _ in reader.read(topic.name, partition, low, high) for message in some]
    reader.close()
    return found


def test_rows_become_objects_of_json(topic: Make) -> None:
    out = topic()
    made = writer(out)
    made.write(ROWS)
    made.write(ROWS.slice(1, 1))
    assert made.flush() == []
    made.close()
    made.close()
    values = [json.loads(message.value()) for message in written(out)]
    first = {"user": "u1", "windowStart": "1970-01-01T00:00:00.000+00:00", "total": "1.50", "n": 1, "raw": "/w==", "parts": {"a": [1]}}
    assert values[0] == first
    assert values[1] == {"user": None, "windowStart": "1970-01-01T00:01:00.000+00:00", "total": None, "n": 2, "raw": "", "parts": None}
    assert (len(values), values[3]) == (4, values[1])
    assert [message.key() for message in written(out)] == [None] * 4


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        (["user"], [b"u1", None, "ü".encode()]),
        (["n"], [b"1", b"2", b"3"]),
        (["windowStart"], [b"1970-01-01T00:00:00.000+00:00", b"1970-01-01T00:01:00.000+00:00", None]),
        (["raw"], [b"\xff", b"", None]),
        (["user", "n"], [b'{"user":"u1","n":1}', b'{"user":null,"n":2}', '{"user":"ü","n":3}'.encode()]),
    ],
)
def test_keys_are_made_of_columns(topic: Make, key: list[str], keys: list[bytes | None]) -> None:
    out = topic()
    made = writer(out, key=key)
    made.write(ROWS)
    assert made.flush() == []
    assert [message.key() for message in written(out)] == keys


def test_headers_are_taken_from_columns(topic: Make) -> None:
    out = topic()
    made = writer(out, headers={"user": "user", "count": "n"})
    made.write(ROWS)
    made.flush()
    found = [message.headers() for message in written(out)]
    assert found == [[("user", b"u1"), ("count", b"1")], [("user", None), ("count", b"2")], [("user", "ü".encode()), ("count", b"3")]]


def test_messages_of_a_key_stay_in_order_and_hidden_columns_are_not_told(topic: Make) -> None:
    from beam_pipelines.columnar import origin

    out = topic(4)
    made = writer(out, key=["k"])
    for start in range(0, 3000, 500):
        numbers = range(start, start + 500)
        made.write(origin.attach(pa.record_batch({"k": [str(n % 7) for n in numbers], "n": list(numbers)}), "t", first_row=0))
    assert made.flush() == []
    seen: dict[str, list[int]] = {}
    for partition in range(4):
        for message in written(out, partition):
            value = json.loads(message.value())
            assert set(value) == {"k", "n"}
            seen.setdefault(value["k"], []).append(value["n"])
    assert {k: len(n) for k, n in seen.items()} == {str(k): len(range(k, 3000, 7)) for k in range(7)}
    assert all(n == sorted(n) for n in seen.values())


def test_a_column_that_is_not_there_is_refused_before(topic: Make) -> None:
    made = writer(topic(), key=["user"], headers={"h": "nope"})
    with pytest.raises(PlanError, match=r"expected columns as 'headers' of topic .*, got 'nope': there are 'user', 'windowStart'") as no:
        made.check(ROWS.schema)
    assert no.value.code == "column-missing"


def test_what_no_broker_takes_is_told_with_how_much_it_is() -> None:
    with mock_broker(out=1) as broker:
        out = Topic(broker.servers, "out")
        made = writer(out, patience=3.0)
        made.write(ROWS)
        assert made.flush() == []
        broker.down()
        made.write(ROWS)
        with pytest.raises(TransientError, match="topic 'out' to take 3 messages, 3 of which it did not take") as no:
            made.flush()
        assert no.value.code == "unreachable"
        broker.up()
        made.close()
        again = writer(out)
        again.write(ROWS)
        assert again.flush() == []
        assert len(written(out)) == 6
