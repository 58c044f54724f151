from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest

from beam_pipelines.errors import FatalError
from beam_pipelines.state import Execution, Failure, Incident, Metrics, Outcome, StateStore, Watermark
from beam_pipelines.state.finish import charge_key
from beam_pipelines.state.record import without_rows


def run_with(store: StateStore, clock: Any, run: str, failures: int, service: str = "customers") -> list[str]:
    """One run with so many failures; the alerts there are after it."""
    store.begin(Execution(service, run, clock.now, name="Customer Data ETL"))
    found = (Failure("normalize", "function-failed", failures, "file:///d"),) if failures else ()
    assert store.finish(run, Outcome("success", failures=found))
    return [one.message for one in store.alerts(service)]


def test_a_finished_run_is_recorded_with_the_seeds_names(store: StateStore, processes: ModuleType) -> None:
    store.begin(processes.execution("r1"))
    assert store.finish("r1", processes.outcome())
    found = store.execution("r1")
    assert found
    record = found.to_json()
    assert list(record)[:1] == ["serviceId"]
    expected = {
        "serviceId": "customers",
        "requestId": "q-7",
        "runId": "r1",
        "status": "success",
        "startedAt": "2026-03-01T09:00:00.000000+00:00",
        "completedAt": "2026-03-01T09:00:02.000000+00:00",
        "duration": 2000,
        "durationSeconds": 2.0,
        "guarantee": "exactly-once effect",
        "watermark": {"type": "int", "text": "41"},
        "error": None,
    }
    assert expected.items() <= record.items()
    assert record["metrics"] == {
        "recordsExtracted": 1000,
        "recordsTransformed": 899,
        "recordsLoaded": 899,
        "bytesProcessed": 3 * 1024**3,
        "errors": 0,
        "recordsFiltered": 0,
        "recordsRejected": 0,
        "recordsDeadLettered": 101,
        "recordsInserted": 500,
        "recordsUpdated": 300,
        "recordsUnchanged": 90,
        "recordsStale": 7,
        "recordsSuperseded": 2,
        "recordsDeleted": 40,
    }
    extract, transform, load = record["steps"]
    assert extract == {"phase": "extract", "success": True, "recordCount": 1000}
    assert {"id": "normalize", "success": True, "duration": 12, "recordsIn": 1000, "recordsOut": 899}.items() <= transform[
        "transformations"
    ][0].items()
    assert load == {"phase": "load", "success": True, "loaded": 899, "errors": 0, "method": "merge"}
    assert record["charge"]["amount"] == "3.00"


def test_events_hold_no_values_of_rows(store: StateStore, processes: ModuleType) -> None:
    for number, status in enumerate(("success", "failed")):
        store.begin(processes.execution(f"r{number}"))
        store.finish(f"r{number}", replace(processes.outcome(), status=status, charge=None))
        assert "secret" in str(store.steps(f"r{number}"))
    sent = [one.data for one in store.events() if one.type in ("ServiceResult.deliver", "ServiceRequest.fail")]
    assert len(sent) == 2
    assert all("'violated': 9" in str(one) and "'passed': 890" in str(one) for one in sent)
    assert not any("secret" in str(one) for one in sent)


def test_events_of_a_success_carry_the_seeds_data(store: StateStore, processes: ModuleType) -> None:
    store.begin(processes.execution("r1"))
    outcome = processes.outcome()
    store.finish("r1", outcome)
    created, deliver, charge, alert = store.events(run="r1")
    assert [one.type for one in (created, deliver, charge, alert)] == [
        "ServiceRequest.created",
        "ServiceResult.deliver",
        "Payment.charge",
        "Alert.create",
    ]
    assert created.data == {"requestId": "q-7", "serviceId": "customers", "customerId": "c-9", "runId": "r1"}
    assert deliver.data == {
        "requestId": "q-7",
        "outputs": {
            "success": True,
            "recordsProcessed": 899,
            "bytesProcessed": 3 * 1024**3,
            "duration": 2000,
            "steps": [without_rows(step.to_json()) for step in outcome.steps],
        },
    }
    assert charge.data == {"customerId": "c-9", "amount": "3.00", "currency": "USD", "description": "ETL Pipeline - 3.00 GB processed"}
    assert alert.data == {"severity": "high", "message": "Pipeline Customer Data ETL has 101 failures in last hour"}


