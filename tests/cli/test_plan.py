from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone

import pytest


def test_a_plan_shows_graph_guarantee_reading_schedule_and_writes_nothing(room):
    before = sorted(path.name for path in room.folder.iterdir())
    answer = room("plan", "service.yaml")
    assert answer.code == 0, answer.err
    assert "1. read query from crm (sqlite, new by 'updated_at')" in answer.out
    assert "2. upsert into customers at warehouse (duckdb)" in answer.out
    assert "guarantee: exactly-once" in answer.out
    [reading] = [line for line in answer.out.splitlines() if line.startswith("query ")]
    assert " the start " in reading
    assert reading.endswith("will be created")
    assert "schedule: At minute 0 past every sixth hour (UTC)" in answer.out
    assert sorted(path.name for path in room.folder.iterdir()) == before


@pytest.mark.parametrize(
    "words", [["plan", "service.yaml"], ["run", "service.yaml", "--plan"], ["etl", "--service", "service.yaml", "--plan"]]
)
def test_the_plan_in_json_is_the_same_by_every_way(ran, words):
    answer = ran(*words, "--output", "json")
    assert answer.code == 0, answer.err
    plan = answer.json()
    assert plan["serviceId"] == "customers"
    assert plan["guarantee"]["level"] == "exactly-once"
    assert [(one["load"], one["low"], one["exists"]) for one in plan["readings"]] == [("customers", "2026-01-28T10:00:00.000000", True)]
    times = [datetime.fromisoformat(text) for text in plan["nextTimes"]]
    assert len(times) == 5
    assert times[0] > datetime.now(timezone.utc)
    assert {after - before for before, after in itertools.pairwise(times)} == {timedelta(hours=6)}
    assert {(moment.hour % 6, moment.minute) for moment in times} == {(0, 0)}


def test_a_full_refresh_is_planned_from_the_start(ran):
    plan = ran("plan", "service.yaml", "--full-refresh", "--output", "json").json()
    assert plan["readings"][0]["low"] is None


def test_what_cannot_run_cannot_be_planned(room):
    room.change("FROM customers", "FROM customer")
    answer = room("plan", "service.yaml")
    assert answer.code == 2
    assert "did you mean 'customers'?" in answer.err
    assert "table-missing" in answer.err
