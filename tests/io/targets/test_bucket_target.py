"""Objects of a bucket that appear whole, once, or not at all, whatever dies in between."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connections import Connections, variable
from beam_pipelines.io.objects.store import Store
from beam_pipelines.io.objects.target import BucketTarget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.window import Range, Window
from beam_pipelines.spec.destination import FileDestination
from beam_pipelines.testing.buckets import BucketServer, Proxy

STARTED = "2026-03-01T12:00:00.000000+00:00"
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("version", pa.int64())])
ADA, BOB, CYD = (1, "Ada", 10), (2, "Bob", 10), (3, "Cyd", 10)
REPLACE = {"mode": "replace", "whole": True}


def parquet(*rows: Any) -> bytes:
    made = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA), made)
    return made.getvalue()


def rows_of(data: bytes) -> list[Any]:
    return [tuple(row.values()) for row in pq.read_table(io.BytesIO(data)).to_pylist()]


class Out:
    """A destination in a bucket, and the server's own client to look at it."""

    def __init__(self, base: Path, server: BucketServer, bucket: str, loads: Callable[[Any], Any]) -> None:
        self.server, self.bucket, self._loads, self._open = server, bucket, loads, list[BucketTarget]()
        self.state = f"sqlite:///{base / 'state.db'}"

    def target(self, prefix: str = "out/", given: str = "parquet", **model: Any) -> BucketTarget:
        connection = Connections(None, {variable("lake"): json.dumps(self.server.connection(self.bucket))}).get("lake")
        destination = FileDestination.model_validate({"bucket": "lake", "prefix": prefix, "format": given, **model})
        self._open.append(BucketTarget(destination, connection, None, RunContext("0" * 12, STARTED, state=self.state), given))
        return self._open[-1]

    def run(self, target: BucketTarget, run: str, load: str = "lake/out/", **policy: Any) -> Any:
        """A prepared run."""
        return self._loads(target).begin(SCHEMA, run=run * 12, load=load, **policy)

    def objects(self) -> dict[str, bytes]:
        return self.server.objects(self.bucket)

    def files(self) -> dict[str, list[Any]]:
        return {key: rows_of(data) for key, data in self.objects().items() if key.endswith(".parquet")}

    def put(self, key: str, *rows: Any) -> None:
        self.server.put(self.bucket, key, parquet(*rows))

    def close(self) -> None:
        for target in self._open:
            target.close()


@pytest.fixture
def out(tmp_path: Path, bucket_server: BucketServer, bucket: str, loads: Callable[[Any], Any]) -> Iterator[Out]:
    made = Out(tmp_path, bucket_server, bucket, loads)
    yield made
    made.close()


A, B = "a" * 12, "b" * 12


def test_insert_adds_an_object_for_each_staged_one_and_touches_nothing(out: Out) -> None:
    out.put("out/theirs.parquet", CYD)
    target = out.target()
    counts = out.run(target, "a").stage([BOB], order=2).stage([ADA], order=1).stage([], order=3).commit()
    assert (counts.merged.inserted, counts.merged.deleted) == (2, 0)
    out.run(target, "b").stage([CYD]).commit()
    assert out.files() == {
        f"out/{A}-00000.parquet": [ADA],
        f"out/{A}-00001.parquet": [BOB],
        f"out/{B}-00000.parquet": [CYD],
        "out/theirs.parquet": [CYD],
    }
    assert len(out.objects()) == 4  # nothing of the staging is left
    assert target.standing("shop", "lake/out/").generation == 2


def test_replace_exchanges_what_begins_with_the_prefix_in_the_folder_and_nothing_else(out: Out) -> None:
    for key in ("out/part-1.parquet", "out/part-2.PARQUET", "out/other.parquet", "out/part-deep/1.parquet", "part-3.parquet"):
        out.put(key, CYD)
    out.server.put(out.bucket, "out/part-notes.txt", b"kept")
    counts = out.run(out.target("out/part-", mode="replace"), "a", "lake/out/part-", **REPLACE).stage([ADA]).stage([BOB], order=1).commit()
    assert (counts.merged.inserted, counts.merged.deleted, counts.merged.method) == (2, 2, "replace files")
    assert out.files() == {
        f"out/part-{A}-00000.parquet": [ADA],
        f"out/part-{A}-00001.parquet": [BOB],
        "out/other.parquet": [CYD],
        "out/part-deep/1.parquet": [CYD],
        "part-3.parquet": [CYD],
    }
    assert out.objects()["out/part-notes.txt"] == b"kept"


def test_one_object_is_exchanged_and_staged_ones_are_joined_in_their_order(out: Out) -> None:
    out.put("all.parquet", CYD)
    target = out.target("all.parquet", mode="replace")
    out.run(target, "a", "lake/all.parquet", **REPLACE).stage([BOB], order=2).stage([ADA], order=1).commit()
    assert out.files() == {"all.parquet": [ADA, BOB]}
    assert len(out.objects()) == 1
    with pytest.raises(PlanError, match="cannot be added to one Parquet file"):
        out.target("all.parquet")


