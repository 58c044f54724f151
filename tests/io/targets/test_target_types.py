"""Every type goes through staging and commit whole, and a row that comes again is seen to be the same."""

from __future__ import annotations

import json
import math
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import DataError, PlanError
from beam_pipelines.io.postgres import stage

UTC = timezone.utc
NOON = datetime(2024, 2, 29, 12, 30, 15, 123456)
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
BIG = Decimal("12345678901234567890123456789.123456789")

# Column, type, values (the last row is null), and what SQLite holds where that is not the value itself.
TYPES: dict[str, tuple[pa.DataType, list[Any], list[Any] | None]] = {
    "bool": (pa.bool_(), [True, False], [1, 0]),
    "int8": (pa.int8(), [-128, 127], None),
    "int16": (pa.int16(), [-32768, 32767], None),
    "int32": (pa.int32(), [-(2**31), 2**31 - 1], None),
    "int64": (pa.int64(), [-(2**63), 2**63 - 1], None),
    "uint8": (pa.uint8(), [0, 255], None),
    "uint16": (pa.uint16(), [0, 65535], None),
    "uint32": (pa.uint32(), [0, 2**32 - 1], None),
    "uint64": (pa.uint64(), [0, 2**64 - 1], ["0", str(2**64 - 1)]),
    "float32": (pa.float32(), [1.5, -math.inf], None),
    "float64": (pa.float64(), [0.1, math.inf], None),
    "decimal": (pa.decimal128(10, 2), [Decimal("12345678.90"), Decimal("-0.01")], [12345678.9, -0.01]),
    "large_decimal": (pa.decimal128(38, 9), [BIG, Decimal("-1.000000001")], [str(BIG), "-1.000000001"]),
    "string": (pa.string(), ["", 'naïve "日本" \\ \t\n'], None),
    "large_string": (pa.large_string(), ["a", "b"], None),
    "view": (pa.string_view(), ["a", "long enough to be out of line"], None),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), ["x", "y"], None),
    "binary": (pa.binary(), [b"", b"\x00\xff"], None),
    "date": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)], ["0001-01-01", "9999-12-31"]),
    "time": (pa.time64("us"), [time(0), time(23, 59, 59, 999999)], ["00:00:00.000000", "23:59:59.999999"]),
    "timestamp": (pa.timestamp("us"), [NOON, datetime(1969, 12, 31, 23, 59, 59)], ["2024-02-29 12:30:15.123456", "1969-12-31 23:59:59"]),
    "seconds": (pa.timestamp("s"), [NOON.replace(microsecond=0), datetime(1900, 1, 1)], ["2024-02-29 12:30:15", "1900-01-01 00:00:00"]),
    "millis": (
        pa.timestamp("ms"),
        [NOON.replace(microsecond=123000), datetime(1900, 1, 1)],
        ["2024-02-29 12:30:15.123000", "1900-01-01 00:00:00"],
    ),
    "instant": (
        pa.timestamp("us", "Europe/Zurich"),
        [NOON.replace(tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)],
        ["2024-02-29 12:30:15.123456Z", "1970-01-01 00:00:00Z"],
    ),
    "uuid": (pa.uuid(), [UUID, uuid.UUID(int=0)], [str(UUID), str(uuid.UUID(int=0))]),
    "json": (pa.json_(), ['{"a": [1, null]}', '"text"'], None),
    "list": (pa.list_(pa.int64()), [[1, None, 3], []], ["[1,null,3]", "[]"]),
    "strings": (pa.list_(pa.string()), [["a", 'b,"c"'], [None]], ['["a","b,\\"c\\""]', "[null]"]),
    "struct": (pa.struct([("a", pa.int64()), ("b c", pa.string())]), [{"a": 1, "b c": "x"}, {"a": None, "b c": None}], None),
    "structs": (pa.list_(pa.struct([("a", pa.int64())])), [[{"a": 1}], []], None),
    "duration": (pa.duration("s"), [timedelta(seconds=90061), timedelta(seconds=-1)], [90061, -1]),
    "interval": (pa.month_day_nano_interval(), [pa.MonthDayNano([0, 3, 10**9]), pa.MonthDayNano([0, 0, 0])], ["P3DT1S", "PT0S"]),
    "map": (pa.map_(pa.string(), pa.int64()), [{"a": 1, "b": None}, {}], ['{"a":1,"b":null}', "{}"]),
    "triple": (pa.list_(pa.int32(), 3), [[1, 2, 3], [4, None, 6]], ["[1,2,3]", "[4,null,6]"]),
    "nanos": (pa.time64("ns"), [time(1, 2, 3, 4), time(0)], ["01:02:03.000004", "00:00:00.000000"]),
    "null": (pa.null(), [None, None], None),
}
SCHEMA = pa.schema([("id", pa.int64()), *((name, kind) for name, (kind, _, _) in TYPES.items())])


