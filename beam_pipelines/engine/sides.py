"""The right sides of joins and unions: sources of their own, planned and fixed with the window of the load that they are joined to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from beam_pipelines.columnar import origin
from beam_pipelines.engine import calls
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import group_columns, trace
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import Described, Source
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.step.sided import sided
from beam_pipelines.transforms.step import Step

if TYPE_CHECKING:
    from beam_pipelines.spec.step.sided import Sided
    from beam_pipelines.spec.step.union import UnionStep
    from beam_pipelines.transforms.join import Join

__all__ = ["acquainted", "added_without", "fix_sides", "joins_of", "multiplies", "opened_side", "plan_sides"]

Planner = Callable[[Job, Window, Source, Described], Window]


def plan_sides(job: Job, window: Window, context: RunContext, plan: Planner, *, incremental: bool) -> Window:
    """Plan the right side of each join of a job: a window with the schemas of its source and its steps.

    Args:
        job: The service, or a side of it that has joins of its own.
        window: Of the load.
        context: Of the run.
        plan: What plans the schemas of a job from its source.
        incremental: Of the left side only what is new is read.

    Raises:
        PlanError: A right side cannot be read, or is not one table that is read whole; or what is asked for has no sense with it.
    """
    _refuse_samples(job)
    calls.check(job, context)
    sides = {}
    for path, model in _joins(job):
        if incremental and sided(model) and model.how in ("right", "full"):
            raise refusal(
                f"{path}.how",
                f"{model.how!r} gives the rows of the right side that meet none of the rows read, and of an incremental source only what is"
                " new is read: nearly all of the right side would come out of every run; use inner or left, or read the source whole",
                "cursor-invalid",
            )
        side = job.side(model.id)
        with opened_side(job, path, model.id, context) as source:
            table = source.tables()[0]
            try:
                described = source.describe(table)
            except PlanError as error:
                raise error if error.problems else refusal(f"{path}.source", error.message, error.code) from error
            origin.refuse_reserved(described.schema.names)
            empty = Window(window.service, window.load, table, window.run, 0, started_at=window.started_at)
            planned = plan(side, empty, source, described)
            sides[model.id] = replace(planned, source_key=described.primary_key, unique_on=_unique_on(side, described))
    return replace(window, sides=sides) if sides else window


@contextlib.contextmanager
def opened_side(job: Job, path: str, step: str, context: RunContext) -> Iterator[Source]:
    """Open the right side of a join, which is one table and read whole.

    Args:
        job: The service.
        path: Of the join in the definition.
        step: Its id.
        context: Of the run.

    Raises:
        PlanError: It is not, or cannot be opened; names the key.
    """
    path = f"{path}.source"
    kind = next(model.type for model in job.definition.steps if model.id == step)
    try:
        source = job.side(step).open_source(context)
    except PlanError as error:
        raise error if error.problems else refusal(path, error.message, error.code) from error
    with contextlib.closing(source):
        if source.cursor is not None:
            raise refusal(path, f"the right side of a {kind} is read whole: it takes no cursor and no `incremental`", "cursor-invalid")
        tables = source.tables()
        if len(tables) != 1:
            raise refusal(path, f"expected one table to {kind} with, got {len(tables)}: {', '.join(tables)}", "spec-invalid")
        yield source


def joins_of(job: Job, context: RunContext) -> dict[str, str]:
    """Each join of a job in words, by its id: `inner join with countries from crm (postgresql)`."""
    told = {model.id: f"lookup at {model.connection} (HTTP API)" for _, model in calls.asking(job)}
    for path, model in _joins(job):
        with opened_side(job, path, model.id, context) as source:
            where = getattr(model.source, "connection_name", None) or "files"
            after = [f"{step.id} ({step.type})" for step in model.source.transformations]
            behind = f", after {', '.join(after)}" if after else ""
            told[model.id] = f"{_what(model)} {source.tables()[0]} from {where} ({source.traits.system}){behind}"
    return told


def _what(model: Sided | UnionStep) -> str:
    if not sided(model):
        return "union with"
    if model.how == "lookup":
        return "lookup in"
    by_time = f" as of {model.as_of.left_right[0]} ({model.as_of.direction})" if model.as_of else ""
    return f"{model.how} join{by_time} with"


def multiplies(job: Job, window: Window) -> bool:
    """Whether a step may give several rows for one, or rows of its own: what told the source's rows apart need not do so any more."""
    if any(step.type == "explode" for step in job.definition.steps):
        return True
    for _, model in _joins(job):
        if not sided(model):
            return True
        if model.as_of is not None:
            continue  # each row meets one at most
        if model.how in ("right", "full"):
            return True
        keys = {right for _, right in model.keys_left_right}
        known = [window.sides[model.id].unique_on, group_columns(job.side(model.id).definition.steps) or ()]
        if model.how in ("inner", "left") and not any(unique and keys.issuperset(unique) for unique in known):
            return True
    return False


def added_without(job: Job, window: Window, column: str) -> str | None:
    """Return the id of a union that adds rows to which a column of the source means nothing, for theirs has none that arrives there.

    Args:
        job: The service, or a side of it.
        window: With the sides planned.
        column: Of the job's source.
    """
    steps = job.definition.steps
    for place, model in enumerate(steps):
        name = trace([column], steps[:place], exact=False).get(column)
        if name is None:
            return None
        if model.type != "union":
            continue
        side, planned = job.side(model.id), window.sides[model.id]
        behind = side.definition.steps
        if name.lower() not in {known.lower() for known in planned.schema(behind[-1].id if behind else "").names}:
            return model.id
        arrives = [(one, trace([one], behind, exact=False).get(one, "")) for one in planned.schema().names]
        if any(there.lower() == name.lower() and added_without(side, planned, one) for one, there in arrives):
            return model.id
    return None


def _joins(job: Job) -> Iterator[tuple[str, Sided | UnionStep]]:
    """Joins, lookups in a source and unions with their places in the definition."""
    for position, model in enumerate(job.definition.steps):
        if sided(model) or model.type == "union":
            yield f"{job.path or job.definition.steps_path}[{position}]", cast("Sided | UnionStep", model)


def _unique_on(side: Job, described: Described) -> tuple[str, ...]:
    """Columns that tell the rows of a right side apart, where they are known: its primary key, or what it is grouped by."""
    steps = side.definition.steps
    exact = trace(described.schema.names, steps, exact=True)
    if described.primary_key and set(described.primary_key) <= set(exact):
        return tuple(exact[name] for name in described.primary_key)
    return group_columns(steps) or ()


def _refuse_samples(job: Job) -> None:
    """Refuse functions whose output would be sampled where a sample says nothing: rows of two samples hardly ever meet."""
    behind = bool(job.path)
    for position, step in enumerate(job.steps()):
        if behind and step.needs_sample:
            where = "in the source of a join, lookup or union" if job.path else "behind a join, lookup or union"
            raise refusal(
                f"{job.path or job.definition.steps_path}[{position}]",
                f"the function {step.id!r} stands {where}, where what it returns cannot be sampled: declare it",
                "type-unsupported",
                hint="output: {id: bigint, name: text}",
            )
        behind = behind or step.type in ("join", "enrich", "union")


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


def acquainted(job: Job, steps: Sequence[Step], window: Window) -> None:
    """Tell each join, lookup and union among a job's steps what its right side is: its source, after the steps of that."""
    after = {model.id: model.source.transformations for _, model in _joins(job)}
    for step in steps:
        if step.id in after:
            last = after[step.id][-1].id if after[step.id] else ""
            cast("Join", step).against(window.sides[step.id].schema(last))
