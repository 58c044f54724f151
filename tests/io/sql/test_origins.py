from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.io.sql.origins import origins
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.window import Range, Window

ROWS = pa.record_batch({"number": pa.array([7, 8]), "land": pa.array(["CH", None]), "at": pa.array([0, 1], pa.timestamp("s", "UTC"))})
# 3 rows of range 0, 2 of ranges 1 to 3, none, 4 of range 4.
STAGED = [Staged("a", 3, order=0), Staged("b", 2, order=1, through=3), Staged("c", 0, order=3), Staged("d", 4, order=4, through=4)]


def window(ranges: int = 5, **more: Any) -> Window:
    parts = tuple(Range("copy", "orders", index) for index in range(ranges))
    return Window("shop", "copy", "orders", "0" * 12, 0, ranges=parts, **more)


def test_a_key_that_arrives_is_told_by_its_name_in_the_source() -> None:
    one = window(origin_key=(("id", "number"), ("country", "land")))
    assert origins(one, ROWS, [0, 1], STAGED) == [
        {"source": "orders", "key": {"id": 7, "country": "CH"}},
        {"source": "orders", "key": {"id": 8, "country": None}},
    ]
    assert origins(window(origin_key=(("at", "at"),)), ROWS, [0, 1], STAGED)[1]["key"]["at"].startswith("1970-01-01T00:00:01")


@pytest.mark.parametrize(
    ("position", "told"),
    [
        (0, {"range": 0}),
        (2, {"range": 0}),
        (3, {"ranges": [1, 3]}),
        (4, {"ranges": [1, 3]}),
        (5, {"range": 4}),
        (8, {"range": 4}),
    ],
)
def test_without_a_key_it_is_the_range_or_those_that_were_staged_together(position: int, told: dict[str, Any]) -> None:
    assert origins(window(), ROWS, [position, position], STAGED) == [{"source": "orders", **told}] * 2


def test_one_range_needs_no_number_and_a_file_has_its_name() -> None:
    assert origins(window(1), ROWS, [0, 1], [Staged("a", 2)]) == [{"source": "orders"}] * 2
    files = tuple(Range("copy", "in/*.parquet", index, {"label": f"in/{index}.parquet"}) for index in range(2))
    several = Window("shop", "copy", "in/*.parquet", "0" * 12, 0, ranges=files)
    found = origins(several, ROWS, [0, 2], [Staged("a", 2, order=0), Staged("b", 1, order=1, through=1)])
    assert found == [{"source": "in/0.parquet", "range": 0}, {"source": "in/1.parquet", "range": 1}]


def test_what_was_shuffled_or_added_is_told_by_its_sources() -> None:
    staged = [Staged("a", 1, sources=("orders",)), Staged("b", 1, sources=("old",)), Staged("c", 1, sources=("orders", "old"))]
    assert origins(window(), ROWS, [0, 1, 2], staged) == [{"source": "orders"}, {"source": "old"}, {"sources": ["orders", "old"]}]
