from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.columnar.compact import compact, has_loose, take


def test_plain_columns_cost_nothing() -> None:
    batch = pa.record_batch({"a": np.arange(10), "b": [["x"]] * 10}).slice(3, 2)

    assert not has_loose(batch.schema)
    assert compact(batch) is batch


def test_a_dictionary_that_is_used_whole_is_kept() -> None:
    batch = pa.record_batch({"d": pa.array(["x", "y", None, "x"]).dictionary_encode()})

    assert compact(batch) is batch


def test_a_dictionary_loses_the_entries_no_row_uses_and_keeps_order_type_and_nulls() -> None:
    kind = pa.dictionary(pa.int8(), pa.string(), ordered=True)
    column = pa.DictionaryArray.from_arrays(pa.array([4, None, 1, 4], pa.int8()), pa.array(list("abcdefgh" * 10)), ordered=True)

    (small,) = compact(pa.record_batch([column], names=["d"])).columns

    assert small.type == kind
    assert small.dictionary.to_pylist() == ["b", "e"]
    assert small.to_pylist() == ["e", None, "b", "e"]


def test_what_stands_under_a_null_index_does_no_harm() -> None:
    indices = pa.Array.from_buffers(pa.int32(), 3, [pa.py_buffer(bytes([0b101])), pa.py_buffer(np.array([0, 999, 1], "<i4").tobytes())])
    column = pa.DictionaryArray.from_arrays(indices, pa.array(["a", "b", "c" * 100]), safe=False)

    small = compact(pa.record_batch([column], names=["d"]))

    small.validate(full=True)
    assert small.column(0).to_pylist() == ["a", None, "b"]


def test_null_lists_stay_null_and_keep_their_place() -> None:
    inner = pa.array([f"text {i}" for i in range(100)]).dictionary_encode()
    column = pa.ListArray.from_arrays(pa.array([0, 40, 60, 100], pa.int32()), inner, mask=pa.array([False, True, False]))
    batch = pa.record_batch([column], names=["l"]).slice(1, 2)

    small = compact(batch)

    small.validate(full=True)
    assert small.to_pylist() == batch.to_pylist() == [{"l": None}, {"l": [f"text {i}" for i in range(60, 100)]}]
    assert len(small.column(0).values.dictionary) <= 60


@pytest.mark.parametrize("kind", [pa.string(), pa.string_view(), pa.binary_view(), pa.large_string()])
def test_rows_are_taken_by_position_whatever_the_layout(kind: pa.DataType) -> None:
    batch = pa.record_batch([pa.array(["a", None, "a long text that is not inlined"]).cast(kind), pa.array([1, 2, 3])], names=["t", "n"])

    taken = take(batch, [2, 0, 2])

    assert taken.schema == batch.schema
    assert taken.column(1).to_pylist() == [3, 1, 3]
    assert taken.column(0).to_pylist() == [batch.column(0)[i].as_py() for i in (2, 0, 2)]
    assert take(batch, []).num_rows == 0


def test_runs_are_taken_by_position() -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 5], pa.int32()), pa.array(["a", "b"]))

    assert take(pa.record_batch([runs], names=["r"]), [4, 0]).column(0).to_pylist() == ["b", "a"]
