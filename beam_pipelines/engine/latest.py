"""Which of several rows of one key is the last one: behind steps by groups only a version can tell, or that there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import BY_GROUPS, group_columns, meant, snake, sums_up, takes_others, trace
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.engine.sides import multiplies
from beam_pipelines.io.connector import Policy
from beam_pipelines.runs.window import Window

__all__ = ["check_latest"]


def check_latest(job: Job, window: Window, policy: Policy, primary: Sequence[str]) -> None:
    """Refuse keys that may be those of several rows behind a step by groups, whose rows come in no order.

    Args:
        job: The service.
        window: Of the load, with its keys and its version.
        policy: Of the load.
        primary: Columns of the source that tell its rows apart; empty: not known.

    Raises:
        PlanError: `mode-refused`: any of these rows would be the one that stays.
    """
    if policy.mode == "insert" or not window.key_fields or window.version_column:
        return
    step = _unordered(job, window, primary, (), window.key_fields)
    if step is None:
        return
    if not multiplies(job, window) and _are(trace(primary, job.definition.steps, exact=False), primary, job, window.key_fields):
        return  # a join with one match a row leaves the source's rows apart
    keys = ", ".join(window.key_fields)
    raise refusal(
        "pipeline.destination.keyFields",
        f"of several rows with one key the last one stays, but behind {step!r} rows are in no order, and {keys} may be that of several",
        "mode-refused",
        hint=f"put a deduplicate step by [{keys}], with keep: last, before it, or give versionColumn"
        " (a table of a database is known by its primary key, a query by keyFields of the source)",
    )


def _unordered(job: Job, window: Window, primary: Sequence[str], behind: Sequence[Any], keys: Sequence[str]) -> str | None:
    """Return the step behind which rows are in no order, and may have one key; None: there is none."""
    own = job.definition.steps
    last = max((at for at, step in enumerate(own) if step.type in BY_GROUPS or takes_others(step)), default=None)
    if last is not None:
        # What a union behind adds is later than all of these, and no part of their order.
        rest = [step for step in (*own[last + 1 :], *behind) if step.type != "union"]
        steps = [*own[: last + 1], *rest]
        if not any(map(sums_up, rest)) and not any(
            _are(trace(of, steps[at:], exact=True), of, job, keys) for of, at in _unique(steps, primary)
        ):
            return own[last].id
    for at, step in enumerate(own):
        if step.type == "union":
            side = window.sides[step.id]
            inner = _unordered(job.side(step.id), side, side.source_key, (*own[at + 1 :], *behind), keys)
            if inner is not None:
                return inner
    return None


def _unique(steps: Sequence[Any], primary: Sequence[str]) -> Iterator[tuple[Sequence[str], int]]:
    """Give sets of columns of which no two rows have the same values, each with the number of the steps that it holds behind."""
    yield primary, 0
    for at, step in enumerate(steps, 1):
        if step.type == "deduplicate" or (step.type == "top" and step.n == 1):
            yield step.by or (), at
        elif step.type == "sort" and step.output:
            yield (*step.by, step.output), at
    yield group_columns(steps) or (), len(steps)


def _are(names: Mapping[str, str], unique: Sequence[str], job: Job, keys: Sequence[str]) -> bool:
    """Whether columns that tell rows apart all arrive, as some of the keys."""
    rename = snake if job.definition.naming == "snake" else str
    return bool(unique) and len(names) == len(set(unique)) and {meant(rename(name), keys) for name in names.values()} <= set(keys)
