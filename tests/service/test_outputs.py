"""Rejected rows and violations as outputs of their own, in real runs: against `check`, through deaths, and where their target is away."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.engine import deliver, letters, shuffle
from beam_pipelines.engine.delivery import Delivery
from beam_pipelines.errors import FatalError, PlanError, TransientError
from beam_pipelines.io.duckdb.target import DuckDbTarget
from beam_pipelines.quality import Quality
from beam_pipelines.rules import check

pytestmark = pytest.mark.long

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


@pytest.mark.long
@pytest.mark.parametrize("shards", [1, 2, 16])
def test_rejected_and_loaded_rows_are_the_input_and_violations_those_of_check(
    rows: Desk, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffle, "SHARDS", shards)
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


@pytest.mark.long
@pytest.mark.parametrize("system", ["duckdb", "sqlite", "postgresql", "files"])
def test_the_ledger_shows_rows_of_the_last_run_alone(rows: Desk, system: str, postgres_database: str) -> None:
    places = {"duckdb": "duckdb:///kept.duckdb", "sqlite": "sqlite:///kept.db", "postgresql": postgres_database}
    destination = {"type": "file", "path": "valid.parquet", "mode": "replace"}
    if system != "files":
        rows.connect(kept=places[system])
        destination = {"type": "database", "connection": "kept", "table": "valid", "mode": "replace"}
    define(rows, destination=destination, profile=True)
    runs = [rows.ran()["runId"], rows.run().execution.run, rows.ran()["runId"]]
    query = "SELECT run, counts FROM {}_beam_pipelines_loads WHERE service = 'checker'"
    found = {
        "duckdb": lambda: rows.duckdb("kept.duckdb", query.format("")),
        "sqlite": lambda: rows.sqlite("kept.db", query.format("")),
        "postgresql": lambda: rows.postgres(postgres_database, query.format("")),
        "files": lambda: rows.sqlite(".beam_pipelines/state.db", query.format("")),
    }[system]()
    assert sorted(run for run, _ in found) == sorted(runs)
    assert {run: ("p20@x.org" in counts or "p2@x.org" in counts) for run, counts in found} == dict(
        zip(runs, [False, False, True], strict=True)
    )
    with rows.store() as store:
        for run in runs:  # where they are kept as long as somebody wants them
            execution = store.execution(run)
            assert execution is not None
            assert "@x.org" in json.dumps(execution.to_json())


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
        "before the first is committed": (Delivery, "_commit", dies),
        "after the first is committed": (Delivery, "_commit", after(Delivery._commit)),
        "after both, before the record": (deliver, "deliver", after(deliver.deliver)),
        "after the record, before the staging is dropped": (letters, "drop", dies),
        "when the staging is half dropped": (deliver, "drop", dies),
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("place", "mode"),
    [
        *((place, "insert") for place in places()),
        ("after the first is committed", "replace"),
    ],
)
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


@pytest.mark.long
def test_an_output_that_is_away_keeps_nothing_but_itself_from_being_written(rows: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are loaded and the other output is written; no run begins before this one is written as well, and then it is, once."""
    define(rows, violations={**VIOLATIONS, "connection": "lake"})
    rows.connect(lake="lake.duckdb")
    prepare = DuckDbTarget.prepare

    def away(target: Any, *given: Any) -> Any:
        raise TransientError("lake is away")

    with monkeypatch.context() as patch:
        patch.setattr(DuckDbTarget, "prepare", away)
        said = "is committed, but the violations of 'rules' could not be written to 'violations': lake is away"
        with pytest.raises(FatalError, match=said) as caught:
            rows.run()
        assert (caught.value.exit_code, caught.value.code) == (1, "unreachable")
        assert pq.read_table(rows.folder / "valid.parquet").num_rows == FOUND.valid.num_rows
        assert rejected(rows).num_rows == FOUND.rejected.num_rows
        with pytest.raises(FatalError, match="lake is away"):
            rows.run()
    assert DuckDbTarget.prepare is prepare
    assert len(runs(rows)) == 1
    second = rows.ran()["runId"]
    (_, now), (first, before) = runs(rows)
    assert (now, before) == ("success", "success")
    told = "SELECT run, count(*) FROM violations GROUP BY run ORDER BY run"
    assert rows.duckdb("lake.duckdb", told) == sorted([(first, len(wanted())), (second, len(wanted()))])
    assert left_behind(rows) == []


