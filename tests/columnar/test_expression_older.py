"""The trees of DuckDB 1.5 become those of DuckDB 2 and go back; on either line, a text means what it means to DuckDB 2.

`duckdb_1_5_trees.json` holds what DuckDB 1.5.6 answered for `SELECT (text)`, so that the translation is tested on every Python.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar.expression import Expression
from beam_pipelines.columnar.expression.engine import Engine
from beam_pipelines.columnar.expression.newer import newer
from beam_pipelines.columnar.expression.older import Unknown, older
from beam_pipelines.columnar.expression.tree import Mistake, parse, span, walk
from beam_pipelines.errors import PlanError

TREES: dict[str, Any] = json.loads((Path(__file__).parent / "duckdb_1_5_trees.json").read_text())
PLACES = {"query_location", "query_location_length", "is_legacy_function_call"}
NOT_SAID = {"distinct", "export_state"}  # where they are false
REFUSED_WHOLE = {"WINDOW", "SUBQUERY"}  # what is in them is not translated: they are refused by their class


def translated(text: str) -> dict[str, Any]:
    return newer(copy.deepcopy(TREES[text]), f"SELECT ({text})")


def expression(found: dict[str, Any]) -> dict[str, Any]:
    node: dict[str, Any] = found["statements"][0]["node"]["select_list"][0]
    return node


def without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        if value.get("class") in REFUSED_WHOLE:
            return value["class"]
        said = {key: part for key, part in value.items() if key not in keys and not (key in NOT_SAID and part is False)}
        return {key: without(part, keys) for key, part in said.items()}
    return [without(part, keys) for part in value] if isinstance(value, list) else value


# Of these two the trees differ and the meanings do not.
@pytest.mark.parametrize("text", [text for text in TREES if text not in ("a like 'x' escape 'y'", "not (not (a = b))")])
def test_a_tree_of_the_older_line_is_that_of_the_newer(text: str) -> None:
    engine = Engine()
    asked = engine.parse(f"SELECT ({text})")
    engine.close()

    assert without(expression(translated(text)), PLACES) == without(expression(asked), PLACES)
    assert set(translated(text)["statements"][0]["node"]) == set(asked["statements"][0]["node"])


QUERIES: dict[str, Any] = json.loads((Path(__file__).parent / "duckdb_1_5_queries.json").read_text())
OF_QUERIES = {*PLACES, "group_sets"}  # an empty set is left out by the older line


@pytest.mark.parametrize("text", QUERIES)
def test_a_query_of_the_older_line_is_that_of_the_newer(text: str) -> None:
    engine = Engine()
    asked = engine.parse(text)
    engine.close()
    assert without(newer(copy.deepcopy(QUERIES[text]), text), OF_QUERIES) == without(asked, OF_QUERIES)


def as_recorded(value: Any) -> Any:
    """A tree of the older line without places, and without what a program leaves out."""
    if isinstance(value, list):
        return [as_recorded(part) for part in value]
    if not isinstance(value, dict):
        return value
    dropped = {"query_location", "distinct", "export_state", "order_bys", "schema"}
    return {key: as_recorded(part) for key, part in value.items() if key not in dropped and part != []}


@pytest.mark.parametrize(
    "text",
    [
        *("a.b", "1", "-1.5", "0.1234567890123456789", "170141183460469231731687303715884105728", "'it''s'", "NULL", "a + 1", "upper(a)"),
        *(
            "struct_pack(x := a)",
            "[1, 2]",
            "{'x': a}",
            "a::int",
            "TRY_CAST(a AS DECIMAL(10, 2))",
            "a::int[]",
            "a::json",
            "trim(a)",
            "now()",
        ),
        *("a::struct(x int, y varchar)", "a::map(varchar, int)", "a = 1 and b or not c", "a is not distinct from b", "coalesce(a, b)"),
        *("try(a)", "a between 1 and 2", "case when a then b end", "a collate nocase", "a->>'b'", "a similar to 'x'"),
    ],
)
def test_a_tree_goes_back_to_the_older_line(text: str) -> None:
    node = expression(translated(text))
    before = copy.deepcopy(node)

    assert as_recorded(older(node)) == as_recorded(expression(TREES[text]))
    assert node == before


def test_what_the_older_line_would_write_otherwise_is_written_as_it_was_meant() -> None:
    constant = {"class": "CONSTANT", "type": "VALUE_CONSTANT"}
    double = older({**constant, "literal": {"kind": "NUMERIC", "text": "1e3"}})  # 1.5 writes this double as 1000.0, a decimal
    arrow = older(expression(translated("a->'b'")))  # and this arrow as a lambda
    bound = older(expression(translated("a[2:]")))["children"][2]

    assert (double["class"], double["cast_type"]) == ("CAST", {"id": "DOUBLE"})
    assert double["child"]["value"] == {"type": {"id": "VARCHAR"}, "is_null": False, "value": "1e3"}
    assert (arrow["class"], arrow["function_name"], len(arrow["children"])) == ("FUNCTION", "->", 2)
    assert bound["value"]["type"]["id"] == "LIST"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "COMPARISON_OF_A_NEW_KIND"}, "comparison of a new kind is not allowed"),
        ({"class": "TYPE"}, "type is not allowed"),
        ({"arguments": []}, "arguments is not allowed"),
        ({"qualified_name": {"path": ["upper"]}}, "qualified_name is not allowed"),
        ({"children": None}, "not known"),
    ],
)
def test_what_no_rule_knows_is_refused(change: dict[str, Any], message: str) -> None:
    found = copy.deepcopy(TREES["upper(a)"])
    expression(found).update(change)

    refused = newer(found, "SELECT (upper(a))")

    assert refused["error"]
    assert message in refused["error_message"]


@pytest.mark.parametrize(
    "kind",
    [
        {"id": "BIGNUM"},
        {"id": "VARCHAR", "type_info": {"type": "STRING_TYPE_INFO", "collation": "de"}},
        {"id": "BLOB", "type_info": {"type": "GENERIC_TYPE_INFO", "alias": "GEOMETRY"}},
        {"id": "LIST", "type_info": {"type": "LIST_TYPE_INFO", "child_type": {"id": "BIT"}}},
        {"id": "UNBOUND", "type_info": {"type": "UNBOUND_TYPE_INFO", "name": "json", "schema": "main"}},
        {"id": "UNBOUND", "type_info": {"type": "UNBOUND_TYPE_INFO", "name": "uuid", "user_type_modifiers": []}},
        {"id": "INTEGER", "alias": "x"},
    ],
)
def test_a_type_without_a_rule_is_in_no_list_of_types(kind: dict[str, Any]) -> None:
    class Answers(Engine):
        def parse(self, statement: str) -> dict[str, Any]:
            found = copy.deepcopy(TREES["a::int"])
            expression(found)["cast_type"] = kind
            found["statements"][0]["node"]["from_table"] = {"type": "BASE_TABLE", "query_location": 30, "table_name": "__batch"}
            return newer(found, statement)

    with pytest.raises(Mistake, match="expected a plain type"):
        parse(Answers(), "a::int")


def test_a_node_without_a_rule_does_not_go_back() -> None:
    with pytest.raises(Unknown, match="WINDOW"):
        older({"class": "WINDOW", "type": "WINDOW_AGGREGATE"})
    with pytest.raises(Unknown, match="HEX"):
        older({"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": {"kind": "HEX", "text": "00"}})


BATCH = pa.record_batch(
    {
        "s": ["axb", "y"],
        "l": [[1, 2, 3], [4]],
        "f": [1.5, math.nan],
        "t": [True, False],
        "n": [1, 2],
        "j": ['{"b": {"c": 1}}', '{"b": 2}'],
    }
)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("s ~ 'x'", [True, False]),
        ("s !~ 'x'", [False, True]),
        ("s SIMILAR TO 'x'", [False, False]),
        ("NOT (f > 1)", [False, True]),
        ("NOT (NOT (f > 1))", [True, False]),
        ("NOT (NOT (NOT (f > 1)))", [False, True]),
        ("NOT ((NOT t) = t)", [True, True]),
        ("NOT (if(NOT t, 1, 2) > 1)", [False, True]),
        ("NOT (coalesce(NOT t, t) = t)", [True, True]),
        ("NOT (t IS TRUE)", [False, True]),
        ("n NOT IN (1, 3)", [False, True]),
        ("l[2:]", [[2, 3], []]),
        ("l[:1]", [[1], [4]]),
        ("l[:-:2]", [[1, 3], [4]]),
        ("typeof(1e3)", ["DOUBLE", "DOUBLE"]),
        ("typeof(.5)", ["DECIMAL(1,1)", "DECIMAL(1,1)"]),
        ("typeof(1.50)", ["DECIMAL(3,2)", "DECIMAL(3,2)"]),
        ("typeof(100000000000)", ["BIGINT", "BIGINT"]),
        ("1e300 * 10", [1e301, 1e301]),
        ("12345678901234567890 - 12345678901234567889 + n", [2, 3]),
        ("3!", [6, 6]),
        ("j->'b'->>'c'", ["1", None]),
        ("(n, s)", [{"element1": 1, "element2": "axb"}, {"element1": 2, "element2": "y"}]),
        ("{'x': n}", [{"x": 1}, {"x": 2}]),
        ("s LIKE 'a$%' ESCAPE '$'", [False, False]),
        ("trim(s) || position('x' IN s)", ["axb2", "y0"]),
        ("n /* now(*) */ + 1 -- and", [2, 3]),
        ("NULL", [None, None]),
        ("CASE WHEN CAST(s AS VARCHAR) = 'y' THEN true ELSE false END", [False, True]),
    ],
)
def test_a_text_means_the_same_on_both_lines(sql: str, expected: list[Any]) -> None:
    found = Expression(sql, BATCH.schema).evaluate(BATCH)

    assert (found.array.to_pylist(), found.bad) == (expected, [])


def test_a_part_that_occurs_twice_fails_only_where_it_fails() -> None:
    batch = pa.record_batch({"a": ["1", "x", "3"]})
    found = Expression("CASE WHEN CAST(a AS INT) > 1 THEN CAST(a AS INT) ELSE 7 END", batch.schema).evaluate(batch)

    assert (found.array.to_pylist(), found.bad) == ([7, None, 3], [1])
    assert found.reasons == ["CAST(a AS INT): the value cannot be converted to INTEGER"]


@pytest.mark.parametrize(
    "sql", ["concat(s, *)", "concat(j.*)", "[*]", "concat(*COLUMNS(*))", "NOT ($1 > n)", "CAST(s AS VARCHAR COLLATE de)"]
)
def test_stars_and_parameters_are_refused_wherever_they_stand(sql: str) -> None:
    with pytest.raises(PlanError) as raised:
        Expression(sql, BATCH.schema)
    assert raised.value.code == "expression-invalid"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("CAST(s AS INT) + n::int", ["CAST(s AS INT)", "n::int", "CAST(s AS INT) + n::int"]),
        ("upper(trim(s))", ["trim(s)", "upper(trim(s))"]),
        ("CASE WHEN t THEN s END", ["CASE WHEN t THEN s END"]),
        ("coalesce(s, ')')", ["coalesce(s, ')')"]),
        ("DATE '2020-01-01'", ["DATE '2020-01-01'"]),
        ("n + INTERVAL 1 DAY", ["INTERVAL 1 DAY"]),
        ("[n, 2]", ["[n, 2]"]),
        ("l[1]", ["l[1]"]),
        ("'é' || s::decimal(3, 1)", ["s::decimal(3, 1)", "'é' || s::decimal(3, 1)"]),
        ("n IS NOT NULL", ["n IS NOT NULL"]),
        ("n IN (1, 2)", ["n IN (1, 2)"]),
    ],
)
def test_parts_are_found_in_the_text(text: str, parts: list[str]) -> None:
    engine = Engine()
    node = parse(engine, text)
    engine.close()
    spans = [text.encode()[begin:end].decode() for begin, end in map(span, walk(node))]

    assert [part for part in parts if part not in spans] == []
