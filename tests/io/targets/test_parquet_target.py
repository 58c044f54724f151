"""Files that appear whole, once, or not at all, whatever dies in between."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connections import Connections, variable
from beam_pipelines.io.files import target as module
from beam_pipelines.io.files.stage import RowStaging
from beam_pipelines.io.files.target import FileTarget
from beam_pipelines.io.files.types import written
from beam_pipelines.io.files.writing import parquet
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.facts import Staged
from beam_pipelines.spec.destination import FileDestination

STARTED = "2026-03-01T12:00:00.000000+00:00"
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("version", pa.int64())])
ADA, BOB, CYD = (1, "Ada", 10), (2, "Bob", 10), (3, "Cyd", 10)


class Out:
    """A destination, and plain pyarrow to look at it."""

    def __init__(self, base: Path, loads: Callable[[Any], Any]) -> None:
        self.base, self._loads, self._open = base, loads, list[FileTarget]()
        self.state = f"sqlite:///{base / 'state.db'}"

    def target(self, path: str = "out", **model: Any) -> FileTarget:
        connection = model.pop("connection", None)
        if connection is None:
            model = {"path": path, "format": "parquet", **model}
        destination = FileDestination.model_validate(model)
        context = RunContext("0" * 12, STARTED, state=model.get("state", self.state))
        self._open.append(FileTarget(destination, connection, self.base, context))
        return self._open[-1]

    def run(self, target: FileTarget, run: str, load: str = "out", schema: pa.Schema = SCHEMA, **policy: Any) -> Any:
        """A prepared run."""
        return self._loads(target).begin(schema, run=run * 12, load=load, **policy)

    def files(self, folder: str = "out") -> dict[str, list[Any]]:
        return {
            path.relative_to(self.base / folder).as_posix(): [tuple(row.values()) for row in pq.read_table(path).to_pylist()]
            for path in sorted((self.base / folder).rglob("*.parquet"))
        }

    def put(self, name: str, *rows: Any) -> Path:
        """A file of somebody else."""
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA), path)
        return path

    def close(self) -> None:
        for target in self._open:
            target.close()


@pytest.fixture
def out(tmp_path: Path, loads: Callable[[Any], Any]) -> Iterator[Out]:
    made = Out(tmp_path, loads)
    yield made
    made.close()


REPLACE = {"mode": "replace", "whole": True}


# Folders.


def test_insert_adds_a_file_for_each_staged_one_and_touches_nothing(out: Out) -> None:
    out.put("out/theirs.parquet", CYD)
    (out.base / "out" / "notes.txt").write_text("kept")
    target = out.target()
    counts = out.run(target, "a").stage([BOB], order=2).stage([ADA], order=1).stage([], order=3).commit()
    assert (counts.merged.inserted, counts.merged.deleted) == (2, 0)
    out.run(target, "b").stage([CYD]).commit()
    assert out.files() == {
        f"{'a' * 12}-00000.parquet": [ADA],
        f"{'a' * 12}-00001.parquet": [BOB],
        f"{'b' * 12}-00000.parquet": [CYD],
        "theirs.parquet": [CYD],
    }
    assert (out.base / "out" / "notes.txt").read_text() == "kept"
    assert not (out.base / "out" / ".bp_staging").exists()


def test_an_empty_increment_adds_no_file(out: Out) -> None:
    counts = out.run(out.target(), "a").commit()
    assert (counts.merged.inserted, out.files()) == (0, {})
    assert out.target().standing("shop", "out").generation == 1


def test_replace_exchanges_every_parquet_file_of_the_folder_and_no_other(out: Out) -> None:
    out.put("out/theirs.parquet", CYD, BOB)
    out.put("out/OTHER.PARQUET", CYD)
    out.put("out/year=2025/deep.parquet", CYD)
    (out.base / "out" / "notes.txt").write_text("kept")
    target = out.target(mode="replace")
    counts = out.run(target, "a", **REPLACE).stage([ADA]).stage([BOB], order=1).commit()
    assert (counts.merged.inserted, counts.merged.deleted, counts.merged.method) == (2, 3, "replace files")
    assert out.files() == {f"{'a' * 12}-00000.parquet": [ADA], f"{'a' * 12}-00001.parquet": [BOB], "year=2025/deep.parquet": [CYD]}
    counts = out.run(target, "b", **REPLACE).stage([CYD]).commit()
    assert (counts.merged.inserted, counts.merged.deleted) == (1, 2)
    assert out.files() == {f"{'b' * 12}-00000.parquet": [CYD], "year=2025/deep.parquet": [CYD]}
    assert sorted(os.listdir(out.base / "out")) == [f"{'b' * 12}-00000.parquet", "notes.txt", "year=2025"]


def test_a_broken_file_is_replaced_like_any_other(out: Out) -> None:
    (out.base / "out").mkdir()
    (out.base / "out" / "broken.parquet").write_text("no parquet")
    target = out.target(mode="replace")
    assert target.describe("out").schema.names == []
    out.run(target, "a", **REPLACE).stage([ADA]).commit()
    assert out.files() == {f"{'a' * 12}-00000.parquet": [ADA]}


@pytest.mark.parametrize("path", ["out", "out/all.parquet"])
def test_an_empty_source_leaves_what_is_there_unless_that_is_allowed(out: Out, path: str) -> None:
    out.put("out/all.parquet", CYD)
    target = out.target(path, mode="replace")
    counts = out.run(target, "a", path, **REPLACE).commit()
    assert (counts.code, out.files()) == ("empty-source", {"all.parquet": [CYD]})
    counts = out.run(target, "b", path, allow_empty=True, **REPLACE).commit()
    assert (counts.code, counts.merged.deleted) == ("", 1)
    ((name, rows),) = out.files().items()
    assert rows == []
    assert pq.read_schema(out.base / "out" / name).names == SCHEMA.names  # whoever reads it next finds the columns


def test_a_bucket_is_a_folder_and_a_prefix(out: Out) -> None:
    out.put("bucket/done/part-old.parquet", CYD)
    out.put("bucket/done/other.parquet", CYD)
    bucket = Connections(None, {variable("lake"): f"file://{out.base}/bucket"}).get("lake")
    how = {"bucket": "lake", "prefix": "done/part-", "format": "parquet", "mode": "replace", "connection": bucket}
    out.run(out.target(**how), "a", "lake/done/part-", **REPLACE).stage([ADA]).commit()
    assert out.files("bucket") == {"done/other.parquet": [CYD], f"done/part-{'a' * 12}-00000.parquet": [ADA]}
    whole = {**how, "prefix": "", "mode": "insert"}
    out.run(out.target(**whole), "b", "lake/").stage([BOB]).commit()
    assert out.files("bucket")[f"{'b' * 12}-00000.parquet"] == [BOB]


def test_each_table_has_its_own_folder(out: Out) -> None:
    target = out.target("lake/{table}/rows")
    out.run(target, "a", "lake/customers/rows").stage([ADA]).commit()
    out.run(target, "b", "lake/orders/rows").stage([BOB]).commit()
    assert list(out.files("lake").values()) == [[ADA], [BOB]]
    assert sorted(path.name for path in (out.base / "lake").iterdir()) == ["customers", "orders"]
    with pytest.raises(PlanError, match="leads out of it"):
        out.run(target, "c", "lake/../../rows")


# One file.


def test_one_file_is_exchanged_by_one_rename(out: Out) -> None:
    path = out.put("out/all.parquet", CYD)
    target = out.target("out/all.parquet", mode="replace")
    with path.open("rb") as reader:
        counts = out.run(target, "a", "out/all.parquet", **REPLACE).stage([ADA, BOB]).commit()
        assert pq.read_table(reader).num_rows == 1  # whoever reads goes on reading what was there
    assert (counts.merged.inserted, counts.merged.deleted, counts.merged.method) == (2, 1, "replace the file")
    assert out.files() == {"all.parquet": [ADA, BOB]}
    assert os.listdir(out.base / "out") == ["all.parquet"]


def test_staged_files_are_joined_into_one_in_their_order(out: Out) -> None:
    target = out.target("out/all.parquet", mode="replace")
    run = out.run(target, "a", "out/all.parquet", **REPLACE)
    run.stage([CYD], order=3).stage([], order=2).stage([ADA, BOB], order=1)
    counts = run.commit()
    assert out.files() == {"all.parquet": [ADA, BOB, CYD]}
    assert counts.merged.inserted == 3
    assert run.commit() == counts
    assert os.listdir(out.base / "out") == ["all.parquet"]


def test_a_folder_that_is_called_like_a_file_is_a_folder(out: Out) -> None:
    out.put("out/spark.parquet/part-0.parquet", CYD)
    out.run(out.target("out/spark.parquet"), "a", "out/spark.parquet").stage([ADA]).commit()
    assert len(out.files("out/spark.parquet")) == 2


# What dies, and who comes next.


class Died(BaseException):
    """The process is gone."""


def dying(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Die after so many moves."""
    keep, done = module._keep, []

    def step(move: Any) -> None:
        if len(done) == after:
            raise Died
        done.append(move)
        keep(move)

    monkeypatch.setattr(module, "_keep", step)


