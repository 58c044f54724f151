from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar.expression import Scope
from beam_pipelines.columnar.path import PathProblem, find_path, nest, target_parts

BATCH = pa.record_batch(
    {
        "id": [1, 2, 3, 4],
        "address": [{"city": "Bonn", "geo": {"lat": 1.5}}, None, {"city": None, "geo": None}, {"city": "Ulm", "geo": {"lat": None}}],
        "phones": [["1", "2"], [], None, [None, "4"]],
        "lines": pa.array(
            [[{"sku": "a", "tags": ["x"]}], [{"sku": "b", "tags": None}, {"sku": "c", "tags": ["y", "z"]}], [], None],
            pa.list_(pa.struct([("sku", pa.string()), ("tags", pa.list_(pa.string()))])),
        ),
        "pair": pa.array([[1, 2], None, [5, 6], [7, 8]], pa.list_(pa.int64(), 2)),
        "attributes": pa.array([[("color", "red"), ("size", "L")], [], None, [("size", "S")]], pa.map_(pa.string(), pa.string())),
        "a.b": ["dotted", None, "x", "y"],
        "json": ['{"a": 1}', None, "{}", "{}"],
    }
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("id", [1, 2, 3, 4]),
        ("address.city", ["Bonn", None, None, "Ulm"]),
        ("address.geo.lat", [1.5, None, None, None]),
        ("ADDRESS.City", ["Bonn", None, None, "Ulm"]),
        ("phones[0]", ["1", None, None, None]),
        ("phones[1]", ["2", None, None, "4"]),
        ("phones[9]", [None] * 4),
        ("lines[0].sku", ["a", "b", None, None]),
        ("lines[1].tags[1]", [None, "z", None, None]),
        ("pair[1]", [2, None, 6, 8]),
        ("pair[2]", [None] * 4),
        ("attributes.size", ["L", None, None, "S"]),
        ("a.b", ["dotted", None, "x", "y"]),
    ],
)
def test_values_are_read_where_they_are_and_null_where_the_way_ends(path: str, expected: list[Any]) -> None:
    found = find_path(path, BATCH.schema)
    assert found.read(BATCH).to_pylist() == expected
    assert found.read(BATCH).type == found.type


@pytest.mark.parametrize("path", ["address.geo.lat", "phones[1]", "lines[1].tags[1]", "pair[1]", "lines[0].sku"])
def test_slices_read_their_own_rows(path: str) -> None:
    found = find_path(path, BATCH.schema)
    whole = found.read(BATCH).to_pylist()
    for begin in range(5):
        assert found.read(BATCH.slice(begin, 2)).to_pylist() == whole[begin : begin + 2]


@pytest.mark.parametrize("path", ["id", "address.city", "address.geo.lat", "phones[0]", "phones[1]", "lines[1].tags[1]", "pair[1]", "a.b"])
def test_a_path_means_the_same_in_an_expression(path: str) -> None:
    found = find_path(path, BATCH.schema)
    with Scope(BATCH.schema) as scope:
        assert scope.evaluate([scope.build(found.node())], BATCH)[0].array.to_pylist() == found.read(BATCH).to_pylist()


def test_a_top_level_field_is_the_column_itself() -> None:
    assert find_path("id", BATCH.schema).read(BATCH).buffers()[1].address == BATCH.column("id").buffers()[1].address


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("adress.city", "no field 'adress'", "did you mean address?"),
        ("address.town", "no field 'town' in the struct", "fields: city, geo"),
        ("phones.number", "not in a struct", "[0]"),
        ("address[0]", "not in a list", ""),
        ("json.a", "not in a struct", "json->>'$.a'"),
        ("id.x", "'x' was looked up in a int64", ""),
        ("address..city", "expected a path", ""),
        ("address.", "expected a path", ""),
        ("phones[x]", "expected a path", ""),
        ("phones[-1]", "expected a path", ""),
        ("", "expected a path", ""),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path: str, message: str, hint: str) -> None:
    with pytest.raises(PathProblem) as raised:
        find_path(path, BATCH.schema)
    assert message in raised.value.message
    assert hint in raised.value.hint


def test_names_that_differ_in_case_alone_must_be_written_exactly() -> None:
    schema = pa.schema([("Id", pa.int64()), ("ID", pa.int64())])
    assert find_path("ID", schema).name == "ID"
    with pytest.raises(PathProblem, match="names 2 fields"):
        find_path("id", schema)


def test_a_target_is_names_alone() -> None:
    assert target_parts("address.geo.lat") == ("address", "geo", "lat")
    with pytest.raises(PathProblem, match="list positions cannot be written"):
        target_parts("phones[0]")


def test_structs_are_built_from_nested_names() -> None:
    made = nest({"city": pa.array(["a", None]), "geo": {"lat": pa.array([1, 2])}})
    assert made.to_pylist() == [{"city": "a", "geo": {"lat": 1}}, {"city": None, "geo": {"lat": 2}}]


def test_a_struct_that_was_there_keeps_its_other_fields_and_its_nulls() -> None:
    base = pa.array([{"city": "a", "zip": "1"}, None, None])
    made = nest({"city": pa.array(["A", None, "C"])}, base)
    assert made.to_pylist() == [{"city": "A", "zip": "1"}, None, {"city": "C", "zip": None}]


lists = st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=3)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(lists, st.integers(0, 3), st.integers(0, 6), st.sampled_from(["list", "large_list"]))
def test_elements_of_lists_are_pythons_own(values: list[list[int | None] | None], index: int, begin: int, layout: str) -> None:
    kind = pa.list_(pa.int64()) if layout == "list" else pa.large_list(pa.int64())
    batch = pa.record_batch({"v": pa.array(values, kind)}).slice(begin)
    expected = [value[index] if value is not None and index < len(value) else None for value in values[begin:]]
    assert find_path(f"v[{index}]", batch.schema).read(batch).to_pylist() == expected
