from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.spec.step.validate import ValidateStep
from beam_pipelines.transforms.validate import Validate


def step(*rules: dict[str, Any]) -> Validate:
    return Validate(ValidateStep.model_validate({"id": "check", "type": "validate", "rules": list(rules)}), "steps[0]")


def test_a_rule_about_the_order_of_rows_is_refused_and_not_passed_over() -> None:
    schema = pa.schema([("n", pa.int64())])
    row = {"id": "row", "type": "numeric-range", "field": "n", "min": 0}
    rows = {"id": "rows", "type": "row-count", "min": 1}
    order = {"id": "order", "type": "monotonic", "field": "n"}
    with pytest.raises(PlanError) as caught:
        step(row, rows, order).plan(schema, None)
    assert [problem.path for problem in caught.value.problems] == ["steps[0].rules[2].type"]
    assert step(row, rows).plan(schema, None) == schema


def test_what_nobody_hears_is_refused_in_the_source_of_a_join() -> None:
    schema = pa.schema([("n", pa.int64())])
    rules = [{"id": "row", "type": "numeric-range", "field": "n", "min": 0}, {"id": "rows", "type": "row-count", "min": 1}]
    rules.append({"id": "most", "type": "numeric-range", "field": "n", "min": 0, "mostly": 0.5})
    model = ValidateStep.model_validate({"id": "check", "type": "validate", "rules": rules})
    with pytest.raises(PlanError) as caught:
        Validate(model, "pipeline.transformations[0].source.transformations[0]").plan(schema, None)
    assert [problem.path.rpartition(".")[2] for problem in caught.value.problems] == ["rules[1]", "rules[2]"]


def test_what_is_said_of_windows_and_of_rows_without_an_end_is_refused_and_not_passed_over() -> None:
    schema = pa.schema([("n", pa.int64())])
    plain = {"id": "plain", "type": "unique", "field": "n"}
    hour = {"id": "hour", "type": "unique", "field": "n", "horizon": "1h"}
    window = {"id": "window", "type": "unique", "field": "n", "scope": "window"}
    with pytest.raises(PlanError) as caught:
        step(plain, hour, window).plan(schema, None)
    assert [problem.path for problem in caught.value.problems] == ["steps[0].rules[1].horizon", "steps[0].rules[2].scope"]
    assert all("CheckRows" in problem.hint for problem in caught.value.problems)
    assert step(plain, {**plain, "id": "said", "scope": "dataset"}).plan(schema, None) == schema
