"""Joins in real runs: rows against plain Python, counts against the rows, for right sides of every kind, near and far.

The source is 100 people: id 1..100, age i, country `A`, `B`, `C` or `D` by i % 4, null where i % 10 == 0. The right side is five
countries: A twice (that of pop 1 and that of pop 2), B, E, and one without a code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from beam_pipelines.cli.main import main
from beam_pipelines.engine import join as module
from beam_pipelines.errors import PlanError

pytestmark = pytest.mark.long

Desk = Any
Row = tuple[Any, ...]
HOWS = ("inner", "left", "right", "full", "semi", "anti")
TWO = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
PEOPLE = [(i, i, None if i % 10 == 0 else "DABC"[i % 4]) for i in range(1, 101)]
COUNTRIES = [(1, "A", "Alpha", 1), (2, "A", "Aleph", 2), (3, "B", "Beta", 3), (4, "E", "Epsilon", 4), (5, None, "Nowhere", 5)]
TABLE = "CREATE TABLE countries (n INTEGER PRIMARY KEY, code TEXT, name TEXT, pop INTEGER)"
VALUES = "INSERT INTO countries VALUES " + ", ".join(
    f"({n}, {f'{code!r}' if code else 'NULL'}, {name!r}, {pop})" for n, code, name, pop in COUNTRIES
)


def expected(how: str, people: list[Row], countries: list[Row]) -> list[Row]:
    """(id, age, country, name, pop)"""
    met = {(p, c) for p in people for c in countries if p[2] is not None and p[2] == c[1]}
    ours, theirs = {p for p, _ in met}, {c for _, c in met}
    if how in ("semi", "anti"):
        return ordered([p for p in people if (p in ours) == (how == "semi")])
    rows = [(*p, *c[2:]) for p, c in met]
    rows += [(*p, None, None) for p in people if p not in ours] if how in ("left", "full") else []
    rows += [(None, None, c[1], *c[2:]) for c in countries if c not in theirs] if how in ("right", "full") else []
    return ordered(rows)


def ordered(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: tuple(str(value) for value in row))


def fill(desk: Desk) -> None:
    desk.sqlite("source.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, age INTEGER, country TEXT)")
    values = ", ".join(f"({i}, {age}, {f'{country!r}' if country else 'NULL'})" for i, age, country in PEOPLE)
    desk.sqlite("source.db", f"INSERT INTO people VALUES {values}")


@pytest.fixture
def people(desk: Desk) -> Desk:
    """A desk with people and countries in the same SQLite file, once with every bundle executed twice."""
    fill(desk)
    desk.sqlite("source.db", TABLE, VALUES)
    return desk


@pytest.fixture(params=["near", "far"])
def distance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "far":
        monkeypatch.setattr(module, "NEAR", -1)
    return str(request.param)


def step(how: str = "inner", source: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    source = {"type": "database", "connection": "source", "table": "countries", **(source or {})}
    dropped = {"id": "named", "type": "map", "mappings": {name: {"source": name} for name in ("code", "name", "pop")}}
    source.setdefault("transformations", [dropped])
    return {"id": "country", "type": "join", "how": how, "on": {"country": "code"}, "source": source, **more}


def counts(record: dict[str, Any], name: str = "country") -> dict[str, int]:
    (phase,) = [phase for phase in record["steps"] if phase["phase"] == "transform"]
    (found,) = [one for one in phase["transformations"] if one["id"] == name]
    keys = ("In", "Out", "Filtered", "DeadLettered", "Made", "Right")
    return {key.lower(): found[f"records{key}"] for key in keys}


def joined(desk: Desk, how: str = "inner") -> list[Row]:
    more = "" if how in ("semi", "anti") else ", name, pop"
    if not desk.duckdb("target.duckdb", "FROM duckdb_tables() WHERE table_name = 'out'"):
        return []  # nothing came, so no table was made
    return ordered(desk.duckdb("target.duckdb", f"SELECT id, age, country{more} FROM out"))


OUT = {"table": "out", "mode": "replace"}


@pytest.mark.usefixtures("distance")
@pytest.mark.parametrize("how", HOWS)
def test_every_way_to_join_gives_its_rows_and_accounts_for_them(people: Desk, how: str) -> None:
    people.etl({"table": "people"}, OUT, [{"id": "adults", "type": "filter", "condition": "age >= 18"}, step(how)])
    record = people.ran()
    want = expected(how, [one for one in PEOPLE if one[1] >= 18], COUNTRIES)
    assert joined(people, how) == want
    told = counts(record)
    assert (told["in"], told["out"], told["right"]) == (83, len(want), 5)
    assert told["in"] + told["made"] == told["out"] + told["filtered"]
    lonely = len(expected("anti", [one for one in PEOPLE if one[1] >= 18], COUNTRIES))
    assert told["filtered"] == {"inner": lonely, "right": lonely, "semi": lonely, "anti": 83 - lonely}.get(how, 0)


def _postgres(desk: Desk, url: str) -> dict[str, Any]:
    desk.connect(crm=url)
    desk.postgres(url, TABLE, VALUES)
    return {"connection": "crm"}


def _duckdb(desk: Desk, _: str) -> dict[str, Any]:
    desk.connect(crm="crm.duckdb")
    desk.duckdb("crm.duckdb", TABLE, VALUES)
    return {"connection": "crm"}


def _parquet(desk: Desk, _: str) -> dict[str, Any]:
    (desk.folder / "in").mkdir()
    with duckdb.connect() as memory:
        memory.execute(TABLE)
        memory.execute(VALUES)
        for part, condition in ((1, "n < 3"), (2, "n >= 3")):
            memory.execute(f"COPY (SELECT * FROM countries WHERE {condition}) TO '{desk.folder}/in/{part}.parquet'")
    return {"type": "file", "path": "in/*.parquet", "connection": None, "table": None}


@pytest.mark.usefixtures("distance")
@pytest.mark.parametrize("place", [_postgres, _duckdb, _parquet])
@pytest.mark.parametrize("how", ["left", "full"])
def test_the_right_side_may_be_of_any_system(desk: Desk, postgres_database: str, place: Callable[..., Any], how: str) -> None:
    fill(desk)
    source = place(desk, postgres_database)
    one = step(how, source)
    one["source"] = {key: value for key, value in one["source"].items() if value is not None}
    desk.etl({"table": "people"}, OUT, [one])
    assert counts(desk.ran())["right"] == 5
    assert joined(desk) == expected(how, PEOPLE, COUNTRIES)


@pytest.mark.usefixtures("distance")
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("empty", ["people", "countries"])
def test_an_empty_side(people: Desk, how: str, empty: str) -> None:
    people.sqlite("source.db", f"DELETE FROM {empty}")
    people.etl({"table": "people"}, {**OUT, "allowEmpty": True}, [step(how)])
    people.ran()
    assert joined(people, how) == expected(how, [] if empty == "people" else PEOPLE, [] if empty == "countries" else COUNTRIES)


@pytest.mark.long
@pytest.mark.parametrize("how", ["inner", "full", "anti"])
def test_two_workers_give_the_same(desk: Desk, how: str) -> None:
    fill(desk)
    desk.sqlite("source.db", TABLE, VALUES)
    desk.etl({"table": "people"}, OUT, [step(how)])
    told = counts(desk.ran(options=TWO))
    want = expected(how, PEOPLE, COUNTRIES)
    assert joined(desk, how) == want
    assert (told["in"], told["out"], told["right"]) == (100, len(want), 5)


FUNCTIONS = """
def shouted(row: dict) -> dict | None:
    if row["code"] == "E":
        raise ValueError("not this one")
    return {"code": row["code"], "name": row["name"].upper(), "pop": row["pop"]}
