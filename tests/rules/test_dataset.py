"""Rules of a data set as a whole: what they measure, and that the cut of the rows makes no difference."""

from __future__ import annotations

import math
import pickle
import statistics
from datetime import datetime, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.rules import check
from beam_pipelines.rules.compiled import compile_rules
from beam_pipelines.rules.dataset.distinct import Distinct
from beam_pipelines.rules.dataset.measures import Measures
from beam_pipelines.rules.dataset.quantiles import Quantiles
from beam_pipelines.rules.models import rule_set
from tests.rules.tables import cut, of

NAN, INF = math.nan, math.inf
NOW = datetime(2024, 3, 10, 12, tzinfo=timezone.utc)


def measured(values: pa.Array, kind: str, **keys: Any) -> tuple[bool | None, Any, int]:
    """Return whether a rule of one field holds, what it measures, and how many rows it leaves out."""
    rule = {"id": "r", "type": kind, **keys}
    if kind != "row-count":
        rule["field"] = "v"
    told = of(check(pa.table({"v": values}), [rule], now=NOW), "r")
    return told["holds"], told["measured"], told["notEvaluated"]


@pytest.mark.parametrize(
    ("rows", "keys", "holds"),
    [(3, {"min": 3, "max": 3}, True), (3, {"min": 4}, False), (3, {"max": 2}, False), (0, {"min": 1}, False), (0, {"max": 0}, True)],
)
def test_rows_are_counted(rows: int, keys: dict[str, Any], holds: bool) -> None:
    assert measured(pa.array([1] * rows, pa.int64()), "row-count", **keys) == (holds, rows, 0)


@pytest.mark.parametrize(
    ("values", "keys", "expected"),
    [
        ([None] + [1] * 9, {"max": 0.1}, (True, 0.1, 0)),
        ([None, None] + [1] * 8, {"max": 0.1}, (False, 0.2, 0)),
        ([1, 2], {"min": 0.5}, (False, 0.0, 0)),
        ([None], {"min": 1}, (True, 1.0, 0)),
        ([], {"max": 0}, (None, None, 0)),
    ],
)
def test_the_share_of_nulls(values: list[Any], keys: dict[str, Any], expected: Any) -> None:
    assert measured(pa.array(values, pa.int64()), "null-ratio", **keys) == expected


@pytest.mark.parametrize(
    ("values", "kind", "keys", "expected"),
    [
        (pa.array(["a", "b", "a", None]), "distinct-count", {"min": 2, "max": 2}, (True, 2, 1)),
        (pa.array(["a", "b", "a", None]), "distinct-count", {"min": 3}, (False, 2, 1)),
        (pa.array([0.0, -0.0, NAN, NAN]), "distinct-count", {"max": 2}, (True, 2, 0)),
        (pa.array(["a", "", " "]).dictionary_encode(), "distinct-count", {"min": 3}, (True, 3, 0)),
        (pa.array([2**53, 2**53 + 1]), "distinct-count", {"min": 2}, (True, 2, 0)),
        (pa.array([], pa.string()), "distinct-count", {"min": 1}, (False, 0, 0)),
        (pa.array(["a", "b", "a", "a", None]), "distinct-ratio", {"min": 0.5}, (True, 0.5, 1)),
        (pa.array(["a", "b", "a", "a", None]), "distinct-ratio", {"min": 0.51}, (False, 0.5, 1)),
        (pa.array(["a", "b"]), "distinct-ratio", {"min": 1}, (True, 1.0, 0)),
        (pa.array([None], pa.string()), "distinct-ratio", {"min": 1}, (None, None, 1)),
    ],
)
def test_different_values(values: pa.Array, kind: str, keys: dict[str, Any], expected: Any) -> None:
    assert measured(values, kind, **keys) == expected


MONEY = pa.array([Decimal("0.10"), Decimal("0.20"), None, Decimal("0.30")])


