from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from beam_pipelines.spec import (
    AllOf,
    Comparison,
    Converter,
    FileSource,
    FilterStep,
    FunctionStep,
    JoinStep,
    MapStep,
    Measure,
    Processor,
    Source,
    Transformation,
    TumblingWindow,
    WindowStep,
    every_step,
)

STEP: TypeAdapter[Any] = TypeAdapter(Transformation)
PROCESSOR: TypeAdapter[Any] = TypeAdapter(Processor)


def messages(data: dict[str, Any], adapter: TypeAdapter[Any] = STEP) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(data)
    return [error["msg"] for error in caught.value.errors()]


def test_a_function_may_name_a_handler_and_its_output() -> None:
    step = STEP.validate_python({"id": "a", "type": "function", "handler": "crm.rules:normalize", "output": {"id": "bigint"}})
    assert isinstance(step, FunctionStep)
    assert (step.handler, step.output, step.required) == ("crm.rules:normalize", {"id": "bigint"}, True)
    assert messages({"id": "a", "type": "function", "handler": "crm.rules"}) == ["expected module:function, got 'crm.rules'"]


@pytest.mark.parametrize(
    ("written", "converter"),
    [
        ("trim", Converter(name="trim")),
        ("round(2)", Converter(name="round", args=(2,))),
        ("decimal(10, 2)", Converter(name="decimal", args=(10, 2))),
        ("round( -1.5 )", Converter(name="round", args=(-1.5,))),
        ("timestamp('%d.%m.%Y, %H', Europe/Berlin)", Converter(name="timestamp", args=("%d.%m.%Y, %H", "Europe/Berlin"))),
        ("null_if('it''s')", Converter(name="null_if", args=("it's",))),
        ({"name": "date", "format": "%d.%m.%Y"}, Converter(name="date", options={"format": "%d.%m.%Y"})),
    ],
)
def test_a_converter_is_a_word_a_call_or_a_mapping(written: object, converter: Converter) -> None:
    step = STEP.validate_python({"id": "m", "type": "map", "mappings": {"x": {"source": "y", "converter": written}}})
    assert step.mappings["x"].converter == converter


@pytest.mark.parametrize("written", ["round(", "round(2", "a b", "round(2))", "round(;)", 5, {"format": "x"}, ""])
def test_what_is_no_converter_is_refused(written: object) -> None:
    (message,) = messages({"id": "m", "type": "map", "mappings": {"x": {"source": "y", "converter": written}}})
    assert message.startswith("expected")


def test_a_mapping_needs_one_of_source_and_expression() -> None:
    step = STEP.validate_python({"id": "m", "type": "map", "mappings": {"address.city": {"source": "city", "default": "?"}}})
    assert isinstance(step, MapStep)
    assert (step.unmapped, step.on_error) == ("drop", "deadletter")
    assert messages({"id": "m", "type": "map", "mappings": {"x": {"default": 1}}}) == ["expected 'source' or 'expression', got neither"]
    assert messages({"id": "m", "type": "map", "mappings": {"x": {"source": "a", "expression": "b"}}}) == [
        "expected 'source' or 'expression', got both"
    ]
    assert messages({"id": "m", "type": "map", "mappings": {"x": "y"}}) == ["expected a mapping, got 'y'"]


def test_a_condition_is_text_or_structured_and_nests() -> None:
    condition = {"all": [{"field": "age", "operator": ">=", "value": 18}, {"not": {"any": ["a IS NULL", "b"]}}]}
    step = STEP.validate_python({"id": "f", "type": "filter", "condition": condition})
    assert isinstance(step, FilterStep)
    assert isinstance(step.condition, AllOf)
    assert step.condition.all_of[0] == Comparison(field="age", operator="gte", value=18)
    assert STEP.validate_python({"id": "f", "type": "filter", "condition": "age > 3"}).condition == "age > 3"


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("in", 3, "expected a list beside 'in', got 3"),
        ("between", [1], "expected [least, greatest] beside 'between', got 1 entries"),
        ("in", [1, None], "expected values that are not null beside 'in'"),
        ("eq", None, "expected 'value' beside 'eq', which is missing"),
        (">", [3], "expected one value beside 'gt', got a list"),
        ("is_null", 3, "expected no value beside 'is_null', got 3"),
        ("contains", 3, "expected text beside 'contains', got 3"),
        ("eq", float("nan"), "expected text, a finite number, true, false or null, got nan"),
        ("eq", {"a": 1}, "expected text, a finite number, true, false or null, got a mapping"),
    ],
)
def test_a_comparisons_value_follows_from_its_operator(operator: str, value: object, expected: str) -> None:
    condition = {"field": "x", "operator": operator, "value": value}
    assert messages({"id": "f", "type": "filter", "condition": condition}) == [expected]


