"""What an aggregate says of nothing, of too much, of nested fields and of definitions that do not fit."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.errors import PlanError

EVERY = [
    "count", "count_distinct", "sum", "avg", "min", "max", "first", "last", "median", "stddev", "collect",
    {"function": "percentile", "args": {"p": 0.9}},
]  # fmt: skip
OF_NOTHING = {
    **{f"{name}_x": None for name in ("sum", "avg", "min", "max", "first", "last", "median", "stddev", "percentile")},
    "count_distinct_x": 0,
    "collect_x": [],
}


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.record_batch({name: value if isinstance(value, pa.Array) else pa.array(value) for name, value in columns.items()})


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.decimal128(9, 2)], ids=str)
def test_of_no_rows_one_row_without_keys_and_none_with_keys(workshop: Any, kind: pa.DataType) -> None:
    nothing = batch(k=pa.array([], pa.string()), x=pa.array([], kind))
    assert workshop.at_once(nothing, aggregations={"x": EVERY, "*": "count"}) == [{**OF_NOTHING, "count_x": 0, "count": 0}]
    assert workshop.in_pieces(nothing, 1, 16, aggregations={"x": EVERY}) == [{**OF_NOTHING, "count_x": 0}]
    assert workshop.at_once(nothing, groupBy=["k"], aggregations={"x": EVERY}) == []


def test_of_nulls_alone_there_is_nothing_but_their_count(workshop: Any) -> None:
    nulls = batch(x=pa.array([None, None], pa.int64()))
    assert workshop.at_once(nulls, aggregations={"x": EVERY}) == [{**OF_NOTHING, "count_x": 2}]


@pytest.mark.parametrize(
    ("kind", "values", "wanted"),
    [
        (pa.int64(), [2**63 - 1, 1], "sum_x: the sum is out of the range of bigint"),
        (pa.int64(), [-(2**63), -1], "sum_x: the sum is out of the range of bigint"),
        (pa.uint64(), [2**64 - 1, 1], "sum_x: the sum is out of the range of bigint"),
        (pa.decimal128(38, 0), [Decimal("9" * 38), Decimal(1)], "sum_x: the sum has more than 38 digits"),
        (pa.duration("us"), [2**63 - 1, 1], "sum_x: the sum is out of the range of bigint"),
    ],
    ids=["int", "least int", "uint64", "decimal", "duration"],
)
def test_a_group_whose_sum_does_not_fit_is_a_dead_letter_named_by_its_key(
    workshop: Any, kind: pa.DataType, values: list[Any], wanted: str
) -> None:
    rows = batch(k=["a", "a", "b"], x=pa.array([*values, None], kind))
    step, _ = workshop.opened(rows, groupBy=["k"], aggregations={"x": "sum"})
    states = [step.states(rows.slice(at, 1), at) for at in range(3)]
    applied = step.results(states, "target")
    assert [origin.visible(out).to_pylist() for out in applied.batches] == [[{"k": "b", "sum_x": None}]]
    (dead,) = applied.dead
    assert (dead.codes, dead.messages) == (["cast-failed"], [wanted])
    assert origin.describe(dead.batch, dead.rows) == [{"source": "totals", "key": {"k": "a"}}]
    # Three rows are two groups: one went on as a part of the other.
    assert (applied.absorbed, applied.made, applied.rows_out) == (1, 0, 1)


@pytest.mark.parametrize(
    ("values", "total"),
    [([2**63 - 1, 1, -1], 2**63 - 1), ([-(2**63), 2**63 - 1], -1), ([2**62, 2**62, -(2**63)], 0)],
)
def test_sums_of_integers_are_exact_whatever_is_in_between(workshop: Any, values: list[int], total: int) -> None:
    assert workshop.at_once(batch(x=values), aggregations={"x": ["sum", "avg"]}) == [
        {"sum_x": total, "avg_x": pytest.approx(total / len(values), rel=1e-12)}
    ]


def test_the_mean_of_many_small_negative_integers_keeps_its_digits(workshop: Any) -> None:
    # Each is 2^32 - 7 above -2^32: the two halves are large, and what is left of them small.
    many = batch(x=pa.array(np.full(3_000_001, -7, dtype=np.int64)))
    assert workshop.at_once(many, aggregations={"x": "avg"}) == [{"avg_x": -7.0}]


def test_the_mean_of_integers_whose_sum_does_not_fit_is_there(workshop: Any) -> None:
    (row,) = workshop.at_once(batch(x=[2**63 - 1] * 3), aggregations={"x": "avg"})
    assert row == {"avg_x": pytest.approx(2.0**63, rel=1e-15)}


def test_numbers_as_duckdb_works_them_out(workshop: Any) -> None:
    chance = np.random.default_rng(7)
    size = 3000
    table = {
        "k": pa.array(np.array(["a", "b", "c", None], dtype=object)[chance.integers(0, 4, size)]),
        "x": pa.array(chance.normal(10, 5, size), mask=chance.random(size) < 0.1),
        "i": pa.array(chance.integers(-(2**62), 2**62, size) // 4096),
        "d": pa.array(chance.integers(0, 10**9, size)).cast(pa.decimal128(38, 2)),
    }
    functions = ["sum", "avg", "min", "max", "median", "stddev", "count_distinct", {"function": "percentile", "args": {"p": 0.37}}]
    population = {"function": "stddev", "as": "pop", "args": {"of": "population"}}
    got = workshop.in_pieces(
        batch(**table), 3, 16, groupBy=["k"], aggregations={"x": [*functions, population], "i": functions, "d": functions}
    )
    each = ", ".join(
        f"sum({c}), avg({c}::double), min({c}), max({c}), median({c}::double), stddev_samp({c}::double), count(distinct {c}),"
        f" quantile_cont({c}::double, 0.37)" + (", stddev_pop(x)" if c == "x" else "")
        for c in "xid"
    )
    rows = pa.table(list(table.values()), names=list(table))  # noqa: F841 (DuckDB finds it by its name)
    wanted = duckdb.sql(f"SELECT k, {each} FROM rows GROUP BY k").fetchall()
    assert len(got) == len(wanted) == 4
    by_key = {row["k"]: list(row.values()) for row in got}
    for expected in wanted:
        for value, known in zip(by_key[expected[0]], expected, strict=True):
            assert value == (pytest.approx(known, rel=1e-12) if isinstance(known, float) else known)


def test_the_spread_of_numbers_that_are_far_from_zero_and_near_each_other(workshop: Any) -> None:
    # The textbook's sum of squares gives 0 or the root of a negative number here.
    rows = batch(x=[1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])
    assert workshop.in_pieces(rows, 5, 1, aggregations={"x": "stddev"}) == [{"stddev_x": pytest.approx(math.sqrt(30), rel=1e-12)}]


@pytest.mark.parametrize("approx", [False, True])
def test_percentiles_among_infinities_are_those_of_duckdb(workshop: Any, approx: bool) -> None:
    inf = float("inf")
    groups = {1: [inf, inf], 2: [1.0, 2.0, inf, inf], 3: [-inf, -inf, 1.0], 4: [-inf, 5.0]}
    rows = pa.record_batch({"k": [k for k, of in groups.items() for _ in of], "x": [x for of in groups.values() for x in of]})
    args = {"approx": True} if approx else {}
    shares = {f"p{share}": {"function": "percentile", "as": f"p{share}", "args": {"p": share / 10, **args}} for share in (1, 5, 9)}
    got = {row.pop("k"): row for row in workshop.at_once(rows, groupBy=["k"], aggregations={"x": list(shares.values())})}
    query = "SELECT k, quantile_cont(x, 0.1), quantile_cont(x, 0.5), quantile_cont(x, 0.9) FROM rows GROUP BY k"
    expected = {k: dict(zip(shares, found, strict=True)) for k, *found in duckdb.from_arrow(pa.table(rows)).query("rows", query).fetchall()}
    assert {k: {name: pytest.approx(x, rel=0.01) for name, x in of.items()} for k, of in expected.items()} == got


def test_a_percentile_keeps_its_digits_however_many_groups_there_are(workshop: Any) -> None:
    groups = 300_000
    rows = batch(k=np.repeat(np.arange(groups), 2), x=np.tile([0.0, 1.0], groups))
    got = workshop.at_once(rows, groupBy=["k"], aggregations={"x": [{"function": "percentile", "args": {"p": 0.1}}]})
    assert {row["percentile_x"] for row in got} == {0.1}


def test_every_nan_is_one_key_and_both_zeros_are_one(workshop: Any) -> None:
    other = float(np.frombuffer(b"\x01\x00\x00\x00\x00\x00\xf8\xff", "<f8")[0])
    rows = batch(k=[0.0, -0.0, math.nan, other, None, -0.0], x=[1.0, 2.0, -0.0, 0.0, 3.0, 4.0])
    for got in (
        workshop.at_once(rows, groupBy=["k"], aggregations={"x": ["sum", "count_distinct"]}),
        workshop.in_pieces(rows, 4, 16, groupBy=["k"], aggregations={"x": ["sum", "count_distinct"]}),
    ):
        assert {str(row["k"]): (row["sum_x"], row["count_distinct_x"]) for row in got} == {
            "0.0": (7.0, 3), "nan": (0.0, 1), "None": (3.0, 1)
        }  # fmt: skip


def test_what_is_distinct_in_each_of_many_groups(workshop: Any) -> None:
    chance = np.random.default_rng(11)
    keys, values = chance.integers(0, 500, 30_000), chance.integers(0, 40, 30_000)
    rows = batch(k=keys, x=pa.array(values.astype(str)))
    wanted = {key: len(set(values[keys == key].tolist())) for key in range(500)}
    for shards in (1, 16):
        got = workshop.in_pieces(rows, shards, shards, groupBy=["k"], aggregations={"x": "count_distinct"})
        assert {row["k"]: row["count_distinct_x"] for row in got} == wanted


def test_infinity_is_a_number_and_nan_only_the_last_resort_of_extremes(workshop: Any) -> None:
    rows = batch(k=["a", "a", "b", "b"], x=[math.nan, math.inf, math.nan, math.nan])
    got = {row["k"]: row for row in workshop.at_once(rows, groupBy=["k"], aggregations={"x": ["min", "max", "sum", "count_distinct"]})}
    assert (got["a"]["min_x"], got["a"]["max_x"], got["a"]["count_distinct_x"]) == (math.inf, math.inf, 2)
    assert math.isnan(got["a"]["sum_x"])
    assert math.isnan(got["b"]["min_x"])
    assert got["b"]["count_distinct_x"] == 1


def test_nested_fields_and_elements_of_lists_as_keys_and_as_fields(workshop: Any) -> None:
    rows = batch(
        at=[{"city": "Ulm", "tags": [3, 4]}, {"city": None, "tags": []}, None, {"city": "Ulm", "tags": [5]}],
        n=[1, 2, 3, 4],
    )
    got = workshop.at_once(rows, groupBy=["at.city"], aggregations={"at.tags[0]": ["sum"], "n": "collect"})
    # Keys of a path have its parts in their name; a field's name stays as it is written.
    assert sorted(got, key=str) == [
        {"at_city": "Ulm", "sum_at.tags[0]": 8, "collect_n": [1, 4]},
        {"at_city": None, "sum_at.tags[0]": None, "collect_n": [2, 3]},
    ]


def test_having_sees_the_results_and_a_group_on_which_it_fails_is_a_dead_letter(workshop: Any) -> None:
    rows = batch(k=["a", "b", "b", "c"], x=["1", "2", "3", "no"])
    step, _ = workshop.opened(
        rows, groupBy=["k"], aggregations={"x": [{"function": "max", "as": "most"}]}, having="CAST(most AS BIGINT) > 1"
    )
    applied = step.apply(rows)
    assert [origin.visible(out).to_pylist() for out in applied.batches] == [[{"k": "b", "most": "3"}]]
    assert (applied.filtered, applied.absorbed) == (1, 1)
    (dead,) = applied.dead
    assert dead.codes == ["expression-failed"]
    assert origin.describe(dead.batch, dead.rows) == [{"source": "totals", "key": {"k": "c"}}]


def test_a_structured_having(workshop: Any) -> None:
    rows = batch(k=[1, 1, 2], x=[1, 2, 3])
    having = {"field": "count_x", "operator": "gte", "value": 2}
    assert workshop.at_once(rows, groupBy=["k"], aggregations={"x": "count"}, having=having) == [{"k": 1, "count_x": 2}]


def test_every_mistake_is_told_at_once_with_its_place_and_what_to_do(workshop: Any) -> None:
    schema = pa.schema({"country": pa.string(), "amount": pa.float64(), "tags": pa.list_(pa.string())})
    step = workshop.aggregate(
        groupBy=["contry", "tags"],
        aggregations={
            "country": ["sum", "count"],
            "amonut": "sum",
            "amount": [
                {"function": "percentile", "args": {"p": 95}},
                {"function": "sum", "args": {"of": "sample"}, "as": "s"},
                {"function": "stddev", "args": {"of": "all"}},
                {"function": "first", "args": {"orderBy": "at"}},
                {"function": "min", "as": "count_country"},
            ],
            "*": "sum",
        },
    )
    with pytest.raises(PlanError) as refused:
        step.plan(schema, None)
    place = "pipeline.transformations[0]"
    apart, convert = "a field with values that can be told apart", "convert the field in a map step before, such as with converter: decimal"
    told = [(problem.path, problem.message, problem.hint) for problem in refused.value.problems]
    assert told == [
        (f"{place}.groupBy[0]", "no field 'contry'", "did you mean country?"),
        (f"{place}.groupBy[1]", f"expected {apart}, got 'tags', a list<item: string>", "name a field inside of it"),
        (f"{place}.aggregations.country", "sum of 'country': expected numbers to add up, got a string", convert),
        (f"{place}.aggregations.amonut", "no field 'amonut'", "did you mean amount?"),
        (f"{place}.aggregations.amount", "percentile of 'amount': expected args: {p: SHARE} with a share from 0 to 1, got 95", ""),
        (f"{place}.aggregations.amount", "sum of 'amount': no argument 'of' for sum", "arguments: none"),
        (f"{place}.aggregations.amount", "stddev of 'amount': expected args: {of: sample} or {of: population}, got 'all'", ""),
        (f"{place}.aggregations.amount", "no field 'at'", "fields: country, amount, tags"),
        (f"{place}.aggregations.*", "expected a field for 'sum'; only count takes '*'", "name a field in its place"),
        (f"{place}.aggregations", "two results would be called 'count_country'", "name one with `as`"),
    ]  # fmt: skip


def test_a_having_that_does_not_fit_is_told_with_its_place(workshop: Any) -> None:
    step = workshop.aggregate(aggregations={"x": "sum"}, having="sum_y > 1")
    with pytest.raises(PlanError) as refused:
        step.plan(pa.schema({"x": pa.int64()}), None)
    assert refused.value.problems[0].path == "pipeline.transformations[0].having"
    assert "sum_y" in refused.value.problems[0].message


@pytest.mark.parametrize("order", [{}, {"orderBy": "o"}], ids=["by place", "by a field"])
def test_rows_of_one_place_are_told_apart_by_what_is_in_them(workshop: Any, order: dict[str, Any]) -> None:
    """As a join makes several rows of one: whatever the order in which they come."""
    rows = pa.record_batch({"k": [1] * 6, "v": [[5], [3], [9], [1], [7], None], "o": [1] * 6})
    aggregations = {"v": ["collect", *({"function": one, "args": order} for one in ("first", "last"))]}
    step, _ = workshop.opened(rows, groupBy=["k"], aggregations=aggregations)
    found = set()
    for turn in range(6):
        turned = pa.concat_batches([rows.slice(turn), rows.slice(0, turn)])
        places = np.array([0] * 6, dtype=np.int64)
        states = [step.states(turned.slice(at, 2), places[at : at + 2]) for at in (0, 2, 4)]
        (row,) = step.results([step.combine(states)], "t").batches[0].to_pylist()
        assert sorted(row["collect_v"]) == [[1], [3], [5], [7], [9]]
        found.add(str(row))
    assert len(found) == 1
