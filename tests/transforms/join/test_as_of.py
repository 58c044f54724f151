"""Which row counts at the time of each: against DuckDB's ASOF join and plain Python, for every type of time, cut and sharded in any way."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import index, origin
from beam_pipelines.errors import PlanError

Join = Callable[..., Any]
UTC = dt.timezone.utc
NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
DAY = dt.datetime(2024, 1, 1)
INT = pa.int64()
SIGNS = (">=", ">", "<=", "<")  # as DuckDB writes them
SETTINGS = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sides(left: list[tuple[Any, Any]], right: list[tuple[Any, Any]], kind: Any = INT, other: Any = None) -> Any:
    """Rows of (key, time), numbered x on the left and y on the right."""
    return (
        pa.record_batch(
            {"k": pa.array([k for k, _ in left], pa.string()), "t": pa.array([t for _, t in left], kind), "x": pa.array(range(len(left)))}
        ),
        pa.record_batch(
            {
                "k": pa.array([k for k, _ in right], pa.string()),
                "u": pa.array([t for _, t in right], other or kind),
                "y": pa.array(range(len(right))),
            }
        ),
    )


def numbers(joined: Any) -> list[tuple[int, int | None]]:
    pairs = [zip(batch["x"].to_pylist(), batch["y"].to_pylist(), strict=True) for batch in joined.batches]
    return sorted(pair for one in pairs for pair in one)


@pytest.fixture(scope="module")
def memory() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def duck(memory: Any, how: str, sign: str, left: pa.RecordBatch, right: pa.RecordBatch, keyed: bool) -> list[tuple[int, int | None]]:
    memory.register("l", left)
    memory.register("r", right)
    on = "l.k = r.k AND " if keyed else ""
    return sorted(memory.execute(f"SELECT x, y FROM l ASOF {how} JOIN r ON {on}l.t {sign} r.u").fetchall())


@st.composite
def cases(draw: st.DrawFn) -> Any:
    # From a seed: rows drawn one by one hardly ever meet.
    dice = draw(st.randoms(use_true_random=True))
    left, right = (
        [(dice.choice(["a", "b", "a", "b", None]), dice.choice([None, *range(12)])) for _ in range(draw(st.integers(0, 30)))] for _ in "lr"
    )
    cuts = st.lists(st.integers(0, 30), max_size=3)
    return left, [*dict.fromkeys(right)], draw(cuts), draw(cuts), draw(st.sampled_from([1, 2, 16]))


@pytest.mark.parametrize("collide", [False, True])
@given(case=cases(), sign=st.sampled_from(SIGNS), how=st.sampled_from(["inner", "left"]), keyed=st.booleans())
@SETTINGS
def test_the_row_that_counts_is_duckdbs(join: Join, memory: Any, collide: bool, case: Any, sign: str, how: str, keyed: bool) -> None:
    left, right, lefts, rights, shards = case
    if not keyed:
        right = list({time: (key, time) for key, time in right}.values())  # of two at one time DuckDB takes any
    ours, theirs = sides(left, right)
    by = {"left": "t", "right": "u", "direction": "backward" if ">" in sign else "forward", "allowEqual": "=" in sign}
    with pytest.MonkeyPatch.context() as patch:
        if collide:
            patch.setattr(index, "_hashes", lambda keys, rows: np.full(rows, 7, dtype=np.uint64))
        theirs = theirs if keyed else theirs.drop_columns(["k"])
        found = join(ours, theirs, how, ["k"] if keyed else None, asOf=by, lefts=lefts, rights=rights, shards=shards if keyed else 1)
    assert numbers(found) == duck(memory, how, sign, ours, theirs, keyed)


@given(case=cases(), tolerance=st.one_of(st.none(), st.integers(0, 4)), equal=st.booleans())
@SETTINGS
def test_the_nearest_row_counts_and_of_two_the_earlier(join: Join, case: Any, tolerance: int | None, equal: bool) -> None:
    left, right, lefts, rights, shards = case
    ours, theirs = sides(left, right)
    wanted: list[tuple[int, int | None]] = []
    for x, (key, time) in enumerate(left):
        fit = [
            (abs(time - other), other, y)
            for y, (name, other) in enumerate(right)
            if key is not None and name == key and time is not None and other is not None and (equal or other != time)
            if tolerance is None or abs(time - other) <= tolerance
        ]
        wanted.append((x, min(fit)[2] if fit else None))
    by = {"left": "t", "right": "u", "direction": "nearest", "tolerance": tolerance, "allowEqual": equal}
    assert numbers(join(ours, theirs, "left", asOf=by, lefts=lefts, rights=rights, shards=shards)) == wanted


def ns(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


FAR = dt.datetime(9999, 12, 31, 23, 59, 59)
BIG = 2**63
# Types, rights in order, lefts, and how many of the rights are at or before each.
ORDERS: dict[str, tuple[pa.DataType, pa.DataType, list[Any], list[Any], list[int]]] = {
    "unlike units": (
        pa.timestamp("ns"),
        pa.timestamp("us", "Europe/Berlin"),
        [DAY.replace(tzinfo=UTC), (DAY + dt.timedelta(microseconds=1)).replace(tzinfo=UTC), FAR.replace(tzinfo=UTC)],
        [
            ns("2023-12-31T23:59:59.999999999"),
            ns("2024-01-01"),
            ns("2024-01-01T00:00:00.000000999"),
            ns("2024-01-01T00:00:00.000001"),
            ns("2262-01-01"),
        ],
        [0, 1, 1, 2, 2],
    ),
    "nanoseconds": (
        pa.timestamp("us"),
        pa.timestamp("ns", "UTC"),
        [ns("2024-01-01T00:00:00.000000001"), ns("2024-01-01T00:00:00.000000002"), ns("2024-01-01T00:00:00.000001")],
        [DAY, DAY + dt.timedelta(microseconds=1), FAR],
        [0, 3, 3],
    ),
    "dates": (
        pa.date64(),
        pa.date32(),
        [dt.date(1, 1, 1), dt.date(2024, 2, 29), dt.date(9999, 12, 31)],
        [dt.date(2024, 2, 28), dt.date(2024, 2, 29), dt.date(9999, 12, 31)],
        [1, 2, 3],
    ),
    "dates and times": (
        pa.timestamp("us", "Asia/Tokyo"),
        pa.date32(),
        [dt.date(1969, 12, 31), DAY.date(), dt.date(9999, 12, 31)],
        [(DAY - dt.timedelta(microseconds=1)).replace(tzinfo=UTC), DAY.replace(tzinfo=UTC), FAR.replace(tzinfo=UTC)],
        [1, 2, 3],
    ),
    "uint64": (pa.int64(), pa.uint64(), [0, 1, 2**53 + 1, BIG - 1, BIG, 2 * BIG - 1], [-1, 0, 2**53, 2**53 + 1, BIG - 1], [0, 1, 2, 3, 4]),
    "int64": (pa.int64(), pa.int8(), [-128, 0, 127], [-BIG, -128, -1, 126, BIG - 1], [0, 1, 1, 2, 3]),
    "floats": (pa.float64(), pa.float32(), [-math.inf, -0.0, 0.5, math.inf], [-math.inf, -1.0, 0.0, -0.0, 0.5, 1e300], [1, 1, 2, 2, 3, 3]),
    "decimals": (
        pa.decimal128(38, 10),
        pa.int64(),
        [-1, 0, 7],
        [Decimal("-1.5"), Decimal("-0.5"), Decimal("7.0000000001")],
        [0, 1, 3],
    ),
    "dictionary": (pa.dictionary(pa.int8(), pa.int64()), pa.int64(), [1, 2], [0, 1, 2, 3], [0, 1, 2, 2]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_times_of_every_type_have_their_order(join: Join, name: str) -> None:
    kind, other, rights, lefts, wanted = ORDERS[name]
    ours, theirs = sides([("a", value) for value in lefts], [("a", value) for value in rights], kind, other)
    found = numbers(join(ours, theirs, "left", asOf={"left": "t", "right": "u"}))
    assert found == [(x, count - 1 if count else None) for x, count in enumerate(wanted)]
    late = numbers(join(ours, theirs, "left", asOf={"left": "t", "right": "u", "direction": "forward", "allowEqual": False}))
    assert late == [(x, count if count < len(rights) else None) for x, count in enumerate(wanted)]


@pytest.mark.parametrize(
    ("kind", "other", "tolerance", "left", "right", "meets"),
    [
        (pa.timestamp("s"), pa.timestamp("us"), "1h", DAY + dt.timedelta(hours=1), DAY, True),
        (pa.timestamp("us"), pa.timestamp("us"), "1h", DAY + dt.timedelta(hours=1, microseconds=1), DAY, False),
        (pa.timestamp("ns"), pa.timestamp("us"), "1h", ns("2024-01-01T01:00:00.000000001"), DAY, False),
        (pa.timestamp("us"), pa.timestamp("ns"), "1h", DAY + dt.timedelta(hours=1), ns("2024-01-01T00:00:00.000000001"), True),
        (pa.date32(), pa.date32(), "2d", dt.date(2024, 3, 2), dt.date(2024, 2, 29), True),
        (pa.date32(), pa.date32(), "36h", dt.date(2024, 3, 2), dt.date(2024, 2, 29), False),
        (pa.int64(), pa.int64(), 3, BIG - 1, BIG - 4, True),
        (pa.int64(), pa.int64(), 2, BIG - 1, BIG - 4, False),
        (pa.int64(), pa.int64(), 10, BIG - 1, -BIG, False),
        (pa.int64(), pa.int64(), 1e30, BIG - 1, -BIG, True),
        (pa.float64(), pa.float64(), 0.5, math.inf, math.inf, True),
        (pa.float64(), pa.float64(), 0.5, 1.75, 1.0, False),
    ],
)
def test_a_row_further_away_than_the_tolerance_does_not_count(
    join: Join, kind: Any, other: Any, tolerance: Any, left: Any, right: Any, meets: bool
) -> None:
    ours, theirs = sides([("a", left)], [("a", right)], kind, other)
    assert len(numbers(join(ours, theirs, asOf={"left": "t", "right": "u", "tolerance": tolerance}))) == meets


def test_nan_has_no_place_in_the_order(join: Join) -> None:
    ours, theirs = sides([("a", math.nan), ("a", 5.0)], [("a", math.nan), ("a", 1.0)], pa.float64())
    for direction, wanted in (("backward", [(0, None), (1, 1)]), ("forward", [(0, None), (1, None)])):
        assert numbers(join(ours, theirs, "left", asOf={"left": "t", "right": "u", "direction": direction})) == wanted


@pytest.mark.parametrize("direction", ["backward", "forward", "nearest"])
@pytest.mark.parametrize("key", [["y"], ["a", "y"], None])
def test_of_rows_of_one_time_that_of_the_greatest_key_counts_whatever_order_they_come_in(
    make_step: Callable[..., Any], direction: str, key: list[str] | None
) -> None:
    _, right = sides([], [("a", 5)] * 12 + [("a", 99)])
    right = right.append_column("a", pa.array(["x"] * 13))
    left, _ = sides([("a", 5)], [])
    step = make_step("inner", asOf={"left": "t", "right": "u", "direction": direction})
    step.against(right.schema)
    step.open(left.schema, step.plan(left.schema, None), NOW)
    for order in (range(13), reversed(range(13)), (7, 3, 11, 0, 12, 1, 2, 4, 5, 6, 8, 9, 10)):
        if key:
            parts = [origin.attach(right.slice(at, 1), "prices", key=key) for at in order]
        else:
            # Files: the last row of the last one, which is `b`.
            parts = [origin.attach(right.slice(at, 1), "ba"[at % 2], first_row=at) for at in order]
        (out,) = [batch for applied in step.joined(left, step.indexed(parts)) for batch in applied.batches]
        assert out.column("y").to_pylist() == [11 if key else 10]


def test_a_time_of_one_name_comes_out_once_and_of_two_names_twice(join: Join) -> None:
    ours = pa.record_batch({"k": ["a"], "t": [5], "x": [0]})
    theirs = pa.record_batch({"k": ["a"], "t": [3], "y": [1]})
    assert join(ours, theirs, asOf={"column": "t"}).rows == [{"k": "a", "t": 5, "x": 0, "y": 1}]
    both = join(ours, theirs, asOf={"left": "t", "right": "t"}, suffix="_then")
    assert both.rows == [{"k": "a", "t": 5, "x": 0, "t_then": 3, "y": 1}]
    assert [field.nullable for field in join(ours, theirs, "left", asOf={"column": "t"}).schema][-1]


@pytest.mark.parametrize(
    ("kind", "other", "by", "said"),
    [
        (pa.timestamp("us"), pa.int64(), {}, "expected times, dates or numbers on both sides, got 't', timestamp[us], and 'u', int64"),
        (pa.string(), pa.string(), {}, "expected times, dates or numbers on both sides"),
        (pa.int64(), pa.int64(), {"tolerance": "1h"}, "tolerance of 't', int64: expected a number"),
        (pa.date32(), pa.date32(), {"tolerance": 3}, "tolerance of 't', date32[day]: expected a duration, such as 1h, got 3"),
        (pa.int64(), pa.int64(), {"right": "v"}, "the right side: no field 'v'"),
    ],
)
def test_what_has_no_order_in_common_is_refused(
    make_step: Callable[..., Any], kind: pa.DataType, other: pa.DataType, by: dict[str, Any], said: str
) -> None:
    ours, theirs = (pa.schema([("k", pa.string()), (name, one)]) for name, one in (("t", kind), ("u", other)))
    step = make_step("inner", asOf={"left": "t", "right": "u", **by})
    step.against(theirs)
    with pytest.raises(PlanError) as caught:
        step.plan(ours, None)
    (problem,) = caught.value.problems
    assert (problem.path, said in problem.message) == ("steps[0].asOf", True), problem
