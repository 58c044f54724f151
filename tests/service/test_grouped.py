"""Steps by groups in real runs: what arrives, what is counted, what names a row, and what is refused of an incremental source.

The source is 300 visits: id 1..300, person id % 40, land A, B, C by person % 3, spend (id * 7) % 100, null where id % 11 is 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.engine import grouped, shuffle
from beam_pipelines.errors import PlanError

Desk = Any
Visit = tuple[int, int, str, "int | None"]

TABLE = (
    "CREATE TABLE visits (id INTEGER PRIMARY KEY, person INTEGER, land TEXT, spend INTEGER)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO visits"
    " SELECT i, i % 40, substr('ABC', (i % 40) % 3 + 1, 1), CASE WHEN i % 11 = 0 THEN NULL ELSE (i * 7) % 100 END FROM n",
)
VISITS: list[Visit] = [
    (i, i % 40, "ABC"[i % 40 % 3], None if i % 11 == 0 else i * 7 % 100) for i in range(1, 301)
]  # fmt: skip
OUT = {"table": "out", "mode": "insert"}
LATEST = {"id": "latest", "type": "deduplicate", "by": ["person"], "keep": "last"}
BEST = {"id": "best", "type": "top", "n": 2, "by": ["land"], "orderBy": ["-spend", "id"]}


def step(record: dict[str, Any], name: str) -> dict[str, int]:
    (found,) = [one for phase in record["steps"] for one in phase.get("transformations", []) if one["id"] == name]
    names = {"in": "recordsIn", "out": "recordsOut", "filtered": "recordsFiltered", "absorbed": "recordsAbsorbed"}
    return {name: found[key] for name, key in names.items()}


def groups(rows: list[Visit], key: Callable[[Visit], Any]) -> dict[Any, list[Visit]]:
    found = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return found


def better(row: Visit) -> tuple[bool, int, int]:
    return (row[3] is None, -(row[3] or 0), row[0])


@pytest.fixture
def visits(desk: Desk) -> Desk:
    desk.sqlite("source.db", *TABLE)
    return desk


def arrived(desk: Desk, columns: str = "id, person, land, spend") -> list[tuple[Any, ...]]:
    return list(desk.duckdb("target.duckdb", f"SELECT {columns} FROM out ORDER BY ALL"))


@pytest.mark.parametrize("shards", [1, 16])
def test_one_row_of_those_that_are_alike_and_the_best_of_those(visits: Desk, shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped, "SHARDS", shards)
    monkeypatch.setattr(shuffle, "SHARDS", shards)
    visits.etl({"table": "visits"}, OUT, [LATEST, BEST])
    record = visits.ran()
    latest = [rows[-1] for rows in groups(VISITS, lambda row: row[1]).values()]
    best = [row for rows in groups(latest, lambda row: row[2]).values() for row in sorted(rows, key=better)[:2]]
    assert arrived(visits) == sorted(best)
    assert step(record, "latest") == {"in": 300, "out": 40, "filtered": 0, "absorbed": 260}
    assert step(record, "best") == {"in": 40, "out": 6, "filtered": 34, "absorbed": 0}


@pytest.mark.parametrize("little", [0, 1 << 17], ids=["cut at every batch", "cut at the end"])
def test_the_first_rows_of_a_source(visits: Desk, little: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped, "_LITTLE", little)
    monkeypatch.setattr(grouped, "_MUCH", 1 if little == 0 else grouped._MUCH)
    steps = [{"id": "odd", "type": "filter", "condition": "id % 2 = 1"}, {"id": "some", "type": "limit", "n": 25}]
    visits.etl({"table": "visits"}, OUT, steps)
    assert step(visits.ran(), "some") == {"in": 150, "out": 25, "filtered": 125, "absorbed": 0}
    assert arrived(visits, "id") == [(number,) for number in range(1, 50, 2)]


FUNCTIONS = """
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.functions import batch

@batch
def gaps(rows: pa.RecordBatch) -> pa.RecordBatch:
    # Since the visit before: of rows in order, group after group.
    ids, people = rows["id"].to_pylist(), rows["person"].to_pylist()
    before = [None if at == 0 or people[at] != people[at - 1] else ids[at] - ids[at - 1] for at in range(len(ids))]
    return rows.select(["id", "person", "visit"]).append_column("gap", pa.array(before, pa.int64()))