@pytest.mark.parametrize("status", ["failed", "cancelled", "lost"])
def test_a_run_that_did_not_succeed_fails_its_request_and_is_not_charged(store: StateStore, processes: ModuleType, status: Any) -> None:
    store.begin(processes.execution("r1"))
    outcome = replace(processes.outcome(failures=1), status=status, error="the target is away", error_code="unreachable")
    assert store.finish("r1", outcome)
    assert store.charges() == []
    found = store.execution("r1")
    assert found
    assert (found.status, found.charge, found.error, found.error_code) == (status, None, "the target is away", "unreachable")
    (event,) = store.events(run="r1", type="ServiceRequest.fail")
    assert event.data == {
        "requestId": "q-7",
        "error": "the target is away",
        "execution": [without_rows(step.to_json()) for step in outcome.steps],
        "metrics": outcome.metrics.to_json(),
    }
    assert [one.type for one in store.events(run="r1")] == ["ServiceRequest.created", "ServiceRequest.fail"]
    assert [one.status for one in store.requests()] == ["failed"]


def test_a_run_ends_once_and_the_second_outcome_changes_nothing(store: StateStore, processes: ModuleType) -> None:
    store.begin(processes.execution("r1"))
    assert store.finish("r1", processes.outcome()) is True
    before = (store.execution("r1"), store.events(), store.charges(), store.metrics(), store.failed_records(), store.alerts())
    assert store.finish("r1", Outcome("failed", error="late")) is False
    assert before == (store.execution("r1"), store.events(), store.charges(), store.metrics(), store.failed_records(), store.alerts())


def test_an_unknown_run_cannot_be_ended(store: StateStore) -> None:
    with pytest.raises(FatalError, match="'r9'"):
        store.finish("r9", Outcome("success"))


def test_a_status_that_ends_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="'running'"):
        Outcome("running")  # type: ignore[arg-type]


def test_a_charge_is_kept_as_decimal_with_its_key(store: StateStore, processes: ModuleType) -> None:
    store.begin(processes.execution("r1"))
    outcome = processes.outcome()
    store.finish("r1", outcome)
    (charge,) = store.charges("customers")
    assert charge.amount == Decimal("3.00")
    assert (charge.currency, charge.customer, charge.request, charge.run) == ("USD", "c-9", "q-7", "r1")
    assert charge.key == hashlib.sha256(f"customers|r1|{outcome.charge.price_version}".encode()).hexdigest()
    assert charge.key == charge_key("customers", "r1", outcome.charge.price_version)
    assert charge.data == outcome.charge.to_json()


def test_metrics_are_rates_of_the_run(store: StateStore, clock: Any) -> None:
    store.begin(Execution("s", "r1", clock.now))
    store.finish("r1", Outcome("success", Metrics(200, 190, 180, 4096, 5), completed_at=clock.now + timedelta(milliseconds=1500)))
    (metric,) = store.metrics("s")
    assert metric.to_json()["metrics"] == {
        "recordsProcessed": 180,
        "bytesProcessed": 4096,
        "duration": 1500,
        "throughput": 120.0,
        "errorRate": 0.025,
    }


def test_rates_of_an_empty_run_are_unknown_and_not_zero(store: StateStore, clock: Any) -> None:
    store.begin(Execution("s", "r1", clock.now))
    store.finish("r1", Outcome("success"))
    (metric,) = store.metrics("s")
    assert (metric.duration, metric.throughput, metric.error_rate) == (0, None, None)


def test_a_clock_that_went_back_gives_no_negative_duration(store: StateStore, clock: Any) -> None:
    store.begin(Execution("s", "r1", clock.now))
    store.finish("r1", Outcome("success", completed_at=clock.now - timedelta(seconds=5)))
    found = store.execution("r1")
    assert found
    assert found.duration == 0


