"""Profiles in real runs: what the record tells of the columns, against the same profile of the table in Python, and by hand."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.rules import profile

Desk = Any
TWO = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
SIZE = 3_000
ROWS = pa.table(
    {
        "id": range(SIZE),
        "state": [None if at % 10 == 0 else ("new", "paid", "sent")[at % 3] for at in range(SIZE)],
        "price": [at % 100 + 0.5 for at in range(SIZE)],
        "code": [f"AB-{at}" for at in range(SIZE)],
        "api_key": [f"sk-{at}" for at in range(SIZE)],
    }
)
RULES = [{"id": "low", "type": "numeric-range", "field": "id", "max": SIZE // 2}, {"id": "once", "type": "unique", "field": "code"}]


def profiled(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the record's one validate step tells of each column."""
    steps = next(one for one in record["steps"] if one["phase"] == "transform")["transformations"]
    (told,) = [one["quality"]["profile"] for one in steps if "profile" in one.get("quality", ())]
    return {one["name"]: {key: value for key, value in one.items() if key != "name"} for one in told}


@pytest.fixture
def rows(desk: Desk) -> Desk:
    pq.write_table(ROWS, desk.folder / "rows.parquet", row_group_size=700)
    return desk


def define(desk: Desk, **more: Any) -> None:
    desk.define({"name": "Checker", "validation": {"source": {"type": "file", "path": "rows.parquet"}, "rules": RULES, **more}})


@pytest.mark.long
@pytest.mark.parametrize("workers", [(), TWO])
def test_the_record_tells_what_the_rows_that_came_are_like(rows: Desk, workers: tuple[str, ...]) -> None:
    define(rows, profile=True)
    record = rows.ran(options=workers)
    told = profiled(record)
    wanted = {one.pop("name"): one for one in profile(ROWS).told()}
    for columns in (told, wanted):
        for name in ("id", "code"):  # of more than a thousand values none is known to be frequent
            assert columns[name].pop("topMissed") >= 1
            assert columns[name].pop("top") == []
    assert told == wanted
    assert (told["id"]["count"], told["id"]["min"], told["id"]["max"]) == (SIZE, 0, SIZE - 1)  # rejected rows are among them
    assert told["state"]["nulls"] == 300
    assert told["state"]["top"] == [{"value": name, "count": 900} for name in ("new", "paid", "sent")]
    assert told["price"]["quantiles"]["0.5"] == 50.0
    assert told["code"]["patterns"] == [{"value": "A-9", "count": SIZE}]
    assert told["api_key"] | {"withheld": True} == told["api_key"]
    assert "sk-" not in json.dumps(record["steps"])


def test_a_profile_is_told_where_it_is_asked_for(rows: Desk) -> None:
    define(rows)
    (step,) = next(one for one in rows.ran()["steps"] if one["phase"] == "transform")["transformations"]
    assert "profile" not in step["quality"]


def test_of_a_run_that_fails_by_a_rule_the_profile_is_told_too(rows: Desk) -> None:
    define(rows, profile=True, rules=[{"id": "many", "type": "row-count", "min": SIZE + 1}])
    result = rows.run()
    assert result.execution.error_code == "rule-broken"
    assert profiled(result.to_json())["state"]["distinct"] == 3


def test_in_an_etl_service_the_step_profiles_what_it_was_given(desk: Desk) -> None:
    desk.people(1, 60)
    steps = [
        {"id": "some", "type": "filter", "condition": "age > 20"},
        {"id": "check", "type": "validate", "profile": True, "rules": [{"id": "low", "type": "numeric-range", "field": "age", "max": 50}]},
    ]
    desk.etl({"table": "people"}, {"table": "people", "mode": "replace"}, steps)
    record = desk.ran()
    ages = profiled(record)["age"]
    assert (ages["count"], ages["min"], ages["max"], ages["mean"]) == (40, 21, 60, 40.5)
    assert record["metrics"]["recordsLoaded"] == 30


def test_of_no_rows_every_column_is_told(desk: Desk) -> None:
    desk.sqlite("source.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
    source = {"type": "database", "connection": "source", "table": "people"}
    rule = {"id": "there", "type": "required-fields", "fields": ["id"]}
    desk.define({"name": "Checker", "validation": {"source": source, "rules": [rule], "profile": True}})
    told = profiled(desk.ran())
    assert (told["id"]["count"], told["id"]["max"], told["name"]["top"], told["name"]["length"]["max"]) == (0, None, [], None)


def test_of_very_many_columns_the_first_are_profiled(desk: Desk) -> None:
    pq.write_table(pa.table({f"c{at}": [at] for at in range(203)}), desk.folder / "rows.parquet")
    rule = {"id": "there", "type": "required-fields", "fields": ["c0"]}
    define(desk, profile=True, rules=[rule])
    told = profiled(desk.ran())
    assert list(told) == [f"c{at}" for at in range(203)]
    assert told["c199"]["max"] == 199
    assert told["c200"] == {"type": "int64", "notProfiled": True}


@pytest.mark.no_bundle
def test_a_profile_that_nobody_would_read_is_refused(desk: Desk) -> None:
    desk.people(1, 3)
    step = {"id": "check", "type": "validate", "profile": True, "rules": [{"id": "there", "type": "required-fields", "fields": ["id"]}]}
    right = {"type": "database", "connection": "source", "table": "people", "transformations": [step]}
    join = {"id": "with", "type": "join", "source": right, "on": ["id"], "how": "semi"}
    desk.etl({"table": "people"}, {"table": "people"}, [join])
    with pytest.raises(PlanError) as refused:
        desk.service.plan()
    assert "expected no profile in the source of a join" in str([problem.message for problem in refused.value.problems])
