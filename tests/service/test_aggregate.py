"""Aggregates in real runs: what arrives, what is counted, and that neither shards, processes nor repeated bundles change it.

The source is 100 people: id 1..100, age = id, country A, B, C by id % 3, spend i / 4, visits 2^40 * i.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_pipelines.engine import shuffle
from beam_pipelines.errors import PlanError

pytestmark = pytest.mark.long

Desk = Any

PEOPLE = (
    "CREATE TABLE people (id INTEGER PRIMARY KEY, age INTEGER, country TEXT, spend REAL, visits INTEGER)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)"
    " INSERT INTO people SELECT i, i, substr('ABC', i % 3 + 1, 1), i / 4.0, i * 1099511627776 FROM n",
)
STEPS: list[dict[str, Any]] = [
    {"id": "adults", "type": "filter", "condition": "age >= 18"},
    {
        "id": "fields",
        "type": "map",
        "mappings": {
            "id": {"source": "id"},
            "land": {"expression": "lower(country)"},
            "decade": {"expression": "age // 10 * 10"},
            "spend": {"source": "spend"},
            "visits": {"source": "visits"},
        },
    },
    {
        "id": "totals",
        "type": "aggregate",
        "groupBy": ["land", "decade"],
        "aggregations": {
            "*": "count",
            "spend": ["sum", "avg"],
            "visits": "sum",
            "id": ["first", "last", "collect", {"function": "median", "as": "middle"}],
        },
        "having": "sum_spend > 20",
    },
    {
        "id": "named",
        "type": "map",
        "unmapped": "keep",
        "mappings": {"ids": {"source": "collect_id"}, "label": {"expression": "land || decade"}},
    },
]  # fmt: skip
COLUMNS = "label, land, decade, count, sum_spend, avg_spend, sum_visits, first_id, last_id, middle, ids"


def totals() -> list[tuple[Any, ...]]:
    """What must arrive, in the order of the label."""
    groups = defaultdict(list)
    for number in range(18, 101):
        groups["abc"[number % 3], number // 10 * 10].append(number)
    found = []
    for (land, decade), ids in groups.items():
        spend = sum(ids) / 4
        middle = (ids[(len(ids) - 1) // 2] + ids[len(ids) // 2]) / 2
        if spend > 20:
            row = (land, decade, len(ids), spend, spend / len(ids), sum(ids) * 2**40, ids[0], ids[-1], middle, ids)
            found.append((f"{land}{decade}", *row))
    return sorted(found)


def step(record: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for phase in record["steps"] for one in phase.get("transformations", []) if one["id"] == name]
    return dict(found)


@pytest.fixture(params=["sqlite", "parquet"])
def source(request: pytest.FixtureRequest, desk: Desk) -> dict[str, Any]:
    """The people as a table, and as a file of several row groups."""
    desk.sqlite("source.db", *PEOPLE)
    if request.param == "sqlite":
        return {"table": "people"}
    rows = desk.sqlite("source.db", "SELECT * FROM people")
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE people (id bigint, age bigint, country text, spend double, visits bigint)")
        connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute(f"COPY people TO '{desk.folder / 'people.parquet'}' (FORMAT parquet, ROW_GROUP_SIZE 20)")
    return {"type": "file", "path": "people.parquet", "format": "parquet", "connection": None}


def define(desk: Desk, source: dict[str, Any], steps: list[dict[str, Any]], name: str = "Desk", **destination: Any) -> None:
    kept = {"type": "database", "connection": "source", **source}
    pipeline = {
        "source": {key: value for key, value in kept.items() if value is not None},
        "transformations": steps,
        "destination": {"type": "database", "connection": "target", "table": "totals", "mode": "insert", **destination},
    }
    desk.define({"name": name, "pipeline": pipeline})


def test_a_service_with_an_aggregate_between_other_steps(desk: Desk, source: dict[str, Any], postgres_database: str) -> None:
    define(desk, source, STEPS)
    record = desk.ran()
    wanted = totals()
    assert desk.duckdb("target.duckdb", f"SELECT {COLUMNS} FROM totals ORDER BY label") == wanted
    of = step(record, "totals")
    groups = len({("abc"[number % 3], number // 10) for number in range(18, 101)})
    keys = ("recordsIn", "recordsOut", "recordsFiltered", "recordsAbsorbed", "recordsMade", "recordsDeadLettered")
    assert tuple(of[key] for key in keys) == (83, len(wanted), groups - len(wanted), 83 - groups, 0, 0)
    assert step(record, "named")["recordsIn"] == len(wanted)
    assert record["metrics"]["recordsLoaded"] == len(wanted)
    # The same into PostgreSQL: what is loaded there has the same types.
    desk.connect(warehouse=postgres_database)
    define(desk, source, STEPS, connection="warehouse", name="There")
    desk.ran()
    assert desk.postgres(postgres_database, f'SELECT {COLUMNS} FROM totals ORDER BY label COLLATE "C"') == wanted


@pytest.mark.parametrize("shards", [1, 2, 16])
def test_any_number_of_shards_gives_the_same_also_behind_another_aggregate(
    desk: Desk, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffle, "SHARDS", shards)
    desk.sqlite("source.db", *PEOPLE)
    lands = {"id": "lands", "type": "aggregate", "groupBy": ["land"], "aggregations": {"sum_spend": "sum", "label": ["collect", "first"]}}
    every = {
        "id": "every",
        "type": "aggregate",
        "groupBy": [],
        "aggregations": {"*": "count", "sum_sum_spend": "sum", "collect_label": "collect"},
    }
    define(desk, {"table": "people"}, [*STEPS, lands])
    desk.ran()
    rows = desk.duckdb("target.duckdb", "SELECT land, sum_sum_spend, list_sort(collect_label) FROM totals ORDER BY land")
    assert rows == [
        (land, sum(row[4] for row in totals() if row[1] == land), sorted(row[0] for row in totals() if row[1] == land)) for land in "abc"
    ]
    # Groups have no order of the source, but one that is the same on every run.
    ordered = desk.duckdb("target.duckdb", "SELECT collect_label, first_label FROM totals ORDER BY land")
    assert ordered == [(collected, collected[0]) for collected in ORDER]
    define(desk, {"table": "people"}, [*STEPS, lands, every], table="every")
    desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT count, sum_sum_sum_spend, len(collect_collect_label) FROM every") == [
        (3, sum(row[4] for row in totals()), 3)
    ]


# By the hash of the group's key, which no release may change without a word.
ORDER = [
    ["a50", "a80", "a40", "a90", "a60", "a30", "a70"],
    ["b90", "b40", "b50", "b30", "b60", "b80", "b100", "b70"],
    ["c20", "c50", "c40", "c30", "c80", "c60", "c90", "c70"],
]


@pytest.mark.long
def test_on_two_processes(desk: Desk) -> None:
    desk.sqlite("source.db", *PEOPLE)
    define(desk, {"table": "people"}, STEPS)
    desk.ran(options=["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    assert desk.duckdb("target.duckdb", f"SELECT {COLUMNS} FROM totals ORDER BY label") == totals()


def test_each_of_several_tables_has_its_own_totals(desk: Desk) -> None:
    desk.sqlite(
        "source.db",
        *PEOPLE,
        "CREATE TABLE north AS SELECT * FROM people WHERE id <= 50",
        "CREATE TABLE south AS SELECT * FROM people WHERE id > 90",
    )
    by_land = {"id": "t", "type": "aggregate", "groupBy": ["country"], "aggregations": {"id": "sum", "*": "count"}}
    every = {"id": "e", "type": "aggregate", "groupBy": [], "aggregations": {"sum_id": "sum", "count": "sum"}}
    define(desk, {"tables": ["north", "south"]}, [by_land, every], table="{table}_total")
    desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT sum_sum_id, sum_count FROM north_total") == [(1275, 50)]
    assert desk.duckdb("target.duckdb", "SELECT sum_sum_id, sum_count FROM south_total") == [(955, 10)]


def test_of_an_empty_source(desk: Desk) -> None:
    desk.sqlite("source.db", PEOPLE[0])
    every = {"id": "every", "type": "aggregate", "groupBy": [], "aggregations": {"*": "count", "spend": ["sum", "collect"], "id": "max"}}
    define(desk, {"table": "people"}, [*STEPS[:1], every])
    record = desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT count, sum_spend, collect_spend, max_id FROM totals") == [(0, None, [], None)]
    assert tuple(step(record, "every")[key] for key in ("recordsIn", "recordsOut", "recordsMade", "recordsAbsorbed")) == (0, 1, 1, 0)
    # With groups there is none, and a sum over no groups is that of nothing again.
    define(desk, {"table": "people"}, STEPS, table="groups")
    assert desk.ran()["metrics"]["recordsLoaded"] == 0
    again = {"id": "again", "type": "aggregate", "groupBy": [], "aggregations": {"sum_spend": "sum", "*": "count"}}
    define(desk, {"table": "people"}, [*STEPS, again], table="again")
    desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT sum_sum_spend, count FROM again") == [(None, 0)]


def test_of_an_empty_source_into_files_and_postgres(desk: Desk, postgres_database: str) -> None:
    desk.sqlite("source.db", PEOPLE[0])
    every = {"id": "every", "type": "aggregate", "groupBy": [], "aggregations": {"*": "count", "spend": "sum"}}
    source = {"type": "database", "connection": "source", "table": "people"}
    destination = {"type": "file", "path": "out/totals", "format": "parquet", "mode": "insert"}
    desk.define({"name": "Files", "pipeline": {"source": source, "transformations": [every], "destination": destination}})
    desk.ran()
    assert duckdb.sql(f"SELECT * FROM '{desk.folder}/out/totals/*.parquet'").fetchall() == [(0, None)]
    desk.connect(target=postgres_database)
    define(desk, {"table": "people"}, [every], mode="replace")
    desk.ran()
    assert desk.postgres(postgres_database, "SELECT * FROM totals") == [(0, None)]


def test_of_an_empty_source_behind_a_function_that_would_be_sampled(desk: Desk) -> None:
    desk.sqlite("source.db", PEOPLE[0])
    desk.functions("def shape(row):\n    return {'id': row['id']}\n")
    every = {"id": "every", "type": "aggregate", "groupBy": [], "aggregations": {"*": "count"}}
    define(desk, {"table": "people"}, [{"id": "shape", "type": "function"}, every])
    assert desk.ran()["metrics"]["recordsLoaded"] == 0


def test_a_group_without_a_result_is_a_dead_letter_that_names_it(desk: Desk) -> None:
    desk.sqlite("source.db", *PEOPLE, "UPDATE people SET visits = 9223372036854775807 WHERE country = 'B'")
    one = {
        "id": "one",
        "type": "aggregate",
        "groupBy": ["country"],
        "aggregations": {"visits": "sum", "country": [{"function": "max", "as": "text"}]},
    }
    define(desk, {"table": "people"}, [{**one, "having": "CAST(CASE WHEN country = 'C' THEN 'no' ELSE '1' END AS bigint) = 1"}])
    record = desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT country FROM totals") == [("A",)]
    letters = {letter["origin"]["key"]["country"]: letter for letter in desk.letters()}
    assert {key: (letter["step"], letter["code"]) for key, letter in letters.items()} == {
        "B": ("one", "cast-failed"),
        "C": ("one", "expression-failed"),
    }
    assert letters["B"]["error"] == "sum_visits: the sum is out of the range of bigint"
    assert letters["B"]["origin"] == {"source": "one", "key": {"country": "B"}}
    assert tuple(step(record, "one")[key] for key in ("recordsOut", "recordsDeadLettered", "recordsAbsorbed")) == (1, 2, 97)


def test_upsert_keeps_one_row_a_group_under_the_names_that_arrive(desk: Desk) -> None:
    desk.sqlite("source.db", *PEOPLE)
    steps = [
        {"id": "lands", "type": "aggregate", "groupBy": ["country"], "aggregations": {"id": "sum"}},
        {"id": "named", "type": "map", "mappings": {"land": {"source": "country"}, "total": {"source": "sum_id"}}},
    ]
    define(desk, {"table": "people"}, steps, mode="upsert")
    desk.ran()
    desk.sqlite("source.db", "UPDATE people SET country = 'D' WHERE id = 3")
    desk.ran()
    # A's ids are the multiples of 3.
    assert desk.duckdb("target.duckdb", "SELECT land, total FROM totals ORDER BY land") == [
        ("A", 1683 - 3), ("B", 1717), ("C", 1650), ("D", 3)
    ]  # fmt: skip


@pytest.mark.no_bundle
def test_a_preview_shows_groups_of_the_whole_sample(desk: Desk) -> None:
    desk.sqlite("source.db", *PEOPLE)
    define(desk, {"table": "people"}, STEPS)
    shown = desk.service.preview("totals", limit=60)
    wanted = [(land, decade, count) for _, land, decade, count, *_ in totals() if decade < 60]
    assert sorted((row["land"], row["decade"], row["count"]) for row in shown.rows if row["decade"] < 60) == wanted
    assert len(wanted) > 8
    assert not Path(desk.folder / "target.duckdb").exists()


def test_a_definition_that_does_not_fit_tells_every_mistake_and_reads_nothing(desk: Desk) -> None:
    desk.sqlite("source.db", *PEOPLE)
    wrong = {"id": "t", "type": "aggregate", "groupBy": ["nation"], "aggregations": {"country": ["sum", "count"], "spent": "sum"}}
    define(desk, {"table": "people"}, [STEPS[0], wrong])
    result = desk.run()
    assert result.exit_code == 2
    assert isinstance(result.error, PlanError)
    assert [problem.path for problem in result.error.problems] == [
        "pipeline.transformations[1].groupBy[0]",
        "pipeline.transformations[1].aggregations.country",
        "pipeline.transformations[1].aggregations.spent",
    ]
    assert all(problem.hint for problem in result.error.problems)
