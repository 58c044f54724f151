"""What is written is what readers read: the product's own, and those of others."""

from __future__ import annotations

import bz2
import csv
import datetime as dt
import gzip
import io
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError
from beam_pipelines.io.connections import Connections
from beam_pipelines.io.files.writing.form import form_of
from beam_pipelines.io.files.writing.parquet import ParquetWriter
from beam_pipelines.io.registry import open_source
from beam_pipelines.spec.source import FileSource

UTC = dt.timezone.utc
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("number", pa.float64()),
        ("price", pa.decimal128(20, 4)),
        ("tiny", pa.decimal128(30, 12)),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", "UTC")),
        ("local", pa.timestamp("us")),
        ("clock", pa.time64("us")),
        ("ok", pa.bool_()),
        ("raw", pa.binary()),
        ("key", pa.uuid()),
    ]
)
# The names of the types of the columns that no text tells.
DECLARED = {
    "id": "bigint",
    "text": "text",
    "number": "double",
    "price": "decimal(20,4)",
    "tiny": "decimal(30,12)",
    "day": "date",
    "at": "timestamptz",
    "local": "timestamp",
    "clock": "time",
    "ok": "boolean",
    "raw": "text",  # base64
    "key": "uuid",
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(",;\"'\r\n\t\\\ufeff\x00 a"), max_size=8)
INSTANTS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
ROW = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "text": TEXTS,
        "number": st.floats(allow_nan=False),
        "price": st.integers(-(10**20) + 1, 10**20 - 1).map(lambda n: Decimal(n).scaleb(-4)),
        "tiny": st.integers(-(10**9), 10**9).map(lambda n: Decimal(n).scaleb(-12)),
        "day": st.dates(),
        "at": INSTANTS.map(lambda at: at.replace(tzinfo=UTC)),
        "local": INSTANTS,
        "clock": st.times(),
        "ok": st.booleans(),
        "raw": st.binary(max_size=8),
        "key": st.uuids(),
    }
).flatmap(lambda row: st.fixed_dictionaries({name: st.just(value) | st.none() for name, value in row.items()}))
FORMS = [
    ("csv", "none"),
    ("csv", "gzip"),
    ("jsonl", "bz2"),
    ("jsonl", "none"),
    ("json", "zstd"),
    ("json", "none"),
    ("avro", None),
    ("avro", "zstd"),
]


def batch_of(rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if field.type == pa.uuid():
            raw = pa.array([None if one is None else one.bytes for one in values], pa.binary(16))
            columns.append(pa.ExtensionArray.from_storage(pa.uuid(), raw))
        else:
            columns.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def write(folder: Path, form: Any, *batches: pa.RecordBatch, schema: pa.Schema = SCHEMA, name: str = "rows") -> Path:
    path = folder / f"{name}{form.ending}"
    with open(path, "wb") as sink:
        writer = form.begin(sink, schema)
        for batch in batches:
            writer.write(batch)
        writer.close()
    return path


def read(reading: Any, path: Path, declared: dict[str, str] | None) -> Any:
    told = {} if path.suffix in (".avro", ".parquet") else {"columns": declared}
    return reading.poll(open_source(FileSource(path=path.name, **told), Connections(None, {}), path.parent), "t")


def expected(rows: list[dict[str, Any]], given_format: str) -> list[dict[str, Any]]:
    def one(name: str, value: Any) -> Any:
        if name == "raw" and value is not None and given_format != "avro":
            import base64

            return base64.b64encode(value).decode()
        return value

    return [{name: one(name, value) for name, value in row.items()} for row in rows]


@pytest.mark.parametrize(("given_format", "compression"), FORMS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(ROW, min_size=1, max_size=4), cut=st.integers(0, 4))
def test_rows_are_read_back_as_they_were(
    tmp_path: Path, reading: Any, given_format: str, compression: str | None, rows: list[dict[str, Any]], cut: int
) -> None:
    form = form_of(given_format, compression)
    path = write(tmp_path, form, batch_of(rows[:cut]), batch_of(rows[cut:]))
    got = read(reading, path, DECLARED)
    assert not got.unread
    assert got.rows == expected(rows, given_format)


ODD = [{"id": 1, "text": 'a,"b"\r\nc'}, {"id": None, "text": ""}, {"id": -3, "text": None}, {"id": 4, "text": "plain"}]
TWO = pa.schema([("id", pa.int64()), ("text", pa.string())])


def test_csv_is_what_rfc_4180_says(tmp_path: Path) -> None:
    path = write(tmp_path, form_of("csv", None), batch_of(ODD, TWO), schema=TWO)
    assert path.read_bytes() == b'id,text\n1,"a,""b""\r\nc"\n,""\n-3,\n4,plain\n'
    assert list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))[1:] == [
        ["1", 'a,"b"\r\nc'],
        ["", ""],
        ["-3", ""],
        ["4", "plain"],
    ]


