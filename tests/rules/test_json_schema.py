"""JSON by a schema."""

from __future__ import annotations

import datetime as dt
import socket
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.rules import Result, check

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
    "required": ["name"],
    "additionalProperties": False,
}
FITS = "expected JSON that fits the schema, got"


def checked(values: pa.Array | pa.Table, schema: Any = PERSON, **keys: Any) -> Result:
    rule = {"id": "r", "type": "json-schema", "schema": schema, **keys}
    if isinstance(values, pa.Table):
        return check(values, [rule])
    return check(pa.table({"x": values}), [{**rule, "field": "x"}])


def told(found: Result) -> list[tuple[int, str]]:
    rows = found.violations.select(["recordIndex", "message"]).to_pylist()
    return [(row["recordIndex"], row["message"].removeprefix(f"{FITS} ")) for row in rows]


TEXTS = [
    '{"name": "Ann", "age": 3, "tags": ["a"]}',
    '{"name": "secret", "age": -1, "tags": ["x", "y"]}',
    '{"age": 1.5, "other": 1}',
    "[]",
    "{name: Ann}",
    None,
    "",
    '{"age": 1.5, "other": 1}',
]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_every_way_in_which_text_does_not_fit_is_told_once(kind):
    found = checked(pa.array(TEXTS).cast(kind))
    of_two = [
        "none by #/additionalProperties: false",
        'none by #/properties/age/type: "integer"',
        "none by #/required: 'name' is a required property",
    ]
    assert told(found) == [
        (1, "none by #/properties/age/minimum: 0"),
        (1, 'none by #/properties/tags/items/enum: ["a", "b"]'),
        *((2, message) for message in of_two),
        (3, 'none by #/type: "object"'),
        (4, "text that is no JSON"),
        *((7, message) for message in of_two),
    ]
    assert (found.rules[0].tally.violated, found.rules[0].tally.unevaluated) == (5, 2)
    assert found.violations["value"].to_pylist()[0] == TEXTS[1]
    assert not [message for message in found.violations["message"].to_pylist() if "secret" in message or "other" in message]


def test_values_of_a_json_type_are_json():
    values = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"name": "Ann"}', "{}", None]))
    assert told(checked(values)) == [(1, "none by #/required: 'name' is a required property")]


def test_structs_lists_and_maps_are_json_and_their_nulls_are_not_there():
    people = pa.array([{"name": "Ann", "age": None}, {"name": None, "age": 3}, None, {"name": "Bob", "age": -3}])
    assert told(checked(people)) == [(1, "none by #/required: 'name' is a required property"), (3, "none by #/properties/age/minimum: 0")]
    assert told(checked(pa.array([[1, 2], [1, None], []]), {"items": {"type": "integer"}, "minItems": 1})) == [
        (1, 'none by #/items/type: "integer"'),
        (2, "none by #/minItems: 1"),
    ]
    maps = pa.array([[("a", 1)], [("b", 2)], None], pa.map_(pa.string(), pa.int64()))
    assert told(checked(maps, {"required": ["a"]})) == [(1, "none by #/required: 'a' is a required property")]


def test_decimals_are_numbers_and_dates_are_text():
    rows = pa.array([{"price": Decimal("1.50"), "day": dt.date(2024, 1, 2), "more": [Decimal("2.00")]}])
    schema = {
        "properties": {
            "price": {"const": 1.5},
            "day": {"const": "2024-01-02"},
            "more": {"items": {"type": "integer"}},
        }
    }
    assert told(checked(rows, schema)) == []


def test_without_a_field_the_row_is_the_object():
    table = pa.table({"name": ["Ann", None, ""], "age": [1, 2, None]})
    found = checked(table)
    assert told(found) == [(1, "none by #/required: 'name' is a required property"), (2, "none by #/properties/name/minLength: 1")]
    assert found.violations.select(["field", "value"]).to_pylist() == [{"field": "", "value": None}] * 2


