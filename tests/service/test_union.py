"""Rows of two sources in real runs: what arrives, what is counted, where rows came from, and what is refused.

The source is 100 people, id 1..100 with an age; the other 50 of old, number 81..130, whose age is written as text.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.hashing import row_hashes
from beam_pipelines.engine import grouped, shuffle
from beam_pipelines.errors import PlanError
from beam_pipelines.spec.step.sample import SampleStep
from beam_pipelines.transforms.sample import Sample

pytestmark = pytest.mark.long

Desk = Any
OUT = {"table": "out", "mode": "insert"}
OLD: dict[str, Any] = {
    "type": "database",
    "connection": "source",
    "table": "old",
    "transformations": [
        {"id": "known", "type": "filter", "condition": "age <> 'none'"},
        {
            "id": "shape",
            "type": "map",
            "mappings": {"id": {"source": "number"}, "age": {"source": "age", "converter": "int"}},
        },
    ],
}
ODD = {"id": "odd", "type": "map", "mappings": {"age": {"source": "age", "converter": "int"}}}
ALL = {"id": "all", "type": "union", "source": OLD}
LATEST = {"id": "latest", "type": "deduplicate", "by": ["id"], "orderBy": "-age"}


@pytest.fixture
def people(desk: Desk) -> Desk:
    desk.sqlite(
        "source.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, age INTEGER)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO people SELECT i, i % 70 FROM n",
        "CREATE TABLE old (number INTEGER PRIMARY KEY, age TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 81 UNION ALL SELECT i + 1 FROM n WHERE i < 130)"
        " INSERT INTO old SELECT i, CASE WHEN i = 130 THEN 'young' WHEN i = 129 THEN 'none' ELSE i % 7 END FROM n",
    )
    return desk


PEOPLE = [(number, number % 70) for number in range(1, 101)]
ADDED = [(number, number % 7) for number in range(81, 129)]


def sampled(rows: list[tuple[int, int]], source: str, key: str) -> list[tuple[int, int]]:
    """What a half of one source is, by itself."""
    batch = pa.record_batch({key: [number for number, _ in rows], "age": [age for _, age in rows]})
    step = Sample(SampleStep.model_validate({"id": "some", "type": "sample", "fraction": 0.5}), "")
    now = datetime.now(timezone.utc)
    step.open(batch.schema, step.plan(batch.schema, None), now)
    return [(row[key], row["age"]) for out in step.apply(origin.attach(batch, source, key=[key])).batches for row in out.to_pylist()]


SAMPLED = sorted(sampled(PEOPLE, "people", "id") + [row for row in sampled(ADDED, "old", "number") if row[0] != 128])


def counts(record: dict[str, Any], name: str = "all") -> tuple[int, ...]:
    (found,) = [one for phase in record["steps"] for one in phase.get("transformations", []) if one["id"] == name]
    keys = ("recordsIn", "recordsMade", "recordsOut", "recordsDeadLettered", "recordsRight")
    return tuple(found[key] for key in keys)


def arrived(desk: Desk) -> list[tuple[Any, ...]]:
    return list(desk.duckdb("target.duckdb", "SELECT id, age FROM out ORDER BY ALL"))


def test_rows_of_both_arrive_and_those_that_die_in_the_other_source_are_the_steps(people: Desk) -> None:
    people.etl({"table": "people"}, OUT, [ALL, {"id": "grown", "type": "filter", "condition": "age >= 3"}])
    record = people.ran()
    assert arrived(people) == sorted(row for row in PEOPLE + ADDED if row[1] >= 3)
    assert counts(record) == (100, 49, 148, 1, 48)
    assert record["metrics"]["recordsDeadLettered"] == 1
    (letter,) = people.letters()
    assert (letter["step"], letter["code"], letter["origin"]) == ("shape", "converter-failed", {"source": "old", "key": {"number": 130}})


def test_one_row_of_both_for_each_key_and_what_comes_of_them_behind(people: Desk) -> None:
    people.etl({"table": "people"}, {"table": "out", "mode": "upsert"}, [ALL, LATEST])
    expected = dict(ADDED)
    for number, age in PEOPLE:
        expected[number] = max(age, expected.get(number, 0))
    people.ran()
    assert arrived(people) == sorted(expected.items())


def test_of_rows_with_one_key_that_of_the_other_source_wins(people: Desk) -> None:
    people.etl({"table": "people"}, {"table": "out", "mode": "upsert", "keyFields": ["id"]}, [ALL])
    people.ran()
    assert arrived(people) == sorted((dict(PEOPLE) | dict(ADDED)).items())


@pytest.mark.parametrize("inner", [False, True], ids=["of the source", "of a source in it"])
def test_the_error_budget_is_a_share_of_the_rows_read_of_both_also_where_none_of_the_others_survives(people: Desk, inner: bool) -> None:
    people.sqlite(
        "source.db",
        "WITH RECURSIVE n(i) AS (SELECT 101 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO people SELECT i, 1 FROM n",
        "WITH RECURSIVE n(i) AS (SELECT 200 UNION ALL SELECT i + 1 FROM n WHERE i < 349) INSERT INTO old SELECT i, 'young' FROM n",
        "DELETE FROM old WHERE number < 200",
        "CREATE TABLE nobody (id INTEGER PRIMARY KEY, age INTEGER)",
    )
    nobody = {"type": "database", "connection": "source", "table": "nobody", "transformations": [{**ALL, "id": "inner"}]}
    step = {**ALL, "source": nobody} if inner else ALL
    people.etl({"table": "people"}, OUT, [step], errorBudget={"max": "13%"})
    assert "150 of 1150 rows failed (13.0%), the error budget allows 13%" in str(people.run().execution.error)


def test_several_unions_and_a_join_and_an_aggregate_behind(people: Desk) -> None:
    again = {**ALL, "id": "again", "source": {"type": "database", "connection": "source", "table": "people", "transformations": [
        {"id": "young", "type": "filter", "condition": "age < 10"},
        {**ALL, "id": "inner", "source": {**OLD, "transformations": [{**one, "id": f"{one['id']}2"} for one in OLD["transformations"]]}},
    ]}}  # fmt: skip
    ages = {
        "id": "ages",
        "type": "join",
        "on": ["age"],
        "how": "semi",
        "source": {"type": "database", "connection": "source", "query": "SELECT DISTINCT age FROM people WHERE age < 5"},
    }
    total = {"id": "total", "type": "aggregate", "groupBy": ["age"], "aggregations": {"*": "count", "id": "sum"}}
    people.etl({"table": "people"}, {"table": "out", "mode": "insert"}, [ALL, again, ages, total])
    people.ran()
    young = [row for row in PEOPLE if row[1] < 10]
    rows = [row for row in PEOPLE + ADDED + young + ADDED if row[1] < 5]
    expected = sorted((age, len(ids := [number for number, of in rows if of == age]), sum(ids)) for age in {of for _, of in rows})
    assert people.duckdb("target.duckdb", "SELECT age, count, sum_id::BIGINT FROM out ORDER BY age") == expected


def test_values_in_order_are_those_of_rows_by_their_source_and_key(people: Desk) -> None:
    """Numbers 81 to 100 are in both sources."""
    total = {"id": "total", "type": "aggregate", "groupBy": [], "aggregations": {"age": ["first", "last", "collect"]}}
    people.etl({"table": "people"}, OUT, [ALL, total])
    people.ran()
    places = {}
    for rows, source, key in ((PEOPLE, "people", "id"), (ADDED, "old", "number")):
        hidden = origin.attach(pa.record_batch({key: [number for number, _ in rows]}), source, key=[key])
        hashes = row_hashes(hidden, [origin.SOURCE, origin.KEY]) >> np.uint64(1)
        places |= dict(zip(hashes.tolist(), [age for _, age in rows], strict=True))
    ordered = [places[place] for place in sorted(places)]
    assert people.duckdb("target.duckdb", "SELECT first_age, last_age, collect_age FROM out") == [(ordered[0], ordered[-1], ordered)]


def test_a_row_that_does_not_fit_the_columns_of_both_is_a_dead_letter_with_its_origin(people: Desk) -> None:
    people.sqlite("source.db", "CREATE TABLE more (id INTEGER PRIMARY KEY, age REAL)", "INSERT INTO more VALUES (500, 0.5)")
    people.sqlite("source.db", "UPDATE people SET age = 9007199254740993 WHERE id = 7")
    people.etl(
        {"table": "people"}, OUT, [{"id": "all", "type": "union", "source": {"type": "database", "connection": "source", "table": "more"}}]
    )
    assert counts(people.ran()) == (100, 1, 100, 1, 1)
    (letter,) = people.letters()
    assert (letter["step"], letter["code"], letter["origin"]["key"]) == ("all", "cast-failed", {"id": 7})


@pytest.mark.parametrize("shards", [2, 16])
def test_a_sample_behind_rows_in_order_is_the_same_for_any_number_of_shards(
    people: Desk, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their keys have different names, and rows of both are in one shard."""
    monkeypatch.setattr(grouped, "SHARDS", shards)
    monkeypatch.setattr(shuffle, "SHARDS", shards)
    some = {"id": "some", "type": "sample", "fraction": 0.5}
    bad = {"id": "bad", "type": "filter", "condition": "CAST(CASE WHEN id = 128 THEN 'x' ELSE '1' END AS bigint) = 1"}
    people.etl({"table": "people"}, OUT, [ALL, {"id": "ordered", "type": "sort", "by": ["age"], "orderBy": "id"}, bad, some])
    people.ran()
    assert [letter["origin"] for letter in people.letters() if letter["step"] == "bad"] == [{"source": "old", "key": {"number": 128}}]
    assert arrived(people) == SAMPLED


