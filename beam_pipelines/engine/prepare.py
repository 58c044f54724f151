"""Prepare: fix everything a retry must not change, once, at run time: window, ranges, schemas, keys. The target's ledger remembers it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING
from typing import cast as cast_type

import apache_beam as beam
import pyarrow as pa

from beam_pipelines.columnar import cast, expression, origin, types
from beam_pipelines.engine.bundle import PlainFn
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.latest import check_latest
from beam_pipelines.engine.lineage import group_columns, meant, snake, trace
from beam_pipelines.engine.live.noted import note_windows
from beam_pipelines.engine.progress import Reporter
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.engine.sides import acquainted, added_without, fix_sides, multiplies, plan_sides
from beam_pipelines.errors import FencedError, PlanError
from beam_pipelines.io import spares
from beam_pipelines.io.connector import CursorSpec, Described, Fixed, Policy, Source, Standing, Target, Topic
from beam_pipelines.io.sql.relation import match_column
from beam_pipelines.io.sql.swap import gone
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window, schema_from_text, schema_to_text
from beam_pipelines.transforms.step import Step

if TYPE_CHECKING:
    from beam_pipelines.engine.files import Chosen

__all__ = ["KEYS", "TARGET", "TERMS", "NothingToSampleError", "Prepare", "check_fingerprints", "fingerprint", "prepare", "windows_of"]

CODE = "~"  # key of the digest of steps and functions, beside the schemas that were sampled of them
KEYS = "#"  # key of the names of the columns that name a row
SOURCE = "^"  # key of the schema of all that the source has, where only a part of it is read; with a join's id, of what it meets
TERMS = "="  # key of the expressions that were compiled for the steps, as `expression.write_down` gives them
TARGET = "*"  # key of the target's schema among a window's schemas: no step can be called so
_LOG = logging.getLogger(__name__)
_OURS = ("_bp_row", "_bp_rank")  # columns that the merge puts beside those that are staged
_SHORT = 100_000  # rows that are read in less than a second: for so long a file may be kept from others
_SAMPLE = 1000  # rows that tell what a function returns; more would be a read of its own


def prepare(job: Job, context: RunContext) -> dict[str, Window]:
    """Fix the windows of every load of a run, or read back those that stand.

    Raises:
        PlanError: The parts do not fit (no such column, key missing, fingerprint changed, ...); nothing was read.
    """
    with contextlib.closing(job.open_source(context)) as source, contextlib.closing(job.open_target(context)) as target:
        loads = job.loads(source.tables())
        with spares.together():
            fixed = {row.load: row.window for row in target.rows(job.service, context.run)}
            heads = {load: target.standing(job.service, load) for load in loads if load not in fixed}
        return {load: fixed.get(load) or _fix(job, context, source, target, table, load, heads[load]) for load, table in loads.items()}


def _fix(job: Job, context: RunContext, source: Source, target: Target, table: str, load: str, head: Standing) -> Window:
    policy = job.policy(context)
    mark = fingerprint(job, source, table, load)
    chosen = chosen_files(job, context, source, target, load, head, mark) if job.by_file else None
    begun = Window(
        service=job.service,
        load=load,
        table=table,
        run=context.run,
        generation=head.generation,
        fingerprint=mark,
        started_at=context.started_at,
        by_file=job.by_file,
        live=job.live,
        waits=_waits(job) if job.live else (),
        early=context.early,
        session=context.session,
        options=job.reading if job.by_file else "",
        skipped=chosen.done if chosen is not None else 0,
        waiting=chosen.waiting if chosen is not None else 0,
        hidden=chosen.hidden if chosen is not None else 0,
        closed=len(chosen.closed) if chosen is not None else 0,
        gone=chosen.gone if chosen is not None else 0,
    )
    if chosen is not None and chosen.closed:
        _LOG.warning("%d folders cannot be read, and what is in them is not known, such as %s", len(chosen.closed), chosen.closed[0])
    if chosen is not None and chosen.gone:
        _LOG.warning("the folder of the outputs of %d files is gone: --full-refresh writes them again", chosen.gone)
    if chosen is not None and chosen.nothing:
        return target.prepare(_without_files(head, begun), context)
    while True:
        described = _described(job, source, table, head, mark)
        try:
            return _planned(job, context, source, target, begun, policy, head, chosen, described)
        except PlanError as error:
            if chosen is None or error.code != "type-unsupported" or chosen.unread:
                raise
            chosen.without(error, _arriving(job, described))


def _waits(job: Job) -> tuple[tuple[str, str], ...]:
    """Who gets what commits of a stream keep, as `runs.window.Window.waits`."""
    from beam_pipelines.engine.sinks.every import sinks_of  # which imports this module, and few services are streams

    return tuple((sink.note, f"{sink.id} {sink.what}") for sink in sinks_of(job))


def _arriving(job: Job, described: Described) -> dict[str, str]:
    """What the columns of the source are called in the target, where they arrive there."""
    rename: Callable[[str], str] = snake if job.definition.naming == "snake" else str
    return {source: rename(name) for source, name in trace(described.schema.names, job.definition.steps, exact=False).items()}


def _planned(
    job: Job,
    context: RunContext,
    source: Source,
    target: Target,
    begun: Window,
    policy: Policy,
    head: Standing,
    chosen: Chosen | None,
    described: Described,
) -> Window:
    """The rest of `_fix`, once it is known what there is to read."""
    table, load, mark = begun.table, begun.load, begun.fingerprint
    if chosen is not None and chosen.unread:
        # No file can be read, so there is nothing to plan either: each is told of, and that is all.
        fixed = source.fix(table, None, None, False, 1)
        window = replace(_without_files(head, begun), ranges=_ranges(chosen, fixed, load))
        return target.prepare(window, context)
    origin.refuse_reserved(described.schema.names)
    _same_fingerprint(context, head, mark, load)
    cursor = source.cursor
    low = (None if context.full_refresh else head.mark) if job.live else _low(cursor, head, context)
    window = replace(
        begun,
        low=low,
        # Below a safe ceiling nothing can come at the watermark itself any more, so it is not read again: a bulk update that stamps
        # a million rows alike would otherwise be read, and billed, on every run. An overlap reads again anyway.
        inclusive=bool(cursor and cursor.overlap),
        full=low is None,
    )
    try:
        window = plan_schemas(job, window, source, described, head, context)
    except NothingToSampleError as unknown:
        if job.live:
            # Offsets would move on, or stand still, without a plan: the one loses what waits, the other drains for ever.
            raise refusal(
                f"{job.definition.steps_path}[{job.step_ids.index(unknown.step)}]",
                f"no message of the topic can be read yet, so what the function {unknown.step!r} gives cannot be found out: declare it",
                "empty-source",
                hint="output: {id: bigint, name: text}",
            ) from None
        # There is no row, so there is nothing to plan either: the run ends empty, and makes no table.
        return target.prepare(window.with_schema("", described.schema).with_schema(TARGET, pa.schema([])), context)
    window = window.with_schema(TARGET, target.stored(window.schema(TARGET)))
    if any(step.type == "validate" for step in job.definition.steps):
        from beam_pipelines.engine.outputs import check_rows  # few services have rules

        check_rows(job, context, window)
    there = target.describe(load)
    if target.traits.keeps:
        _same_target(context, head, there, load)
    window = _same_keys(job, context, head, choose_keys(job, window, policy, described, there, cursor))
    check_latest(job, window, policy, described.primary_key or tuple(getattr(job.definition.source, "key_fields", ())))
    _check_fit(window, target, policy, there)
    fixed = source.fix(table, cursor, low, window.inclusive, 1 if job.by_file and job.shard_size is None else _parts(described))
    window = fix_sides(job, window, context, _parts)
    window = replace(
        window,
        ceiling=fixed.ceiling,
        ceiling_inclusive=fixed.inclusive,
        ranges=_ranges(chosen, fixed, load),
        snapshot=fixed.snapshot,
        ceiling_by=fixed.by,
        held=fixed.held,
        there=there is not None,
    )
    return target.prepare(window, context)


def _described(job: Job, source: Source, table: str, head: Standing, mark: str) -> Described:
    """What is read; of a topic what is declared, else what the last commit knew, for only a sample of its messages tells."""
    if job.live and head.fingerprint == mark and SOURCE in head.schemas:
        declared = cast_type("Topic", source).declared_schema()
        return Described(schema_from_text(head.schemas[SOURCE]) if declared is None else declared)
    return source.describe(table)


def _ranges(chosen: Chosen | None, fixed: Fixed, load: str) -> tuple[Range, ...]:
    ranges = chosen.named(fixed.ranges) if chosen is not None else fixed.ranges
    return tuple(replace(part, load=load) for part in ranges)


def _without_files(head: Standing, begun: Window) -> Window:
    """The window of a run that finds no new file: what is planned stands as the last commit left it."""
    nothing = schema_to_text(pa.schema([]))
    return replace(begun, schemas={"": nothing, TARGET: nothing, **head.schemas})


def fingerprint(job: Job, source: Source, table: str, load: str) -> str:
    """What a watermark belongs to: source, query, cursor and target, hashed."""
    connection = getattr(job.definition.source, "connection_name", None) or ""
    where = getattr(job.destination, "connection_name", None) or ""
    joined = [job.side(step).definition.source for step in job.live_joins]
    topics = [f"joined with {source.topic} at {source.connection_name}" for source in joined]
    text = "\n".join([connection, source.identity(table), where, load, *topics])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_fingerprints(job: Job, context: RunContext, target: Target) -> None:
    """Refuse to go on from a watermark of another source or target.

    Raises:
        PlanError: `fingerprint-changed`.
    """
    with contextlib.closing(job.open_source(context)) as source:
        for load, table in job.loads(source.tables()).items():
            _same_fingerprint(context, target.standing(job.service, load), fingerprint(job, source, table, load), load)


def chosen_files(job: Job, context: RunContext, source: Source, target: Target, load: str, head: Standing, mark: str) -> Chosen:
    """The files that a run reads, of a service whose unit is the file."""
    from beam_pipelines.engine.files import choose  # most services read no files

    return choose(job, context, source, target, load, head, mark)


def _same_fingerprint(context: RunContext, head: Standing, now: str, load: str) -> None:
    if head.fingerprint and head.fingerprint != now and head.mark and not (context.full_refresh or context.keep_watermark):
        raise PlanError(
            f"the source, query, cursor or target of {load!r} changed since the watermark {head.mark} was stored, so it may not mean"
            " the same; run with --full-refresh to read everything again, or with --keep-watermark to go on from it",
            code="fingerprint-changed",
        )


def _same_target(context: RunContext, head: Standing, there: Described | None, load: str) -> None:
    if there is None and head.mark and not (context.full_refresh or context.keep_watermark):
        raise PlanError(gone(load, f"the ledger knows its rows up to the watermark {head.mark}"), code="table-missing")


def _same_keys(job: Job, context: RunContext, head: Standing, window: Window) -> Window:
    """Note the columns that name a row, and refuse others than the last commit's where nobody has said so: a key was changed by hand."""
    keys, before = ", ".join(sorted(window.key_fields)), head.schemas.get(KEYS)
    given = bool(getattr(job.destination, "key_fields", ()))
    if before and keys and before != keys and not (given or context.full_refresh or context.keep_watermark):
        raise refusal(
            "pipeline.destination.keyFields",
            f"the rows of {window.load!r} were named by {before} so far, and would be by {keys} now, for a primary key was changed: give"
            " keyFields, or run with --keep-watermark to go on with the new ones, or with --full-refresh",
            "key-missing",
        )
    return replace(window, schemas={**window.schemas, KEYS: keys})


