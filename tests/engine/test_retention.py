from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engine import retention
from beam_pipelines.engine.letters import Archive
from beam_pipelines.engine.retention import Deleted, delete_letters, keep_to
from beam_pipelines.errors import TransientError
from beam_pipelines.spec import Retention
from beam_pipelines.state import Advance, Execution, Failure, Metrics, Outcome, StateStore, Step, Transformation, Watermark

MONTH = timedelta(days=30)
OLD, NEW, MINE, DEAD = "00000000000a", "00000000000b", "00000000000c", "00000000000d"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "dead-letters")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with StateStore(str(tmp_path / "state.db")) as opened:
        yield opened


def letters(archive: Archive, name: str, days: float) -> Path:
    path = archive.folder / "customers" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


def ended(store: StateStore, archive: Archive, run: str, days: float, url: str | None = None) -> Path:
    """A run that ended `days` ago with seven dead letters; returns their file."""
    path = letters(archive, f"{run}.jsonl", days)
    at = datetime.now(timezone.utc) - timedelta(days=days)
    store.begin(Execution("customers", run, at))
    store.finish(run, Outcome("success", completed_at=at, failures=(Failure("extract", "cast-failed", 7, url or str(path)),)))
    return path


def test_old_letters_go_with_their_index_and_new_ones_stay(store: StateStore, archive: Archive) -> None:
    old, new = ended(store, archive, OLD, 31), ended(store, archive, NEW, 29)
    keep_to(Retention(dead_letters=MONTH), store, archive, "customers", MINE)
    assert not old.exists()
    assert new.exists()
    assert [one.run for one in store.failed_records()] == [NEW]
    kept = store.execution(OLD)
    assert kept is not None


def test_without_retention_nothing_goes(store: StateStore, archive: Archive) -> None:
    old, lost = ended(store, archive, OLD, 4000), letters(archive, f"{DEAD}.jsonl", 4000)
    keep_to(Retention(), store, archive, "customers", MINE)
    assert old.exists()
    assert lost.exists()
    assert len(store.failed_records()) == 1
    assert store.events()


def test_the_letters_of_the_run_itself_stay_whatever_their_age(store: StateStore, archive: Archive) -> None:
    mine = ended(store, archive, MINE, 31)
    keep_to(Retention(dead_letters=MONTH), store, archive, "customers", MINE)
    assert mine.exists()
    assert [one.run for one in store.failed_records()] == [MINE]


