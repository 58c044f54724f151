from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import ModuleType
from typing import Any

import pytest

from beam_pipelines.errors import FatalError
from beam_pipelines.state import Execution, Failure, Outcome, PhaseProgress, Schedule, StateStore, Step, Transformation, Watermark


def test_a_run_that_begins_is_running_and_its_request_is_told(store: StateStore, processes: ModuleType) -> None:
    execution = processes.execution("r1")
    store.begin(execution)
    assert store.execution("r1") == execution
    (event,) = store.events()
    assert (event.type, event.sequence, event.delivered_at) == ("ServiceRequest.created", 1, None)
    assert [(one.run, one.request, one.customer, one.status) for one in store.requests()] == [("r1", "q-7", "c-9", "created")]


def test_a_run_id_is_used_once(store: StateStore, processes: ModuleType) -> None:
    store.begin(processes.execution("r1"))
    with pytest.raises(FatalError, match="'r1' was begun before"):
        store.begin(processes.execution("r1"))
    assert len(store.events()) == 1


def test_a_run_cannot_begin_at_its_end(store: StateStore, processes: ModuleType) -> None:
    with pytest.raises(ValueError, match="'success'"):
        store.begin(replace(processes.execution("r1"), status="success"))


def test_a_start_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="with a zone"):
        Execution("s", "r1", datetime(2026, 3, 1))


def test_a_run_moves_between_states_until_it_ends(store: StateStore, processes: ModuleType) -> None:
    store.begin(replace(processes.execution("r1"), status="queued"))
    assert store.set_status("r1", "committing")
    assert [one.status for one in store.executions()] == ["committing"]
    store.finish("r1", Outcome("lost"))
    assert not store.set_status("r1", "running")
    assert [one.status for one in store.executions()] == ["lost"]
    with pytest.raises(ValueError, match="`finish` ends a run"):
        store.set_status("r1", "success")


def test_of_progress_only_the_newest_of_each_phase_waits_for_delivery(store: StateStore, processes: ModuleType) -> None:
    store.begin(processes.execution("r1"))
    assert store.progress("r1", PhaseProgress("extract", "running"))
    assert store.progress("r1", PhaseProgress("extract", "running", 500))
    assert store.progress("r1", PhaseProgress("load", "running", 10, 25, 100))
    events = store.events(run="r1", type="PipelineProgress.updated")
    assert [one.data for one in events] == [
        {"requestId": "q-7", "phase": "extract", "status": "running", "recordCount": 500},
        {
            "requestId": "q-7",
            "phase": "load",
            "status": "running",
            "recordCount": 10,
            "processedBytes": 25,
            "totalBytes": 100,
            "progress": 0.25,
        },
    ]
    assert [one.sequence for one in events] == [3, 4]


def test_progress_that_was_delivered_is_kept(store: StateStore, processes: ModuleType, clock: Any) -> None:
    store.begin(processes.execution("r1"))
    store.progress("r1", PhaseProgress("extract", "running", 1))
    (first,) = store.events(type="PipelineProgress.updated")
    assert store.mark_delivered([first.id, first.id, "unknown"]) == 1
    assert store.mark_delivered([first.id]) == 0
    store.progress("r1", PhaseProgress("extract", "running", 2))
    assert [(one.data["recordCount"], one.delivered_at) for one in store.events(type="PipelineProgress.updated")] == [
        (1, clock.now),
        (2, None),
    ]
    assert [one.type for one in store.events(undelivered=True)] == ["ServiceRequest.created", "PipelineProgress.updated"]


def test_nothing_is_told_of_a_run_after_its_end(store: StateStore, processes: ModuleType) -> None:
    store.begin(processes.execution("r1"))
    store.finish("r1", Outcome("success"))
    assert not store.progress("r1", PhaseProgress("load", "running", 5))
    assert not store.progress("unknown", PhaseProgress("load", "running", 5))
    assert [one.type for one in store.events()] == ["ServiceRequest.created", "ServiceResult.deliver"]


def test_unfinished_runs_are_listed_oldest_first(store: StateStore, clock: Any) -> None:
    for number, run in enumerate(["c", "a", "b"]):
        store.begin(Execution("s", run, clock.now + timedelta(minutes=number)))
    store.begin(Execution("other", "d", clock.now))
    store.finish("a", Outcome("success"))
    assert [one.run for one in store.unfinished("s")] == ["c", "b"]


def test_runs_are_listed_newest_first_by_service_and_status(store: StateStore, clock: Any) -> None:
    for number, run in enumerate(["c", "a", "b"]):
        store.begin(Execution("s", run, clock.now + timedelta(minutes=number)))
    store.begin(Execution("other", "d", clock.now))
    store.finish("a", Outcome("failed"))
    assert [one.run for one in store.executions()] == ["b", "a", "c", "d"]
    assert [one.run for one in store.executions("s", limit=2)] == ["b", "a"]
    assert [one.run for one in store.executions("s", "failed")] == ["a"]
    assert store.execution("z") is None


def test_the_order_of_starts_counts_fractions_and_zones(store: StateStore, clock: Any) -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    store.begin(Execution("s", "a", clock.now + timedelta(microseconds=1)))
    store.begin(Execution("s", "b", clock.now.astimezone(india)))
    assert [one.run for one in store.executions()] == ["a", "b"]