@pytest.mark.parametrize(
    ("steps", "told"),
    [([], {"source": "more"}), ([{"id": "one", "type": "deduplicate", "by": ["n"]}], {"sources": ["in/*.parquet", "more"]})],
)
def test_a_row_that_the_target_refuses_is_said_to_be_of_no_other_source(
    desk: Desk, steps: list[dict[str, Any]], told: dict[str, Any]
) -> None:
    (desk.folder / "in").mkdir()
    for number in range(3):
        pq.write_table(pa.table({"n": range(number * 10, number * 10 + 10)}), desk.folder / "in" / f"f{number}.parquet")
    desk.sqlite("source.db", "CREATE TABLE more (n INTEGER)", "INSERT INTO more VALUES (121)")
    desk.duckdb("target.duckdb", "CREATE TABLE out (n BIGINT CHECK (n <> 21 AND n <> 121))")
    added = {"id": "all", "type": "union", "source": {"type": "database", "connection": "source", "table": "more"}}
    target = {"type": "database", "connection": "target", "table": "out", "mode": "insert", "errorHandling": "continue"}
    pipeline = {"source": {"type": "file", "path": "in/*.parquet"}, "transformations": [added, *steps], "destination": target}
    desk.define({"name": "Desk", "errorBudget": {"max": "100%"}, "pipeline": pipeline})
    desk.ran()
    found = {letter["record"]["n"]: letter["origin"] for letter in desk.letters()}
    assert found[121] == told
    # The files were perhaps staged together: then it is one of them.
    either = ({"source": "in/f2.parquet", "range": 2}, {"source": "in/*.parquet", "ranges": [0, 2]}, {"source": "in/*.parquet"})
    assert found[21] == told if steps else found[21] in either


