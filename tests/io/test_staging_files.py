from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.columnar import dead
from beam_pipelines.errors import FatalError
from beam_pipelines.io.files.stage import RowStaging
from beam_pipelines.io.files.writing.form import Form
from beam_pipelines.io.staging_files import FilesOfStaging, StagingFolder
from beam_pipelines.runs.facts import Staged

SCHEMA = pa.schema([("id", pa.int64())])
BATCH = pa.record_batch([[1, 2, 3]], schema=SCHEMA)
NAME = "_bp_00000000_000000000001_0000000000000001"


@pytest.fixture(params=[StagingFolder, lambda folder: RowStaging(folder)], ids=["ipc", "parquet"])
def staging(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    make: Callable[[Path], Any] = request.param
    return make(tmp_path / "staging")


def test_a_file_is_there_once_it_is_finished(staging: Any) -> None:
    stager = staging.stager(NAME, SCHEMA, 7)
    stager.write(BATCH)
    assert staging.names() == [NAME]
    assert not staging.path(NAME).exists()
    staged = stager.finish()
    assert (staged.name, staged.rows, staged.order) == (NAME, 3, 7)
    assert staged.bytes == staging.path(NAME).stat().st_size
    assert (staging.count(staged), list(staging.read(staged))) == (3, [BATCH])
    staging.drop([NAME, "_bp_nothing"])
    assert not staging.folder.exists()
    with pytest.raises(FatalError, match=f"{NAME} with 3 rows") as lost:
        staging.count(staged)
    assert lost.value.code == "staging-lost"


def test_the_file_and_then_its_name_are_synced_before_it_counts(staging: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        calls.append(f"sync {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        fsync(handle)

    def renamed(source: Any, target: Any) -> None:
        calls.append(f"rename to {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    stager = staging.stager(NAME, SCHEMA, 0)
    stager.write(BATCH)
    stager.finish()
    assert calls == [f"sync {NAME}.part", f"rename to {staging.path(NAME).name}", "sync staging"]


def test_a_folder_that_another_run_removes_as_it_is_made_is_made_again(staging: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir, times = Path.mkdir, []

    def swept(path: Path, *arguments: Any, **more: Any) -> None:
        mkdir(path, *arguments, **more)
        times.append(path)
        if len(times) == 1:
            shutil.rmtree(path)

    monkeypatch.setattr(Path, "mkdir", swept)
    stager = staging.stager(NAME, SCHEMA, 0)
    stager.write(BATCH)
    assert stager.finish().rows == 3
    assert len(times) == 2


def test_what_cannot_be_written_is_said_and_leaves_nothing(staging: Any) -> None:
    staging.folder.parent.joinpath("staging").write_text("a file in its place")
    with pytest.raises(FatalError, match="failed after 0 rows") as failed:
        staging.stager(NAME, SCHEMA, 0)
    assert failed.value.code == "stage-failed"


def test_an_aborted_file_is_gone(staging: Any) -> None:
    stager = staging.stager(NAME, SCHEMA, 0)
    stager.write(BATCH)
    stager.abort()
    stager.abort()
    assert staging.names() == []


def test_a_folder_that_cannot_be_written_to_is_told_as_such(staging: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(FilesOfStaging, "part", refused)
    with pytest.raises(FatalError, match="Read-only file system; nothing of this run counts, make the folder writable and run again"):
        staging.stager("a", SCHEMA, 0)


def test_letters_are_told_from_rows_by_who_stages_them(tmp_path: Path) -> None:
    alike = pa.schema(list(dead.SCHEMA))  # rows that a user may have
    staging = RowStaging(tmp_path, Form("csv", ""))
    letters, rows = (
        staging.stager(f"_bp_00000000_000000000001_000000000000000{place}", schema, 0) for place, schema in enumerate((dead.SCHEMA, alike))
    )
    letter = {
        "load": "a",
        "step": "b",
        "at": datetime(2026, 1, 2, tzinfo=timezone.utc),
        "code": "c",
        "message": "d",
        "origin": "e",
        "payload": "f",
    }
    for stager in (letters, rows):
        stager.write(pa.RecordBatch.from_pylist([letter, letter], schema=dead.SCHEMA))
    read = list(staging.read(letters.finish()))
    assert [row for batch in read for row in batch.to_pylist()] == [letter, letter]
    assert (
        staging.path(rows.finish().name).read_text().splitlines()
        == ["load,step,at,code,message,origin,payload"] + ["a,b,2026-01-02T00:00:00.000000+00:00,c,d,e,f"] * 2
    )


def test_letters_that_an_earlier_version_has_staged_are_read(tmp_path: Path) -> None:
    staging = RowStaging(tmp_path)
    table = pa.Table.from_pylist([{"id": 1}], schema=SCHEMA)
    pq.write_table(table, staging.path(NAME))
    (batch,) = staging.read(Staged(NAME, 1, 0, 0))
    assert batch.to_pylist() == [{"id": 1}]
