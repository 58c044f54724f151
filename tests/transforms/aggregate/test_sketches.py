"""Approximate measures: how near they come, and that they are the same whatever the cut, the order and the shards."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError

APPROX = {"approx": True}
DISTINCT = {"x": [{"function": "count_distinct", "args": APPROX}]}
MEDIAN = {"x": [{"function": "median", "args": APPROX}]}
ERROR = 1.04 / math.sqrt(16384)
NEAR = 1 / 256


def column(values: Any, kind: pa.DataType | None = None) -> pa.RecordBatch:
    return pa.record_batch({"x": pa.array(values, kind)})


def of(workshop: Any, batch: pa.RecordBatch, aggregations: dict[str, Any]) -> Any:
    (row,) = workshop.at_once(batch, aggregations=aggregations)
    (value,) = row.values()
    return value


def percentile(share: float) -> dict[str, Any]:
    return {"x": [{"function": "percentile", "args": {"p": share, **APPROX}}]}


@given(seed=st.integers(0, 2**32 - 1), shards=st.sampled_from([1, 2, 16]))
@settings(max_examples=10)
def test_they_are_the_same_to_the_last_bit_however_rows_are_cut_ordered_and_sharded(workshop: Any, seed: int, shards: int) -> None:
    chance = np.random.default_rng(seed)
    size = int(chance.integers(0, 400))
    values = chance.choice([-1e300, -2.5, -0.0, 0.0, 1 / 3, 7.0, math.inf, math.nan, *chance.normal(0, 1e6, 60)], size)
    batch = pa.record_batch({
        "k": pa.array(chance.integers(0, 5, size), mask=chance.random(size) < 0.1),
        "x": pa.array(values, mask=chance.random(size) < 0.2),
    })  # fmt: skip
    functions = [*DISTINCT["x"], *MEDIAN["x"], *percentile(0.93)["x"]]
    for keys in (["k"], []):
        ways = [
            workshop.at_once(batch, groupBy=keys, aggregations={"x": functions}),
            workshop.in_pieces(batch, seed, shards, groupBy=keys, aggregations={"x": functions}),
            workshop.in_pieces(batch.take(pa.array(chance.permutation(size))), seed, shards, groupBy=keys, aggregations={"x": functions}),
        ]
        first, *others = [sorted(map(workshop.canonical, rows), key=repr) for rows in ways]
        assert others == [first, first]


@pytest.mark.parametrize("size", [0, 1, 2, 10, 300, 5_000, 41_000, 300_000])
def test_the_number_of_different_values_is_within_three_standard_errors(workshop: Any, size: int) -> None:
    numbers = np.random.default_rng(size).integers(-(2**63), 2**63 - 1, size)
    for batch in (column(np.concatenate([numbers, numbers[: size // 2]])), column(numbers.astype(str))):
        assert abs(of(workshop, batch, DISTINCT) - size) <= 3 * ERROR * size


def test_the_standard_error_is_that_of_the_paper(workshop: Any) -> None:
    size = 30_000
    batch = pa.record_batch({"k": np.repeat(np.arange(60), size), "x": np.random.default_rng(1).random(60 * size)})
    rows = workshop.at_once(batch, groupBy=["k"], aggregations=DISTINCT)
    apart = [row["count_distinct_x"] / size - 1 for row in rows]
    # Of 60 draws: four standard errors of the mean, and of the variance.
    assert abs(sum(apart) / 60) < 4 * ERROR / math.sqrt(60)
    assert abs(sum(one * one for one in apart) / 60 / ERROR**2 - 1) < 4 * math.sqrt(2 / 60)


def test_values_are_equal_as_they_are_to_the_exact_count(workshop: Any) -> None:
    assert of(workshop, column([0.0, -0.0, math.nan, -math.nan, None]), DISTINCT) == 2
    assert of(workshop, column([Decimal("1.50"), Decimal("2.50"), None]), DISTINCT) == 2
    assert of(workshop, column(["a", "b", "a", ""]), DISTINCT) == 3
    assert of(workshop, pa.record_batch({"x": pa.array(["a", "b", "a", None]).dictionary_encode()}), DISTINCT) == 2


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_percentile_is_within_its_bound_of_the_exact_one(workshop: Any, share: float, sign: int) -> None:
    values = sign * np.random.default_rng(5).lognormal(3, 6, 20_000)
    exact = float(np.quantile(values, share))
    assert abs(of(workshop, column(values), percentile(share)) - exact) <= NEAR * abs(exact) * (1 + 1e-12)


@pytest.mark.parametrize("values", [[1, 2, 250], [7], [3, 4], [-256, 0, 256, 1, -1], [0.5, 0.25, 100.0], [1e300, 1e308], [-0.0, 0.0]])
def test_small_whole_numbers_are_exact_and_halves_lie_between(workshop: Any, values: list[float]) -> None:
    for share in (0.0, 0.3, 0.5, 1.0):
        exact = float(np.quantile(np.array(values, dtype=float), share))
        assert of(workshop, column(values), percentile(share)) == pytest.approx(exact, rel=1e-12 if max(values) < 1e300 else NEAR)


def test_the_ends_of_the_doubles_keep_their_order(workshop: Any) -> None:
    most = np.finfo(np.float64).max
    values = column([math.nan, -math.inf, math.inf, most, -most, 5e-324, 0.0, None])
    found = [of(workshop, values, percentile(place / 6)) for place in range(7)]
    assert found[0] == -math.inf
    assert found[1] == pytest.approx(-most, rel=2 * NEAR)
    assert found[2:4] == [0.0, 0.0]
    assert found[4] == pytest.approx(most, rel=2 * NEAR)
    assert found[5] == math.inf
    assert math.isnan(found[6])


def test_of_nothing_there_is_no_value_and_no_percentile(workshop: Any) -> None:
    for values in ([], [None, None]):
        batch = column(values, pa.int64())
        assert (of(workshop, batch, DISTINCT), of(workshop, batch, MEDIAN)) == (0, None)


def test_a_state_is_bounded_whatever_the_number_of_values(workshop: Any) -> None:
    chance = np.random.default_rng(2)
    batch = pa.record_batch({"x": chance.integers(1, 10**6, 1_000_000)})
    for aggregations, most in ((DISTINCT, 16_384 * 4), (MEDIAN, 2_560 * 12)):
        step, _ = workshop.opened(batch, aggregations=aggregations)
        states = step.combine([step.states(batch.slice(at, 250_000), at) for at in range(0, 1_000_000, 250_000)])
        assert states.nbytes <= most + 100


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"function": "median", "args": {"approx": "yes"}}, "expected args: {approx: true} or {approx: false}, got 'yes'"),
        ({"function": "sum", "args": APPROX}, "no argument 'approx' for sum"),
        ({"function": "median", "args": {"p": 0.5, **APPROX}}, "no argument 'p' for median"),
    ],
)
def test_what_is_no_argument_is_refused(workshop: Any, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match="cannot be carried out") as refused:
        workshop.aggregate(aggregations={"x": [entry]}).plan(column([1]).schema, None)
    assert said in refused.value.problems[0].message


@pytest.mark.parametrize(("aggregations", "kind"), [(DISTINCT, pa.list_(pa.int64())), (MEDIAN, pa.string())])
def test_a_field_that_does_not_fit_is_refused(workshop: Any, aggregations: dict[str, Any], kind: pa.DataType) -> None:
    with pytest.raises(PlanError):
        workshop.aggregate(aggregations=aggregations).plan(pa.schema([("x", kind)]), None)
