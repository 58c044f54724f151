"""Processes that die, race and stand in each other's way; whatever happens, a run ends exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

from beam_pipelines.state import PhaseProgress, StateStore


def trace(store: StateStore, run: str) -> dict[str, Any]:
    """All that the end of a run leaves in the store; run and service have the same name here."""
    return {
        "charges": [(one.amount, one.currency) for one in store.charges(run)],
        "events": [(one.sequence, one.type) for one in store.events(run=run)],
        "metrics": len([one for one in store.metrics(run, limit=None) if one.run == run]),
        "failures": [one.count for one in store.failed_records(run=run)],
        "alerts": [one.message for one in store.alerts(run)],
        "watermarks": [one.value for one in store.watermarks(run)],
        "steps": [one.phase for one in store.steps(run)],
        "quality": [(one.step, one.total, one.failed, one.status) for one in store.quality_history(run)],
        "requests": [one.status for one in store.requests(run)],
        "files": files_of(store, run),
    }


def files_of(store: StateStore, run: str) -> tuple[Any, ...] | None:
    execution = store.execution(run)
    assert execution is not None
    files = execution.files
    return None if files is None else (files.processed, files.failed, *(file["file"] for file in files.told or ()))


BEGUN = {
    "charges": [],
    "events": [(1, "ServiceRequest.created")],
    "metrics": 0,
    "failures": [],
    "alerts": [],
    "watermarks": [],
    "steps": [],
    "quality": [],
    "requests": ["created"],
    "files": None,
}


def ended(charge: Any) -> dict[str, Any]:
    return {
        "charges": [charge],
        "events": [(1, "ServiceRequest.created"), (2, "ServiceResult.deliver"), (3, "Payment.charge"), (4, "Alert.create")],
        "metrics": 1,
        "failures": [101],
        "alerts": ["Pipeline Customer Data ETL has 101 failures in last hour"],
        "watermarks": [{"type": "int", "text": "41"}],
        "steps": ["extract", "transform", "load"],
        "quality": [("check", 899, 9, "success")],
        "requests": ["delivered"],
        "files": None,
    }


def ended_batch(charge: Any) -> dict[str, Any]:
    told = ["ServiceRequest.created", "PipelineProgress.updated", "ServiceResult.deliver", "Payment.charge", "Alert.create"]
    return {**ended(charge), "events": list(enumerate(told, 1)), "files": (2, 1, "bad.csv", "a.csv", "b.csv")}


def test_a_process_killed_at_any_statement_of_finish_leaves_all_or_nothing(
    store_url: str, open_store: Callable[..., StateStore], child: Callable[..., Any], processes: ModuleType
) -> None:
    died = json.loads(child("kill", store_url).end())
    store = open_store(store_url, clock=processes.clock)
    charge = (processes.outcome().charge.amount, "USD")
    points = [point for point in died.values() if point.startswith("statement")]
    assert len(points) >= 15  # each write of finish, and the reads between
    for run, point in died.items():
        done = point == "after commit"
        found = store.execution(run)
        assert found, point
        assert found.status == ("success" if done else "running"), point
        assert trace(store, run) == (ended_batch(charge) if done else BEGUN), point
        assert store.finish(run, processes.batch_outcome(run)) is not done, point
        assert store.finish(run, processes.batch_outcome(run)) is False, point
        assert trace(store, run) == ended_batch(charge), point


def test_of_two_processes_that_finish_a_run_at_once_one_does(
    store_url: str, open_store: Callable[..., StateStore], child: Callable[..., Any], processes: ModuleType
) -> None:
    store = open_store(store_url, clock=processes.clock)
    children = [child("finish", store_url) for _ in range(2)]
    assert [one.hear() for one in children] == ["ready", "ready"]
    for number in range(20):
        run = f"run-{number}"
        store.begin(processes.execution(run, run))
        for one in children:
            one.say(run)
        assert sorted(one.hear() for one in children) == ["False", "True"]
        assert trace(store, run) == ended((processes.outcome().charge.amount, "USD"))


def test_threads_share_a_store(store_url: str, open_store: Callable[..., StateStore], processes: ModuleType) -> None:
    from concurrent.futures import ThreadPoolExecutor

    store = open_store(store_url, clock=processes.clock)
    store.begin(processes.execution("r1"))

    def work(number: int) -> bool:
        return store.progress("r1", PhaseProgress(f"phase-{number % 4}", "running", number))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(40)))
    events = store.events(run="r1", type="PipelineProgress.updated")
    assert sorted(one.data["phase"] for one in events) == ["phase-0", "phase-1", "phase-2", "phase-3"]
    assert len({one.sequence for one in store.events(run="r1")}) == 5
