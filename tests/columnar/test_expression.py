from __future__ import annotations

import datetime as dt
import math
import time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar.expression import Engine, Expression, Scope, column, comparison, literal
from beam_pipelines.errors import FatalError, PlanError

pytestmark = pytest.mark.usefixtures("evaluated_by")

NOW = dt.datetime(2024, 2, 29, 23, 30, 15, 123456, tzinfo=dt.timezone(dt.timedelta(hours=-1)))


def values(sql: str, batch: pa.RecordBatch) -> list[Any]:
    expression = Expression(sql, batch.schema, now=NOW)
    found = expression.evaluate(batch)
    expression.close()
    assert found.bad == []
    assert found.array.type == expression.type
    return list(found.array.to_pylist())


def refusal(sql: str, schema: pa.Schema) -> PlanError:
    with pytest.raises(PlanError) as raised:
        Expression(sql, schema, path="steps[0].condition")
    assert raised.value.problems[0].path == "steps[0].condition"
    return raised.value


PEOPLE = pa.record_batch(
    {
        "id": pa.array([1, 2, 3], pa.int32()),
        "name": ["Ann", None, "bob"],
        "amount": pa.array([Decimal("1.50"), Decimal("-2.25"), None], pa.decimal128(10, 2)),
        "score": [0.5, math.nan, None],
        "born": pa.array([dt.date(2000, 1, 31), None, dt.date(1999, 12, 1)]),
        "address": [{"city": "Bonn", "geo": {"lat": 50.7}}, None, {"city": None, "geo": None}],
        "phones": [["1", "2"], [], None],
        "raw": ['{"a": {"b": 7}}', "{}", None],
    }
)


def test_null_stays_null_and_arithmetic_keeps_types() -> None:
    assert values("amount * 2", PEOPLE) == [Decimal("3.00"), Decimal("-4.50"), None]
    assert values("upper(name) || '!'", PEOPLE) == ["ANN!", None, "BOB!"]
    assert values("coalesce(name, 'nobody')", PEOPLE) == ["Ann", "nobody", "bob"]
    assert values("CASE WHEN id > 1 THEN 'big' END", PEOPLE) == [None, "big", "big"]
    assert Expression("born + INTERVAL 1 MONTH", PEOPLE.schema).type == pa.timestamp("us")


def test_fields_of_structs_elements_of_lists_and_json_are_reached() -> None:
    assert values("address.city", PEOPLE) == ["Bonn", None, None]
    assert values("address.geo.lat", PEOPLE) == [50.7, None, None]
    assert values("phones[1]", PEOPLE) == ["1", None, None]
    assert values("raw->'$.a'->>'b'", PEOPLE) == ["7", None, None]
    assert values("len(phones)", PEOPLE) == [2, 0, None]


def test_names_with_odd_characters_case_and_reserved_words_are_fields() -> None:
    batch = pa.record_batch({"select": [1], 'we "ird': [2], "Größe": [3], "Name": ["x"], "c0": [5], "a.b": [6]})
    assert values('"select" + "we ""ird" + größe + c0 + "a.b"', batch) == [17]
    assert values("name || NAME", batch) == ["xx"]
    assert values("c0", batch) == [5]


def test_a_field_is_found_by_its_exact_case_first_and_else_must_be_unambiguous() -> None:
    batch = pa.record_batch({"id": [1], "ID": [2]})
    assert values("id * 10 + ID", batch) == [12]
    error = refusal("Id", batch.schema)
    assert error.code == "column-missing"
    assert "names 2 fields" in error.problems[0].message


def test_now_is_the_start_of_the_run_in_utc() -> None:
    batch = pa.record_batch({"id": [1, 2]})
    utc = NOW.astimezone(dt.timezone.utc)
    for sql in ("now()", "current_timestamp", "get_current_timestamp()"):
        assert values(sql, batch) == [utc, utc]
    assert values("current_date", batch) == [dt.date(2024, 3, 1)] * 2
    assert values("today()", batch) == [dt.date(2024, 3, 1)] * 2
    assert values("localtimestamp", batch) == [utc.replace(tzinfo=None)] * 2


