"""The right sides of joins and unions, and what foreign keys refer to: sources of their own, planned and fixed with the load's window."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from beam_pipelines.columnar import origin
from beam_pipelines.engine import calls
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import group_columns, trace
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import Described, Source
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.offsets import Offsets
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.step import every_step
from beam_pipelines.spec.step.sided import sided
from beam_pipelines.spec.values import duration_text
from beam_pipelines.transforms.step import Step

if TYPE_CHECKING:
    from beam_pipelines.spec.step.sided import Sided
    from beam_pipelines.spec.step.union import UnionStep
    from beam_pipelines.transforms.join import Join
    from beam_pipelines.transforms.validate import Validate

__all__ = ["acquainted", "added_without", "fix_sides", "joins_of", "multiplies", "opened_side", "plan_sides", "reference_name"]

Planner = Callable[[Job, Window, Source, Described], Window]


def plan_sides(job: Job, window: Window, context: RunContext, plan: Planner, *, incremental: bool, told: Mapping[str, Described]) -> Window:
    """Plan the right side of each join of a job: a window with the schemas of its source and its steps.

    Args:
        job: The service, or a side of it that has joins of its own.
        window: Of the load.
        context: Of the run.
        plan: What plans the schemas of a job from its source.
        incremental: Of the left side only what is new is read.
        told: Of some right sides, by name, what they are: they are not asked.

    Raises:
        PlanError: A right side cannot be read, or is not one table that is read whole; or what is asked for has no sense with it.
    """
    _refuse_samples(job)
    _refuse_refresh(job)
    calls.check(job, context)
    sides = {}
    for one in _beside(job):
        if incremental and getattr(one.model, "how", "") in ("right", "full"):
            raise refusal(
                f"{one.path}.how",
                f"{one.model.how!r} gives the rows of the right side that meet none of the rows read, and of an incremental source"
                " only what is new is read: nearly all of the right side would come out of every run; use inner or left, or read the source"
                " whole",
                "cursor-invalid",
            )
        with opened_side(job, one, context) as source:
            side, table = job.side(one.name), source.tables()[0]
            try:
                described = told.get(one.name) or source.describe(table)
            except PlanError as error:
                if error.problems:
                    raise
                raise _placed(error, f"{one.path}.{one.key}") from error
            origin.refuse_reserved(described.schema.names)
            empty = Window(window.service, window.load, table, window.run, 0, started_at=window.started_at)
            planned = plan(side, empty, source, described)
            sides[one.name] = replace(planned, source_key=described.primary_key, unique_on=_unique_on(side, described))
    return replace(window, sides=sides) if sides else window


@dataclass(frozen=True)
class Beside:
    """A source beside that of a job's own rows.

    Args:
        name: What the job and its windows know it by.
        path: Of the step or rule that it belongs to, in the definition.
        key: Where it stands below that.
        kind: What it is, in words.
        model: The step or rule.
    """

    name: str
    path: str
    key: str
    kind: str
    model: Any


def _beside(job: Job) -> Iterator[Beside]:
    """Every source beside that of a job's own rows."""
    for path, model in _joins(job):
        yield Beside(model.id, path, "source", f"the right side of a {model.type}", model)
    for position, step in enumerate(job.definition.steps):
        path = f"{job.path or job.definition.steps_path}[{position}]"
        for place, rule in enumerate(getattr(step, "rules", ())):
            if rule.type == "foreign-key":
                key = "reference.source" if rule.reference.source is not None else "reference"
                yield Beside(reference_name(step.id, rule.id), f"{path}.rules[{place}]", key, "what a foreign key refers to", rule)


def reference_name(step: str, rule: str) -> str:
    """What a job and its windows know the reference of a foreign key by; no step is called so."""
    return f"{step}/{rule}"


@contextlib.contextmanager
def opened_side(job: Job, side: Beside, context: RunContext) -> Iterator[Source]:
    """Open the right side of a join, or what a foreign key refers to, which is one table and read whole.

    Args:
        job: The service.
        side: Which.
        context: Of the run.

    Raises:
        PlanError: It is not, or cannot be opened; names the key.
    """
    path = f"{side.path}.{side.key}"
    try:
        source = job.side(side.name).open_source(context)
    except PlanError as error:
        if error.problems:
            raise
        raise _placed(error, path) from error
    with contextlib.closing(source):
        if source.cursor is not None:
            raise refusal(path, f"{side.kind} is read whole: it takes no cursor and no `incremental`", "cursor-invalid")
        tables = source.tables()
        if len(tables) != 1:
            raise refusal(path, f"expected one table as {side.kind}, got {len(tables)}: {', '.join(tables)}", "spec-invalid")
        yield source


def _placed(error: PlanError, path: str) -> PlanError:
    """The error of a source beside, with its place: the key that the source says it is about, else the source."""
    key = error.details.get("sourceKey")
    return refusal(f"{path}.{key}" if key else path, error.message, error.code)


