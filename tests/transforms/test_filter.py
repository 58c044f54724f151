from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.transforms.filter import Filter

pytestmark = pytest.mark.usefixtures("evaluated_by")

BATCH = pa.record_batch(
    {
        "id": [1, 2, 3, 4, 5],
        "age": pa.array([17, 18, None, 40, 65], pa.int16()),
        "amount": [10.0, math.nan, 20.0, None, 5.0],
        "email": ["a@x.com", "b@y.org", None, "c@x.com", ""],
        "born": pa.array([dt.date(2007, 1, 1), dt.date(2006, 1, 1), None, dt.date(1984, 5, 5), dt.date(1959, 9, 9)]),
        "price": pa.array([Decimal("1.10"), Decimal("2.20"), None, Decimal("3.30"), Decimal("4.40")], pa.decimal128(6, 2)),
        "address": [{"city": "Bonn"}, {"city": "Köln"}, None, {"city": None}, {"city": "bonn"}],
        "phones": [["1"], [], None, ["2", "3"], ["4"]],
    }
)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("age >= 18", [2, 4, 5]),
        ("amount > 5", [1, 3]),
        ("email LIKE '%@x.com'", [1, 4]),
        ({"field": "age", "operator": "gte", "value": 18}, [2, 4, 5]),
        ({"field": "age", "operator": ">=", "value": 18}, [2, 4, 5]),
        ({"field": "age", "operator": "=", "value": 40}, [4]),
        ({"field": "age", "operator": "<>", "value": 40}, [1, 2, 5]),
        ({"field": "amount", "operator": ">", "value": 5}, [1, 3]),
        ({"field": "amount", "operator": "<", "value": 100}, [1, 3, 5]),
        ({"not": {"field": "amount", "operator": ">", "value": 5}}, [2, 5]),
        ({"field": "age", "operator": "in", "value": [17, 65]}, [1, 5]),
        ({"field": "age", "operator": "not_in", "value": [17, 65]}, [2, 4]),
        ({"field": "age", "operator": "between", "value": [18, 40]}, [2, 4]),
        ({"field": "amount", "operator": "between", "value": [5, 10]}, [1, 5]),
        ({"field": "age", "operator": "is_null"}, [3]),
        ({"field": "age", "operator": "not_null"}, [1, 2, 4, 5]),
        ({"field": "email", "operator": "contains", "value": "@x"}, [1, 4]),
        ({"field": "email", "operator": "starts_with", "value": "b@"}, [2]),
        ({"field": "email", "operator": "ends_with", "value": ".org"}, [2]),
        ({"field": "email", "operator": "matches", "value": "^[ab]@"}, [1, 2]),
        ({"field": "email", "operator": "eq", "value": "it's"}, []),
        ({"field": "born", "operator": "lt", "value": "1990-01-01"}, [4, 5]),
        ({"field": "born", "operator": "in", "value": ["1959-09-09"]}, [5]),
        ({"field": "price", "operator": "gt", "value": 2.2}, [4, 5]),
        ({"field": "address.city", "operator": "eq", "value": "Bonn"}, [1]),
        ({"field": "phones[1]", "operator": "eq", "value": "3"}, [4]),
        ({"field": "phones[0]", "operator": "is_null"}, [2, 3]),
        ({"all": [{"field": "age", "operator": "gt", "value": 17}, "amount < 100"]}, [5]),
        ({"any": [{"field": "age", "operator": "is_null"}, {"all": ["id = 1", "age < 18"]}]}, [1, 3]),
        ({"not": {"any": ["age < 18", "email IS NULL"]}}, [2, 4, 5]),
        ("true", [1, 2, 3, 4, 5]),
        ("NULL", []),
        ("age > 1000", []),
    ],
)
def test_a_row_is_kept_where_the_condition_is_true(run: Callable[..., Any], condition: Any, expected: list[int]) -> None:
    done = run({"type": "filter", "condition": condition}, BATCH)
    assert [row["id"] for row in done.rows] == expected
    assert [place["row"] for place in done.origins] == [id_ - 1 for id_ in expected]
    assert done.applied.filtered == 5 - len(expected)
    assert done.schema == BATCH.schema


def test_a_batch_that_passes_whole_is_not_copied(run: Callable[..., Any]) -> None:
    done = run({"type": "filter", "condition": "id > 0"}, BATCH)
    assert done.applied.batches[0] is done.batch


