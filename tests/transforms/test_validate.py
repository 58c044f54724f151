from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.spec.step.validate import ValidateStep
from beam_pipelines.transforms.validate import Validate


def step(*rules: dict[str, Any]) -> Validate:
    return Validate(ValidateStep.model_validate({"id": "check", "type": "validate", "rules": list(rules)}), "steps[0]")


def test_rules_that_no_row_tells_are_refused_and_not_passed_over() -> None:
    schema = pa.schema([("n", pa.int64())])
    row = {"id": "row", "type": "numeric-range", "field": "n", "min": 0}
    rows = {"id": "rows", "type": "row-count", "min": 1}
    order = {"id": "order", "type": "monotonic", "field": "n"}
    with pytest.raises(PlanError) as caught:
        step(row, rows, order).plan(schema, None)
    assert [problem.path for problem in caught.value.problems] == ["steps[0].rules[1].type", "steps[0].rules[2].type"]
    assert step(row).plan(schema, None) == schema