def test_csv_of_every_type_is_plain(tmp_path: Path) -> None:
    row = {
        "id": 5, "text": "x", "number": 2.0, "price": Decimal("0.1000"), "tiny": Decimal("0.000000000001"),
        "day": dt.date(2026, 1, 2),
        "at": dt.datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "local": dt.datetime(2026, 1, 2), "clock": dt.time(1, 2, 3), "ok": True,
        "raw": b"\x00\xff",
        "key": uuid.UUID(int=1),
    }  # fmt: skip
    odd = [{**row, "number": value} for value in (float("nan"), float("inf"), float("-inf"), 1e300)]
    lines = write(tmp_path, form_of("csv", None), batch_of([row, *odd])).read_text().splitlines()
    assert lines[1] == (
        "5,x,2.0,0.1000,0.000000000001,2026-01-02,2026-01-02T03:04:05.000006+00:00,2026-01-02T00:00:00.000000,01:02:03,true,AP8=,"
        "00000000-0000-0000-0000-000000000001"
    )
    assert [line.split(",")[2] for line in lines[2:]] == ["NaN", "Infinity", "-Infinity", "1e+300"]


def test_what_is_nested_is_json_in_csv(tmp_path: Path, reading: Any) -> None:
    schema = pa.schema([("tags", pa.list_(pa.string())), ("home", pa.struct([("city", pa.string())]))])
    rows = [{"tags": ["a", None], "home": {"city": 'Q"'}}, {"tags": None, "home": None}]
    path = write(tmp_path, form_of("csv", None), pa.RecordBatch.from_pylist(rows, schema), schema=schema)
    assert [[text and json.loads(text) for text in row] for row in list(csv.reader(path.open(newline="")))[1:]] == [
        [["a", None], {"city": 'Q"'}],
        ["", ""],
    ]


def test_a_csv_of_one_column_has_a_line_a_row(tmp_path: Path, reading: Any) -> None:
    schema = pa.schema([("id", pa.int64())])
    path = write(tmp_path, form_of("csv", None), batch_of([{"id": 1}, {"id": None}, {"id": 3}], schema), schema=schema)
    assert read(reading, path, {"id": "bigint"}).rows == [{"id": 1}, {"id": None}, {"id": 3}]


def test_tsv_has_tabs(tmp_path: Path) -> None:
    form = form_of("csv", None, "out.tsv")
    path = write(tmp_path, form, batch_of([{"id": 1, "text": "a\tb"}, {"id": 2, "text": "c,d"}], TWO), schema=TWO)
    assert path.read_text() == 'id\ttext\n1\t"a\tb"\n2\tc,d\n'