@pytest.mark.parametrize(
    ("values", "keys", "expected"),
    [
        (pa.array([1, 2, None, 6]), {"statistic": "mean", "min": 3, "max": 3}, (True, 3.0, 1)),
        (pa.array([1, 2, None, 6]), {"statistic": "mean", "min": 3.1}, (False, 3.0, 1)),
        (pa.array([1, 2, None, 6]), {"statistic": "sum", "max": 9}, (True, 9, 1)),
        (pa.array([1, 2, None, 6]), {"statistic": "min", "min": 2}, (False, 1, 1)),
        (pa.array([1, 2, None, 6]), {"statistic": "max", "max": 6}, (True, 6, 1)),
        (pa.array([1, 2, None, 6]), {"statistic": "median", "min": 2, "max": 2}, (True, 2.0, 1)),
        (pa.array([7, 2, 3, 1]), {"statistic": "quantile", "quantile": 0.75, "max": 3.9}, (False, 4.0, 0)),
        (pa.array([2**63 - 1] * 4), {"statistic": "sum", "max": 4 * (2**63 - 1)}, (True, "36893488147419103228", 0)),
        (pa.array([2**64 - 1, 0], pa.uint64()), {"statistic": "max", "max": 2**64 - 1}, (True, 2**64 - 1, 0)),
        (pa.array([2**53, 2**53 + 1]), {"statistic": "max", "max": 2**53}, (False, 2**53 + 1, 0)),
        (MONEY, {"statistic": "sum", "min": 0.6, "max": 0.6}, (True, "0.60", 1)),
        (MONEY, {"statistic": "mean", "min": 0.2, "max": 0.2}, (True, 0.2, 1)),
        (MONEY, {"statistic": "max", "max": 0.29}, (False, "0.30", 1)),
        (pa.array([Decimal(10**30 + 1)]), {"statistic": "max", "max": 10**30}, (False, str(10**30 + 1), 0)),
        (pa.array([0.1] * 10), {"statistic": "mean", "min": 0.1, "max": 0.1}, (True, 0.1, 0)),
        (pa.array([1e308, 1e308, -1e308]), {"statistic": "sum", "max": 1e308}, (True, 1e308, 0)),
        (pa.array([1e308, 1e308]), {"statistic": "sum", "max": 1e308}, (False, "Infinity", 0)),
        (pa.array([1e16, 1.0, -1e16]), {"statistic": "sum", "min": 1, "max": 1}, (True, 1.0, 0)),
        (pa.array([1.0, NAN, None, 3.0]), {"statistic": "mean", "max": 2}, (True, 2.0, 2)),
        (pa.array([1.0, INF]), {"statistic": "mean", "max": 1e300}, (False, "Infinity", 0)),
        (pa.array([-INF, INF]), {"statistic": "sum", "min": 0}, (False, "NaN", 0)),
        (pa.array([-INF, INF, 2.0]), {"statistic": "median", "min": 2, "max": 2}, (True, 2.0, 0)),
        (pa.array(["1", "x", "", None, "2.5"]), {"statistic": "sum", "max": 3.5}, (True, 3.5, 3)),
        (pa.array([0.5, 0.1], pa.float32()), {"statistic": "min", "max": 0.1}, (True, float(np.float32(0.1)), 0)),
        (pa.array([1, 3], pa.float16()), {"statistic": "mean", "max": 2}, (True, 2.0, 0)),
        (pa.array([None, NAN]), {"statistic": "mean", "min": 0}, (None, None, 2)),
        (pa.array([], pa.int64()), {"statistic": "median", "min": 0}, (None, None, 0)),
        (pa.nulls(2), {"statistic": "sum", "min": 0}, (None, None, 2)),
    ],
)
def test_figures_of_numbers(values: pa.Array, keys: dict[str, Any], expected: Any) -> None:
    assert measured(values, "statistic", **keys) == expected


@pytest.mark.parametrize(
    ("values", "max_age", "expected"),
    [
        (pa.array([datetime(2024, 3, 10, 11), datetime(2020, 1, 1), None]), "1h", (True, 3600.0, 1)),
        (pa.array([datetime(2024, 3, 10, 11)]), "59m", (False, 3600.0, 0)),
        (pa.array([datetime(2024, 3, 10, 11, tzinfo=timezone.utc)], pa.timestamp("ns", "Europe/Berlin")), "1h", (True, 3600.0, 0)),
        (pa.array([datetime(2024, 3, 10).date()]), "12h", (True, 43_200.0, 0)),
        (pa.array(["2024-03-10T13:00:00+02:00", "soon"]), "1h", (True, 3600.0, 1)),
        (pa.array([datetime(2024, 3, 10, 13)]), "1s", (True, -3600.0, 0)),
        (pa.array([], pa.date32()), "1h", (False, None, 0)),
        (pa.array(["never"]), "1h", (False, None, 1)),
        (pa.array([b"\xff", b"2024-03-10T11:00:00"]).view(pa.string()), "1h", (True, 3600.0, 1)),
        (pa.array([2**31 - 1], pa.date32()), "1h", (False, None, 1)),
    ],
)
def test_the_age_of_the_newest_value(values: pa.Array, max_age: str, expected: Any) -> None:
    assert measured(values, "freshness", maxAge=max_age) == expected


