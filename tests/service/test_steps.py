"""Function, map and filter in real runs: what each step says of itself, what fails where, what is charged. Counts are worked out by hand.

The source is 100 people: id 1..100, name `Person i`, age i, email `p<i>@example.com`, spend i / 4 with two decimals as text.
Ids 10, 20 ... 100 have an e-mail without `@`; ids 7 and 77 have a spend that is no number; id 50 has no name.
"""

from __future__ import annotations

import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.errors import SpecError

Desk = Any

FUNCTIONS = """
def checked(row: dict) -> dict | None:
    if row["name"] is None:
        return None
    if "@" not in row["email"]:
        raise ValueError(f"no mail address: {row['email']}")
    return {"id": row["id"], "name": row["name"].upper(), "age": row["age"], "spend": row["spend"]}


def doubled(row: dict):
    yield {"id": row["id"], "copy": 1}
    yield {"id": row["id"], "copy": 2}
"""
GREETER = """
from shop.words import GREETING


class Greeter:
    def __enter__(self):
        self.greeting = GREETING
        return self

    def __exit__(self, *error):
        pass

    def __call__(self, row: dict) -> dict:
        return {"id": row["id"], "greeting": self.greeting + str(row["name"])}
"""
STOP = """
from beam_pipelines.errors import FatalError


def checked(row):
    if row["id"] == 40:
        raise FatalError("the licence has expired")
    return row
"""
OUTPUT = {"id": "bigint", "name": "text", "age": "bigint", "spend": "text"}
MAP = {
    "id": "money",
    "type": "map",
    "mappings": {
        "id": {"source": "id"},
        "name": {"source": "name"},
        "age": {"source": "age"},
        "cents": {"expression": "CAST(spend AS DECIMAL(10,2)) * 100"},
        "group": {"expression": "CASE WHEN age < 18 THEN 'minor' ELSE 'adult' END"},
    },
}
FILTER = {"id": "adults", "type": "filter", "condition": "age >= 18"}


def fill(desk: Desk) -> None:
    desk.sqlite(
        "source.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, email TEXT, spend TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)"
        " INSERT INTO people SELECT i, 'Person ' || i, i, 'p' || i || '@example.com', printf('%.2f', i / 4.0) FROM n",
        "UPDATE people SET email = 'nowhere' WHERE id % 10 = 0",
        "UPDATE people SET spend = 'a lot' WHERE id IN (7, 77)",
        "UPDATE people SET name = NULL WHERE id = 50",
    )


def one_transformation(record: dict[str, Any], step: str) -> dict[str, Any]:
    (phase,) = [phase for phase in record["steps"] if phase["phase"] == "transform"]
    (found,) = [one for one in phase["transformations"] if one["id"] == step]
    return dict(found)


@pytest.fixture
def people(desk: Desk) -> Desk:
    """A desk with the people and the functions, once with every bundle executed twice."""
    fill(desk)
    desk.functions(FUNCTIONS)
    return desk


def test_each_step_tells_what_it_took_gave_and_lost(people: Desk) -> None:
    steps = [{"id": "checked", "type": "function", "output": OUTPUT}, MAP, FILTER]
    people.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps, errorBudget={"max": "50%"})
    record = people.ran()
    # checked: 10 rows end in 0, of which id 50 has no name and is dropped before its address is looked at: 9 fail, 1 is dropped.
    checked, money, adults = (one_transformation(record, step) for step in ("checked", "money", "adults"))
    keys = ("recordsIn", "recordsOut", "recordsFiltered", "recordsDeadLettered")
    assert tuple(checked[key] for key in keys) == (100, 90, 1, 9)
    assert tuple(money[key] for key in keys) == (90, 88, 0, 2)
    # adults: of ids 1..17, 10 failed before and 7 failed in the map, so 15 are left to be filtered.
    assert tuple(adults[key] for key in keys) == (88, 73, 15, 0)
    for one in (checked, money, adults):
        assert one["success"] is True
        assert isinstance(one["duration"], int)
        assert one["duration"] >= 0
    assert "function-failed: ValueError: no mail address" in checked["error"]
    assert "nowhere" not in checked["error"], "an error in the record holds no payload"
    assert "expression-failed" in money["error"]
    assert adults.get("error") is None
    assert [one.get("fusedWith") for one in (checked, money, adults)] == [None, ["adults"], ["money"]]
    assert money["duration"] == adults["duration"]
    metrics = record["metrics"]
    assert tuple(metrics["records" + key] for key in ("Extracted", "Transformed", "Loaded", "Filtered", "DeadLettered")) == (
        100,
        73,
        73,
        16,
        11,
    )
    assert people.duckdb("target.duckdb", "SELECT count(*), min(id), max(id), min(cents) FROM people") == [(73, 18, 99, 18 * 25)]
    assert [("PERSON 21", Decimal("525.00"), "adult")] == people.duckdb(
        "target.duckdb", 'SELECT name, cents, "group" FROM people WHERE id = 21'
    )