UNPACKED = {
    "gzip": gzip.decompress,
    "bz2": bz2.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


@pytest.mark.parametrize("packed", UNPACKED)
def test_others_unpack_what_is_compressed(tmp_path: Path, packed: str) -> None:
    plain = write(tmp_path, form_of("jsonl", None), batch_of(ODD, TWO), schema=TWO).read_bytes()
    path = write(tmp_path, form_of("jsonl", packed), batch_of(ODD, TWO), schema=TWO)
    assert path.suffix == {"gzip": ".gz", "bz2": ".bz2", "zstd": ".zst"}[packed]
    assert UNPACKED[packed](path.read_bytes()) == plain
    assert [json.loads(line) for line in plain.splitlines()] == ODD


@pytest.mark.parametrize("rows", [[], ODD])
def test_json_is_one_array(tmp_path: Path, rows: list[Any]) -> None:
    path = write(tmp_path, form_of("json", None), batch_of(rows[:1], TWO), batch_of([], TWO), batch_of(rows[1:], TWO), schema=TWO)
    assert json.loads(path.read_bytes()) == rows


def test_json_columns_are_values_not_text(tmp_path: Path, reading: Any) -> None:
    schema = pa.schema([("doc", pa.json_())])
    texts = ['{"a": 1,\n "b": [1.10]}', "[]", None, "3", '"x"', "odd"]
    rows = pa.RecordBatch.from_arrays([pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts))], schema=schema)
    path = write(tmp_path, form_of("jsonl", None), rows, schema=schema)
    assert path.read_text().splitlines()[0] == '{"doc":{"a": 1,  "b": [1.10]}}'
    assert [json.loads(line)["doc"] for line in path.read_text().splitlines()] == [{"a": 1, "b": [1.1]}, [], None, 3, "x", "odd"]


@pytest.mark.parametrize("codec", ["none", "gzip", "bz2", "zstd", "snappy"])
def test_avro_is_read_by_its_own_library(tmp_path: Path, codec: str) -> None:
    at = dt.datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    row = {
        "id": 1,
        "text": "a",
        "number": 0.5,
        "price": Decimal("1.5000"),
        "tiny": None,
        "day": dt.date(1969, 12, 31),
        "at": at,
        "key": uuid.UUID(int=7),
    }
    path = write(tmp_path, form_of("avro", codec), batch_of([row, {}]))
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        found = list(reader)
    assert reader.codec == {"none": "null", "gzip": "deflate", "bz2": "bzip2", "zstd": "zstandard"}.get(codec, codec)
    assert {name: value for name, value in found[0].items() if value is not None} == {
        name: one for name, one in row.items() if one is not None
    }
    assert set(found[1].values()) == {None}


def test_avro_keeps_what_is_nested_and_narrow(tmp_path: Path, reading: Any) -> None:
    given_schema = pa.schema(
        [
            ("small", pa.int16()),
            ("huge", pa.uint64()),
            ("at", pa.timestamp("ns", "Europe/Rome")),
            (
                "homes",
                pa.large_list(pa.struct([("city", pa.string()), ("since", pa.date64()), ("by", pa.map_(pa.string(), pa.timestamp("ms")))])),
            ),
            ("pairs", pa.map_(pa.int32(), pa.string())),
        ]
    )
    form = form_of("avro", None)
    kept = pa.schema([(field.name, form.stored(field.type, field.name)) for field in given_schema])
    home = pa.struct([("city", pa.string()), ("since", pa.date32()), ("by", pa.map_(pa.string(), pa.timestamp("ms")))])
    assert kept == pa.schema(
        [
            ("small", pa.int32()),
            ("huge", pa.decimal128(20, 0)),
            ("at", pa.timestamp("us", "UTC")),
            ("homes", pa.list_(home)),
            ("pairs", pa.list_(pa.struct([("key", pa.int32()), ("value", pa.string())]))),
        ]
    )
    rows = [
        {
            "small": 3,
            "huge": Decimal(2**64 - 1),
            "at": dt.datetime(2026, 1, 1, tzinfo=UTC),
            "homes": [{"city": "Rome", "since": dt.date(2000, 1, 1), "by": [("a", dt.datetime(2026, 1, 1)), ("b", None)]}, None],
            "pairs": [{"key": 1, "value": None}],
        },
        dict.fromkeys(kept.names),
    ]
    path = write(tmp_path, form, pa.RecordBatch.from_pylist(rows, kept), schema=kept)
    got = read(reading, path, None)
    assert got.rows == rows


