"""Files that would be the end of a whole run: each costs itself alone, and is told."""

from __future__ import annotations

import csv
import json
import os
import random
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.testing.buckets import BucketServer, Proxy
from tests.service.test_batch_files import GOOD, ROWS, define, ledger, outputs, parquet, put, read, unreadable

pytestmark = pytest.mark.long

Desk = Any


def avro_rows(desk: Desk, name: str) -> list[Any]:
    with (desk.folder / "out" / name).open("rb") as file:
        return list(fastavro.reader(file))


def test_a_name_that_is_no_text_costs_its_file_alone(desk: Desk) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    odd = os.path.join(os.fsencode(desk.folder), b"in", b"b\xff.csv")
    for path in (odd, os.path.join(os.fsencode(desk.folder), b"in", b"b\\xff.csv")):  # and one that is called as the other is shown
        with open(path, "wb") as file:
            file.write(GOOD)
    desk.ran()
    assert outputs(desk) == {"a.parquet": ROWS, "b\\xff.parquet": ROWS}
    assert unreadable(desk) == ["in/b\\xff.csv\\"]
    assert read(desk.ran()) == []
    os.rename(odd, odd.replace(b"\xff", b""))
    desk.ran()
    assert outputs(desk)["b.parquet"] == ROWS


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_column_that_is_called_as_those_of_the_service_costs_its_file_alone(desk: Desk, suffix: str) -> None:
    good, bad = {
        "csv": (GOOD, b"id,__bp_row\n1,2\n"),
        "parquet": (parquet(id=[1, 2], name=["a", "b"]), parquet(id=[1], __bp_row=[2])),
        "jsonl": (b'{"id": 1, "name": "a"}\n{"id": 2, "name": "b"}\n', b'{"id": 1, "__bp_row": 2}\n'),
    }[suffix]
    define(desk, f"in/*.{suffix}")
    put(desk, f"a.{suffix}", good)
    put(desk, f"b.{suffix}", bad)
    desk.ran()
    assert outputs(desk) == {"a.parquet": ROWS}
    assert unreadable(desk) == [f"in/b.{suffix}"]
    (letter,) = desk.letters()
    assert "'__bp_row'" in letter["error"]


def test_a_column_that_the_output_cannot_have_costs_its_file_alone_until_a_step_renames_it(desk: Desk) -> None:
    define(desk, into={"format": "avro"})
    put(desk, "a.csv", GOOD)
    put(desk, "b.csv", b"id,full name\n3,c\n")
    desk.ran()
    assert avro_rows(desk, "a.avro") == ROWS
    assert not (desk.folder / "out" / "b.avro").exists()
    assert unreadable(desk) == ["in/b.csv"]
    assert read(desk.ran()) == []
    step = {"id": "m", "type": "map", "unmapped": "drop", "mappings": {"id": {"source": "id"}}}
    define(desk, into={"format": "avro"}, steps=[step])
    desk.ran()
    assert avro_rows(desk, "b.avro") == [{"id": 3}]


def test_where_every_file_has_the_column_the_plan_is_refused_and_names_one(desk: Desk) -> None:
    define(desk, into={"format": "avro"})
    put(desk, "a.csv", b"id,full name\n3,c\n")
    result = desk.run()
    assert (result.exit_code, result.execution.error_code) == (2, "type-unsupported")
    assert "'full name'" in result.execution.error
    assert "'in/a.csv'" in result.execution.error
    assert not (desk.folder / "out").exists()


def deep_as(levels: int) -> str:
    return '{"a":' * levels + "1.50" + "}" * levels


@pytest.mark.parametrize("into", ["parquet", "avro"])
def test_json_that_is_nested_deeper_than_columns_can_be_is_kept_as_text_from_there_on(desk: Desk, into: str) -> None:
    deep = deep_as(200)
    define(desk, "in/*.jsonl", into={"format": into})
    put(desk, "a.jsonl", b'{"id": 1}\n')
    put(desk, "b.jsonl", f'{{"id": 2, "deep": {deep}}}\n'.encode())
    put(desk, "c.jsonl", f'{{"id": 3, "deep": {deep_as(700)}}}\n{{"id": 4}}\n'.encode())  # more than can be read: a bad row
    desk.ran()
    with (desk.folder / "out" / f"b.{into}").open("rb") as file:
        (row,) = pq.read_table(file).to_pylist() if into == "parquet" else list(fastavro.reader(file))
    value, levels = row["deep"], 0
    while isinstance(value, dict):
        value, levels = value["a"], levels + 1
    assert (levels, value) == (50, deep_as(150))
    assert [(one["code"], one["origin"]) for one in desk.letters()] == [("row-invalid", {"source": "in/c.jsonl", "line": 1})]
    assert {name for name, (_, broken) in ledger(desk).items() if not broken} == {"in/a.jsonl", "in/b.jsonl", "in/c.jsonl"}


def kept_back(server: BucketServer, key: str, status: list[int]) -> Proxy:
    """The server, where one object may be listed and not read."""

    def answer(_: int, method: str, path: str) -> int | None:
        path, _, query = unquote(path).partition("?")
        one = path.endswith(f"/{key}") or (f"/{key}" in path and "alt=media" in query)
        return status[0] if status and method == "GET" and one else None

    return Proxy(server.url, answer)


