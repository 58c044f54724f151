from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.io.files.shards import joined
from beam_pipelines.runs.facts import Staged


def sizes(*wanted: int) -> list[list[int]]:
    groups = joined([Staged(f"{place}", 1, size) for place, size in enumerate(wanted)], 90)
    return [[part.bytes for part in group] for group in groups]


def test_what_is_large_enough_stays_alone_and_the_rest_is_joined() -> None:
    assert sizes(90, 91, 60) == [[90], [91], [60]]
    assert sizes(90, 30, 90, 30, 90, 10) == [[90], [30, 30], [90], [90], [10]]
    assert sizes(10, 59, 59, 1, 1) == [[10, 59], [59, 1], [1]]
    assert sizes() == []


@given(st.lists(st.integers(1, 200), max_size=40))
def test_each_part_is_in_one_file_in_order_and_all_but_one_are_of_a_good_size(wanted: list[int]) -> None:
    parts = [Staged(f"{place}", 1, size) for place, size in enumerate(wanted)]
    groups = joined(parts, 90)
    assert sorted((part for group in groups for part in group), key=lambda part: int(part.name)) == parts
    assert all(list(group) == sorted(group, key=lambda part: int(part.name)) for group in groups)
    totals = [sum(part.bytes for part in group) for group in groups]
    assert sum(total < 60 for total in totals) <= 1
    assert all(total <= 120 or len(group) == 1 for total, group in zip(totals, groups, strict=True))
