"""What is put aside of rows that were held against rules, against plain Python."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import json
import random
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.rules import check
from beam_pipelines.rules.aside import VIOLATIONS
from beam_pipelines.rules.examples import RECORD_CHARACTERS
from beam_pipelines.runs.example import Examples
from beam_pipelines.spec.step.validate import ValidateStep
from beam_pipelines.transforms.step import Applied
from beam_pipelines.transforms.validate import Validate

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
RULES: list[dict[str, Any]] = [
    {"id": "there", "type": "required-fields", "fields": ["name"]},
    {"id": "low", "type": "numeric-range", "field": "n", "max": 70, "severity": "warning"},
    {"id": "even", "type": "expression", "condition": "n % 2 = 0"},
    {"id": "few", "type": "row-count", "max": 5},
]
ROWS = pa.table(
    {
        "n": pa.array(range(100), pa.int16()),
        "name": [None if i % 7 == 0 else f"n{i}" for i in range(100)],
        "price": pa.array([decimal.Decimal(i) / 8 for i in range(100)], pa.decimal128(12, 3)),
        "tags": pa.array([["a"] * (i % 3) for i in range(100)], pa.list_(pa.string())),
    }
)


def judged(batch: pa.RecordBatch, **keys: Any) -> Applied:
    step = Validate(ValidateStep.model_validate({"id": "check", "type": "validate", "rules": RULES} | keys), "steps[0]")
    schema = origin.visible_schema(batch.schema)
    step.open(schema, step.plan(schema, None), NOW)
    try:
        return step.judge(batch, {})
    finally:
        step.close()


def whole(rows: pa.Table = ROWS) -> pa.RecordBatch:
    (batch,) = rows.combine_chunks().to_batches()
    return batch


BOTH = {key: {"type": "file", "path": key} for key in ("rejected", "violations")}


def test_rejected_rows_keep_their_types_beside_the_rules_that_they_violate() -> None:
    asides = dict(judged(origin.attach(whole(), "a.parquet", first_row=40), **BOTH).asides)
    rejected = asides["rejected"]
    bad = [i for i in range(100) if i % 7 == 0 or i % 2]
    assert rejected.schema.names == [*ROWS.schema.names, "_rules", "_origin"]
    assert pa.table(rejected.select(ROWS.schema.names).columns, schema=ROWS.schema).equals(ROWS.take(bad))
    found = [json.loads(text) for text in rejected.column("_rules").to_pylist()]
    assert found == [[*["there"] * (i % 7 == 0), *["low"] * (i > 70), *["even"] * (i % 2)] for i in bad]
    places = [json.loads(text) for text in rejected.column("_origin").to_pylist()]
    assert places == [{"source": "a.parquet", "row": 40 + i} for i in bad]


def test_violations_are_those_of_check_with_where_the_row_came_from() -> None:
    found = dict(judged(origin.attach(whole(), "a.parquet", first_row=40), **BOTH).asides)["violations"]
    wanted = check(ROWS, RULES).violations_with_records()
    assert found.schema.names == VIOLATIONS.names
    assert len(wanted) == sum((i % 7 == 0) + (i > 70) + (i % 2) for i in range(100))
    for told, one in zip(found.to_pylist(), wanted, strict=True):
        row = 40 + one.pop("recordIndex")
        record, place = json.loads(told.pop("record")), json.loads(told.pop("origin"))
        assert (told.pop("recordIndex"), place) == (row, {"source": "a.parquet", "row": row})
        assert record == one.pop("record")
        assert told == one


def test_rows_with_a_key_have_no_number() -> None:
    found = dict(judged(origin.attach(whole(), "crm.people", key=["n"]), **BOTH).asides)["violations"]
    assert found.column("recordIndex").null_count == found.num_rows
    assert json.loads(found.column("origin")[0].as_py()) == {"source": "crm.people", "key": {"n": 0}}


def test_nothing_is_put_aside_for_outputs_that_are_not_there_or_where_nothing_is_violated() -> None:
    assert judged(origin.attach(whole(), "a", first_row=0)).asides == ()
    good = ROWS.filter(pa.array([i % 7 > 0 and i % 2 == 0 and i <= 70 for i in range(100)]))
    assert judged(origin.attach(whole(good), "a", first_row=0), **BOTH).asides == ()


def attached(kind: str) -> pa.RecordBatch:
    if kind == "rows":
        return origin.attach(whole(), "a", first_row=7)
    if kind == "numbers":
        return origin.attach(whole(), "a", key=["n"])
    if kind == "texts":
        keyed = whole().set_column(1, "name", pa.array([f"k{i}" for i in range(100)]))
        return origin.attach(keyed, "a", key=["name"])
    if kind == "sources":
        first, second = origin.attach(whole(ROWS[:40]), "b", key=["n"]), origin.attach(whole(ROWS[40:]), "a", first_row=0)
        return pa.concat_batches(origin.alike([first, second]))
    return whole()


@pytest.mark.parametrize("kind", ["rows", "numbers", "texts", "sources", "nothing"])
def test_examples_are_the_same_however_rows_are_cut(kind: str) -> None:
    batch, said = attached(kind), random.Random(5)
    wanted = judged(batch, examples=4).examples
    assert all(len(one) == 4 for one in wanted.told.values())
    for parts in (2, 9):
        which = [said.randrange(parts) for _ in range(batch.num_rows)]
        found = Examples()
        for part in said.sample(range(parts), parts):
            rows = [row for row in range(batch.num_rows) if which[row] == part]
            said.shuffle(rows)
            found = found + judged(batch.take(pa.array(rows)), examples=4).examples
        assert found == wanted


@pytest.mark.parametrize("kind", ["rows", "numbers", "texts", "sources", "nothing"])
def test_examples_of_a_bundle_are_those_of_all_its_batches(kind: str) -> None:
    """A step that knows what it has shown looks at less, and shows the same."""
    batch, said = attached(kind), random.Random(6)
    step = Validate(ValidateStep.model_validate({"id": "check", "type": "validate", "rules": RULES, "examples": 3}), "steps[0]")
    schema = origin.visible_schema(batch.schema)
    step.open(schema, step.plan(schema, None), NOW)
    places = said.sample(range(0, 100, 10), 10)
    parts = [step.judge(batch.slice(place, 10), {}).examples for place in places]
    step.close()
    assert sum(parts, Examples()) == judged(batch, examples=3).examples
    assert all(len(told) <= 3 for part in parts for told in part.told.values())


def test_examples_are_the_first_rows_of_each_rule() -> None:
    found = judged(origin.attach(whole(), "a.parquet", first_row=7), examples=2).examples.listed(["there", "low", "even", "few"])
    assert [(one["rule"], one["recordIndex"], one["record"]["n"]) for one in found] == [
        ("there", 7, 0),
        ("there", 14, 7),
        ("low", 78, 71),
        ("low", 79, 72),
        ("even", 8, 1),
        ("even", 10, 3),
    ]
    assert found[2] == {
        "rule": "low",
        "field": "n",
        "value": "71",
        "severity": "warning",
        "message": "expected a number of at most 70",
        "recordIndex": 78,
        "origin": {"source": "a.parquet", "row": 78},
        "record": {"n": 71, "name": "n71", "price": "8.875", "tags": ["a", "a"]},
    }


def test_examples_of_a_file_of_text_are_the_first_lines() -> None:
    lines = pa.array([2 * n + 2 for n in range(100)])
    batch = origin.attach(whole(), "a.csv", lines=lines).take(pa.array(range(99, -1, -1)))
    found = judged(batch, examples=3).examples.listed(["there", "low"])
    assert [(one["rule"], one["origin"]) for one in found] == [
        *(("there", {"source": "a.csv", "line": 2 * n + 2}) for n in (0, 7, 14)),
        *(("low", {"source": "a.csv", "line": 2 * n + 2}) for n in (71, 72, 73)),
    ]


def test_rows_on_which_a_rule_fails_are_put_aside_as_well() -> None:
    rule = {"id": "whole", "type": "expression", "condition": "CAST(name AS INTEGER) > 0", "severity": "info"}
    found = judged(origin.attach(whole(), "a", first_row=0), rules=[rule], **BOTH, examples=2)
    asides, failed = dict(found.asides), [i for i in range(100) if i % 7]
    assert asides["rejected"].column("n").to_pylist() == asides["violations"].column("recordIndex").to_pylist() == failed
    assert set(asides["rejected"].column("_rules").to_pylist()) == {'["whole"]'}
    told = asides["violations"].to_pylist()[0]
    assert (told["severity"], told["action"], told["value"]) == ("error", "reject", None)
    assert told["message"].startswith("the rule failed on this row: ")
    examples = found.examples.listed(["whole"])
    assert [(one["recordIndex"], one["severity"], one["message"]) for one in examples] == [(i, "error", told["message"]) for i in (1, 2)]


def test_examples_hold_no_value_of_a_column_that_is_named_like_a_secret() -> None:
    rows = whole(pa.table({"id": [1, 2], "apiKey": ["sk-live-1", "sk-live-2"]}))
    rule = {"id": "form", "type": "regex", "field": "apiKey", "pattern": "^pk"}
    found = judged(origin.attach(rows, "a", key=["apiKey"]), rules=[rule]).examples
    assert "sk-" not in json.dumps(dataclasses.asdict(found))
    told = sorted(found.listed(["form"]), key=lambda one: one["record"]["id"])
    assert [(one["value"], one["record"]) for one in told] == [
        ("(withheld)", {"id": 1, "apiKey": "(withheld)"}),
        ("(withheld)", {"id": 2, "apiKey": "(withheld)"}),
    ]


def test_no_examples_hold_no_value() -> None:
    assert judged(origin.attach(whole(), "a", first_row=0), examples=0).examples == Examples()


def test_long_rows_are_cut_and_say_so() -> None:
    wide = pa.table({"n": [71], "name": ["x" * 5000], **{f"c{i}": ["y" * 1500] for i in range(9)}})
    (one,) = judged(origin.attach(whole(wide), "a", first_row=0)).examples.told["low"]
    assert one["record"]["name"] == "x" * 1000
    assert one["record"]["$truncated"] == {"columns": 7}
    assert len(json.dumps(one["record"])) < RECORD_CHARACTERS + 100


def test_examples_are_read_back_from_a_ledger() -> None:
    found = judged(origin.attach(whole(), "a", first_row=0)).examples
    assert Examples.from_json(json.loads(json.dumps(dataclasses.asdict(found)))) == found
    assert Examples.from_json({}) == Examples()
