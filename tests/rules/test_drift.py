"""Drift against earlier checks: bounds against numpy, and when nothing is judged."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError
from beam_pipelines.rules import check


def rule(measure: str = "row-count", **more: Any) -> dict[str, Any]:
    return {"id": "near", "type": "drift", "measure": measure, **more}


def checked(table: pa.Table, asked: dict[str, Any], history: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    told: dict[str, Any] = check(table, [asked], history=history or []).to_dict()
    json.dumps(told)
    return told


def of_rows(count: int) -> pa.Table:
    return pa.table({"x": range(count)})


def after(counts: list[int], count: int, **more: Any) -> dict[str, Any]:
    """What the rule says of so many rows after checks of others."""
    history: list[dict[str, Any]] = []
    for one in counts:
        history.append(checked(of_rows(one), rule(**more), history))
    (said,) = checked(of_rows(count), rule(**more), history)["rules"]
    return dict(said)


def test_a_jump_after_stable_runs_does_not_hold() -> None:
    counts = [100, 102, 98, 101, 99]
    assert after(counts, 103)["holds"] is True
    said = after(counts, 200)
    assert (said["holds"], said["measured"], said["runs"], said["median"]) == (False, 200, 5, 100)
    assert said["message"] == "expected a number of rows from 95 to 105, near the median 100 of 5 earlier runs"
    assert after(counts, 50)["holds"] is False


def test_with_too_few_runs_nothing_is_judged_and_that_is_said() -> None:
    said = after([100, 100], 900)
    assert (said["holds"], said["measured"], said["runs"]) == (None, 900, 2)
    assert said["message"] == "not judged: expected at least 3 earlier runs to compare a number of rows with, got 2"
    assert after([100, 100], 900, minRuns=2)["holds"] is False
    result = check(of_rows(9), [rule()])
    assert (result.status, result.rules[0].holds) == ("ok", None)


def test_only_the_last_runs_count() -> None:
    assert after([100] * 5 + [900] * 5, 900, runs=5)["holds"] is True
    assert after([100] * 5 + [900] * 4, 900, runs=9)["holds"] is False


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 500), min_size=3, max_size=10),
    st.integers(0, 500),
    st.sampled_from([0, 0.05, 0.5]),
    st.sampled_from([1, 3, 3.5]),
)
def test_bounds_are_those_of_numpy(counts: list[int], count: int, tolerance: float, most: float) -> None:
    middle = np.median(counts)
    apart = 1.4826 * np.median(np.abs(np.array(counts) - middle))
    bound = max(most * apart, tolerance * middle)
    history = [{"rules": [{"rule": "near", "measure": "row-count", "measured": one}]} for one in counts]
    (said,) = checked(of_rows(count), rule(tolerance=tolerance, maxDeviation=most), history)["rules"]
    if abs(abs(count - middle) - bound) > 1e-9:
        assert said["holds"] is bool(abs(count - middle) < bound)
    assert (said["low"], said["high"]) == pytest.approx((middle - bound, middle + bound), rel=1e-5, abs=1e-5)


TABLE = pa.table(
    {
        "n": [1, 2, 2, 7, None],
        "m": pa.array([Decimal("1.50"), Decimal("2.50"), None, None, None], pa.decimal128(9, 2)),
    }
)


@pytest.mark.parametrize(
    ("measure", "field", "measured"),
    [
        ("null-ratio", "m", 0.6),
        ("distinct-count", "n", 3),
        ("distinct-ratio", "n", 0.75),
        ("mean", "n", 3.0),
        ("min", "m", "1.50"),
        ("max", "n", 7),
        ("sum", "m", "4.00"),
        ("median", "n", 2.0),
        ("stddev", "n", np.std([1, 2, 2, 7], ddof=1)),
    ],
)
def test_every_measure(measure: str, field: str, measured: Any) -> None:
    asked = rule(measure, field=field)
    first = checked(TABLE, asked)
    (said,) = first["rules"]
    assert said["measured"] == (pytest.approx(measured) if isinstance(measured, float) else measured)
    assert checked(TABLE, asked, [first] * 3)["rules"][0]["holds"] is True
    more = pa.concat_tables(
        [TABLE, pa.table({"n": [10**6 + at for at in range(9)], "m": pa.array([Decimal(99)] * 9, TABLE.schema.field("m").type)})]
    )
    if measure != "min":
        assert checked(more, asked, [first] * 3)["rules"][0]["holds"] is False


def test_what_measured_something_else_counts_for_nothing() -> None:
    means = [checked(TABLE, rule("mean", field="n"))] * 5
    (said,) = checked(TABLE, rule("max", field="n"), means)["rules"]
    assert (said["holds"], said["runs"]) == (None, 0)
    (said,) = checked(TABLE, {**rule("mean", field="n"), "id": "other"}, means)["rules"]
    assert (said["holds"], said["runs"]) == (None, 0)


def test_where_there_is_nothing_to_measure_nothing_is_judged() -> None:
    history = [checked(TABLE, rule("mean", field="n"))] * 3
    (said,) = checked(TABLE.slice(0, 0), rule("mean", field="n"), history)["rules"]
    assert (said["holds"], said["measured"]) == (None, None)
    endless = pa.table({"n": [1.0, float("inf")]})
    (said,) = checked(endless, rule("mean", field="n"), history)["rules"]
    assert (said["holds"], said["measured"]) == (False, "Infinity")
    assert checked(TABLE, rule("mean", field="n"), [checked(endless, rule("mean", field="n"))] * 3)["rules"][0]["runs"] == 0


def test_a_rule_that_does_not_fit_the_rows_is_refused() -> None:
    with pytest.raises(PlanError) as refused:
        check(pa.table({"t": [[1]]}), [rule("mean", field="t")])
    assert [(problem.path, problem.message) for problem in refused.value.problems] == [
        ("rules[0].field", "expected a field of numbers or of text, got 't' of type list<item: int64>")
    ]