def test_a_row_that_fails_costs_that_row_and_says_why_without_its_value() -> None:
    batch = pa.record_batch({"text": ["1", None, "secret-7", " 3 ", "99999999999"]})
    found = Expression("CAST(text AS INTEGER)", batch.schema).evaluate(batch)
    assert found.array.to_pylist() == [1, None, None, 3, None]
    assert found.bad == [2, 4]
    assert found.reasons == ["CAST(text AS INTEGER): the value cannot be converted to INTEGER"] * 2
    assert not any("secret" in reason or "99999999999" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("sql", "value", "word"),
    [
        ("CAST(v AS DATE)", "31.12.2024", "DATE"),
        ("CAST(v AS TIMESTAMP)", "payload", "TIMESTAMP"),
        ("strptime(v, '%Y')", "payload", "format"),
        ("json_extract(v, '$.a')", "{payload", "JSON"),
        ("CAST(v AS DECIMAL(3, 1))", "payload", "DECIMAL"),
        ("CAST(v AS BOOLEAN)", "payload", "BOOLEAN"),
        ("regexp_matches('a', v)", "(payload", "regular expression"),
        ("length(v) * 9223372036854775807", "payload", "out of range"),
        ("decode(from_hex('ff' || substr(v, 1, 0)))", "payload", "decoded"),
    ],
)
def test_reasons_name_what_was_expected_and_hold_no_payload(sql: str, value: str, word: str) -> None:
    batch = pa.record_batch({"v": [value]})
    found = Expression(sql, batch.schema).evaluate(batch)
    assert found.bad == [0]
    assert word in found.reasons[0]
    assert "payload" not in found.reasons[0]
    assert "31.12" not in found.reasons[0]


def test_the_part_that_failed_is_named_for_each_row() -> None:
    batch = pa.record_batch({"a": ["1", "x", "3", "y"], "b": ["1", "2", "z", "y"]})
    found = Expression("CAST(a AS INT) + CAST(b AS\n  INT) > 0", batch.schema).evaluate(batch)
    first, second = "CAST(a AS INT): the value cannot be converted to INTEGER", "CAST(b AS INT): the value cannot be converted to INTEGER"
    assert found.bad == [1, 2, 3]
    assert found.reasons == [first, second, first]
    assert Expression("b::int", batch.schema).evaluate(batch).reasons == ["b::int: the value cannot be converted to INTEGER"] * 2


def test_what_is_tried_by_the_user_is_null_and_no_failure() -> None:
    batch = pa.record_batch({"v": ["1", "x", None]})
    for sql in ("TRY(CAST(v AS INTEGER))", "TRY_CAST(v AS INTEGER)"):
        assert values(sql, batch) == [1, None, None]


def test_a_whole_batch_of_failures_is_explained_at_once() -> None:
    batch = pa.record_batch({"v": ["x", "1"] * 20_000})
    expression = Expression("CAST(v AS BIGINT)", batch.schema)
    start = time.process_time()
    found = expression.evaluate(batch)
    assert time.process_time() - start < 5
    assert found.bad == list(range(0, 40_000, 2))
    assert set(found.reasons) == {"CAST(v AS BIGINT): the value cannot be converted to BIGINT"}
    assert found.array.null_count == 20_000


def test_nan_is_not_greater_than_anything_and_null_is_unknown() -> None:
    nan = math.nan
    batch = pa.record_batch({"x": [1.0, nan, None, nan, 2.0], "y": [2.0, 2.0, 2.0, nan, nan]})
    assert values("x > y", batch) == [False, False, None, False, False]
    assert values("x >= y", batch) == [False, False, None, True, False]
    assert values("x < y", batch) == [True, False, None, False, False]
    assert values("x <= y", batch) == [True, False, None, True, False]
    assert values("x = y", batch) == [False, False, None, True, False]
    assert values("x <> y", batch) == [True, True, None, False, True]
    assert values("x > 0", batch) == [True, False, None, False, True]
    assert values("x BETWEEN 0 AND y", batch) == [True, False, None, False, False]
    assert values("NOT (x > y)", batch) == [True, True, None, True, True]
    assert values("CASE WHEN x > 0 THEN 'pos' ELSE 'no' END", batch) == ["pos", "no", "no", "no", "pos"]


@pytest.mark.parametrize("sql", ["x > NULL", "x >= NULL", "x < NULL", "x <= NULL", "NULL > x", "NULL >= x", "NULL < x", "NULL <= x"])
def test_nan_compared_with_a_null_that_is_written_is_unknown(sql: str) -> None:
    batch = pa.record_batch({"x": [1.0, math.nan, None]})
    assert values(sql, batch) == [None, None, None]
    assert values(f"NOT ({sql})", batch) == [None, None, None]


def test_nan_between_bounds_of_which_one_is_null_is_unknown_where_the_other_does_not_decide() -> None:
    batch = pa.record_batch({"x": [1.0, math.nan, None]})
    assert values("x BETWEEN NULL AND NULL", batch) == [None, None, None]
    # NaN is neither at least 0 nor at most 5, so that the other bound does not matter.
    assert values("x BETWEEN 0 AND NULL", batch) == [None, False, None]
    assert values("x BETWEEN NULL AND 5", batch) == [None, False, None]