@pytest.mark.parametrize("next_call", ["rows", "prepare", "commit"])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_whoever_comes_next_does_what_was_promised(out: Out, after: int, next_call: str) -> None:
    out.put("out/one.parquet", CYD)
    out.put("out/two.parquet", CYD)
    run = out.run(out.target(mode="replace"), "a", **REPLACE).stage([ADA]).stage([BOB], order=1)
    with pytest.MonkeyPatch.context() as patch:
        dying(patch, after)
        with pytest.raises(Died):
            run.commit()
    later = out.target(mode="replace")
    if next_call == "rows":
        assert [row.status for row in later.rows("shop", "a" * 12)] == ["committed"]
    elif next_call == "prepare":
        out.run(later, "b", **REPLACE)
    else:
        run.target = later
        assert run.commit().merged.inserted == 2
    assert out.files() == {f"{'a' * 12}-00000.parquet": [ADA], f"{'a' * 12}-00001.parquet": [BOB]}
    with later.reading() as tx:
        assert tx is not None
        assert later.ledger.promised(tx, "shop") == {}


def test_a_file_that_somebody_changed_meanwhile_stays(out: Out) -> None:
    out.put("out/theirs.parquet", CYD)
    run = out.run(out.target(mode="replace"), "a", **REPLACE).stage([ADA])
    with pytest.MonkeyPatch.context() as patch:
        dying(patch, 1)
        with pytest.raises(Died):
            run.commit()
    out.put("out/theirs.parquet", BOB, CYD)
    out.target(mode="replace").rows("shop", "a" * 12)
    assert out.files() == {f"{'a' * 12}-00000.parquet": [ADA], "theirs.parquet": [BOB, CYD]}


