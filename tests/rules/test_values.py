"""What each rule makes of odd values: null, NaN, empty text, signed zero, the ends of types, and values of another type."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.rules import check
from tests.rules.tables import found, of

NAN, INF = float("nan"), float("inf")
LEAST, GREATEST = -(2**63), 2**63 - 1


def violating(column: pa.Array, kind: str, references: pa.Array | None = None, **keys: Any) -> tuple[list[int], int]:
    """Return which values violate a rule of one field, and how many it does not evaluate."""
    rule = {"id": "r", "type": kind, **keys}
    if "field" not in keys and "fields" not in keys:
        rule["field"] = "v"
    given = None
    if references is not None:
        rule["reference"], given = {"table": "t", "field": "k"}, {"t": pa.table({"k": references})}
    result = check(pa.table({"v": column}), [rule], references=given)
    return found(result, "r"), of(result, "r")["notEvaluated"]


@pytest.mark.parametrize(
    ("values", "keys", "expected"),
    [
        (pa.array([None, NAN, -0.0, 0.0, 1.0, INF, -INF]), {"min": 0, "max": 1}, ([5, 6, 1], 1)),
        (pa.array([-0.0, 0.0]), {"max": 0, "min": 0}, ([], 0)),
        (pa.array([LEAST, -1, 0, GREATEST]), {"min": LEAST, "max": GREATEST}, ([], 0)),
        (pa.array([LEAST, -1, 0, GREATEST]), {"min": LEAST + 1, "max": GREATEST - 1}, ([0, 3], 0)),
        (pa.array([LEAST, 0, GREATEST]), {"min": -(10**30), "max": 10**30}, ([], 0)),
        (pa.array([LEAST, None, GREATEST]), {"min": 10**30}, ([0, 2], 1)),
        (pa.array([LEAST, None, GREATEST]), {"max": -1e300}, ([0, 2], 1)),
        (pa.array([LEAST, None, GREATEST]), {"max": 1e300}, ([], 1)),
        (pa.array([0, 1, 2]), {"min": 0.5, "max": 1.5}, ([0, 2], 0)),
        (pa.array([-1, 0, 1]), {"min": -0.5, "max": 0.5}, ([0, 2], 0)),
        # 2^53 and its neighbour are one double, and two integers.
        (pa.array([2**53, 2**53 + 1]), {"max": 2**53}, ([1], 0)),
        (pa.array([0, 200, 255], pa.uint8()), {"min": -5, "max": 200}, ([2], 0)),
        (pa.array([0, 2**64 - 1], pa.uint64()), {"max": 2**63}, ([1], 0)),
        (pa.array([-128, 127], pa.int8()), {"min": 1000}, ([0, 1], 0)),
        (pa.array([Decimal("0.10"), Decimal("0.11"), None]), {"max": 0.1}, ([1], 1)),
        (pa.array([Decimal("0.10"), Decimal("0.09")]), {"min": 0.1}, ([1], 0)),
        (pa.array([Decimal("99.9")], pa.decimal128(3, 1)), {"max": 1e20, "min": 99.85}, ([], 0)),
        (pa.array([0.1], pa.float32()), {"max": 0.1}, ([], 0)),
        (pa.array([0, 1, 2, NAN], pa.float16()), {"min": 0, "max": 1}, ([2, 3], 0)),
        (pa.array([1.0, INF, -INF]), {"max": 10**400}, ([1], 0)),
        (pa.array([1.0, INF, -INF]), {"min": -(10**400)}, ([2], 0)),
        (pa.array([1.0, INF]), {"min": 10**400}, ([0], 0)),
        (pa.array([1, GREATEST]), {"max": 10**400, "min": -(10**400)}, ([], 0)),
        (pa.array([2.0**53, 2.0**53 + 2]), {"min": 2**53 + 1}, ([0], 0)),
        (pa.array([2.0**53, 2.0**53 + 2]), {"max": 2**53 + 1}, ([1], 0)),
        (pa.array([1e-5], pa.float64()), {"min": 1e-5, "max": 1e-5}, ([], 0)),
        (pa.array(["1", " 2 ", "x", "", None, "1e3", "nan", "0x1"]), {"min": 0, "max": 5}, ([5, 2, 3, 6, 7], 1)),
        (pa.nulls(2), {"min": 0}, ([], 2)),
    ],
)
def test_numbers_within_bounds(values: pa.Array, keys: dict[str, Any], expected: tuple[list[int], int]) -> None:
    rows, unevaluated = violating(values, "numeric-range", **keys)
    assert (sorted(rows), unevaluated) == (sorted(expected[0]), expected[1])


def test_what_is_no_number_is_said_to_be_none() -> None:
    result = check(pa.table({"v": ["7", "abc"]}), [{"id": "r", "type": "numeric-range", "field": "v", "max": 5}])
    assert [one["message"] for one in result.violations.to_pylist()] == [
        "expected a number of at most 5",
        "expected a number of at most 5, got something that is not a number",
    ]


@pytest.mark.parametrize("kind", [pa.bool_(), pa.date32(), pa.timestamp("us"), pa.list_(pa.int64())])
def test_a_range_of_what_has_no_numbers_is_refused(kind: pa.DataType) -> None:
    with pytest.raises(PlanError):
        violating(pa.nulls(1, kind), "numeric-range", min=0)


@pytest.mark.parametrize(
    ("values", "allowed", "expected"),
    [
        (pa.array([1, 2, None]), [1, 3.0], ([1], 1)),
        (pa.array([1.0, 2.5, None, NAN, -0.0]), [1, 2.5, 0], ([3], 1)),
        (pa.array([Decimal("1.00"), Decimal("1.50"), Decimal("2.00")]), [1, 1.5], ([2], 0)),
        (pa.array(["1", "", " 1", "a"]), ["1"], ([1, 2, 3], 0)),
        (pa.array([True, False, None]), [True], ([1], 1)),
        (pa.array(["a", "b", None]).dictionary_encode(), ["a", None], ([1], 1)),
        (pa.array(["2020-01-01", "2020-01-02"]).cast(pa.date32()), ["2020-01-01"], ([1], 0)),
        (pa.array([LEAST, GREATEST, 0]), [LEAST, GREATEST], ([2], 0)),
        (pa.array([2**53 + 1]), [2**53], ([0], 0)),
    ],
)
def test_values_out_of_a_list(values: pa.Array, allowed: list[Any], expected: tuple[list[int], int]) -> None:
    assert violating(values, "in-set", values=allowed) == expected


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [(pa.int64(), "1"), (pa.string(), 1), (pa.int64(), True), (pa.bool_(), 1), (pa.int8(), 1000), (pa.int64(), 1.5), (pa.date32(), "soon")],
)
def test_a_list_of_values_that_the_field_cannot_hold_is_refused(kind: pa.DataType, allowed: Any) -> None:
    with pytest.raises(PlanError) as caught:
        violating(pa.nulls(1, kind), "in-set", values=[allowed])
    assert caught.value.problems[0].path == "rules[0].values[0]"


@pytest.mark.parametrize(
    ("values", "known", "expected"),
    [
        (pa.array([1, 2, None]), pa.array([1.0, 3.0]), ([1], 1)),
        (pa.array([1.0, NAN, -0.0, 2.5, None]), pa.array([1, 0], pa.int32()), ([1, 3], 1)),
        (pa.array([NAN, -0.0]), pa.array([NAN, 0.0]), ([], 0)),
        (pa.array([Decimal("1.00"), Decimal("1.10")]), pa.array([1, 2]), ([1], 0)),
        (pa.array([LEAST, GREATEST, 0, None]), pa.array([LEAST, GREATEST]), ([2], 1)),
        (pa.array([5, 2**63, 2**64 - 1], pa.uint64()), pa.array([5, -1]), ([1, 2], 0)),
        (pa.array([-1, 5]), pa.array([2**64 - 1, 5], pa.uint64()), ([0], 0)),
        (pa.array([1, -5], pa.int8()), pa.array([1, 1000]), ([1], 0)),
        (pa.array([2**53 + 1]), pa.array([2**53]), ([0], 0)),
        (pa.array(["a", "", None, "A"]), pa.array(["a", None]), ([1, 3], 1)),
        (pa.array(["a", "b"]).dictionary_encode(), pa.array(["a"], pa.large_string()), ([1], 0)),
        (pa.array([1, 2]), pa.array([], pa.int64()), ([0, 1], 0)),
        (pa.array([1, None]), pa.array([None], pa.int64()), ([0], 1)),
    ],
)
def test_values_that_occur_elsewhere(values: pa.Array, known: pa.Array, expected: tuple[list[int], int]) -> None:
    assert violating(values, "foreign-key", known) == expected


@pytest.mark.parametrize(
    ("values", "pattern", "keys", "expected"),
    [
        (pa.array(["abc", "xbz", "", None, "b\n"]), "b", {}, ([], 2)),
        (pa.array(["abc", "b", "b\n", ""]), "b", {"match": "full"}, ([0, 2], 1)),
        (pa.array(["ab", "a|b", "b"]), "a|b", {"match": "full"}, ([0, 1], 0)),
        (pa.array(["a", "b\na"]), "^a$", {}, ([1], 0)),
        (pa.array([12, 345, None]), "^[0-9]{2}$", {}, ([1], 1)),
        (pa.array(["é", "ee"]), "^.$", {}, ([1], 0)),
        (pa.array(["a" * 5000 + "!"]), "^(a+)+$", {}, ([0], 0)),
        (pa.array(["a", "b", None]).dictionary_encode(), "a", {}, ([1], 1)),
    ],
)
def test_text_by_a_pattern(values: pa.Array, pattern: str, keys: dict[str, Any], expected: tuple[list[int], int]) -> None:
    assert violating(values, "regex", pattern=pattern, **keys) == expected


@pytest.mark.parametrize(
    ("values", "keys", "expected"),
    [
        (pa.array(["", " ", None, "NA", "x"]), {}, [0, 2]),
        (pa.array(["", " ", None, "NA", "x"]), {"blankIsMissing": True}, [0, 1, 2]),
        (pa.array([b"", b" \xff", b"\xc2\xa0 ", None]).view(pa.string()), {"blankIsMissing": True}, [0, 2, 3]),
        (pa.array(["", " ", None, "NA", "x"]), {"emptyIsMissing": False, "sentinels": ["NA"]}, [2, 3]),
        (pa.array([0.0, NAN, None]), {}, [1, 2]),
        (pa.array([0.0, NAN, None]), {"nanIsMissing": False}, [2]),
        (pa.array([0, None]), {}, [1]),
        (pa.array([False, None]), {}, [1]),
        (pa.array(["", "NA", "x", None]).dictionary_encode(), {"sentinels": ["NA"]}, [0, 1, 3]),
        (pa.array([[], None], pa.list_(pa.int64())), {}, [1]),
        (pa.nulls(2), {}, [0, 1]),
    ],
)
def test_fields_that_must_have_a_value(values: pa.Array, keys: dict[str, Any], expected: list[int]) -> None:
    assert violating(values, "required-fields", fields=["v"], **keys) == (expected, 0)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [("first", [3, 5, 6]), ("last", [0, 1, 3]), ("none", [0, 1, 3, 5, 6])],
)
def test_which_of_the_rows_of_a_key_violate(keep: str, expected: list[int]) -> None:
    table = pa.table({"v": ["a", "b", None, "a", "c", "a", "b", None]})
    result = check(table, [{"id": "r", "type": "unique", "field": "v", "keep": keep}])
    assert found(result, "r") == expected
    assert of(result, "r")["duplicates"] == {"laterRows": 3, "keys": 2, "members": 5}
    assert of(result, "r")["notEvaluated"] == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([0.0, -0.0, NAN, NAN, None, None]), ([1, 3], 2)),
        (pa.array([LEAST, GREATEST, LEAST]), ([2], 0)),
        (pa.array(["", "", " "]), ([1], 0)),
        (pa.array(["a", "a"]).dictionary_encode(), ([1], 0)),
        (pa.array([Decimal("1.0"), Decimal("1.0"), Decimal("1.1")]), ([1], 0)),
        (pa.array([[1, 2], [1, 2], [12], None]), ([1], 1)),
        (pa.array([{"a": 1, "b": None}, {"a": 1, "b": None}, {"a": 1, "b": 2}]), ([1], 0)),
        (pa.array([b"\xff", b"\xff", b"\xfe"]), ([1], 0)),
        (pa.nulls(3), ([], 3)),
    ],
)
def test_values_that_are_equal(values: pa.Array, expected: tuple[list[int], int]) -> None:
    assert violating(values, "unique") == expected


def test_keys_of_several_fields() -> None:
    table = pa.table({"a": ["a", "ab", "a", None, None, "a"], "b": ["bc", "c", "bc", "x", "x", None], "n": [1, 1, 2, 1, 1, 1]})
    both = {"id": "r", "type": "unique", "fields": ["a", "b"]}
    result = check(table, [both])
    assert found(result, "r") == [2]  # ("a", "bc") is not ("ab", "c"); a null in a key is no key
    assert of(result, "r")["notEvaluated"] == 3
    assert result.violations.column("value").to_pylist() == ['{"a":"a","b":"bc"}']
    assert found(check(table, [{**both, "fields": ["a", "b", "n"]}]), "r") == []


def test_foreign_keys_of_several_fields() -> None:
    table = pa.table({"a": ["a", "ab", "x", None, "a"], "b": [1, 2, 1, 1, None]})
    reference = pa.table({"p": ["a", "ab", "x"], "q": [1.0, 1.0, 2.0]})
    rule = {"id": "r", "type": "foreign-key", "fields": ["a", "b"], "reference": {"table": "t", "fields": ["p", "q"]}}
    result = check(table, [rule], references={"t": reference})
    assert found(result, "r") == [1, 2]
    assert of(result, "r")["notEvaluated"] == 2


def test_a_nested_field_is_looked_at() -> None:
    table = pa.table({"p": [{"age": 1}, {"age": -1}, None, {"age": None}]})
    result = check(table, [{"id": "r", "type": "numeric-range", "field": "p.age", "min": 0}])
    assert (found(result, "r"), of(result, "r")["notEvaluated"]) == ([1], 2)


def test_rows_with_dates_beyond_the_calendar_of_python_cost_nothing_but_themselves() -> None:
    days = pa.array([0, 2932897, -1000000], pa.int32()).cast(pa.date32())
    table = pa.table({"id": [1, 9, 9], "day": days, "in": pa.array([{"day": None}] * 3, pa.struct({"day": pa.date32()}))})
    found = check(
        table,
        [
            {"id": "low", "type": "numeric-range", "field": "id", "max": 5},
            {"id": "one", "type": "in-set", "field": "day", "values": ["1970-01-01"]},
        ],
    )
    assert found.valid["id"].to_pylist() == [1]
    assert [row["value"] for row in found.violations.to_pylist()] == ["9", "10000-01-01", "9", "-0768-02-04"]


def test_long_keys_are_told_apart() -> None:
    texts = [f"{'x' * 300}{i % 900}" for i in range(1000)]
    found = check(
        pa.table({"t": texts, "b": pa.array([text.encode() for text in texts])}), [{"id": f, "type": "unique", "field": f} for f in "tb"]
    )
    assert [rule.tally.violated for rule in found.rules] == [100, 100]
