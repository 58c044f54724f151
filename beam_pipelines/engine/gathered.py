"""Facts as Commit holds them: what bundles measured is added up as it comes, so that many bundles take no more room than some."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.prepare import windows_of
from beam_pipelines.runs.facts import StepFact, merge_steps

if TYPE_CHECKING:
    from beam_pipelines.transforms.validate import Validate

__all__ = ["gathered"]

_MOST = 64  # states of a step that are held at once: a profile of 200 columns is some ten megabytes


def gathered(job: Job, texts: dict[str, str], facts: Iterable[Any]) -> list[Any]:
    """Return the facts of a run, of which those that measured something are one where they were very many.

    Args:
        job: The service.
        texts: `{load: window as text}`.
        facts: `ReadFact`, `StepFact` and `StagedFact` of every bundle, in any order.
    """
    kept: list[Any] = []
    measured: dict[tuple[str, str], list[StepFact]] = {}
    with contextlib.ExitStack() as opened:
        steps: dict[tuple[str, str], Validate] = {}
        for fact in facts:
            if not (isinstance(fact, StepFact) and fact.states):
                kept.append(fact)
                continue
            several = measured.setdefault((fact.load, fact.step), [])
            several.append(fact)
            if len(several) == _MOST:
                if (key := (fact.load, fact.step)) not in steps:
                    steps[key] = opened.enter_context(contextlib.closing(_opened(job, texts, *key)))
                (merged,) = merge_steps(several).values()
                several[:] = [replace(merged, states=(steps[key].measured(merged.states),))]
    return [*kept, *(fact for several in measured.values() for fact in several)]


def _opened(job: Job, texts: dict[str, str], load: str, step: str) -> Validate:
    from beam_pipelines.engine.opening import open_steps

    (opened,) = open_steps(job, [job.step_ids.index(step)], windows_of(texts)[load])
    return cast("Validate", opened)
