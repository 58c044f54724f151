"""Rejected rows and violations as outputs of their own, in real runs: against `check`, through deaths, and where their target is away."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.engine import deliver, letters, shuffle, validate
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.duckdb.target import DuckDbTarget
from beam_pipelines.rules import check
from beam_pipelines.state.store import StateStore

Desk = Any
COUNT = 400
RULES: list[dict[str, Any]] = [
    {"id": "there", "type": "required-fields", "fields": ["email"]},
    {"id": "young", "type": "numeric-range", "field": "age", "max": 90, "severity": "warning"},
    {"id": "seen", "type": "numeric-range", "field": "age", "min": 3, "severity": "info"},
    {"id": "once", "type": "unique", "field": "email"},
]
ROWS = pa.table(
    {
        "id": pa.array(range(COUNT), pa.int32()),
        "email": [None if i % 20 == 0 else f"p{i - i % 2}@x.org" if i % 10 == 1 else f"p{i}@x.org" for i in range(COUNT)],
        "age": pa.array([i % 100 for i in range(COUNT)], pa.int16()),
        "born": pa.array(
            [dt.datetime(2000, 1, 1, 0, 0, 0, i + 1, tzinfo=dt.timezone.utc) for i in range(COUNT)], pa.timestamp("us", "UTC")
        ),
        "paid": pa.array([decimal.Decimal(i) / 4 for i in range(COUNT)], pa.decimal128(18, 2)),
        "raw": pa.array([bytes([i % 256]) for i in range(COUNT)], pa.binary()),
    }
)
FOUND = check(ROWS, RULES)
REJECTED = {"type": "file", "path": "rejected", "format": "parquet"}
VIOLATIONS = {"type": "database", "connection": "target", "table": "violations"}
COLUMNS = ["recordIndex", "rule", "type", "field", "value", "severity", "action", "message"]


@pytest.fixture
def rows(desk: Desk) -> Desk:
    # Of several row groups, so that there are several batches.
    pq.write_table(ROWS, desk.folder / "rows.parquet", row_group_size=90)
    return desk


def define(desk: Desk, rules: list[dict[str, Any]] = RULES, **more: Any) -> None:
    given = {"rejected": REJECTED, "violations": VIOLATIONS, "destination": {"type": "file", "path": "valid.parquet", "mode": "replace"}}
    desk.define({"name": "Checker", "validation": {"source": {"type": "file", "path": "rows.parquet"}, "rules": rules, **given, **more}})


def rejected(desk: Desk, run: str | None = None) -> pa.Table:
    """Rejected rows, by id; of one run."""
    files = sorted((desk.folder / "rejected").glob("*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files if run is None or file.name.startswith(run)]).sort_by("id")


def violations(desk: Desk, where: str = "true") -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    return desk.duckdb("target.duckdb", f"SELECT {names} FROM violations WHERE {where}")


def wanted() -> list[tuple[Any, ...]]:
    return [tuple(one[name] for name in COLUMNS) for one in FOUND.violations.to_pylist()]


def runs(desk: Desk) -> list[tuple[str, str]]:
    with desk.store() as store:
        return [(one.run, one.status) for one in store.executions("checker")]


@pytest.mark.parametrize("shards", [1, 2, 16])
def test_rejected_and_loaded_rows_are_the_input_and_violations_those_of_check(
    rows: Desk, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (validate, shuffle):
        monkeypatch.setattr(place, "SHARDS", shards)
    define(rows)
    record = rows.ran()
    found = rejected(rows)
    assert found.schema.names == [*ROWS.schema.names, "_rules", "_origin", "_run"]
    assert found.select(ROWS.schema.names).cast(ROWS.schema).equals(FOUND.rejected)
    assert found.select(ROWS.schema.names).schema.types == ROWS.schema.types
    valid = pq.read_table(rows.folder / "valid.parquet").select(ROWS.schema.names).sort_by("id")
    assert pa.concat_tables([found.select(ROWS.schema.names), valid]).sort_by("id").equals(ROWS)
    assert set(found["_run"].to_pylist()) == {record["runId"]}
    assert [json.loads(place) for place in found["_origin"].to_pylist()] == [
        {"source": "rows.parquet", "row": i} for i in found["id"].to_pylist()
    ]
    told: dict[int, list[str]] = {}
    for one in FOUND.violations.to_pylist():
        told.setdefault(one["recordIndex"], []).append(one["rule"])
    assert [json.loads(names) for names in found["_rules"].to_pylist()] == [told[i] for i in found["id"].to_pylist()]
    assert sorted(violations(rows), key=str) == sorted(wanted(), key=str)
    names = {name for name, *_ in rows.duckdb("target.duckdb", "DESCRIBE violations")}
    assert names == {"run", "step", "origin", "record", *COLUMNS}
    ((run, step, record_, index),) = rows.duckdb(
        "target.duckdb", 'SELECT DISTINCT run, step, record, "recordIndex" FROM violations WHERE rule = \'there\' AND "recordIndex" = 20'
    )
    assert (run, step, json.loads(record_)["paid"], index) == (record["runId"], "rules", "5.00", 20)
    assert record["metrics"]["recordsRejected"] == len(rows.letters()) == FOUND.rejected.num_rows  # the dead letters have them as well


def test_examples_are_the_first_of_each_rule(rows: Desk) -> None:
    define(rows, examples=2)
    record = rows.ran()
    (step,) = next(one for one in record["steps"] if one["phase"] == "transform")["transformations"]
    told = [(one["rule"], one["recordIndex"]) for one in step["quality"]["examples"]]
    first = {rule["id"]: [one["recordIndex"] for one in FOUND.violations.to_pylist() if one["rule"] == rule["id"]][:2] for rule in RULES}
    assert told == [(rule, row) for rule, places in first.items() for row in places]
    with rows.store() as store:
        assert store.execution(record["runId"]).to_json()["steps"] == record["steps"]
    define(rows, examples=0)
    assert "examples" not in json.dumps(rows.ran()["steps"])


def test_insert_adds_and_replace_keeps_the_last_run_alone_also_where_it_found_nothing(rows: Desk) -> None:
    replaced = {
        "rejected": {**VIOLATIONS, "table": "bad", "mode": "replace"},
        "violations": {"type": "file", "path": "v.parquet", "mode": "replace"},
    }
    define(rows)
    first, second = rows.ran()["runId"], rows.ran()["runId"]
    assert [rejected(rows, run).num_rows for run in (first, second)] == [FOUND.rejected.num_rows] * 2
    assert len(violations(rows)) == 2 * len(wanted())
    define(rows, **replaced)
    rows.ran()
    last = rows.ran()["runId"]
    assert rows.duckdb("target.duckdb", "SELECT count(*), min(_run), max(_run) FROM bad") == [(FOUND.rejected.num_rows, last, last)]
    found = pq.read_table(rows.folder / "v.parquet")
    assert (found.num_rows, set(found["run"].to_pylist())) == (len(wanted()), {last})
    pq.write_table(
        FOUND.valid.select(ROWS.schema.names).filter(pa.array([25 < i % 100 < 75 for i in FOUND.valid["id"].to_pylist()])),
        rows.folder / "rows.parquet",
    )
    rows.ran()
    assert rows.duckdb("target.duckdb", "SELECT count(*) FROM bad") == [(0,)]
    assert pq.read_table(rows.folder / "v.parquet").num_rows == 0


def test_a_run_that_fails_by_a_threshold_loads_nothing_and_writes_what_it_found(rows: Desk) -> None:
    define(rows, [*RULES[:3], {**RULES[3], "maxFailures": 0}])
    result = rows.run()
    assert (result.exit_code, result.execution.error_code) == (1, "rule-broken")
    assert not (rows.folder / "valid.parquet").exists()
    assert rejected(rows).select(ROWS.schema.names).equals(FOUND.rejected)
    assert sorted(violations(rows), key=str) == sorted(wanted(), key=str)


class DiedError(BaseException):
    """The process ends here, as far as the run can tell."""


def dies(*_given: Any, **_named: Any) -> Any:
    raise DiedError


def after(method: Any, time: int = 1) -> Any:
    """The method, and then death, at its n-th call."""
    left = [time]

    def called(*given: Any, **named: Any) -> Any:
        answer = method(*given, **named)
        left[0] -= 1
        if not left[0]:
            raise DiedError
        return answer

    return called


def places() -> dict[str, tuple[Any, str, Any]]:
    """Where a run dies: what is called there, and what stands in its place."""
    return {
        "before the outputs": (deliver, "deliver", dies),
        "before the first is committed": (deliver._Delivery, "_commit", dies),
        "after the first is committed": (deliver._Delivery, "_commit", after(deliver._Delivery._commit)),
        "after both, before the record": (deliver, "deliver", after(deliver.deliver)),
        "after the record, before the staging is dropped": (letters, "drop", dies),
        "when the staging is half dropped": (deliver, "drop", dies),
        "before the record": (StateStore, "finish", dies),
    }


@pytest.mark.parametrize("place", places())
@pytest.mark.parametrize("mode", ["insert", "replace"])
def test_wherever_a_run_dies_each_row_and_violation_is_there_once_after_the_next(
    rows: Desk, place: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(rows, rejected={**REJECTED, "mode": mode}, violations={**VIOLATIONS, "mode": mode})
    owner, name, instead = places()[place]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, instead)
        with pytest.raises(DiedError):
            rows.run()
    # The next run finds no row, so that all that is there is of the one that died.
    pq.write_table(ROWS[:0], rows.folder / "rows.parquet")
    define(rows, rejected={**REJECTED, "mode": "insert"}, violations={**VIOLATIONS, "mode": "insert"}, destination={"type": "none"})
    (rows.folder / "service.json").write_text((rows.folder / "service.json").read_text())
    rows.ran()
    (_, last), (died, first) = runs(rows)
    assert (first, last) == ("success", "success")
    assert rejected(rows).select(ROWS.schema.names).equals(FOUND.rejected)
    assert set(rejected(rows)["_run"].to_pylist()) == {died}
    assert sorted(violations(rows), key=str) == sorted(wanted(), key=str)
    assert left_behind(rows) == []


def left_behind(desk: Desk) -> list[str]:
    """Staging objects."""
    return [str(path) for path in Path(desk.folder).rglob("*") if path.name.startswith("_bp_")]
