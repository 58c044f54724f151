from __future__ import annotations

from datetime import timedelta
from types import ModuleType
from typing import Any

from beam_pipelines.state import Advance, Execution, Failure, Metrics, Outcome, PhaseProgress, StateStore, Watermark

DAY = timedelta(days=1)


def end(store: StateStore, clock: Any, run: str, service: str = "customers", letters: tuple[int, ...] = (2, 3)) -> None:
    store.begin(Execution(service, run, clock.now))
    failures = tuple(Failure(f"step-{n}", "cast-failed", count, f"/letters/{service}/{run}.jsonl") for n, count in enumerate(letters))
    assert store.finish(run, Outcome("success", failures=failures))


def test_letters_are_found_by_the_age_of_their_run(store: StateStore, clock: Any) -> None:
    end(store, clock, "r1")
    clock.pass_(days=2)
    end(store, clock, "r2")
    end(store, clock, "r3", letters=())
    clock.pass_(hours=1)
    assert store.letters_older_than("customers", DAY) == {"r1": ["/letters/customers/r1.jsonl"]}
    assert list(store.letters_older_than("customers", None)) == ["r1", "r2"]
    assert store.letters_older_than("customers", timedelta(days=3)) == {}
    assert store.letters_older_than("orders", None) == {}


def test_a_run_out_of_the_index_keeps_its_record(store: StateStore, clock: Any) -> None:
    end(store, clock, "r1")
    end(store, clock, "r2")
    end(store, clock, "o1", service="orders")
    assert store.forget_failed_records("customers", ["r1", "o1", "unknown"]) == 5
    assert [(one.run, one.count) for one in store.failed_records("customers")] == [("r2", 2), ("r2", 3)]
    assert len(store.failed_records("orders")) == 2
    assert store.forget_failed_records("customers", ["r1"]) == 0
    assert {one.run for one in store.executions("customers")} == {"r1", "r2"}


def test_many_runs_are_forgotten_at_once(store: StateStore, clock: Any) -> None:
    end(store, clock, "r1")
    assert store.forget_failed_records("customers", [f"x{n}" for n in range(1200)] + ["r1"]) == 5


def test_old_events_go_delivered_or_not_and_those_of_runs_at_work_stay(store: StateStore, clock: Any, processes: ModuleType) -> None:
    end(store, clock, "r1", letters=())
    end(store, clock, "o1", service="orders", letters=())
    store.begin(Execution("customers", "r2", clock.now))
    store.mark_delivered([store.events(run="r1")[0].id])
    clock.pass_(days=2)
    end(store, clock, "r3", letters=())
    # ServiceRequest.created and ServiceResult.deliver of r1, one of which nobody had fetched.
    assert store.forget_events("customers", DAY) == (2, 1)
    assert sorted({one.run for one in store.events()}) == ["o1", "r2", "r3"]
    assert store.forget_events("customers", DAY) == (0, 0)
    # The numbers of a run go on where they were.
    store.progress("r2", PhaseProgress("extract", "running"))
    assert [one.sequence for one in store.events(run="r2")] == [1, 2]


def drain(store: StateStore, clock: Any, generation: int) -> None:
    failures = (Failure("extract", "decode-failed", generation, f"/letters/clicks/d{generation}.jsonl"),)
    watermark = Watermark("clicks", "w", None, "f", generation, f"d{generation}")
    assert store.advance("s1", Advance(f"d{generation}", generation, "w", clock.now, Metrics(), (), failures, watermark, 1))


def test_a_stream_that_runs_for_days_loses_old_letters_drain_by_drain(store: StateStore, clock: Any) -> None:
    store.begin(Execution("clicks", "s1", clock.now, kind="stream"))
    for generation in (1, 2, 3):
        drain(store, clock, generation)
        clock.pass_(days=1)
    assert store.letters_older_than("clicks", 2 * DAY) == {"d1": ["/letters/clicks/d1.jsonl"]}
    assert list(store.letters_older_than("clicks", None)) == ["d1", "d2", "d3"]
    assert store.forget_failed_records("clicks", ["d1", "s1"]) == 1
    assert sorted(one.count for one in store.failed_records(run="s1")) == [2, 3]
    store.finish("s1", Outcome("success"))
    assert store.forget_failed_records("clicks", ["d2", "d3"]) == 5


def test_letters_that_all_went_do_not_stop_the_numbers_of_those_to_come(store: StateStore, clock: Any) -> None:
    store.begin(Execution("clicks", "s1", clock.now, kind="stream"))
    drain(store, clock, 1)
    store.forget_failed_records("clicks", ["d1"])
    drain(store, clock, 2)
    assert [(one.position, one.drain) for one in store.failed_records("clicks")] == [(0, "d2")]


def test_old_events_of_a_stream_go_while_it_runs(store: StateStore, clock: Any) -> None:
    store.begin(Execution("clicks", "s1", clock.now, kind="stream"))
    store.begin(Execution("clicks", "r1", clock.now))
    drain(store, clock, 1)
    store.mark_delivered([store.events(run="s1")[0].id])
    clock.pass_(days=2)
    drain(store, clock, 2)
    # ServiceRequest.created was fetched; the progress of long ago was replaced by that of now.
    assert store.forget_events("clicks", DAY) == (1, 0)
    assert [(one.run, one.type, one.sequence) for one in store.events("clicks")] == [
        ("r1", "ServiceRequest.created", 1),
        ("s1", "PipelineProgress.updated", 3),
    ]
    clock.pass_(days=2)
    assert store.forget_events("clicks", DAY) == (1, 1)
    drain(store, clock, 3)
    assert [one.sequence for one in store.events(run="s1")] == [4]
