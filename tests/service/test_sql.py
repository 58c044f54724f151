"""Queries in real runs: rows as DuckDB gives them for the same query, counts by hand, on one worker and where groups are sent to shards.

The source is 100 people: id 1..100, age i, country `A`, `B`, `C` or `D` by i % 4, null where i % 10 == 0, spend i / 4 as text; that of 7 is
no number.
"""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from beam_pipelines.errors import PlanError

Desk = Any
PEOPLE = """
SELECT i AS id, i AS age, CASE WHEN i % 10 = 0 THEN NULL ELSE substr('DABC', i % 4 + 1, 1) END AS country,
    CASE WHEN i = 7 THEN 'a lot' ELSE printf('%.2f', i / 4.0) END AS spend
FROM range(1, 101) AS r(i)
"""
BY_ROW = "SELECT id, upper(country) AS land, age * 2 AS twice FROM input WHERE age > 17 AND country IS NOT NULL"
TOTALS = """
SELECT country, age >= 50 AS old, count(*) AS n, sum(age) / count(age) AS mean, max(id) AS last
FROM input WHERE id <> 13 GROUP BY country, old HAVING count(*) > 8
"""


@pytest.fixture
def people(desk: Desk) -> Desk:
    with duckdb.connect() as connection:
        rows = connection.execute(PEOPLE).fetchall()
    values = ", ".join(f"({id_}, {age}, {f'{country!r}' if country else 'NULL'}, {spend!r})" for id_, age, country, spend in rows)
    desk.sqlite("source.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, age INTEGER, country TEXT, spend TEXT)")
    desk.sqlite("source.db", f"INSERT INTO people VALUES {values}")
    return desk


def expected(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE input AS {PEOPLE}")
        return connection.execute(f"SELECT * FROM ({query}) ORDER BY ALL").fetchall()


def found(desk: Desk) -> list[tuple[Any, ...]]:
    return desk.duckdb("target.duckdb", "SELECT * FROM made ORDER BY ALL")


def counts(record: dict[str, Any], name: str = "q") -> dict[str, int]:
    (phase,) = [phase for phase in record["steps"] if phase["phase"] == "transform"]
    (step,) = [one for one in phase["transformations"] if one["id"] == name]
    return {key: step[f"records{key}"] for key in ("In", "Out", "Filtered", "DeadLettered", "Absorbed", "Made")}


def sql(query: str, name: str = "q") -> dict[str, Any]:
    return {"id": name, "type": "sql", "query": query}


def test_a_query_by_row_upserts_by_the_key_that_it_names(people: Desk) -> None:
    people.etl({"table": "people"}, {"table": "made", "mode": "upsert"}, [sql(BY_ROW)])
    record = people.ran()
    rows = expected(BY_ROW)
    assert found(people) == rows
    assert counts(record) == {"In": 100, "Out": len(rows), "Filtered": 100 - len(rows), "DeadLettered": 0, "Absorbed": 0, "Made": 0}
    people.ran()
    assert found(people) == rows


def test_a_query_that_sums_up_upserts_by_what_it_groups_by(people: Desk) -> None:
    people.etl({"table": "people"}, {"table": "made", "mode": "upsert", "keyFields": ["old", "last"]}, [sql(TOTALS)])
    record = people.ran()
    rows = expected(TOTALS)
    assert found(people) == rows
    # 99 rows under WHERE make 10 groups, of which HAVING keeps some.
    left_out = 1 + 10 - len(rows)
    assert counts(record) == {"In": 100, "Out": len(rows), "Filtered": left_out, "DeadLettered": 0, "Absorbed": 89, "Made": 0}


def test_rows_that_fail_before_they_are_summed_up_are_dead_letters_of_the_query(people: Desk) -> None:
    query = "SELECT country, sum(CAST(spend AS DECIMAL(10, 2))) AS total FROM input GROUP BY country"
    people.etl({"table": "people"}, {"table": "made", "mode": "insert"}, [sql(query)])
    record = people.ran()
    assert found(people) == expected(query.replace("FROM input", "FROM input WHERE id <> 7"))
    assert counts(record) == {"In": 100, "Out": 5, "Filtered": 0, "DeadLettered": 1, "Absorbed": 94, "Made": 0}
    (letter,) = people.letters()
    assert (letter["step"], letter["origin"]) == ("q", {"source": "people", "key": {"id": 7}})
    assert letter["record"] == {"id": 7, "age": 7, "country": "C", "spend": "a lot"}


def test_queries_one_behind_the_other_and_one_of_no_rows(people: Desk) -> None:
    first = "SELECT country, age % 3 AS third, count(*) AS n FROM input GROUP BY ALL"
    second = "SELECT third, max(n) AS most, count(*) AS countries FROM input GROUP BY third"
    none = "SELECT count(*) AS n, max(most) AS most FROM input WHERE third > 5"
    people.etl({"table": "people"}, {"table": "made", "mode": "insert"}, [sql(first, "a"), sql(second, "b"), sql(none)])
    record = people.ran()
    assert found(people) == [(0, None)]
    assert counts(record) == {"In": 3, "Out": 1, "Filtered": 3, "DeadLettered": 0, "Absorbed": 0, "Made": 1}


def test_the_source_of_a_join_may_be_summed_up_by_a_query(people: Desk) -> None:
    totals = sql("SELECT country, count(*) AS n FROM input WHERE country IS NOT NULL GROUP BY country", "totals")
    source = {"type": "database", "connection": "source", "table": "people", "transformations": [totals]}
    join = {"id": "met", "type": "join", "on": ["country"], "source": source}
    people.etl({"table": "people"}, {"table": "made", "mode": "upsert"}, [join])
    people.ran()
    # Each row comes out once, as the groups of the right side say, so the key of the source is one of the rows.
    query = "SELECT id, age, country, spend, n FROM input JOIN (SELECT country, count(*) AS n FROM input GROUP BY country) USING (country)"
    assert found(people) == expected(query)


def test_a_preview_shows_groups_and_what_failed(people: Desk) -> None:
    query = "SELECT country, sum(CAST(spend AS DOUBLE)) AS total FROM input WHERE id <= 8 GROUP BY country"
    people.etl({"table": "people"}, {"table": "made", "mode": "insert"}, [sql(query)])
    shown = people.service.preview(limit=100)
    assert sorted(tuple(row.values()) for row in shown.rows) == [("A", 1.5), ("B", 2.0), ("C", 0.75), ("D", 3.0)]
    assert [letter["step"] for letter in shown.dead] == ["q"]


@pytest.mark.no_bundle
def test_totals_of_what_is_new_take_the_place_of_none(people: Desk) -> None:
    source = {"table": "people", "cursor": {"column": "id", "kind": "sequence"}}
    people.etl(source, {"table": "made", "mode": "upsert"}, [sql(TOTALS)])
    with pytest.raises(PlanError, match="the totals of the new rows by 'q'") as raised:
        people.run()
    assert raised.value.code == "mode-refused"
