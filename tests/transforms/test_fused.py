"""Steps that run as one give what they give one after the other: rows, origins, counts, and dead letters with all their columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import cast, origin
from beam_pipelines.functions import Functions
from beam_pipelines.spec.step import StepBase
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.spec.step.function import FunctionStep
from beam_pipelines.spec.step.map import MapStep
from beam_pipelines.transforms.fused import Fused, groups
from beam_pipelines.transforms.registry import build
from beam_pipelines.transforms.step import Applied, Step, check_law

pytestmark = pytest.mark.usefixtures("evaluated_by")

NOW = dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc)
SCHEMA = pa.schema([("id", pa.int64()), ("age", pa.int32()), ("text", pa.string()), ("amount", pa.float64()), ("note", pa.string())])
MODELS = {"filter": FilterStep, "map": MapStep}

ADULTS = {"type": "filter", "condition": "age >= 18"}
SHAPE = {"type": "map", "mappings": {"id": {"source": "id"}, "number": {"expression": "CAST(text AS INTEGER)"}}}


def opened(definitions: Sequence[dict[str, Any]], schema: pa.Schema = SCHEMA) -> tuple[list[Step], list[pa.Schema]]:
    """Open steps as a bundle does; give them with the schema after each."""
    steps, schemas = [], []
    for number, definition in enumerate(definitions):
        step = build(MODELS[definition["type"]].model_validate({"id": f"s{number}", **definition}), Functions(), f"steps[{number}]")
        planned = step.plan(schema, None)
        step.open(schema, planned, NOW)
        steps.append(step)
        schemas.append(planned)
        schema = planned
    return steps, schemas


def counted(applied: Applied, rows_in: int) -> tuple[Any, ...]:
    """Counts and dead letters of one step: row, all columns, origin, code and message."""
    check_law("step", rows_in, applied)
    dead = [
        (*letter, code, message)
        for one in applied.dead
        for letter, code, message in zip(
            zip(
                map(repr, origin.visible(one.batch).take(pa.array(one.rows)).to_pylist()),
                map(repr, origin.describe(one.batch, one.rows)),
                strict=True,
            ),
            one.codes,
            one.messages,
            strict=True,
        )
    ]
    return rows_in, applied.rows_out, applied.filtered, applied.rejected, applied.nulled, applied.made, sorted(dead)


def shown(batches: Sequence[pa.RecordBatch]) -> list[str]:
    return [
        repr((row, place))
        for one in batches
        for row, place in zip(origin.visible(one).to_pylist(), origin.describe(one, range(one.num_rows)), strict=True)
    ]


def one_by_one(definitions: Sequence[dict[str, Any]], batch: pa.RecordBatch) -> tuple[list[str], list[tuple[Any, ...]]]:
    steps, schemas = opened(definitions)
    batches, told = [batch], []
    for step, schema in zip(steps, schemas, strict=True):
        done = [step.apply(one) for one in batches]
        rows_in = sum(one.num_rows for one in batches)
        batches = []
        for one in done:
            for out in one.batches:
                conformed = cast.conform(out, schema)
                assert not conformed.bad
                batches.append(conformed.batch)
        first = done[0] if done else Applied(())
        told.append(counted(first, rows_in))
        step.close()
    return shown(batches), told


def as_one(definitions: Sequence[dict[str, Any]], batch: pa.RecordBatch) -> tuple[list[str], list[tuple[Any, ...]]]:
    steps, schemas = opened(definitions)
    results = Fused(steps, schemas).apply(batch)
    told, rows_in = [], batch.num_rows
    for applied in results:
        told.append(counted(applied, rows_in))
        rows_in = applied.rows_out
    for out in results[-1].batches:
        assert origin.visible_schema(out.schema).names == schemas[-1].names
        assert origin.load_of(out) == "target"
    for step in steps:
        step.close()
    return shown(results[-1].batches), told


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return origin.with_load(origin.attach(pa.RecordBatch.from_pylist(rows, SCHEMA), "people", first_row=100), "target")


ROWS = st.fixed_dictionaries(
    {
        "id": st.integers(0, 99),
        "age": st.one_of(st.none(), st.integers(0, 90)),
        "text": st.one_of(st.none(), st.sampled_from(["1", "22", "x", "", "3.5"])),
        "amount": st.one_of(st.none(), st.floats(allow_nan=True), st.sampled_from([0.0, 11.0, 99.0])),
        "note": st.sampled_from(["a", "b"]),
    }
)
# Each keeps the columns that the others read, so that any order of them is a pipeline.
STEPS = st.sampled_from(
    [
        ADULTS,
        {"type": "filter", "condition": "amount > 10"},
        {"type": "filter", "condition": "CAST(text AS INTEGER) > 1"},
        {"type": "filter", "condition": "CAST(text AS INTEGER) > 1", "required": False},
        {"type": "filter", "condition": {"field": "note", "operator": "eq", "value": "a"}},
        {
            "type": "map",
            "mappings": {
                "id": {"source": "id"},
                "age": {"expression": "age + CAST(text AS INTEGER)"},
                "text": {"expression": "text || note"},
                "amount": {"expression": "round(amount * 1.1, 1)"},
                "note": {"source": "note", "converter": "upper"},
            },
        },
        {"type": "map", "unmapped": "keep", "mappings": {"age": {"expression": "CAST(text AS INTEGER)"}}},
        {"type": "map", "unmapped": "keep", "required": False, "mappings": {"age": {"expression": "CAST(text AS INTEGER)"}}},
        {"type": "map", "unmapped": "keep", "onError": "null", "mappings": {"age": {"expression": "CAST(text AS INTEGER)"}}},
    ]
)


@settings(max_examples=150, deadline=None)
@given(definitions=st.lists(STEPS, min_size=1, max_size=5), rows=st.lists(ROWS, min_size=1, max_size=12))
def test_as_one_is_as_one_by_one(definitions: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    batch = batch_of(rows)
    assert as_one(definitions, batch) == one_by_one(definitions, batch)


def test_a_row_that_dies_behind_a_filter_is_shown_with_all_its_columns() -> None:
    steps, schemas = opened([ADULTS, {"type": "filter", "condition": "amount > 10"}, SHAPE])
    rows = [
        {"id": 1, "age": 17, "text": "x", "amount": 20.0, "note": "young"},
        {"id": 2, "age": 40, "text": "7", "amount": 20.0, "note": "good"},
        {"id": 3, "age": 40, "text": "x", "amount": 5.0, "note": "poor"},
        {"id": 4, "age": 50, "text": "x", "amount": 30.0, "note": "bad"},
    ]
    batch = batch_of(rows)
    adults, rich, shape = Fused(steps, schemas).apply(batch)
    assert (adults.filtered, rich.filtered, shape.rows_dead) == (1, 1, 1)
    (dead,) = shape.dead
    assert origin.visible(dead.batch).take(pa.array(dead.rows)).to_pylist() == [rows[3]]
    assert origin.describe(dead.batch, dead.rows) == [{"source": "people", "row": 103}]
    assert origin.visible(shape.batches[0]).to_pylist() == [{"id": 2, "number": 7}]


def test_columns_that_no_later_step_reads_are_not_copied() -> None:
    steps, schemas = opened([ADULTS, SHAPE])
    adults, _ = Fused(steps, schemas).apply(batch_of([{"id": 1, "age": 17}, {"id": 2, "age": 40, "text": "7", "note": "long"}]))
    assert origin.names(adults.batches[0].schema) == ["id", "text"]
    steps, schemas = opened([ADULTS, {**SHAPE, "unmapped": "keep"}])
    adults, _ = Fused(steps, schemas).apply(batch_of([{"id": 1, "age": 17}, {"id": 2, "age": 40, "text": "7"}]))
    assert origin.names(adults.batches[0].schema) == SCHEMA.names


def test_a_filter_alone_hands_on_every_column() -> None:
    steps, schemas = opened([ADULTS])
    (adults,) = Fused(steps, schemas).apply(batch_of([{"id": 1, "age": 17}, {"id": 2, "age": 40, "note": "n"}]))
    assert origin.visible(adults.batches[0]).to_pylist() == [{"id": 2, "age": 40, "text": None, "amount": None, "note": "n"}]


def test_what_comes_out_is_cut_to_the_size_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    from beam_pipelines.columnar import size

    steps, schemas = opened([SHAPE])
    monkeypatch.setattr(size.split, "__defaults__", (2, size.MAX_BYTES))
    (shape,) = Fused(steps, schemas).apply(batch_of([{"id": number, "text": "1"} for number in range(5)]))
    assert [out.num_rows for out in shape.batches] == [2, 2, 1]


def test_functions_part_what_is_fused() -> None:
    def model(kind: str) -> StepBase:
        definitions: dict[str, Any] = {"filter": ADULTS, "map": SHAPE, "function": {"type": "function"}}
        return {**MODELS, "function": FunctionStep}[kind].model_validate({"id": kind, **definitions[kind]})

    kinds = ["filter", "map", "function", "map", "function", "function", "filter"]
    assert groups([model(kind) for kind in kinds]) == [range(2), range(2, 3), range(3, 4), range(4, 5), range(5, 6), range(6, 7)]
    assert groups([model("map")]) == [range(1)]
