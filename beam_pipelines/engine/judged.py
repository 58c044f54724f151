"""What is said of the data set as a whole, its rules and its profile: once, by all that every bundle measured."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from beam_pipelines.engine.job import Job
from beam_pipelines.io.connector import Target
from beam_pipelines.runs.counts import Tally
from beam_pipelines.runs.facts import StepFact
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.step import StepBase

if TYPE_CHECKING:
    from beam_pipelines.transforms.validate import Validate

__all__ = ["judged"]

_PAGES = 10  # of the ledger that are looked through for runs of one kind: a full refresh stands among many increments


def judged(job: Job, window: Window, tally: Tally, target: Target) -> Tally:
    """Return the facts of a load with the verdicts of its rules in the place of what was measured.

    Of a load without a row nothing was measured, and its rules are judged all the same: that there are too few rows is a verdict.

    Args:
        job: The service.
        window: Of the load.
        tally: Its facts.
        target: Whose ledger knows what earlier runs measured.
    """
    return replace(tally, steps=tuple(_of(job, window, place, fact, target) for place, fact in enumerate(tally.steps)))


def _of(job: Job, window: Window, place: int, fact: StepFact, target: Target) -> StepFact:
    model = job.definition.steps[place]
    if model.type != "validate" or not (_judges(model) or getattr(model, "profile", False)) or model.id not in window.schemas:
        return fact
    from beam_pipelines.engine.opening import open_steps

    (opened,) = open_steps(job, [place], window)
    with contextlib.closing(opened):
        step = cast("Validate", opened)
        state = step.measured(fact.states)
        verdicts = step.verdicts(state, datetime.fromisoformat(window.started_at), _past(model, window, target))
        profile = tuple(step.measures.profile(state))
    severity = {rule.id: rule.severity for rule in getattr(model, "rules", ())}
    told = {rule: {**asdict(verdict), "severity": severity[rule]} for rule, verdict in verdicts.items()}
    return replace(fact, states=(), verdicts=told, profile=profile)


def _past(model: StepBase, window: Window, target: Target) -> dict[str, list[dict[str, Any]]]:
    """What each drift rule of a step told in the last runs of the load that committed before this one, the last first.

    Runs that read what is new are told from those that read everything: they are not to be compared.
    """
    runs = [rule.runs for rule in getattr(model, "rules", ()) if rule.type == "drift"]
    if not runs:
        return {}
    past: dict[str, list[dict[str, Any]]] = {}
    most, left, before = max(runs), max(runs), window.generation
    for _ in range(_PAGES):
        rows = target.committed(window.service, window.load, before, most)
        alike = [row.counts for row in rows if row.counts is not None and row.window.full == window.full][:left]
        for step in (step for counts in alike for step in counts.tally.steps if step.step == model.id):
            for rule, said in step.verdicts.items():
                past.setdefault(rule, []).append({**said["details"], "measured": said["measured"]})
        left -= len(alike)
        if not left or len(rows) < most:
            break
        before = rows[-1].window.generation
    return past


def _judges(model: StepBase) -> bool:
    from beam_pipelines.spec.rule.dataset import SetRule  # few services have rules

    return any(isinstance(rule, SetRule) for rule in getattr(model, "rules", ()))