def test_a_file_that_was_loaded_and_taken_away_is_no_trouble(out: Out) -> None:
    run = out.run(out.target(), "a").stage([ADA])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "sync", lambda path: (_ for _ in ()).throw(Died()))  # after the moves, before they are struck off
        with pytest.raises(Died):
            run.commit()
    (moved,) = (out.base / "out").glob("*.parquet")
    moved.unlink()
    out.run(out.target(), "b").stage([BOB]).commit()
    assert list(out.files().values()) == [[BOB]]


def test_a_place_that_cannot_be_written_loses_nothing(out: Out) -> None:
    blocked = out.base / "lake" / "customers"
    blocked.parent.mkdir()
    target = out.target("lake/{table}")
    run = out.run(target, "a", "lake/customers").stage([ADA])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(FatalError, match="Nothing is lost") as stuck:
            run.commit()
    assert stuck.value.code == "commit-failed"
    out.run(out.target("lake/{table}"), "b", "lake/customers").stage([BOB]).commit()
    assert sorted(out.files("lake").values()) == [[ADA], [BOB]]


def test_a_run_that_died_before_its_commit_leaves_nothing(out: Out) -> None:
    run = out.run(out.target(), "a").stage([ADA])
    stager = run.target.stager(run.name(), SCHEMA, 0)
    stager.write(pa.RecordBatch.from_pylist([], schema=SCHEMA))  # in the middle of a bundle
    assert len(list((out.base / "out" / ".bp_staging").iterdir())) == 2
    out.run(out.target(), "b")
    assert list((out.base / "out").iterdir()) == []