def test_a_comparison_keeps_the_type_of_its_value() -> None:
    for value in (True, 1, 1.0, "1"):
        kept = Comparison(field="x", operator="eq", value=value).value
        assert (kept, type(kept)) == (value, type(value))


def test_aggregations_of_an_aggregate_are_written_by_field() -> None:
    step = STEP.validate_python(
        {
            "id": "a",
            "type": "aggregate",
            "groupBy": ["country"],
            "aggregations": {"amount": ["sum", {"function": "percentile", "as": "p95", "args": {"p": 0.95}}], "id": "count", "*": "count"},
        }
    )
    assert step.measures == (
        Measure(name="sum_amount", function="sum", field="amount"),
        Measure(name="p95", function="percentile", field="amount", args={"p": 0.95}),
        Measure(name="count_id", function="count", field="id"),
        Measure(name="count", function="count", field="*"),
    )


def test_aggregations_of_a_window_are_written_by_output_name() -> None:
    step = PROCESSOR.validate_python(
        {
            "id": "w",
            "type": "window",
            "window": {"type": "tumbling", "size": 60000},
            "aggregations": {"event_count": "count", "unique_users": "count_distinct:userId", "total_value": "sum:value"},
        }
    )
    assert isinstance(step, WindowStep)
    assert step.measures == (
        Measure(name="event_count", function="count"),
        Measure(name="unique_users", function="count_distinct", field="userId"),
        Measure(name="total_value", function="sum", field="value"),
    )
    assert step.window == TumblingWindow(size=timedelta(minutes=1))
    assert step.emit_every is None


def test_the_other_steps_form_of_aggregations_shows_the_right_one() -> None:
    (message,) = messages({"id": "a", "type": "aggregate", "groupBy": [], "aggregations": {"total": "sum:value"}})
    assert "write {value: sum}" in message
    window = {"id": "w", "type": "window", "window": {"type": "tumbling", "size": "1m"}}
    (message,) = messages({**window, "aggregations": {"amount": ["sum"]}}, PROCESSOR)
    assert 'write amount: "sum:amount"' in message
    (message,) = messages({**window, "aggregations": {"amount": "sum"}}, PROCESSOR)
    assert 'write sum_amount: "sum:amount"' in message


def test_shares_and_approximations_are_parts_of_the_name_of_a_windows_function() -> None:
    keys = {"id": "w", "type": "window", "window": {"type": "tumbling", "size": "1m"}}
    aggregations = {"a": "p50:ms", "b": "p99.9:ms", "c": "approx_p99:ms", "d": "approx_count_distinct:user", "e": "approx_median: ms"}
    step = PROCESSOR.validate_python({**keys, "aggregations": {**aggregations, "f": "p100:ms"}})
    assert isinstance(step, WindowStep)
    assert [(one.function, one.field, one.args) for one in step.measures] == [
        ("percentile", "ms", {"p": 0.5}),
        ("percentile", "ms", {"p": 0.999}),
        ("percentile", "ms", {"p": 0.99, "approx": True}),
        ("count_distinct", "user", {"approx": True}),
        ("median", "ms", {"approx": True}),
        ("percentile", "ms", {"p": 1.0}),
    ]
    (message,) = messages({**keys, "aggregations": {"slow": "percentile:ms"}}, PROCESSOR)
    assert 'write slow: "p95:ms"' in message
    (message,) = messages({**keys, "aggregations": {"slow": "p99"}}, PROCESSOR)
    assert 'write p99_slow: "p99:slow"' in message
    for wrong, hint in [
        ("approx_sum:ms", "expected one of approx_count_distinct, approx_median, "),
        ("p101:ms", "p99, p99.9, approx_count_distinct"),
        ("cuont:ms", "did you mean 'count'?"),
    ]:
        (message,) = messages({**keys, "aggregations": {"slow": wrong}}, PROCESSOR)
        assert hint in message


def test_sessions_have_no_early_results() -> None:
    keys = {"id": "w", "type": "window", "window": {"type": "session", "gap": "1m"}, "aggregations": {"n": "count"}}
    assert PROCESSOR.validate_python({**keys, "emit": "onClose"}).emit_every is None
    with pytest.raises(ValidationError) as raised:
        PROCESSOR.validate_python({**keys, "emit": "every 10s"})
    (error,) = raised.value.errors()
    assert error["loc"][-1] == "emit"
    assert error["msg"].startswith("expected onClose, got 'every 10s'")


