"""What a run would do, worked out without reading a row: graph, guarantee, readings, schedule. What no part serves is refused here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.engine import calls, notebook
from beam_pipelines.engine.file_plan import FilePlan
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import snake, sums_up, trace
from beam_pipelines.engine.outputs import check_outputs, check_rows
from beam_pipelines.engine.prepare import chosen_files, fingerprint, with_sides
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.engine.sides import acquainted, added_without, joins_of
from beam_pipelines.errors import PlanError
from beam_pipelines.io import spares
from beam_pipelines.io.connector import CursorSpec, Described, Policy, Source, Target
from beam_pipelines.io.files.format import format_of
from beam_pipelines.io.sql.relation import decide_kind, match_column
from beam_pipelines.io.sql.swap import obstructed
from beam_pipelines.pricing import metered_steps
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.guarantee import Guarantee, Promise, derive, promises, require, weakest
from beam_pipelines.runs.window import Window, schema_from_text, schema_to_text
from beam_pipelines.spec.order import terms
from beam_pipelines.spec.step import StepBase
from beam_pipelines.spec.step.sided import sided
from beam_pipelines.transforms.step import Step

if TYPE_CHECKING:
    from beam_pipelines.spec.step.deduplicate import DeduplicateStep
    from beam_pipelines.spec.step.window import WindowStep

__all__ = ["Plan", "Reading", "make_plan", "refuse_unserved"]


@dataclass(frozen=True)
class Reading:
    """What would be read of one table.

    Args:
        table: Source table.
        load: Target table.
        low: The stored watermark, None: from the start.
        rows: Rows in the source by its catalog, None when it does not know.
        exists: The target table is there already.
    """

    table: str
    load: str
    low: str | None
    rows: int | None
    exists: bool


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Args:
        service: Service id.
        graph: One line a node: source, steps, destination.
        guarantee: Derived; of several tables the weakest.
        readings: One a table.
        mode: Of the destination.
        destination: Target table as configured.
        schedule: In words, None without one.
        next_times: The next five times of the schedule, aware UTC.
        notes: What the user should know: assumptions, things that do not happen.
        promises: The guarantee of each table, those that are the same together.
        by_file: What would be done with files, of a service whose unit is the file; else None.
    """

    service: str
    graph: tuple[str, ...]
    guarantee: Guarantee
    readings: tuple[Reading, ...]
    mode: str
    destination: str
    schedule: str | None = None
    next_times: tuple[datetime, ...] = ()
    notes: tuple[str, ...] = ()
    promises: tuple[Promise, ...] = ()
    by_file: FilePlan | None = None

    @property
    def files(self) -> int:
        """Files that would be read, of a service whose unit is the file."""
        return self.by_file.new if self.by_file is not None else 0

    @property
    def bytes(self) -> int:
        """Size of these files, as they are stored."""
        return self.by_file.bytes if self.by_file is not None else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "serviceId": self.service,
            "graph": list(self.graph),
            "guarantee": {"level": self.guarantee.level, "reasons": list(self.guarantee.reasons)},
            "guarantees": [
                {"level": one.guarantee.level, "reasons": list(one.guarantee.reasons), "tables": list(one.loads)} for one in self.promises
            ],
            "readings": [vars(reading) for reading in self.readings],
            "mode": self.mode,
            "destination": self.destination,
            "schedule": self.schedule,
            "nextTimes": [moment.isoformat() for moment in self.next_times],
            "notes": list(self.notes),
            **({"files": self.by_file.to_json()} if self.by_file is not None else {}),
        }

    def _repr_html_(self) -> str:
        """The plan, in a notebook."""
        told = [
            ("guarantee", "\n".join([self.guarantee.level, *(f"- {reason}" for reason in self.guarantee.reasons)])),
            ("schedule", self.schedule),
            ("files", f"{self.files} to read, {self.by_file.done} skipped" if self.by_file is not None else None),
            ("next times", "\n".join(moment.isoformat() for moment in self.next_times)),
            ("notes", "\n".join(self.notes)),
        ]
        readings = [[one.table, one.load, one.low or "the start", one.rows, "yes" if one.exists else "no"] for one in self.readings]
        head = ["read", "into", "from", "rows there", "target exists"]
        return notebook.lines(self.service, self.graph) + notebook.table(head, readings) + notebook.facts(told)


_APART = "large tables are read in parts, each from a snapshot of its own, for no launcher keeps one for all"


