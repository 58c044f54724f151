"""The right sides of joins: sources of their own, planned and fixed with the window of the load that they are joined to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.io.connector import Described, Source
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.step import JoinStep
from beam_pipelines.transforms.join import Join
from beam_pipelines.transforms.step import Step

__all__ = ["acquainted", "fix_sides", "opened_join", "plan_sides", "right_schema"]

Planner = Callable[[Job, Window, Source, Described], Window]


def plan_sides(job: Job, window: Window, context: RunContext, plan: Planner) -> Window:
    """Plan the right side of each join of a job: a window with the schemas of its source and its steps.

    Args:
        job: The service, or a side of it that has joins of its own.
        window: Of the load.
        context: Of the run.
        plan: What plans the schemas of a job from its source.

    Raises:
        PlanError: A right side cannot be read, or is not one table that is read whole.
    """
    sides = {}
    for position, model in enumerate(job.definition.steps):
        if not isinstance(model, JoinStep):
            continue
        side = job.side(model.id)
        path = f"{job.path or job.definition.steps_path}[{position}].source"
        with contextlib.closing(side.open_source(context)) as source:
            tables = source.tables()
            if source.cursor is not None:
                raise refusal(path, "the right side of a join is read whole: it takes no cursor and no `incremental`", "cursor-invalid")
            if len(tables) != 1:
                raise refusal(path, f"expected one table to join with, got {len(tables)}: {', '.join(tables)}", "spec-invalid")
            described = source.describe(tables[0])
            origin.refuse_reserved(described.schema.names)
            empty = Window(window.service, window.load, tables[0], window.run, 0, started_at=window.started_at)
            sides[model.id] = plan(side, empty, source, described)
    return replace(window, sides=sides) if sides else window


def fix_sides(job: Job, window: Window, context: RunContext, parts: Callable[[Described], int]) -> Window:
    """Fix the ranges that each right side is read in."""
    sides = {}
    for step, planned in window.sides.items():
        side = job.side(step)
        with contextlib.closing(side.open_source(context)) as source:
            fixed = source.fix(planned.table, None, None, False, parts(source.describe(planned.table)))
        ranges = tuple(replace(part, load=window.load) for part in fixed.ranges)
        sides[step] = fix_sides(side, replace(planned, ranges=ranges, snapshot=fixed.snapshot), context, parts)
    return replace(window, sides=sides) if sides else window


def right_schema(job: Job, window: Window, step: str) -> pa.Schema:
    """The schema of the rows that a join meets: of its source, after the steps of that."""
    ids = job.side(step).step_ids
    return window.sides[step].schema(ids[-1] if ids else "")


def acquainted(job: Job, steps: Sequence[Step], window: Window) -> None:
    """Tell each join among a job's steps what its right side is."""
    for step in steps:
        if isinstance(step, Join):
            step.against(right_schema(job, window, step.id))


def opened_join(job: Job, position: int, window: Window) -> Join:
    """Return the join at a position, open for the batches of a load."""
    step = job.steps()[position]
    assert isinstance(step, Join)
    step.against(right_schema(job, window, step.id))
    before = window.schema(job.step_ids[position - 1] if position else "")
    step.open(before, window.schema(step.id), datetime.fromisoformat(window.started_at))
    return step