@pytest.mark.parametrize("path", ["out", "out/all.parquet"])
@pytest.mark.parametrize("loss", ["dropped", "short", "broken"])
def test_lost_staging_is_refused(out: Out, path: str, loss: str) -> None:
    out.put("out/all.parquet", CYD)
    target = out.target(path, mode="replace")
    run = out.run(target, "a", path, **REPLACE).stage([ADA]).stage([BOB], order=1)
    if loss == "dropped":
        target.drop_staged([run.staged[1].name])
    elif loss == "broken":
        (out.base / "out" / ".bp_staging" / f"{run.staged[1].name}.staged").write_bytes(b"PAR1")
    else:
        run.staged[1] = Staged(run.staged[1].name, 2, order=1)
    assert run.commit().code == "staging-lost"
    assert out.files() == {"all.parquet": [CYD]}
    assert target.standing("shop", path).generation == 0


# Types and layout.


def test_every_type_that_parquet_has_comes_back_as_it_was(out: Out) -> None:
    moment = datetime(2024, 2, 29, 12, 30, 15, 123456)
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "bool": (pa.bool_(), [True, False, None]),
        "u64": (pa.uint64(), [2**64 - 1, 0, None]),
        "half": (pa.float16(), [1.5, -2.0, None]),
        "decimal": (pa.decimal256(50, 3), [Decimal("1234567890123456789012345678901234567890.123"), Decimal("-0.001"), None]),
        "text": (pa.large_string(), ["", "日本", None]),
        "view": (pa.string_view(), ["a", "long enough to be out of line", None]),
        "bytes": (pa.binary(3), [b"abc", b"\x00\xff\x00", None]),
        "day": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31), None]),
        "date64": (pa.date64(), [date(2024, 2, 29), date(1969, 12, 31), None]),
        "time": (pa.time32("s"), [time(1, 2, 3), time(0), None]),
        "seconds": (pa.timestamp("s"), [moment.replace(microsecond=0), datetime(1900, 1, 1), None]),
        "zone": (
            pa.timestamp("us", "Europe/Zurich"),
            [moment.replace(tzinfo=timezone.utc), datetime(1970, 1, 1, tzinfo=timezone.utc), None],
        ),
        "span": (pa.duration("us"), [timedelta(days=3, microseconds=1), timedelta(-1), None]),
        "list": (pa.list_(pa.int64()), [[1, None], [], None]),
        "triple": (pa.list_(pa.int32(), 3), [[1, 2, 3], [4, None, 6], None]),
        "struct": (
            pa.struct([("a", pa.int64()), ("b c", pa.timestamp("s"))]),
            [{"a": 1, "b c": moment.replace(microsecond=0)}, {"a": None, "b c": None}, None],
        ),
        "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1)], [], None]),
        "words": (pa.dictionary(pa.int32(), pa.string()), ["x", "y", None]),
        "numbers": (pa.dictionary(pa.int8(), pa.int64()), [7, 8, None]),
        "null": (pa.null(), [None, None, None]),
        'a.dotted "name"': (pa.string(), ["x", "x", None]),
    }
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    batch = pa.RecordBatch.from_arrays([pa.array(values, kind) for kind, values in columns.values()], schema=schema)
    target = out.target()
    run = out.run(target, "a", schema=schema).stage(batch)
    run.commit()
    (path,) = (out.base / "out").glob("*.parquet")
    table = pq.read_table(path)
    assert table.schema.names == schema.names
    assert table.schema.types == target.stored(schema).types
    wrong = {name: (table[name].to_pylist(), values) for name, (_, values) in columns.items() if table[name].to_pylist() != values}
    assert wrong == {}