def refuse_unserved(job: Job) -> None:
    """Refuse a service that is not whole.

    Raises:
        PlanError: `spec-incomplete`.
    """
    definition = job.definition
    if definition.kind == "incomplete":
        raise PlanError(
            f"the definition {definition.name or job.service!r} cannot be run: {', '.join(definition.missing)} is missing",
            code="spec-incomplete",
        )
    if definition.source is None:
        raise refusal("validation", "expected a source beside the rules, to read rows from: here, or as --input", "spec-incomplete")


def make_plan(job: Job, context: RunContext, *, every_step: bool = False) -> Plan:
    """Plan a run: connect, ask catalogs and ledger, read no row, write nothing.

    Args:
        job: The service.
        context: Of the run.
        every_step: Try on the columns of each table all steps that need no sample. A run leaves that to Prepare, which does it anyway,
            and goes by what the last run wrote down where it can: to compile expressions takes DuckDB, and a small run waits for that.

    Raises:
        PlanError: A part cannot do what is asked, or is not served; names the key.
    """
    refuse_unserved(job)
    definition = job.definition
    steps = job.steps()
    with contextlib.closing(job.open_source(context)) as source, contextlib.closing(job.open_target(context)) as target:
        policy = job.policy(context)
        _check_mode(job, policy, source, target)
        if job.live:
            from beam_pipelines.engine.live.plan import check_live

            check_live(job, context)
        described: dict[str, tuple[str, Described]] = {}
        guarantees: dict[str, Guarantee] = {}
        by_file: FilePlan | None = None
        if job.by_file:
            from beam_pipelines.engine.files import check_steps

            check_steps(job)
        for load, table in job.loads(source.tables()).items():
            head = target.standing(job.service, load)
            chosen = chosen_files(job, context, source, target, load, head, fingerprint(job, source, table, load)) if job.by_file else None
            about = source.describe(table) if chosen is None or not chosen.nothing else None
            by_file = FilePlan.of(chosen, target, load, job.shard_size) if chosen is not None else None
            if about is None or (chosen is not None and chosen.unread):
                described[load] = table, Described(schema_from_text(head.schemas[""]) if "" in head.schemas else pa.schema([]))
                guarantees[load] = _guarantee(job, context, policy, source, target, None, described[load][1].schema, steps, None)
                continue
            described[load] = table, about
            if not guarantees:
                sides = _check_joins(job, context, source, about, steps)
            if every_step:
                planned = _try(job, steps, about.schema)
                check_rows(job, context, Window(job.service, load, table, context.run, 0, schemas=planned))
            cursor = _decided(source, policy, table, about.schema)
            # Derived at once: what a source assumes of a cursor is about the table that was described last.
            guarantees[load] = _guarantee(job, context, policy, source, target, cursor, about.schema, steps, sides)
            _check_deduplicates(job, cursor, policy, _versioned(job, cursor, about.schema, steps, sides) is True)
        outputs = check_outputs(job, context, target, list(described), [table for table, _ in described.values()])
        made = promises(guarantees)
        if policy.swap:
            _check_swap(target, described)
        readings = _readings(job, context, described, source, target)
        for promise in made:
            require(definition.delivery, promise)
        _check_price(job)
        return Plan(
            service=job.service,
            graph=(*_graph(job, source, target, joins_of(job, context)), *outputs),
            guarantee=weakest(made),
            readings=readings,
            mode=job.destination.mode,
            destination=job.load_of("{table}"),
            schedule=definition.schedule.describe() if definition.schedule else None,
            next_times=tuple(definition.schedule.next(datetime.now(timezone.utc), 5)) if definition.schedule else (),
            notes=tuple(_notes(job, policy, steps, target, source.cursor)),
            promises=made,
            by_file=by_file,
        )