@pytest.mark.parametrize("kind", ["aggregate", "join"])
def test_a_step_over_groups_is_always_required(kind: str) -> None:
    keys: dict[str, Any] = {"groupBy": [], "aggregations": {"x": "sum"}} if kind == "aggregate" else {"on": ["id"]}
    if kind == "join":
        keys["source"] = {"type": "file", "path": "x.parquet"}
    (message,) = messages({"id": "s", "type": kind, "required": False, **keys})
    assert message == f"expected true: a step of type {kind!r} cannot pass failed rows on, got false"


@pytest.mark.parametrize(("kind", "keys"), [("explode", {"field": "tags"}), ("sample", {"fraction": 0.1})])
def test_a_step_in_which_no_row_fails_is_always_required(kind: str, keys: dict[str, Any]) -> None:
    (message,) = messages({"id": "s", "type": kind, "required": False, **keys})
    assert message == f"expected true: no row fails in a step of type {kind!r}, got false"


def test_a_join_takes_a_whole_source_with_steps_of_its_own() -> None:
    step = STEP.validate_python(
        {
            "id": "j",
            "type": "join",
            "on": {"country": "code"},
            "source": {
                "type": "file",
                "path": "countries.parquet",
                "transformations": [{"id": "known", "type": "filter", "condition": "code IS NOT NULL"}],
            },
        }
    )
    assert isinstance(step, JoinStep)
    assert isinstance(step.source, FileSource)
    assert step.keys_left_right == (("country", "code"),)
    assert [inner.id for inner in every_step((step,))] == ["j", "known"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "expected 'on' or 'asOf', got neither"),
        ({"onn": ["a"]}, "unknown key 'onn'"),
        ({"on": ["a"], "how": "full", "asOf": {"column": "t"}}, "expected inner or left beside asOf, got 'full'"),
        ({"asOf": {}}, "expected 'column', or 'left' and 'right', got neither"),
        ({"asOf": {"left": "t"}}, "expected 'column', or 'left' and 'right', got 'left'"),
        ({"asOf": {"column": "t", "right": "u"}}, "expected 'column', or 'left' and 'right', got 'column' and 'right'"),
        ({"asOf": {"column": "t", "tolerance": "1 fortnight"}}, "expected a duration (milliseconds, or a number with"),
        ({"asOf": {"column": "t", "tolerance": -1}}, "expected a duration such as 1h, or a number of at least 0, got -1"),
        ({"asOf": {"column": "t", "direction": "back"}}, "expected 'backward', 'forward' or 'nearest', got 'back'"),
    ],
)
def test_a_join_has_keys_or_a_time(given: dict[str, Any], wanted: str) -> None:
    (message,) = messages({"id": "j", "type": "join", "source": {"type": "file", "path": "x.parquet"}, **given})
    assert wanted in message


def test_only_a_joins_source_has_steps() -> None:
    (message,) = messages({"type": "file", "path": "x", "transformations": []}, TypeAdapter(Source))
    assert message == "unknown key 'transformations'"


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (
            {"type": "sliding", "size": "1m", "slide": "2m"},
            "expected at most the size ('1m'), got '2m': events between windows would be lost",
        ),
        (
            {"type": "sliding", "size": "1d", "slide": "10s"},
            "expected at least '1d' / 2,000, got '10s': each event would count in 8,640 windows",
        ),
        ({"type": "tumbling", "size": 0}, "expected a duration above zero, got 0"),
        ({"type": "session"}, "expected 'gap', which is missing"),
        ({"type": "tumbling", "size": "1m", "slide": "1m"}, "unknown key 'slide'"),
    ],
)
def test_a_window_says_what_is_wrong_with_it(window: dict[str, Any], expected: str) -> None:
    assert messages({"id": "w", "type": "window", "window": window, "aggregations": {"n": "count"}}, PROCESSOR) == [expected]


def test_early_results_have_an_interval() -> None:
    keys = {"id": "w", "type": "window", "window": {"type": "tumbling", "size": "1m"}, "aggregations": {"n": "count"}}
    assert PROCESSOR.validate_python({**keys, "emit": "every 10s"}).emit_every == timedelta(seconds=10)
    for wrong in ("every 0s", "sometimes", "every 10"):
        assert messages({**keys, "emit": wrong}, PROCESSOR)[0].startswith("expected")


def test_late_events_go_to_the_dead_letters_or_a_destination() -> None:
    keys = {"id": "w", "type": "window", "window": {"type": "tumbling", "size": "1m"}, "aggregations": {"n": "count"}}
    assert PROCESSOR.validate_python(keys).late == "deadletter"
    assert PROCESSOR.validate_python({**keys, "late": {"type": "kafka", "topic": "late"}}).late.topic == "late"
    assert messages({**keys, "late": "drop"}, PROCESSOR) == ["expected 'deadletter', got 'drop'"]