def test_counts_above_32_bits_are_kept(store: StateStore, clock: Any) -> None:
    store.begin(Execution("s", "r1", clock.now))
    store.finish("r1", Outcome("success", Metrics(10**12, bytes_processed=10**18)))
    found = store.execution("r1")
    assert found
    assert (found.metrics.records_extracted, found.metrics.bytes_processed) == (10**12, 10**18)


def test_a_message_of_any_kind_does_not_stop_the_record(store: StateStore, clock: Any) -> None:
    store.begin(Execution("s", "r1", clock.now))
    assert store.finish("r1", Outcome("failed", error="a\x00b\ud800" + "x" * 10_000))
    found = store.execution("r1")
    assert found
    assert found.error
    assert found.error.startswith("a\ufffdb?xxx")
    assert len(found.error) == 4000


# Watermarks.


def test_a_run_stores_the_watermark_of_each_table(store: StateStore, clock: Any) -> None:
    store.begin(Execution("s", "r1", clock.now))
    marks = (Watermark("s", "orders", "5", "f", 1, "r1"), Watermark("s", "customers", "9", "f", 1, "r1"))
    store.finish("r1", Outcome("success", watermarks=marks))
    assert [(one.table, one.value) for one in store.watermarks("s")] == [("customers", "9"), ("orders", "5")]
    found = store.execution("r1")
    assert found
    assert found.watermark == {"orders": "5", "customers": "9"}


def test_a_run_that_wakes_late_does_not_move_a_watermark_back(store: StateStore, clock: Any) -> None:
    for run in ("r1", "r2"):
        store.begin(Execution("s", run, clock.now))
    store.finish("r2", Outcome("success", watermarks=(Watermark("s", "t", "9", generation=2, run="r2"),)))
    store.finish("r1", Outcome("success", watermarks=(Watermark("s", "t", "5", generation=1, run="r1"),)))
    assert [(one.value, one.generation, one.run) for one in store.watermarks("s")] == [("9", 2, "r2")]


# The alert above 100 failures in an hour.


def test_100_failures_are_quiet_and_101_are_not(store: StateStore, clock: Any) -> None:
    assert run_with(store, clock, "r1", 100) == []
    assert run_with(store, clock, "r2", 1) == ["Pipeline Customer Data ETL has 101 failures in last hour"]


def test_an_alert_is_said_once_while_it_lasts(store: StateStore, clock: Any) -> None:
    assert len(run_with(store, clock, "r1", 150)) == 1
    clock.pass_(minutes=10)
    assert len(run_with(store, clock, "r2", 150)) == 1
    assert len(store.events(type="Alert.create")) == 1


def test_an_alert_is_said_again_an_hour_later_while_failures_go_on(store: StateStore, clock: Any) -> None:
    counts = []
    for number in range(8):  # every ten minutes 150 failures: at 0, 10, ... 70
        counts.append(len(run_with(store, clock, f"r{number}", 150)))
        clock.pass_(minutes=10)
    assert counts == [1, 1, 1, 1, 1, 1, 2, 2]


def test_an_alert_is_said_again_after_failures_fell_below(store: StateStore, clock: Any) -> None:
    assert len(run_with(store, clock, "r1", 90)) == 0
    clock.pass_(minutes=50)
    assert len(run_with(store, clock, "r2", 20)) == 1  # 110
    clock.pass_(minutes=15)  # the 90 have aged: 20 are left
    assert len(run_with(store, clock, "r3", 0)) == 1
    assert len(run_with(store, clock, "r4", 85)) == 2  # 105: 15 minutes after the first alert


def test_exactly_100_failures_count_as_fallen_below(store: StateStore, clock: Any) -> None:
    assert len(run_with(store, clock, "r1", 1)) == 0
    clock.pass_(minutes=50)
    assert len(run_with(store, clock, "r2", 100)) == 1  # 101
    clock.pass_(minutes=15)  # 100 are left
    assert len(run_with(store, clock, "r3", 1)) == 2


def test_failures_age_at_exactly_an_hour(store: StateStore, clock: Any) -> None:
    assert run_with(store, clock, "r1", 100) == []
    clock.pass_(hours=1)
    assert run_with(store, clock, "r2", 100) == []