def _low(cursor: CursorSpec | None, head: Standing, context: RunContext) -> Mark | None:
    """The watermark less the overlap; None on a first, full or cursorless run."""
    if cursor is None or context.full_refresh or head.mark is None:
        return None
    if not cursor.overlap:
        return head.mark
    value = head.mark.value
    if head.mark.type in ("timestamp", "timestamptz"):
        return Mark.of(value - timedelta(seconds=cursor.overlap))
    if head.mark.type == "date":
        return Mark.of(value - timedelta(days=-(-cursor.overlap // 86400)))
    if head.mark.type == "text":
        return head.mark  # the source alone knows how its text is a time: it takes the overlap off itself
    return Mark.of(value - type(value)(cursor.overlap))


class NothingToSampleError(Exception):
    """A function's output would be sampled, but the source is empty.

    Args:
        step: Id of the function's step, the first of several.
    """

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


def plan_schemas(job: Job, window: Window, source: Source, described: Described, head: Standing, context: RunContext) -> Window:
    """Plan the schema after every step; what a function returns is sampled once, kept with the fingerprint, and enforced from then on.

    Where neither source nor steps changed since the last commit, its schemas stand, and nothing is planned again.
    """
    code = job.code()
    # What was planned belongs to the code that planned it, and to the source it came from; a full refresh begins anew.
    stands = head.fingerprint == window.fingerprint and head.schemas.get(CODE) == code and not context.full_refresh
    known = head.schemas if stands else {}
    schema = origin.visible_schema(described.schema)
    whole = schema_to_text(schema)
    same = known.get(SOURCE) == whole
    window = replace(window, schemas={"": known[""] if same else whole, SOURCE: whole, CODE: code})
    steps = job.steps()
    told = {} if context.full_refresh or head.fingerprint != window.fingerprint else _told(job, head)
    window = with_sides(job, window, context, incremental=source.cursor is not None, told=told)
    window = replace(window, schemas={**window.schemas, **{SOURCE + side: window.sides[side].schemas[SOURCE] for side in _registered(job)}})
    acquainted(job, steps, window)
    # What a function declares may stand in a module that its digest does not know: it is asked each time.
    declared = any(step.type == "function" and not step.needs_sample for step in steps)
    if same and not declared and not window.sides and {TERMS, *job.step_ids} <= set(known):
        planned = replace(window, schemas={**window.schemas, **{name: known[name] for name in (TERMS, *job.step_ids)}})
        return planned.with_schema(TARGET, named(job, planned.schema(job.step_ids[-1] if job.step_ids else "")))
    sample: pa.RecordBatch | None = None
    unknown = next((step.id for step in steps if step.needs_sample and not (same and step.id in known)), None)
    if unknown is not None:
        sample = cast.conform(source.sample(window.table, _SAMPLE), schema).batch
        if not sample.num_rows:
            raise NothingToSampleError(unknown)
    before: list[pa.Schema] = []
    for step in steps:
        before.append(schema)
        if step.needs_sample and step.id in known and sample is None:
            schema = Window.schema(replace(window, schemas=known), step.id)
        else:
            schema, sample = _plan_step(step, schema, sample, window)
        window = window.with_schema(step.id, schema)
    if source.traits.columnar and steps:
        before, window = _narrowed(steps, before, window)
    window = replace(window, schemas={**window.schemas, TERMS: expression.write_down([*before, schema])})
    return window.with_schema(TARGET, named(job, schema))


def with_sides(
    job: Job, window: Window, context: RunContext, *, incremental: bool, told: Mapping[str, Described] = MappingProxyType({})
) -> Window:
    """The window with the right sides of the job's joins planned, as `plan_sides` does."""

    def plan(side: Job, part: Window, source: Source, described: Described) -> Window:
        return plan_schemas(side, part, source, described, Standing(), context)

    return plan_sides(job, window, context, plan, incremental=incremental, told=told)


def _told(job: Job, head: Standing) -> dict[str, Described]:
    """Topics that a stream meets as the last commit knew them: a schema that is registered later gives rows that wait no other meaning."""
    known = {side: head.schemas.get(SOURCE + side) for side in _registered(job)}
    return {side: Described(schema_from_text(text)) for side, text in known.items() if text is not None}


def _registered(job: Job) -> list[str]:
    """The joins of a stream with a topic whose columns a registry tells."""
    return [side for side in job.live_joins if job.side(side).definition.source.format == "avro"]


def _narrowed(steps: Sequence[Step], before: list[pa.Schema], window: Window) -> tuple[list[pa.Schema], Window]:
    """Plan the first steps again, to read only the columns that they use; what comes out of them is as it was."""
    from beam_pipelines.engine.columns import narrowing, read_by  # knows every kind of step, and few sources need it

    first = narrowing(steps)
    now = datetime.fromisoformat(window.started_at)
    with contextlib.ExitStack() as opened:
        for step, schema in zip(first, before, strict=False):
            step.open(schema, window.schema(step.id), now)
            opened.callback(step.close)
        read = read_by(first)
    if not read:
        return before, window
    schema = pa.schema([field for field in before[0] if field.name in read])
    window, before = window.with_schema("", schema), list(before)
    for place, step in enumerate(first):
        before[place] = schema
        schema = step.plan(schema, None)
        window = window.with_schema(step.id, schema)
    return before, window


def _plan_step(step: Step, schema: pa.Schema, sample: pa.RecordBatch | None, window: Window) -> tuple[pa.Schema, pa.RecordBatch | None]:
    planned = step.plan(schema, sample)
    origin.refuse_reserved(planned.names)
    if sample is None or step.type in ("join", "enrich", "union", "window") or getattr(step, "foreign_keys", None):
        return planned, None  # a sample of both sides would hardly meet, no API is asked for a plan, and windows need times
    if step.type == "sample":
        return planned, sample  # a share of it might be nothing
    step.open(schema, planned, datetime.fromisoformat(window.started_at))
    try:
        batches = step.apply(sample).batches
    finally:
        step.close()
    return planned, pa.concat_batches(batches) if batches else sample.slice(0, 0)


def named(job: Job, schema: pa.Schema) -> pa.Schema:
    """The schema with the target's names (`naming: snake`)."""
    if job.definition.naming != "snake":
        return schema
    return pa.schema([field.with_name(snake(field.name)) for field in schema])


def choose_keys(
    job: Job, window: Window, policy: Policy, described: Described, there: Described | None, cursor: CursorSpec | None
) -> Window:
    """Decide the columns that identify a row, the column that orders versions, and whether keys can repeat among the rows read.

    Raises:
        PlanError: `upsert` has no keys and neither side has a primary key; or a key is not among the columns.
    """
    columns = window.schema(TARGET).names
    rename: Callable[[str], str] = snake if job.definition.naming == "snake" else str
    steps = job.definition.steps
    exact = {source: rename(name) for source, name in trace(described.schema.names, steps, exact=True).items()}
    primary = described.primary_key or tuple(getattr(job.definition.source, "key_fields", ()))
    traced_key = tuple(exact[c] for c in described.primary_key) if set(described.primary_key) <= set(exact) else ()
    named = {source: rename(name) for source, name in trace(primary, steps, exact=False).items()}
    if multiplies(job, window):
        named = {}
    keys = tuple(getattr(job.destination, "key_fields", ()))
    if policy.mode == "upsert" and not keys:
        groups = group_columns(steps)
        if there and there.primary_key:
            keys = there.primary_key
        elif groups is not None:
            keys = tuple(meant(rename(group), columns) for group in groups)
        elif len(found := tuple(named[c] for c in primary if c in named and named[c] in columns)) == len(primary):
            keys = found
        if not keys:
            why = "neither the target nor the source has a primary key that arrives there"
            if groups is not None:
                why = "the target has no primary key, and no groupBy columns of the last aggregate arrive there as they are"
            raise refusal(
                "pipeline.destination.keyFields",
                f"upsert into {window.load!r} needs to know which columns name a row: give keyFields, for {why}",
                "key-missing",
            )
    for key in keys:
        if key not in columns:
            raise refusal(
                "pipeline.destination.keyFields",
                f"key {key!r} is not among the columns that arrive in {window.load!r}: {', '.join(columns)}",
                "key-missing",
            )
    return replace(
        window,
        key_fields=keys,
        version_column=_version(job, window, policy, match_column(cursor.column, described.schema.names, window.table) if cursor else None),
        source_key=described.primary_key,
        origin_key=tuple((c, exact[c]) for c in primary) if set(primary) <= set(exact) else (),
        unique_on=traced_key if set(traced_key) == set(keys) and traced_key else (),
    )


def _version(job: Job, window: Window, policy: Policy, cursor: str | None) -> str | None:
    """The column of the target that orders versions of a row: the one given, else the cursor's, where it arrives in all rows."""
    columns = window.schema(TARGET).names
    if policy.mode != "upsert":
        return None
    given = getattr(job.destination, "version_column", None)
    if given:
        if given not in columns:
            raise refusal(
                "pipeline.destination.versionColumn",
                f"versionColumn {given!r} is not among the columns that arrive: {', '.join(columns)}",
                "column-missing",
            )
        return str(given)
    if cursor is None or added_without(job, window, cursor):
        return None
    name = trace([cursor], job.definition.steps, exact=False).get(cursor)
    renamed = snake(name) if name and job.definition.naming == "snake" else name
    return renamed if renamed in columns else None


def _check_types(window: Window, target: Target, there: Described) -> None:
    """Say which columns the target holds in a type that may not keep what arrives, for it casts without a word; refuse keys among them.

    To an integer column, '7' and '07', or 1.2 and 1.4, are one key.
    """
    fold = str.lower if target.traits.folds_case else str
    kept = {fold(field.name): field.type for field in there.schema}
    for name, arrives, held in ((field.name, field.type, kept.get(fold(field.name), field.type)) for field in window.schema(TARGET)):
        if types.keeps_apart(arrives, held):
            continue
        if name in window.key_fields:
            raise refusal(
                "pipeline.destination.keyFields",
                f"key {name!r} arrives as {arrives}, but {window.load!r} holds it as {held}, to which different keys may be one: convert it"
                " in a map step",
                "mode-refused",
            )
        _LOG.warning(
            "column %r arrives as %s, but %r holds it as %s, which may round what comes: change the column's type, or convert it in a map"
            " step",
            *(name, arrives, window.load, held),
        )


def _check_fit(window: Window, target: Target, policy: Policy, there: Described | None) -> None:
    """Refuse, before anything is read, what Commit would refuse."""
    names = window.schema(TARGET).names
    if there is not None:
        _check_types(window, target, there)
    if target.traits.folds_case:
        folded: dict[str, str] = {}
        for name in names:
            other = folded.setdefault(name.lower(), name)
            if other != name:
                raise refusal(
                    "pipeline.destination",
                    f"columns {other!r} and {name!r} are the same to {target.traits.system}; rename one in a map step",
                    "mode-refused",
                )
    longest = target.traits.longest_name
    for name in window.load.split("."):
        if longest is not None and len(name.encode()) > longest:
            # Cut without a word, it would not be found by the next run. Columns are refused by the target, with their types.
            raise refusal(
                "pipeline.destination.table",
                f"{target.traits.system} cuts names at {longest} bytes, and {name!r} has {len(name.encode())}",
                "spec-invalid",
            )
    ours = [name for name in names if name.lower() in _OURS]
    if ours:
        raise refusal(
            "pipeline.destination", f"the column {ours[0]!r} has a name that the merge uses itself; rename it in a map step", "mode-refused"
        )
    if len(set(names)) != len(names):
        raise refusal("pipeline.destination", f"two columns arrive in {window.load!r} under one name: {', '.join(names)}", "mode-refused")
    if there is None:
        return
    fold = str.lower if target.traits.folds_case else str
    generated = [name for name in names if fold(name) in {fold(known) for known in there.generated}]
    if generated:
        raise refusal(
            "pipeline.destination.table",
            f"{window.load!r} computes {', '.join(map(repr, generated))} itself, and takes no value for it: leave it out in a map step",
            "mode-refused",
        )
    gone = [key for key in window.key_fields if fold(key) not in {fold(known) for known in there.schema.names}]
    if gone and policy.mode != "insert":
        raise refusal(
            "pipeline.destination.keyFields",
            f"{window.load!r} has no column {', '.join(map(repr, gone))}, so no row of it could be found by its key: add it, with values,"
            " or give other keyFields",
            "key-missing",
        )
    if not policy.evolve:
        new = [name for name in names if fold(name) not in {fold(known) for known in there.schema.names}]
        if new:
            raise refusal(
                "pipeline.destination.schema",
                f"freeze, but {window.load!r} lacks the columns {', '.join(new)}; add them, or drop them in a map step",
                "schema-frozen",
            )


def _parts(described: Described) -> int:
    """Ranges to cut a window into: each costs a connection, so small sources are read in one."""
    return max(1, min(16, (described.rows or 0) // 1_000_000))


def windows_of(texts: dict[str, str]) -> dict[str, Window]:
    """The windows that Prepare gave, by load."""
    return {load: Window.from_text(text) for load, text in texts.items()}


class _PrepareFn(PlainFn):
    def __init__(self, job: Job) -> None:
        self._job = job

    def process(self, element: bytes | str) -> Iterator[dict[str, str]]:
        context = RunContext.current()
        if context.drain and element != context.run:
            raise FencedError(f"drain {element!r} was given up before it began")
        windows = prepare(self._job.at(context), context)
        ranges = [part for window in windows.values() for part in window.ranges]
        spares.hold(sum(part.rows for part in ranges) <= _SHORT)
        with contextlib.closing(Reporter("prepare")) as report:
            report.open(context)
            report.flush(total_rows=sum(part.rows for part in ranges), total_bytes=sum(part.bytes for part in ranges))
        texts = {load: window.to_text() for load, window in windows.items()}
        if context.drain:
            note_windows(context.run, texts)
        yield texts


class Prepare(beam.PTransform):
    """Fix the windows of a run: one element, `{load: window as text}`."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    def expand(self, seed: beam.pvalue.PCollection) -> beam.pvalue.PCollection:
        return seed | "Fix" >> beam.ParDo(_PrepareFn(self._job)).with_output_types(dict[str, str])