def test_a_row_on_which_the_condition_fails_is_a_dead_letter(run: Callable[..., Any]) -> None:
    batch = pa.record_batch({"v": ["5", "x", None, "1"]})
    done = run({"type": "filter", "condition": "CAST(v AS INTEGER) > 3"}, batch)
    assert done.rows == [{"v": "5"}]
    assert done.applied.filtered == 2
    assert done.dead == {1: ("expression-failed", "CAST(v AS INTEGER): the value cannot be converted to INTEGER")}


def test_with_required_false_such_a_row_passes_in_its_place_and_is_counted(run: Callable[..., Any]) -> None:
    batch = pa.record_batch({"v": ["5", "x", None, "7"]})
    done = run({"type": "filter", "condition": "CAST(v AS INTEGER) > 3", "required": False}, batch)
    assert [row["v"] for row in done.rows] == ["5", "x", "7"]
    assert (done.applied.filtered, done.applied.nulled, done.dead) == (1, 1, {})


def test_now_is_the_start_of_the_run(run: Callable[..., Any]) -> None:
    batch = pa.record_batch({"at": pa.array([dt.datetime(2024, 4, 30), dt.datetime(2024, 5, 2)], pa.timestamp("us", "UTC"))})
    assert len(run({"type": "filter", "condition": '"at" < now()'}, batch).rows) == 1


@pytest.mark.parametrize(
    ("condition", "code", "path", "message"),
    [
        ("agee > 1", "column-missing", "condition", "no field 'agee'"),
        ("age + 1", "expression-invalid", "condition", "expected a condition, which is true or false"),
        ("email > 5", "expression-invalid", "condition", ""),
        ({"field": "agee", "operator": "gt", "value": 1}, "column-missing", "condition.field", "no field 'agee'"),
        (
            {"any": ["id = 1", {"field": "adress.city", "operator": "is_null"}]},
            "column-missing",
            "condition.any[1].field",
            "no field 'adress'",
        ),
        ({"not": {"field": "born", "operator": "gt", "value": "soon"}}, "expression-invalid", "condition.not", "got 'soon'"),
        ({"field": "age", "operator": "contains", "value": "1"}, "expression-invalid", "condition", "contains"),
        ({"field": "phones.x", "operator": "is_null"}, "column-missing", "condition.field", "not in a struct"),
    ],
)
def test_a_condition_that_does_not_fit_is_found_at_plan_time(condition: Any, code: str, path: str, message: str) -> None:
    step = Filter(FilterStep.model_validate({"id": "f", "type": "filter", "condition": condition}), "pipeline.transformations[3]")
    with pytest.raises(PlanError) as raised:
        step.plan(BATCH.schema, None)
    assert raised.value.code == code
    assert raised.value.problems[0].path == f"pipeline.transformations[3].{path}"
    assert message in raised.value.problems[0].message


def test_apply_needs_open() -> None:
    step = Filter(FilterStep.model_validate({"id": "f", "type": "filter", "condition": "true"}), "p")
    with pytest.raises(FatalError, match="was not opened"):
        step.apply(BATCH)


def test_views_that_arrow_cannot_filter_are_taken(run: Callable[..., Any]) -> None:
    batch = pa.record_batch({"v": pa.array(["a", "b", "c"], pa.string_view()), "l": pa.array([[1], [2], None], pa.list_view(pa.int64()))})
    assert run({"type": "filter", "condition": "v <> 'b'"}, batch).rows == [{"v": "a", "l": [1]}, {"v": "c", "l": None}]


