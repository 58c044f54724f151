"""Blocks of states: the same ones for the same states, and all but a few when few states have changed."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from beam_pipelines.engine import aside
from beam_pipelines.engine.live.state_blocks import state_blocks

KEYS = ["k0", "k1"]


def states(changed: frozenset[int] = frozenset(), *, groups: range = range(10_000)) -> pa.RecordBatch:
    """Two windows of each group; the sums of some are others. In no order."""
    rows = [(start, f"user-{n}", -1 if n in changed and start else n) for n in groups for start in (0, 60_000)]
    random.Random(1).shuffle(rows)
    return pa.RecordBatch.from_pylist([dict(zip((*KEYS, "sum"), row, strict=True)) for row in rows])


def content(blocks: list[pa.RecordBatch]) -> list[str]:
    return [str(block.to_pydict()) for block in blocks]


def test_blocks_hold_each_state_once_in_the_order_of_windows() -> None:
    blocks = list(state_blocks(states(), KEYS))
    together = pa.Table.from_batches(blocks)
    assert sorted(together.to_pylist(), key=str) == sorted(states().to_pylist(), key=str)
    assert pc.all(pc.equal(together["k0"], together["k0"].combine_chunks().sort())).as_py()
    assert 4 < len(blocks) < 25  # 20,000 states, some thousand in each


@pytest.mark.parametrize("change", ["one changes", "one comes", "one goes"])
def test_one_state_changes_its_own_block_alone(change: str) -> None:
    before = content(list(state_blocks(states(), KEYS)))
    after = {
        "one changes": states(frozenset({77})),
        "one comes": states(groups=range(10_001)).filter((pc.field("k1") != "user-10000") | (pc.field("k0") == 0)),
        "one goes": states().filter((pc.field("k1") != "user-77") | (pc.field("k0") > 0)),
    }[change]
    now = content(list(state_blocks(after, KEYS)))
    assert 1 <= len(set(now) - set(before)) <= 2  # two, where it begins a block
    assert len(set(before) & set(now)) >= len(before) - 2


def test_states_without_groups_and_large_ones_are_cut_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = pa.RecordBatch.from_pydict({"k0": [60_000, 0], "sum": [1, 2]})
    assert [block.to_pydict() for block in state_blocks(alone, ["k0"])] == [{"k0": [0, 60_000], "sum": [2, 1]}]
    monkeypatch.setattr(aside, "_BYTES", 2_000)
    large = list(state_blocks(states(), KEYS))
    assert len(large) > 50
    assert content(large) == content(list(state_blocks(states(), KEYS)))


def test_states_of_one_key_are_not_cut_apart() -> None:
    alike = pa.RecordBatch.from_pydict({"k0": [key for key in range(20_000) for _ in range(3)]})
    blocks = [set(block.column("k0").to_pylist()) for block in state_blocks(alike, ["k0"])]
    assert len(blocks) > 4
    assert sum(map(len, blocks)) == 20_000
