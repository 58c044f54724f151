"""Which rows repeat a key that came before, in rows without an end: against a loop over the rows in plain Python."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.rules.key.horizon import HIGH, LOW, STATES, UNTIL, Horizon, Memory, Rows

HORIZON = Horizon(1_000)


def rows(horizon: Horizon, keys: list[int], times: list[int], places: list[int] | None = None) -> Rows:
    at = np.array(times, dtype=np.int64)
    high, low = horizon.keyed([pa.array(keys, pa.int64())], at)
    return Rows(high, low, at, horizon.until(at), [np.array(places if places is not None else range(len(keys)))])


def blocks(memory: Memory, dice: random.Random) -> list[pa.RecordBatch]:
    """What a memory leaves, its keys cut anywhere."""
    stays, cut = memory.parts()
    if cut is None:
        return stays
    ends = sorted({0, cut.num_rows, *(dice.randrange(cut.num_rows + 1) for _ in range(3))})
    return [*stays, *(cut.slice(begin, end - begin) for begin, end in pairwise(ends))]


@pytest.mark.parametrize("horizon", [HORIZON, Horizon(50, 300)], ids=["horizon", "windows"])
@pytest.mark.parametrize("drains", [1, 7, 60])
def test_what_repeats_is_told_alike_however_rows_are_cut_into_drains(horizon: Horizon, drains: int) -> None:
    dice = random.Random(drains)
    count = 6_000
    keys = [dice.randrange(200) for _ in range(count)]
    times = [place + dice.randrange(-900, 100) for place in range(count)]
    seen: dict[tuple[int, int], int] = {}
    wanted = []
    for place, (key, at) in enumerate(zip(keys, times, strict=True)):
        window = 0 if horizon.size is None else at // horizon.size
        before = seen.get((key, window))
        if before is not None and (horizon.size is not None or before > at - horizon.span):
            wanted.append(place)
        seen[key, window] = max(at, at if before is None else before)
    kept, found = list[pa.RecordBatch](), list[int]()
    for begin in range(0, count, -(-count // drains)):
        end = min(begin + -(-count // drains), count)
        memory = Memory(kept)
        # In any order: it is told by `order`.
        order = dice.sample(range(begin, end), end - begin)
        asked = rows(horizon, [keys[place] for place in order], [times[place] for place in order], order)
        found += [order[row] for row in memory.meet(asked).tolist()]
        memory.forget(horizon, end - 901)  # no row behind it is older
        kept = blocks(memory, dice)
        assert sum(block.num_rows for block in kept) == len(memory)
        assert all(block.schema.equals(STATES) for block in kept)
    assert sorted(found) == wanted
    assert 100 < len(wanted) < count - 100


def test_keys_are_forgotten_when_none_can_repeat_them_any_more_and_held_a_sixteenth_longer() -> None:
    memory = Memory()
    assert memory.meet(rows(HORIZON, [1, 2, 3], [0, 500, 1_000])).tolist() == []
    memory.forget(HORIZON, 1_061)
    assert len(memory) == 3  # the first counts until 1,000, and is held until 1,062
    memory.forget(HORIZON, 1_062)
    assert len(memory) == 2
    assert HORIZON.untold(np.array([999, 1_000]), 1_062).tolist() == [True, False]
    windows = Horizon(100, 1_000)
    assert windows.until(np.array([0, 999, 1_000])).tolist() == [1_100, 1_100, 2_100]
    assert windows.untold(np.array([0, 999, 1_000]), 1_100).tolist() == [True, True, False]
    assert not windows.untold(np.array([0]), None).any()


def test_blocks_that_nothing_reaches_into_stay_as_they_are() -> None:
    memory = Memory()
    memory.meet(rows(HORIZON, list(range(100)), list(range(0, 1_000, 10))))
    _, cut = memory.parts()
    assert cut is not None
    ordered = cut.take(pa.array(np.argsort(np.asarray(cut.column(UNTIL)))))
    kept = [ordered.slice(begin, 20) for begin in range(0, 100, 20)]
    memory = Memory(kept)
    # 5 comes again of the first block, and 100 is new, of a time that reaches into the last one.
    assert memory.meet(rows(HORIZON, [5, 100], [920, 950])).tolist() == [0]
    stays, cut = memory.parts()
    assert [stay is block for stay, block in zip(stays, kept[1:4], strict=True)] == [True, True, True]
    assert cut is not None
    assert cut.num_rows == 19 + 20 + 1 + 1
    assert len(memory) == 101
    assert sorted(cut.column(UNTIL).to_pylist())[-1] == 1_990
    assert len({*zip(cut.column(HIGH).to_pylist(), cut.column(LOW).to_pylist(), strict=True)}) == 41


def test_a_row_that_repeats_one_is_remembered_itself() -> None:
    memory = Memory()
    assert memory.meet(rows(HORIZON, [1, 1, 1, 1], [0, 900, 1_800, 2_800])).tolist() == [1, 2]