def test_the_newest_value_is_told_and_without_a_clock_it_is_now() -> None:
    table = pa.table({"v": pa.array([datetime(2024, 3, 10, 11)])})
    rule = {"id": "r", "type": "freshness", "field": "v", "maxAge": "2h"}
    assert of(check(table, [rule], now=datetime(2024, 3, 10, 12)), "r")["newest"] == "2024-03-10T11:00:00.000000+00:00"
    assert of(check(table, [rule]), "r")["holds"] is False
    assert of(check(pa.table({"v": [datetime.now(timezone.utc)]}), [rule]), "r")["holds"] is True


WIDE = pa.table(
    {
        "id": pa.array([1]),
        "name": pa.array(["x"], pa.large_string()),
        "at": pa.array([0], pa.timestamp("ns", "Europe/Berlin")),
        "tags": pa.array([["a"]], pa.large_list(pa.large_string())),
        "kind": pa.array(["k"]).dictionary_encode(),
        "price": pa.array([Decimal("1.00")], pa.decimal128(10, 2)),
    }
)
COLUMNS = {"id": "bigint", "name": "text", "at": "timestamptz", "tags": "list<text>", "kind": "text", "price": "decimal(10,2)"}


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"columns": COLUMNS, "extra": "refuse", "order": True}, None),
        ({"columns": {"price": "decimal(10,2)", "id": "bigint"}}, None),
        ({"columns": {"price": "decimal(10,2)", "id": "bigint"}, "order": True}, "another order"),
        ({"columns": {"id": "bigint", "price": "decimal(10,2)"}, "order": True}, None),
        ({"columns": {"id": "int32"}}, "'id' of type int64"),
        ({"columns": {"price": "decimal(10,3)"}}, "'price' of type decimal128(10, 2)"),
        ({"columns": {"at": "timestamp"}}, "'at' of type timestamp[ns, tz=Europe/Berlin]"),
        ({"columns": {"ID": "bigint"}}, "no 'ID'"),
        ({"columns": {name: kind for name, kind in COLUMNS.items() if name != "tags"}, "extra": "refuse"}, "'tags' besides"),
    ],
)
def test_columns_are_as_expected(keys: dict[str, Any], wrong: str | None) -> None:
    told = of(check(WIDE, [{"id": "r", "type": "schema", **keys}]), "r")
    assert told["holds"] is (wrong is None)
    assert told["message"].partition(", got ")[2] == (wrong or "")
    assert told["measured"]["id"] == "int64"


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ({"type": "schema", "columns": {"id": "bigint", "name": "txet"}}, "columns.name"),
        ({"type": "statistic", "field": "tags", "statistic": "mean", "min": 1}, "field"),
        ({"type": "freshness", "field": "id", "maxAge": "1h"}, "field"),
        ({"type": "null-ratio", "field": "nmae", "max": 0}, "field"),
        ({"type": "monotonic", "field": "tags"}, "field"),
    ],
)
def test_what_cannot_fit_is_refused(rule: dict[str, Any], key: str) -> None:
    with pytest.raises(PlanError) as caught:
        check(WIDE, [{"id": "r", **rule}])
    assert [problem.path for problem in caught.value.problems] == [f"rules[0].{key}"]


@pytest.mark.parametrize("key", ["action", "mostly", "maxFailures"])
def test_settings_about_rows_are_refused(key: str) -> None:
    with pytest.raises(SpecError, match="as a whole") as caught:
        check(WIDE, [{"id": "r", "type": "row-count", "min": 1, key: {"action": "log", "mostly": 0.5, "maxFailures": 1}[key]}])
    assert [problem.path for problem in caught.value.problems] == [f"validation.rules[0].{key}"]