def joins_of(job: Job, context: RunContext) -> dict[str, str]:
    """Each join of a job in words, by its id: `inner join with countries from crm (postgresql)`; of a validate step what it refers to."""
    told = {model.id: f"lookup at {model.connection} (HTTP API)" for _, model in calls.asking(job)}
    told |= {step.id: f"{len(getattr(step, 'rules', ()))} rules" for step in job.definition.steps if step.type == "validate"}
    for one in _beside(job):
        with opened_side(job, one, context) as source:
            where = getattr(job.side(one.name).definition.source, "connection_name", None) or "files"
            place = f"{source.tables()[0]} from {where} ({source.traits.system})"
            if "/" in one.name:
                told[one.name.partition("/")[0]] += f", {one.model.id} refers to {place}"
                continue
            after = [f"{step.id} ({step.type})" for step in one.model.source.transformations]
            told[one.name] = f"{_what(one.model)} {place}" + (f", after {', '.join(after)}" if after else "") + _when(job, one)
    return told


def _when(job: Job, side: Beside) -> str:
    """When rows of a right side are read, or how long they wait."""
    model = side.model
    if job.side(side.name).beside:
        return (
            f", in windows of {duration_text(model.window.size)}" if model.window is not None else f", within {duration_text(model.within)}"
        )
    if model.source.refresh is not None:
        return f", read anew when older than {model.source.refresh}"
    return ", read anew by each drain" if job.live else ""


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
    """Refuse functions whose output would be sampled where a sample says nothing: two samples hardly ever meet, and none fills a window."""
    behind, windowed = bool(job.path), False
    for position, step in enumerate(job.steps()):
        if behind and step.needs_sample:
            what = "a join, lookup, union or foreign key"
            where = f"in the source of {what}" if job.path else f"behind {'a window' if windowed else what}"
            raise refusal(
                f"{job.path or job.definition.steps_path}[{position}]",
                f"the function {step.id!r} stands {where}, where what it returns cannot be sampled: declare it",
                "type-unsupported",
                hint="output: {id: bigint, name: text}",
            )
        windowed = windowed or step.type == "window"
        behind = behind or windowed or step.type in ("join", "enrich", "union") or bool(getattr(step, "foreign_keys", ()))


def _refuse_refresh(job: Job) -> None:
    """Refuse to say how old rows may be where each run reads them."""
    if job.path or job.live:
        return
    for step in every_step(job.definition.steps):
        sources = [
            getattr(step, "source", None),
            *(rule.reference.source for rule in getattr(step, "rules", ()) if rule.type == "foreign-key"),
        ]
        if any(getattr(source, "refresh", None) is not None for source in sources):
            raise refusal(
                job.definition.steps_path, f"step {step.id!r}: `refresh` is of streams; other runs read its source once", "spec-invalid"
            )


def fix_sides(job: Job, window: Window, context: RunContext, parts: Callable[[Described], int]) -> Window:
    """Fix the ranges that each right side is read in."""
    sides = {}
    for step, planned in window.sides.items():
        side = job.side(step)
        with contextlib.closing(side.open_source(context)) as source:
            # Numbers of lines in later parts of a file are known when all are read, and that is told of the source of a service alone.
            wanted = 1 if source.traits.counts_late or side.beside else parts(source.describe(planned.table))
            fixed = source.fix(planned.table, None, _read_before(window, side), False, wanted)
        ranges = tuple(replace(part, load=window.load) for part in fixed.ranges)
        sides[step] = fix_sides(side, replace(planned, ranges=ranges, snapshot=fixed.snapshot), context, parts)
    return replace(window, sides=sides) if sides else window


def _read_before(window: Window, side: Job) -> Mark | None:
    """How far earlier drains have read the topic of a side; None: nothing of it, or it is no topic."""
    places = Offsets.of(window.low).topic(side.definition.source.topic) if side.beside and window.low is not None else {}
    return Offsets(places).to_mark() if places else None


def acquainted(job: Job, steps: Sequence[Step], window: Window) -> None:
    """Tell each join, lookup and union among a job's steps what its right side is: its source, after the steps of that."""
    after = {model.id: model.source.transformations for _, model in _joins(job)}
    for step in steps:
        if step.id in after:
            last = after[step.id][-1].id if after[step.id] else ""
            cast("Join", step).against(window.sides[step.id].schema(last))
        elif step.type == "validate":
            if job.live:
                from beam_pipelines.engine.live.plan import tumbling

                cast("Validate", step).in_stream(tumbling(job))
            for rule in cast("Validate", step).foreign_keys:
                name = reference_name(step.id, rule.id)
                ids = job.side(name).step_ids
                cast("Validate", step).against(rule.id, window.sides[name].schema(ids[-1] if ids else ""))
