"""What a run tells while it goes on and when it ends: progress, the outbox's events with the seed's names, the alert, the metrics row."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from beam_pipelines.engine import launch
from beam_pipelines.errors import FatalError

Desk = Any

QUERY = {"query": "SELECT * FROM people WHERE updated_at > ?", "incremental": True}
PRICE = {"model": "per-record", "rate": "0.01", "minimumCharge": "1.00"}


def events(desk: Desk, run: str) -> list[dict[str, Any]]:
    with desk.store() as store:
        return [event.to_json() for event in store.events("desk", run=run)]


def test_a_run_that_succeeds_tells_the_seeds_story_in_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch._PhaseEvents, "_EVERY", 3600.0)  # on a busy machine a phase is told again, in the place of what was told
    desk.people(1, 200, bad=3)
    desk.etl(QUERY, {"table": "people", "mode": "upsert"}, pricing=PRICE)
    record = desk.ran(customer="acme", request="r-17")
    told = events(desk, record["runId"])
    kinds = [event["type"] for event in told]
    assert kinds[0] == "ServiceRequest.created"
    assert kinds[-2:] == ["ServiceResult.deliver", "Payment.charge"]
    assert set(kinds[1:-2]) == {"PipelineProgress.updated"}
    assert [event["sequence"] for event in told] == [f"{n:010d}" for n in range(1, len(told) + 1)]
    assert len({event["id"] for event in told}) == len(told)
    created, deliver, charge = told[0]["data"], told[-2]["data"], told[-1]["data"]
    assert created == {"requestId": "r-17", "serviceId": "desk", "customerId": "acme", "runId": record["runId"]}
    outputs = deliver["outputs"]
    assert (deliver["requestId"], outputs["success"], outputs["recordsProcessed"]) == ("r-17", True, 197)
    assert outputs["bytesProcessed"] == record["metrics"]["bytesProcessed"]
    assert outputs["duration"] == record["duration"]
    assert [step["phase"] for step in outputs["steps"]] == ["extract", "transform", "load"]
    assert outputs["steps"] == record["steps"]
    # 200 records at 0.01.
    assert charge == {"customerId": "acme", "amount": "2.00", "currency": "USD", "description": "ETL Pipeline - 200 records processed"}
    phases = [event["data"]["phase"] for event in told if event["type"] == "PipelineProgress.updated"]
    assert phases == sorted(phases, key=["prepare", "extract", "transform", "load", "commit"].index)
    assert {"extract", "load"} <= set(phases)
    for event in told[1:-2]:
        assert (event["data"]["requestId"], event["data"]["status"]) == ("r-17", "running")
    assert {"specversion": "1.0", "source": "/services/desk", "subject": f"runs/{record['runId']}"}.items() <= told[0].items()


def test_a_run_that_fails_tells_why_and_charges_nothing(desk: Desk) -> None:
    desk.people(1, 20, bad=5)
    desk.etl(QUERY, {"table": "people", "mode": "upsert"}, pricing=PRICE, errorBudget={"max": 4})
    failed = desk.run(request="r-18")
    assert failed.exit_code == 1
    told = events(desk, failed.execution.run)
    assert [event["type"] for event in told if "Progress" not in event["type"]] == ["ServiceRequest.created", "ServiceRequest.fail"]
    data = told[-1]["data"]
    assert set(data) == {"requestId", "error", "execution", "metrics"}
    assert data["requestId"] == "r-18"
    assert "5 of 20 rows failed, the error budget allows 4" in data["error"]
    assert {"recordsExtracted": 20, "recordsLoaded": 0, "errors": 5}.items() <= data["metrics"].items()
    assert [(step["phase"], step["success"]) for step in data["execution"]] == [("extract", True), ("transform", True), ("load", False)]
    with desk.store() as store:
        assert store.charges("desk") == []


def test_the_alert_comes_once_when_the_failures_of_the_hour_pass_a_hundred(desk: Desk) -> None:
    desk.etl(QUERY, {"table": "people", "mode": "upsert"}, errorBudget={"max": "100%"})
    alerts = []
    for number, bad in enumerate((60, 40, 1, 30)):
        desk.people(1 + 100 * number, 100 + 100 * number, bad=bad, seconds_ago=1000 - 200 * number)
        record = desk.ran()
        alerts.append([event["data"] for event in events(desk, record["runId"]) if event["type"] == "Alert.create"])
    # 60, 100 (not above), 101 (above: alert), 131 (still above: told already).
    assert alerts == [[], [], [{"severity": "high", "message": "Pipeline Desk has 101 failures in last hour"}], []]
    with desk.store() as store:
        assert [alert.failures for alert in store.alerts("desk")] == [101]


def test_every_run_leaves_one_row_of_metrics(desk: Desk) -> None:
    desk.people(1, 100, bad=10)
    desk.etl(QUERY, {"table": "people", "mode": "upsert"})
    first, second = desk.ran(), desk.ran()
    with desk.store() as store:
        empty, full = store.metrics("desk")
    assert (full.run, full.records_processed, full.error_rate) == (first["runId"], 90, 0.1)
    assert full.bytes_processed == first["metrics"]["bytesProcessed"] > 0
    assert full.duration == first["duration"]
    assert Decimal(str(full.throughput)).quantize(Decimal("0.001")) == Decimal(str(90 / (first["duration"] / 1000))).quantize(
        Decimal("0.001")
    )
    assert (empty.run, empty.records_processed, empty.error_rate) == (second["runId"], 0, None)


def test_progress_adds_up_to_what_was_read_whatever_the_phase(desk: Desk) -> None:
    desk.people(1, 30_000)
    steps = [{"id": "older", "type": "filter", "condition": "age > 10000"}]
    desk.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps)
    heard: list[tuple[str, dict[str, int], int]] = []
    result = desk.run(listener=lambda progress: heard.append((progress.phase, dict(progress.rows), progress.bytes)))
    assert result.exit_code == 0
    last = heard[-1]
    times = 2 if desk.options else 1  # progress is of work done, and a bundle that is executed again is work; the record has each row once
    assert {"extract": 30_000 * times, "older": 20_000 * times, "load": 20_000 * times}.items() <= last[1].items()
    assert last[2] == result.to_json()["metrics"]["bytesProcessed"] * times
    assert result.to_json()["metrics"]["recordsExtracted"] == 30_000
    assert [rows.get("extract", 0) for _, rows, _ in heard] == sorted(rows.get("extract", 0) for _, rows, _ in heard)


def test_a_listener_that_breaks_does_not_break_the_run(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.people(1, 10)
    desk.etl({"table": "people"}, {"table": "people", "mode": "insert"})

    def broken(progress: Any) -> None:
        raise FatalError("the screen is gone")

    result = desk.run(listener=broken)
    assert result.exit_code == 0
    assert [record.message for record in caplog.records if "listener" in record.message] == [
        "the listener of the progress failed: FatalError: the screen is gone"
    ]
    assert "PipelineProgress.updated" in [event["type"] for event in events(desk, result.execution.run)]
    assert desk.duckdb("target.duckdb", "SELECT count(*) FROM people") == [(10,)]


@pytest.mark.parametrize("customer", [None, "acme"])
def test_without_a_price_nothing_is_charged(desk: Desk, customer: str | None) -> None:
    desk.people(1, 10)
    desk.etl({"table": "people"}, {"table": "people", "mode": "insert"})
    record = desk.ran(customer=customer)
    assert record["charge"] is None
    assert "Payment.charge" not in [event["type"] for event in events(desk, record["runId"])]


def test_what_is_older_than_the_retention_goes_at_the_end_of_the_next_run(desk: Desk) -> None:
    desk.people(1, 20, bad=2)
    desk.etl(QUERY, {"table": "people", "mode": "upsert"}, retention={"deadLetters": "30d", "events": "30d"})
    first = desk.ran()["runId"]
    assert len(desk.letters()) == 2
    then = "2026-01-01T00:00:00.000000+00:00"
    desk.sqlite(".beam_pipelines/state.db", f"UPDATE failed_records SET timestamp = '{then}'", f"UPDATE events SET time = '{then}'")
    desk.people(21, 30, bad=1, seconds_ago=500)
    second = desk.ran()["runId"]
    assert [letter["runId"] for letter in desk.letters()] == [second]
    with desk.store() as store:
        assert {one.run for one in store.failed_records()} == {second}
        assert {one.run for one in store.events()} == {second}
        assert [one.metrics.records_dead_lettered for one in store.executions()] == [1, 2]
        assert store.execution(first) is not None


def test_the_record_says_what_became_of_the_loaded_rows(desk: Desk) -> None:
    """Ten people, two of whom change and two of whom are only read again; then the whole table is replaced."""

    def merged(record: dict[str, Any]) -> dict[str, int]:
        kinds = ("Inserted", "Updated", "Unchanged", "Stale", "Superseded", "Deleted")
        return {kind: record["metrics"][f"records{kind}"] for kind in kinds if record["metrics"][f"records{kind}"]}

    desk.people(1, 10)
    cursor = {"table": "people", "cursor": {"column": "updated_at", "stampedBy": "client", "overlap": "10s"}}
    desk.etl(cursor, {"table": "people", "mode": "upsert"})
    assert merged(desk.ran()) == {"Inserted": 10}
    desk.sqlite("source.db", "UPDATE people SET age = 99, updated_at = datetime('now', '-500 seconds') WHERE id < 3")
    # The eight others stand above the watermark less the overlap.
    record = desk.ran()
    assert merged(record) == {"Updated": 2, "Unchanged": 8}
    assert record["metrics"]["recordsLoaded"] == 10
    desk.etl({"table": "people"}, {"table": "people", "mode": "replace"})
    assert merged(desk.ran(keep_watermark=True)) == {"Inserted": 10, "Deleted": 10}
    with desk.store() as store:
        assert [merged(one.to_json()) for one in store.executions()][-1] == {"Inserted": 10}


def test_a_run_is_committing_from_the_moment_its_commit_begins(desk: Desk) -> None:
    desk.people(1, 100)
    desk.etl(QUERY, {"table": "people", "mode": "upsert"})
    seen: list[tuple[str, str]] = []

    def look(progress: Any) -> None:
        with desk.store() as store:
            seen.append((progress.phase, store.executions("desk")[0].status))

    result = desk.run(listener=look)
    assert dict(seen)["commit"] == "committing"
    assert {status for phase, status in seen if phase != "commit"} == {"running"}
    assert result.execution.status == "success"