def test_a_death_between_file_and_index_is_healed_by_the_next_run(
    store: StateStore, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ended(store, archive, OLD, 31)

    def dies(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "forget_failed_records", dies)
    with pytest.raises(KeyboardInterrupt):
        delete_letters(store, archive, "customers", MONTH)
    monkeypatch.undo()
    assert not old.exists()
    assert len(store.failed_records()) == 1
    assert delete_letters(store, archive, "customers", MONTH) == Deleted(runs=1, letters=7, files=0)
    assert store.failed_records() == []


def test_files_without_an_entry_go_by_their_own_age(store: StateStore, archive: Archive) -> None:
    """Their state store was lost; or a process died while it wrote one."""
    gone = [letters(archive, f"{DEAD}.jsonl", 31), letters(archive, f"{DEAD}.part", 31)]
    stays = [
        letters(archive, f"{NEW}.jsonl", 29),
        letters(archive, "notes.jsonl", 31),
        letters(archive, f"{DEAD}.jsonl.gz", 31),
    ]
    (archive.folder / "customers" / "00000000000f.jsonl").mkdir()
    assert delete_letters(store, archive, "customers", MONTH) == Deleted(files=2)
    assert [path.exists() for path in gone] == [False, False]
    assert all(path.exists() for path in stays)


def test_letters_of_a_run_that_is_not_settled_yet_stay(store: StateStore, archive: Archive) -> None:
    """They were written, and their run died before it was recorded: they are indexed when it is rolled forward."""
    paths = letters(archive, f"{DEAD}.jsonl", 31), letters(archive, f"{DEAD}.part", 31)  # or it is writing them, and was paused
    store.begin(Execution("customers", DEAD, datetime.now(timezone.utc) - MONTH))
    assert delete_letters(store, archive, "customers", MONTH) == Deleted()
    assert all(path.exists() for path in paths)


@pytest.mark.parametrize("look", ["unfinished", "letters_older_than"])
def test_a_run_that_ends_meanwhile_keeps_its_letters(
    look: str, store: StateStore, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`purge` holds no lease: a run may be recorded between its looks at the store for what may stay."""
    path = letters(archive, f"{DEAD}.jsonl", 31)
    store.begin(Execution("customers", DEAD, datetime.now(timezone.utc)))

    read = getattr(store, look)

    def reads(*arguments: Any) -> Any:
        found = read(*arguments)
        if MONTH not in arguments:
            store.finish(DEAD, Outcome("success", failures=(Failure("extract", "cast-failed", 7, str(path)),)))
        return found

    monkeypatch.setattr(store, look, reads)
    assert delete_letters(store, archive, "customers", MONTH) == Deleted()
    assert store.unfinished("customers") == []
    assert path.exists()


def test_a_path_in_the_index_that_is_not_the_run_s_file_is_not_deleted(store: StateStore, archive: Archive, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    ended(store, archive, OLD, 31, url=str(precious))
    delete_letters(store, archive, "customers", MONTH)
    assert precious.exists()
    assert store.failed_records() == []


def test_letters_in_the_folder_of_before_are_found_by_the_index(store: StateStore, archive: Archive, tmp_path: Path) -> None:
    before = ended(store, Archive(tmp_path / "before"), OLD, 31)
    assert delete_letters(store, archive, "customers", MONTH) == Deleted(runs=1, letters=7, files=1)
    assert not before.exists()


def test_a_file_that_cannot_be_deleted_keeps_its_entry_and_the_others_go(
    store: StateStore, archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, old = ended(store, archive, OLD, 31), ended(store, archive, NEW, 31)
    delete = retention._delete

    def refused(path: Path) -> int:
        if path == stuck:
            raise PermissionError(13, "Permission denied")
        return delete(path)

    monkeypatch.setattr(retention, "_delete", refused)
    with caplog.at_level(logging.WARNING):
        assert delete_letters(store, archive, "customers", MONTH) == Deleted(runs=1, letters=7, files=1)
    assert [one.run for one in store.failed_records()] == [OLD]
    assert not old.exists()
    assert f"the dead letters of run {OLD} cannot be deleted: Permission denied" in caplog.text


def test_old_events_go(store: StateStore, archive: Archive) -> None:
    ended(store, archive, OLD, 31)
    (count,) = {len(store.events())}
    assert count == 2
    keep_to(Retention(events=MONTH), store, archive, "customers", MINE)
    # The outbox has them from now, whenever their run ended.
    assert len(store.events()) == count
    store._clock = lambda: datetime.now(timezone.utc) + timedelta(days=31)
    keep_to(Retention(events=MONTH), store, archive, "customers", MINE)
    assert store.events() == []


def checked(store: StateStore, run: str, days: float) -> None:
    """A run with rules that ended `days` ago."""
    at = datetime.now(timezone.utc) - timedelta(days=days)
    quality = {"total": 9, "passed": 9, "failed": 0, "warnings": 0}
    store.begin(Execution("customers", run, at))
    step = Step("transform", transformations=(Transformation("rules", quality=quality),))
    store.finish(run, Outcome("success", completed_at=at, steps=(step,)))


def test_the_history_of_quality_is_kept_as_long_as_asked_for(store: StateStore, archive: Archive) -> None:
    for run, days in ((OLD, 31), (NEW, 29), (MINE, 0)):
        checked(store, run, days)
    keep_to(Retention(), store, archive, "customers", MINE)
    assert [one.run for one in store.quality_history("customers")] == [MINE, NEW, OLD]
    keep_to(Retention(quality_history=MONTH), store, archive, "customers", MINE)
    assert [one.run for one in store.quality_history("customers")] == [MINE, NEW]


def test_history_that_cannot_be_forgotten_now_is_told_and_left(
    store: StateStore, archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checked(store, OLD, 31)

    def fails(*_: object) -> int:
        raise TransientError("the store is locked", code="unreachable")

    monkeypatch.setattr(store, "forget_quality", fails)
    keep_to(Retention(quality_history=MONTH), store, archive, "customers", MINE)
    assert "left for the next run to delete: the store is locked" in caplog.text


def test_a_stream_at_work_loses_the_letters_of_its_old_drains(store: StateStore, archive: Archive) -> None:
    at = datetime.now(timezone.utc) - 2 * MONTH
    store.begin(Execution("customers", MINE, at, kind="stream"))
    paths = []
    for generation, (drain, days) in enumerate(((OLD, 31), (NEW, 29)), 1):
        paths.append(letters(archive, f"{drain}.jsonl", days))
        failures = (Failure("extract", "decode-failed", 7, str(paths[-1])),)
        watermark = Watermark("customers", "t", None, "f", generation, drain)
        then = datetime.now(timezone.utc) - timedelta(days=days)
        store.advance(MINE, Advance(drain, generation, "t", then, Metrics(), (), failures, watermark, 1))
    keep_to(Retention(dead_letters=MONTH), store, archive, "customers", MINE)
    assert [path.exists() for path in paths] == [False, True]
    assert [one.drain for one in store.failed_records(run=MINE)] == [NEW]
    # A drain whose letters are written, and which is not told of yet, loses none of them: they are new.
    untold = letters(archive, f"{DEAD}.jsonl", 0)
    keep_to(Retention(dead_letters=MONTH), store, archive, "customers", MINE)
    assert untold.exists()