@pytest.mark.long
def test_what_a_target_has_judged_to_fail_is_written_by_the_next_run(rows: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    define(rows)

    def full(*_given: Any) -> Any:
        raise FatalError("the disk is full", code="commit-failed")

    with monkeypatch.context() as patch:
        patch.setattr(DuckDbTarget, "merge", full)
        with pytest.raises(FatalError, match="the disk is full"):
            rows.run()
        with pytest.raises(FatalError, match="the disk is full"):
            rows.run()
    last = rows.ran()["runId"]
    (first,) = {run for run, _ in runs(rows)} - {last}
    told = dict(rows.duckdb("target.duckdb", "SELECT run, count(*) FROM violations GROUP BY run"))
    assert told == {first: len(wanted()), last: len(wanted())}
    tries = rows.duckdb("target.duckdb", "SELECT status, count(*) FROM _beam_pipelines_loads GROUP BY status ORDER BY status")
    assert tries == [("committed", 2), ("failed", 2)]


def test_a_row_that_its_table_refuses_costs_itself(rows: Desk, caplog: pytest.LogCaptureFixture) -> None:
    rows.sqlite("source.db", "CREATE TABLE bad (id INTEGER CHECK (id <> 20), email TEXT)")
    define(rows, rejected={"type": "database", "connection": "source", "table": "bad"})
    record = rows.ran()
    found = [i for (i,) in rows.sqlite("source.db", "SELECT id FROM bad ORDER BY id")]
    assert found == [i for i in FOUND.rejected["id"].to_pylist() if i != 20]
    assert record["metrics"]["recordsRejected"] == len(rows.letters()) == FOUND.rejected.num_rows
    assert "'bad' refuses 1 of the rejected rows of 'rules'" in caplog.text


@pytest.mark.long
@pytest.mark.parametrize("system", ["postgresql", "sqlite", "duckdb", "none"])
def test_any_destination_stages_them_and_postgresql_shows_what_it_cannot_hold(desk: Desk, system: str, postgres_database: str) -> None:
    desk.connect(source=postgres_database, target={"postgresql": postgres_database, "sqlite": "a.db"}.get(system, "target.duckdb"))
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "name": ["a\0b", "ok", "x", None]}), desk.folder / "rows.parquet")
    step = {
        "id": "check",
        "type": "validate",
        "rules": [
            {"id": "short", "type": "regex", "field": "name", "pattern": "^ok$"},
            {"id": "low", "type": "numeric-range", "field": "id", "max": 3},
        ],
        "rejected": {"type": "database", "connection": "source", "table": "bad"},
        "violations": {"type": "data-warehouse", "connection": "source", "table": "found"},
    }
    drop = {"id": "narrow", "type": "map", "mappings": {"key": {"source": "id"}}}
    where = {"type": "none"} if system == "none" else {"type": "database", "connection": "target", "table": "good", "mode": "insert"}
    desk.define(
        {
            "name": "Small",
            "pipeline": {"source": {"type": "file", "path": "rows.parquet"}, "transformations": [step, drop], "destination": where},
        }
    )
    record = desk.ran()
    (check_, _) = next(one for one in record["steps"] if one["phase"] == "transform")["transformations"]
    assert {name: check_["quality"][name] for name in ("total", "passed", "failed")} == {"total": 4, "passed": 1, "failed": 3}
    # PostgreSQL has no text with a NUL in it: the row is among the dead letters, and its violation shows another sign.
    rejected_ = desk.postgres(postgres_database, "SELECT id, name, _rules FROM bad ORDER BY id")
    assert rejected_ == [(3, "x", '["short"]'), (4, None, '["low"]')]
    told = desk.postgres(postgres_database, 'SELECT "recordIndex", rule, value, step FROM found ORDER BY 1')
    assert told == [(0, "short", "a\ufffdb", "check"), (2, "short", "x", "check"), (3, "low", "4", "check")]
    assert sorted(letter["record"]["id"] for letter in desk.letters()) == [1, 3, 4]
    assert desk.postgres(postgres_database, "SELECT tablename FROM pg_tables WHERE tablename LIKE '\\_bp\\_%'") == []


