"""How what differs is told."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.engine.cases.alignment import align
from beam_pipelines.engine.cases.difference import Difference


def rows(*values: dict[str, Any]) -> list[dict[tuple[str, ...], Any]]:
    return [{(name,): value for name, value in row.items()} for row in values]


def told(expected: list[Any], got: list[Any], **how: Any) -> list[str]:
    columns = tuple(dict.fromkeys(place[0] for row in got for place in row))
    difference = Difference("clean", "rows", tuple(expected), tuple(got), tuple(align(expected, got, **how)), how.get("keys", ()), columns)
    return [difference.headline, *difference.lines()]


def test_a_report_gives_row_column_expected_and_got():
    got = rows({"id": 1, "n": "a"}, {"id": 3, "n": "c"})
    assert told(rows({"id": 1, "n": "A"}, {"id": 2, "m": 5}), got, keys=[("id",)]) == [
        "clean: 3 rows differ (2 expected, 2 came)",
        "row   column  expected           got",
        'id=1  n       "A"                "a"',
        'id=2          {"id": 2, "m": 5}  no such row',
        'id=3          no such row        {"id": 3, "n": "c"}',
    ]
    assert told(rows({"id": 1, "m": 5}), got[:1])[2] == "row 1  m       5         no such column; there are id, n"


def test_long_values_are_cut_to_where_they_differ():
    line = told(rows({"id": 1, "n": "x" * 100 + "A" + "y" * 100}), rows({"id": 1, "n": "x" * 100 + "B" + "y" * 100}))[2]
    assert len(line) < 110
    assert "xA" in line
    assert "xB" in line


@pytest.mark.parametrize("at", [0, 5, 20, 30, 150, 190, 199])
def test_where_long_values_differ_is_always_shown(at: int) -> None:
    ours, theirs = ("x" * at + letter + "x" * (199 - at) for letter in "AB")
    line = told(rows({"id": 1, "n": ours}), rows({"id": 1, "n": theirs}))[2]
    assert line.count("A") == line.count("B") == 1
    assert len(line) < 110


def test_values_do_not_speak_to_the_terminal():
    lines = told(rows({"id": 1, "n": "\x9b2J\x7f\u202e"}), rows({"id": 1, "n": "\x1b[2J"}))
    assert all(line.isprintable() for line in lines)


def test_many_differences_are_counted_and_not_all_shown():
    lines = told(rows(*({"id": n} for n in range(100))), [])
    assert (len(lines), lines[-1]) == (33, "... and 70 more")
