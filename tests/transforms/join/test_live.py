"""Joins of two streams: the same rows come out whatever the batches, commits and shards, as an oracle in plain Python says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.spec.step.join import JoinStep
from beam_pipelines.transforms.join import build_join
from beam_pipelines.transforms.join.live import LEFT, MET, RIGHT, LiveJoin, Waiting

SHOWN = pa.schema([("ad", pa.string()), ("seen", pa.int64())])
CLICKS = pa.schema([("ad", pa.string()), ("cost", pa.int64())])
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
HOWS = ("inner", "left", "right", "full", "semi", "anti")

Event = tuple[str | None, int, int]  # key, value and time


def step(how: str, **reach: Any) -> LiveJoin:
    source = {"type": "kafka", "connection": "k", "topic": "clicks"}
    made = build_join(JoinStep.model_validate({"id": "j", "type": "join", "source": source, "on": ["ad"], "how": how, **reach}), "x")
    assert isinstance(made, LiveJoin)
    made.against(CLICKS)
    made.open(SHOWN, made.plan(SHOWN, None), NOW)
    return made


def batch(events: Sequence[Event], schema: pa.Schema, behind: Sequence[int | None] | None = None, first: int = 0) -> pa.RecordBatch:
    keys, values, times = (list(column) for column in zip(*events, strict=True)) if events else ([], [], [])
    rows = pa.RecordBatch.from_arrays([pa.array(keys, pa.string()), pa.array(values, pa.int64())], schema=schema)
    offsets = pa.array(range(first, first + len(events)), pa.int64())
    known = None if behind is None else pa.array(behind, pa.int64())
    return origin.with_load(origin.attach_offsets(rows, "t", 0, offsets, pa.array(times, pa.int64()), known), "out")


def told(how: str, near: Any, left: Sequence[Event], right: Sequence[Event]) -> Counter[tuple[Any, ...]]:
    """What a join gives, row by row."""
    rows: Counter[tuple[Any, ...]] = Counter()
    meets = [[other for other in right if one[0] is not None and one[0] == other[0] and near(one[2], other[2])] for one in left]
    met = [other for some in meets for other in some]
    for one, others in zip(left, meets, strict=True):
        if how in ("semi", "anti"):
            rows.update([one[:2]] if bool(others) == (how == "semi") else [])
            continue
        rows.update((*one[:2], other[1]) for other in others)
        if not others and how in ("left", "full"):
            rows[(*one[:2], None)] += 1
    if how in ("right", "full"):
        rows.update((other[0], None, other[1]) for other in right if other not in met)
    return rows


def events(rng: random.Random, count: int) -> list[Event]:
    return [(rng.choice(["a", "b", "c", "hot", "hot", None]), number, rng.randrange(-500, 3000)) for number in range(count)]


def cut(rng: random.Random, rows: list[Event]) -> list[list[Event]]:
    """In the order of their times but for a disorder of 200 ms, in uneven pieces."""
    ordered = sorted(rows, key=lambda one: one[2] + rng.randrange(200))
    pieces = []
    while ordered:
        size = rng.randrange(1, 40)
        pieces.append(ordered[:size])
        ordered = ordered[size:]
    return pieces


def shown(batches: Sequence[pa.RecordBatch]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row.values()) for one in batches for row in origin.visible(one).to_pylist())


def driven(join: LiveJoin, left: list[list[Event]], right: list[list[Event]]) -> Iterator[pa.RecordBatch]:
    """Commit after commit: each brings a piece of either side, and moves the watermark to what is sure of both."""
    kept: dict[str, pa.RecordBatch | None] = {LEFT: None, RIGHT: None}
    newest = {LEFT: -(10**9), RIGHT: -(10**9)}
    for at in range(max(len(left), len(right))):
        sides = {}
        for side, pieces, schema in ((LEFT, left, SHOWN), (RIGHT, right, CLICKS)):
            piece = pieces[at] if at < len(pieces) else []
            newest[side] = max([newest[side], *(time for _, _, time in piece)]) if at < len(pieces) else 10**9
            new = [join.waiting(batch(piece, schema), side)] if piece else []
            before = kept[side]
            sides[side] = Waiting([] if before is None else [before], new)
        meeting = join.meeting(sides[LEFT], sides[RIGHT], "out")
        for part in (*meeting.pairs(), *meeting.over(min(newest.values()) - 200)):
            assert part.rows_out == part.made
            assert all(origin.load_of(one) == "out" for one in part.batches)
            yield from part.batches
        kept = {side: meeting.kept(side) for side in (LEFT, RIGHT)}
    meeting = join.meeting(*(Waiting([] if (rows := kept[side]) is None else [rows]) for side in (LEFT, RIGHT)), "out")
    for part in (*meeting.pairs(), *meeting.over(None)):
        yield from part.batches
    assert meeting.kept(LEFT) is None
    assert meeting.kept(RIGHT) is None


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("reach", [{"within": "300ms"}, {"within": "0ms"}, {"window": {"type": "tumbling", "size": "250ms"}}])
def test_pairs_are_those_of_the_oracle_however_the_rows_come(how: str, reach: dict[str, Any]) -> None:
    apart = int(reach["within"][:-2]) if "within" in reach else None

    def near(one: int, other: int) -> bool:
        return abs(one - other) <= apart if apart is not None else one // 250 == other // 250

    for seed in range(6):
        rng = random.Random(seed)
        left, right = events(rng, rng.randrange(200)), events(rng, rng.randrange(200))
        join = step(how, **reach)
        expected = told(how, near, left, right)
        assert shown(list(driven(join, cut(rng, left), cut(rng, right)))) == expected
        whole = join.ended(batch(left, SHOWN), [batch(right, CLICKS)])
        assert shown(whole.batches) == expected
        assert (whole.absorbed, whole.made) == (len(left), expected.total())


def test_a_row_waits_no_longer_than_something_can_come_that_it_meets() -> None:
    join = step("inner", within="100ms")
    rows = Waiting(new=[join.waiting(batch([("a", 1, 1000), ("a", 2, 1050)], SHOWN), LEFT)])
    for watermark, left in ((1100, [1, 2]), (1101, [2]), (1150, [2]), (1151, [])):
        meeting = join.meeting(rows, Waiting(), "out")
        assert list(meeting.over(watermark)) == []
        kept = meeting.kept(LEFT)
        assert ([] if kept is None else kept.column("seen").to_pylist()) == left


def test_what_is_asked_for_once_waits_no_longer_when_it_met() -> None:
    for how in ("semi", "anti"):
        join = step(how, within="1h")
        meeting = join.meeting(
            Waiting(new=[join.waiting(batch([("a", 1, 0), ("b", 2, 0)], SHOWN), LEFT)]),
            Waiting(new=[join.waiting(batch([("a", 9, 5), ("a", 9, 6)], CLICKS), RIGHT)]),
            "out",
        )
        assert shown([one for part in meeting.pairs() for one in part.batches]) == Counter([("a", 1)] if how == "semi" else [])
        list(meeting.over(0))
        kept = meeting.kept(LEFT)
        assert kept is not None
        assert kept.column("seen").to_pylist() == [2]


def test_rows_are_late_that_come_behind_the_time_of_their_topic() -> None:
    join = step("inner", within="1m")
    # Event time of the topic stood at 900 when these came; 899 is too late by a millisecond, however far rows may be apart.
    rows, late = join.screened(batch([("a", 1, 900), ("a", 2, 899)], SHOWN, behind=[900, 900]), None)
    assert rows.column("seen").to_pylist() == [1]
    assert late is not None
    assert (late.rows, late.codes) == ([1], ["late-row"])
    assert late.messages == ["too late by 1 ms: rows that it could have met are waited for no longer"]
    assert join.screened(batch([("a", 1, 900)], SHOWN), None)[1] is None
    assert join.screened(batch([("a", 1, 900)], SHOWN, behind=[None]), 901)[1] is not None  # the last commit's watermark
    window = step("inner", window={"type": "tumbling", "size": "100ms"})
    rows, late = window.screened(batch([("a", 1, 900), ("a", 2, 899), ("a", 3, 800)], SHOWN, behind=[900] * 3), None)
    assert rows.column("seen").to_pylist() == [1]  # the window of the others ended at 900


def test_a_pair_has_the_later_time_of_the_two() -> None:
    join = step("inner", within="1m")
    done = join.ended(batch([("a", 1, 7), ("a", 2, 30)], SHOWN), [batch([("a", 9, 20)], CLICKS)])
    (rows,) = done.batches
    assert dict(zip(rows.column("seen").to_pylist(), rows.column(origin.TIME).to_pylist(), strict=True)) == {1: 20, 2: 30}
    assert origin.BEHIND not in rows.schema.names


def test_rows_without_a_key_wait_only_where_they_come_out_alone() -> None:
    rows = batch([(None, 1, 0), ("a", 2, 0)], SHOWN)
    for how in HOWS:
        waits = step(how, within="1m").waiting(rows, LEFT).column("seen").to_pylist()
        assert waits == ([1, 2] if how in ("left", "full", "anti") else [2])


def test_what_met_is_noted_only_where_it_is_asked() -> None:
    for how, noted in (("inner", (False, False)), ("left", (True, False)), ("right", (False, True)), ("full", (True, True))):
        join = step(how, within="1m")
        left, right = (join.waiting(batch([("a", 1, 0)], schema), side) for side, schema in ((LEFT, SHOWN), (RIGHT, CLICKS)))
        meeting = join.meeting(Waiting(new=[left]), Waiting(new=[right]), "out")
        assert sum(part.made for part in (*meeting.pairs(), *meeting.over(0))) == 1
        kept = [meeting.kept(side) for side in (LEFT, RIGHT)]
        assert tuple(one.column(MET)[0].as_py() for one in kept if one is not None) == noted


def test_a_hot_key_of_many_rows_is_not_paired_with_all_of_it() -> None:
    # 40,000 rows of one key, each of which meets the one of its millisecond: all pairs would be 1.6 billion.
    join = step("inner", within="0ms")
    left = batch([("a", number, number) for number in range(40_000)], SHOWN)
    right = batch([("a", number, number) for number in range(40_000)], CLICKS)
    assert join.ended(left, [right]).made == 40_000


def test_what_waits_is_of_a_version_that_says_what_it_means() -> None:
    versions = {step("inner", within="1m").state_version, step("inner", within="2m").state_version, step("left", within="1m").state_version}
    versions.add(step("inner", window={"type": "tumbling", "size": "1m"}).state_version)
    assert len(versions) == 4
    assert step("inner", within="1m").state_version == step("inner", within="60s").state_version
