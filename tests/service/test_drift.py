"""Drift in real runs: what the target's ledger knows of the last runs decides, on every kind of target."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.engine import commit as module
from beam_pipelines.errors import TransientError

Desk = Any
COUNT = {"id": "steady", "type": "drift", "measure": "row-count"}


def write(desk: Desk, rows: int) -> None:
    pq.write_table(pa.table({"id": range(rows), "age": [at % 50 for at in range(rows)]}), desk.folder / "rows.parquet")


def define(desk: Desk, *rules: dict[str, Any], destination: dict[str, Any] | None = None, profiled: bool = False) -> None:
    section: dict[str, Any] = {"source": {"type": "file", "path": "rows.parquet"}, "rules": list(rules), "profile": profiled}
    if destination is not None:
        section["destination"] = destination
    desk.define({"name": "Checker", "validation": section})


def said(record: dict[str, Any], rule: str = "steady") -> dict[str, Any]:
    (step,) = next(one for one in record["steps"] if one["phase"] == "transform")["transformations"]
    return dict(next(one for one in step["rules"] if one["rule"] == rule))


@pytest.fixture(params=["none", "parquet", "duckdb", "postgresql"])
def destination(request: pytest.FixtureRequest, desk: Desk) -> dict[str, Any] | None:
    if request.param == "postgresql":
        desk.connect(target=request.getfixturevalue("postgres_database"))
    return {
        "none": None,
        "parquet": {"type": "file", "path": "valid", "mode": "replace", "format": "parquet"},
        "duckdb": {"type": "database", "connection": "target", "table": "valid", "mode": "replace"},
        "postgresql": {"type": "database", "connection": "target", "table": "valid", "mode": "replace"},
    }[request.param]


@pytest.mark.long
def test_a_jump_after_stable_runs_stops_the_run_and_is_not_remembered(desk: Desk, destination: dict[str, Any] | None) -> None:
    define(desk, {**COUNT, "minRuns": 2}, destination=destination)
    for number, rows in enumerate((98, 102)):
        write(desk, rows)
        told = said(desk.ran())
        assert (told["holds"], told["measured"], told["runs"]) == (None, rows, number)
        assert told["message"].startswith("not judged: expected at least 2 earlier runs")
    write(desk, 500)
    for _ in range(2):  # what did not commit is no part of what later runs are compared with
        result = desk.run()
        assert (result.exit_code, result.execution.error_code) == (1, "rule-broken")
        assert "the rule 'steady' does not hold: expected a number of rows from" in (result.execution.error or "")
        told = said(result.to_json())
        assert (told["holds"], told["runs"], told["median"]) == (False, 2, 100)
        assert (told["low"], told["high"]) == (pytest.approx(91.1044), pytest.approx(108.896))  # 3 times 1.4826 times 2 around it


def test_a_warning_commits_and_in_time_the_new_level_is_the_usual_one(desk: Desk) -> None:
    define(desk, {**COUNT, "severity": "warning", "runs": 3, "minRuns": 2})
    codes = []
    for rows in (100, 100, 300, 300, 300):
        write(desk, rows)
        codes.append(desk.run().exit_code)
    assert codes == [0, 0, 3, 3, 0]


def test_under_another_id_a_rule_begins_anew(desk: Desk) -> None:
    write(desk, 100)
    define(desk, {**COUNT, "minRuns": 1})
    desk.ran()
    write(desk, 300)
    assert desk.run().exit_code == 1
    define(desk, {**COUNT, "minRuns": 1, "id": "steadier"})
    assert said(desk.ran(), "steadier")["runs"] == 0


def test_increments_are_compared_with_increments(desk: Desk) -> None:
    desk.people(1, 1000, seconds_ago=5000)
    source = {"type": "database", "connection": "source", "table": "people", "cursor": {"column": "updated_at"}}
    desk.define({"name": "Checker", "validation": {"source": source, "rules": [{**COUNT, "minRuns": 2}]}})
    told = [said(desk.ran())]
    for number in range(3):
        desk.people(1001 + 10 * number, 1010 + 10 * number, seconds_ago=4000 - 1000 * number)
        told.append(said(desk.ran()))
    assert [(one["measured"], one["runs"], one["holds"]) for one in told] == [(1000, 0, None), (10, 0, None), (10, 1, None), (10, 2, True)]
    again = said(desk.ran(full_refresh=True))
    assert (again["measured"], again["runs"], again["holds"]) == (1030, 1, None)


def test_runs_that_read_everything_are_found_behind_increments(desk: Desk) -> None:
    desk.people(1, 1000, seconds_ago=5000)
    source = {"type": "database", "connection": "source", "table": "people", "cursor": {"column": "updated_at"}}
    desk.define({"name": "Checker", "validation": {"source": source, "rules": [{**COUNT, "runs": 2, "minRuns": 1}]}})
    desk.ran()
    for _ in range(3):
        desk.ran()
    again = said(desk.ran(full_refresh=True))
    assert (again["measured"], again["median"], again["runs"], again["holds"]) == (1000, 1000, 1, True)


def test_a_second_attempt_of_a_commit_says_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt dies behind its commit; the second judges anew, and must not find its own run among the earlier ones."""
    write(desk, 100)
    define(desk, COUNT, destination={"type": "database", "connection": "target", "table": "valid", "mode": "replace"})
    desk.ran()
    judgements: list[dict[str, Any]] = []
    commit_loads, judged = module.commit_loads, module.judged

    def noted(*given: Any) -> Any:
        made = judged(*given)
        judgements.append(made.steps[0].verdicts["steady"])
        return made

    def twice(*given: Any) -> Any:
        first = dict(commit_loads(*given))
        assert dict(commit_loads(*given)) == first
        yield from first.items()

    monkeypatch.setattr(module, "judged", noted)
    monkeypatch.setattr(module, "commit_loads", twice)
    write(desk, 101)
    record = desk.ran()
    assert said(record)["runs"] == 1
    assert len(judgements) >= 2
    assert [json.dumps(one) for one in judgements] == [json.dumps(judgements[0])] * len(judgements)


