"""What is said of the data set as a whole, its rules and its profile: once, by all that every bundle measured."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, cast

from beam_pipelines.engine.job import Job
from beam_pipelines.runs.counts import Tally
from beam_pipelines.runs.facts import StepFact
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.step import StepBase

if TYPE_CHECKING:
    from beam_pipelines.transforms.validate import Validate

__all__ = ["judged"]


def judged(job: Job, window: Window, tally: Tally) -> Tally:
    """Return the facts of a load with the verdicts of its rules in the place of what was measured.

    Of a load without a row nothing was measured, and its rules are judged all the same: that there are too few rows is a verdict.
    """
    return replace(tally, steps=tuple(_of(job, window, place, fact) for place, fact in enumerate(tally.steps)))


def _of(job: Job, window: Window, place: int, fact: StepFact) -> StepFact:
    model = job.definition.steps[place]
    if model.type != "validate" or not (_judges(model) or getattr(model, "profile", False)) or model.id not in window.schemas:
        return fact
    from beam_pipelines.engine.opening import open_steps

    (opened,) = open_steps(job, [place], window)
    with contextlib.closing(opened):
        step = cast("Validate", opened)
        state = step.measured(fact.states)
        verdicts = step.verdicts(state, datetime.fromisoformat(window.started_at))
        profile = tuple(step.measures.profile(state))
    severity = {rule.id: rule.severity for rule in getattr(model, "rules", ())}
    told = {rule: {**asdict(verdict), "severity": severity[rule]} for rule, verdict in verdicts.items()}
    return replace(fact, states=(), verdicts=told, profile=profile)


def _judges(model: StepBase) -> bool:
    from beam_pipelines.spec.rule.dataset import SetRule  # few services have rules

    return any(isinstance(rule, SetRule) for rule in getattr(model, "rules", ()))