@pytest.mark.parametrize(
    ("severities", "status"),
    [((), "ok"), (("info",), "info"), (("info", "warning"), "warning"), (("warning", "error", "info"), "error")],
)
def test_the_worst_rule_that_failed_is_the_status_and_no_row_is_rejected(severities: tuple[str, ...], status: str) -> None:
    table = pa.table({"v": [1, -1]})
    rules: list[dict[str, Any]] = [{"id": f"r{at}", "type": "row-count", "min": 3, "severity": one} for at, one in enumerate(severities)]
    rules += [{"id": "good", "type": "row-count", "min": 2}, {"id": "row", "type": "numeric-range", "field": "v", "min": 0, "mostly": 0.5}]
    result = check(table, rules)
    assert (result.status, result.ok) == (status, status != "error")
    assert result.to_dict()["status"] == status
    assert result.valid.column_names == ["v"]
    assert (result.valid.num_rows, result.failed, result.violations.num_rows) == (1, 1, 1)
    assert check(table, [*rules, {"id": "many", "type": "numeric-range", "field": "v", "min": 0, "mostly": 0.6}]).status == "error"


def test_a_rule_that_has_nothing_to_measure_does_not_fail_and_says_so() -> None:
    result = check(
        pa.table({"v": pa.array([], pa.int64())}), [{"id": "r", "type": "statistic", "field": "v", "statistic": "mean", "min": 1}]
    )
    assert (result.status, of(result, "r")["holds"], of(result, "r")["evaluated"]) == ("ok", None, 0)


def test_a_result_can_be_written_as_json() -> None:
    table = pa.table({"v": pa.array([2**63 - 1] * 4), "x": [INF, -INF, NAN, 1.0], "t": pa.array([0] * 4, pa.timestamp("us"))})
    rules: list[dict[str, Any]] = [
        {"id": f"{f}-{s}", "type": "statistic", "field": f, "statistic": s, "min": 0} for f in "vx" for s in ("sum", "max")
    ]
    rules += [{"id": "f", "type": "freshness", "field": "t", "maxAge": "1h"}, {"id": "s", "type": "schema", "columns": {"v": "bigint"}}]
    assert '"36893488147419103228"' in check(table, rules).to_json()


RULES: list[dict[str, Any]] = [
    {"id": "rows", "type": "row-count", "min": 3},
    {"id": "nulls", "type": "null-ratio", "field": "x", "max": 0.2},
    {"id": "count", "type": "distinct-count", "field": "x", "min": 3},
    {"id": "ratio", "type": "distinct-ratio", "field": "t", "min": 0.5},
    *(
        {"id": f"x-{name}", "type": "statistic", "field": "x", "statistic": name, "min": 0}
        for name in ("mean", "sum", "min", "max", "median")
    ),
    {"id": "n-sum", "type": "statistic", "field": "n", "statistic": "sum", "min": 0},
    {"id": "q", "type": "statistic", "field": "n", "statistic": "quantile", "quantile": 0.3, "min": 0},
    {"id": "fresh", "type": "freshness", "field": "d", "maxAge": "1h"},
]
SCHEMA = pa.schema([("x", pa.float64()), ("n", pa.int64()), ("t", pa.string()), ("d", pa.timestamp("us"))])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "x": st.none() | st.floats(allow_nan=True) | st.sampled_from([0.0, -0.0, 0.1, 1e16]),
            "n": st.none() | st.integers(-(2**63), 2**63 - 1),
            "t": st.none() | st.sampled_from("abc"),
            "d": st.none() | st.datetimes(datetime(2024, 1, 1), datetime(2024, 3, 10)),
        }
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.data())
def test_any_cut_and_any_order_of_merging_measure_the_same(records: list[dict[str, Any]], data: st.DataObject) -> None:
    table = pa.Table.from_pylist(records, SCHEMA)
    parts = cut(table, data.draw(st.lists(st.integers(0, len(records)), max_size=5)))
    whole = check(table, RULES, now=NOW)
    assert check(parts, RULES, now=NOW).to_dict() == whole.to_dict()
    models, actions = rule_set(RULES, None)
    measures = Measures(compile_rules(models, SCHEMA, actions, lambda _: table))
    state = measures.nothing()
    for batch in data.draw(st.permutations(parts.to_batches())):  # as bundles come: in any order, from other processes
        state = measures.merge(pickle.loads(pickle.dumps(measures.measure(batch))), state)
    verdicts = measures.verdicts(state, NOW)
    assert [verdicts[at].measured for at in range(len(RULES))] == [rule.to_dict()["measured"] for rule in whole.rules]
    numbers = [record["x"] for record in records if record["x"] is not None and math.isfinite(record["x"])]
    if len(numbers) == sum(record["x"] is not None for record in records) > 0:
        exact = sum(map(Fraction, numbers), Fraction(0))
        if abs(exact) < 1e308:
            assert of(whole, "x-sum")["measured"] == float(exact)
            assert of(whole, "x-mean")["measured"] == float(exact / len(numbers))
    whole_numbers = [record["n"] for record in records if record["n"] is not None]
    if whole_numbers:
        assert int(of(whole, "n-sum")["measured"]) == sum(whole_numbers)
    distinct = {repr(record["x"] + 0.0) for record in records if record["x"] is not None}
    assert of(whole, "count")["measured"] == len(distinct)


