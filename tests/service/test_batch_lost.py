"""What is lost between the commit of a batch and the places of its outputs, and what a stranger puts there meanwhile."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest

from beam_pipelines.errors import FatalError
from beam_pipelines.io.files import target
from beam_pipelines.io.files.ledger import FileLedger
from beam_pipelines.testing.buckets import BucketServer
from tests.service.conftest import Desk
from tests.service.test_batch_files import GOOD, ROWS, define, outputs, put, read


def died(*_: Any) -> Any:
    raise MemoryError("the process dies here")


def no_room(*_: Any) -> Any:
    raise OSError("no room")


def sweep_folder(desk: Desk) -> None:
    shutil.rmtree(desk.folder / "out" / ".bp_staging")


def sweep_files(desk: Desk) -> None:
    for path in (desk.folder / "out" / ".bp_staging").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("place", "death", "sweep"),
    [((FileLedger, "begin"), died, sweep_files), ((FileLedger, "begin"), died, sweep_folder), ((target, "_keep"), no_room, sweep_folder)],
    ids=["files", "folder", "folder-later"],
)
def test_new_outputs_that_are_lost_with_their_staging_are_made_again(
    desk: Desk,
    place: tuple[Any, str],
    death: Callable[..., Any],
    sweep: Callable[[Desk], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    put(desk, "sub/b.csv", GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(*place, death)
        with pytest.raises((MemoryError, FatalError)):
            desk.run()
    sweep(desk)
    assert read(desk.ran()) == ["in/a.csv", "in/sub/b.csv"]
    assert "(staging-lost)" in caplog.text
    assert outputs(desk) == {"a.parquet": ROWS, "sub/b.parquet": ROWS}
    assert read(desk.ran()) == []


def test_outputs_that_were_moved_and_taken_away_are_not_taken_for_lost(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    put(desk, "b.csv", GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(FileLedger, "kept", died)  # everything is moved
        with pytest.raises(MemoryError):
            desk.run()
    (desk.folder / "out" / "a.parquet").unlink()
    assert read(desk.ran()) == []
    assert outputs(desk) == {"b.parquet": ROWS}


def test_objects_that_are_lost_with_their_staging_are_made_again(
    desk: Desk, s3_server: BucketServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    s3_server.make(bucket)
    desk.connect(lake=s3_server.connection(bucket))
    into = {"type": "s3", "bucket": "lake", "prefix": "out/", "format": "csv"}
    desk.define({"name": "Files", "batch": {"source": {"type": "file", "path": "in/*.csv"}, "destination": into}})
    put(desk, "a.csv", GOOD)
    put(desk, "b.csv", GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(FileLedger, "begin", died)
        with pytest.raises(MemoryError):
            desk.run()
    for key in s3_server.objects(bucket, ".staged"):
        s3_server.client.delete_object(Bucket=bucket, Key=key)  # type: ignore[attr-defined]
    assert read(desk.ran()) == ["in/a.csv", "in/b.csv"]
    assert "(staging-lost)" in caplog.text
    assert s3_server.objects(bucket) == {"out/a.csv": GOOD, "out/b.csv": GOOD}


def test_rows_that_are_lost_with_their_staging_and_come_from_no_file_alone_are_told_with_what_to_do(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(desk, into={"shardSize": "64KiB"})
    put(desk, "a.csv", GOOD)
    put(desk, "b.csv", GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(FileLedger, "begin", died)
        with pytest.raises(MemoryError):
            desk.run()
    sweep_files(desk)
    with pytest.raises(FatalError, match=r"lost with their staging.*--full-refresh") as lost:
        desk.run()
    assert lost.value.code == "staging-lost"
    desk.ran(full_refresh=True)
    assert sorted(row["id"] for rows in outputs(desk).values() for row in rows) == [1, 1, 2, 2]


# Strangers.


def while_read(monkeypatch: pytest.MonkeyPatch, label: str, act: Callable[[], None]) -> None:
    """Have something happen while a file is read."""
    from beam_pipelines.io import registry

    opened = registry.open_source

    def source(*arguments: Any, **more: Any) -> Any:
        made = opened(*arguments, **more)
        of = made.read

        def later(part: Any, *given: Any) -> Any:
            if part.bounds["label"] == label:
                act()
            return of(part, *given)

        made.read = later
        return made

    monkeypatch.setattr(registry, "open_source", source)


def test_what_a_stranger_puts_at_the_place_of_an_output_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    define(desk, pricing={"model": "per-gb", "rate": 1024**3, "minimumCharge": 0})
    put(desk, "a.csv", GOOD)
    desk.ran()
    put(desk, "a.csv", b"id,name\n5,e\n")  # whose output is this service's to replace
    put(desk, "b.csv", GOOD)
    mine = desk.folder / "out" / "b.parquet"
    with monkeypatch.context() as patch:
        while_read(patch, "in/b.csv", lambda: mine.write_bytes(b"mine") and None)
        record = desk.ran()
    assert mine.read_bytes() == b"mine"
    assert pq.read_table(desk.folder / "out" / "a.parquet").to_pylist() == [{"id": 5, "name": "e"}]
    assert (record["filesProcessed"], record["filesFailed"], record["totalBytes"]) == (1, 1, 12)
    assert float(record["charge"]["amount"]) == 12
    assert "appeared since the run began" in record["files"][0]["error"]
    assert "'in/b.csv' is not loaded" in caplog.text
    mine.unlink()
    assert read(desk.ran()) == ["in/b.csv"]
    assert outputs(desk)["b.parquet"] == ROWS


def test_an_object_that_a_stranger_puts_at_the_place_of_an_output_stays(
    desk: Desk, s3_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    s3_server.make(bucket)
    desk.connect(lake=s3_server.connection(bucket))
    into = {"type": "s3", "bucket": "lake", "prefix": "out/", "format": "csv"}
    desk.define({"name": "Files", "batch": {"source": {"type": "file", "path": "in/*.csv"}, "destination": into}})
    put(desk, "a.csv", GOOD)
    put(desk, "b.csv", GOOD)
    while_read(monkeypatch, "in/b.csv", lambda: s3_server.put(bucket, "out/b.csv", b"mine"))
    record = desk.ran()
    assert (record["filesProcessed"], record["filesFailed"]) == (1, 1)
    assert s3_server.objects(bucket) == {"out/a.csv": GOOD, "out/b.csv": b"mine"}