def test_failures_of_another_service_do_not_count(store: StateStore, clock: Any) -> None:
    assert run_with(store, clock, "r1", 100, "a") == []
    assert run_with(store, clock, "r2", 100, "b") == []


def test_rolling_forward_an_old_run_raises_no_alert_today(store: StateStore, clock: Any) -> None:
    store.begin(Execution("s", "r1", clock.now))
    ended = clock.now + timedelta(minutes=1)
    clock.pass_(days=2)
    store.finish("r1", Outcome("success", completed_at=ended, failures=(Failure("a", "b", 500, "u"),)))
    assert store.alerts() == []


def test_an_incident_is_told_once_however_many_runs_meet_it(store: StateStore, clock: Any) -> None:
    stuck, other = Incident("ceiling: a", "process 7 holds rows back"), Incident("ceiling: b", "process 8 does", "high")
    for run, met in (("r1", (stuck,)), ("r2", (stuck, other)), ("r3", ())):
        store.begin(Execution("customers", run, clock.now, name="Customers"))
        assert store.finish(run, Outcome("failed", incidents=met))
        clock.pass_(hours=2)
    store.begin(Execution("orders", "o1", clock.now))
    store.finish("o1", Outcome("success", incidents=(stuck,)))
    told = [(one.run, one.severity, one.message, one.failures, one.incident) for one in store.alerts("customers")]
    assert told == [
        ("r1", "medium", "Pipeline Customers: process 7 holds rows back", 0, "ceiling: a"),
        ("r2", "high", "Pipeline Customers: process 8 does", 0, "ceiling: b"),
    ]
    assert [one.data for one in store.events("customers", type="Alert.create")] == [
        {"severity": severity, "message": message} for _, severity, message, _, _ in told
    ]
    assert [one.run for one in store.alerts("orders")] == ["o1"]


def test_an_incident_does_not_silence_the_alert_of_failures(store: StateStore, clock: Any) -> None:
    assert run_with(store, clock, "r1", 101) == ["Pipeline Customer Data ETL has 101 failures in last hour"]
    clock.pass_(minutes=50)
    store.begin(Execution("customers", "r2", clock.now))
    store.finish("r2", Outcome("success", incidents=(Incident("a", "held"),)))
    clock.pass_(minutes=5)
    run_with(store, clock, "r3", 60)
    clock.pass_(minutes=6)  # r1's alert is more than an hour ago, the incident is not
    assert run_with(store, clock, "r4", 60)[-1] == "Pipeline Customer Data ETL has 120 failures in last hour"


def test_the_files_of_a_batch_are_recorded_once_and_told_with_the_run_alone(store: StateStore, processes: ModuleType) -> None:
    store.begin(processes.execution("r1"))
    outcome = processes.batch_outcome()
    assert store.finish("r1", outcome)
    assert store.finish("r1", outcome) is False
    found = store.execution("r1")
    assert found is not None
    assert found.files == outcome.files
    (listed,) = store.executions()
    assert listed.files is not None
    assert (listed.files.told, replace(listed.files, told=outcome.files.told)) == (None, outcome.files)
    progress, deliver = (
        event.data for event in store.events(run="r1") if event.type in ("PipelineProgress.updated", "ServiceResult.deliver")
    )
    whole = 4 * 1024**3
    assert progress == {
        "requestId": "q-7",
        "phase": "commit",
        "status": "completed",
        "recordCount": 1000,
        "processedBytes": whole,
        "totalBytes": whole,
        "progress": 1.0,
    }
    told = {"filesProcessed": 2, "totalRecords": 899, "totalBytes": 3 * 1024**3}
    assert told.items() <= deliver["outputs"].items()


def test_a_batch_that_failed_is_not_told_to_be_all_done(store: StateStore, processes: ModuleType) -> None:
    store.begin(processes.execution("r1"))
    assert store.finish("r1", replace(processes.batch_outcome(), status="failed"))
    assert [event.type for event in store.events(run="r1") if event.type == "PipelineProgress.updated"] == []