"""


def test_rows_in_order_for_a_function_that_looks_at_the_row_before(visits: Desk) -> None:
    visits.functions(FUNCTIONS)
    output = {"id": "bigint", "person": "bigint", "visit": "bigint", "gap": "bigint"}
    steps = [
        {"id": "ordered", "type": "sort", "by": ["person"], "orderBy": "-id", "as": "visit"},
        {"id": "gaps", "type": "function", "output": output},
    ]
    visits.etl({"table": "visits"}, OUT, steps)
    assert step(visits.ran(), "ordered") == {"in": 300, "out": 300, "filtered": 0, "absorbed": 0}
    expected = []
    for person, rows in groups(VISITS, lambda row: row[1]).items():
        for place, (number, *_) in enumerate(reversed(rows), 1):
            expected.append((person, place, number, None if place == 1 else -40))
    assert arrived(visits, "person, visit, id, gap") == sorted(expected, key=lambda row: row[:2])


def test_what_rows_are_alike_in_is_the_key_of_an_upsert(visits: Desk) -> None:
    visits.etl({"table": "visits"}, {"table": "out", "mode": "upsert"}, [{**LATEST, "by": ["Person"]}])
    visits.ran()
    visits.sqlite("source.db", "INSERT INTO visits VALUES (900, 3, 'A', 1)")
    visits.ran()
    last = {row[1]: row[0] for row in VISITS} | {3: 900}
    assert arrived(visits, "person, id") == sorted(last.items())


def test_of_several_rows_with_one_key_the_newest_stays_or_the_run_is_refused(visits: Desk) -> None:
    """Of a file nothing is known to tell its rows apart."""
    rows = pa.table({"n": range(500), "id": [number % 50 for number in range(500)], "g": [number * 7 % 11 for number in range(500)]})
    pq.write_table(rows, visits.folder / "rows.parquet", row_group_size=100)
    ordered = {"id": "ordered", "type": "sort", "by": ["g"], "orderBy": "n"}
    newest = {"id": "newest", "type": "deduplicate", "by": ["id"], "keep": "last"}

    def define(*steps: dict[str, Any]) -> None:
        target = {"type": "database", "connection": "target", "table": "out", "mode": "upsert", "keyFields": ["id"]}
        source = {"type": "file", "path": "rows.parquet"}
        visits.define({"name": "Desk", "pipeline": {"source": source, "transformations": list(steps), "destination": target}})

    define(ordered)
    assert visits.run().execution.error_code == "mode-refused"
    define(newest, ordered)
    visits.ran()
    assert arrived(visits, "id, n") == [(number, 450 + number) for number in range(50)]


def test_a_dead_letter_behind_says_where_the_row_came_from(visits: Desk) -> None:
    bad = {"id": "bad", "type": "filter", "condition": "CAST(CASE WHEN id = 290 THEN 'x' ELSE '1' END AS bigint) = 1"}
    visits.etl({"table": "visits"}, OUT, [LATEST, bad])
    visits.ran()
    (letter,) = visits.letters()
    assert (letter["step"], letter["origin"]) == ("bad", {"source": "visits", "key": {"id": 290}})


def test_a_source_without_rows(desk: Desk) -> None:
    desk.sqlite("source.db", TABLE[0])
    desk.etl({"table": "visits"}, OUT, [LATEST, BEST, {"id": "n", "type": "sort", "by": ["land"], "orderBy": "id", "as": "n"}])
    assert desk.ran()["metrics"]["recordsLoaded"] == 0


MONTHS = {"id": "months", "type": "pivot", "groupBy": ["person"], "column": "land", "values": {"a": "A", "b": "B"}, "value": "spend"}


def test_a_column_for_each_value_and_a_dead_letter_for_every_other(visits: Desk) -> None:
    visits.sqlite("source.db", "UPDATE visits SET land = substr('ABC', id % 3 + 1, 1)")
    visits.etl({"table": "visits"}, {"table": "out", "mode": "upsert"}, [{**MONTHS, "other": "deadletter"}], errorBudget={"max": "50%"})
    expected = [
        (
            person,
            *(sum(spend for id_, _, _, spend in rows if id_ % 3 == place and spend is not None) for place in (0, 1)),
        )
        for person, rows in groups(VISITS, lambda row: row[1]).items()
    ]
    record = visits.ran()
    assert arrived(visits, "person, a::BIGINT, b::BIGINT") == sorted(expected)
    assert step(record, "months") == {"in": 300, "out": 40, "filtered": 0, "absorbed": 160}
    letters = visits.letters()
    assert {(one["step"], one["code"], one["error"]) for one in letters} == {
        ("months", "row-invalid", "'land' holds none of the values that have a column")
    }
    assert {one["record"]["land"] for one in letters} == {"C"}


@pytest.mark.no_bundle
def test_a_preview_of_a_pivot_shows_groups_and_what_died(visits: Desk) -> None:
    visits.etl({"table": "visits"}, OUT, [{**MONTHS, "groupBy": [], "function": "count", "other": "deadletter"}])
    shown = visits.service.preview(limit=100)
    of = [row[2] for row in VISITS[:100]]
    assert shown.rows == ({"a": of.count("A"), "b": of.count("B")},)
    assert len(shown.dead) == of.count("C")


NEW = {"table": "visits", "cursor": {"column": "id", "kind": "sequence", "stampedBy": "database"}}


@pytest.mark.no_bundle
def test_a_preview_shows_the_rows_that_stay_of_a_sample(visits: Desk) -> None:
    visits.etl({"table": "visits"}, OUT, [BEST])
    shown = visits.service.preview(limit=100)
    of = [row for rows in groups(VISITS[:100], lambda row: row[2]).values() for row in sorted(rows, key=better)[:2]]
    assert sorted(tuple(row.values()) for row in shown.rows) == sorted(of)


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("one", "what"),
    [
        (BEST, "first rows"),
        ({**MONTHS, "id": "best"}, "totals"),
        ({"id": "best", "type": "limit", "n": 3}, "first rows"),
        ({"id": "best", "type": "sort", "by": ["land"], "orderBy": "id", "as": "n"}, "numbers"),
    ],
)
def test_what_only_all_rows_can_tell_is_refused_of_new_rows(visits: Desk, one: dict[str, Any], what: str) -> None:
    visits.etl(NEW, {"table": "out", "mode": "upsert", "keyFields": ["id"]}, [one])
    with pytest.raises(PlanError, match=f"would put the {what} of the new rows by 'best' in the place of those of all rows") as raised:
        visits.service.plan()
    assert raised.value.problems[0].path == "pipeline.destination.mode"
    visits.etl(NEW, OUT, [one])
    assert any(note.startswith("best ") and "in each run" in note for note in visits.service.plan().notes)


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("one", "behind", "more", "fits"),
    [
        ({"keep": "first", "orderBy": "id"}, [], {}, False),
        ({"keep": "last"}, [], {}, False),
        ({"keep": "last", "orderBy": "id"}, [], {}, True),
        ({"orderBy": ["-ID", "land"]}, [], {}, True),
        ({"keep": "last", "orderBy": ["land", "id"]}, [], {}, False),
        ({"keep": "last", "orderBy": "spend"}, [], {"versionColumn": "spend"}, True),
        ({"keep": "last", "orderBy": "id"}, [], {"versionColumn": "spend"}, False),
        ({"keep": "last", "orderBy": "id"}, [{"person": "person", "at": "id"}], {}, True),
        ({"keep": "last", "orderBy": "id"}, [{"person": "person"}], {}, False),
        ({"keep": "last", "orderBy": "id"}, [], {"mode": "replace"}, False),
        ({"by": None}, [], {}, True),
        ({}, [], {"mode": "insert"}, True),
    ],
)
def test_of_new_rows_one_takes_the_place_of_the_last_runs_only_as_the_newest(
    visits: Desk, one: dict[str, Any], behind: list[dict[str, str]], more: dict[str, Any], fits: bool
) -> None:
    steps = [{"id": "kept", "type": "deduplicate", **{key: value for key, value in ({"by": ["person"]} | one).items() if value}}]
    steps += [{"id": "m", "type": "map", "mappings": {name: {"source": of} for name, of in names.items()}} for names in behind]
    visits.etl(NEW, {"table": "out", "mode": "upsert", "keyFields": ["person"], **more}, steps)
    if fits:
        visits.service.plan()
        return
    with pytest.raises(PlanError, match="of the new rows by 'kept' in the place of that of all rows") as raised:
        visits.service.plan()
    assert (raised.value.code, raised.value.problems[0].path) == ("mode-refused", "pipeline.destination.mode")


@pytest.mark.no_bundle
def test_what_works_on_new_rows_says_that_it_does(visits: Desk) -> None:
    ordered = {"id": "ordered", "type": "sort", "by": ["land"], "orderBy": "id"}
    visits.etl(NEW, {"table": "out", "mode": "upsert"}, [{**LATEST, "orderBy": "id"}, ordered])
    notes = visits.service.plan().notes
    assert "latest drops rows that are alike among what is new in each run: what earlier runs loaded is not looked at" in notes
    assert any(note.startswith("ordered orders what is new in each run") for note in notes)
    visits.etl({"table": "visits"}, {"table": "out", "mode": "upsert"}, [LATEST, ordered])
    assert not any("in each run" in note for note in visits.service.plan().notes)