def test_negative_zero_equals_zero() -> None:
    batch = pa.record_batch({"x": [-0.0]})
    assert values("x = 0.0 AND x >= 0 AND x <= 0 AND NOT x < 0", batch) == [True]


numbers = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=64), st.sampled_from([math.nan, -0.0, 0.0, 1.0]))


def _compare(sign: str, left: float | None, right: float | None) -> bool | None:
    """The contract, in Python: SQL's null, NaN = NaN, and otherwise NaN is in no order (as in IEEE 754)."""
    if left is None or right is None:
        return None
    equal = left == right or (math.isnan(left) and math.isnan(right))
    return {"=": equal, "<>": not equal, "<": left < right, ">": left > right, "<=": left < right or equal, ">=": left > right or equal}[
        sign
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20), st.sampled_from(["=", "<>", "<", ">", "<=", ">="]))
def test_comparisons_mean_what_the_contract_says(pairs: list[tuple[float | None, float | None]], sign: str) -> None:
    batch = pa.record_batch({"x": pa.array([a for a, _ in pairs], pa.float64()), "y": pa.array([b for _, b in pairs], pa.float64())})
    assert values(f"x {sign} y", batch) == [_compare(sign, a, b) for a, b in pairs]


@pytest.mark.parametrize(
    ("sql", "message", "position"),
    [
        ("amount >", "got the end of the expression", 9),
        ("amount + ) 1", "syntax error", 10),
        ("amoun > 1", "no field 'amoun'", 1),
        ("id > 1 AND nam = 'x'", "no field 'nam'", 12),
        ("id + upper(born)", "upper(DATE)", 6),
        ("'éé' || nam", "no field 'nam'", 9),
        ("id = 'abc'", "expected text that is a INTEGER, got 'abc'", 6),
        ("born IN ('2024-01-01', 'soon')", "got 'soon'", 24),
        ("address.town", "no field 'town'", 1),
        ("name.first", "not in a struct", 1),
        ("'unterminated", "unterminated", 1),
        ("regexp_matches(name, '(')", "missing )", 1),
        ("id > 0 AND name ~ '(?=a)'", "invalid perl operator", 17),
        ("id = 1 OR timezone('Europe/Nowhere', now()) > born", "Nowhere", 11),
        ("born + INTERVAL 'x day'", "to INTERVAL", 8),
        ("date_part('foo', born) = 1", "not recognized", 1),
        ("born > CAST('soon' AS DATE)", "soon", 8),
        ("strftime(born, '%Q')", "%Q", 1),
        ("", "empty", 0),
        ("id > 1) OR (1 = 1", "", 7),
    ],
)
def test_mistakes_are_found_before_the_run_with_their_position(sql: str, message: str, position: int) -> None:
    if sql == "id > 1) OR (1 = 1":  # two brackets that close and open ours: one expression after all
        assert values(sql, PEOPLE) == [True, True, True]
        return
    problem = refusal(sql, PEOPLE.schema).problems[0]
    assert message in problem.message
    if position:
        assert problem.message.endswith(f"at character {position}")


def test_a_misspelt_name_is_answered_by_the_nearest() -> None:
    assert refusal("amoun > 1", PEOPLE.schema).problems[0].hint == "did you mean amount?"
    assert "upper" in refusal("uper(name)", PEOPLE.schema).problems[0].hint


def test_types_are_checked_against_the_schema() -> None:
    assert Expression("id > 1", PEOPLE.schema).type == pa.bool_()
    assert Expression("round(score * 1.1, 2)", PEOPLE.schema).type == pa.float64()
    with pytest.raises(FatalError, match="expected int32 in 'id' as planned, got int64"):
        Expression("id > 1", PEOPLE.schema).evaluate(PEOPLE.set_column(0, "id", pa.array([1, 2, 3])))


def test_dictionaries_views_and_uuids_are_read_with_one_type_whatever_the_batch() -> None:
    for country in ("de", "fr"):
        batch = pa.record_batch(
            {
                "country": pa.array([country, None]).dictionary_encode(),
                "view": pa.array(["a", None], pa.string_view()),
                "id": pa.array([bytes(16), None], pa.uuid()),
            }
        )
        assert values("country = 'de'", batch) == [country == "de", None]
        assert values("upper(view)", batch) == ["A", None]
        assert values("CAST(id AS VARCHAR)", batch) == ["00000000-0000-0000-0000-000000000000", None]


