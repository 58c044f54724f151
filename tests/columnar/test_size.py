from __future__ import annotations

import datetime as dt
import time
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import origin, size


def test_split_fills_slices_up_to_the_rows() -> None:
    batch = pa.record_batch({"a": np.arange(1_000)})

    parts = list(size.split(batch, max_rows=300))

    assert [part.num_rows for part in parts] == [300, 300, 300, 100]
    assert pa.Table.from_batches(parts).to_batches()[0].schema == batch.schema


def test_split_copies_nothing() -> None:
    batch = pa.record_batch({"a": np.arange(1_000)})
    address = batch.column(0).buffers()[1].address

    assert {part.column(0).buffers()[1].address for part in size.split(batch, max_rows=300)} == {address}


def test_a_row_above_the_limit_travels_alone_and_its_neighbours_do_not() -> None:
    texts = ["x" * 100] * 50 + ["y" * 100_000] + ["z" * 100] * 50

    parts = list(size.split(pa.record_batch({"t": texts}), max_bytes=20_000))

    assert [part.num_rows for part in parts] == [50, 1, 50]


def test_what_fits_is_given_back_itself() -> None:
    batch = pa.record_batch({"a": [1, 2]})

    (part,) = size.split(batch)

    assert part is batch
    assert [p.num_rows for p in size.split(batch.slice(0, 0))] == [0]


def test_slices_are_as_large_as_the_limit_allows() -> None:
    batch = pa.record_batch({"t": ["x" * 96] * 10_000})

    parts = list(size.split(batch, max_bytes=100_000))

    assert all(size.slice_bytes(part) <= 100_000 for part in parts)
    # Each could not have taken one row of 100 bytes more.
    assert all(size.slice_bytes(part) > 99_800 for part in parts[:-1])


def test_gather_joins_neighbours_and_copies_nothing_that_stays_alone() -> None:
    small = [pa.record_batch({"a": [i]}) for i in range(5)]
    large = pa.record_batch({"a": np.arange(8)})

    joined = list(size.gather([*small, large, *small], max_rows=8))

    assert [batch.column(0).to_pylist() for batch in joined] == [[0, 1, 2, 3, 4], list(range(8)), [0, 1, 2, 3, 4]]
    assert joined[1] is large


def test_gather_never_joins_two_loads_or_two_schemas() -> None:
    a, b = (origin.with_load(pa.record_batch({"a": [1]}), load) for load in ("t1", "t2"))
    other = pa.record_batch({"b": [1]})

    assert [(origin.load_of(batch), batch.num_rows) for batch in size.gather([a, a, b, other])] == [("t1", 2), ("t2", 1), ("", 1)]


def test_gather_joins_dictionaries() -> None:
    batches = [pa.record_batch({"d": pa.array([text, "same"]).dictionary_encode()}) for text in ("x", "y")]

    (joined,) = size.gather(batches)

    assert joined.column(0).to_pylist() == ["x", "same", "y", "same"]


def test_gather_of_nothing_but_empty_batches_keeps_the_schema() -> None:
    empty = pa.record_batch({"a": pa.array([], pa.int64())})

    assert [batch.num_rows for batch in size.gather([empty, empty])] == [0]
    assert [batch.num_rows for batch in size.gather([empty, pa.record_batch({"a": [1]}), empty])] == [1]
    assert list(size.gather([])) == []


CELLS = [
    (pa.bool_(), [True, None], [1, 1]),
    (pa.int8(), [1, None], [1, 1]),
    (pa.int64(), [1, None], [8, 1]),
    (pa.float32(), [1.5], [4]),
    (pa.float64(), [float("nan")], [8]),
    (pa.decimal128(5, 2), [Decimal("1.25")], [16]),
    (pa.date32(), [dt.date(2024, 1, 1)], [4]),
    (pa.time64("us"), [dt.time(1)], [8]),
    (pa.timestamp("us", "UTC"), [dt.datetime(2024, 1, 1), None], [8, 1]),
    (pa.duration("s"), [dt.timedelta(1)], [8]),
    (pa.string(), ["", "abc", "é€😀", None], [0, 3, 9, 1]),
    (pa.large_string(), ["abc"], [3]),
    (pa.string_view(), ["abc", "a text that is not inlined"], [3, 26]),
    (pa.binary(), [b"\0\0", None], [2, 1]),
    (pa.binary(3), [b"abc", None], [3, 1]),
    (pa.dictionary(pa.int32(), pa.string()), ["abc", "de", "abc", None], [3, 2, 3, 1]),
    (pa.list_(pa.int32()), [[1, 2], [], None, [None]], [8, 0, 1, 1]),
    (pa.large_list(pa.string()), [["ab", "c"], None], [3, 1]),
    (pa.list_(pa.int16(), 2), [[1, 2], None], [4, 1]),
    (pa.list_view(pa.int32()), [[1, 2], None], [8, 1]),
    (pa.map_(pa.string(), pa.int32()), [[("ab", 1), ("c", None)], None], [2 + 4 + 1 + 1, 1]),
    (pa.struct([("a", pa.int32()), ("b", pa.string())]), [{"a": 1, "b": "xyz"}, {"a": None, "b": None}, None], [7, 2, 1]),
    (pa.null(), [None, None], [1, 1]),
    (pa.uuid(), [uuid.UUID(int=1).bytes, None], [16, 1]),
    (pa.json_(), ['{"a":1}', None], [7, 1]),
]


def _made(kind: pa.DataType, values: list[object]) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    return pa.array(values, kind)