def _check_mode(job: Job, policy: Policy, source: Source, target: Target) -> None:
    path, cursor = "pipeline.destination.mode", source.cursor
    if job.destination.mode not in target.traits.modes:
        raise refusal(
            path,
            f"{target.traits.system} does not serve mode {job.destination.mode!r}, only {', '.join(target.traits.modes)}",
            "mode-refused",
        )
    if policy.whole and cursor is not None and job.destination.mode == "replace":
        raise refusal(
            path,
            "replace without keyFields replaces the whole table, but the source gives only what is new; use upsert, or give keyFields",
            "mode-refused",
        )
    if policy.swap and not target.traits.swaps:
        raise refusal(
            "pipeline.destination.strategy",
            f"swap renames a new table into place, which is served for PostgreSQL, DuckDB and SQLite, not for {target.traits.system};"
            " delete-insert replaces in one transaction as well",
            "mode-refused",
        )
    if cursor is None:
        return
    if not source.traits.incremental:
        raise refusal("pipeline.source", f"{source.traits.system} cannot be read incrementally", "cursor-invalid")
    for step in job.definition.steps:
        if step.type == "union" and job.destination.mode == "insert":
            raise refusal(
                path,
                f"the source gives only what is new, and {step.id!r} adds all rows of its source in every run, which insert would double:"
                " use upsert with keyFields, or read the source whole",
                "mode-refused",
            )
        what = _of_all_rows(step)
        if what and job.destination.mode != "insert":
            raise refusal(
                path,
                f"the source gives only what is new, so {job.destination.mode} would put the {what} of the new rows by {step.id!r} in the"
                f" place of those of all rows: read without a cursor, or use insert, which keeps one set of {what} a run",
                "mode-refused",
            )


def _of_all_rows(step: StepBase) -> str | None:
    """What a step works out that only all rows of the source can tell, in words; None: it works on what there is."""
    if step.type == "sort":
        return "numbers" if getattr(step, "output", None) else None
    return "totals" if sums_up(step) else "first rows" if step.type in ("top", "limit") else None


def _check_deduplicates(job: Job, cursor: CursorSpec | None, policy: Policy, versioned: bool) -> None:
    """Refuse to let one of what is new take the place of one of all rows, but where the newest stays and the target keeps it."""
    if cursor is None or policy.mode == "insert":
        return
    version = _version_name(job, cursor) if versioned and policy.mode == "upsert" else None
    for place, model in enumerate(job.definition.steps):
        if model.type != "deduplicate":
            continue
        step = cast("DeduplicateStep", model)
        first = next(iter(terms(step.order_by)), None)
        newest = first is not None and step.keep == ("first" if first.descending else "last")
        by = _arrives(job, first.field, place + 1) if first is not None and newest else None
        if step.by is None or (version and by and by.lower() == version.lower()):
            continue  # rows that are alike in all columns may take each other's place
        raise refusal(
            "pipeline.destination.mode",
            f"the source gives only what is new, so {policy.mode} would put the {step.keep} of the new rows by {step.id!r} in the place of"
            " that of all rows: read without a cursor, use insert, which keeps one row of what is new a run, or upsert with keep: last and"
            f" an orderBy that begins with the column that orders versions{f', {version!r}' if version else ', which must arrive'}",
            "mode-refused",
        )


def _version_name(job: Job, cursor: CursorSpec) -> str | None:
    """What the column that orders versions is called in the target, if it arrives there."""
    return getattr(job.destination, "version_column", None) or _arrives(job, cursor.column, 0)


def _arrives(job: Job, column: str, place: int) -> str | None:
    """The name in the target of a column that comes to a step."""
    name = trace([column], job.definition.steps[place:], exact=False).get(column)
    return snake(name) if name and job.definition.naming == "snake" else name


def _check_joins(job: Job, context: RunContext, source: Source, described: Described, steps: Sequence[Step]) -> Window:
    """Open the right sides of joins, tell the steps about them, and refuse what does not fit as far as it is known without a row.

    Returns:
        A window with the sides, and no more.
    """
    window = Window(job.service, "", "", context.run, 0, started_at=context.started_at)
    window = with_sides(job, window, context, incremental=source.cursor is not None)
    acquainted(job, steps, window)
    last = max((position for position, step in enumerate(steps) if step.type in ("join", "enrich", "union", "validate")), default=-1)
    _try(job, steps[: last + 1], described.schema)
    return window


def _try(job: Job, steps: Sequence[Step], schema: pa.Schema) -> dict[str, str]:
    """Plan steps one behind the other, up to one that needs a sample; gives their schemas as a window has them."""
    schema = origin.visible_schema(schema)
    planned = {"": schema_to_text(schema)}
    for place, step in enumerate(steps):
        if step.needs_sample:
            break
        schema = step.plan(schema, None)
        planned[step.id] = schema_to_text(schema)
        try:
            origin.refuse_reserved(schema.names)
        except PlanError as error:
            raise refusal(f"{job.definition.steps_path}[{place}]", error.message, error.code) from error
    return planned