def test_rows_that_fail_are_dead_letters_of_the_step_they_fail_in_as_they_came_to_it(people: Desk) -> None:
    steps = [{"id": "checked", "type": "function", "output": OUTPUT}, MAP]
    people.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps, errorBudget={"max": "50%"})
    people.ran()
    letters = {letter["origin"]["key"]["id"]: letter for letter in people.letters()}
    assert {10, 20, 30, 40, 60, 70, 80, 90, 100, 7, 77} == set(letters)
    assert len(people.letters()) == 11
    ten, seven = letters[10], letters[7]
    assert (ten["step"], ten["code"]) == ("checked", "function-failed")
    assert ten["record"] == {"id": 10, "name": "Person 10", "age": 10, "email": "nowhere", "spend": "2.50"}
    assert (seven["step"], seven["code"]) == ("money", "expression-failed")
    assert seven["record"] == {"id": 7, "name": "PERSON 7", "age": 7, "spend": "a lot"}
    assert seven["origin"] == {"source": "people", "key": {"id": 7}}
    with people.store() as store:
        indexed = {(one.step, one.code): one.count for one in store.failed_records("desk")}
    assert indexed == {("checked", "function-failed"): 9, ("money", "expression-failed"): 2}


def test_a_row_that_dies_in_a_step_that_was_fused_is_shown_as_it_came_to_it(people: Desk) -> None:
    people.etl({"table": "people"}, {"table": "people", "mode": "insert"}, [FILTER, MAP], errorBudget={"max": "50%"})
    record = people.ran()
    adults, money = (one_transformation(record, step) for step in ("adults", "money"))
    keys = ("recordsIn", "recordsOut", "recordsFiltered", "recordsDeadLettered")
    # Ids 1..17 are filtered, 7 among them; 77 has a spend that is no number.
    assert tuple(adults[key] for key in keys) == (100, 83, 17, 0)
    assert tuple(money[key] for key in keys) == (83, 82, 0, 1)
    (letter,) = people.letters()
    assert (letter["step"], letter["code"], letter["origin"]) == ("money", "expression-failed", {"source": "people", "key": {"id": 77}})
    assert letter["record"] == {"id": 77, "name": "Person 77", "age": 77, "email": "p77@example.com", "spend": "a lot"}


def test_a_step_that_is_not_required_passes_rows_with_its_columns_null(people: Desk) -> None:
    steps: list[dict[str, Any]] = [{**MAP, "required": False, "unmapped": "keep"}]
    people.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps)
    record = people.ran()
    money = one_transformation(record, "money")
    assert tuple(money[key] for key in ("recordsIn", "recordsOut", "recordsDeadLettered")) == (100, 100, 0)
    assert money["recordsNulled"] == 2
    assert people.letters() == []
    assert people.duckdb("target.duckdb", 'SELECT id, cents, "group" FROM people WHERE cents IS NULL ORDER BY id') == [
        (7, None, None),
        (77, None, None),
    ]
    assert record["metrics"]["recordsLoaded"] == 100


def test_a_function_that_is_not_required_passes_rows_as_they_were(people: Desk) -> None:
    # Id 50 has no name before it comes to the step, so it has none afterwards; the others keep theirs.
    steps = [{"id": "checked", "type": "function", "output": {**OUTPUT, "mark": "text"}, "required": False}]
    people.functions("def checked(row):\n    mark = row.pop('email').split('@')[1]\n    return {**row, 'mark': mark}\n")
    people.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps)
    record = people.ran()
    assert one_transformation(record, "checked")["recordsNulled"] == 10
    assert people.duckdb("target.duckdb", "SELECT count(*), count(name) FROM people WHERE mark IS NULL") == [(10, 9)]


def test_rows_that_become_several_balance_and_keep_their_origin(people: Desk) -> None:
    steps = [{"id": "doubled", "type": "function"}, {"id": "low", "type": "filter", "condition": "copy = 2 or id <= 3"}]
    people.etl({"table": "people"}, {"table": "copies", "mode": "insert"}, steps)
    record = people.ran()
    assert tuple(one_transformation(record, "doubled")[key] for key in ("recordsIn", "recordsOut")) == (100, 200)
    assert people.duckdb("target.duckdb", "SELECT count(*), count(DISTINCT (id, copy)) FROM copies") == [(103, 103)]