def test_what_parquet_cannot_keep_is_refused_before_anything_is_read(out: Out) -> None:
    for kind in (pa.month_day_nano_interval(), pa.struct([]), pa.dense_union([pa.field("a", pa.int64())]), pa.list_(pa.struct([]))):
        with pytest.raises(PlanError, match="column 'odd': expected a type that Parquet keeps") as refused:
            out.target().stored(pa.schema([("odd", kind)]))
        assert refused.value.code == "type-unsupported"
    assert written(pa.run_end_encoded(pa.int32(), pa.string())) == pa.string()


def test_metadata_of_the_source_does_not_travel(out: Out) -> None:
    schema = pa.schema([pa.field("id", pa.int64(), metadata={"PARQUET:field_id": "7"})], metadata={"pandas": "{}"})
    stored = out.target().stored(schema)
    assert (stored.metadata, stored.field("id").metadata) == (None, None)


@pytest.mark.parametrize(
    ("given", "found"), [(None, "SNAPPY"), ("none", "UNCOMPRESSED"), ("zstd", "ZSTD"), ("gzip", "GZIP"), ("brotli", "BROTLI")]
)
def test_the_compression_asked_for_is_used(out: Out, given: str | None, found: str) -> None:
    out.run(out.target(compression=given), "a").stage([ADA]).commit()
    (path,) = (out.base / "out").glob("*.parquet")
    group = pq.read_metadata(path).row_group(0)
    assert {group.column(index).compression for index in range(3)} == {found}


def test_row_groups_are_large_and_memory_is_not(tmp_path: Path) -> None:
    staging, schema = RowStaging(tmp_path), pa.schema([("id", pa.int64()), ("text", pa.string())])
    batch = pa.RecordBatch.from_arrays([pa.array(range(50_000)), pa.array([f"text {n % 10}" for n in range(50_000)])], schema=schema)
    stager = staging.stager("rows", schema, 0)
    before, most = pa.total_allocated_bytes(), 0
    for _ in range(40):
        stager.write(batch)
        most = max(most, pa.total_allocated_bytes() - before)
    staged = stager.finish()
    metadata = pq.read_metadata(staging.path("rows"))
    groups = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert (staged.rows, groups) == (2_000_000, [150_000] * 13 + [50_000])
    assert most < 64 << 20  # of 40 MB of text and numbers a row group, and what the writer has of it


def test_wide_rows_make_smaller_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1 << 20)
    staging, schema = RowStaging(tmp_path), pa.schema([("text", pa.string())])
    stager = staging.stager("rows", schema, 0)
    for _ in range(4):
        stager.write(pa.RecordBatch.from_pylist([{"text": "x" * 600_000}], schema=schema))
    stager.finish()
    assert pq.read_metadata(staging.path("rows")).num_row_groups == 2


def test_a_full_disk_while_staging_is_said_and_nothing_is_left(out: Out) -> None:
    run = out.run(out.target(), "a")
    stager = run.target.stager(run.name(), SCHEMA, 0)

    class Full:
        def write(self, *_: Any) -> None:
            """It fits into memory."""

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    stager._writer = Full()
    stager.write(pa.RecordBatch.from_pylist([{"id": 1, "name": "a", "version": 1}], schema=SCHEMA))
    with pytest.raises(FatalError, match="No space left on device") as full:
        stager.finish()
    assert full.value.code == "stage-failed"
    assert run.target.staging("shop") == []