def _check_swap(target: Target, loads: Iterable[str]) -> None:
    """Refuse, before anything is read, what Commit would refuse."""
    for load in loads:
        obstacles = target.obstacles(load)
        if obstacles:
            raise refusal("pipeline.destination.strategy", obstructed(load, obstacles), "mode-refused")


def _check_overlap(cursor: CursorSpec, policy: Policy, source: Source) -> None:
    path = "pipeline.source.cursor.overlap"
    loose = cursor.stamped_by == "client" or cursor.kind == "date" or not source.traits.safe_ceiling
    if loose and not cursor.overlap:
        why = (
            "dates arrive backdated"
            if cursor.kind == "date"
            else f"{cursor.column!r} is stamped by its {cursor.stamped_by} on {source.traits.system}"
        )
        raise refusal(
            path, f"{why}, so a row may arrive below the watermark: say how far back to read again (such as 1h)", "cursor-invalid"
        )
    if cursor.overlap and policy.mode == "insert" and not policy.whole:
        raise refusal(path, "rows are read again, so mode insert would double them; use upsert with keyFields", "cursor-invalid")


def _check_price(job: Job) -> None:
    """Refuse a price that could not be worked out after the rows are committed."""
    pricing = job.definition.pricing
    if pricing is None:
        return
    if job.live and pricing.model != "per-hour":
        raise refusal("pricing.model", f"a stream is priced per-hour: it does not end, got {pricing.model}", "not-served")
    if job.live:
        return
    if pricing.model == "per-hour":
        raise refusal("pricing.model", "per-hour prices streams; a service that ends is priced per-gb or per-record", "not-served")
    last = pricing.tier_list[-1] if pricing.tier_list else None
    if last is not None and last.max is not None:
        raise refusal(
            "pricing.tiers",
            f"the last tier ends at {last.max}, so more than that would have no price; leave its max out, or write Infinity",
            "spec-invalid",
        )
    types = {step.id: step.type for step in job.definition.steps}
    for key in pricing.additional_costs:
        if not metered_steps(key, types):
            raise refusal(f"pricing.additionalCosts.{key}", "no step is metered by it; it would charge nothing", "spec-invalid")


def _decided(source: Source, policy: Policy, table: str, schema: pa.Schema) -> CursorSpec | None:
    """The source's cursor as it is for one table."""
    if source.cursor is None:
        return None
    try:
        column = schema.field(match_column(source.cursor.column, schema.names, table))
        # The kind that is not stated follows from the column's type: a date needs an overlap, said or not.
        decided = decide_kind(source.cursor, column.type)
    except PlanError as error:
        raise refusal("pipeline.source.cursor.column", error.message, error.code) from error
    _check_overlap(decided, policy, source)
    if decided.kind == "sequence" and decided.overlap and source.cursor.kind != "sequence":
        # Without its kind the overlap was read as a time.
        raise refusal(
            "pipeline.source.cursor.overlap",
            f"{column.name!r} holds numbers, of which an overlap is a count: say kind: sequence beside it",
            "cursor-invalid",
        )
    return replace(decided, column=column.name)


def _readings(
    job: Job, context: RunContext, described: Mapping[str, tuple[str, Described]], source: Source, target: Target
) -> tuple[Reading, ...]:
    readings = []
    with spares.together():
        known = {load: (target.standing(job.service, load), target.describe(load) is not None) for load in described}
    for load, (table, about) in described.items():
        head, exists = known[load]
        low = str(head.mark) if head.mark and source.cursor and not context.full_refresh else None
        if job.live and head.mark and not context.full_refresh:
            low = "the offsets that the last commit stored"
        readings.append(Reading(table, load, low, about.rows, exists))
    return tuple(readings)


def _guarantee(
    job: Job,
    context: RunContext,
    policy: Policy,
    source: Source,
    target: Target,
    cursor: CursorSpec | None,
    schema: pa.Schema,
    steps: Sequence[Step],
    sides: Window | None,
) -> Guarantee:
    if job.live:
        from beam_pipelines.engine.live.plan import promise

        return promise(job, target, source.traits.assumptions)
    return derive(
        mode=policy.mode,
        whole=policy.whole,
        swap=policy.swap,
        transactional=target.traits.transactional,
        cursor=cursor.column if cursor else None,
        kind=cursor.kind if cursor else "timestamp",
        overlap=cursor.overlap if cursor else 0.0,
        kept=target.traits.keeps,
        by_file=job.by_file,
        versioned=_versioned(job, cursor, schema, steps, sides) if policy.mode == "upsert" and sides is not None else False,
        assumptions=(*source.traits.assumptions, *([] if context.local or not source.traits.snapshot else [_APART])),
    )


