"""What a service shows of itself in a notebook."""

from __future__ import annotations

import re
from typing import Any

from beam_pipelines.engine.notebook import facts, lines, table

World = Any


def cells(page: str) -> list[str]:
    return re.findall(r"<t[dh]>(.*?)</t[dh]>", page)


def test_values_are_escaped_and_what_is_not_there_is_left_out() -> None:
    assert cells(table(["a\nint64", "<b>"], [["<i>", None]])) == ["a<br>int64", "&lt;b&gt;", "&lt;i&gt;", ""]
    assert cells(facts([("rows", 0), ("error", None), ("notes", "")])) == ["rows", "0"]
    assert lines("<x>", ["a & b"]) == "<p><b>&lt;x&gt;</b></p><ol><li>a &amp; b</li></ol>"


def test_a_plan_shows_its_graph_its_guarantee_and_what_is_read(duck: World) -> None:
    duck.write("upsert", [{"id": "adults", "type": "filter", "condition": "age >= 18"}])
    duck.fill(10, 29)
    page = duck.service.plan()._repr_html_()
    assert "<li>adults: filter</li>" in page
    assert "exactly-once" in page
    assert {"customers", "the start", "no"} <= set(cells(page))


def test_a_result_shows_what_became_of_the_rows_and_what_it_costs(duck: World) -> None:
    duck.write("upsert", [{"id": "adults", "type": "filter", "condition": "age >= 18"}], keyFields=["id"])
    duck.fill(10, 29)
    page = duck.service.run()._repr_html_()
    assert "success (run " in page
    assert "12 rows of 20" in cells(page)
    assert cells(page)[-6:] == ["adults", "20", "12", "8", "0", "0"]
    assert "0.10 USD" in cells(page)


def test_a_result_that_failed_says_why(duck: World) -> None:
    duck.write("upsert", [{"id": "f", "type": "filter", "condition": "age >= 18"}], keyFields=["id"], errorHandling="stop")
    duck.change(("errorBudget",), {"max": 0})
    duck.fill(10, 12)
    duck.crm("UPDATE customers SET age = 'x' WHERE id = 11")
    page = duck.service.run()._repr_html_()
    assert "failed (run " in page
    assert "budget-exceeded" in page
