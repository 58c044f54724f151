from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import SpecError
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.offsets import Offsets, Place, Reading, told, watermark

times = st.none() | st.integers(-(10**6), 10**6)
places = st.builds(Place, st.integers(0, 100), times, times)
partitions = st.dictionaries(st.integers(0, 4), places)
topics = st.builds(Offsets, partitions, times, st.dictionaries(st.sampled_from(["clicks", "a.b-c"]), partitions, max_size=1))
ends = st.dictionaries(st.integers(0, 4), st.integers(0, 100))


@given(topics, topics, topics)
def test_what_drains_say_merges_in_any_order_and_twice(a: Offsets, b: Offsets, c: Offsets) -> None:
    assert a.merged(b) == b.merged(a)
    assert a.merged(b).merged(c) == a.merged(b.merged(c))
    assert a.merged(b).merged(b) == a.merged(b)
    assert a.merged(a) == a
    assert a.merged(None) == a


@given(topics, topics)
def test_marks_of_offsets_are_later_together_and_come_back(a: Offsets, b: Offsets) -> None:
    assert Offsets.of(a.to_mark()) == a
    assert Offsets.of(Mark.from_json(a.to_mark().to_json()) or a.to_mark()) == a
    assert a.to_mark().later(b.to_mark()) == a.merged(b).to_mark() == b.to_mark().later(a.to_mark())


def test_one_meaning_has_one_text() -> None:
    one = Offsets({10: Place(3), 2: Place(991, 5, 6)}, 4)
    text = '{"closed":4,"partitions":{"2":{"next":991,"newest":5,"at":6},"10":{"next":3,"newest":null,"at":null}}}'

    assert one.to_mark() == Mark("offsets", text) == Offsets(dict(reversed(one.partitions.items())), 4).to_mark()
    assert one.to_mark().value == json.loads(text)


def test_offsets_that_a_person_typed_are_read_and_written_anew() -> None:
    typed = ' {"partitions": {"1": {"next": 7}, "0": {"next": 5}}} '

    assert Mark.parse(typed, "offsets") == Offsets({0: Place(5), 1: Place(7)}).to_mark()


@pytest.mark.parametrize(
    "text",
    [
        "soon",
        "[]",
        "7",
        "{",
        '{"partitions": []}',
        '{"partitions": {"0": 7}}',
        '{"partitions": {"0": {"next": -1}}}',
        '{"partitions": {"0": {"next": 1.5}}}',
        '{"partitions": {"0": {"next": true}}}',
        '{"partitions": {"0": {}}}',
        '{"partitions": {"one": {"next": 1}}}',
        '{"partitions": {"-1": {"next": 1}}}',
        '{"partitions": {"0": {"next": 1, "newest": "x"}}}',
        '{"partitions": {"0": {"nxt": 1}}}',
        '{"closed": "x"}',
        '{"close": 1}',
    ],
)
def test_what_are_no_offsets_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="type offsets"):
        Mark.parse(text, "offsets")


def test_marks_of_offsets_and_of_another_type_are_not_compared() -> None:
    with pytest.raises(TypeError, match="type offsets with one of type int"):
        Offsets().to_mark().later(Mark.of(1))
    with pytest.raises(ValueError, match="type int"):
        Offsets.of(Mark.of(1))


NOW = 1_000_000


Read = tuple[int, int, "int | None", "int | None"]


def of(before: Offsets | None = None, idle: int | None = 30_000, behind: int = 0, **read: Read) -> int | None:
    """The watermark; of each partition: next, end, newest, at."""
    numbered = {int(name[1:]): one for name, one in read.items()}
    places = {partition: Place(one[0], one[2], one[3]) for partition, one in numbered.items()}
    topic = Reading(places, {partition: one[1] for partition, one in numbered.items()}, behind, idle)
    return watermark(before.closed if before else None, [topic], NOW)


def test_the_slowest_partition_holds_the_watermark() -> None:
    assert of(p0=(5, 9, 900_000, 900_000), p1=(5, 9, 700_000, 900_000), behind=5_000) == 695_000


def test_a_partition_that_never_had_an_event_is_left_out() -> None:
    assert of(p0=(5, 5, 900_000, NOW), p1=(0, 0, None, None)) == 900_000
    assert of(p1=(0, 0, None, None)) is None
    assert watermark(None, [], NOW) is None


def test_a_partition_with_messages_that_nobody_has_read_yet_holds_all_back() -> None:
    assert of(p0=(5, 5, 900_000, NOW), p1=(0, 3, None, None)) is None
    assert of(Offsets(closed=7), p0=(5, 5, 900_000, NOW), p1=(0, 3, None, None)) == 7


def test_an_idle_partition_is_left_out_while_another_is_awake() -> None:
    assert of(p0=(5, 5, 900_000, NOW), p1=(4, 4, 700_000, NOW - 30_001)) == 900_000
    assert of(p0=(5, 5, 900_000, NOW), p1=(4, 4, 700_000, NOW - 30_000)) == 700_000  # not for long enough
    assert of(p0=(5, 5, 900_000, NOW), p1=(4, 6, 700_000, NOW - 99_000)) == 700_000  # has a backlog: a replay is not idle
    assert of(p0=(5, 5, 900_000, NOW), p1=(4, 4, 700_000, NOW - 99_000), idle=None) == 700_000


