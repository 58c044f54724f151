"""A stream is one execution in which many drains commit; each is added once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from beam_pipelines.errors import FatalError
from beam_pipelines.state import (
    Advance,
    Execution,
    Failure,
    Incident,
    Metrics,
    Outcome,
    StateStore,
    Step,
    Transformation,
    Watermark,
)

SERVICE, RUN, LOAD = "clicks", "5e5510000001", "windows"


def begin(store: StateStore, clock: Any, run: str = RUN, **more: Any) -> None:
    told = {"name": "Clicks", "kind": "stream", "request": "q-7", "customer": "c-9"} | more
    store.begin(Execution(SERVICE, run, clock.now, **told))


def drained(clock: Any, generation: int, events: int = 10, failures: int = 0, **more: Any) -> Advance:
    """A drain that read so many events, one of which its first step dropped, and the others stand in one window."""
    steps = (
        Step("extract", record_count=events, errors=failures, duration=100),
        Step("transform", record_count=1, transformations=(Transformation("known", True, 7, events, events - 1, records_filtered=1),)),
        Step("load", record_count=1, loaded=1, errors=0, method="merge", duration=20),
    )
    found = (Failure("extract", "decode-failed", failures, f"/letters/{SERVICE}/d{generation}.jsonl"),) if failures else ()
    values = {
        "drain": f"d{generation}",
        "generation": generation,
        "load": LOAD,
        "committed_at": clock.now,
        "metrics": Metrics(events, 1, 1, 100 * events, failures, 1, 0, failures, 1),
        "steps": steps,
        "failures": found,
        "watermark": Watermark(SERVICE, LOAD, {"type": "offsets", "text": f"{generation}"}, "f", generation, f"d{generation}"),
        "events": events,
        "live": {"eventsPerSecond": 2.5, "lag": {"0": 3}, "openWindows": generation, "late": 1, "windowsWritten": 2},
    }
    return Advance(**{**values, **more})


def everything(store: StateStore) -> Any:
    return (
        [replace(one, charges=None) for one in store.executions()],
        store.events(),
        store.failed_records(),
        store.watermarks(SERVICE),
        store.alerts(),
        store.hours(),
        store.charges(),
        store.metrics(),
    )


def alerts(store: StateStore) -> list[tuple[str, str]]:
    return [(one.severity, one.message) for one in store.alerts(SERVICE)]


def test_drains_add_up_in_the_record_of_their_stream(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    assert store.advance(RUN, drained(clock, 1, events=10))
    clock.pass_(seconds=4)
    assert store.advance(RUN, drained(clock, 2, events=30, failures=2, live={"lag": {"0": 0, "1": 9}, "late": 4}))
    found = store.execution(RUN)
    assert found
    assert found.metrics == Metrics(40, 2, 2, 4000, 2, 2, 0, 2, 2)
    assert (found.status, found.completed_at, found.watermark) == ("running", None, {"type": "offsets", "text": "2"})
    extract, transform, load = found.steps
    assert extract == Step("extract", record_count=40, errors=2, duration=200)
    assert transform.transformations == (Transformation("known", True, 14, 40, 38, records_filtered=2),)
    assert load == Step("load", record_count=2, loaded=2, errors=0, method="merge", duration=40)
    assert found.live == {
        "eventsPerSecond": 2.5,
        "lag": {"0": 0, "1": 9},
        "openWindows": 1,
        "late": 5,
        "windowsWritten": 2,
        "updatedAt": "2026-03-01T09:00:04.000000+00:00",
    }
    assert [(one.generation, one.run) for one in store.watermarks(SERVICE)] == [(2, "d2")]
    assert [(one.events, one.hour.hour, one.run) for one in store.hours(SERVICE)] == [(40, 9, RUN)]


def test_a_drain_told_again_changes_nothing(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    for generation in (1, 2):
        assert store.advance(RUN, drained(clock, generation, failures=60)) is True
    before = everything(store)
    for generation in (2, 1, 2):
        assert store.advance(RUN, drained(clock, generation, failures=60)) is False
    assert everything(store) == before


def test_a_drain_is_told_once_of_two_executions(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    store.advance(RUN, drained(clock, 1))
    begin(store, clock, "5e5510000002")
    assert store.advance("5e5510000002", drained(clock, 1)) is False
    assert store.advance("5e5510000002", drained(clock, 2)) is True


def test_a_watermark_moved_by_hand_neither_hides_a_drain_nor_lets_one_in_twice(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    store.advance(RUN, drained(clock, 1))
    store.set_watermark(Watermark(SERVICE, LOAD, {"type": "offsets", "text": "by hand"}, "f", 3))
    assert store.advance(RUN, drained(clock, 2)) is True  # it had committed, and died before it was told
    assert [(one.generation, one.value["text"]) for one in store.watermarks(SERVICE)] == [(3, "by hand")]
    store.clear_watermark(SERVICE)
    assert store.advance(RUN, drained(clock, 2)) is False


def test_the_end_of_a_stream_adds_nothing_and_tells_the_sums(store: StateStore, clock: Any, processes: Any) -> None:
    begin(store, clock)
    for generation in (1, 2):
        store.advance(RUN, drained(clock, generation, failures=1))
    standing = store.execution(RUN)
    assert standing
    clock.pass_(seconds=8)
    outcome = replace(processes.outcome(SERVICE), completed_at=clock.now)
    assert store.finish(RUN, outcome) is True
    assert store.finish(RUN, outcome) is False
    found = store.execution(RUN)
    assert found
    assert (found.status, found.duration) == ("success", 8000)
    assert (found.metrics, found.steps, found.watermark, found.live) == (
        standing.metrics,
        standing.steps,
        standing.watermark,
        standing.live,
    )
    assert (found.charge, store.charges()) == (None, [])
    assert [one.position for one in store.failed_records(run=RUN)] == [0, 1]
    assert [one.table for one in store.watermarks(SERVICE)] == [LOAD]
    (metric,) = store.metrics(SERVICE)
    assert (metric.records_processed, metric.throughput, metric.error_rate) == (2, 0.25, 0.1)
    (deliver,) = store.events(run=RUN, type="ServiceResult.deliver")
    assert deliver.data["outputs"]["recordsProcessed"] == 2
    assert deliver.data["outputs"]["steps"] == [step.to_json() for step in standing.steps]


def test_a_stream_that_failed_tells_what_it_had_done(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    store.advance(RUN, drained(clock, 1))
    store.finish(RUN, Outcome("failed", error="the broker is away", error_code="unreachable"))
    (event,) = store.events(run=RUN, type="ServiceRequest.fail")
    assert event.data["metrics"]["recordsExtracted"] == 10
    assert len(event.data["execution"]) == 3


def test_a_commit_of_a_stream_that_was_given_up_is_counted_all_the_same(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    clock.pass_(seconds=5)
    store.finish(RUN, Outcome("lost"))
    told = store.events()
    assert store.advance(RUN, drained(clock, 1))
    found = store.execution(RUN)
    assert found
    assert (found.status, found.metrics.records_loaded) == ("lost", 1)
    assert [(one.records_processed, one.throughput) for one in store.metrics(SERVICE)] == [(1, 0.2)]
    assert store.events() == told
    assert [one.events for one in store.hours(SERVICE)] == [10]


def test_only_streams_advance(store: StateStore, clock: Any) -> None:
    begin(store, clock, kind="etl")
    with pytest.raises(ValueError, match="of etl service"):
        store.advance(RUN, drained(clock, 1))
    with pytest.raises(FatalError, match="'r9'"):
        store.advance("r9", drained(clock, 1))
    begin(store, clock, "5e5510000002")
    other = Watermark("orders", LOAD, None, generation=1)
    with pytest.raises(ValueError, match="'orders'"):
        store.advance("5e5510000002", drained(clock, 1, watermark=other))
    with pytest.raises(ValueError, match="at generation 2"):
        replace(drained(clock, 1), generation=2)
    with pytest.raises(ValueError, match="0 events"):
        drained(clock, 1, events=-1)


# What is told of it.


def test_progress_is_told_every_ten_seconds_with_how_the_stream_stands(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    delivered: list[Any] = []
    for generation in range(1, 26):  # a second apart
        store.advance(RUN, drained(clock, generation))
        fresh = store.events(run=RUN, type="PipelineProgress.updated", undelivered=True)
        store.mark_delivered([one.id for one in fresh])
        delivered += fresh
        clock.pass_(seconds=1)
    assert [one.data["recordCount"] for one in delivered] == [10, 110, 210]
    assert delivered[-1].data == {
        "requestId": "q-7",
        "phase": "stream",
        "status": "running",
        "recordCount": 210,
        "processedBytes": 21_000,
        "eventsPerSecond": 2.5,
        "lag": {"0": 3},
        "openWindows": 21,
        "late": 21,
        "windowsWritten": 42,
        "updatedAt": "2026-03-01T09:00:20.000000+00:00",
    }


def test_dead_letters_of_drains_are_numbered_on(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    for generation in (1, 2):
        store.advance(RUN, drained(clock, generation, failures=generation))
        clock.pass_(seconds=1)
    told = [(one.position, one.count, one.drain, one.url) for one in store.failed_records(run=RUN)]
    assert told == [(1, 2, "d2", "/letters/clicks/d2.jsonl"), (0, 1, "d1", "/letters/clicks/d1.jsonl")]
    assert store.failed_records(run=RUN)[0].to_json()["drainId"] == "d2"


def test_too_many_failures_are_told_once_and_that_they_are_over_once(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    many = ("high", "Pipeline Clicks has 120 failures in last hour")
    over = ("info", "Pipeline Clicks has recovered: 60 failures in last hour")
    store.advance(RUN, drained(clock, 1, failures=60))
    assert alerts(store) == []
    clock.pass_(minutes=30)
    store.advance(RUN, drained(clock, 2, failures=60))
    assert alerts(store) == [many]
    clock.pass_(minutes=10)
    store.advance(RUN, drained(clock, 3))
    store.touch_hour(RUN)
    assert alerts(store) == [many]
    clock.pass_(minutes=20)  # the first 60 have aged; no message comes
    for _ in range(3):
        store.touch_hour(RUN)
        clock.pass_(minutes=1)
    assert alerts(store) == [many, over]
    assert [(one.data["severity"], one.data["message"]) for one in store.events(type="Alert.create")] == [many, over]
    store.advance(RUN, drained(clock, 4, failures=41))
    assert alerts(store) == [many, over, ("high", "Pipeline Clicks has 101 failures in last hour")]


def test_a_stream_that_goes_on_failing_is_told_of_once_however_long(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    for generation in range(1, 20):
        store.advance(RUN, drained(clock, generation, failures=150))
        clock.pass_(minutes=10)
    assert len(alerts(store)) == 1


def test_failures_that_fell_and_rose_between_two_drains_are_told_as_that(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    store.advance(RUN, drained(clock, 1, failures=150))
    clock.pass_(hours=2)
    store.advance(RUN, drained(clock, 2, failures=150))
    store.touch_hour(RUN)
    assert [one.data["severity"] for one in store.events(type="Alert.create")] == ["high", "info", "high"]
    assert len(alerts(store)) == 3


def test_rolling_forward_an_old_drain_raises_no_alert_today(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    old = drained(clock, 1, failures=500)
    clock.pass_(days=2)
    store.advance(RUN, old)
    assert alerts(store) == []


def test_an_incident_of_a_drain_is_told_once(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    for generation in (1, 2):
        store.advance(RUN, drained(clock, generation, incidents=(Incident("idle: 3", "partition 3 is silent"),)))
    assert alerts(store) == [("medium", "Pipeline Clicks: partition 3 is silent")]


def test_what_rules_came_to_is_added_up_and_kept_with_the_history_once(store: StateStore, clock: Any) -> None:
    def check(violated: int, value: str) -> tuple[Step, ...]:
        rule = {"rule": "once", "type": "range", "evaluated": 10, "violated": violated, "notEvaluated": 1, "ruleErrors": 0}
        examples = [{"rule": "once", "value": value}] * 3
        told = {"total": 11, "passed": 11 - violated, "failed": violated, "warnings": 0, "examples": examples}
        return (Step("transform", record_count=11, transformations=(Transformation("check", rules=(rule,), quality=told),)),)

    begin(store, clock)
    store.advance(RUN, drained(clock, 1, steps=check(3, "a")))
    store.advance(RUN, drained(clock, 2, steps=check(4, "b")))
    (step,) = store.steps(RUN)
    (one,) = step.transformations
    assert one.rules == ({"rule": "once", "type": "range", "evaluated": 20, "violated": 7, "notEvaluated": 2, "ruleErrors": 0},)
    assert one.quality
    assert [one.quality[name] for name in ("total", "passed", "failed", "warnings")] == [22, 15, 7, 0]
    assert [example["value"] for example in one.quality["examples"]] == ["a", "a", "a", "b", "b"]
    assert store.quality_history(SERVICE) == []
    store.finish(RUN, Outcome("cancelled"))
    assert [(found.total, found.failed, found.status) for found in store.quality_history(SERVICE)] == [(22, 7, "cancelled")]


def test_a_step_that_failed_once_has_failed_and_says_why_first(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    for generation, error in enumerate([None, "first", "second", None], 1):
        one = Transformation("known", error is None, records_in=1, error=error)
        store.advance(RUN, drained(clock, generation, steps=(Step("transform", error is None, 1, (one,)),)))
    (step,) = store.steps(RUN)
    assert (step.success, step.record_count) == (False, 4)
    assert [(one.success, one.error, one.records_in) for one in step.transformations] == [(False, "first", 4)]


def test_a_stream_counts_as_a_run_that_has_not_ended(store: StateStore, clock: Any) -> None:
    begin(store, clock)
    store.advance(RUN, drained(clock, 1))
    (found,) = store.unfinished(SERVICE)
    assert (found.run, found.kind, found.metrics.records_extracted) == (RUN, "stream", 10)
    clock.pass_(minutes=1)
    store.finish(RUN, Outcome("success"))
    assert store.unfinished(SERVICE) == []
