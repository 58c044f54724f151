"""What a window step says of its rows, of times at the edges of the calendar, and of definitions that do not fit."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.columnar import dead, origin
from beam_pipelines.errors import PlanError
from beam_pipelines.testing.windows import WindowOracle, result_of
from beam_pipelines.transforms.step import check_law
from tests.transforms.window.drains import NOW, SCHEMA, Stream, batch_of, comparable, opened, step_of

MINUTE = 60_000


def events_at(*times: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"partition": 0, "offset": offset, "time": time, "user": "a", "value": 1, **fields} for offset, time in enumerate(times)]


def once(events: Sequence[dict[str, Any]], schema: pa.Schema = SCHEMA, **definition: Any) -> list[dict[str, Any]]:
    """The results of one batch that holds every row; nothing is late."""
    step, _ = opened(step_of(**definition), schema)
    batch = batch_of(events, [None] * len(events), schema)
    applied = step.apply(batch)
    check_law("sums", batch.num_rows, applied)
    return [row for one in applied.batches for row in origin.visible(one).to_pylist()]


def test_results_have_their_window_their_group_and_the_count_of_events_first() -> None:
    schema = pa.schema([("user", pa.struct([("id", pa.int32())])), ("value", pa.decimal128(10, 2))])
    model = step_of(groupBy=["user.id"], aggregations={"total": "sum:value", "n": "count"})
    step, planned = opened(model, schema)
    assert planned.names == ["windowStart", "windowEnd", "user_id", "eventCount", "total", "n"]
    assert planned.types == [pa.timestamp("ms", "UTC"), pa.timestamp("ms", "UTC"), pa.int32(), pa.int64(), pa.decimal128(38, 2), pa.int64()]
    assert step.group_by == ("windowStart", "user_id")
    assert step.columns == {"user", "value"}
    batch = batch_of(events_at(3, 12, user={"id": 7}, value=Decimal("1.25")), [None, None], schema)
    (rows,) = step.apply(batch).batches
    assert origin.visible(rows).to_pylist()[1] == {
        "windowStart": dt.datetime(1970, 1, 1, 0, 0, 0, 10_000, tzinfo=dt.timezone.utc),
        "windowEnd": dt.datetime(1970, 1, 1, 0, 0, 0, 20_000, tzinfo=dt.timezone.utc),
        "user_id": 7,
        "eventCount": 1,
        "total": Decimal("1.25"),
        "n": 1,
    }
    assert origin.load_of(rows) == "target"
    assert origin.describe(rows, [1]) == [{"source": "sums", "key": {"windowStart": "1970-01-01T00:00:00.010+00:00", "user_id": 7}}]


def test_a_window_that_ends_where_time_is_has_ended() -> None:
    stream = Stream(step_of(window={"type": "tumbling", "size": "1m"}), 0, random.Random(1))
    events = events_at(0, MINUTE - 1, MINUTE)
    assert stream.drain(events, MINUTE - 1) == []
    assert [(row["windowStart"], row["eventCount"]) for row in stream.drain([], MINUTE)] == [(0, 2)]
    assert stream.drain([], 2 * MINUTE - 1) == []
    assert [(row["windowStart"], row["eventCount"]) for row in stream.drain([], None, end=True)] == [(MINUTE, 1)]
    assert stream.held == []


def test_late_events_within_the_lateness_replace_the_result_and_later_ones_are_told_apart() -> None:
    stream = Stream(step_of(window={"type": "tumbling", "size": "1m"}, allowedLateness="10s"), 0, random.Random(1))
    stream.drain(events_at(1), MINUTE)
    more = [{"partition": 1, "offset": 0, "time": 2, "user": "b"}, {"partition": 1, "offset": 1, "time": MINUTE + 10_000, "user": "b"}]
    more.append({"partition": 1, "offset": 2, "time": 3, "user": "b"})
    assert [(row["windowStart"], row["eventCount"]) for row in stream.drain(more, MINUTE + 9_999)] == [(0, 2)]
    assert stream.late == [(1, 2)]
    assert stream.drain([], MINUTE + 10_000) == []
    assert len(stream.held) == 1  # of the window after


@pytest.mark.parametrize(
    ("definition", "time", "behind", "by"),
    [
        ({"window": {"type": "tumbling", "size": 100}, "allowedLateness": 30}, 99, 129, None),
        ({"window": {"type": "tumbling", "size": 100}, "allowedLateness": 30}, 99, 130, 0),
        ({"window": {"type": "sliding", "size": 100, "slide": 50}}, 99, 149, None),
        ({"window": {"type": "sliding", "size": 100, "slide": 50}}, 99, 157, 7),
        ({"window": {"type": "session", "gap": 10}, "allowedLateness": 30}, 99, 129, None),
        ({"window": {"type": "session", "gap": 10}, "allowedLateness": 30}, 99, 134, 5),
    ],
)
@pytest.mark.parametrize("known_by", ["partition", "commit"])
def test_a_late_row_says_by_how_much_and_no_value(
    definition: dict[str, Any], time: int, behind: int, by: int | None, known_by: str
) -> None:
    step, _ = opened(step_of(**definition))
    batch = batch_of(events_at(time, user="secret"), [behind if known_by == "partition" else None])
    screened = step.screened(batch, behind if known_by == "commit" else None)
    if by is None:
        assert (screened.late, screened.absorbed) == (None, 1)
        return
    assert screened.late is not None
    assert (screened.late.rows, screened.late.codes, screened.absorbed) == ([0], ["late-row"], 0)
    assert screened.late.messages[0].startswith(f"too late by {by} ms")
    assert "secret" not in screened.late.messages[0]
    assert origin.describe(screened.late.batch, [0]) == [{"source": "user-events", "partition": 0, "offset": 0}]


def test_a_row_that_is_late_in_some_windows_counts_in_the_others() -> None:
    stream = Stream(step_of(window={"type": "sliding", "size": 30, "slide": 10}), 0, random.Random(3))
    rows = stream.drain(events_at(5, 12, 31, 6), None, end=True)
    # The last row, of the windows from -20, -10 and 0, comes when time is 31: the one from 0 has ended with the others.
    assert stream.late == [(0, 3)]
    assert [(row["windowStart"], row["eventCount"]) for row in sorted(rows, key=lambda row: row["windowStart"])] == [
        (-20, 1), (-10, 2), (0, 2), (10, 2), (20, 1), (30, 1),
    ]  # fmt: skip
    stream = Stream(step_of(window={"type": "sliding", "size": 30, "slide": 10}), 0, random.Random(3))
    rows = stream.drain(events_at(5, 12, 21, 6), None, end=True)
    assert (stream.late, stream.partly) == ([], 2)
    assert {row["windowStart"]: row["eventCount"] for row in rows} == {-20: 1, -10: 2, 0: 4, 10: 2, 20: 1}


def test_two_events_the_gap_apart_are_two_sessions_and_one_between_makes_one_of_them() -> None:
    window = {"type": "session", "gap": 10}
    apart = once(events_at(0, 10), window=window)
    assert [row["eventCount"] for row in apart] == [1, 1]
    stream = Stream(step_of(window=window, groupBy=["user"], allowedLateness=50), 0, random.Random(5))
    assert stream.drain(events_at(0, 10), 59) == []
    assert stream.drain(events_at(9, 14, user="b"), 59) == []
    assert stream.drain(events_at(9), 69) == []
    (row,) = stream.drain([], 73)
    assert (row["windowStart"], row["windowEnd"], row["user"], row["eventCount"]) == (0, 20, "a", 3)
    (row,) = stream.drain([], 74)
    assert (row["windowStart"], row["windowEnd"], row["user"], row["eventCount"]) == (9, 24, "b", 2)
    assert stream.late == []


def test_first_and_last_are_by_time_then_by_partition_and_offset() -> None:
    events = [
        {"partition": 1, "offset": 7, "time": 5, "page": 1},
        {"partition": 0, "offset": 9, "time": 5, "page": 2},
        {"partition": 0, "offset": 8, "time": 5, "page": 3},
        {"partition": 2, "offset": 1, "time": 4, "page": None},
        {"partition": 2, "offset": 0, "time": 6, "page": 4},
        {"partition": 3, "offset": 0, "time": 6, "page": 5},
    ]
    step, _ = opened(step_of(aggregations={"a": "first:page"}))
    assert step.ordered
    assert not opened(step_of())[0].ordered
    random.Random(2).shuffle(events)
    (row,) = once(events, aggregations={"a": "first:page", "b": "last:page"})
    assert (row["a"], row["b"]) == (3, 5)


AGGREGATIONS = [
    "count", "count_distinct:page", "count_distinct:user", "sum:value", "sum:rate", "avg:value", "min:rate", "max:page", "min:user",
    "first:user", "last:value", "median:value", "p50:rate", "p99:value", "p99.9:rate", "p0:value", "p100:value", "stddev:rate",
    "approx_count_distinct:page", "approx_p99:value", "approx_median:value",
]  # fmt: skip


@pytest.mark.parametrize("window", [{"type": "tumbling", "size": 50}, {"type": "sliding", "size": 60, "slide": 20}])
def test_every_aggregation_is_what_plain_python_makes_of_the_events_of_the_window(window: dict[str, Any]) -> None:
    chance = random.Random(11)
    events = [
        {
            "partition": chance.randrange(3),
            "offset": number,
            "time": chance.randrange(-80, 120),
            "user": chance.choice(["a", "bb", "", None]),
            "page": chance.choice([None, *range(20)]),
            "value": chance.choice([None, *range(200)]),  # below 256, where approximate percentiles are exact
            "rate": chance.choice([None, chance.uniform(-1, 1)]),
        }
        for number in range(400)
    ]
    names = {f"r{number}": text for number, text in enumerate(AGGREGATIONS)}
    model = step_of(window=window, aggregations=names)
    stream, oracle = Stream(model, 10_000, random.Random(4)), WindowOracle(model, 10_000)
    for part, end in ((events[:250], False), (events[250:], True)):
        oracle.drain(part, early=True, end=end)
        stream.drain(part, oracle.closed, early=True, end=end)
    assert stream.table.keys() == oracle.table.keys()
    for key, wanted in oracle.table.items():
        for name, text in names.items():
            got = stream.table[key][name]
            close = isinstance(got, float) and math.isclose(got, wanted[name], rel_tol=1e-12, abs_tol=1e-12)
            assert got == wanted[name] or close, (key, text, got, wanted[name])


def test_the_results_in_plain_python_are_those_counted_by_hand() -> None:
    events = [{"v": 4}, {"v": None}, {"v": 1}, {"v": 1}, {"v": 10}]
    by_hand = {
        "count": 5, "count_distinct:v": 3, "sum:v": 16, "avg:v": 4.0, "min:v": 1, "max:v": 10, "first:v": 4, "last:v": 10,
        "median:v": 2.5, "p50:v": 2.5, "p75:v": 5.5, "stddev:v": math.sqrt(18),
    }  # fmt: skip
    assert {text: result_of(text, events) for text in by_hand} == pytest.approx(by_hand)
    assert result_of("sum:v", [{"v": None}]) is None


def test_windows_reach_back_before_1970() -> None:
    assert [row["windowStart"].year for row in once(events_at(-1), window={"type": "tumbling", "size": "1d"})] == [1969]
    rows = once(events_at(-62_135_596_800_000 + 86_400_000), window={"type": "tumbling", "size": "1d"})
    assert [row["windowStart"] for row in rows] == [dt.datetime(1, 1, 2, tzinfo=dt.timezone.utc)]


@pytest.mark.parametrize(
    "window", [{"type": "sliding", "size": "1d", "slide": "1m"}, {"type": "sliding", "size": "36500d", "slide": "1000d"}]
)
@pytest.mark.parametrize("time", [-62_135_596_800_000, 253_402_300_799_999, 0])
def test_windows_that_leave_the_calendar_are_dead_letters_and_the_others_are_right(window: dict[str, Any], time: int) -> None:
    model = step_of(window=window, allowedLateness="1d")
    step, _ = opened(model)
    batch = batch_of(events_at(time), [None])
    applied = step.apply(batch)
    check_law("sums", 1, applied)
    wanted = WindowOracle(model).drain(events_at(time), end=True)
    good = [row for row in wanted if row["windowStart"] >= -62_135_596_800_000 and row["windowEnd"] <= 253_402_300_799_999]
    assert (applied.rows_out, applied.rows_dead) == (len(good), len(wanted) - len(good))
    got = [start for one in applied.batches for start in one.column("windowStart").cast(pa.int64()).to_pylist()]
    assert sorted(got) == sorted(row["windowStart"] for row in good)
    for one in applied.dead:
        letters = dead.letters(one.batch, one.rows, load="t", step="sums", codes=one.codes, messages=one.messages, at=NOW)
        assert letters.num_rows == len(one.rows)


@pytest.mark.parametrize("kind", ["tumbling", "sliding", "session"])
def test_no_events_are_no_windows(kind: str) -> None:
    windows = {"tumbling": {"size": 10}, "sliding": {"size": 10, "slide": 5}, "session": {"gap": 10}}
    step, _ = opened(step_of(window={"type": kind, **windows[kind]}, aggregations={"n": "count", "d": "count_distinct:page"}))
    nothing = step.states(step.screened(batch_of([], []), 5).rows)
    assert nothing.num_rows == 0
    assert nothing.schema == step.nothing().schema
    for states in ([], [nothing], [nothing, step.nothing()]):
        settled = step.settle(states, 100, "target", end=True)
        assert (settled.applied.batches, settled.written, settled.held) == ((), 0, 0)


def test_rows_of_a_session_meet_in_one_shard_and_those_of_a_window_and_group_too() -> None:
    for groups, keys in ([], []), (["user"], ["k1"]):
        step, _ = opened(step_of(window={"type": "session", "gap": 10}, groupBy=groups))
        assert step.shard_keys(step.nothing()) == keys
        step, _ = opened(step_of(groupBy=groups))
        assert step.shard_keys(step.nothing()) == ["k0", *keys]


def test_states_have_another_version_when_they_mean_something_else() -> None:
    base: dict[str, Any] = {"window": {"type": "sliding", "size": "1m", "slide": "10s"}, "aggregations": {"n": "sum:value"}}

    def version(schema: pa.Schema = SCHEMA, **change: Any) -> str:
        return opened(step_of(**{**base, **change}), schema)[0].state_version

    assert version() == version(allowedLateness="5m", emit="every 1s", aggregations={"renamed": "sum: value"}, description="x")
    narrow = SCHEMA.set(2, pa.field("value", pa.float64()))
    other = [
        version(narrow),
        version(groupBy=["user"]),
        version(aggregations={"n": "sum:page"}),
        version(aggregations={"n": "max:value"}),
        version(aggregations={"n": "p50:value"}),
        version(aggregations={"n": "p99:value"}),
        version(aggregations={"n": "sum:value", "m": "count"}),
        version(window={"type": "sliding", "size": "1m", "slide": "20s"}),
        version(window={"type": "sliding", "size": "2m", "slide": "10s"}),
        version(window={"type": "tumbling", "size": "1m"}),
        version(window={"type": "session", "gap": "1m"}),
        version(window={"type": "session", "gap": "2m"}),
    ]
    assert len({version(), *other}) == len(other) + 1


@pytest.mark.parametrize(
    ("definition", "path", "said"),
    [
        ({"aggregations": {"eventCount": "count"}}, "aggregations.eventCount", "two results would be called 'eventCount'"),
        ({"groupBy": ["user"], "aggregations": {"USER": "count"}}, "aggregations.USER", "two results would be called 'USER'"),
        ({"groupBy": ["windowstart"]}, "groupBy[0]", "two results would be called 'windowstart'"),
        ({"groupBy": ["usr"]}, "groupBy[0]", "'usr'"),
        ({"aggregations": {"x": "sum:valeu"}}, "aggregations.x", "'valeu'"),
        ({"aggregations": {"x": "sum:user"}}, "aggregations.x", "expected numbers to add up, got a string"),
        ({"aggregations": {"x": "p99:user"}}, "aggregations.x", "expected numbers, got a string"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(definition: dict[str, Any], path: str, said: str) -> None:
    schema = pa.schema([*SCHEMA, ("windowstart", pa.int64())])
    with pytest.raises(PlanError) as raised:
        opened(step_of(**definition), schema)
    (problem,) = raised.value.problems
    assert problem.path == f"stream.processors[0].{path}"
    assert said in problem.message
    assert "__bp_" not in problem.message + problem.hint


def test_hidden_columns_of_rows_that_count_stay_with_them() -> None:
    step, _ = opened(step_of(window={"type": "tumbling", "size": 10}))
    batch = batch_of(events_at(1, 25, 2, 26), [None, 1, 25, 25])
    screened = step.screened(batch, None)
    assert screened.rows.column("__bp_offset").to_pylist() == [0, 1, 3]
    assert origin.load_of(screened.rows) == "target"
    assert origin.visible(screened.rows).schema.names == SCHEMA.names
    assert screened.late is not None
    assert np.array_equal(screened.late.rows, [2])


def test_results_are_the_same_for_a_step_that_is_opened_again() -> None:
    step, planned = opened(step_of(groupBy=["user"]))
    batch = batch_of(events_at(1, 2, 13), [None] * 3)
    first = [row for one in step.apply(batch).batches for row in origin.visible(one).to_pylist()]
    step.close()
    step.open(SCHEMA, planned, NOW)
    again = [row for one in step.apply(batch).batches for row in origin.visible(one).to_pylist()]
    assert comparable(first) == comparable(again)
    assert len(first) == 2