def test_an_object_that_may_not_be_read_costs_itself_and_is_tried_again(desk: Desk, bucket_server: BucketServer) -> None:
    server = bucket_server
    bucket, status = f"b-{uuid.uuid4().hex[:12]}", [403]
    server.make(bucket)
    for name in "abc":
        server.put(bucket, f"in/{name}.csv", GOOD)
    kind = {"s3": "s3", "gs": "gcs"}[server.scheme]
    with kept_back(server, "in/b.csv", status) as proxy:
        desk.connect(lake=server.connection(bucket, proxy.url))
        source = {"type": kind, "bucket": "lake", "prefix": "in/", "pattern": "*.csv"}
        desk.define({"name": "Lake", "batch": {"source": source, "destination": {"type": "file", "path": "out", "format": "parquet"}}})
        desk.ran()
        assert outputs(desk) == {"a.parquet": ROWS, "c.parquet": ROWS}
        assert unreadable(desk) == ["in/b.csv"]
        status.clear()
        assert read(desk.ran()) == ["in/b.csv"]
    assert outputs(desk) == {"a.parquet": ROWS, "b.parquet": ROWS, "c.parquet": ROWS}


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("header", "code", "what"),
    [
        (b"id,id\n1,2\n", "type-unsupported", r"'in/a\.csv' has two columns of one name"),
        (b"id;name\n1;2\n", "option-invalid", r"'in/a\.csv' has one column, with ';' in its name: say delimiter"),
        (b"id,__bp_row\n1,2\n", "type-unsupported", r"'in/a\.csv' has columns that begin with '__bp_'"),
    ],
    ids=["twice", "semicolon", "reserved"],
)
def test_where_a_look_at_the_only_files_tells_what_is_wrong_the_run_is_refused_with_that(
    desk: Desk, header: bytes, code: str, what: str
) -> None:
    define(desk)
    put(desk, "a.csv", header)
    put(desk, "b.csv", random.Random(6).randbytes(4000))  # whatever else is there
    with pytest.raises(PlanError, match=what) as refused:
        desk.run()
    assert (refused.value.code, refused.value.exit_code) == (code, 2)


# Values.

NO_TEXT = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff\xfe", b"c"], pa.binary()).buffers())
LONG_AGO, FAR = -719_163, 2_932_897  # days since 1970: the one before 0001-01-01, and the one after 9999-12-31


@pytest.mark.parametrize("into", ["csv", "json", "jsonl", "avro", "parquet"])
def test_text_that_is_none_costs_its_row(desk: Desk, into: str) -> None:
    define(desk, "in/*.parquet", into={"format": into})
    put(desk, "a.parquet", parquet(id=[1, 2, 3], name=NO_TEXT))
    desk.ran()
    assert values(desk, f"a.{into}", into) == [{"id": 1, "name": "a"}, {"id": 3, "name": "c"}]
    assert [(one["code"], one["origin"]) for one in desk.letters()] == [("target-refused", {"source": "in/a.parquet", "row": 1})]


@pytest.mark.parametrize("into", ["csv", "jsonl", "parquet"])
def test_days_that_have_no_four_digits_of_a_year_cost_their_rows_where_days_are_text(desk: Desk, into: str) -> None:
    days = pa.array([0, LONG_AGO, LONG_AGO + 1, FAR - 1, FAR, None], pa.date32())
    instants = pa.array([one * 86_400_000_000 if one else one for one in days.cast(pa.int32()).to_pylist()], pa.timestamp("us"))
    define(desk, "in/*.parquet", into={"format": into})
    put(desk, "a.parquet", parquet(id=range(6), day=days))
    put(desk, "b.parquet", parquet(id=range(6), day=pa.array([0] * 6, pa.date32()), at=instants.slice(0, 6)))
    put(desk, "c.parquet", parquet(id=range(6), day=pa.nulls(6, pa.date32()), many=pa.ListArray.from_arrays(list(range(7)), days)))
    desk.ran()
    every = into == "parquet"  # which keeps days as numbers
    for name in "abc":
        assert ids(desk.folder / "out" / f"{name}.{into}") == (list(range(6)) if every else [0, 2, 3, 5])
    bad = [] if every else [(f"in/{name}.parquet", row) for name in "abc" for row in (1, 4)]
    assert sorted((one["origin"]["source"], one["origin"]["row"]) for one in desk.letters()) == bad
    if into == "jsonl":
        told = [json.loads(line)["day"] for line in (desk.folder / "out/a.jsonl").open()]
        assert told == ["1970-01-01", "0001-01-01", "9999-12-31", None]


def ids(path: Path) -> list[int]:
    if path.suffix == ".parquet":
        found: list[int] = pq.read_table(path, columns=["id"])["id"].to_pylist()
        return found
    if path.suffix == ".jsonl":
        return [json.loads(line)["id"] for line in path.open()]
    return [int(row["id"]) for row in csv.DictReader(path.open())]


def values(desk: Desk, name: str, into: str) -> list[dict[str, Any]]:
    path = desk.folder / "out" / name
    if into == "parquet":
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    if into == "avro":
        return avro_rows(desk, name)
    if into == "csv":
        return [{"id": int(row["id"]), "name": row["name"]} for row in csv.DictReader(path.open())]
    return [json.loads(line) for line in path.open()] if into == "jsonl" else json.loads(path.read_text())