def batch() -> pa.RecordBatch:
    columns = [pa.array([1, 2, 3])]
    for kind, values, _ in TYPES.values():
        if kind == pa.uuid():
            columns.append(pa.ExtensionArray.from_storage(kind, pa.array([*(v.bytes for v in values), None], pa.binary(16))))
        elif isinstance(kind, pa.BaseExtensionType):
            columns.append(pa.ExtensionArray.from_storage(kind, pa.array([*values, None], kind.storage_type)))
        else:
            columns.append(pa.array([*values, None], kind))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def normal(value: Any, name: str) -> Any:
    """A value as it means: parsed where a client gives JSON as text, the moment where it gives another zone."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC)
    if isinstance(value, pa.MonthDayNano):
        return timedelta(days=value.days, microseconds=value.nanoseconds // 1000)
    if isinstance(value, tuple):
        return list(value)  # DuckDB's arrays of fixed size
    nested = name in ("json", "list", "strings", "struct", "structs", "map", "triple")
    return json.loads(value) if nested and isinstance(value, str) and value[:1] in '[{"' else value


def held(place: Any, name: str) -> list[Any]:
    return [normal(value, name) for (value,) in place.sql(f"SELECT {place.quoted(name)} FROM everything ORDER BY id")]


# SQLAlchemy keeps no zone, no exact decimal and six digits of a second on SQLite; on other databases it has no interval and no UUID.
PORTABLE_SQLITE = {
    "uint64": [0, float(2**64)],
    "large_decimal": [float(BIG), -1.000000001],
    "timestamp": ["2024-02-29 12:30:15.123456", "1969-12-31 23:59:59.000000"],
    "seconds": ["2024-02-29 12:30:15.000000", "1900-01-01 00:00:00.000000"],
    "millis": ["2024-02-29 12:30:15.123000", "1900-01-01 00:00:00.000000"],
    "instant": ["2024-02-29 12:30:15.123456", "1970-01-01 00:00:00.000000"],
}


def expected(place: Any, name: str) -> list[Any]:
    _, values, sqlite = TYPES[name]
    system = place.system
    if sqlite is not None and (system == "sqlite" or (place.portable and name in ("uuid", "duration", "interval"))):
        values = sqlite
    if place.portable and system == "sqlite":
        values = PORTABLE_SQLITE.get(name, values)
    return [*(normal(value, name) for value in values), None]


@pytest.mark.parametrize("bulk", [False, True])
def test_every_type_arrives_whole_and_is_known_again(place: Any, loading: Any, monkeypatch: pytest.MonkeyPatch, bulk: bool) -> None:
    if bulk:
        monkeypatch.setattr(stage, "SMALL_ROWS", 0)  # PostgreSQL's other way: binary COPY
    loading.upsert(batch(), SCHEMA, load="everything")
    wrong = {name: (held(place, name), expected(place, name)) for name in TYPES if held(place, name) != expected(place, name)}
    assert wrong == {}

    counts = loading.upsert(batch(), SCHEMA, load="everything")
    assert (counts.merged.unchanged, counts.merged.updated) == (3, 0)


@pytest.mark.parametrize("bulk", [False, True])
def test_not_a_number_is_kept_and_known_again_or_refused(place: Any, loading: Any, monkeypatch: pytest.MonkeyPatch, bulk: bool) -> None:
    if bulk:
        monkeypatch.setattr(stage, "SMALL_ROWS", 0)
    schema = pa.schema([("id", pa.int64()), ("x", pa.float64())])
    if place.system == "sqlite":
        # It would become null: whoever means that says so.
        run = loading.begin(schema, load="floats", mode="upsert", keys=("id",))
        stager = loading.target.stager(run.name(), run.schema, 0)
        with pytest.raises(DataError) as refused:
            stager.write(pa.record_batch([[1, 2, 3, 4, 5], [math.nan, -0.0, math.inf, None, math.nan]], schema=run.schema))
        stager.abort()
        assert (refused.value.code, refused.value.details["rows"]) == ("target-refused", [0, 4])
        run.stage([(2, -0.0), (3, math.inf), (4, None)]).commit()
        assert place.sql("SELECT x FROM floats ORDER BY id") == [(0.0,), (math.inf,), (None,)]
        return
    loading.upsert([(1, math.nan), (2, -0.0)], schema, load="floats")
    ((first,), (second,)) = place.sql("SELECT x FROM floats ORDER BY id")
    assert math.isnan(first)
    assert second == 0
    counts = loading.upsert([(1, math.nan), (2, 0.0)], schema, load="floats")
    assert counts.merged.unchanged == 2


def test_described_types_are_those_that_were_written(place: Any, loading: Any) -> None:
    loading.upsert(batch(), SCHEMA, load="everything")
    described = loading.target.describe("everything")
    written = loading.target.stored(SCHEMA)
    assert described.schema.names == written.names
    different = {f.name: (f.type, written.field(f.name).type) for f in described.schema if f.type != written.field(f.name).type}
    zoneless = {"instant": (pa.timestamp("us"), pa.timestamp("us", "UTC"))}
    assert different == (zoneless if place.portable and place.system == "sqlite" else {})


def test_types_that_nothing_keeps_are_refused_before_anything_is_read(loading: Any) -> None:
    union = pa.dense_union([pa.field("a", pa.int64()), pa.field("b", pa.string())])
    with pytest.raises(PlanError, match="'odd'") as refused:
        loading.target.stored(pa.schema([("odd", union)]))
    assert refused.value.code == "type-unsupported"


def test_names_that_would_be_cut_are_refused(place: Any, loading: Any) -> None:
    schema = pa.schema([("x" * 63, pa.int64()), ("ä" * 32, pa.int64())])
    if place.system == "postgresql":
        with pytest.raises(PlanError, match="63 bytes"):
            loading.target.stored(schema)
    else:
        assert loading.target.stored(schema).names == schema.names
    assert loading.target.stored(schema.remove(1)).names == ["x" * 63]


def test_rows_that_cannot_be_staged_are_named(place: Any, loading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
    rows = pa.RecordBatch.from_pylist([{"id": 1, "name": "a"}, {"id": 2, "name": "b\0"}, {"id": 3, "name": "c"}], schema=schema)
    for small in (20_000, 0):
        monkeypatch.setattr(stage, "SMALL_ROWS", small)
        run = loading.begin(schema, load="texts")
        stager = loading.target.stager(run.name(), schema, 0)
        if place.system == "postgresql":
            with pytest.raises(DataError) as refused:
                stager.write(rows)
            assert refused.value.details["rows"] == [1]
            stager.write(rows.filter(pa.array([True, False, True])))
        else:
            stager.write(rows)
        run.staged.append(stager.finish())
        run.commit()
    names = [name for (name,) in place.sql("SELECT name FROM texts ORDER BY id")]
    assert names == (["a", "a", "c", "c"] if place.system == "postgresql" else ["a", "a", "b\0", "b\0", "c", "c"])


def test_values_are_cast_to_the_types_of_a_table_that_is_there(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE narrow (id SMALLINT PRIMARY KEY, amount DECIMAL(9,1), name VARCHAR(9), moment TIMESTAMP)")
    schema = pa.schema([("id", pa.int64()), ("amount", pa.decimal128(20, 4)), ("name", pa.large_string()), ("moment", pa.timestamp("s"))])
    rows = [(1, Decimal("1.5000"), "a", NOON.replace(microsecond=0)), (2, None, None, None)]
    loading.upsert(rows, schema, load="narrow")
    assert [(i, float(a) if a else a, n) for i, a, n in place.sql("SELECT id, amount, name FROM narrow ORDER BY id")] == [
        (1, 1.5, "a"),
        (2, None, None),
    ]
    assert loading.upsert(rows, schema, load="narrow").merged.unchanged == 2


def test_text_goes_into_an_enum_that_is_there(place: Any, loading: Any) -> None:
    kind = "mood" if place.system != "sqlite" else "TEXT"
    if place.system != "sqlite":
        place.sql("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    place.sql(f"CREATE TABLE people (id BIGINT PRIMARY KEY, mood {kind})")
    schema = pa.schema([("id", pa.int64()), ("mood", pa.string())])
    counts = loading.upsert([(1, "sad"), (2, "glad")], schema, load="people")
    assert counts.code == ""
    assert place.sql("SELECT mood FROM people ORDER BY id") == [("sad",), ("glad",)]
    assert loading.upsert([(1, "glad"), (2, "glad")], schema, load="people").merged.unchanged == 1


def test_json_without_equality_is_compared_by_meaning(place: Any, loading: Any) -> None:
    place.sql(f"CREATE TABLE documents (id BIGINT PRIMARY KEY, body {'TEXT' if place.system == 'sqlite' else 'JSON'})")
    schema = pa.schema([("id", pa.int64()), ("body", pa.json_())])
    rows = pa.RecordBatch.from_arrays(
        [pa.array([1, 2]), pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}', "[]"]))], schema=schema
    )
    loading.upsert(rows, schema, load="documents", version=None)
    assert loading.upsert(rows, schema, load="documents").merged.unchanged == 2


def test_text_longer_than_the_column_is_refused_not_cut(place: Any, loading: Any) -> None:
    limit = "VARCHAR(3)" if place.system == "postgresql" else "VARCHAR CHECK (length(name) <= 3)"
    place.sql(f"CREATE TABLE short (id BIGINT PRIMARY KEY, name {limit})")
    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
    counts = loading.upsert([(1, "abc"), (2, "abcd")], schema, load="short", stop=False)
    assert place.sql("SELECT id, name FROM short") == [(1, "abc")]
    assert counts.merged.dead == 1