def test_a_schema_is_asked_once_for_each_distinct_value(monkeypatch):
    asked: list[Any] = []
    monkeypatch.setattr("beam_pipelines.rules.row.json_validator.JsonValidator.messages", lambda self, value: asked.append(value) or [])
    checked(pa.array(["1", "2", "1", None, "1"]))
    assert asked == [1, 2]


def test_a_value_of_which_the_schema_cannot_tell_costs_its_rows_alone():
    endless = {"if": {"type": "object"}, "then": {"$ref": "#"}}
    found = checked(pa.array(["1", "{}", "2", "{}"]), endless)
    assert told(found) == [(row, "the rule failed on this row: the schema cannot be applied to it (RecursionError)") for row in (1, 3)]
    assert (found.rules[0].tally.failed, found.rules[0].tally.evaluated) == (2, 2)
    assert found.valid["x"].to_pylist() == ["1", "2"]


def test_a_schema_may_refer_to_itself():
    tree = {"$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"}
    deep = '{"next":' * 30 + "1" + "}" * 30
    ((row, message),) = told(checked(pa.array(['{"next": {}}', deep]), tree))
    assert row == 1
    assert message.startswith("none by .../")
    assert len(message) < 200


def test_what_a_schema_wants_is_told_whatever_it_is():
    assert told(checked(pa.array(["1"]), {"minimum": 10**30})) == [(0, f"none by #/minimum: {10**30}")]
    assert told(checked(pa.array(["1"]), {"const": {"secret": 1}})) == [(0, "none by #/const")]
    assert told(checked(pa.array(["1"]), {"const": "x" * 100})) == [(0, f'none by #/const: "{"x" * 56}...')]
    assert told(checked(pa.array(["1"]), {"not": {}})) == [(0, "none by #/not")]


def test_text_that_is_no_utf_8_costs_its_row_alone():
    texts = pa.StringArray.from_buffers(2, pa.array([0, 2, 4], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe12"))
    assert told(checked(texts, {"type": "integer"})) == [(0, "text that is no JSON")]


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        ({"type": "strin"}, "rules[0].schema.type", "expected a JSON Schema, got a mistake: 'strin' is not valid"),
        (
            {"properties": {"a": {"pattern": "("}}},
            "rules[0].schema.properties.a.pattern",
            "expected a JSON Schema, got a mistake: '(' is not",
        ),
        ({"$schema": "https://example.com/mine"}, "rules[0].schema.$schema", "expected a JSON Schema of a known draft"),
        ({"$ref": "#/$defs/none"}, "rules[0].schema", "expected $ref to a part of the schema, got '#/$defs/none'"),
        ({"items": {"anyOf": [{"$ref": "https://example.com/a.json"}]}}, "rules[0].schema", "got 'https://example.com/a.json'"),
        ({"$ref": "#/parts/a", "parts": {"a": {"$ref": "#/parts/b"}}}, "rules[0].schema", "got '#/parts/b'"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_and_nothing_is_fetched(schema, path, message, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("a server was asked"))
    with pytest.raises(PlanError) as refused:
        checked(pa.array(["1"]), schema)
    (problem,) = refused.value.problems
    assert problem.path == path
    assert message in problem.message


def test_parts_of_a_schema_are_found_by_their_ids():
    schema = {"$id": "https://example.com/all", "$defs": {"n": {"$id": "n", "type": "integer"}}, "items": {"$ref": "n"}}
    assert told(checked(pa.array(["[1]", '["x"]']), schema)) == [(1, 'none by #/items/type: "integer"')]


def test_older_drafts_are_read_by_their_rules():
    old = {"$schema": "http://json-schema.org/draft-04/schema#", "type": "number", "maximum": 5, "exclusiveMaximum": True}
    assert [row for row, _ in told(checked(pa.array(["5", "4"]), old))] == [0]


def test_fields_that_hold_no_json_are_refused():
    with pytest.raises(PlanError, match="expected a field of JSON text, JSON, structs, lists or maps, got 'x' of type int64"):
        checked(pa.array([1]))