def avro(data: bytes) -> list[Any]:
    return [tuple(row.values()) for row in fastavro.reader(io.BytesIO(data))]  # type: ignore[union-attr]


READERS: dict[tuple[str, str], Callable[[bytes], list[Any]]] = {
    ("avro", ".avro"): avro,
    ("json", ".json"): lambda data: [tuple(row.values()) for row in json.loads(data)],
    ("jsonl", ".jsonl.gz"): lambda data: [tuple(json.loads(line).values()) for line in gzip.decompress(data).splitlines()],
    ("csv", ".csv"): lambda data: [(int(i), n, int(v)) for i, n, v in list(csv.reader(io.StringIO(data.decode())))[1:]],
}


@pytest.mark.parametrize(("form", "ending"), READERS)
def test_every_format_is_written_in_folders_and_joined_in_one_object(out: Out, form: str, ending: str) -> None:
    read = READERS[form, ending]
    compression = {"compression": "gzip"} if ending.endswith(".gz") else {}
    target = out.target("out/", form, **compression)
    out.run(target, "a").stage([ADA]).stage([BOB], order=1).commit()
    assert {key: read(data) for key, data in out.objects().items()} == {
        f"out/{A}-00000{ending}": [ADA],
        f"out/{A}-00001{ending}": [BOB],
    }
    known = target.describe("lake/out/")
    assert known is not None
    assert known.schema.names == (SCHEMA.names if form == "avro" else [])
    one = out.target(f"all{ending}", form, mode="replace", **compression)
    out.run(one, "b", f"lake/all{ending}", **REPLACE).stage([BOB], order=2).stage([ADA], order=1).commit()
    assert read(out.objects()[f"all{ending}"]) == [ADA, BOB]
    run = out.run(target, "c").stage([CYD])
    (key,) = [key for key in out.objects() if ".bp_staging/" in key]
    out.server.put(out.bucket, key, b"short")
    assert run.commit().code == "staging-lost"


def test_an_empty_source_leaves_what_is_there(out: Out) -> None:
    out.put("out/all.parquet", CYD)
    counts = out.run(out.target(mode="replace"), "a", **REPLACE).commit()
    assert (counts.code, out.files()) == ("empty-source", {"out/all.parquet": [CYD]})


def test_describe_reads_the_object_written_last(out: Out) -> None:
    assert out.target().describe("lake/out/").schema.names == []
    assert out.target("x.parquet", mode="replace").describe("lake/x.parquet") is None
    out.put("out/b.parquet", CYD)
    out.server.put(out.bucket, "out/a.parquet", b"no parquet")
    assert out.target().describe("lake/out/").schema == SCHEMA
    assert out.target().check() == "2 Parquet files, lake/out/"


@pytest.mark.parametrize("prefix", ["a//b", "../a/", "a/./b", "/a/", "a*"])
def test_prefixes_that_no_folder_has_are_refused(out: Out, prefix: str) -> None:
    with pytest.raises(PlanError, match=r"destination\.prefix") as raised:
        out.target(prefix)
    assert raised.value.code == "spec-invalid"


class _Died(BaseException):
    """The process ends here."""


CALLS = ("copy", "discard", "remove")


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_whoever_comes_next_does_what_was_promised(out: Out, monkeypatch: pytest.MonkeyPatch, after: int, where: str) -> None:
    """Two copies, each with the removal of what was staged, then the removal of an old object: each is the last that its process does."""
    out.put("out/old.parquet", CYD)
    target = out.target(mode="replace")
    run = out.run(target, "a", **REPLACE).stage([ADA]).stage([BOB], order=1)
    calls, inside = list[str](), list[str]()
    monkeypatch.setattr("beam_pipelines.io.objects.target._AT_ONCE", 1)

    def dying(name: str) -> Callable[..., Any]:
        real = getattr(type(target._store), name)

        def call(store: Store, *arguments: Any) -> Any:
            if inside:  # one of S3 discards what it removes
                return real(store, *arguments)
            calls.append(name)
            if len(calls) > after and where == "before":
                raise _Died
            inside.append(name)
            done = real(store, *arguments)
            inside.clear()
            if len(calls) > after:
                raise _Died
            return done

        return call

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(type(target._store), name, dying(name))
        with pytest.raises(_Died):
            run.commit()
    assert calls[0] == "copy"
    later = out.target(mode="replace")
    assert [row.status for row in later.rows("shop", A)] == ["committed"]
    assert out.files() == {f"out/{A}-00000.parquet": [ADA], f"out/{A}-00001.parquet": [BOB]}
    out.run(later, "b", **REPLACE).stage([CYD]).commit()
    assert out.files() == {f"out/{B}-00000.parquet": [CYD]}
    assert len(out.objects()) == 1