@pytest.mark.parametrize(("kind", "values", "sizes"), CELLS, ids=[str(kind) for kind, _, _ in CELLS])
def test_the_canonical_size_is_that_of_the_values(kind: pa.DataType, values: list[object], sizes: list[int]) -> None:
    array = _made(kind, values)
    padded = pa.concat_arrays([array, array, array])

    assert size.cell_sizes(array).tolist() == sizes
    assert size.cell_sizes(padded.slice(len(array), len(array))).tolist() == sizes
    assert size.canonical_bytes(pa.record_batch([padded], names=["c"]).slice(len(array), len(array))) == sum(sizes)


def test_the_canonical_size_does_not_depend_on_how_the_values_are_stored() -> None:
    texts = pa.array(["abc", "abc", None, "a longer text than twelve bytes"] * 10)
    layouts = [texts, texts.cast(pa.large_string()), texts.cast(pa.string_view()), texts.dictionary_encode()]
    layouts.append(pa.RunEndEncodedArray.from_arrays(pa.array(np.arange(1, 41), pa.int32()), texts))

    assert {size.canonical_bytes(pa.record_batch([layout], names=["c"])) for layout in layouts} == {10 * (3 + 3 + 1 + 31)}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()], ids=str)
@pytest.mark.parametrize(("begin", "length"), [(0, 5), (1, 3), (4, 1), (2, 0), (5, 0)])
def test_a_slice_is_as_large_as_what_it_shows(kind: pa.DataType, begin: int, length: int) -> None:
    texts = ["a", "", "ccc", "ü", "eeeee"]
    part = pa.record_batch({"c": pa.array(texts).cast(kind)}).slice(begin, length)
    assert size.canonical_bytes(part) == sum(len(text.encode()) for text in texts[begin : begin + length])


def test_hidden_columns_are_not_billed() -> None:
    batch = pa.record_batch({"id": [1, 2], "name": ["ab", None]})

    assert size.canonical_bytes(origin.attach(batch, "t", key=["id"])) == size.canonical_bytes(batch) == 8 + 8 + 2 + 1


def test_measuring_a_full_batch_takes_less_than_15_ms() -> None:
    rows = 65_536
    texts = pa.array([f"customer number {i}" for i in range(rows)])
    batch = pa.record_batch(
        {
            "id": np.arange(rows),
            "name": texts,
            "email": texts,
            "country": pa.array(["DE", "FR"] * (rows // 2)).dictionary_encode(),
            "tags": pa.array([["a", "bc"]] * rows),
            "address": pa.array([{"city": "x", "zip": 1}] * rows),
            "amount": pa.array(np.arange(rows)).cast(pa.decimal128(30, 2)),
        }
    )

    def seconds() -> float:
        start = time.perf_counter()
        size.canonical_bytes(batch)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.015


def test_rows_with_a_cell_above_the_limit_are_named() -> None:
    batch = pa.record_batch({"a": [1, 2, 3, 4], "t": ["x", "y" * 101, None, "z" * 100], "l": [["a" * 60, "b" * 60], None, ["c"], []]})

    found = size.oversized(batch, 100)

    assert found is not None
    assert found.to_pylist() == [True, True, False, False]
    assert size.oversized(batch, 120) is None


def test_only_visible_cells_can_be_too_large() -> None:
    batch = origin.attach(pa.record_batch({"t": ["x"]}), "s" * 1_000, first_row=0)

    assert size.oversized(batch, 100) is None


COLUMNS = {
    "int": (pa.int64(), st.none() | st.integers(-(2**63), 2**63 - 1)),
    "text": (pa.string(), st.none() | st.text(max_size=30)),
    "dict": (pa.dictionary(pa.int32(), pa.string()), st.none() | st.sampled_from(["a", "b" * 40, ""])),
    "list": (pa.list_(pa.string()), st.none() | st.lists(st.none() | st.text(max_size=5), max_size=4)),
    "struct": (
        pa.struct([("x", pa.int32()), ("y", pa.list_(pa.float64()))]),
        st.none() | st.fixed_dictionaries({"x": st.just(1), "y": st.just([0.5])}),
    ),
    "view": (pa.string_view(), st.none() | st.text(max_size=30)),
}


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    rows = draw(st.integers(0, 40))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True))
    columns = [pa.array(draw(st.lists(COLUMNS[n][1], min_size=rows, max_size=rows)), COLUMNS[n][0]) for n in names]
    start = draw(st.integers(0, rows))
    return pa.record_batch(columns, names=names).slice(start)


@settings(deadline=None, max_examples=150)
@given(batch=batches(), max_rows=st.integers(1, 50), max_bytes=st.integers(1, 600))
def test_split_never_changes_the_concatenation_and_keeps_its_limits(batch: pa.RecordBatch, max_rows: int, max_bytes: int) -> None:
    parts = list(size.split(batch, max_rows, max_bytes))

    assert [row for part in parts for row in part.to_pylist()] == batch.to_pylist()
    assert all(part.schema.equals(batch.schema, check_metadata=True) for part in parts)
    assert all(part.num_rows <= max_rows and (size.slice_bytes(part) <= max_bytes or part.num_rows <= 1) for part in parts)
    assert sum(map(size.canonical_bytes, parts)) == size.canonical_bytes(batch)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_gather_never_changes_the_concatenation_and_keeps_its_limits(data: st.DataObject) -> None:
    whole = data.draw(batches())
    cuts = sorted(data.draw(st.lists(st.integers(0, whole.num_rows), max_size=8)))
    pieces = [whole.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, whole.num_rows], strict=True)]
    max_rows, max_bytes = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 2_000))

    joined = list(size.gather(pieces, max_rows, max_bytes))

    assert [row for batch in joined for row in batch.to_pylist()] == whole.to_pylist()
    assert all(batch.num_rows <= max_rows for batch in joined)
    assert sum(map(size.canonical_bytes, joined)) == size.canonical_bytes(whole)
