"""Which files a batch reads, run after run, and what becomes of those that are bad: each costs itself alone."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import random
import uuid
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from beam_pipelines.errors import PlanError
from beam_pipelines.testing.buckets import BucketServer

pytestmark = pytest.mark.long

Desk = Any
GOOD = b"id,name\n1,a\n2,b\n"
ROWS = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
NOISE = random.Random(6).randbytes(4000)


def define(desk: Desk, pattern: str = "in/**/*.csv", into: dict[str, Any] | None = None, **more: Any) -> None:
    processing = {"errorHandling": more.pop("errorHandling", "continue"), "transformations": more.pop("steps", [])}
    desk.define(
        {
            "name": "Files",
            "batch": {
                "source": {"type": "file", "path": pattern, **more.pop("source", {})},
                "processing": processing,
                "destination": {"type": "file", "path": "out", "format": "parquet", **(into or {})},
            },
            **more,
        }
    )


def put(desk: Desk, name: str, data: bytes) -> None:
    path: Path = desk.folder / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def outputs(desk: Desk, folder: str = "out") -> dict[str, list[dict[str, Any]]]:
    found = sorted((desk.folder / folder).rglob("*.parquet"))
    return {path.relative_to(desk.folder / folder).as_posix(): pq.read_table(path).to_pylist() for path in found}


def ledger(desk: Desk) -> dict[str, tuple[str, bool]]:
    """Output, and whether it is broken, of each file that the service is done with."""
    found = desk.sqlite(".beam_pipelines/state.db", "SELECT name, output, error <> '' FROM _beam_pipelines_files")
    assert len({name for name, *_ in found}) == len(found)
    return {name: (output, bool(broken)) for name, output, broken in found}


def unreadable(desk: Desk) -> list[str]:
    """The files that are dead letters, once for each letter."""
    return sorted(one["origin"]["source"] for one in desk.letters() if one["code"] == "file-unreadable")


def read(record: dict[str, Any]) -> list[str]:
    return sorted(file["file"] for file in record["files"])


def parquet(**columns: Any) -> bytes:
    made = io.BytesIO()
    pq.write_table(pa.table(columns), made)
    return made.getvalue()


def avro(rows: list[dict[str, Any]], kind: str = "long") -> bytes:
    made = io.BytesIO()
    fastavro.writer(made, {"type": "record", "name": "r", "fields": [{"name": "id", "type": kind}]}, rows)
    return made.getvalue()


# Run after run.


@pytest.mark.long
def test_each_version_of_a_file_is_read_once_and_replaces_its_own_output(desk: Desk) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    put(desk, "sub/b.csv", GOOD)
    assert read(desk.ran()) == ["in/a.csv", "in/sub/b.csv"]
    assert read(desk.ran()) == []
    put(desk, "c.csv", b"id,name\n7,z\n")
    assert read(desk.ran()) == ["in/c.csv"]  # a new one
    put(desk, "a.csv", b"id,name\n9,q\n")
    os.utime(desk.folder / "in/sub/b.csv", ns=(10**18, 10**18))
    assert read(desk.ran()) == ["in/a.csv", "in/sub/b.csv"]  # one of another size, one of another time
    expected = {"a.parquet": [{"id": 9, "name": "q"}], "c.parquet": [{"id": 7, "name": "z"}], "sub/b.parquet": ROWS}
    assert outputs(desk) == expected
    (desk.folder / "in/c.csv").unlink()
    assert read(desk.ran()) == []
    assert outputs(desk) == expected  # what is gone in the source stays
    assert read(desk.ran(full_refresh=True)) == ["in/a.csv", "in/sub/b.csv"]
    for path in (desk.folder / "in").rglob("*.csv"):
        path.unlink()
    assert read(desk.ran()) == []
    assert outputs(desk) == expected


@pytest.mark.long
def test_a_broken_file_is_told_once_and_read_again_when_it_is_mended(desk: Desk) -> None:
    define(desk, "in/*.csv.gz")
    whole = gzip.compress(b"id,name\n" + b"".join(b"%d,x\n" % i for i in range(3000)))
    put(desk, "a.csv.gz", gzip.compress(GOOD))
    put(desk, "bad.csv.gz", whole[:-9])
    desk.ran()
    desk.ran()
    put(desk, "c.csv.gz", gzip.compress(GOOD))
    assert read(desk.ran()) == ["in/c.csv.gz"]
    assert unreadable(desk) == ["in/bad.csv.gz"]
    put(desk, "bad.csv.gz", whole[:-8])
    alone = desk.run()
    assert (read(alone.to_json()), alone.exit_code) == (["in/bad.csv.gz"], 3)  # alone, which is worth a warning
    assert unreadable(desk) == ["in/bad.csv.gz"] * 2
    put(desk, "bad.csv.gz", whole)
    desk.ran()
    put(desk, "a.csv.gz", NOISE)
    assert desk.run().exit_code == 3
    assert outputs(desk)["a.parquet"] == ROWS  # what the version before it became stays
    assert ledger(desk) == {
        "in/a.csv.gz": ("a.parquet", True),
        "in/bad.csv.gz": ("bad.parquet", False),
        "in/c.csv.gz": ("c.parquet", False),
    }
    put(desk, "a.csv.gz", gzip.compress(b"id,name\n5,e\n"))
    desk.ran()
    assert outputs(desk)["a.parquet"] == [{"id": 5, "name": "e"}]  # and is its own to replace
    assert len(outputs(desk)["bad.parquet"]) == 3000


@pytest.mark.parametrize("late", ["changes", "vanishes"])
def test_a_file_that_is_another_when_it_is_read_is_left_to_the_next_run(desk: Desk, late: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from beam_pipelines.io import registry

    define(desk)
    put(desk, "a.csv", GOOD)
    put(desk, "b.csv", GOOD)
    opened = registry.open_source

    def source(*arguments: Any, **more: Any) -> Any:
        made = opened(*arguments, **more)
        of = made.read

        def later(part: Any, *given: Any) -> Any:
            path = desk.folder / "in/b.csv"
            if part.bounds["label"] == "in/b.csv":
                path.write_bytes(b"id,name\n8,new\n") if late == "changes" else path.unlink(missing_ok=True)
            return of(part, *given)

        made.read = later
        return made

    with monkeypatch.context() as patch:
        patch.setattr(registry, "open_source", source)
        desk.ran()
    assert outputs(desk) == {"a.parquet": ROWS}
    assert ledger(desk) == {"in/a.csv": ("a.parquet", False)}
    put(desk, "b.csv", b"id,name\n8,new\n")
    assert read(desk.ran()) == ["in/b.csv"]
    assert outputs(desk) == {"a.parquet": ROWS, "b.parquet": [{"id": 8, "name": "new"}]}


def test_a_run_that_fails_is_done_with_no_file(desk: Desk) -> None:
    rule = {"id": "v", "type": "validate", "rules": [{"id": "low", "type": "numeric-range", "field": "id", "max": 1, "maxFailures": 0}]}
    define(desk, steps=[rule])
    put(desk, "a.csv", GOOD)
    put(desk, "b.csv", b"id,name\n1,a\n")
    result = desk.run()
    assert (result.exit_code, result.execution.error_code) == (1, "rule-broken")
    assert outputs(desk) == {}
    assert ledger(desk) == {}
    define(desk)
    assert read(desk.ran()) == ["in/a.csv", "in/b.csv"]
    assert outputs(desk) == {"a.parquet": ROWS, "b.parquet": ROWS[:1]}


@pytest.mark.no_bundle
def test_what_would_replace_the_outputs_of_files_that_are_not_read_is_refused(desk: Desk) -> None:
    define(desk, into={"mode": "replace"})
    put(desk, "a.csv", GOOD)
    with pytest.raises(PlanError, match=r"batch\.destination\.mode: .*leave it out") as refused:
        desk.run()
    assert refused.value.code == "mode-refused"


def test_a_lost_state_store_is_noticed_by_the_outputs_that_nobody_knows(desk: Desk) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    desk.ran()
    (desk.folder / ".beam_pipelines" / "state.db").unlink()
    put(desk, "a.csv", b"id,name\n3,c\n")
    with pytest.raises(PlanError, match=r"found a file that no run of this service is known to have written.*--full-refresh"):
        desk.run()
    assert outputs(desk) == {"a.parquet": ROWS}
    desk.ran(full_refresh=True)
    assert outputs(desk) == {"a.parquet": [{"id": 3, "name": "c"}]}


def test_another_destination_begins_anew(desk: Desk) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    desk.ran()
    define(desk, into={"path": "other"})
    assert read(desk.ran()) == ["in/a.csv"]
    assert outputs(desk, "other") == outputs(desk) == {"a.parquet": ROWS}


# Bad files.

BAD = {
    "gzip": ("csv.gz", gzip.compress(GOOD), gzip.compress(GOOD * 500)[:-20]),
    "bz2": ("csv.bz2", bz2.compress(GOOD), bz2.compress(GOOD * 500)[:-20]),
    "zstd": ("csv.zst", zstandard.compress(GOOD), zstandard.compress(GOOD * 500)[:-9]),
    "noise": ("csv", GOOD, NOISE),
    "zeros": ("csv", GOOD, bytes(5000)),
    "utf-16": ("csv", GOOD, GOOD.decode().encode("utf-16")),
    "packed": ("csv", GOOD, gzip.compress(GOOD * 50)),
    "twice": ("csv", GOOD, b"id,id\n1,2\n"),
    "semicolons": ("csv", GOOD, b"id;name\n1;a\n"),
    "no-parquet": ("parquet", parquet(id=[1, 2], name=["a", "b"]), GOOD),
    "empty-parquet": ("parquet", parquet(id=[1, 2], name=["a", "b"]), b""),
    "cut-parquet": ("parquet", parquet(id=[1, 2], name=["a", "b"]), parquet(id=range(3000), name=["a"] * 3000)[:-1000]),
    "empty-avro": ("avro", avro([{"id": 1}]), b""),
    "cut-avro": ("avro", avro([{"id": 1}]), avro([{"id": i} for i in range(3000)])[:-30]),
    "empty-json": ("json", b'[{"id": 1}]', b""),
    "cut-json": ("json", b'[{"id": 1}]', b'[{"id": 2}, {"id": 3'),
    "object-json": ("json", b'[{"id": 1}]', b'{"id": 2}'),
}


@pytest.mark.long
@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_costs_itself_alone(desk: Desk, case: str) -> None:
    suffix, good, bad = BAD[case]
    define(desk, f"in/*.{suffix}")
    put(desk, f"a.{suffix}", good)
    put(desk, f"bad.{suffix}", bad)
    put(desk, f"z.{suffix}", good)
    record = desk.ran()
    rows = [{"id": 1}] if suffix in ("avro", "json") else ROWS
    assert outputs(desk) == {"a.parquet": rows, "z.parquet": rows}
    assert unreadable(desk) == [f"in/bad.{suffix}"]
    assert ledger(desk)[f"in/bad.{suffix}"] == ("", True)
    assert record["metrics"]["bytesProcessed"] == 2 * len(good)  # nobody pays for it
    assert read(desk.ran()) == []


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_without_a_row_has_an_output_without_one(desk: Desk, suffix: str) -> None:
    line = {"csv": GOOD, "jsonl": b'{"id": 1, "name": "a"}\n{"id": 2, "name": "b"}\n'}[suffix]
    define(desk, f"in/*.{suffix}")
    put(desk, f"a.{suffix}", line)
    put(desk, f"empty.{suffix}", b"")
    desk.ran()
    put(desk, f"later.{suffix}", b"")  # alone: what its columns would be is known from the runs before
    desk.ran()
    assert outputs(desk) == {"a.parquet": ROWS, "empty.parquet": [], "later.parquet": []}
    wanted = pq.read_schema(desk.folder / "out/a.parquet")
    assert pq.read_schema(desk.folder / "out/empty.parquet").equals(wanted)
    assert pq.read_schema(desk.folder / "out/later.parquet").equals(wanted)


@pytest.mark.parametrize(
    ("suffix", "good", "other"),
    [
        ("parquet", parquet(id=[1, 2], name=["a", "b"]), parquet(id=["x"], name=["a"])),
        ("avro", avro([{"id": 1}]), avro([{"id": "x"}], "string")),
    ],
    ids=["parquet", "avro"],
)
def test_a_column_of_another_type_is_the_fault_of_the_file_that_has_it(desk: Desk, suffix: str, good: bytes, other: bytes) -> None:
    define(desk, f"in/*.{suffix}")
    put(desk, f"a.{suffix}", good)
    put(desk, f"b.{suffix}", other)
    with pytest.raises(PlanError, match=r"column 'id' is int64 in 'in/a.* and string in 'in/b"):  # nobody knows which one is right
        desk.run()
    put(desk, f"c.{suffix}", good)
    desk.ran()
    assert sorted(outputs(desk)) == ["a.parquet", "c.parquet"]
    put(desk, f"d.{suffix}", other)
    put(desk, f"e.{suffix}", other)
    put(desk, f"f.{suffix}", good)
    desk.ran()  # by now it is known
    assert sorted(outputs(desk)) == ["a.parquet", "c.parquet", "f.parquet"]
    assert unreadable(desk) == [f"in/{name}.{suffix}" for name in "bde"]
    assert all("--full-refresh" in one["error"] for one in desk.letters() if one["origin"]["source"] != f"in/b.{suffix}")


def test_types_stand_and_what_a_later_file_has_in_another_costs_its_row(desk: Desk) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    desk.ran()
    put(desk, "b.csv", b"id,name\nx,c\n4,d\n")
    put(desk, "c.csv", b"name,more\ne,1\n")  # other columns: what it lacks is null, what it has more comes last
    desk.ran()
    assert outputs(desk) == {
        "a.parquet": ROWS,
        "b.parquet": [{"id": 4, "name": "d", "more": None}],
        "c.parquet": [{"id": None, "name": "e", "more": 1}],
    }
    assert [(one["code"], one["origin"]) for one in desk.letters()] == [("cast-failed", {"source": "in/b.csv", "line": 2})]


def test_where_no_file_was_ever_read_the_run_fails(desk: Desk) -> None:
    define(desk, steps=[{"id": "f", "type": "filter", "condition": "name <> 'z'"}])
    put(desk, "a.csv", NOISE)
    result = desk.run()
    assert (result.exit_code, result.execution.error_code) == (1, "file-unreadable")
    assert unreadable(desk) == ["in/a.csv"]
    assert ledger(desk) == {}
    put(desk, "b.csv", GOOD)
    desk.ran()
    assert ledger(desk) == {"in/a.csv": ("", True), "in/b.csv": ("b.parquet", False)}


def test_where_a_bad_file_is_to_stop_the_run_it_does(desk: Desk) -> None:
    define(desk, errorHandling="stop")
    put(desk, "a.csv", GOOD)
    put(desk, "b.csv", NOISE)
    with pytest.raises(Exception, match=r"b\.csv' cannot be read"):
        desk.run()
    assert outputs(desk) == {}


# Names.


@pytest.mark.long
def test_names_that_can_be_no_output_cost_their_files_alone(desk: Desk, s3_server: BucketServer) -> None:
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    s3_server.make(bucket)
    fine = ["a", "A", "\u00e9", "e\u0301", "a b&+%20?#", 'q"', "k", "k.csv/z", "ctl\x01", "x.tar", "-rf"]
    odd = ["x//b", "../up", "../../out/a", "y/./z", "n" * 252 + "/n", "m" * 300]
    for name in [*fine, *odd]:
        s3_server.put(bucket, f"in/{name}.csv", GOOD)
    for name in (".hidden.csv", "_hidden.csv", "folder/", "folder.csv/"):
        s3_server.put(bucket, f"in/{name}", b"" if name.endswith("/") else GOOD)
    desk.connect(names=s3_server.connection(bucket))
    source = {"type": "s3", "bucket": "names", "prefix": "in/", "pattern": "**"}
    batch = {"source": {**source, "format": "csv"}, "destination": {"type": "file", "path": "deep/out", "format": "parquet"}}
    desk.define({"name": "Files", "batch": batch})
    desk.ran()
    assert outputs(desk, "deep/out") == {f"{name}.parquet": ROWS for name in [*fine, "n" * 252 + "/n"]}
    assert unreadable(desk) == sorted(f"in/{name}.csv" for name in odd if name[0] != "n")
    assert {path.name for path in desk.folder.rglob("*.parquet")} == {f"{name.rpartition('/')[2]}.parquet" for name in [*fine, "n"]}
    assert read(desk.ran()) == []
    desk.connect(names=s3_server.connection(bucket))
    into = {"type": "s3", "bucket": "names", "prefix": "out/"}
    desk.define({"name": "Bucket", "batch": {"source": {**source, "format": "csv"}, "destination": into}})
    desk.ran()
    keys = [key for key in s3_server.objects(bucket) if not key.startswith("in/")]
    assert sorted(keys) == sorted(f"out/{name}.csv" for name in [*fine, "n" * 252 + "/n", "m" * 300])


def test_an_output_is_never_put_where_something_else_stands(desk: Desk) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    put(desk, "b/c.csv", GOOD)
    put(desk, "d.csv", GOOD)
    (desk.folder / "out" / "a.parquet").mkdir(parents=True)  # a folder in the place of a file
    (desk.folder / "out" / "b").write_bytes(b"mine")  # and a file in the place of a folder
    desk.ran()
    assert ledger(desk) == {"in/d.csv": ("d.parquet", False)}  # the others are tried again: what is in the way may go
    assert [path.name for path in (desk.folder / "out").rglob("*") if path.is_file()] == ["b", "d.parquet"]


@pytest.mark.no_bundle
def test_files_that_would_become_one_are_refused_together(desk: Desk) -> None:
    define(desk, "in/**/*.csv*", source={"format": "csv"})
    put(desk, "a.csv", GOOD)
    put(desk, "a.csv.gz", gzip.compress(GOOD))
    with pytest.raises(PlanError, match=r"'in/a\.csv' and 'in/a\.csv\.gz' would both become 'a\.parquet'"):
        desk.run()


@pytest.mark.no_bundle
def test_a_file_whose_output_would_be_the_folder_of_another_is_refused(desk: Desk) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    put(desk, "a.parquet/x/b.csv", GOOD)
    with pytest.raises(PlanError, match=r"'in/a\.csv' would become 'a\.parquet', which is a folder of others"):
        desk.run()


def test_a_file_whose_output_would_be_in_the_output_of_another_costs_itself(desk: Desk) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    desk.ran()
    put(desk, "a.parquet/b.csv", GOOD)
    put(desk, "c.csv", GOOD)
    desk.ran()
    assert outputs(desk) == {"a.parquet": ROWS, "c.parquet": ROWS}
    assert unreadable(desk) == ["in/a.parquet/b.csv"]


def test_two_runs_at_once_are_one_after_the_other(desk: Desk) -> None:
    from beam_pipelines.errors import ActiveRunError
    from beam_pipelines.state.lease import this_process

    define(desk)
    put(desk, "a.csv", GOOD)
    desk.ran()
    put(desk, "b.csv", GOOD)
    with desk.store() as store:
        held = store.acquire("files", "0000000000aa", ttl_seconds=60, holder=this_process())
        with pytest.raises(ActiveRunError):
            desk.run()
        store.release(held)
    assert read(desk.ran()) == ["in/b.csv"]
