"""Values of a type, and text that can be read as one."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_pipelines.rules import Result, check
from beam_pipelines.spec import TypeRule


def checked(values: pa.Array, kind: str) -> Result:
    return check(pa.table({"x": values}), [{"id": "r", "type": "type", "field": "x", "is": kind}])


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int", ["1", "-0", "+12", "007", str(2**63 - 1)], ["1.0", "1e3", "0x10", "1_000", str(2**63), "one"]),
        ("number", ["1", ".5", "-1e-3", "inf"], ["1,5", "NaN", "nan", "0x10", "1e400", "$1"]),
        ("boolean", ["true", "F", "yes", "0", "OFF"], ["2", "yep", "wahr"]),
        ("date", ["2024-02-29", "2024-02-29T00:00:00"], ["2023-02-29", "29.02.2024", "2024-02-29T10:00:00", "20240229"]),
        ("timestamp", ["2024-02-29", "2024-02-29 10:00", "2024-02-29T10:00:00.123Z", "2024-02-29T10:00:00+02:00"], ["10:00", "2024-02-30"]),
        ("time", ["10:00", "23:59:59.5"], ["24:00", "10", "2024-02-29"]),
        ("uuid", ["8a6e0804-2bd0-4672-b79d-d97027f9071a", "{8A6E08042BD04672B79DD97027F9071A}"], ["8a6e0804", "x"]),
        ("json", ['{"a": [1, null]}', "1", '"x"', "null"], ["{a: 1}", "'x'", "NaN", "undefined"]),
    ],
)
def test_text_is_of_the_type_that_it_can_be_read_as(kind, good, bad):
    found = checked(pa.array([*good, *bad, None, ""]), kind)
    assert found.violations["value"].to_pylist() == bad
    assert found.rules[0].tally.unevaluated == 2
    assert found.rules[0].tally.evaluated == len(good) + len(bad)


def test_text_is_text_even_when_it_is_empty():
    found = checked(pa.array(["a", "", None, "1"]), "text")
    assert found.violations.num_rows == 0
    assert (found.rules[0].tally.evaluated, found.rules[0].tally.unevaluated) == (3, 1)


COLUMNS = {
    "int": pa.array([1, None]),
    "whole decimal": pa.array([Decimal(1), None], pa.decimal128(38, 0)),
    "decimal": pa.array([Decimal("1.00"), None]),
    "float": pa.array([1.0, None]),
    "bool": pa.array([True, None]),
    "date": pa.array([dt.date(2024, 1, 1), None]),
    "timestamp": pa.array([dt.datetime(2024, 1, 1), None]),
    "time": pa.array([dt.time(10), None]),
    "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.uuid4().bytes, None], pa.binary(16))),
    "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None])),
    "struct": pa.array([{"a": 1}, None]),
    "list": pa.array([[1], None]),
    "bytes": pa.array([b"1", None]),
}
HOLDS = {
    "int": {"int", "whole decimal"},
    "number": {"int", "whole decimal", "decimal", "float"},
    "text": set(),
    "boolean": {"bool"},
    "date": {"date"},
    "timestamp": {"timestamp"},
    "time": {"time"},
    "uuid": {"uuid"},
    "json": {"json", "struct", "list"},
}


@pytest.mark.parametrize("kind", HOLDS)
def test_other_values_are_of_their_field_s_type(kind):
    for name, values in COLUMNS.items():
        found = checked(values, kind)
        assert found.violations["recordIndex"].to_pylist() == ([] if name in HOLDS[kind] else [0]), name
        assert found.rules[0].tally.unevaluated == 1
    assert checked(pa.nulls(3), kind).rules[0].tally.unevaluated == 3


def test_messages_name_what_was_expected_and_the_type_that_came():
    assert checked(pa.array(["x"]), "int").violations["message"].to_pylist() == ["expected a whole number"]
    assert checked(pa.array([1.0]), "int").violations["message"].to_pylist() == ["expected a whole number, got a value of type double"]


def test_nan_is_no_number():
    assert checked(pa.array([1.0, float("nan"), None, float("inf")]), "number").violations["recordIndex"].to_pylist() == [1]


@pytest.mark.parametrize("kind", ["int", "number", "boolean", "date", "timestamp", "time", "uuid", "json"])
def test_text_that_is_no_utf_8_costs_its_row_alone(kind):
    texts = pa.StringArray.from_buffers(2, pa.array([0, 2, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe"))
    assert checked(texts, kind).violations["recordIndex"].to_pylist() == [0]


def test_dictionaries_are_read():
    assert checked(pa.array(["1", "x", "1", "x"]).dictionary_encode(), "int").violations["recordIndex"].to_pylist() == [1, 3]


def test_a_type_that_is_not_known_is_refused():
    with pytest.raises(ValidationError, match="expected 'int', 'number', 'text'"):
        TypeRule.model_validate({"id": "r", "field": "x", "is": "str"})
    with pytest.raises(ValidationError, match="expected 'is', which is missing"):
        TypeRule.model_validate({"id": "r", "field": "x"})
