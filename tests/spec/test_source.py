from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from beam_pipelines.spec import ApiSource, Cursor, DatabaseSource, FileSource, KafkaSource, S3Source, Source

SOURCE: TypeAdapter[Any] = TypeAdapter(Source)


def messages(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        SOURCE.validate_python(data)
    return [error["msg"] for error in caught.value.errors()]


def test_the_seeds_incremental_query_increments() -> None:
    source = SOURCE.validate_python(
        {"type": "database", "connection": "crm", "query": "SELECT * FROM t WHERE updated_at > ?", "incremental": True}
    )
    assert isinstance(source, DatabaseSource)
    assert source.increments
    assert source.connection_name == "crm"


def test_a_cursor_makes_a_source_incremental() -> None:
    source = DatabaseSource(connection="crm", table="t", cursor=Cursor(column="updated_at"))
    assert source.increments
    assert source.cursor is not None
    assert (source.cursor.kind, source.cursor.stamped_by, source.cursor.overlap) == ("timestamp", None, None)


def test_a_table_alone_is_read_whole() -> None:
    assert not DatabaseSource(connection="crm", table="t").increments


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "expected 'query', 'table' or 'tables', got none of them"),
        ({"query": "SELECT 1", "table": "t"}, "expected one of 'query', 'table' and 'tables', got 'query' as well"),
        ({"table": "t", "incremental": True}, "expected 'cursor' beside 'incremental' and 'table'"),
        ({"query": "SELECT 1", "incremental": True}, "expected '?' in an incremental query, where the last run's value goes"),
        ({"table": "t", "incremental": False, "cursor": {"column": "x"}}, "expected true beside a 'cursor', got false"),
        ({"tables": []}, "expected at least 1 entry, got 0"),
        ({"table": "t", "incremental": "yes"}, "expected true or false, got 'yes'"),
    ],
)
def test_a_database_source_says_what_it_lacks(keys: dict[str, Any], expected: str) -> None:
    assert messages({"type": "database", "connection": "crm", **keys}) == [expected]


def test_overlap_is_a_duration_for_times_and_a_count_for_a_sequence() -> None:
    assert Cursor.model_validate({"column": "t", "overlap": "5m"}).overlap == timedelta(minutes=5)
    assert Cursor.model_validate({"column": "t", "overlap": 1500}).overlap == timedelta(seconds=1.5)
    assert Cursor.model_validate({"column": "id", "kind": "sequence", "overlap": 1000}).overlap == 1000
    with pytest.raises(ValidationError, match="how many numbers of the sequence"):
        Cursor.model_validate({"column": "id", "kind": "sequence", "overlap": "5m"})


def test_a_file_source_takes_a_path_or_a_bucket() -> None:
    assert FileSource(path="in/*.parquet").connection_name is None
    assert FileSource(bucket="raw", prefix="a/", pattern="*.csv").connection_name == "raw"
    assert messages({"type": "file"}) == ["expected 'path' or 'bucket', got neither"]
    assert messages({"type": "file", "path": "a", "bucket": "b"}) == ["expected 'path' or 'bucket', got both"]


def test_a_topic_without_connection_looks_up_kafka_and_a_bucket_its_own_name() -> None:
    assert KafkaSource(topic="events").connection_name == "kafka"
    assert S3Source(bucket="raw-data").connection_name == "raw-data"


def test_a_topic_starts_from_a_time_with_a_zone() -> None:
    source = KafkaSource(topic="t", start_from="2026-01-31T00:00:00Z")
    assert source.start_time == datetime(2026, 1, 31, tzinfo=timezone.utc)
    assert KafkaSource(topic="t").start_time is None
    for wrong in ("2026-01-31T00:00:00", "newest"):
        with pytest.raises(ValidationError, match="expected committed, earliest, latest or a time"):
            KafkaSource(topic="t", start_from=wrong)


def test_stream_is_another_word_for_kafka() -> None:
    assert SOURCE.validate_python({"type": "stream", "topic": "t"}).topic == "t"


def test_the_seeds_api_waits_100_ms_between_pages() -> None:
    source = ApiSource.model_validate({"endpoint": "https://api.example.com/customers", "apiKey": "${env:CRM_KEY}"})
    assert source.rate_limit_delay == timedelta(milliseconds=100)
    assert source.api_key == "${env:CRM_KEY}"


@pytest.mark.parametrize(
    "keys",
    [
        {"endpoint": "https://h/x", "apiKey": "hunter2"},
        {"endpoint": "https://bob:hunter2@h/x"},
        {"endpoint": "ftp://h/x?key=hunter2"},
        {"endpoint": "https://h/x", "apiKey": ["hunter2"]},
    ],
)
def test_a_secret_written_out_is_refused_and_not_shown(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        SOURCE.validate_python({"type": "api", **keys})
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.errors(include_input=False))