@pytest.mark.long
def test_each_of_several_tables_has_a_place_for_its_rows(desk: Desk) -> None:
    for table, columns in (("one", "id INTEGER PRIMARY KEY, a TEXT"), ("two", "id INTEGER PRIMARY KEY, b REAL")):
        desk.sqlite("source.db", f"CREATE TABLE {table} ({columns})", f"INSERT INTO {table} (id) VALUES (1), (2), (3)")
    rule = {"id": "low", "type": "numeric-range", "field": "id", "max": 1}
    given = {"rejected": {"type": "file", "path": "bad/{table}", "format": "parquet"}, "violations": VIOLATIONS}
    source = {"type": "database", "connection": "source", "tables": ["one", "two"]}
    desk.define({"name": "Checker", "validation": {"source": source, "rules": [rule], **given}})
    desk.ran()
    found = {table: pq.read_table(desk.folder / "bad" / table).sort_by("id") for table in ("one", "two")}
    assert {table: (rows.schema.names[:2], rows["id"].to_pylist()) for table, rows in found.items()} == {
        "one": (["id", "a"], [2, 3]),
        "two": (["id", "b"], [2, 3]),
    }
    told = desk.duckdb("target.duckdb", "SELECT origin->>'source', count(*) FROM violations GROUP BY 1 ORDER BY 1")
    assert told == [("one", 2), ("two", 2)]
    given["rejected"]["path"] = "bad"
    desk.define({"name": "Checker", "validation": {"source": source, "rules": [rule], **given}})
    with pytest.raises(PlanError, match=r"expected a place for each of 2 tables, whose columns differ: write it with \{table\} in it"):
        desk.run()


@pytest.mark.long
def test_a_service_inside_a_pipeline_writes_them_as_well(rows: Desk) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    define(rows)
    with beam.Pipeline(runner="FnApiRunner", options=PipelineOptions([*rows.options])) as pipeline:
        _ = pipeline | Quality(rows.folder / "service.json")
    assert rejected(rows).select(ROWS.schema.names).equals(FOUND.rejected)
    assert sorted(violations(rows), key=str) == sorted(wanted(), key=str)


def died(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that has committed, and then is no more."""
    with monkeypatch.context() as patch:
        patch.setattr(deliver, "deliver", dies)
        with pytest.raises(DiedError):
            desk.run()


def test_an_output_that_the_definition_has_no_more_does_not_keep_the_service_from_running(
    rows: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    define(rows)
    died(rows, monkeypatch)
    define(rows, violations=None)
    rows.ran()
    assert f"{len(wanted())} rows that run" in caplog.text
    assert rejected(rows).num_rows == 2 * FOUND.rejected.num_rows
    assert left_behind(rows) == []


def test_staging_that_somebody_removed_costs_its_rows_and_is_said(
    rows: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    define(rows)
    died(rows, monkeypatch)
    for path in left_behind(rows):
        Path(path).unlink()
    rows.ran()
    assert f"{FOUND.rejected.num_rows} of the rejected rows of 'rules' are lost" in caplog.text
    assert (rejected(rows).num_rows, len(violations(rows))) == (FOUND.rejected.num_rows, len(wanted()))


def test_a_run_that_died_is_written_as_it_was_though_the_definition_has_changed(rows: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step before the rules drops columns now; the rows that were rejected before have them."""
    step = {"id": "rules", "type": "validate", "rules": RULES, "rejected": REJECTED, "violations": VIOLATIONS}
    pipeline = {"source": {"type": "file", "path": "rows.parquet"}, "transformations": [step], "destination": {"type": "none"}}
    rows.define({"name": "Checker", "pipeline": pipeline})
    died(rows, monkeypatch)
    drop = {"id": "narrow", "type": "map", "mappings": {name: {"source": name} for name in ("id", "email", "age")}}
    again = {**step, "rejected": {**REJECTED, "path": "later"}}
    rows.define({"name": "Checker", "pipeline": {**pipeline, "transformations": [drop, again]}})
    rows.ran()
    found = [pq.read_table(file) for file in sorted((rows.folder / "later").glob("*.parquet"))]
    assert sorted(len(one.schema.names) for one in found) == [3 + 3, 6 + 3]
    assert next(one for one in found if "paid" in one.schema.names).sort_by("id").select(ROWS.schema.names).equals(FOUND.rejected)


@pytest.mark.no_bundle
def test_the_plan_shows_where_they_go(rows: Desk) -> None:
    define(rows)
    assert rows.service.plan().graph[-2:] == (
        "the rejected rows of 'rules': insert into rejected at files (parquet)",
        "the violations of 'rules': insert into violations at target (duckdb)",
    )
    assert {path.name for path in rows.folder.iterdir()} == {"connections.yaml", "rows.parquet", "service.json"}


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rejected": {**VIOLATIONS, "connection": "lake"}}, "no connection 'lake'"),
        (
            {"rejected": VIOLATIONS},
            "validation.violations: expected a place of its own, got 'violations', where the rejected rows",
        ),
        ({"rejected": {"type": "file", "path": "./valid.parquet", "mode": "replace"}}, "'./valid.parquet', where the destination goes"),
        ({"rejected": {"type": "file", "path": ".", "format": "parquet"}}, "got '.', where the destination goes"),
        ({"rejected": {"type": "file", "path": "bad.csv"}}, "rejected: destination.mode: rows cannot be added to one CSV file"),
        (
            {"rejected": {"type": "file", "path": "bad.parquet"}},
            "rejected: destination.mode: rows cannot be added to one Parquet file",
        ),
    ],
)
def test_a_place_that_cannot_be_is_refused(rows: Desk, more: dict[str, Any], said: str) -> None:
    define(rows, **more)
    with pytest.raises(PlanError, match=re.escape(said)):
        rows.service.plan()


