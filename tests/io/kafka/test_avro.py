from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError, SpecError, TransientError
from beam_pipelines.testing.api import Api, Asked, Reply, serving
from tests.io.kafka.conftest import Topic

Make = Callable[..., Topic]
FIRST = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "userId", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "paid", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}]},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
    ],
}
SECOND = {**FIRST, "fields": [*FIRST["fields"], {"name": "n", "type": "int", "default": 0}]}
AT = dt.datetime(2026, 1, 31, 12, tzinfo=dt.timezone.utc)
AT_MS = int(AT.timestamp()) * 1000


@contextmanager
def registry(latest: int | None = 2, **more: Any) -> Iterator[Api]:
    schemas = {
        1: json.dumps(FIRST),
        2: json.dumps(SECOND),
        3: "nonsense",
        4: json.dumps({"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}),
    }

    def answer(asked: Asked) -> Reply:
        target = asked.target
        if more.get("user") and "authorization" not in asked.headers:
            return Reply(401)
        if target.endswith("/versions/latest"):
            return Reply(404) if latest is None else Reply(body={"id": latest, "schema": schemas[latest]})
        number = int(target.rpartition("/")[2])
        if number == 5:
            return Reply(body={"schemaType": "PROTOBUF", "schema": "syntax"})
        return Reply(body={"schema": schemas[number]}) if number in schemas else Reply(404, {"error_code": 40403})

    with serving(answer) as api:
        yield api


def record(schema: dict[str, Any], number: int, **row: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), row)
    return b"\0" + number.to_bytes(4, "big") + out.getvalue()


ONE: dict[str, Any] = {"userId": "u1", "at": AT, "paid": Decimal("1.50"), "tags": ["a", "ü"]}
TWO: dict[str, Any] = {"userId": "u2", "at": AT + dt.timedelta(seconds=1, microseconds=999), "paid": None, "tags": [], "n": 7}


def test_records_of_several_schemas_become_rows_in_the_order_of_their_messages(topic: Make) -> None:
    events = topic()
    events.put(record(SECOND, 2, **TWO), record(FIRST, 1, **ONE), record(SECOND, 2, **TWO), at=AT_MS)
    with registry() as api:
        source = events.source(format="avro", timestampField="at", **{"schema.registry.url": f"{api.url}/"})
        described = source.describe(events.name).schema
        got = events.drain(source)
        asked = [one.target for one in api.asked]
        source.close()
    assert described == pa.schema(
        [
            ("userId", pa.string()),
            ("at", pa.timestamp("us", "UTC")),
            ("paid", pa.decimal128(10, 2)),
            ("tags", pa.list_(pa.string())),
            ("n", pa.int32()),
        ]
    )
    assert got.rows == [TWO, {**ONE, "n": None}, TWO]
    assert got.hidden("__bp_offset") == [0, 1, 2]
    assert got.hidden("__bp_time") == [AT_MS + 1000, AT_MS, AT_MS + 1000]
    assert sorted(target for target in asked if "/ids/" in target) == ["/schemas/ids/1", "/schemas/ids/2"]  # once each
    assert f"/subjects/{events.name}-value/versions/latest" in asked


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("poison", "why"),
    [
        (None, "got null"),
        (b"", "a zero and four bytes"),
        (b'{"a": 1}', "a zero and four bytes"),
        (record(FIRST, 1, **ONE)[:-3], "a record of the schema 1"),
        (record(FIRST, 1, **ONE) + b"x", "a record of the schema 1"),
        (record(FIRST, 99, **ONE), "the number 99, which it does not know"),
        (record(FIRST, 3, **ONE), "something else than a schema"),
        (record(FIRST, 4, **ONE), "within itself"),
        (record(FIRST, 5, **ONE), "the schema 5, which is none"),
    ],
)
def test_a_message_that_is_no_record_costs_itself(topic: Make, place: int, poison: bytes | None, why: str) -> None:
    events = topic()
    values: list[bytes | None] = [record(SECOND, 2, **TWO), record(FIRST, 1, **ONE)]
    values.insert(place, poison)
    events.put(*values, at=AT_MS)
    with registry() as api:
        got = events.drain(events.source(format="avro", timestampField="at", **{"schema.registry.url": api.url}))
    assert [row["userId"] for row in got.rows] == ["u2", "u1"]
    ((where, code, message, payload),) = got.dead
    assert (where["offset"], code) == (place, "row-invalid")
    assert why in message
    assert list(payload) in (["key", "value"], ["key", "valueBase64"])
    told = payload.get("value", payload.get("valueBase64"))
    assert (told.encode() if isinstance(told, str) else told) == poison


def test_columns_are_those_of_the_newest_schema_of_the_messages_where_the_topic_has_none(topic: Make) -> None:
    events = topic()
    with registry(latest=None) as api:
        source = events.source(format="avro", **{"schema.registry.url": api.url})
        with pytest.raises(PlanError, match=r"the registry has no .*, and none of its newest messages names a schema"):
            source.describe(events.name)
        events.put(record(FIRST, 1, **ONE), b"none")
        assert source.describe(events.name).schema.names == ["userId", "at", "paid", "tags"]


def test_a_registry_that_is_away_or_not_named_is_told(topic: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_pipelines.io.http.client._LOOKS", (0.0,))
    events = topic()
    events.put(record(FIRST, 1, **ONE))
    with pytest.raises(SpecError, match=r"expected schema.registry.url, got none") as no:
        events.source(format="avro").describe(events.name)
    assert no.value.code == "connection-invalid"
    with pytest.raises(TransientError, match="the schema registry: connection 'kafka'") as away:
        events.source(format="avro", **{"schema.registry.url": "http://127.0.0.1:1"}).describe(events.name)
    assert away.value.code == "unreachable"


def test_a_registry_that_asks_for_a_user_is_told_it(topic: Make) -> None:
    events = topic()
    with registry(user=True) as api:
        settings = {"schema.registry.url": api.url, "schema.registry.basic.auth.user.info": "app:hunter2hunter2"}
        source = events.source(format="avro", **settings)
        assert source.describe(events.name).schema.names[-1] == "n"
        assert api.asked[0].headers["authorization"] == "Basic YXBwOmh1bnRlcjJodW50ZXIy"
        assert "hunter2" not in source._connection.display