def test_a_connection_is_a_name_and_a_url_is_refused_without_showing_it() -> None:
    (message,) = messages({"type": "database", "connection": "postgresql://bob:hunter2@h/db", "table": "t"})
    assert message.startswith("expected the name of a connection, got a URL")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"delimiter": ";;"}, "expected one character of ASCII"),
        ({"delimiter": "\n"}, "expected one character of ASCII"),
        ({"quote": "é"}, "expected one character of ASCII"),
        ({"delimiter": '"'}, "expected another character than the quote"),
        ({"encoding": "utf-88"}, "expected an encoding of text such as utf-8"),
        ({"encoding": "base64"}, "expected an encoding of text such as utf-8"),
        ({"header": False}, "expected 'columns' beside header: false"),
        ({"columns": {}}, "at least 1 entry"),
        ({"sampleRows": 0}, "expected at least 1"),
    ],
)
def test_how_text_is_written_is_checked(keys: dict[str, Any], said: str) -> None:
    assert said in " ".join(messages({"type": "file", "path": "a.csv", **keys}))


def test_what_a_file_of_text_may_say() -> None:
    keys = {"delimiter": "|", "quote": "", "encoding": "latin-1", "header": False, "columns": {"a": "text"}, "nullValues": ["NA"]}
    source = SOURCE.validate_python({"type": "file", "path": "a.csv", **keys})
    assert (source.delimiter, source.quote, source.sample_rows, source.null_values) == ("|", "", 1000, ("NA",))


def topic(**keys: object) -> dict[str, object]:
    return {"type": "kafka", "topic": "user-events", **keys}


def test_a_topic_says_how_its_messages_are_read() -> None:
    source = SOURCE.validate_python(
        topic(
            columns={"userId": "text", "k": "bytes"},
            timestampUnit="s",
            timestampZone="Europe/Berlin",
            idleTimeout="1m",
            unknownKeys="reject",
            metadata={"offset": "o", "key": "k", "timestamp": "at"},
        )
    )
    assert isinstance(source, KafkaSource)
    assert (source.timestamp_unit, source.timestamp_zone, source.unknown_keys) == ("s", "Europe/Berlin", "reject")
    assert source.idle_timeout == timedelta(minutes=1)
    assert source.metadata.columns == {"k": "key", "o": "offset", "at": "timestamp"}
    assert list(source.metadata.columns) == ["k", "o", "at"]
    bare = KafkaSource(topic="t")
    assert (bare.timestamp_unit, bare.timestamp_zone, bare.unknown_keys, bare.sample_rows) == ("ms", None, "ignore", 1000)
    assert (bare.idle_timeout, bare.metadata.columns) == (timedelta(seconds=30), {})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"timestampUnit": "m"}, "'m'"),
        ({"timestampZone": "Europe/Atlantis"}, "expected a zone of the IANA database such as Europe/Berlin or UTC, got 'Europe/Atlantis'"),
        ({"unknownKeys": "keep"}, "'keep'"),
        ({"metadata": {"key": "a", "offset": "a"}}, "expected another column than that of 'key', got 'a'"),
        ({"metadata": {"keys": "a"}}, "keys"),
        ({"columns": {"a": "text"}, "metadata": {"offset": "a"}}, "expected another name than that of a column of 'metadata', got 'a'"),
        ({"columns": {"a": "text"}, "format": "text"}, "expected 'columns' beside format json only, got 'a' beside 'text'"),
        ({"columns": {}}, "expected at least 1 entry"),
        ({"format": "avro", "sampleRows": 5}, "expected 'sampleRows' beside format json only, got it beside 'avro'"),
        ({"format": "text", "timestampField": "at"}, "expected 'timestampField' beside format json or avro only, got it beside 'text'"),
        ({"format": "avro", "unknownKeys": "ignore"}, "expected 'unknownKeys' beside format json only, got it beside 'avro'"),
    ],
)
def test_keys_of_a_topic_that_mean_nothing_are_refused(keys: dict[str, object], message: str) -> None:
    assert any(message in said for said in messages(topic(**keys))), messages(topic(**keys))


def test_the_type_of_a_key_may_be_declared_whatever_values_are() -> None:
    assert SOURCE.validate_python(topic(format="text", columns={"k": "bytes"}, metadata={"key": "k"})).columns == {"k": "bytes"}
    assert SOURCE.validate_python(topic(columns={"k": "bytes", "a": "text"}, metadata={"key": "k"})).metadata.key == "k"
