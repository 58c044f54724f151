"""Avro files of others as sources: their types, files that differ, and files that are damaged."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.errors import BeamPipelinesError, PlanError
from beam_pipelines.io.files.avro.source import AvroSource
from beam_pipelines.spec.source import FileSource


def source(folder: Path, path: str = "*.avro", **model: Any) -> AvroSource:
    return AvroSource(FileSource(path=path, format="avro", **model), None, folder)


def write(
    folder: Path, fields: dict[str, Any], rows: list[dict[str, Any]], name: str = "a.avro", codec: str = "null", block: int = 16_000
) -> Path:
    schema = {"type": "record", "name": "Row", "namespace": "shop", "fields": [{"name": key, "type": kind} for key, kind in fields.items()]}
    with (folder / name).open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), rows, codec=codec, sync_interval=block)
    return folder / name


MICROS = {"type": "long", "logicalType": "timestamp-micros"}
AT = dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.timezone.utc)
ROUND = AT.replace(microsecond=7000)


@pytest.mark.parametrize(
    ("kind", "value", "arrow", "read"),
    [
        ("int", -5, pa.int32(), -5),
        (["null", "long"], None, pa.int64(), None),
        (["long", "null"], 2**62, pa.int64(), 2**62),
        (["int", "double"], 3, pa.float64(), 3.0),
        (["null", "int", "long"], 2**40, pa.int64(), 2**40),
        ({"type": "enum", "name": "Color", "symbols": ["RED", "BLUE"]}, "BLUE", pa.string(), "BLUE"),
        ({"type": "fixed", "name": "Hash", "size": 2}, b"ab", pa.binary(), b"ab"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, Decimal("-1.50"), pa.decimal128(9, 2), Decimal("-1.50")),
        ({"type": "bytes", "logicalType": "nonsense"}, b"x", pa.binary(), b"x"),
        ({"type": "int", "logicalType": "date"}, dt.date(1900, 1, 1), pa.date32(), dt.date(1900, 1, 1)),
        ({"type": "long", "logicalType": "timestamp-millis"}, ROUND, pa.timestamp("ms", "UTC"), ROUND),
        (["null", MICROS], AT, pa.timestamp("us", "UTC"), AT),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, AT.replace(tzinfo=None), pa.timestamp("us"), AT.replace(tzinfo=None)),
        ({"type": "array", "items": ["null", MICROS]}, [AT, None], pa.list_(pa.timestamp("us", "UTC")), [AT, None]),
        ({"type": "map", "values": "int"}, {"a": 1}, pa.map_(pa.string(), pa.int32()), [("a", 1)]),
        (
            {"type": "record", "name": "Home", "fields": [{"name": "city", "type": "string"}, {"name": "since", "type": MICROS}]},
            {"city": "Rome", "since": AT},
            pa.struct([("city", pa.string()), ("since", pa.timestamp("us", "UTC"))]),
            {"city": "Rome", "since": AT},
        ),
    ],
)  # fmt: skip
def test_types_of_avro(tmp_path: Path, reading: Any, kind: Any, value: Any, arrow: pa.DataType, read: Any) -> None:
    write(tmp_path, {"v": kind}, [{"v": value}])
    assert source(tmp_path).describe("t").schema == pa.schema([("v", arrow)])
    assert reading.poll(source(tmp_path), "t").rows == [{"v": read}]


def test_a_type_may_be_named_again_and_instants_may_be_of_any_year(tmp_path: Path, reading: Any) -> None:
    point = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}]}
    write(tmp_path, {"a": point, "b": ["null", "shop.Point"], "at": MICROS}, [{"a": {"x": 1}, "b": {"x": 2}, "at": 10**18}])
    one = source(tmp_path)
    (batch,) = one.read(reading.window(one, "t").ranges[0], reading.window(one, "t"), None)
    assert batch.column("b").to_pylist() == [{"x": 2}]
    assert batch.column("at").cast(pa.int64()).to_pylist() == [10**18]  # the year 33658


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (["null", "string", "int"], "a union|unions of null and one type"),
        (["long", "double"], "unions of null and one type"),
        (["null", "shop.Row"], "'shop.Row' is within itself"),
    ],
)
def test_what_no_column_holds_is_refused(tmp_path: Path, kind: Any, says: str) -> None:
    write(tmp_path, {"v": kind}, [])
    with pytest.raises(PlanError, match=says) as refused:
        source(tmp_path).describe("t")
    assert refused.value.code == "type-unsupported"


def test_files_are_united_by_name_and_rows_have_their_place(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, {"id": "long"}, [{"id": n} for n in range(5000)], "a.avro", "deflate", 1000)
    write(tmp_path, {"name": "string", "id": ["null", "long"]}, [{"name": "x", "id": None}], "b.avro", "snappy")
    read = reading.poll(source(tmp_path), "t")
    assert read.rows == [*({"id": n, "name": None} for n in range(5000)), {"id": None, "name": "x"}]
    told = [one for batch in read.batches for one in origin.describe(batch, range(batch.num_rows))]
    assert told[4999:] == [{"source": "a.avro", "row": 4999}, {"source": "b.avro", "row": 0}]
    described = source(tmp_path).describe("t")
    assert described.rows is not None
    assert 4500 < described.rows < 5500
    write(tmp_path, {"id": "string"}, [], "c.avro")
    with pytest.raises(PlanError, match=r"column 'id' is int64 in 'a\.avro' and string in 'c\.avro'"):
        source(tmp_path).describe("t")


def test_bad_uuids_are_dead_letters_of_their_own(tmp_path: Path, reading: Any) -> None:
    good = "00000000-0000-0000-0000-000000000001"
    kind = {"type": "string", "logicalType": "uuid"}
    write(tmp_path, {"k": kind}, [{"k": good}, {"k": "odd"}])
    read = reading.poll(source(tmp_path), "t")
    assert [str(row["k"]) for row in read.rows] == [good]
    assert len([reason for reason in read.reasons if reason]) == 1


def outcome(reading: Any, folder: Path) -> tuple[Any, BeamPipelinesError | None]:
    """The rows of a file, or why there are none."""
    try:
        return reading.poll(source(folder), "t").rows, None
    except BeamPipelinesError as known:
        return None, known


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_file_that_is_cut_off_stops_the_run_with_its_name(tmp_path: Path, reading: Any, codec: str) -> None:
    rows = [{"id": n, "t": f"text {n}"} for n in range(40)]
    path = write(tmp_path, {"id": "long", "t": "string"}, rows, codec=codec, block=100)
    whole, complete = path.read_bytes(), []
    for end in range(0, len(whole), 3):
        path.write_bytes(whole[:end])
        got, stopped = outcome(reading, tmp_path)
        if stopped is None:
            assert got == rows[: len(got)]
            complete.append(end)
        else:
            assert ("a.avro" in stopped.message, stopped.code) == (True, "read-failed")
    # At the end of the header, or of a block: what comes behind it no reader can know of.
    assert all(whole[:end].endswith(whole[-16:]) for end in complete)
    assert len(complete) < 20


def test_a_byte_that_was_changed_is_never_a_crash(tmp_path: Path, reading: Any) -> None:
    rows = [{"id": n, "t": f"text {n}"} for n in range(20)]
    path = write(tmp_path, {"id": "long", "t": ["null", "string"]}, rows, codec="deflate", block=100)
    whole, stopped = path.read_bytes(), []
    for at in range(0, len(whole), 2):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x81]) + whole[at + 1 :])
        stopped.append(outcome(reading, tmp_path)[1])
    named = [one for one in stopped if one is not None]
    assert all("a.avro" in one.message for one in named)
    assert len(named) > len(stopped) // 2


@pytest.mark.parametrize(("key", "value"), [("compression", "gzip"), ("columns", {"a": "int"}), ("encoding", "latin-1")])
def test_keys_of_text_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(PlanError, match="leave it out") as refused:
        source(tmp_path, **{key: value})
    assert refused.value.code == "option-invalid"
