from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from beam_pipelines.columnar import origin
from beam_pipelines.errors import PlanError
from beam_pipelines.spec.step.sample import SampleStep
from beam_pipelines.transforms.sample import Sample
from tests.transforms.conftest import NOW

Run = Callable[..., Any]
ROWS = 100_000
GOLDEN = [552, 3411, 3707, 4597, 6008, 6138, 9298, 9587]
NUMBERS = pa.record_batch({"id": pa.array(range(ROWS), pa.int64()), "of": pa.array([number % 1000 for number in range(ROWS)], pa.int64())})


def kept(definition: dict[str, Any], batch: pa.RecordBatch, key: list[str] | None = None) -> list[int]:
    step = Sample(SampleStep.model_validate({"id": "s", "type": "sample", **definition}), "pipeline.transformations[0]")
    step.open(batch.schema, step.plan(batch.schema, None), NOW)
    hidden = origin.attach(batch, "numbers", key=key or ["id"])
    return [number for out in step.apply(hidden).batches for number in out.column("id").to_pylist()]


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.9])
def test_about_the_share_is_kept_and_the_rest_is_counted(run: Run, fraction: float) -> None:
    done = run({"type": "sample", "fraction": fraction}, NUMBERS)
    # Five standard deviations of a binomial count: one seed, so the number never changes.
    assert abs(len(done.rows) - ROWS * fraction) < 5 * math.sqrt(ROWS * fraction * (1 - fraction))
    assert done.applied.filtered == ROWS - len(done.rows)
    assert done.schema == NUMBERS.schema


def test_all_are_kept_of_the_whole_share(run: Run) -> None:
    assert len(run({"type": "sample", "fraction": 1}, NUMBERS).rows) == ROWS


def test_the_rows_are_the_same_in_every_process_and_release() -> None:
    # Written down once: a retry in another process, of another release, must keep the same rows.
    assert kept({"fraction": 0.001}, NUMBERS.slice(0, 10_000)) == GOLDEN
    assert kept({"fraction": 0.001, "seed": 1}, NUMBERS.slice(0, 10_000)) != GOLDEN


def test_a_smaller_share_is_a_part_of_a_larger_one_and_another_seed_is_independent() -> None:
    small, large, other = kept({"fraction": 0.1}, NUMBERS), kept({"fraction": 0.3}, NUMBERS), kept({"fraction": 0.1, "seed": 1}, NUMBERS)
    assert set(small) < set(large)
    both = len(set(small) & set(other))
    assert abs(both - ROWS * 0.01) < 5 * math.sqrt(ROWS * 0.01)


def test_rows_of_one_value_stay_together() -> None:
    groups = {number % 1000 for number in kept({"fraction": 0.2, "by": ["of"]}, NUMBERS)}
    assert sorted(kept({"fraction": 0.2, "by": ["of"]}, NUMBERS)) == [number for number in range(ROWS) if number % 1000 in groups]
    assert 137 < len(groups) < 263


def test_equal_values_are_one_whatever_their_type() -> None:
    by = {"fraction": 0.5, "by": ["x"]}
    values = [1.0, -0.0, math.nan, None, 7.0, 0.0, math.nan, None]
    found = kept(by, pa.record_batch({"id": range(8), "x": pa.array(values, pa.float64())}))
    assert [(number in found) for number in (1, 2, 3)] == [(number in found) for number in (5, 6, 7)]
    whole = pa.record_batch({"id": range(1000), "x": pa.array(range(1000), pa.int16())})
    doubles = whole.set_column(1, "x", whole.column("x").cast(pa.float64()))
    texts = pa.record_batch({"id": range(1000), "x": pa.array([str(number) for number in range(1000)])})
    assert kept(by, whole) == kept(by, doubles)
    assert kept(by, texts) == kept(by, texts.set_column(1, "x", texts.column("x").dictionary_encode()))


def test_fields_may_be_nested(run: Run) -> None:
    batch = pa.record_batch({"a": pa.array([{"b": number % 2} for number in range(100)])})
    rows = run({"type": "sample", "fraction": 0.5, "by": ["a.b"], "seed": 1}, batch).rows
    assert rows == [{"a": {"b": 0}}] * 50


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 200), st.sampled_from([{}, {"by": ["of"]}]), st.floats(0.01, 1))
def test_any_cut_keeps_the_same(cut_anywhere: Run, cut: int, by: dict[str, Any], fraction: float) -> None:
    cut_anywhere({"type": "sample", "fraction": fraction, **by}, NUMBERS.slice(700, 200), cut)


def test_a_field_that_is_not_there_or_has_no_value_of_its_own_is_refused(run: Run) -> None:
    batch = pa.record_batch({"a": pa.array([[1]])})
    with pytest.raises(PlanError) as raised:
        run({"type": "sample", "fraction": 0.5, "by": ["b", "a"]}, batch)
    assert [(problem.path, problem.message.partition(",")[0]) for problem in raised.value.problems] == [
        ("pipeline.transformations[0].by[0]", "no field 'b'"),
        ("pipeline.transformations[0].by[1]", "expected a field with values that can be told apart"),
    ]


@pytest.mark.parametrize(
    "keys", [{"fraction": 0}, {"fraction": 1.5}, {"fraction": "0.1"}, {"fraction": True}, {}, {"fraction": 1, "by": []}]
)
def test_a_share_is_above_zero_and_at_most_one(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SampleStep.model_validate({"id": "s", "type": "sample", **keys})