def test_where_all_are_idle_the_slowest_holds_the_watermark() -> None:
    assert of(p0=(5, 5, 900_000, 0), p1=(4, 4, 700_000, 0)) == 700_000


def test_a_partition_whose_messages_have_no_time_of_their_own_is_idle_by_its_events() -> None:
    assert of(p0=(5, 5, 990_000, NOW), p1=(4, 4, 700_000, None)) == 990_000
    assert of(p0=(5, 5, 990_000, NOW), p1=(4, 4, 980_000, None)) == 980_000


@given(topics, topics, ends, st.integers(-(10**6), 10**6), st.integers(0, 1000), st.none() | st.integers(0, 10**6))
def test_the_watermark_never_falls_and_never_passes_what_came(
    before: Offsets, now: Offsets, end: dict[int, int], clock: int, behind: int, idle: int | None
) -> None:
    after = before.merged(now)
    topic = Reading(after.partitions, end, behind, idle)
    found = watermark(after.closed, [topic], clock)
    newest = [place.newest - behind for place in after.partitions.values() if place.newest is not None]

    assert after.closed is None or (found is not None and found >= after.closed)
    assert found is None or found <= max([*newest, *([after.closed] if after.closed is not None else [])])
    assert watermark(found, [topic], clock) == found
    if idle is None and newest and all(place.newest is not None for place in after.partitions.values()):
        assert found == max(x for x in (min(newest), after.closed) if x is not None)


@given(topics)
def test_what_is_told_says_the_same_when_it_is_typed_again(a: Offsets) -> None:
    moved = Offsets().moved(json.dumps(told(a.to_mark().to_json())))
    assert moved.closed == a.closed
    assert {name: place.next for name, place in moved.named.items()} == {name: place.next for name, place in a.named.items()}


def test_a_recorded_watermark_is_told_as_an_object_and_others_as_they_are() -> None:
    mark = Offsets({10: Place(4, 5, 6), 9: Place(3)}, 1_500).to_mark().to_json()
    shown = {"closed": "1970-01-01T00:00:01.500+00:00", "offsets": {"9": 3, "10": 4}}
    assert told(mark) == shown
    assert told({"a": mark, "b": {"type": "int", "text": "7"}, "c": None}) == {"a": shown, "b": {"type": "int", "text": "7"}, "c": None}
    assert told(None) is None
    assert told(Offsets().to_mark().to_json()) == {"closed": None, "offsets": {}}
    # An event of the first day there is, less what may come late.
    assert told(Offsets({}, -62_135_596_800_001).to_mark().to_json())["closed"] == "-62135596800001 ms"


def test_partitions_of_a_joined_topic_are_named_by_it() -> None:
    there = Offsets({0: Place(10)}, 400, {"clicks": {0: Place(7, 300, 1), 11: Place(4), 2: Place(5)}})
    assert there.told()["offsets"] == {"0": 10, "clicks/0": 7, "clicks/2": 5, "clicks/11": 4}
    back = there.moved('{"offsets": {"clicks/0": 6}}')
    assert (back.topic("clicks")[0], back.closed, back.topic()) == (Place(6), None, there.partitions)
    assert (back.back_from(there), there.back_from(back)) == (["clicks/0"], [])
    assert there.moved('{"offsets": {"clicks/2": 9}}').topic("clicks")[2] == Place(9)
    assert Offsets({3: Place(1)}).of_side("clicks") == Offsets(sides={"clicks": {3: Place(1)}})
    assert there.topic("another") == {}


def test_the_slowest_of_all_topics_holds_the_watermark() -> None:
    ours = Reading({0: Place(5, 900_000, NOW)}, {0: 5}, 5_000)
    for newest, expected in ((700_000, 690_000), (990_000, 895_000)):
        theirs = Reading({0: Place(5, newest, NOW)}, {0: 5}, 10_000)
        assert watermark(None, [ours, theirs], NOW) == watermark(None, [theirs, ours], NOW) == expected
    idle = Reading({0: Place(5, 100_000, NOW - 40_000)}, {0: 5}, 0, 30_000)
    assert watermark(None, [ours, idle], NOW) == 895_000
    unread = Reading({0: Place(0)}, {0: 3})
    assert watermark(7, [ours, unread], NOW) == 7  # what waits there may be of any time
    assert watermark(None, [ours, Reading({0: Place(0)}, {0: 0})], NOW) == 895_000  # it never had an event


def test_a_partition_that_goes_back_forgets_its_newest_event_and_the_watermark_is_not_known() -> None:
    there = Offsets({0: Place(10, 500, 600), 1: Place(20, 700, 800)}, 400)
    assert there.moved('{"offsets": {"0": 12}}') == Offsets({0: Place(12, 500, 600), 1: Place(20, 700, 800)}, 400)
    back = there.moved('{"offsets": {"1": 3}}')
    assert back == Offsets({0: Place(10, 500, 600), 1: Place(3)}, None)
    assert (back.back_from(there), there.back_from(back)) == (["1"], [])
    assert there.moved('{"offsets": {"1": 3}, "closed": "1970-01-01T01:00:00.250+01:00"}').closed == 250
    assert there.moved('{"closed": null}') == Offsets(there.partitions, None)