def _versioned(job: Job, cursor: CursorSpec | None, schema: pa.Schema, steps: Sequence[Step], sides: Window) -> bool | None:
    """Whether rows arrive with a version, as Prepare will find it; None while only a sample could tell what a function gives."""
    if getattr(job.destination, "version_column", None):
        return True
    if cursor is None or added_without(job, sides, cursor.column):
        return False
    name = trace([cursor.column], job.definition.steps, exact=False).get(cursor.column)
    if name is None or all(step.type != "function" for step in steps):
        return name is not None
    for step in steps:
        if step.needs_sample:
            return None
        schema = step.plan(schema, None)
    return name in schema.names


def _graph(job: Job, source: Source, target: Target, told: Mapping[str, str]) -> list[str]:
    what = ", ".join(source.tables())
    cursor = f", new by {source.cursor.column!r}" if source.cursor else ""
    lines = [f"read {what} from {getattr(job.definition.source, 'connection_name', None) or 'files'} ({source.traits.system}{cursor})"]
    if job.window_at is not None:
        from beam_pipelines.engine.live.plan import window_line

        step = job.definition.steps[job.window_at]
        told = {**told, step.id: window_line(cast("WindowStep", step))}
    lines += [f"{step.id}: {told.get(step.id, step.type)}{'' if step.required else ' (not required)'}" for step in job.definition.steps]
    where = getattr(job.destination, "connection_name", None) or "files"
    if job.live:
        from beam_pipelines.engine.live.plan import sink_lines

        return [*lines, *sink_lines(job, target)]
    if not target.traits.keeps:
        return [*lines, "count what goes on: it is not kept"]
    return [*lines, f"{job.destination.mode} into {job.load_of('{table}')} at {where} ({target.traits.system})"]


def _notes(job: Job, policy: Policy, steps: Sequence[Step], target: Target, cursor: CursorSpec | None) -> list[str]:
    notes = list(_notes_on_what_is_new(job)) if cursor is not None else []
    joins = [step.id for step in job.definition.steps if sided(step)]
    if joins and cursor is not None:
        notes.append(
            f"the right side of {', '.join(map(repr, joins))} is read whole in every run, but a row of it that changes does not bring back"
            " the rows that were joined with it before: those are joined anew when they change, or with --full-refresh"
        )
    if policy.mode != "insert" and not policy.whole:
        notes += [
            f"{step.id}: when a list gets shorter, the elements that are gone stay in the target, for {policy.mode} by key deletes no row"
            " that does not come: to lose them, read the source whole and use replace without keyFields"
            for step in job.definition.steps
            if step.type == "explode"
        ]
    if calls.asks(job):
        notes.append("what is tried again, of a run or of a part of it, asks an API again: what it is asked must change nothing there")
    if policy.whole and not target.traits.transactional and format_of(job.load_of("{table}")) != target.traits.system:
        notes.append("while the files of the folder are exchanged, a reader may see old and new ones; one file as path has no such moment")
    if True in [step.needs_sample for step in steps]:  # of each, for it finds the function
        notes.append(
            "what functions without a declared output return is sampled from at most 1,000 rows at the first run, and enforced from then on"
        )
    if job.definition.schedule:
        notes.append("a run by hand does not wait for the schedule")
    return notes


def _notes_on_what_is_new(job: Job) -> Iterator[str]:
    """What steps that look at several rows mean where a run reads only what is new."""
    for step in job.definition.steps:
        if sums_up(step):
            yield f"{step.id} sums up what is new in each run: the target gets one set of totals a run"
        elif step.type in ("top", "limit"):
            yield f"{step.id} keeps the first of what is new in each run: rows that it drops are not read again"
        elif step.type == "sort":
            yield f"{step.id} orders what is new in each run: the rows of a group that earlier runs loaded are not among it"
        elif step.type == "union":
            yield f"{step.id} adds all rows of its source to what is new in each run"
        elif any(rule.type == "unique" for rule in getattr(step, "rules", ())):
            yield f"{step.id} looks for values that repeat among what is new in each run: what earlier runs loaded is not looked at"
        elif step.type == "deduplicate":
            yield f"{step.id} drops rows that are alike among what is new in each run: what earlier runs loaded is not looked at"