"""


@pytest.mark.usefixtures("distance")
def test_the_right_side_has_steps_of_its_own(people: Desk) -> None:
    people.functions(FUNCTIONS)
    people.sqlite("source.db", "CREATE TABLE regions (letter TEXT PRIMARY KEY, region TEXT)")
    people.sqlite("source.db", "INSERT INTO regions VALUES ('A', 'north'), ('B', 'south')")
    steps = [
        {"id": "known", "type": "filter", "condition": "code IS NOT NULL"},
        {"id": "shouted", "type": "function", "output": {"code": "text", "name": "text", "pop": "bigint"}},
        {
            "id": "region",
            "type": "join",
            "on": {"code": "letter"},
            "source": {"type": "database", "connection": "source", "table": "regions"},
        },
        {"id": "total", "type": "aggregate", "groupBy": ["code", "region"], "aggregations": {"pop": ["sum"], "name": ["max"]}},
    ]
    people.etl({"table": "people"}, OUT, [step("inner", {"transformations": steps})])
    told = counts(people.ran())
    a, b = (len([one for one in PEOPLE if one[2] == letter]) for letter in "AB")
    assert people.duckdb("target.duckdb", "SELECT country, region, sum_pop, max_name, count(*) FROM out GROUP BY ALL ORDER BY country") == [
        ("A", "north", 3, "ALPHA", a),
        ("B", "south", 3, "BETA", b),
    ]
    assert (told["right"], told["deadlettered"], told["out"]) == (2, 1, a + b)
    (letter,) = people.letters()
    assert (letter["step"], letter["code"], letter["origin"]) == ("shouted", "function-failed", {"source": "countries", "key": {"n": 4}})


@pytest.mark.usefixtures("distance")
def test_rows_of_the_right_side_that_cannot_be_read_are_dead_letters_of_the_join(people: Desk) -> None:
    people.sqlite("source.db", "UPDATE countries SET pop = 'many' WHERE n = 3", f"UPDATE countries SET name = '{'x' * 3000}' WHERE n = 4")
    people.etl({"table": "people"}, OUT, [step("left")], maxCellBytes=2000)
    record = people.ran()
    assert joined(people) == expected("left", PEOPLE, COUNTRIES[:2] + COUNTRIES[4:])
    told = counts(record)
    assert (told["right"], told["deadlettered"], told["in"]) == (3, 2, 100)
    letters = {letter["origin"]["key"]["n"]: letter for letter in people.letters()}
    assert {n: (one["step"], one["code"], one["origin"]["source"]) for n, one in letters.items()} == {
        3: ("country", "cast-failed", "countries"),
        4: ("country", "cell-too-large", "countries"),
    }
    assert record["metrics"]["recordsDeadLettered"] == 2
    with people.store() as store:
        assert {(one.step, one.code): one.count for one in store.failed_records("desk")} == {
            ("country", "cast-failed"): 1,
            ("country", "cell-too-large"): 1,
        }


def test_the_error_budget_is_a_share_of_both_sides(people: Desk) -> None:
    people.sqlite(
        "source.db",
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 1999)"
        " INSERT INTO countries SELECT i, 'Z', 'z', 0 FROM n",
        "UPDATE countries SET pop = 'many' WHERE n % 20 = 0",  # 95 of 1,905
    )
    people.etl({"table": "people"}, OUT, [step("semi")], errorBudget={"max": "6%"})
    assert counts(people.ran())["deadlettered"] == 95
    people.etl({"table": "people"}, OUT, [step("semi")], errorBudget={"max": "4%"})
    assert people.run().execution.error_code == "budget-exceeded"


@pytest.mark.usefixtures("distance")
def test_what_depends_on_an_order_is_the_same_near_and_far(people: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    named = step("left", {"query": "SELECT code, name FROM countries WHERE n > 1", "table": None, "transformations": []})
    named["source"].pop("table")
    entries = [{"function": "first", "as": "first"}, {"function": "last", "as": "last"}, {"function": "collect", "as": "ids"}]
    people.etl({"table": "people"}, OUT, [named, {"id": "t", "type": "aggregate", "groupBy": ["name"], "aggregations": {"id": entries}}])
    found = []
    for near in (module.NEAR, -1):
        monkeypatch.setattr(module, "NEAR", near)
        people.ran()
        found.append(people.duckdb("target.duckdb", "SELECT name, first, last, ids FROM out ORDER BY name"))
    assert found[0] == found[1]
    assert [(name, len(ids)) for name, _, _, ids in found[0]] == [("Aleph", 25), ("Beta", 20), (None, 55)]


def test_each_table_of_several_is_joined(people: Desk) -> None:
    people.sqlite("source.db", "CREATE TABLE friends AS SELECT id + 1000 AS id, age, country FROM people WHERE id <= 40")
    people.etl({"tables": ["people", "friends"]}, {"table": "all_{table}", "mode": "replace"}, [step("full")])
    record = people.ran()
    friends = [(i + 1000, age, country) for i, age, country in PEOPLE if i <= 40]
    for table, rows in (("people", PEOPLE), ("friends", friends)):
        found = people.duckdb("target.duckdb", f"SELECT id, age, country, name, pop FROM all_{table}")
        assert ordered(found) == expected("full", rows, COUNTRIES)
    phases = [phase for phase in record["steps"] if phase["phase"] == "transform"]
    assert [one["recordsRight"] for phase in phases for one in phase["transformations"]] == [5, 5]


def test_a_row_of_the_right_side_alone_says_where_it_came_from_when_it_dies_later(people: Desk) -> None:
    checked = {"id": "checked", "type": "filter", "condition": "CAST(name AS INTEGER) > 0"}
    people.etl({"table": "people"}, OUT, [{"id": "none", "type": "filter", "condition": "id < 0"}, step("right"), checked])
    people.run()
    origins = [letter["origin"] for letter in people.letters()]
    assert sorted(origin["key"]["n"] for origin in origins) == [1, 2, 3, 4, 5]
    assert {origin["source"] for origin in origins} == {"countries"}


def test_an_increment_is_joined_with_the_right_side_as_it_is(people: Desk) -> None:
    people.sqlite("source.db", "ALTER TABLE people ADD COLUMN stamp INTEGER", "UPDATE people SET stamp = id")
    people.sqlite("source.db", "DELETE FROM countries WHERE n = 2")
    source = {"table": "people", "cursor": {"column": "stamp", "kind": "sequence"}}
    people.etl(source, {"table": "out", "mode": "upsert", "keyFields": ["id"]}, [step("left")])
    people.ran()
    people.sqlite("source.db", "INSERT INTO people VALUES (101, 1, 'E', 101)", "UPDATE countries SET name = 'New' WHERE code = 'E'")
    record = people.ran()
    assert (counts(record)["in"], counts(record)["right"]) == (1, 4)
    assert people.duckdb("target.duckdb", "SELECT id, name FROM out WHERE country = 'E'") == [(101, "New")]
    assert people.duckdb("target.duckdb", "SELECT count(*) FROM out") == [(101,)]


def test_a_right_side_that_changed_between_plan_and_run_is_read_as_it_is_then(people: Desk) -> None:
    people.etl({"table": "people"}, OUT, [step("left", {"transformations": []}, suffix="_r")])
    service = people.service
    service.plan()
    people.sqlite("source.db", "ALTER TABLE countries ADD COLUMN capital TEXT", "ALTER TABLE countries DROP COLUMN pop")
    assert service.run(options=people.options).exit_code == 0
    assert [name for name, *_ in people.duckdb("target.duckdb", "DESCRIBE out")] == ["id", "age", "country", "n", "name", "capital"]
    people.sqlite("source.db", "ALTER TABLE countries RENAME COLUMN code TO letters")
    with pytest.raises(PlanError) as refused:
        service.run(options=people.options)
    assert refused.value.code == "column-missing"


def test_a_source_without_rows_and_a_function_to_be_sampled_end_empty(people: Desk) -> None:
    people.functions("def any(row):\n    return row\n")
    people.sqlite("source.db", "DELETE FROM people")
    people.etl({"table": "people"}, {**OUT, "allowEmpty": True}, [{"id": "any", "type": "function"}, step("left")])
    assert people.ran()["metrics"]["recordsLoaded"] == 0


@pytest.mark.no_bundle
def test_a_preview_shows_what_a_join_gives(people: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    people.sqlite("source.db", "UPDATE countries SET pop = 'many' WHERE n = 3")
    people.etl({"table": "people"}, OUT, [step("left"), {"id": "some", "type": "filter", "condition": "pop > 1"}])
    shown = people.service.preview("country", limit=5)
    assert [(row["id"], row["name"]) for row in shown.rows] == [(1, "Alpha"), (1, "Aleph"), (2, None), (3, None), (4, None)]
    assert [(one["step"], one["code"]) for one in shown.dead] == [("country", "cast-failed")]
    assert (shown.read, shown.notes) == (5, ())
    assert [row["id"] for row in people.service.preview("some", limit=5).rows] == [1, 5]
    assert main(["preview", str(people.folder / "service.json"), "--step", "country", "--limit", "5"]) == 0
    assert "Aleph" in capsys.readouterr().out


@pytest.mark.no_bundle
def test_a_preview_says_when_it_looks_at_a_part_of_the_right_side(people: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_pipelines.engine.preview._RIGHT", 2)
    people.etl({"table": "people"}, OUT, [step("inner")])
    (note,) = people.service.preview(limit=5).notes
    assert "'country'" in note
    assert "first 2 rows" in note


@pytest.mark.no_bundle
def test_connections_test_tries_the_connection_of_the_right_side(people: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    people.connect(crm="missing/nowhere.db")
    people.etl({"table": "people"}, OUT, [step("left", {"connection": "crm"})])
    assert main(["connections", "test", str(people.folder / "service.json")]) != 0
    told = "".join(capsys.readouterr())
    assert "source of country" in told
    assert "crm" in told
