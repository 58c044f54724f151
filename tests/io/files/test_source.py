from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connector import CursorSpec
from beam_pipelines.io.files.parquet import ParquetSource
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.source import FileSource


def source(folder: Path, path: str = "*.parquet", **model: Any) -> ParquetSource:
    return ParquetSource(FileSource(path=path, **model), None, folder)


def write(path: Path, columns: dict[str, Any], group: int = 10) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def test_rows_come_with_their_file_and_row(tmp_path: Path, reading: Any) -> None:
    write(tmp_path / "a.parquet", {"id": range(25)})
    write(tmp_path / "b.parquet", {"id": range(100, 103)})
    read = reading.poll(source(tmp_path), "*.parquet", parts=4)
    assert read.column("id") == [*range(25), 100, 101, 102]
    origins = [each for batch in read.batches for each in origin.describe(batch, range(batch.num_rows))]
    assert origins[12] == {"source": "a.parquet", "row": 12}
    assert origins[27] == {"source": "b.parquet", "row": 2}


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=4), st.integers(1, 9))
def test_ranges_are_together_every_row_and_bill_every_byte(tmp_path_factory: Any, files: list[tuple[int, int]], parts: int) -> None:
    folder = tmp_path_factory.mktemp("p")
    paths = [
        write(folder / f"{n}.parquet", {"id": pa.array([n * 1000 + row for row in range(rows)], pa.int64())}, group)
        for n, (rows, group) in enumerate(files)
    ]
    reader = source(folder)
    fixed = reader.fix("t", None, None, False, parts)
    window = Window("s", "l", "t", "r", 0, ranges=fixed.ranges).with_schema("", reader.describe("t").schema)
    ids = [row["id"] for part in fixed.ranges for batch in reader.read(part, window, None) for row in batch.to_pylist()]
    assert ids == [n * 1000 + row for n, (rows, _) in enumerate(files) for row in range(rows)]
    assert sum(part.bounds["billed"] for part in fixed.ranges) == sum(path.stat().st_size for path in paths)
    assert sum(part.rows for part in fixed.ranges) == len(ids)


def test_footers_tell_schema_rows_and_bytes(tmp_path: Path) -> None:
    one = write(tmp_path / "a.parquet", {"id": range(25), "name": pa.array(["x"] * 25).dictionary_encode()})
    other = write(tmp_path / "b.parquet", {"id": [1], "extra": [dt.date(2026, 1, 1)]})
    described = source(tmp_path).describe("t")
    assert described.schema == pa.schema([("id", pa.int64()), ("name", pa.string()), ("extra", pa.date32())])
    assert described.rows == 26
    assert described.bytes == one.stat().st_size + other.stat().st_size


def test_files_are_united_by_name(tmp_path: Path, reading: Any) -> None:
    write(tmp_path / "a.parquet", {"id": [1], "name": ["x"], "nothing": pa.nulls(1)})
    write(tmp_path / "b.parquet", {"nothing": [2.5], "id": [2]})
    assert reading.poll(source(tmp_path), "t").rows == [{"id": 1, "name": "x", "nothing": None}, {"id": 2, "name": None, "nothing": 2.5}]


def test_columns_whose_types_clash_are_refused_with_both_files(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": [1]})
    write(tmp_path / "b.parquet", {"id": ["1"]})
    with pytest.raises(PlanError, match=r"'id' is int64 in 'a\.parquet' and string in 'b\.parquet'") as raised:
        source(tmp_path).describe("t")
    assert raised.value.code == "type-unsupported"


def test_every_type_survives(tmp_path: Path, reading: Any) -> None:
    rows = {
        "b": [True, None],
        "d": [Decimal("1.50"), None],
        "t": [dt.datetime(2026, 1, 1, 10, 0, 5, 1), None],
        "z": pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), None], pa.timestamp("us", "UTC")),
        "l": [[1, 2], None],
        "s": [{"x": 1, "y": "a"}, None],
        "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "x": [b"\x00", None],
        "odd.name": ["dot", None],
    }
    write(tmp_path / "a.parquet", rows)
    assert reading.poll(source(tmp_path), "t").rows == pa.table(rows).to_pylist()


def test_only_planned_columns_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": [1], "s": [{"id": 2}], "id.x": [3]})
    reader = source(tmp_path)
    window = Window("s", "l", "t", "r", 0, ranges=reader.fix("t", None, None, False, 1).ranges).with_schema(
        "", pa.schema([("id.x", pa.int64())])
    )
    (batch,) = reader.read(window.ranges[0], window, None)
    assert origin.names(batch.schema) == ["id.x"]


def test_batches_stay_within_the_size_policy(tmp_path: Path, reading: Any) -> None:
    write(tmp_path / "a.parquet", {"id": range(200_000)}, group=200_000)
    write(tmp_path / "b.parquet", {"wide": [f"{n}" * 20_000 for n in range(1000)]}, group=1000)
    batches = reading.poll(source(tmp_path), "t").batches
    assert sum(batch.num_rows for batch in batches) == 201_000
    assert max(batch.num_rows for batch in batches) <= 65_536
    assert max(batch.nbytes for batch in batches) < 12 << 20


@pytest.mark.parametrize("change", ["written anew", "touched", "deleted"])
def test_a_file_that_changed_since_the_run_was_prepared_stops_it(tmp_path: Path, reading: Any, change: str) -> None:
    path = write(tmp_path / "a.parquet", {"id": [1]})
    reader = source(tmp_path)
    window = reading.window(reader, "t")
    if change == "deleted":
        path.unlink()
    elif change == "touched":
        import os

        os.utime(path, ns=(1, 1))
    else:
        write(path, {"id": [1, 2, 3]})
    with pytest.raises(FatalError, match=r"a\.parquet"):
        reading.read(reader, window)


@pytest.mark.parametrize("keep", [0, 3, 100, -10])
def test_a_file_cut_off_is_named(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "a.parquet", {"id": range(1000)})
    content = path.read_bytes()
    path.write_bytes(content[:keep])
    with pytest.raises(FatalError, match=r"a\.parquet.*cannot be read as Parquet") as raised:
        source(tmp_path).describe("t")
    assert raised.value.code == "read-failed"


def test_a_file_damaged_in_the_middle_is_named(tmp_path: Path, reading: Any) -> None:
    path = write(tmp_path / "a.parquet", {"id": [f"{n * 7919}" for n in range(50_000)]}, group=50_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5000] = bytes(5000)
    path.write_bytes(content)
    reader = source(tmp_path)
    window = reading.window(reader, "t")
    with pytest.raises(FatalError, match=r"a\.parquet"):
        reading.read(reader, window)


def test_files_are_not_read_by_increments(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": [1]})
    with pytest.raises(PlanError, match="read whole"):
        source(tmp_path).fix("t", CursorSpec("id"), None, False, 1)
    assert source(tmp_path).cursor is None


def test_compression_beside_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="compression"):
        source(tmp_path, compression="gzip")


def test_an_empty_file_is_read_as_no_rows_and_billed(tmp_path: Path, reading: Any) -> None:
    path = write(tmp_path / "a.parquet", {"id": pa.array([], pa.int64())})
    read = reading.poll(source(tmp_path), "t", parts=3)
    assert read.rows == []
    assert sum(part.bounds["billed"] for part in read.fixed.ranges) == path.stat().st_size


def test_check_and_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"id": range(1000)})
    assert source(tmp_path).check() == f"1 Parquet file, 1,000 rows, {path.stat().st_size:,} bytes, *.parquet"
    assert origin.visible(source(tmp_path).sample("t", 2)).to_pylist() == [{"id": 0}, {"id": 1}]