def test_what_an_undeclared_function_returns_is_sampled_kept_and_enforced(people: Desk) -> None:
    people.functions("def shape(row):\n    return {'id': row['id'], 'size': row['age'] if row['id'] < 60 else 'big', 'at': row['email']}\n")
    people.sqlite("source.db", "ALTER TABLE people ADD COLUMN updated_at TIMESTAMP")
    people.sqlite("source.db", "UPDATE people SET updated_at = datetime('now', '-100 seconds') WHERE id < 60")
    people.etl(
        {"query": "SELECT * FROM people WHERE updated_at > ?", "incremental": True},
        {"table": "shapes", "mode": "insert"},
        [{"id": "shape", "type": "function"}],
        errorBudget={"max": "100%"},
    )
    assert people.ran()["metrics"]["recordsLoaded"] == 59
    # The second run sees text only: it is not sampled again, so the column stays a number and the rows are dead letters.
    people.sqlite("source.db", "UPDATE people SET updated_at = datetime('now', '-5 seconds') WHERE id >= 60 AND id < 63")
    again = people.ran()
    assert tuple(again["metrics"]["records" + key] for key in ("Extracted", "Loaded", "DeadLettered")) == (3, 0, 3)
    assert {"cast-failed"} == {letter["code"] for letter in people.letters()}
    assert people.duckdb(
        "target.duckdb", "SELECT data_type FROM duckdb_columns() WHERE table_name = 'shapes' AND column_name = 'size'"
    ) == [("BIGINT",)]


def test_what_a_function_returns_is_sampled_again_when_a_module_that_it_imports_was_edited(
    people: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "rules_of_this_test", None)
    monkeypatch.delitem(sys.modules, "rules_of_this_test")
    rules = people.folder / "rules_of_this_test.py"
    people.functions("from rules_of_this_test import LABEL\n\n\ndef shape(row):\n    return {'id': row['id'], **LABEL}\n")
    rules.write_text("LABEL = {'label': 'one'}\n")
    people.etl({"table": "people"}, {"table": "shapes", "mode": "upsert", "keyFields": ["id"]}, [{"id": "shape", "type": "function"}])
    people.ran()
    # What is loaded stays loaded; the run's digest is that of what ran, so that the edit is not taken for known.
    rules.write_text("LABEL = {'label': 'two', 'size': 2}\n")
    people.ran()
    assert people.duckdb("target.duckdb", "SELECT DISTINCT label FROM shapes") == [("one",)]
    answer = people.command("--service", "service.json")
    assert answer.returncode == 0, answer.stderr
    assert people.duckdb("target.duckdb", "SELECT DISTINCT label, size FROM shapes") == [("two", 2)]


def test_additional_costs_are_charged_by_the_rows_that_leave_the_step(people: Desk) -> None:
    steps = [{"id": "checked", "type": "function", "output": OUTPUT}, FILTER]
    price = {"model": "per-record", "rate": "0.01", "minimumCharge": "2.00", "additionalCosts": {"checked": "10", "adults": "1.5"}}
    people.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps, pricing=price, errorBudget={"max": "50%"})
    charge = people.ran()["charge"]
    # 100 records at 0.01 are 1.00, below the minimum of 2.00; 90 rows out of `checked` at 10 for 1,000 are 0.90, and out of `adults`
    # come 74 (ids 18 to 99 less 8 without address and less 50): 0.111. Together 3.011.
    assert (charge["amount"], f"{Decimal(charge['unrounded']):.5f}") == ("3.01", "3.01100")
    assert {line["name"]: line["quantity"] for line in charge["lines"] if line["unit"] == "1,000 rows"} == {
        "checked": "0.09",
        "adults": "0.074",
    }


def test_a_handler_names_its_code_by_module_and_function(people: Desk) -> None:
    people.functions("def enrich(row):\n    raise RuntimeError('this one is not meant')\n")
    (people.folder / "shop").mkdir()
    (people.folder / "shop" / "__init__.py").write_text("")
    (people.folder / "shop" / "rules.py").write_text(GREETER)
    (people.folder / "shop" / "words.py").write_text("GREETING = 'hello '\n")
    people.etl(
        {"table": "people"},
        {"table": "greetings", "mode": "insert"},
        [{"id": "enrich", "type": "function", "handler": "shop.rules:Greeter", "output": {"id": "bigint", "greeting": "text"}}],
    )
    people.ran()
    assert people.duckdb("target.duckdb", "SELECT greeting FROM greetings WHERE id = 3") == [("hello Person 3",)]


