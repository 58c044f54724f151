"""Rows as they leave a step, from a sample of the source: nothing is written, no watermark moves, no ledger row is made."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar import cast, dead, origin
from beam_pipelines.engine import calls, notebook
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.prepare import NothingToSampleError, plan_schemas
from beam_pipelines.engine.sides import acquainted, reference_name
from beam_pipelines.errors import Code, PlanError
from beam_pipelines.io.connector import Source, Standing
from beam_pipelines.io.files.whole import WholeFiles
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.window import Window
from beam_pipelines.transforms.aggregate import Aggregate
from beam_pipelines.transforms.grouped import Grouped
from beam_pipelines.transforms.grouped.blocks import placed
from beam_pipelines.transforms.join import Join
from beam_pipelines.transforms.join.live import LiveJoin
from beam_pipelines.transforms.step import Applied, DeadRows, Step
from beam_pipelines.transforms.union import Union
from beam_pipelines.transforms.validate import Validate
from beam_pipelines.transforms.window import Windowed

__all__ = ["Passed", "Preview", "follow", "preview"]

_FILES = 100  # files of a batch that are looked at: each is opened, and those of a bucket are far
_RIGHT = 10_000  # rows of the right side of a join that are looked at


@dataclass(frozen=True)
class Preview:
    """What a sample of rows becomes.

    Args:
        step: The step they have just left; empty for the source itself.
        schema: Its planned schema.
        rows: At most `limit` rows.
        dead: Rows of the sample that failed on the way: step, code, message, origin.
        read: Rows sampled.
        notes: What the sample cannot show.
    """

    step: str
    schema: pa.Schema
    rows: tuple[dict[str, Any], ...]
    dead: tuple[dict[str, Any], ...]
    read: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "columns": {field.name: str(field.type) for field in self.schema},
            "rows": list(self.rows),
            "dead": list(self.dead),
            "read": self.read,
            "notes": list(self.notes),
        }

    def _repr_html_(self) -> str:
        """A table, in a notebook."""
        dropped = notebook.facts([("dead letters", f"{len(self.dead)} of {self.read} sampled rows became dead letters")])
        head = [f"{field.name}\n{field.type}" for field in self.schema]
        rows = notebook.table(head, ([row[name] for name in self.schema.names] for row in self.rows))
        return rows + (dropped if self.dead else "")


def preview(job: Job, context: RunContext, step: str | None = None, limit: int = 20) -> Preview:
    """Show rows as they leave a step.

    Args:
        job: The service.
        context: Any; nothing is run.
        step: Step id, None: the last step (or the source, when there is none).
        limit: Rows to sample and show.

    Raises:
        PlanError: No such step; the parts do not fit.
    """
    wanted = step if step is not None else (job.step_ids[-1] if job.step_ids else "")
    if wanted and wanted not in job.step_ids:
        raise PlanError(f"expected one of the steps {', '.join(job.step_ids) or '(none)'}, got {wanted!r}", code="option-invalid")
    source = job.open_source(context)
    try:
        chosen = _first_files(job, source)
        table = source.tables()[0]
        try:
            window = _window(job, context, source, table)
        except NothingToSampleError:
            return Preview("", source.describe(table).schema, (), (), 0)
        sample = source.sample(table, limit)
    finally:
        source.close()
    way = _Way(context, limit, notes=_of_files(chosen, source))
    try:
        batches = way.walk(job, window, sample, wanted, "extract")
    finally:
        calls.leave()
    rows = [row for batch in batches for row in origin.visible(batch).to_pylist()]
    failed = [{key: letter[key] for key in ("step", "code", "message", "origin")} for batch in way.letters for letter in batch.to_pylist()]
    return Preview(wanted, window.schema(wanted), tuple(rows[:limit]), tuple(failed), sample.num_rows, tuple(way.notes))


def _first_files(job: Job, source: Source) -> int:
    """Have a source whose unit is the file read the first ones, whatever runs did with them; gives how many there are, 0 of others."""
    if not job.by_file or not isinstance(source, WholeFiles):
        return 0
    return source.choose_first(_FILES)


def _of_files(there: int, source: Source) -> list[str]:
    notes = []
    if there > _FILES:
        notes.append(f"the first {_FILES} of {there:,} files are looked at, whatever runs did with them")
    if there and isinstance(source, WholeFiles) and source.broken:
        notes.append(f"{source.broken:,} of the files cannot be read: a run makes a dead letter of each, or stops (errorHandling)")
    return notes


@dataclass(frozen=True)
class Passed:
    """What became of sampled rows in one step.

    Args:
        schema: Planned for what leaves it.
        batches: What leaves it.
        filtered: Rows that it dropped on purpose.
        dead: Rows that died in it, those included that did not fit its planned schema.
    """

    schema: pa.Schema
    batches: tuple[pa.RecordBatch, ...]
    filtered: int
    dead: tuple[DeadRows, ...]


def follow(job: Job, context: RunContext) -> tuple[dict[str, Passed], list[pa.RecordBatch], pa.Schema]:
    """Send a sample of the source through all steps.

    Returns:
        What became of the rows in each step, those of joins' own sources included; what leaves the last one, and its schema.

    Raises:
        NothingToSampleError: What a function gives is not declared, and there is no row to tell.
        PlanError: The parts do not fit.
    """
    with contextlib.closing(job.open_source(context)) as source:
        table = source.tables()[0]
        window = _window(job, context, source, table)
        sample = source.sample(table, _RIGHT)
    way, last = _Way(context), job.step_ids[-1] if job.step_ids else ""
    batches = way.walk(job, window, sample, last, "extract")
    return way.passed, batches, window.schema(last)


def _window(job: Job, context: RunContext, source: Source, table: str) -> Window:
    window = Window(job.service, job.load_of(table), table, context.run, 0, started_at=context.started_at)
    return plan_schemas(job, window, source, source.describe(table), Standing(), context)


@dataclass
class _Way:
    """The way of sampled rows through the steps of a job, or of a side of it; dead letters and notes are gathered on it."""

    context: RunContext
    limit: int | None = None  # rows that are shown; None: none, but all are looked at
    letters: list[pa.RecordBatch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    passed: dict[str, Passed] = field(default_factory=dict)

    def walk(self, job: Job, window: Window, sample: pa.RecordBatch, wanted: str, begin: str) -> list[pa.RecordBatch]:
        """Return what the sample is behind a step.

        Args:
            job: Whose steps.
            window: Planned for it.
            sample: Of its source.
            wanted: Id of the last step to be carried out; empty: none is.
            begin: What dead letters name that die in the read.
        """
        batches, schema = [self._conform(sample, window.schema(), window, begin)], window.schema()
        steps = job.steps() if wanted else []
        acquainted(job, steps, window)
        calls.reach(job, steps, lambda: self.context)
        for one in steps:
            planned = window.schema(one.id)
            asked = calls.asked_by(job, one)
            self.notes += [f"{one.id!r} asked {name!r} about the sampled rows" for name in asked]
            if asked and self.limit is not None and sum(batch.num_rows for batch in batches) > self.limit:
                # A join, a union or an explode before it made more of them.
                batches = _first(batches, self.limit)
                self.notes.append(f"{one.id!r} was given the first {self.limit:,} rows, for each may be a call of an API")
            one.open(schema, planned, datetime.fromisoformat(window.started_at))
            try:
                results = self._results(job, window, one, batches)
            finally:
                one.close()
            died = [dead for result in results for dead in (*result.dead, *result.rejects)]
            self.letters += [_letters(dead, window, one.id) for dead in died]
            batches, schema = [self._conform(out, planned, window, one.id, died) for result in results for out in result.batches], planned
            self.passed[one.id] = Passed(planned, tuple(batches), sum(result.filtered for result in results), tuple(died))
            if one.id == wanted:
                break
        return batches

    def _conform(
        self, batch: pa.RecordBatch, schema: pa.Schema, window: Window, step: str, died: list[DeadRows] | None = None
    ) -> pa.RecordBatch:
        conformed = cast.conform(batch, schema)
        if conformed.bad:
            codes: list[Code] = ["cast-failed"] * len(conformed.bad)
            misfits = DeadRows(batch, conformed.bad, codes, conformed.reasons)
            self.letters.append(_letters(misfits, window, step))
            if died is not None:
                died.append(misfits)
        return conformed.batch

    def _results(self, job: Job, window: Window, step: Step, batches: list[pa.RecordBatch]) -> list[Applied]:
        """What a step makes of the sample; groups are those of all its batches together."""
        if isinstance(step, Aggregate):
            screened = [step.screened(batch) for batch in batches]
            rows = [part for one in screened for part in one.batches]
            states = [step.states(part, at << 40) for at, part in enumerate(rows)] or [step.nothing()]
            return [step.results(states, window.load), *(replace(one, batches=()) for one in screened)] if batches else []
        if isinstance(step, Grouped):
            blocks = [placed(batch, at << 40) for at, batch in enumerate(batches) if batch.num_rows]
            return [step.results(blocks)] if blocks else []
        if isinstance(step, Join):
            rows = self._right(job, window, step.id, "some rows may seem to meet nothing")
            if isinstance(step, LiveJoin):
                return [step.ended(pa.concat_batches(batches), rows)] if batches else []
            right = step.indexed(rows)
            results = [applied for batch in batches for applied in step.joined(batch, right)]
            return [*results, step.unmet(right, window.load)] if step.keeps_right else results
        if isinstance(step, Union):
            added = self._right(job, window, step.id, "not all of its rows are shown")
            if self.limit is not None and not job.path:
                # Rows of both are to be seen.
                batches = _first(batches, max(self.limit // 2, self.limit - sum(batch.num_rows for batch in added)))
            return [*map(step.apply, batches), *map(step.added, added)]
        if isinstance(step, Validate):
            for rule in step.foreign_keys:
                rows = self._right(job, window, reference_name(step.id, rule.id), "some rows may seem to refer to nothing")
                if rows:
                    step.refer(rule.id, pa.Table.from_batches([origin.visible(batch) for batch in rows]))
            return step.checked([batch for batch in batches if batch.num_rows])
        if isinstance(step, Windowed):
            if self.limit is not None:
                self.notes.append(f"windows of {step.id!r} hold what of them was sampled, and all of them come out")
            rows = [batch for batch in batches if batch.num_rows]
            return [step.apply(pa.concat_batches(rows))] if rows else []
        return [step.apply(batch) for batch in batches if batch.num_rows]

    def _right(self, job: Job, window: Window, step: str, so: str) -> list[pa.RecordBatch]:
        side, planned = job.side(step), window.sides[step]
        with contextlib.closing(side.open_source(self.context)) as source:
            # An API is asked about as many rows as are shown, and no more.
            rows = self.limit if self.limit is not None and calls.asks(side) else _RIGHT
            sample = source.sample(planned.table, rows)
        if sample.num_rows >= rows:
            self.notes.append(f"of the right side of {step!r} the first {rows:,} rows are looked at, so {so}")
        return self.walk(side, planned, sample, side.step_ids[-1] if side.step_ids else "", step)


def _first(batches: list[pa.RecordBatch], rows: int) -> list[pa.RecordBatch]:
    """The first so many rows."""
    cut, begin = [], 0
    for batch in batches:
        cut.append(batch.slice(0, max(rows - begin, 0)))
        begin += batch.num_rows
    return cut


def _letters(died: DeadRows, window: Window, step: str) -> pa.RecordBatch:
    at = datetime.fromisoformat(window.started_at)
    return dead.letters(died.batch, died.rows, load=window.load, step=step, codes=died.codes, messages=died.messages, at=at)
