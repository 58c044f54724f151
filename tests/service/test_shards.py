"""Files of a wanted size: every row once, whatever it was read with, and sizes that are about what was asked for."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest

from beam_pipelines.engine import prepare
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.files import stretch
from beam_pipelines.io.files.stage import RowStager
from beam_pipelines.io.files.target import FileTarget
from beam_pipelines.testing.buckets import BucketServer

Desk = Any
KIB = 1024


@pytest.fixture
def parted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some ten kilobytes are read in parts, as those of some hundred megabytes are."""
    monkeypatch.setattr(prepare, "_parts", lambda _: 5)
    monkeypatch.setattr(stretch, "LEAST", 10_000)


def text(number: int) -> str:
    """32 characters that no compression makes much smaller than 16 bytes."""
    return hashlib.md5(str(number).encode()).hexdigest()


def put(desk: Desk, name: str, first: int, last: int) -> None:
    path = Path(desk.folder) / "in" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("id,text\n" + "".join(f"{number},{text(number)}\n" for number in range(first, last)))


def cut_off(desk: Desk, name: str, first: int, last: int) -> None:
    whole = gzip.compress(("id,text\n" + "".join(f"{number},{text(number)}\n" for number in range(first, last))).encode())
    (Path(desk.folder) / "in" / name).write_bytes(whole[: len(whole) * 9 // 10])


def batch(desk: Desk, size: str | None = "64KiB", processing: dict[str, Any] | None = None, **destination: Any) -> None:
    where = {"type": "file", "path": "out", "format": "parquet", **({"shardSize": size} if size else {}), **destination}
    source = {"type": "file", "path": "in/*.csv*", "format": "csv", "quotedNewlines": False}
    desk.define(
        {
            "name": "Shards",
            "batch": {"source": source, "processing": processing or {}, "destination": where},
            "errorBudget": {"max": "100%"},
        }
    )


def shards(desk: Desk, folder: str = "out") -> dict[str, pa.Table]:
    return {path.name: pq.read_table(path) for path in sorted((Path(desk.folder) / folder).glob("*.parquet"))}


def ids(desk: Desk, folder: str = "out") -> list[int]:
    return sorted(number for table in shards(desk, folder).values() for number in table["id"].to_pylist())


def read(path: Path) -> int:
    """Rows of a file, by another reader than ours."""
    if path.suffix == ".parquet":
        return pq.read_metadata(path).num_rows
    if path.suffix == ".avro":
        with path.open("rb") as file:
            return sum(1 for _ in fastavro.reader(file))
    if path.suffix == ".csv":
        return pv.read_csv(path).num_rows
    lines = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return len([json.loads(line) for line in lines.splitlines()])


@pytest.mark.long
@pytest.mark.parametrize(
    ("form", "size"),
    [({"format": "parquet"}, 300), ({"format": "csv"}, 300), ({"format": "jsonl", "compression": "gzip"}, 600), ({"format": "avro"}, 300)],
)
def test_files_of_an_etl_are_about_as_large_as_is_asked_for(desk: Desk, form: dict[str, Any], size: int) -> None:
    for number in range(3):
        put(desk, f"{number}.csv", number * 20_000, (number + 1) * 20_000)
    where = {"type": "file", "path": "out", "shardSize": f"{size}KiB", **form}
    desk.define({"name": "Shards", "pipeline": {"source": {"type": "file", "path": "in/*.csv"}, "destination": where}})
    record = desk.ran()
    files = sorted((desk.folder / "out").glob("*"))
    sizes = [file.stat().st_size for file in files]
    assert len(sizes) > 2
    within = [0.7 * size * KIB <= one <= 1.3 * size * KIB for one in sizes]
    assert within.count(False) <= 1, sizes
    assert sum(map(read, files)) == record["metrics"]["recordsLoaded"] == 60_000
    run = record["runId"]
    assert [file.name.partition(".")[0] for file in files] == [f"{run}-{number:05}" for number in range(len(files))]


@pytest.mark.long
def test_files_that_replace_a_folder_are_of_that_size_too(desk: Desk) -> None:
    put(desk, "a.csv", 0, 20_000)
    where = {"type": "file", "path": "out", "format": "parquet", "shardSize": "200KiB", "mode": "replace"}
    desk.define({"name": "Shards", "pipeline": {"source": {"type": "file", "path": "in/*.csv"}, "destination": where}})
    desk.ran()
    desk.ran()
    assert ids(desk) == list(range(20_000))
    assert len(shards(desk)) > 1


@pytest.mark.usefixtures("parted")
def test_inputs_of_a_batch_are_cut_and_joined_and_every_row_is_there_once(desk: Desk) -> None:
    put(desk, "large.csv", 0, 20_000)
    for number in range(10):
        put(desk, f"small{number}.csv", 100_000 + number * 1500, 100_000 + (number + 1) * 1500)
    put(desk, "none.csv", 0, 0)
    batch(desk, "100KiB")
    record = desk.ran()
    assert ids(desk) == [*range(20_000), *range(100_000, 115_000)]
    sizes = [path.stat().st_size for path in sorted((desk.folder / "out").iterdir())]
    assert sum(not 70 * KIB <= size <= 130 * KIB for size in sizes) <= 1, sizes
    for table in shards(desk).values():
        numbers = table["id"].to_pylist()
        assert numbers == sorted(numbers)  # within a file rows are in the order of the inputs
        assert table["text"].to_pylist() == [text(number) for number in numbers]
    run = record["runId"]
    assert {one["output"] for one in record["files"]} == {f"./{run}-*.parquet"}
    assert {one["file"]: one["recordsWritten"] for one in record["files"]}["in/large.csv"] == 20_000
    assert record["filesProcessed"] == 12
    # What is new comes beside it, and nothing is read twice.
    put(desk, "more.csv", 200_000, 200_010)
    again = desk.ran()
    assert (again["filesProcessed"], again["filesSkipped"]) == (1, 12)
    assert ids(desk) == [*range(20_000), *range(100_000, 115_000), *range(200_000, 200_010)]
    assert desk.ran()["filesProcessed"] == 0
    assert len(ids(desk)) == 35_010


@pytest.mark.usefixtures("parted")
def test_of_a_file_that_cannot_be_read_to_its_end_no_row_is_in_a_shard_and_nothing_is_paid(desk: Desk) -> None:
    put(desk, "a.csv", 0, 3000)
    put(desk, "b.csv", 3000, 6000)
    cut_off(desk, "c.csv.gz", 6000, 60_000)
    batch(desk)
    record = desk.ran()
    assert ids(desk) == list(range(6000))
    assert [(letter["code"], letter["record"]["$file"]) for letter in desk.letters()] == [("file-unreadable", "in/c.csv.gz")]
    assert record["metrics"]["bytesProcessed"] == sum((desk.folder / "in" / name).stat().st_size for name in ("a.csv", "b.csv"))


@pytest.mark.usefixtures("parted")
def test_nothing_is_paid_of_a_file_whose_other_parts_could_be_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(desk, "a.csv", 0, 3000)
    put(desk, "b.csv", 3000, 6000)
    batch(desk)
    begun = stretch.Lines._begin

    def broken(lines: stretch.Lines) -> None:
        begun(lines)
        if lines.part == 1 and lines._file.size() == (desk.folder / "in" / "b.csv").stat().st_size:
            raise OSError("the disk")

    put(desk, "b.csv", 3000, 6001)
    monkeypatch.setattr(stretch.Lines, "_begin", broken)
    record = desk.ran()
    assert ids(desk) == list(range(3000))
    assert record["metrics"]["bytesProcessed"] == (desk.folder / "in" / "a.csv").stat().st_size
    assert record["filesFailed"] == 1


@pytest.mark.long
def test_a_changed_input_waits_for_a_full_refresh_which_replaces_what_runs_wrote_and_no_more(desk: Desk) -> None:
    put(desk, "a.csv", 0, 2000)
    put(desk, "b.csv", 2000, 4000)
    batch(desk)
    desk.ran()
    pq.write_table(pa.table({"id": [-1], "text": ["another's"]}), desk.folder / "out" / "zzz-00000.parquet")
    put(desk, "a.csv", 0, 5)
    with pytest.raises(PlanError, match=r"'in/a\.csv': the file changed since it was processed"):
        desk.run()
    put(desk, "c.csv", 9000, 9003)
    desk.ran()
    (letter,) = desk.letters()
    assert letter["code"] == "file-unreadable"
    assert "--full-refresh" in letter["error"]
    assert ids(desk) == [-1, *range(4000), 9000, 9001, 9002]
    # It is told once, waits, and does not become new when it changes again.
    put(desk, "d.csv", 9003, 9004)
    assert (desk.ran()["filesWaiting"], len(desk.letters())) == (1, 1)
    put(desk, "a.csv", 0, 7)
    put(desk, "e.csv", 9004, 9005)
    desk.ran()
    assert ids(desk) == [-1, *range(4000), *range(9000, 9005)]
    # One that is gone takes its rows with it: they are in files with those of others.
    (desk.folder / "in" / "b.csv").unlink()
    record = desk.ran(full_refresh=True, yes=True)
    assert ids(desk) == [-1, *range(7), *range(9000, 9005)]
    assert {name.partition("-")[0] for name in shards(desk)} == {"zzz", record["runId"]}
    assert desk.ran()["filesSkipped"] == 4
    put(desk, "b.csv", 2000, 2002)  # and when it comes back, so do they
    desk.ran()
    assert ids(desk) == [-1, *range(7), 2000, 2001, *range(9000, 9005)]


@pytest.mark.long
def test_a_full_refresh_takes_no_rows_away_that_it_cannot_read_again(desk: Desk) -> None:
    put(desk, "a.csv", 0, 2000)
    put(desk, "b.csv", 2000, 4000)
    batch(desk)
    desk.ran()
    before = shards(desk).keys()
    (desk.folder / "in" / "b.csv").write_bytes(b"\xff\xfei\x00d\x00\n\x00")
    failed = desk.run(full_refresh=True, yes=True)
    assert failed.exit_code == 1
    assert failed.execution.error_code == "file-unreadable"
    assert "'in/b.csv' cannot be read" in failed.execution.error
    assert shards(desk).keys() == before
    (desk.folder / "in" / "b.csv").unlink()
    desk.ran(full_refresh=True, yes=True)
    assert ids(desk) == list(range(2000))


@pytest.mark.long
def test_a_service_may_go_over_to_shards_and_back(desk: Desk) -> None:
    put(desk, "a.csv", 0, 2000)
    put(desk, "b.csv", 2000, 4000)
    batch(desk, None)
    desk.ran()
    assert list(shards(desk)) == ["a.parquet", "b.parquet"]
    batch(desk)
    put(desk, "a.csv", 0, 10)
    with pytest.raises(PlanError, match="--full-refresh"):
        desk.run()  # its old rows are in a file of their own, which would stay
    record = desk.ran(full_refresh=True, yes=True)
    assert ids(desk) == [*range(10), *range(2000, 4000)]
    assert all(name.startswith(record["runId"]) for name in shards(desk))
    batch(desk, None)
    put(desk, "a.csv", 0, 11)
    with pytest.raises(PlanError, match="--full-refresh"):
        desk.run()
    desk.ran(full_refresh=True, yes=True)
    assert list(shards(desk)) == ["a.parquet", "b.parquet"]
    assert ids(desk) == [*range(11), *range(2000, 4000)]


def test_a_refresh_that_died_before_its_moves_is_finished_by_the_next_start(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(desk, "a.csv", 0, 5000)
    batch(desk)
    desk.ran()
    old = set(shards(desk))
    put(desk, "a.csv", 0, 6000)
    with monkeypatch.context() as patch:

        def die(target: FileTarget, moves: Any) -> None:
            keep(target, moves[:2])  # one of the new ones is there
            raise OSError("no more")

        keep = FileTarget._keep
        patch.setattr(FileTarget, "_keep", die)
        with pytest.raises(FatalError, match="is committed, but its files could not be moved"):
            desk.run(full_refresh=True, yes=True)
    assert old < set(shards(desk))  # the old ones are there until all of the new are
    assert desk.ran()["filesProcessed"] == 0
    assert ids(desk) == list(range(6000))
    assert not old & set(shards(desk))


def test_a_run_that_died_while_it_joined_files_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        put(desk, f"{number}.csv", number * 500, (number + 1) * 500)
    batch(desk)
    with monkeypatch.context() as patch:

        def die(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(RowStager, "append", die)
        assert desk.run().exit_code == 130
    assert not shards(desk)
    desk.ran()
    assert ids(desk) == list(range(2000))
    assert not (desk.folder / "out" / ".bp_staging").exists()


def test_an_input_that_was_bad_for_a_while_replaces_its_own_output_when_it_is_mended(desk: Desk) -> None:
    put(desk, "a.csv", 0, 10)
    put(desk, "b.csv", 10, 20)
    batch(desk, None)
    desk.ran()
    (desk.folder / "in" / "a.csv").write_bytes(b"\xff\xfei\x00d\x00\n\x00")
    put(desk, "b.csv", 10, 21)
    desk.ran()
    assert ids(desk) == list(range(21))  # what was made of it before is there
    put(desk, "a.csv", 5, 10)
    desk.ran()
    assert ids(desk) == list(range(5, 21))


@pytest.mark.long
def test_shards_in_a_bucket(desk: Desk, bucket_server: BucketServer, bucket: str) -> None:
    server = bucket_server
    desk.connect(exports=server.connection(bucket))
    for name, first, last in (("a", 0, 3000), ("b", 3000, 6000)):
        server.put(bucket, f"in/{name}.csv", ("id,text\n" + "".join(f"{n},{text(n)}\n" for n in range(first, last))).encode())

    def stored() -> dict[str, list[int]]:
        found = {key: data for key, data in server.objects(bucket).items() if key.startswith("out/")}
        return {key: pq.read_table(io.BytesIO(data))["id"].to_pylist() for key, data in found.items()}

    place = {"bucket": "exports", "prefix": "out/", "format": "parquet", "shardSize": "64KiB"}
    source = {"type": "s3", "bucket": "exports", "prefix": "in/", "format": "csv"}
    desk.define({"name": "Shards", "batch": {"source": source, "destination": {"type": "s3", **place}}})
    desk.ran()
    first_ = stored()
    assert sorted(number for numbers in first_.values() for number in numbers) == list(range(6000))
    assert len(first_) > 1
    server.put(bucket, "in/a.csv", f"id,text\n7,{text(7)}\n".encode())
    desk.ran(full_refresh=True, yes=True)
    second = stored()
    assert sorted(number for numbers in second.values() for number in numbers) == [7, *range(3000, 6000)]
    assert not first_.keys() & second.keys()


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("destination", "step", "message"),
    [
        ({"path": "out.parquet", "mode": "replace"}, None, "expected a folder"),
        ({"path": "in", "format": "csv"}, None, "would be read by the next run as input"),
        ({"mode": "replace"}, None, "a file that is read again replaces its own output"),
        ({}, {"id": "sum", "type": "aggregate", "groupBy": [], "aggregations": {"id": "sum"}}, "aggregate"),
    ],
)
def test_what_has_no_place_in_shards_is_refused(desk: Desk, destination: dict[str, Any], step: dict[str, Any] | None, message: str) -> None:
    put(desk, "a.csv", 0, 2)
    batch(desk, processing={"transformations": [step] if step else []}, **destination)
    with pytest.raises(PlanError, match=message):
        desk.run()