def test_steps_come_back_in_order(store: StateStore, processes: ModuleType) -> None:
    steps = (
        Step("extract", record_count=5, duration=7, table="orders"),
        Step(
            "transform",
            False,
            5,
            (
                Transformation("a", True, 3, 5, 4, None, 1, 0, 0, ("b",)),
                Transformation("b", False, 3, 4, 0, "it broke"),
            ),
        ),
        Step("load", loaded=0, errors=4, method="insert"),
    )
    store.begin(processes.execution("r1"))
    store.finish("r1", Outcome("failed", steps=steps))
    assert store.steps("r1") == steps
    assert store.steps("r2") == ()
    found = store.execution("r1")
    assert found
    assert found.steps == steps
    assert json.loads(json.dumps(found.to_json()))["steps"][1]["transformations"][0]["fusedWith"] == ["b"]


def test_watermarks_are_set_and_cleared_by_table(store: StateStore, clock: Any) -> None:
    for table in ("orders", "customers"):
        store.set_watermark(Watermark("s", table, {"type": "text", "text": "é\u0000"}, "f", 3))
    store.set_watermark(Watermark("s", "orders", None, "g", 1))
    assert store.watermarks("s") == [
        Watermark("s", "customers", {"type": "text", "text": "é\u0000"}, "f", 3, None, clock.now),
        Watermark("s", "orders", None, "g", 1, None, clock.now),
    ]
    assert store.clear_watermark("s", "orders") == 1
    assert [one.table for one in store.watermarks("s")] == ["customers"]
    assert store.clear_watermark("s") == 1
    assert store.clear_watermark("s") == 0


def test_failed_records_are_listed_newest_run_first_in_pages(store: StateStore, clock: Any) -> None:
    for run in ("r1", "r2"):
        store.begin(Execution("s", run, clock.now))
        failures = tuple(Failure(f"step-{number}", "cast-failed", number, f"file:///{run}/{number}", "why", "t") for number in (1, 2))
        store.finish(run, Outcome("success", failures=failures))
        clock.pass_(minutes=1)
    order = [("r2", "step-1"), ("r2", "step-2"), ("r1", "step-1"), ("r1", "step-2")]
    assert [(one.run, one.step) for one in store.failed_records()] == order
    assert [(one.run, one.step) for one in store.failed_records("s", limit=2, offset=1)] == order[1:3]
    assert [(one.run, one.step) for one in store.failed_records(run="r1")] == order[2:]
    assert store.failed_records("other") == []
    assert store.failed_records()[0].to_json() == {
        "pipelineId": "s",
        "runId": "r2",
        "table": "t",
        "step": "step-1",
        "code": "cast-failed",
        "count": 1,
        "url": "file:///r2/1",
        "error": "why",
        "timestamp": "2026-03-01T09:01:00.000000+00:00",
    }


def test_a_schedule_is_recorded_and_forgotten(store: StateStore, clock: Any) -> None:
    assert store.schedule("s") is None
    store.set_schedule("s", Schedule("s", "0 */6 * * *", "Europe/Paris"))
    store.set_schedule("s", Schedule("s", "0 2 * * *"))
    assert store.schedule("s") == Schedule("s", "0 2 * * *", "UTC", clock.now)
    store.set_schedule("s", None)
    assert store.schedule("s") is None


def test_every_record_is_json(store: StateStore, processes: ModuleType) -> None:
    store.begin(processes.execution("r1"))
    store.finish("r1", processes.outcome())
    store.set_schedule("customers", Schedule("customers", "0 2 * * *"))
    schedule = store.schedule("customers")
    assert schedule
    records = [*store.charges(), *store.metrics(), *store.alerts(), *store.requests(), *store.failed_records(), *store.events(), schedule]
    for record in records:
        data = record.to_json()
        assert json.loads(json.dumps(data)) == data


def test_both_databases_keep_the_same_text(
    tmp_path: Any, postgres_database: str, open_store: Callable[..., StateStore], processes: ModuleType
) -> None:
    kept = []
    for url in (f"{tmp_path}/state.db", postgres_database):
        store = open_store(url, clock=processes.clock)
        store.begin(processes.execution("r1"))
        store.progress("r1", PhaseProgress("extract", "running", 5))
        store.finish("r1", processes.outcome())
        database, rows = store._database, {}
        with database.read() as connection:
            for table in (
                "executions",
                "execution_steps",
                "events",
                "charges",
                "pipeline_metrics",
                "failed_records",
                "watermarks",
                "alerts",
            ):
                found = connection.exec_driver_sql(database.ddl(f"SELECT * FROM {{s}}{table}")).mappings().all()
                rows[table] = sorted(({**row, "success": bool(row.get("success"))} for row in found), key=str)
        kept.append(rows)
    assert kept[0] == kept[1]


def test_the_databases_own_clock_is_used_without_another(store_url: str, open_store: Callable[..., StateStore]) -> None:
    before = datetime.now(timezone.utc)
    store = open_store(store_url)
    store.begin(Execution("s", "r1", before))
    (event,) = store.events()
    assert timedelta(seconds=-1) < event.time - before < timedelta(minutes=1)
    assert event.time.utcoffset() == timedelta(0)


def test_a_clock_without_zone_is_refused(store_url: str, open_store: Callable[..., StateStore], processes: ModuleType) -> None:
    store = open_store(store_url, clock=lambda: datetime(2026, 3, 1))
    with pytest.raises(ValueError, match="with a zone"):
        store.begin(processes.execution("r1"))
    assert store.executions() == []


def test_what_was_written_is_there_for_the_next_process(store_url: str, processes: ModuleType) -> None:
    with StateStore(store_url, clock=processes.clock) as store:
        store.begin(processes.execution("r1"))
        store.finish("r1", processes.outcome())
        found = store.execution("r1")
    with StateStore(store_url) as again:
        assert again.execution("r1") == found
