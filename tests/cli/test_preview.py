from __future__ import annotations

import pytest


@pytest.fixture
def stepped(room):
    room.change(
        "transformations: []",
        """transformations:
    - {id: adults, type: filter, condition: "age >= 18"}
    - {id: shape, type: map, mappings: {id: {source: id}, mail: {expression: "upper(email)"}}}""",
    )
    return room


def test_rows_are_shown_as_they_leave_a_step_and_nothing_is_written(stepped):
    before = sorted(path.name for path in stepped.folder.iterdir())
    answer = stepped("preview", "service.yaml", "--step", "shape", "--limit", "20", "--output", "json")
    assert answer.code == 0, answer.err
    preview = answer.json()
    assert preview["step"] == "shape"
    assert preview["columns"] == {"id": "int64", "mail": "string"}
    assert preview["rows"] == [{"id": n, "mail": f"N{n}@EXAMPLE.ORG"} for n in range(18, 21)]
    assert preview["read"] == 20
    assert sorted(path.name for path in stepped.folder.iterdir()) == before


def test_the_last_step_is_the_default_and_any_can_be_named(stepped):
    assert stepped("preview", "service.yaml", "--output", "json").json()["step"] == "shape"
    named = stepped("preview", "service.yaml", "--step", "adults", "--limit", "18", "--output", "json").json()
    assert [row["age"] for row in named["rows"]] == [18]
    assert named["rows"][0]["updated_at"].startswith("2026-01-19T10:00:00")


def test_for_people_it_is_a_table_with_types(stepped):
    answer = stepped("preview", "service.yaml", "--limit", "20")
    lines = answer.out.splitlines()
    assert lines[0] == "id int64  mail string"
    assert lines[1] == "18        N18@EXAMPLE.ORG"
    assert lines[-1] == "3 rows out of step 'shape', of 20 read"


def test_rows_that_would_become_dead_letters_are_listed(room):
    room.crm("UPDATE customers SET age = 'old' WHERE id = 3")
    answer = room("preview", "service.yaml", "--limit", "5")
    assert answer.code == 0, answer.err
    assert "4 rows from the source, of 5 read" in answer.out
    assert "1 rows would become dead letters:" in answer.out
    assert "cast-failed" in answer.out
    [dead] = room("preview", "service.yaml", "--limit", "5", "--output", "json").json()["dead"]
    assert (dead["step"], dead["code"], dead["origin"]["source"]) == ("extract", "cast-failed", "query")


def test_an_unknown_step_is_refused_with_the_known_ones(stepped):
    answer = stepped("preview", "service.yaml", "--step", "shap")
    assert answer.code == 2
    assert "expected one of the steps adults, shape, got 'shap'" in answer.err