@pytest.mark.no_bundle
def test_columns_that_cannot_go_there_are_refused(rows: Desk) -> None:
    again = ROWS.append_column("_Rules", pa.array(["x"] * COUNT))
    pq.write_table(again, rows.folder / "rows.parquet")
    define(rows)
    with pytest.raises(PlanError, match="rejected rows get the columns _origin, _rules, _run, and have '_Rules' already"):
        rows.service.plan()
    (rows.folder / "rejected").mkdir()
    pq.write_table(pa.table({"id": ["a"]}), rows.folder / "rejected" / "old.parquet")
    pq.write_table(ROWS, rows.folder / "rows.parquet")
    with pytest.raises(PlanError, match="column 'id' is int32 now, and string in the files that are there"):
        rows.service.plan()


@pytest.mark.no_bundle
def test_a_type_that_the_target_has_not_is_refused_at_the_output(desk: Desk) -> None:
    desk.duckdb("lake.duckdb", "CREATE TABLE spans (id INTEGER, took INTERVAL)")
    desk.connect(lake="lake.duckdb")
    rule = {"id": "low", "type": "numeric-range", "field": "id", "max": 1}
    desk.define(
        {
            "name": "Checker",
            "validation": {"source": {"type": "database", "connection": "lake", "table": "spans"}, "rules": [rule], "rejected": REJECTED},
        }
    )
    with pytest.raises(PlanError, match=r"validation\.rejected: column 'took': expected a type that Parquet keeps") as refused:
        desk.service.plan()
    assert refused.value.code == "type-unsupported"


@pytest.mark.no_bundle
def test_a_table_that_is_read_is_no_output(desk: Desk) -> None:
    desk.people(1, 3)
    rule = {"id": "low", "type": "numeric-range", "field": "age", "max": 1}
    source = {"type": "database", "connection": "source", "table": "people"}
    desk.define({"name": "Checker", "validation": {"source": source, "rules": [rule], "rejected": {**source, "mode": "replace"}}})
    with pytest.raises(PlanError, match="expected a place of its own, got 'people', which is read"):
        desk.service.plan()


@pytest.mark.no_bundle
def test_files_that_are_read_are_no_output(desk: Desk) -> None:
    """The next run would hold them against the rules as if they were new."""
    (desk.folder / "in").mkdir()
    pq.write_table(ROWS, desk.folder / "in" / "rows.parquet")
    source = {"type": "file", "path": "in", "format": "parquet"}
    desk.define({"name": "Checker", "validation": {"source": source, "rules": RULES, "rejected": {**source, "path": "./in"}}})
    with pytest.raises(PlanError, match=re.escape("validation.rejected: expected a place of its own, got './in', which is read")):
        desk.service.plan()


@pytest.mark.no_bundle
def test_the_source_of_a_join_has_no_outputs(desk: Desk) -> None:
    desk.people(1, 3)
    rule = {"id": "low", "type": "numeric-range", "field": "age", "max": 1}
    step = {"id": "check", "type": "validate", "rules": [rule], "violations": VIOLATIONS}
    source = {"type": "database", "connection": "source", "table": "people", "transformations": [step]}
    desk.etl({"table": "people"}, {"table": "out", "mode": "insert"}, [{"id": "more", "type": "union", "source": source}])
    with pytest.raises(PlanError, match="expected no output of its own in the source of a join"):
        desk.service.plan()
