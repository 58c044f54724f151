"""What very many bundles measured, added up as it comes: the same as at once, and never more states at once than a bound."""

from __future__ import annotations

import contextlib
import pickle
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.engine import gathered as module
from beam_pipelines.engine.gathered import gathered
from beam_pipelines.engine.opening import open_steps
from beam_pipelines.runs.counts import Tally
from beam_pipelines.runs.facts import ReadFact, StepFact
from beam_pipelines.runs.window import Window

RUN, NOW = "00000000000a", datetime(2026, 3, 1, tzinfo=timezone.utc)
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])
STEP = {
    "id": "check",
    "type": "validate",
    "profile": True,
    "rules": [
        {"id": "many", "type": "row-count", "min": 1},
        {"id": "mean", "type": "statistic", "field": "id", "statistic": "mean", "max": 10},
    ],
}
LOADS = ("people", "others")


@pytest.fixture
def made(job_of: Any) -> tuple[Any, dict[str, str], list[Any]]:
    """A job, its windows, and the facts of 150 bundles of each of two loads."""
    job = job_of(steps=[STEP])
    windows = {
        load: Window("customers", load, load, RUN, 0, started_at=NOW.isoformat()).with_schema("", SCHEMA).with_schema("check", SCHEMA)
        for load in LOADS
    }
    facts: list[Any] = []
    (step,) = open_steps(job, [0], windows["people"])
    with contextlib.closing(step):
        for number in range(150):
            for at, load in enumerate(LOADS):
                batch = pa.record_batch([[number * (at + 1)], [f"n{number % 7}"]], schema=SCHEMA)
                state = pickle.loads(pickle.dumps(step.measures.measure(batch)))
                facts += [ReadFact(load, 1), StepFact(load, "check", 1, 1, rules={"many": {"rows": 1}}, states=(state,))]
    return job, {load: window.to_text() for load, window in windows.items()}, facts


def told(job: Any, texts: dict[str, str], facts: list[Any], load: str) -> tuple[Any, ...]:
    tally = Tally.of(load, facts, job.step_ids)
    (fact,) = tally.steps
    (step,) = open_steps(job, [0], Window.from_text(texts[load]))
    with contextlib.closing(step):
        state = step.measured(fact.states)
        return step.verdicts(state, NOW, {}), step.measures.profile(state), replace(fact, states=()), tally.read


def test_many_bundles_come_to_what_they_come_to_at_once(made: Any) -> None:
    job, texts, facts = made
    few = gathered(job, texts, iter(facts))
    for load, mean in zip(LOADS, (74.5, 149.0), strict=True):
        assert sum(len(fact.states) for fact in few if isinstance(fact, StepFact) and fact.load == load) <= 150 - 2 * (module._MOST - 1)
        assert told(job, texts, few, load) == told(job, texts, facts, load)
        verdicts, profile, fact, read = told(job, texts, few, load)
        assert (verdicts["many"].measured, verdicts["mean"].measured) == (150, mean)
        assert (profile[0]["count"], profile[1]["distinct"]) == (150, 7)
        assert (fact.records_in, fact.rules, read) == (150, {"many": {"rows": 150}}, 150)


def test_of_few_bundles_nothing_is_done(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job, texts, facts = made

    def refused(*_: Any) -> Any:
        raise AssertionError("a step was opened")

    monkeypatch.setattr(module, "_opened", refused)
    some = facts[: 4 * (module._MOST - 1)]
    few = gathered(job, texts, some)
    assert len(few) == len(some)
    assert all(any(fact is one for one in some) for fact in few)
