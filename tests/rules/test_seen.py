"""Keys that were seen, against a plain dictionary, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.rules.key.seen import NEVER, Seen, Sightings

# Few words, so that keys meet, in one word or in both; more keys than are merged without a look at their number come below.
KEYS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=8)
BLOCKS = st.lists(st.tuples(KEYS, st.integers(-5, 20)), max_size=12)


def words(keys: list[tuple[int, int]]) -> tuple[Any, Any]:
    pairs = np.array(keys, dtype=np.uint64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


@given(BLOCKS, st.integers(1, 15), st.data())
def test_a_row_repeats_a_key_that_came_before_it_within_the_horizon(blocks: Any, horizon: int, data: st.DataObject) -> None:
    seen, known, parts = Seen(), {}, []
    for keys, time in blocks:
        again, news = seen.meet(*words(keys), time, time - horizon)
        expected = []
        for key in keys:
            expected.append(known.get(key, NEVER) > time - horizon)
            known[key] = max(known.get(key, NEVER), time)
        assert again.tolist() == expected
        parts.append(news.to_bytes())
        if data.draw(st.booleans()):  # from what was kept elsewhere, in any order
            parts = data.draw(st.permutations(parts))
            seen = Seen(parts)
            parts = seen.parts()


@given(BLOCKS, st.integers(-6, 21))
def test_what_is_forgotten_was_not_seen_since(blocks: Any, until: int) -> None:
    seen, known = Seen(), {}
    for keys, time in blocks:
        seen.meet(*words(keys), time, NEVER)
        known.update({key: max(known.get(key, NEVER), time) for key in keys})
    seen.forget(until)
    left = {key: time for key, time in known.items() if time > until}
    assert len(seen) == len(left)
    everything = sorted(known)
    again, _ = seen.meet(*words(everything), 100, NEVER)
    assert again.tolist() == [key in left for key in everything]


def test_many_keys_are_held_in_few_runs_and_all_found() -> None:
    rng = np.random.default_rng(1)
    seen = Seen()
    high, low = rng.integers(0, 2**64, (2, 100_000), dtype=np.uint64)
    for at, part in enumerate(np.array_split(np.arange(100_000), 40)):
        again, news = seen.meet(high[part], low[part], at, NEVER)
        assert not again.any()
        assert len(news) == len(part)
    assert len(seen) == 100_000
    assert len(seen.parts()) < 10
    again, news = seen.meet(high, low, 39, NEVER)
    assert again.all()
    assert len(news) == 97_500  # the newest part was seen at this very time


def test_sightings_come_back_from_bytes() -> None:
    high, low = words([(1, 5), (2, 3)])
    back = Sightings.from_bytes(Sightings(high, low, np.array([-1, 9])).to_bytes())
    assert (back.high.tolist(), back.low.tolist(), back.times.tolist()) == ([1, 2], [5, 3], [-1, 9])
