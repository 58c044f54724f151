"""The history of quality: written with the end of a run, read newest first, forgotten in its time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from beam_pipelines.state import Execution, Outcome, StateStore, Step, Transformation
from beam_pipelines.state.history import KEPT_RUNS

DAY = timedelta(days=1)


def checked(step: str, failed: int, table: str | None = None, **more: Any) -> Step:
    quality = {"total": 100, "passed": 100 - failed, "failed": failed, "warnings": 2, **more}
    rule = {"rule": "once", "evaluated": 100, "violated": failed, "notEvaluated": 0, "ruleErrors": 0}
    return Step("transform", table=table, transformations=(Transformation(step, rules=(rule,), quality=quality),))


def ran(store: StateStore, clock: Any, run: str, *steps: Step, status: Any = "success", service: str = "checker") -> None:
    """One run that ends a day after the one before."""
    store.begin(Execution(service, run, clock.now))
    clock.pass_(days=1)
    assert store.finish(run, Outcome(status, steps=(Step("extract"), *steps, Step("load"))))


def test_a_run_leaves_a_row_for_each_step_of_rules_and_load(store: StateStore, clock: Any) -> None:
    ran(store, clock, "r1", checked("rules", 3, "people", profile={"rows": 100, "columns": {}}, examples=[{"value": "x"}]))
    ran(store, clock, "r2", checked("rules", 4, "people"), checked("rules", 5, "orders"), status="failed")
    ran(store, clock, "r3", Step("transform", transformations=(Transformation("normalize"),)))
    found = store.quality_history("checker")
    assert [(one.run, one.step, one.table, one.status, one.total, one.passed, one.failed, one.warnings) for one in found] == [
        ("r2", "rules", "people", "failed", 100, 96, 4, 2),
        ("r2", "rules", "orders", "failed", 100, 95, 5, 2),
        ("r1", "rules", "people", "success", 100, 97, 3, 2),
    ]
    told = found[-1].to_json()
    assert told["profile"] == {"rows": 100, "columns": {}}
    assert (told["runId"], told["rules"][0]["violated"], "examples" in told) == ("r1", 3, False)
    assert store.quality_history("another") == []


def test_history_is_read_up_to_a_run_and_by_step(store: StateStore, clock: Any) -> None:
    times = {}
    for number in range(5):
        ran(store, clock, f"r{number}", checked("rules", number), checked("later", number))
        times[number] = clock.now
    found = store.quality_history("checker", "later", until=times[3], limit=2)
    assert [(one.run, one.step) for one in found] == [("r3", "later"), ("r2", "later")]


def test_a_run_that_has_ended_leaves_no_second_row(store: StateStore, clock: Any) -> None:
    ran(store, clock, "r1", checked("rules", 3))
    assert not store.finish("r1", Outcome("success", steps=(checked("rules", 9),)))
    assert [one.failed for one in store.quality_history("checker")] == [3]


def test_what_is_too_old_goes_with_the_values_of_rows_that_the_record_held(store: StateStore, clock: Any, processes: ModuleType) -> None:
    for run in ("r1", "r2"):
        store.begin(replace(processes.execution(run), started_at=clock.now))
        clock.pass_(days=1)
        assert store.finish(run, replace(processes.outcome(), completed_at=None))
    assert store.forget_quality("customers", 1.5 * DAY) == 0
    clock.pass_(days=1)
    assert store.forget_quality("customers", 1.5 * DAY) == 1
    assert [one.run for one in store.quality_history("customers")] == ["r2"]
    assert "secret" not in str(store.execution("r1"))
    assert "secret" in str(store.execution("r2"))
    (kept,) = [one for step in store.steps("r1") for one in step.transformations if one.quality]
    assert (kept.rules, kept.quality) == ((processes.RULE,), processes.QUALITY)
    assert store.forget_quality("customers", 1.5 * DAY) == 0


def test_by_default_the_last_hundred_runs_of_each_step_stay(store: StateStore, clock: Any) -> None:
    ran(store, clock, "seldom", checked("seldom", 1))
    ran(store, clock, "theirs", checked("rules", 1), service="another")
    for number in range(KEPT_RUNS + 3):
        ran(store, clock, f"r{number:03d}", checked("rules", 1, "people"), checked("rules", 1, "orders"))
    assert store.forget_quality("checker", None) == 3
    left = [one.run for one in store.quality_history("checker", limit=None)]
    assert len(set(left)) == KEPT_RUNS + 1
    assert {"seldom", "r003"} <= set(left)
    assert not {"r000", "r001", "r002"} & set(left)
    assert len(store.quality_history("another")) == 1
    assert store.forget_quality("checker", None) == 0


@pytest.mark.parametrize("kind", [None, DAY])
def test_a_service_without_rules_has_nothing_to_forget(store: StateStore, clock: Any, kind: timedelta | None) -> None:
    ran(store, clock, "r1")
    assert store.forget_quality("checker", kind) == 0