def test_a_run_that_died_before_its_commit_leaves_nothing(out: Out) -> None:
    target = out.target()
    run = out.run(target, "a").stage([ADA])
    unfinished = target.stager(run.name(), SCHEMA, 1)
    unfinished.write(pa.RecordBatch.from_pylist([{"id": 1, "name": "x", "version": 1}], schema=SCHEMA))
    begun = target._store.begin(f"out/.bp_staging/{run.name()}.staged")
    begun.write(bytes(9_000_000))  # its first part is at the store
    later = out.target()
    assert len(later.staging("shop")) == (2 if out.server.scheme == "s3" else 1)
    later.give_up("shop", A)
    out.run(later, "b").stage([BOB]).commit()
    assert out.files() == {f"out/{B}-00000.parquet": [BOB]}
    assert (len(out.objects()), later.staging("shop"), list(target._store.unfinished(""))) == (1, [], [])


def test_an_object_that_somebody_changed_meanwhile_stays(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    out.put("out/old.parquet", CYD)
    target = out.target(mode="replace")
    run = out.run(target, "a", **REPLACE).stage([ADA])
    real = type(target._store).copy

    def late(store: Store, *arguments: Any) -> Any:
        out.put("out/old.parquet", BOB)
        return real(store, *arguments)

    monkeypatch.setattr(type(target._store), "copy", late)
    run.commit()
    assert out.files() == {f"out/{A}-00000.parquet": [ADA], "out/old.parquet": [BOB]}


def test_a_store_that_is_away_behind_the_commit_loses_nothing(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    target = out.target()
    run = out.run(target, "a").stage([ADA])

    def away(*_: Any) -> Any:
        raise FatalError("S3 answers 503", code="unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(type(target._store), "copy", away)
        with pytest.raises(FatalError, match=r"S3 answers 503.* Nothing is lost: mend that and start again") as raised:
            run.commit()
    assert raised.value.code == "commit-failed"
    assert out.files() == {}
    out.run(out.target(), "b").stage([BOB]).commit()
    assert out.files() == {f"out/{A}-00000.parquet": [ADA], f"out/{B}-00000.parquet": [BOB]}


@pytest.mark.parametrize("status", [403, 404])
def test_a_prefix_that_takes_nothing_is_found_before_a_row_is_read(out: Out, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(out.server.url, lambda _, method, *__: status if method in ("PUT", "POST") else None) as proxy:
        given = out.server.connection(out.bucket, proxy.url)
        monkeypatch.setattr(out.server, "connection", lambda _: given)
        window = Window("shop", "lake/out/", "a.csv", A, 0, ranges=(Range("lake/out/", "a.csv", 0, {}),)).with_schema("*", SCHEMA)
        with pytest.raises(FatalError, match=rf"nothing can be written below '{out.server.scheme}://{out.bucket}/out'") as raised:
            out.target().prepare(window, RunContext(A, STARTED))
    assert raised.value.code == "stage-failed"
    assert "give another bucket or prefix. Nothing was read" in raised.value.message
    assert (out.server.keys(out.bucket), out.server.begun(out.bucket)) == ([], [])


@pytest.mark.parametrize("loss", ["dropped", "short"])
def test_lost_staging_is_refused(out: Out, loss: str) -> None:
    target = out.target()
    run = out.run(target, "a").stage([ADA]).stage([BOB], order=1)
    (key, *_) = [key for key in out.objects() if ".bp_staging/" in key]
    if loss == "dropped":
        assert target._store.remove(target._store.look(key))  # type: ignore[arg-type]
    else:
        out.put(key, ADA, BOB)
    assert (run.commit().code, out.files()) == ("staging-lost", {})


def test_what_another_target_of_the_service_promised_is_left_to_it(
    out: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from beam_pipelines.io.files.target import FileTarget

    target = out.target()
    run = out.run(target, "a").stage([ADA])
    with monkeypatch.context() as patch:
        patch.setattr(type(target._store), "copy", lambda *_: (_ for _ in ()).throw(_Died()))
        with pytest.raises(_Died):
            run.commit()
    local = FileTarget(FileDestination(path="out", format="parquet"), None, tmp_path, RunContext("0" * 12, STARTED, state=out.state))
    local.fulfil("shop")
    local.close()
    assert re.search(rf"run {A} committed to 'lake/out/' is elsewhere \({out.server.scheme}://{out.bucket}/out/.*waits", caplog.text)
    assert out.files() == {}
    out.target().fulfil("shop")
    assert out.files() == {f"out/{A}-00000.parquet": [ADA]}


def test_who_looks_all_the_time_sees_whole_objects_only(out: Out) -> None:
    """One object exchanged again and again: each reader finds one of the versions, whole."""
    versions = [[(n, "x" * 100_000, run) for n in range(5)] for run in range(4)]
    target = out.target("all.parquet", mode="replace")
    seen: list[list[Any]] = []
    wrong: list[Exception] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                seen.extend(rows_of(data) for key, data in out.objects().items() if ".bp_staging/" not in key)
            except Exception as odd:  # noqa: BLE001 (told below)
                if "NoSuchKey" not in str(odd) and "404" not in str(odd):  # staging that went between the list and the look
                    wrong.append(odd)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for run, rows in enumerate(versions):
            out.run(target, f"{run}", "lake/all.parquet", **REPLACE).stage(rows).commit()
    finally:
        done.set()
        reader.join()
    assert wrong == []
    assert seen
    assert all(rows in versions for rows in seen)
    assert out.files() == {"all.parquet": versions[-1]}