@pytest.mark.no_bundle
def test_a_plan_names_the_other_source_and_a_preview_has_rows_of_both(people: Desk) -> None:
    people.etl({"table": "people"}, OUT, [ALL])
    assert "all: union with old from source (sqlite), after known (filter), shape (map)" in people.service.plan().graph
    shown = people.service.preview(limit=20)
    assert [row["id"] for row in shown.rows] == [*range(1, 11), *range(81, 91)]
    shown = people.service.preview(limit=200)
    assert [(row["id"], row["age"]) for row in shown.rows] == PEOPLE + ADDED
    assert [letter["step"] for letter in shown.dead] == ["shape"]


NEW = {"table": "people", "cursor": {"column": "id", "kind": "sequence", "stampedBy": "database"}}


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("source", "destination", "step", "code", "path", "message"),
    [
        (NEW, OUT, ALL, "mode-refused", "pipeline.destination.mode", "which insert would double"),
        (
            {"table": "people"},
            OUT,
            {**ALL, "source": {**OLD, "transformations": [ODD]}},
            "column-missing",
            "pipeline.transformations[0].missing",
            "the other source lacks the column 'id'",
        ),
        (
            {"table": "people"},
            OUT,
            {**ALL, "source": {**OLD, "cursor": {"column": "number"}}},
            "cursor-invalid",
            "pipeline.transformations[0].source",
            "the right side of a union is read whole",
        ),
    ],
)
def test_what_has_no_sense_is_refused_before_anything_is_read(
    people: Desk, source: dict[str, Any], destination: dict[str, Any], step: dict[str, Any], code: str, path: str, message: str
) -> None:
    people.etl(source, destination, [step])
    with pytest.raises(PlanError) as raised:
        people.service.plan()
    assert raised.value.code == code
    assert (raised.value.problems[0].path, message in str(raised.value.problems)) == (path, True)


def test_the_sources_key_names_no_row_any_more(people: Desk) -> None:
    people.etl({"table": "people"}, {"table": "out", "mode": "upsert"}, [ALL])
    result = people.run()
    assert (result.execution.error_code, "give keyFields" in str(result.error)) == ("key-missing", True)


TIMED = {"table": "a", "cursor": {"column": "changed", "kind": "sequence"}}
BOTH = {"id": "both", "type": "union", "missing": "null", "source": {"type": "database", "connection": "source", "table": "b"}}