def test_rows_of_finished_files_are_added_to_another(tmp_path: Path, reading: Any) -> None:
    for given_format, compression in [*FORMS, ("csv", "zstd"), ("parquet", None)]:
        form = form_of(given_format, compression)
        folder = tmp_path / f"{given_format}-{compression}"
        folder.mkdir()
        parts = [
            write(folder, form, *batches, schema=TWO, name=f"p{n}")
            for n, batches in enumerate([[], [batch_of(ODD, TWO)], [batch_of(ODD[:1], TWO)] * 2])
        ]
        whole = folder / f"whole{form.ending}"
        with pa.OSFile(str(whole), "wb") as sink:
            writer = form.begin(sink, TWO)
            for part in parts:
                writer.append(str(part))
            writer.close()
        assert read(reading, whole, {"id": "bigint", "text": "text"}).rows == [*ODD, ODD[0], ODD[0]], form


@pytest.mark.parametrize(
    ("given_format", "compression", "name", "says"),
    [
        ("csv", "snappy", "", "CSV knows none, gzip, bz2, zstd, not 'snappy'"),
        ("jsonl", "lz4", "", "JSON Lines knows none, gzip, bz2, zstd, not 'lz4'"),
        ("avro", "brotli", "", "Avro knows none, gzip, bz2, zstd, snappy, not 'brotli'"),
        ("parquet", "bz2", "", "not 'bz2'"),
        ("csv", "gzip", "out.csv", "a name that ends in '.gz' for gzip compression of CSV, got 'out.csv'"),
        ("json", "none", "out.json.zst", "a name without '.zst'"),
        ("csv", "zstd", "out.csv.gz", "a name that ends in '.zst'"),
    ],
)
def test_compressions_that_do_not_go_are_refused(given_format: str, compression: str, name: str, says: str) -> None:
    with pytest.raises(PlanError, match=says) as refused:
        form_of(given_format, compression, name)
    assert refused.value.code == "option-invalid"


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        (pa.int64(), "first name", "'first name' is none"),
        (pa.struct([("größe", pa.int64())]), "a", "'größe' is none"),
        (pa.duration("s"), "a", "column 'a': expected a type that Avro keeps, got duration"),
        (pa.month_day_nano_interval(), "a", "expected a type that Avro keeps"),
    ],
)
def test_what_avro_cannot_keep_is_refused(kind: pa.DataType, name: str, says: str) -> None:
    with pytest.raises(PlanError, match=says) as refused:
        form_of("avro", None).stored(kind, name)
    assert refused.value.code == "type-unsupported"


@pytest.mark.parametrize("given_format", ["csv", "jsonl", "json", "avro", "parquet"])
def test_memory_holds_little_more_than_a_batch(tmp_path: Path, given_format: str) -> None:
    batch = batch_of([{"id": n, "text": f"some text {n}"} for n in range(5000)], TWO)
    form = form_of(given_format, None)
    with pa.OSFile(str(tmp_path / "rows"), "wb") as sink:
        writer = form.begin(sink, TWO)
        before, most = pa.total_allocated_bytes(), 0
        for _ in range(60 if given_format != "avro" else 10):
            writer.write(batch)
            most = max(most, pa.total_allocated_bytes() - before)
        writer.close()
    assert most < (10 << 20 if given_format == "parquet" else 4 * batch.nbytes)


def test_row_groups_of_parquet_are_large_however_small_batches_are(tmp_path: Path) -> None:
    batch = pa.record_batch({"id": pa.array(range(10_000))})
    with pa.OSFile(str(tmp_path / "a.parquet"), "wb") as sink:
        writer = ParquetWriter(sink, batch.schema)
        for _ in range(30):
            writer.write(batch)
        writer.close()
    footer = pq.read_metadata(tmp_path / "a.parquet")
    assert [footer.row_group(group).num_rows for group in range(footer.num_row_groups)] == [140_000, 140_000, 20_000]
