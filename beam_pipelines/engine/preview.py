"""Rows as they leave a step, from a sample of the source: nothing is written, no watermark moves, no ledger row is made."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar import cast, dead, origin
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.prepare import NothingToSampleError, plan_schemas
from beam_pipelines.errors import Code, PlanError
from beam_pipelines.io.connector import Source, Standing
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.window import Window
from beam_pipelines.transforms.aggregate import Aggregate
from beam_pipelines.transforms.step import Applied, DeadRows, Step

__all__ = ["Preview", "preview"]


@dataclass(frozen=True)
class Preview:
    """What a sample of rows becomes.

    Args:
        step: The step they have just left; empty for the source itself.
        schema: Its planned schema.
        rows: At most `limit` rows.
        dead: Rows of the sample that failed on the way: step, code, message, origin.
        read: Rows sampled.
    """

    step: str
    schema: pa.Schema
    rows: tuple[dict[str, Any], ...]
    dead: tuple[dict[str, Any], ...]
    read: int

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "columns": {field.name: str(field.type) for field in self.schema},
            "rows": list(self.rows),
            "dead": list(self.dead),
            "read": self.read,
        }

    def _repr_html_(self) -> str:
        """A table, in a notebook."""
        head = "".join(f"<th>{html.escape(field.name)}<br><small>{html.escape(str(field.type))}</small></th>" for field in self.schema)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(row[name]))}</td>" for name in self.schema.names) + "</tr>" for row in self.rows
        )
        dropped = f"<p>{len(self.dead)} of {self.read} sampled rows became dead letters</p>" if self.dead else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{dropped}"


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
        table = source.tables()[0]
        try:
            window = _window(job, context, source, table)
        except NothingToSampleError:
            return Preview("", source.describe(table).schema, (), (), 0)
        sample = source.sample(table, limit)
    finally:
        source.close()
    return _through(job, window, sample, wanted, limit)


def _window(job: Job, context: RunContext, source: Source, table: str) -> Window:
    window = Window(job.service, job.load_of(table), table, context.run, 0, started_at=context.started_at)
    return plan_schemas(job, window, source, source.describe(table), Standing(), context)


def _through(job: Job, window: Window, sample: pa.RecordBatch, wanted: str, limit: int) -> Preview:
    letters: list[pa.RecordBatch] = []

    def conform(batch: pa.RecordBatch, schema: pa.Schema, step: str) -> pa.RecordBatch:
        conformed = cast.conform(batch, schema)
        if conformed.bad:
            codes: list[Code] = ["cast-failed"] * len(conformed.bad)
            letters.append(_letters(DeadRows(batch, conformed.bad, codes, conformed.reasons), window, step))
        return conformed.batch

    batches, schema = [conform(sample, window.schema(), "extract")], window.schema()
    for one in job.steps() if wanted else []:
        planned = window.schema(one.id)
        one.open(schema, planned, datetime.fromisoformat(window.started_at))
        try:
            results = _results(one, batches, window.load)
        finally:
            one.close()
        letters += [_letters(died, window, one.id) for result in results for died in result.dead]
        batches, schema = [conform(out, planned, one.id) for result in results for out in result.batches], planned
        if one.id == wanted:
            break
    rows = [row for batch in batches for row in origin.visible(batch).to_pylist()]
    failed = [{key: letter[key] for key in ("step", "code", "message", "origin")} for batch in letters for letter in batch.to_pylist()]
    return Preview(wanted, schema, tuple(rows[:limit]), tuple(failed), sample.num_rows)


def _results(step: Step, batches: list[pa.RecordBatch], load: str) -> list[Applied]:
    """What a step makes of the sample; groups are those of all its batches together."""
    if isinstance(step, Aggregate):
        return [step.results([step.states(batch, at << 40) for at, batch in enumerate(batches)], load)] if batches else []
    return [step.apply(batch) for batch in batches if batch.num_rows]


def _letters(died: DeadRows, window: Window, step: str) -> pa.RecordBatch:
    at = datetime.fromisoformat(window.started_at)
    return dead.letters(died.batch, died.rows, load=window.load, step=step, codes=died.codes, messages=died.messages, at=at)