def test_rows_without_the_cursors_column_turn_off_its_guard_and_a_version_that_is_given_keeps_it_on(desk: Desk) -> None:
    desk.sqlite("source.db", "CREATE TABLE a (id INTEGER PRIMARY KEY, v TEXT, changed INTEGER)", "INSERT INTO a VALUES (1, 'a', 5)")
    desk.sqlite("source.db", "CREATE TABLE b (id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO b VALUES (1, 'b'), (2, 'b')")
    into = {"table": "out", "mode": "upsert", "keyFields": ["id"]}
    desk.etl(TIMED, into, [BOTH])
    assert "there is no version column: the last run wins" in desk.service.plan().guarantee.reasons
    desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT * FROM out ORDER BY id") == [(1, "b", None), (2, "b", None)]
    desk.etl(TIMED, {**into, "table": "kept", "versionColumn": "changed"}, [BOTH])
    assert "an older version never overwrites a newer one" in desk.service.plan().guarantee.reasons
    for _ in range(2):
        desk.ran()
        assert desk.duckdb("target.duckdb", "SELECT * FROM kept ORDER BY id") == [(1, "a", 5), (2, "b", None)]
        desk.sqlite("source.db", "UPDATE b SET v = 'new'", "UPDATE b SET v = 'b' WHERE id = 2")


@pytest.mark.no_bundle
def test_the_guard_is_off_as_well_where_rows_without_it_come_from_a_union_in_the_other_source(desk: Desk) -> None:
    desk.sqlite("source.db", "CREATE TABLE a (id INTEGER PRIMARY KEY, v TEXT, changed INTEGER)")
    desk.sqlite("source.db", "CREATE TABLE b (id INTEGER PRIMARY KEY, v TEXT)")
    desk.sqlite("source.db", "CREATE TABLE c (id INTEGER PRIMARY KEY, v TEXT, Was INTEGER)")
    told = {}
    for name, behind in {"same": [], "inner": [BOTH | {"id": "inner"}]}.items():
        named = {"id": "named", "type": "map", "unmapped": "keep", "mappings": {"CHANGED": {"source": "was"}}}
        other = {"type": "database", "connection": "source", "table": "c", "transformations": [*behind, named]}
        desk.etl(TIMED, {"table": "out", "mode": "upsert", "keyFields": ["id"]}, [{**BOTH, "source": other}])
        told[name] = "an older version never overwrites a newer one" in desk.service.plan().guarantee.reasons
    assert told == {"same": True, "inner": False}


@pytest.mark.no_bundle
def test_with_new_rows_the_plan_says_that_all_of_the_other_source_is_added(people: Desk) -> None:
    people.etl(NEW, {"table": "out", "mode": "upsert", "keyFields": ["id"]}, [ALL])
    assert "all adds all rows of its source to what is new in each run" in people.service.plan().notes


@pytest.mark.no_bundle
def test_a_definitions_test_writes_down_the_rows_of_both(desk: Desk) -> None:
    """And of each step behind, those by groups among them."""
    place = {"id": "place", "type": "sort", "by": ["age"], "orderBy": "-id", "as": "place"}
    best = {"id": "best", "type": "top", "n": 1, "by": ["age"], "orderBy": "place"}
    ages = {"id": "ages", "type": "pivot", "groupBy": [], "column": "age", "values": {"ones": 1, "threes": 3}, "function": "count"}
    case = {
        "name": "both",
        "input": [{"id": 1, "age": 1}, {"id": 2, "age": 3}],
        "sources": {
            "all": [{"number": 2, "age": "1"}, {"number": 7, "age": "none"}, {"number": 8, "age": "young"}, {"number": 9, "age": "3"}]
        },
        "expect": {
            "known": {"filtered": 1},
            "shape": {"dead": [{"code": "converter-failed", "row": {"number": 8}}]},
            "all": [{"id": 1, "age": 1}, {"id": 2, "age": 3}, {"id": 2, "age": 1}, {"id": 9, "age": 3}],
            "latest": [{"id": 1, "age": 1}, {"id": 2, "age": 3}, {"id": 9, "age": 3}],
            "best": {"rows": [{"id": 1, "place": 1}, {"id": 9, "place": 1}], "filtered": 1},
            "output": [{"ones": 1, "threes": 1}],
        },
    }
    desk.etl({"table": "people"}, OUT, [ALL, LATEST, place, best, ages], tests=[case])
    (verdict,) = desk.service.test()
    assert (verdict.error, verdict.to_json()["differences"]) == (None, [])
