"""Outputs of rules: what may be said of a place for rejected rows and violations."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.errors import SpecError
from beam_pipelines.spec import Definition, FileOutput, TableOutput, Validation, WarehouseOutput, parse

RULE = {"id": "there", "type": "required-fields", "fields": ["email"]}


def checked(**keys: Any) -> Definition:
    """A quality service with some keys."""
    return parse(
        {"name": "Checker", "validation": {"source": {"type": "file", "path": "a.parquet"}, "rules": [RULE], **keys}}, "x"
    ).definition


def problems(**keys: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        checked(**keys)
    return [str(problem) for problem in caught.value.problems]


def test_both_outputs_are_those_of_the_one_step_of_a_quality_service() -> None:
    rejected = {"type": "data-warehouse", "connection": "lake", "table": "bad"}
    definition = checked(rejected=rejected, violations={"type": "file", "bucket": "drop", "prefix": "v/", "mode": "replace"}, examples=0)
    (step,) = definition.steps
    outputs = [getattr(step, key) for key in ("rejected", "violations")]
    assert [(one.type, one.mode) for one in outputs] == [("data-warehouse", "insert"), ("file", "replace")]
    assert getattr(step, "examples", None) == 0
    assert definition.connection_names == ("lake", "drop")


def test_outputs_of_steps_are_among_the_connections_of_an_etl_service() -> None:
    step = {"id": "check", "type": "validate", "rules": [RULE], "violations": {"type": "database", "connection": "lake", "table": "v"}}
    source, destination = {"type": "database", "connection": "crm", "table": "people"}, {"type": "file", "path": "out"}
    pipeline = {"source": source, "transformations": [step], "destination": destination}
    assert parse({"name": "Checked", "pipeline": pipeline}, "x").definition.connection_names == ("crm", "lake")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            {"type": "database", "connection": "c", "table": "t", "mode": "upsert"},
            "rejected.mode: expected 'insert' or 'replace', got 'upsert'",
        ),
        ({"type": "database", "connection": "c", "table": "t", "keyFields": ["id"]}, "rejected.keyFields: unknown key 'keyFields'"),
        ({"type": "file", "path": "out", "allowEmpty": True}, "rejected.allowEmpty: unknown key 'allowEmpty'"),
        ({"type": "file"}, "expected 'path' or 'bucket', got neither"),
        ({"type": "api", "endpoint": "https://x.org"}, "rejected.type: expected a known type, got 'api'"),
    ],
)
def test_what_an_output_cannot_be_is_refused(output: dict[str, Any], said: str) -> None:
    (found,) = problems(rejected=output)
    assert said in found


@pytest.mark.parametrize("many", [-1, 101, 2.5, True])
def test_examples_are_few(many: Any) -> None:
    (found,) = problems(examples=many)
    assert "validation.examples: expected" in found


def test_outputs_are_models_as_well() -> None:
    given = {"rejected": WarehouseOutput(connection="lake", table="bad"), "violations": FileOutput(path="v.parquet", mode="replace")}
    made = Validation(rules=[RULE], **given)  # type: ignore[arg-type]
    read = checked(**{key: output.model_dump(mode="json", by_alias=True, exclude_unset=True) for key, output in given.items()}).validation
    assert read is not None
    assert (read.rejected, read.violations) == (made.rejected, made.violations)
    assert isinstance(checked(rejected=TableOutput(connection="c", table="t")).steps[0].rejected, TableOutput)  # type: ignore[attr-defined]