def test_types_must_not_change_between_the_files_of_a_folder(out: Out) -> None:
    target, text = out.target(), pa.schema([("id", pa.string()), ("name", pa.string())])
    out.run(target, "a").stage([ADA]).commit()
    with pytest.raises(PlanError, match="column 'id' is string now, and int64 in the files") as changed:
        out.run(target, "b", schema=text)
    assert changed.value.code == "schema-changed"
    out.run(target, "c", schema=SCHEMA.append(pa.field("note", pa.string()))).stage([(*BOB, "new")]).commit()
    assert len(out.files()) == 2
    for path in (out.base / "out").glob("*.parquet"):
        path.unlink()
    out.run(target, "d", schema=text).stage([("x", "y")]).commit()


def test_describe_reads_the_file_written_last(out: Out) -> None:
    target = out.target()
    assert target.describe("out") is None
    out.run(target, "a").stage([ADA]).commit()
    assert target.describe("out").schema == SCHEMA  # type: ignore[union-attr]
    assert target.check() == "1 Parquet file, out"


# Where it is asked for.


def test_what_cannot_be_done_is_refused_when_it_is_planned(out: Out) -> None:
    for model, what in (
        ({"path": "out/all.parquet"}, "rows cannot be added to one Parquet file"),
        ({"path": "out/*.parquet", "mode": "replace"}, "got a pattern"),
        ({"path": "out", "compression": "bz2"}, "not 'bz2'"),
        ({"path": "state.db"}, "got the file 'state.db'"),
    ):
        (out.base / "state.db").touch()
        with pytest.raises(PlanError, match=what):
            out.target(**model)
    assert out.target().traits.modes == ("insert", "replace")
    assert not out.target().traits.transactional


def test_outside_of_a_run_nothing_is_known_and_nothing_can_be_loaded(tmp_path: Path) -> None:
    target = FileTarget(FileDestination(path="out", format="parquet"), None, tmp_path, None)
    assert (target.heads("shop"), target.rows("shop", "a"), target.describe("out")) == ({}, [], None)
    with pytest.raises(FatalError, match="state store"), target.transaction():
        pass
    target.close()


def test_the_ledger_may_be_in_postgresql_and_named_like_a_connection(
    tmp_path: Path, loads: Callable[[Any], Any], postgres_database: str
) -> None:
    from beam_pipelines.state import StateStore

    file = tmp_path / "connections.yaml"
    file.write_text(f"store: {postgres_database}\n")
    StateStore(postgres_database).close()
    for number, state in enumerate((postgres_database, "store")):
        context = RunContext("0" * 12, STARTED, connections=str(file), state=state)
        target = FileTarget(FileDestination(path="out", format="parquet"), None, tmp_path, context)
        run = loads(target).begin(SCHEMA, load="out", run=str(number) * 12).stage([ADA])
        assert run.commit() == run.commit()
        assert target.standing("shop", "out").generation == number + 1
        target.close()
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 2


def test_the_ledger_lives_with_the_state_store_in_one_file(tmp_path: Path, loads: Callable[[Any], Any]) -> None:
    from beam_pipelines.state import StateStore

    with StateStore(f"sqlite:///{tmp_path / 'state.db'}") as store:
        context = RunContext("0" * 12, STARTED, store=store.id, state=f"sqlite:///{tmp_path / 'state.db'}")
        target = FileTarget(FileDestination(path="out", format="parquet"), None, tmp_path, context)
        loads(target).begin(SCHEMA, load="out").stage([ADA]).commit()
        assert store.executions() == []
        target.close()


def test_files_have_a_place_by_which_they_are_told_from_other_targets(tmp_path: Path) -> None:
    model = FileDestination(path="out/{table}", format="parquet")
    assert FileTarget(model, None, tmp_path).place == (tmp_path / "out").as_uri()