ints = st.one_of(st.none(), st.integers(-3, 3))
floats = st.one_of(st.none(), st.sampled_from([math.nan, -0.0, 0.0, 1.5, -2.0, math.inf]))
words = st.one_of(st.none(), st.sampled_from(["", "a", "ab", "b%", "it's", "A"]))
tables = st.lists(st.tuples(ints, floats, words), min_size=1, max_size=12)
SIGNS = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def _sql_value(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> tuple[Any, str]:
    """A structured condition and the same in SQL, written by hand."""
    kind = draw(st.sampled_from(["compare", "compare", "in", "null", "text", "between", *(["all", "any", "not"] if depth else [])]))
    if kind in ("all", "any"):
        parts = draw(st.lists(conditions(depth - 1), min_size=1, max_size=3))
        word = " AND " if kind == "all" else " OR "
        return {kind: [part for part, _ in parts]}, "(" + word.join(sql for _, sql in parts) + ")"
    if kind == "not":
        part, sql = draw(conditions(depth - 1))
        return {"not": part}, f"(NOT {sql})"
    field = draw(st.sampled_from(["i", "f", "w"]))
    value = draw({"i": st.integers(-3, 3), "f": st.sampled_from([0.0, 1.5, -2.0, 1]), "w": st.sampled_from(["", "a", "ab", "it's"])}[field])
    if kind == "in":
        negated = draw(st.booleans())
        return {
            "field": field,
            "operator": "not_in" if negated else "in",
            "value": [value],
        }, f"({field} {'NOT ' if negated else ''}IN ({_sql_value(value)}))"
    if kind == "null":
        return {"field": field, "operator": "is_null"}, f"({field} IS NULL)"
    if kind == "text":
        word = draw(st.sampled_from(["", "a", "b%", "'"]))
        operator = draw(st.sampled_from(["contains", "starts_with", "ends_with"]))
        return {"field": "w", "operator": operator, "value": word}, f"{operator}(w, {_sql_value(word)})"
    if kind == "between":
        return {
            "field": field,
            "operator": "between",
            "value": [value, value],
        }, f"({field} BETWEEN {_sql_value(value)} AND {_sql_value(value)})"
    operator = draw(st.sampled_from(list(SIGNS)))
    return {"field": field, "operator": operator, "value": value}, f"({field} {SIGNS[operator]} {_sql_value(value)})"


def _truth(condition: Any, row: dict[str, Any]) -> bool | None:
    """What a structured condition means, without any engine: three-valued logic, NaN in no order but equal to itself."""
    if "all" in condition:
        parts = [_truth(part, row) for part in condition["all"]]
        return False if False in parts else None if None in parts else True
    if "any" in condition:
        parts = [_truth(part, row) for part in condition["any"]]
        return True if True in parts else None if None in parts else False
    if "not" in condition:
        part = _truth(condition["not"], row)
        return None if part is None else not part
    value, operator, given = row[condition["field"]], condition["operator"], condition.get("value")
    if operator == "is_null":
        return value is None
    if value is None:
        return None
    if operator in ("in", "not_in"):
        return (value in given) == (operator == "in")
    if operator == "between":
        return bool(given[0] <= value <= given[1])
    texts = {"contains": lambda: given in value, "starts_with": lambda: value.startswith(given), "ends_with": lambda: value.endswith(given)}
    if operator in texts:
        return bool(texts[operator]())
    return bool(
        {
            "eq": value == given,
            "ne": value != given,
            "lt": value < given,
            "lte": value <= given,
            "gt": value > given,
            "gte": value >= given,
        }[operator]
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=tables, condition=conditions())
def test_structured_sql_and_meaning_agree_over_nulls_and_nan(
    run: Callable[..., Any], rows: list[tuple[Any, ...]], condition: tuple[Any, str]
) -> None:
    structured, sql = condition
    batch = pa.record_batch(
        {
            "n": list(range(len(rows))),
            "i": pa.array([row[0] for row in rows], pa.int64()),
            "f": pa.array([row[1] for row in rows], pa.float64()),
            "w": pa.array([row[2] for row in rows], pa.string()),
        }
    )
    by_structure = [row["n"] for row in run({"type": "filter", "condition": structured}, batch).rows]
    by_sql = [row["n"] for row in run({"type": "filter", "condition": sql}, batch).rows]
    meant = [n for n, (i, f, w) in enumerate(rows) if _truth(structured, {"i": i, "f": f, "w": w})]
    assert by_structure == by_sql == meant


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.sampled_from(["1", "5", "x", None, ""]), min_size=1, max_size=20), cut=st.integers(0, 20), required=st.booleans())
def test_where_a_batch_is_cut_does_not_matter(
    cut_anywhere: Callable[..., None], values: list[str | None], cut: int, required: bool
) -> None:
    batch = pa.record_batch({"v": pa.array(values, pa.string())})
    cut_anywhere({"type": "filter", "condition": "CAST(v AS INTEGER) > 3", "required": required}, batch, cut)


def test_a_number_of_more_than_64_bits_is_compared_as_it_is(run: Any) -> None:
    batch = pa.record_batch({"id": pa.array([1, 2**63 - 1], pa.int64())})
    condition = {"field": "id", "operator": "lt", "value": 2**70}
    assert run({"type": "filter", "condition": condition}, batch).rows == [{"id": 1}, {"id": 2**63 - 1}]
