from __future__ import annotations

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
