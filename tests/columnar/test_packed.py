"""Batches as texts: whole again, in pieces that statements take, and never quietly with one of them missing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beam_pipelines.columnar import packed
from beam_pipelines.errors import FatalError

SMALL = pa.RecordBatch.from_pydict({"n": [1, None, 3], "text": ["a", "", None]})
LONG = pa.RecordBatch.from_pydict({"n": list(range(400))})


def test_batches_come_back_from_pieces_no_longer_than_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PIECE", 1000)
    texts = [*packed.pack(LONG), *packed.pack(SMALL.slice(0, 1)), *packed.pack(LONG)]
    assert len(texts) == 5
    assert max(map(len, texts)) < 1020
    assert [one.to_pydict() for one in packed.unpack(texts)] == [LONG.to_pydict(), {"n": [1], "text": ["a"]}, LONG.to_pydict()]
    assert [len(pieces) for pieces in packed.joined(texts)] == [len(texts) // 2, 1, len(texts) // 2]


@pytest.mark.parametrize("lost", [0, 1, -1])
def test_a_piece_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    monkeypatch.setattr(packed, "PIECE", 1000)
    texts = packed.pack(LONG)
    texts.pop(lost)
    with pytest.raises(FatalError, match="of a block of rows, found"):
        list(packed.unpack(texts))


def test_a_text_may_stand_for_one_that_is_kept() -> None:
    assert packed.named(packed.naming("0a1b2c3d4e5f", 12)) == ("0a1b2c3d4e5f", 12)
    assert packed.named(packed.pack(SMALL)[0]) is None