def test_a_type_that_the_engine_cannot_read_is_refused_only_where_it_is_used() -> None:
    batch = pa.record_batch({"big": pa.array([1], pa.decimal256(50, 2)), "id": [1]})
    assert values("id", batch) == [1]
    assert refusal("big > 1", batch.schema).code == "type-unsupported"


def test_an_empty_batch_has_empty_values() -> None:
    found = Expression("id + 1", PEOPLE.schema).evaluate(PEOPLE.slice(0, 0))
    assert (len(found.array), found.array.type, found.bad) == (0, pa.int32(), [])


def test_slices_and_columns_that_are_not_planned_do_not_matter() -> None:
    wider = pa.record_batch([pa.array(["x"] * 3), *PEOPLE.columns], names=["extra", *PEOPLE.schema.names])
    assert Expression("id * 2", PEOPLE.schema).evaluate(wider.slice(1, 2)).array.to_pylist() == [4, 6]


def test_several_expressions_are_evaluated_together_and_keep_their_own_failures() -> None:
    batch = pa.record_batch({"a": ["1", "x"], "b": ["y", "2"]})
    with Scope(batch.schema) as scope:
        terms = [scope.compile("CAST(a AS INT)"), scope.compile("CAST(b AS INT)"), scope.compile("a || b")]
        first, second, third = scope.evaluate(terms, batch)
    assert (first.array.to_pylist(), first.bad) == ([1, None], [1])
    assert (second.array.to_pylist(), second.bad) == ([None, 2], [0])
    assert (third.array.to_pylist(), third.bad) == (["1y", "x2"], [])


def test_trees_made_by_a_program_are_joined_with_compiled_text() -> None:
    batch = pa.record_batch({"x": [1.0, math.nan, None, 5.0], "c0": ["a", "a", "a", "b"]})
    with Scope(batch.schema) as scope:
        left = scope.build(comparison("COMPARE_GREATERTHAN", column("x"), literal(0)))
        right = scope.compile("c0 = 'a'")
        both = scope.evaluate([scope.join("AND", [left, right])], batch)[0].array.to_pylist()
        either = scope.evaluate([scope.join("OR", [left, right])], batch)[0].array.to_pylist()
        neither = scope.evaluate([scope.join("NOT", [left])], batch)[0].array.to_pylist()
    assert both == [True, False, None, False]
    assert either == [True, True, True, True]
    assert neither == [False, True, None, False]


texts = st.one_of(st.none(), st.sampled_from(["1", "2.5", "x", "", "1e3", " 7", "nan"]), st.text(max_size=4))


@settings(max_examples=40, deadline=None)
@given(st.lists(texts, min_size=1, max_size=30), st.integers(0, 30))
def test_where_a_batch_is_cut_does_not_matter(column_values: list[str | None], cut: int) -> None:
    batch = pa.record_batch({"v": pa.array(column_values, pa.string())})
    with Scope(batch.schema) as scope:
        terms = [scope.compile("CAST(v AS DOUBLE) > 1"), scope.compile("v || '-' || upper(v)"), scope.compile("repeat(v, length(v))")]
        whole = scope.evaluate(terms, batch)
        parts = [scope.evaluate(terms, part) for part in (batch.slice(0, cut), batch.slice(cut))]
    for number in range(len(terms)):
        first, second = parts[0][number], parts[1][number]
        shift = min(cut, batch.num_rows)
        assert whole[number].array.to_pylist() == first.array.to_pylist() + second.array.to_pylist()
        assert whole[number].bad == [*first.bad, *(row + shift for row in second.bad)]
        assert whole[number].reasons == [*first.reasons, *second.reasons]


def test_a_step_that_is_opened_again_neither_compiles_nor_connects_again() -> None:
    batch = pa.record_batch({"a": [1, 2]})
    Expression("a * 3 % 10", batch.schema).close()
    first = Engine()
    first.parse("SELECT 1")
    connection = first._connection
    first.close()
    again = Engine()
    scope = Scope(batch.schema, engine=again)
    term = scope.compile("a * 3 % 10")
    assert again._held is None
    assert scope.evaluate([term], batch)[0].array.to_pylist() == [3, 6]
    assert again._held is connection
    with Scope(pa.schema([("a", pa.string())])) as other, pytest.raises(PlanError):
        other.compile("a * 3 % 10")


def test_the_clock_is_never_remembered() -> None:
    batch = pa.record_batch({"a": [1]})
    for year in (2020, 2021):
        found = Expression("year(now())", batch.schema, now=dt.datetime(year, 1, 1, tzinfo=dt.timezone.utc)).evaluate(batch)
        assert found.array.to_pylist() == [year]
