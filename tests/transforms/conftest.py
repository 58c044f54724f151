"""Run one step on one batch, as the engine does, and check its law on the way."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.functions import Functions
from beam_pipelines.spec.step.explode import ExplodeStep
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.spec.step.function import FunctionStep
from beam_pipelines.spec.step.map import MapStep
from beam_pipelines.spec.step.sample import SampleStep
from beam_pipelines.spec.step.sql import SqlStep
from beam_pipelines.transforms.registry import build
from beam_pipelines.transforms.step import Applied, check_law

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.timezone.utc)
MODELS = {"filter": FilterStep, "map": MapStep, "function": FunctionStep, "explode": ExplodeStep, "sample": SampleStep, "sql": SqlStep}


@dataclass
class Outcome:
    """What a step did with a batch."""

    schema: pa.Schema
    applied: Applied
    batch: pa.RecordBatch

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Visible rows that came out."""
        return [row for batch in self.applied.batches for row in origin.visible(batch).to_pylist()]

    @property
    def origins(self) -> list[dict[str, Any]]:
        return [place for batch in self.applied.batches for place in origin.describe(batch, range(batch.num_rows))]

    @property
    def dead(self) -> dict[int, tuple[str, str]]:
        """Code and message of dead rows, by position."""
        return {
            row: (code, message)
            for dead in self.applied.dead
            for row, code, message in zip(dead.rows, dead.codes, dead.messages, strict=True)
        }


def run_step(definition: dict[str, Any], batch: pa.RecordBatch, functions: Functions | None = None) -> Outcome:
    """Plan, open, apply and close a step; check its law, what it planned, and that origin and load are there."""
    step = build(
        MODELS[definition["type"]].model_validate({"id": "step", **definition}), functions or Functions(), "pipeline.transformations[0]"
    )
    hidden = origin.with_load(origin.attach(batch, "customers", first_row=0), "target")
    planned = step.plan(batch.schema, hidden if step.needs_sample else None)
    step.open(batch.schema, planned, NOW)
    applied = step.apply(hidden)
    step.close()
    step.close()
    check_law("step", batch.num_rows, applied)
    for out in applied.batches:
        assert out.num_rows > 0
        assert origin.visible_schema(out.schema).names == planned.names
        assert origin.visible_schema(out.schema).types == planned.types
        assert origin.load_of(out) == "target"
        assert {"__bp_source", "__bp_row"} <= set(out.schema.names)
    for dead in applied.dead:
        assert dead.batch is hidden
        assert dead.rows == sorted(set(dead.rows))
    return Outcome(planned, applied, hidden)


@pytest.fixture
def run() -> Callable[..., Outcome]:
    return run_step


def same_for_any_cut(definition: dict[str, Any], batch: pa.RecordBatch, cut: int, functions: Functions | None = None) -> None:
    """Check that a step gives the same rows, origins, failures and counts for a batch and for its two parts."""
    step = build(
        MODELS[definition["type"]].model_validate({"id": "step", **definition}), functions or Functions(), "pipeline.transformations[0]"
    )
    hidden = origin.attach(batch, "customers", first_row=0)
    planned = step.plan(batch.schema, hidden if step.needs_sample else None)
    step.open(batch.schema, planned, NOW)
    results = []
    for parts in ([hidden], [hidden.slice(0, cut), hidden.slice(cut)]):
        rows, dead, begin, counts = [], {}, 0, [0, 0, 0, 0]
        for part in parts:
            applied = step.apply(part)
            check_law("step", part.num_rows, applied)
            rows += [repr(row) for out in applied.batches for row in out.to_pylist()]
            for one in applied.dead:
                dead.update({begin + row: (code, why) for row, code, why in zip(one.rows, one.codes, one.messages, strict=True)})
            begin += part.num_rows
            counts = [a + b for a, b in zip(counts, (applied.filtered, applied.rejected, applied.nulled, applied.made), strict=True)]
        results.append((rows, dead, counts))
    step.close()
    assert results[0] == results[1]


@pytest.fixture
def cut_anywhere() -> Callable[..., None]:
    return same_for_any_cut
