from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pyarrow as pa
import pytest

from beam_pipelines.engine import beside


def batch(rows: int = 3) -> pa.RecordBatch:
    return pa.record_batch({"k": pa.array(range(rows), pa.int64())})


def test_a_batch_waits_in_the_process_and_no_bytes_are_made_of_it() -> None:
    with beside.room():
        assert beside.packed("a", batch()) == b""
        # More than once: a bundle may be carried out again.
        assert beside.unpacked("a", b"") is beside.unpacked("a", b"")
        assert beside.unpacked("a", b"").equals(batch())


def test_where_workers_may_be_elsewhere_a_batch_is_its_bytes() -> None:
    data = beside.packed("a", batch())
    assert data
    assert beside.unpacked("a", data).equals(batch())


def test_what_finds_no_room_is_its_bytes_and_all_batches_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "ROOM", 2 * batch().get_total_buffer_size())
    with beside.room():
        packed = [beside.packed(str(rows), batch(rows)) for rows in (3, 3, 4)]
        assert [bool(data) for data in packed] == [False, False, True]  # the second has the name, and the place, of the first
        assert [beside.unpacked(str(rows), data).num_rows for rows, data in zip((3, 3, 4), packed, strict=True)] == [3, 3, 4]


def test_a_slice_takes_the_room_of_what_it_keeps_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "ROOM", 1_000)
    with beside.room():
        assert beside.packed("a", batch(1_000).slice(0, 1))


def test_nothing_waits_longer_than_the_run() -> None:
    with beside.room():
        beside.packed("a", batch())
        beside.clear()
        with pytest.raises(KeyError):
            beside.unpacked("a", b"")
    assert beside.packed("b", batch())


def test_work_that_has_begun_is_waited_for_and_other_work_never_begins() -> None:
    go, ran, begun = threading.Event(), list[str](), threading.Event()

    def slow() -> str:
        begun.set()
        assert go.wait(60)
        return "slow"

    with beside.room(), ThreadPoolExecutor(1) as thread:
        beside.begin("a", thread.submit(slow))
        beside.begin("b", thread.submit(ran.append, "b"))
        beside.begin("c", thread.submit(ran.append, "c"))
        assert begun.wait(60)
        assert beside.begun("b") is None
        threading.Timer(0, go.set).start()
        assert beside.begun("a") == "slow"
        beside.clear()  # nobody will ask for c; it may have begun by now
    assert "b" not in ran
    assert beside.begun("c") is None


def test_what_work_gives_or_raises_comes_out_where_it_is_asked_for() -> None:
    with beside.room(), ThreadPoolExecutor(1) as thread:
        done, failed = thread.submit(lambda: 7), thread.submit(lambda: 1 // 0)
        wait([done, failed])
        beside.begin("a", done)
        beside.begin("b", failed)
        assert beside.begun("a") == 7
        with pytest.raises(ZeroDivisionError):
            beside.begun("b")
