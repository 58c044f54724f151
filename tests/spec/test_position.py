from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.spec import Position
from beam_pipelines.spec.document import read
from beam_pipelines.spec.position import format_path, parse_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("pipeline.source.query", ("pipeline", "source", "query")),
        ("pipeline.transformations[0].handler", ("pipeline", "transformations", 0, "handler")),
        ('mappings["address.city"].source', ("mappings", "address.city", "source")),
        ("", ()),
    ],
)
def test_a_path_is_read_and_written(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(text) == path
    assert format_path(path) == text


@given(st.lists(st.text(min_size=1) | st.integers(min_value=0, max_value=999), max_size=5))
def test_any_path_survives_being_written(path: list[str | int]) -> None:
    assert parse_path(format_path(path)) == tuple(path)


TEXT = """\
pipeline:
  source:
    table: t
  transformations:
    - id: a
"""


@pytest.mark.parametrize(
    ("path", "at", "line", "column"),
    [
        ("pipeline.source.table", "value", 3, 12),
        ("pipeline.source.table", "key", 3, 5),
        ("pipeline.source.query", "value", 2, 3),  # missing: what it is missing from
        ("pipeline.source", "value", 2, 3),  # what stands below its key is shown by the key
        ("pipeline.transformations[0].handler", "value", 5, 7),
        ("pipeline.transformations[7].handler", "value", 4, 3),
        ("schedule", "value", 1, 1),
    ],
)
def test_a_path_is_found_or_its_nearest_ancestor(path: str, at: str, line: int, column: int) -> None:
    positions = read(TEXT, "x.yaml", is_json=False).positions
    assert positions.find(parse_path(path), at) == Position(line, column)  # type: ignore[arg-type]