def test_measures_of_a_larger_table_are_those_of_sql() -> None:
    random = np.random.default_rng(11)
    rows = 200_000
    table = pa.table(
        {
            "x": pa.array(random.lognormal(3, 2, rows), mask=random.random(rows) < 0.1),
            "k": pa.array(random.integers(0, 60_000, rows).astype(str), mask=random.random(rows) < 0.05),
        }
    )
    wanted = "count(*), count(*) - count(x), count(DISTINCT k), count(k), avg(x), min(x), max(x), fsum(x), quantile_cont(x, 0.25)"
    with duckdb.connect() as database:
        database.register("t", table)
        count, nulls, distinct, keys, mean, least, greatest, added, quarter = database.execute(f"SELECT {wanted} FROM t").fetchall()[0]
    rules: list[dict[str, Any]] = [
        {"id": "rows", "type": "row-count", "min": 1},
        {"id": "nulls", "type": "null-ratio", "field": "x", "max": 1},
        {"id": "distinct", "type": "distinct-count", "field": "k", "min": 1},
        {"id": "ratio", "type": "distinct-ratio", "field": "k", "min": 0},
        *({"id": name, "type": "statistic", "field": "x", "statistic": name, "min": 0} for name in ("mean", "min", "max", "sum")),
        {"id": "quarter", "type": "statistic", "field": "x", "statistic": "quantile", "quantile": 0.25, "min": 0},
    ]
    result = check(pa.Table.from_batches(table.to_batches(max_chunksize=30_011)), rules)
    told = {name: of(result, name)["measured"] for name in ("rows", "nulls", "distinct", "ratio", "min", "max")}
    assert told == {"rows": count, "nulls": nulls / count, "distinct": distinct, "ratio": distinct / keys, "min": least, "max": greatest}
    assert of(result, "mean")["measured"] == pytest.approx(mean, rel=1e-12)
    assert of(result, "sum")["measured"] == pytest.approx(added, rel=1e-12)
    assert of(result, "quarter")["measured"] == pytest.approx(quarter, rel=0.004)
    assert of(result, "quarter")["approximate"] is True
    assert "approximate" not in of(result, "distinct")


def test_above_the_bound_different_values_are_estimated_whatever_the_cut() -> None:
    values = pa.array(np.random.default_rng(3).integers(0, 2**40, 60_000))
    whole = Distinct.of(values, 1_000)
    parts = Distinct.nothing(1_000)
    for begin in range(0, 60_000, 700):
        parts = parts + Distinct.of(values.slice(begin, 700), 1_000)
    assert (whole.approximate, parts.approximate, whole.count) == (True, True, parts.count)
    assert whole.count == pytest.approx(60_000, rel=0.03)
    assert len(pickle.dumps(parts)) < 20_000
    assert Distinct.of(values.slice(0, 1_000), 1_000).count == len(set(values.slice(0, 1_000).to_pylist()))


def test_above_the_bound_quantiles_are_near_whatever_the_cut() -> None:
    values = np.random.default_rng(4).normal(100, 60, 20_000)
    whole, parts = Quantiles.of(pa.array(values), 1_000), Quantiles(bound=1_000)
    for begin in range(0, 20_000, 333):
        parts = Quantiles.of(pa.array(values[begin : begin + 333]), 1_000) + parts
    for share in (0.0, 0.01, 0.5, 0.99, 1.0):
        assert whole.at(share) == parts.at(share) == pytest.approx(np.quantile(values, share), rel=0.01, abs=1)
    assert whole.approximate
    assert not Quantiles.of(pa.array(values[:1_000]), 1_000).approximate
    assert Quantiles.of(pa.array(values[:999]), 1_000).at(0.5) == statistics.median(values[:999].tolist())