DIES = """
import os, signal
from beam_pipelines.etl.service import Service
from beam_pipelines.io.duckdb.target import DuckDbTarget

commit = DuckDbTarget.commit

def dies(*given):
    if {after}:
        commit(*given)
    os.kill(os.getpid(), signal.SIGKILL)

DuckDbTarget.commit = dies
Service.load("service.json").run(options={options!r})
"""


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True])
def test_a_run_that_is_killed_counts_as_far_as_it_committed(desk: Desk, after: bool) -> None:
    define(desk, COUNT, destination={"type": "database", "connection": "target", "table": "valid", "mode": "replace"}, profiled=True)
    write(desk, 100)
    code = DIES.format(after=after, options=list(desk.options))
    assert subprocess.run([sys.executable, "-c", code], cwd=desk.folder, check=False).returncode == -9
    result = desk.run()
    assert said(result.to_json())["runs"] == int(after)
    (settled,) = result.settled
    with desk.store() as store:
        killed = store.execution(settled).to_json()
    assert killed["status"] == ("success" if after else "lost")
    if after:  # the record of the run that died is made of what its ledger row holds
        (step,) = next(one for one in killed["steps"] if one["phase"] == "transform")["transformations"]
        assert (said(killed)["measured"], said(killed)["holds"]) == (100, None)
        assert [(one["name"], one["count"]) for one in step["quality"]["profile"]] == [("id", 100), ("age", 100)]


def test_a_ledger_that_is_away_fails_the_run_and_passes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from beam_pipelines.io.duckdb.target import DuckDbTarget

    write(desk, 100)
    define(desk, COUNT, destination={"type": "database", "connection": "target", "table": "valid", "mode": "replace"})

    def away(*_: Any) -> Any:
        raise TransientError("the ledger cannot be read", code="unavailable")

    monkeypatch.setattr(DuckDbTarget, "committed", away)
    result = desk.run()
    assert (result.exit_code, result.execution.status) == (1, "failed")
    assert (
        not Path(desk.folder / "target.duckdb").exists()
        or desk.duckdb("target.duckdb", "FROM duckdb_tables() SELECT table_name WHERE table_name = 'valid'") == []
    )


def test_a_pruned_ledger_has_fewer_runs(desk: Desk) -> None:
    write(desk, 100)
    define(desk, COUNT, destination={"type": "database", "connection": "target", "table": "valid", "mode": "replace"})
    for _ in range(2):
        desk.ran()
    desk.duckdb("target.duckdb", "DELETE FROM _beam_pipelines_loads WHERE generation < 1")
    assert (told := said(desk.ran()))["runs"] == 1
    assert told["holds"] is None
