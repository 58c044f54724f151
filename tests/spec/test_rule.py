from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from beam_pipelines.spec import Actions, InSet, NumericRange, Rule, Unique, Validation

RULE: TypeAdapter[Any] = TypeAdapter(Rule)


def messages(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        RULE.validate_python(data)
    return [error["msg"] for error in caught.value.errors()]


def test_defaults_are_the_contracts() -> None:
    rule = RULE.validate_python({"id": "u", "type": "unique", "field": "email"})
    assert isinstance(rule, Unique)
    assert (rule.severity, rule.keep) == ("error", "first")
    assert [Actions().of(severity) for severity in ("error", "warning", "info")] == ["reject", "flag", "log"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"type": "numeric-range", "field": "age"}, "expected 'min' or 'max', got neither"),
        ({"type": "numeric-range", "field": "age", "min": 5, "max": 1}, "expected at least 'min' (5), got 1"),
        ({"type": "numeric-range", "field": "age", "min": "5"}, "expected a number, got '5'"),
        ({"type": "numeric-range", "field": "age", "min": float("nan")}, "expected a number, got nan"),
        ({"type": "required-fields", "fields": []}, "expected at least 1 entry, got 0"),
        ({"type": "in-set", "field": "x", "values": []}, "expected at least 1 entry, got 0"),
        ({"type": "foreign-key", "field": "x", "reference": {"table": "t"}}, "expected 'field' or 'fields', got neither"),
        ({"type": "unique", "field": "x", "keep": "all"}, "expected 'first', 'last' or 'none', got 'all'"),
        ({"type": "unique", "field": "x", "horizon": 0}, "expected a duration above zero, got 0"),
        (
            {"type": "unique", "field": "x", "horizon": "1h", "keep": "none"},
            "expected 'keep: first' with a horizon, got 'none': what comes later is not known when a row is judged",
        ),
        (
            {"type": "unique", "field": "x", "horizon": "1h", "scope": "window"},
            "expected no 'horizon' with 'scope: window': a value is forgotten with its window",
        ),
        ({"type": "row-count"}, "expected 'min' or 'max', got neither"),
        ({"type": "row-count", "min": -1}, "expected at least 0, got -1"),
        ({"type": "null-ratio", "field": "x", "max": 1.5}, "expected at most 1, got 1.5"),
        ({"type": "distinct-ratio", "field": "x", "min": 0.5, "max": 0.4}, "expected at least 'min' (0.5), got 0.4"),
        ({"type": "statistic", "field": "x", "statistic": "mean"}, "expected 'min' or 'max', got neither"),
        ({"type": "statistic", "field": "x", "statistic": "quantile", "max": 1}, "expected 'quantile' with 'statistic: quantile'"),
        (
            {"type": "statistic", "field": "x", "statistic": "min", "max": 1, "quantile": 0},
            "expected 'quantile' with 'statistic: quantile' only",
        ),
        ({"type": "drift", "measure": "mean"}, "expected 'field' beside this measure"),
        ({"type": "drift", "measure": "row-count", "field": "x"}, "expected no 'field' with 'measure: row-count', which counts rows"),
        ({"type": "drift", "measure": "row-count", "runs": 2}, "expected at least 'minRuns' (3), got 2"),
        ({"type": "drift", "measure": "row-count", "minRuns": 11}, "expected at least 'minRuns' (11), got 10"),
        ({"type": "drift", "measure": "row-count", "maxDeviation": 0}, "expected more than 0, got 0"),
        ({"type": "drift", "measure": "row-count", "tolerance": -0.1}, "expected at least 0, got -0.1"),
        ({"type": "schema", "columns": {}}, "expected at least 1 entry, got 0"),
        ({"type": "regex", "field": "x", "pattern": ""}, "expected text, got an empty one"),
    ],
)
def test_a_rule_says_what_is_wrong_with_it(keys: dict[str, Any], expected: str) -> None:
    assert messages({"id": "r", **keys}) == [expected]


def test_values_and_bounds_keep_their_types() -> None:
    values = InSet(id="s", field="x", values=(True, 1, "1", 1.5, None)).values
    assert [type(value) for value in values] == [bool, int, str, float, type(None)]
    rule = NumericRange(id="r", field="x", min=0, max=2**60 + 1)
    assert (rule.min, rule.max) == (0, 2**60 + 1)


def test_rules_that_are_wrong_are_not_told_to_be_missing() -> None:
    with pytest.raises(ValidationError) as caught:
        Validation.model_validate({"rules": [{"id": "r", "type": "numeric-range", "field": "age"}]})
    assert [error["msg"] for error in caught.value.errors()] == ["expected 'min' or 'max', got neither"]
