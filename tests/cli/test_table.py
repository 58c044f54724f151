from __future__ import annotations

from beam_pipelines.cli.table import Table


def test_numbers_are_aligned_to_the_right_and_texts_to_the_left():
    table = Table(["step", "rows>"], [["extract", "1,000"], ["load", "9"]])
    assert table.text() == "step      rows\nextract  1,000\nload         9"


def test_lines_end_without_blanks():
    table = Table(["a", "b"], [["long enough", ""], ["x", "y"]])
    assert table.text().splitlines() == ["a            b", "long enough", "x            y"]


def test_a_title_stands_above():
    assert Table(["a"], [["1"]], title="of things").text() == "of things\na\n1"


def test_a_cell_cannot_break_the_table_or_speak_to_the_terminal():
    assert Table(["a"], [["x\ny\x1b[2J"]]).text() == "a\nx\\ny\\x1b[2J"