@pytest.mark.no_bundle
def test_a_function_that_is_nowhere_is_a_plan_error_that_shows_all_three_places(desk: Desk) -> None:
    fill(desk)
    desk.functions("def normalise(row):\n    return row\n")
    desk.etl({"table": "people"}, {"table": "people", "mode": "insert"}, [{"id": "normalize", "type": "function"}], functions=["json"])
    with pytest.raises(SpecError) as refused:
        desk.run()
    text = str(refused.value)
    assert refused.value.code == "function-missing"
    for part in ("handler", "functions.py", "functions: [json]", "pipeline.transformations[0]", "did you mean 'normalise'?"):
        assert part in text
    assert not Path(desk.folder / "target.duckdb").exists()


def test_a_stop_raised_by_a_function_ends_the_run_and_loads_nothing(people: Desk) -> None:
    people.functions(STOP)
    people.etl({"table": "people"}, {"table": "people", "mode": "insert"}, [{"id": "checked", "type": "function", "output": OUTPUT}])
    result = people.run()
    assert (result.exit_code, result.execution.status) == (1, "failed")
    assert "the licence has expired" in str(result.execution.error)
    assert people.duckdb("target.duckdb", "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'people'") == [(0,)]


def test_two_definitions_may_both_have_a_function_of_one_name(desk: Desk) -> None:
    fill(desk)
    for name in ("north", "south"):
        folder = desk.folder / name
        folder.mkdir()
        (folder / "functions.py").write_text(f"def mark(row: dict) -> dict:\n    return {{'id': row['id'], 'side': '{name}'}}\n")
        (folder / "connections.yaml").write_text('{"source": "../source.db", "target": "../target.duckdb"}')
    from beam_pipelines.etl.service import Service

    for name in ("north", "south"):
        path = desk.etl(
            {"table": "people"},
            {"table": name, "mode": "insert"},
            [{"id": "mark", "type": "function", "output": {"id": "bigint", "side": "text"}}],
        )
        path.rename(desk.folder / name / "service.json")
    for name in ("north", "south"):
        assert Service.load(desk.folder / name / "service.json").run(options=desk.options).exit_code == 0
    for name in ("north", "south"):
        assert [(name,)] == desk.duckdb("target.duckdb", f"SELECT DISTINCT side FROM {name}")


def test_an_increment_through_a_simple_filter_does_not_load_the_engine_again(desk: Desk) -> None:
    fill(desk)
    desk.connect(source="source.db", target="target.db")
    desk.etl({"table": "people", "cursor": {"column": "id"}}, {"table": "people", "mode": "insert"}, [FILTER])
    first = desk.command("--service", "service.json")
    desk.sqlite("source.db", "INSERT INTO people VALUES (101, 'Ann', 17, '', ''), (102, 'Ben', 18, '', '')")

    again = desk.program("--service", "service.json", environment={"PYTHONPATH": without_duckdb(desk.folder)})

    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    assert desk.sqlite("target.db", "SELECT count(*), max(id) FROM people") == [(84, 102)]


def without_duckdb(folder: Path) -> str:
    """A path on which DuckDB cannot be imported."""
    (folder / "path" / "duckdb").mkdir(parents=True)
    (folder / "path" / "duckdb" / "__init__.py").write_text("raise ImportError('DuckDB was asked for')")
    return os.pathsep.join([str(folder / "path"), os.environ.get("PYTHONPATH", "")])


def test_the_condition_of_an_aggregate_does_not_load_the_engine_again(desk: Desk) -> None:
    fill(desk)
    desk.connect(source="source.db", target="target.db")
    steps = [{"id": "sums", "type": "aggregate", "groupBy": ["name"], "aggregations": {"age": "sum"}, "having": "sum_age >= 90"}]
    desk.etl({"table": "people", "cursor": {"column": "id"}}, {"table": "sums", "mode": "insert"}, steps)
    first = desk.command("--service", "service.json")
    desk.sqlite("source.db", "INSERT INTO people VALUES (101, 'Ann', 50, '', ''), (102, 'Ann', 40, '', ''), (103, 'Ben', 89, '', '')")

    again = desk.program("--service", "service.json", environment={"PYTHONPATH": without_duckdb(desk.folder)})

    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    assert desk.sqlite("target.db", "SELECT name, sum_age FROM sums WHERE name NOT LIKE 'Person%'") == [("Ann", 90)]
    assert desk.sqlite("target.db", "SELECT count(*) FROM sums") == [(12,)]
