"""What a batch cannot write, cannot read, or passes over: nothing of it is silent."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.cli.main import main
from beam_pipelines.errors import FatalError
from beam_pipelines.io.files.ledger import FileLedger
from beam_pipelines.io.files.place import Place
from beam_pipelines.io.objects.local import LocalStore
from tests.service.conftest import Desk
from tests.service.test_batch_files import GOOD, ROWS, define, ledger, outputs, put, read, unreadable

pytestmark = pytest.mark.long


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_Words = ctypes.c_uint32 * 6  # effective, permitted and inheritable, twice
_VERSION, _OVERRIDE, _SEARCH = 0x20080522, 1 << 1, 1 << 2  # of linux/capability.h


@pytest.fixture
def bound() -> Iterator[None]:
    """Modes of files bind root, too, in this thread and those that it starts: root may else read and write everything."""
    if os.geteuid() != 0:
        yield
        return
    libc, header, words = ctypes.CDLL(None, use_errno=True), _Header(_VERSION, 0), _Words()
    assert libc.capget(ctypes.byref(header), words) == 0
    before = words[0]
    words[0] &= ~(_OVERRIDE | _SEARCH)
    assert libc.capset(ctypes.byref(header), words) == 0
    yield
    words[0] = before
    assert libc.capset(ctypes.byref(header), words) == 0


@pytest.fixture
def open_desk(desk: Desk, bound: None) -> Iterator[Desk]:
    """A desk whose folders are open again when the test ends."""
    yield desk
    for folder, _, _ in os.walk(desk.folder):
        for inner in Path(folder).iterdir():
            if inner.is_dir():
                inner.chmod(0o777)


def test_an_output_folder_that_may_not_be_written_costs_the_files_that_go_there(open_desk: Desk) -> None:
    desk = open_desk
    define(desk)
    put(desk, "a.csv", GOOD)
    put(desk, "shut/b.csv", GOOD)
    put(desk, "shut/deep/c.csv", GOOD)
    shut = desk.folder / "out" / "shut"
    shut.mkdir(parents=True)
    shut.chmod(0o555)
    desk.ran()
    assert outputs(desk) == {"a.parquet": ROWS}
    assert unreadable(desk) == ["in/shut/b.csv", "in/shut/deep/c.csv"]
    assert all(f"nothing may be written into '{shut}'" in one["error"] for one in desk.letters())
    assert set(ledger(desk)) == {"in/a.csv"}
    shut.chmod(0o777)
    assert read(desk.ran()) == ["in/shut/b.csv", "in/shut/deep/c.csv"]
    assert sorted(outputs(desk)) == ["a.parquet", "shut/b.parquet", "shut/deep/c.parquet"]


def test_where_nothing_at_all_may_be_written_the_run_stops_before_it_reads(open_desk: Desk) -> None:
    desk = open_desk
    define(desk)
    put(desk, "a.csv", GOOD)
    (desk.folder / "out").mkdir()
    (desk.folder / "out").chmod(0o555)
    with pytest.raises(FatalError, match=r"nothing may be written into '.*/out'") as stopped:
        desk.run()
    assert stopped.value.code == "stage-failed"
    assert not desk.letters()


@pytest.mark.parametrize(
    ("source", "mode"),
    [
        ({"path": "in/**/*.csv"}, 0o000),
        ({"path": "in/*/*.csv"}, 0o444),  # it may be listed, and no more
        ({"prefix": "in/", "pattern": "**/*.csv"}, 0o000),
        ({"prefix": "in/", "pattern": "**/*.csv"}, 0o444),
    ],
    ids=["path-shut", "path-listed", "bucket-shut", "bucket-listed"],
)
def test_an_input_folder_that_may_not_be_read_is_told(open_desk: Desk, source: dict[str, str], mode: int) -> None:
    desk = open_desk
    define(desk)
    if "prefix" in source:
        desk.connect(here={"path": "."})
        batch: dict[str, Any] = {
            "source": {"type": "s3", "bucket": "here", **source},
            "destination": {"type": "file", "path": "out", "format": "parquet"},
        }
        desk.define({"name": "Files", "batch": batch})
    else:
        define(desk, source["path"])
    put(desk, "x/a.csv", GOOD)
    put(desk, "y/b.csv", GOOD)
    (desk.folder / "in" / "y").chmod(mode)
    record = desk.ran()
    assert (record["filesProcessed"], record["foldersUnreadable"]) == (1, 1)
    plan = desk.service.plan().by_file
    assert [Path(folder).name for folder in plan.closed] == ["y"]
    (desk.folder / "in" / "y").chmod(0o777)
    record = desk.ran()
    assert (record["filesProcessed"], record["foldersUnreadable"]) == (1, 0)
    assert [name.rpartition("/")[2] for name in outputs(desk)] == ["a.parquet", "b.parquet"]


def test_who_cannot_go_on_without_a_file_is_stopped_where_it_may_not_be_looked_at(
    open_desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    put(open_desk, "x/a.csv", GOOD)
    put(open_desk, "y/b.csv", GOOD)
    place = Place("in", LocalStore(open_desk.folder / "in"), "**")
    (open_desk.folder / "in" / "y").chmod(0o444)
    with pytest.raises(FatalError, match=r"y/b\.csv' cannot be read"):
        place.files((".csv",))
    (open_desk.folder / "in" / "y").chmod(0o000)
    assert [file.name for file in place.files((".csv",))] == ["a.csv"]
    assert "in/y' cannot be read" in caplog.text


PLACES = {"path": {"path": "in/**/*.csv"}, "folder": {"path": "in", "format": "csv"}, "bucket": {"prefix": "in/", "pattern": "**/*.csv"}}


@pytest.mark.parametrize("place", PLACES)
def test_files_whose_names_are_not_taken_for_data_are_counted(desk: Desk, place: str) -> None:
    source = PLACES[place]
    if "prefix" in source:
        desk.connect(here={"path": "."})
        desk.define(
            {
                "name": "Files",
                "batch": {
                    "source": {"type": "s3", "bucket": "here", **source},
                    "destination": {"type": "file", "path": "out", "format": "parquet"},
                },
            }
        )
    else:
        define(desk, source["path"], source={name: value for name, value in source.items() if name != "path"})
    for name in ("a.csv", "_b.csv", ".c.csv", "_SUCCESS", "_d.txt"):
        put(desk, name, GOOD)
    record = desk.ran()
    assert (record["filesProcessed"], record["filesHidden"]) == (1, 2)
    assert desk.ran()["filesHidden"] == 2
    assert desk.service.plan().by_file.hidden == 2


def test_an_output_folder_that_is_gone_is_told_with_what_to_do(
    desk: Desk, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    define(desk)
    put(desk, "a.csv", GOOD)
    put(desk, "b.csv", GOOD)
    assert desk.ran()["outputsGone"] == 0
    shutil.rmtree(desk.folder / "out")
    record = desk.ran()
    assert (record["filesProcessed"], record["outputsGone"]) == (0, 2)
    assert "--full-refresh writes them again" in caplog.text
    assert main(["plan", str(desk.folder / "service.json")]) == 0
    assert "- the folder of the outputs is gone, with those of 2 files: --full-refresh" in capsys.readouterr().out
    assert desk.ran(full_refresh=True)["outputsGone"] == 0
    assert outputs(desk) == {"a.parquet": ROWS, "b.parquet": ROWS}


def test_a_folder_that_is_shut_once_the_commit_is_decided_is_in_the_way_of_no_other(
    open_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk
    define(desk)
    for name in ("a", "shut/b", "z/c"):
        put(desk, f"{name}.csv", GOOD)
    shut = desk.folder / "out" / "shut"
    shut.mkdir(parents=True)
    begin = FileLedger.begin

    def late(*given: Any) -> bool:
        shut.chmod(0o555)
        return begin(*given)

    with monkeypatch.context() as patch:
        patch.setattr(FileLedger, "begin", late)
        with pytest.raises(FatalError, match="its files could not be moved") as failed:
            desk.run()
    assert failed.value.code == "commit-failed"
    assert f"Permission denied ('{shut / 'b.parquet'}'). Nothing is lost: mend that and start again" in failed.value.message
    assert sorted(outputs(desk)) == ["a.parquet", "z/c.parquet"]
    with pytest.raises(FatalError, match="start again"):  # as long as it is shut, every start says so
        desk.run()
    shut.chmod(0o777)
    assert read(desk.ran()) == []
    assert sorted(outputs(desk)) == ["a.parquet", "shut/b.parquet", "z/c.parquet"]
    with desk.store() as store:
        made = sorted(store.executions("files"), key=lambda one: one.started_at)
        assert [(one.status, one.metrics.records_loaded) for one in made] == [("success", 3 * len(ROWS)), ("success", 0)]
