"""Text that is not UTF-8, which SQLite stores and Arrow does not check, costs its row in every step and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.functions import Functions


def broken() -> pa.RecordBatch:
    stored = pa.array([b"a@x.com", b"\xff\xfe", None, b"b@x.com"])
    text = pa.StringArray.from_buffers(4, stored.buffers()[1], stored.buffers()[2], stored.buffers()[0])
    listed = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3, 4], pa.int32()), text)
    return pa.record_batch({"id": [1, 2, 3, 4], "text": text, "word": text.dictionary_encode(), "list": listed})


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "filter", "condition": "upper(text) <> 'x' OR text IS NULL"},
        {"type": "filter", "condition": "word IS DISTINCT FROM 'x'"},
        {"type": "filter", "condition": "len(list) = 1"},
        {"type": "map", "mappings": {"id": {"source": "id"}, "t": {"expression": "upper(text)"}}},
        {"type": "map", "mappings": {"id": {"source": "id"}, "t": {"source": "text", "converter": "email"}}},
        {"type": "map", "mappings": {"id": {"source": "id"}, "t": {"source": "word", "converter": "mask"}}},
        {"type": "map", "mappings": {"id": {"source": "id"}, "t": {"source": "list[0]", "converter": "hash"}}},
        {"type": "function", "id": "same", "output": {"id": "bigint", "text": "text"}},
    ],
)
def test_a_text_that_is_not_utf8_costs_its_row(run: Callable[..., Any], tmp_path: Path, definition: dict[str, Any]) -> None:
    (tmp_path / "functions.py").write_text("def same(row): return {'id': row['id'], 'text': row['text']}")
    done = run(definition, broken(), Functions(tmp_path))
    ids = [row["id"] for out in done.applied.batches for row in out.select(["id"]).to_pylist()]
    assert ids == [1, 3, 4]
    assert list(done.dead) == [1]
    assert "a text is not UTF-8" in done.dead[1][1]


def test_an_expression_that_does_not_read_the_text_does_not_mind(run: Callable[..., Any]) -> None:
    done = run({"type": "map", "mappings": {"double": {"expression": "id * 2"}}}, broken())
    assert [row["double"] for row in done.rows] == [2, 4, 6, 8]
