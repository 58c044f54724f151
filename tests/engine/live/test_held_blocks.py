"""Blocks that a process has read: asked for once, named on their way through Beam, and the same ones again behind it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa
import pytest

from beam_pipelines.columnar import packed
from beam_pipelines.engine.live import held_blocks
from beam_pipelines.engine.live.held_blocks import Names, opened, parts_of
from beam_pipelines.errors import FencedError
from beam_pipelines.io.connector import Kept, Target

LOAD = "out"


@dataclass
class Ledger:
    """What commits have kept, and which of it was asked for."""

    blocks: dict[str, list[str]] = field(default_factory=dict)  # contents by run
    asked: list[tuple[str, int]] = field(default_factory=list)

    def keep(self, run: str, *blocks: pa.RecordBatch) -> None:
        self.blocks[run] = [text for block in blocks for text in packed.pack(block)]

    def kept(self, service: str, load: str, kind: str, known: Collection[tuple[str, int]] = ()) -> list[Kept]:
        names = [(run, part) for run, texts in self.blocks.items() for part in range(len(texts))]
        self.asked = [name for name in names if name not in known]
        return [Kept(run, part, "" if (run, part) in known else self.blocks[run][part]) for run, part in names]

    def read(self) -> list[pa.RecordBatch]:
        return list(held_blocks.read(cast(Target, self), "shop", LOAD))


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def room() -> Iterator[None]:
    with held_blocks.room():
        yield


def block(*numbers: int, side: bytes = b"left") -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": list(numbers), "version": ["1"] * len(numbers)}).replace_schema_metadata({b"side": side})


def rows(blocks: Any) -> list[list[int]]:
    return [one.column("n").to_pylist() for one in blocks]


@pytest.mark.usefixtures("room")
def test_a_block_is_asked_for_once_and_what_is_gone_is_forgotten(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PIECE", 2_000)
    numbers = [number**7 % 2**61 for number in range(1000)]
    long = block(*numbers)
    ledger.keep("a", block(1, 2), long, block(3))
    pieces = len(packed.pack(long))
    assert pieces > 1
    assert rows(ledger.read()) == [[1, 2], numbers, [3]]
    assert len(ledger.asked) == pieces + 2
    ledger.keep("b", block(4))
    again = ledger.read()
    assert (rows(again), ledger.asked) == ([[1, 2], numbers, [3], [4]], [("b", 0)])
    assert parts_of(again[1]) == [("a", part) for part in range(1, pieces + 1)]
    before = again[-1]
    ledger.keep("b")
    assert len(ledger.read()) == 3
    names = Names(LOAD)
    assert names.add(again[0])
    assert not names.add(before)
    ledger.keep("b", block(4))  # a backup was put back
    assert (rows(ledger.read())[-1], ledger.asked) == ([4], [("b", 0)])


@pytest.mark.usefixtures("room")
def test_blocks_go_by_name_and_are_the_same_behind(ledger: Ledger) -> None:
    ledger.keep("a", block(1, 2), block(3), block(4, side=b"right"))
    read = ledger.read()
    names = Names(LOAD)
    assert all(names.add(one.select(["n"])) for one in read)
    named = list(names.batches())
    assert [one.num_rows for one in named] == [0, 0]  # one of each side
    behind = [one for batch in named for one in opened(LOAD, batch)]
    assert all(one.equals(other.select(["n"]), check_metadata=True) for one, other in zip(behind, read, strict=True))
    new = block(5)
    assert next(opened(LOAD, new)) is new
    ledger.keep("a")
    ledger.read()  # by another drain
    with pytest.raises(FencedError):
        list(opened(LOAD, named[0]))


def test_without_room_and_in_a_forked_worker_blocks_travel_whole(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.keep("a", block(1, 2), block(3))
    assert not any(Names(LOAD).add(one) for one in ledger.read())
    with held_blocks.room():
        assert all(Names(LOAD).add(one) for one in ledger.read())
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert not any(Names(LOAD).add(one) for one in ledger.read())
        assert len(ledger.asked) == 2


def test_no_more_is_held_than_there_is_room_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_blocks, "ROOM", 30_000)
    ledger.keep("a", *(block(*range(number, number + 1000)) for number in range(10)))
    with held_blocks.room():
        for _ in range(3):
            read = ledger.read()
            assert rows(read) == [list(range(number, number + 1000)) for number in range(10)]
            held = [Names(LOAD).add(one) for one in read]
            assert held == sorted(held, reverse=True)
            assert 0 < sum(held) < 5
        assert len(ledger.asked) == 10 - sum(held)
