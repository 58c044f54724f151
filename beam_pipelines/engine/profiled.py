"""The profile of a source's rows, read in this process without Beam: nothing is written, no ledger row is made."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, replace

import pyarrow as pa

from beam_pipelines.columnar import cast, origin, size
from beam_pipelines.engine.job import Job
from beam_pipelines.io import keepers
from beam_pipelines.io.connector import Source, Unread
from beam_pipelines.rules.profiling.columns import Profile
from beam_pipelines.rules.profiling.once import Once
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.names import new_run
from beam_pipelines.runs.window import Window

__all__ = ["Profiled", "profiled"]


@dataclass(frozen=True)
class Profiled:
    """What the rows of a source are like.

    Args:
        table: What was read.
        profile: Of its rows.
        once: Of columns that may be keys, whether they hold each value once, as far as that is known.
        misfits: Rows that cannot be read, or do not fit the planned types, and would become dead letters; they are in no profile.
        whole: Every row was read.
    """

    table: str
    profile: Profile
    once: dict[str, bool]
    misfits: int
    whole: bool


def profiled(job: Job, context: RunContext, rows: int | None = None) -> Profiled:
    """Read a source, and tell what its rows are like.

    Args:
        job: A service; its steps are not carried out.
        context: Any.
        rows: The first so many rows; None: all.

    Raises:
        BeamPipelinesError: The source cannot be read.
    """
    context = replace(context, run=new_run())  # what the source holds for all ranges is held for this read
    try:
        with contextlib.closing(job.open_source(context)) as source:
            table = source.tables()[0]
            window = _window(job, context, source, table)
            profile, once = Profile.nothing(window.schema()), Once(window.schema())
            left, misfits, whole = rows, 0, True
            with contextlib.closing(_read(source, window)) as batches:
                for batch in batches:
                    if isinstance(batch, Unread):
                        misfits += batch.batch.num_rows
                        continue
                    given = batch if left is None else batch.slice(0, left)
                    conformed = cast.conform(given, window.schema())
                    misfits += len(conformed.bad)
                    for part in size.split(conformed.batch):
                        profile += Profile.of(part)
                        once.add(part)
                    left = None if left is None else left - given.num_rows
                    if left == 0:
                        whole = False
                        break
            return Profiled(table, profile, once.known(), misfits, whole)
    finally:
        keepers.release(context.run)


def _window(job: Job, context: RunContext, source: Source, table: str) -> Window:
    schema = origin.visible_schema(source.describe(table).schema)
    window = Window(job.service, job.load_of(table), table, context.run, 0, started_at=context.started_at, full=True)
    fixed = source.fix(table, None, None, False, 1)
    ranges = tuple(replace(part, load=window.load) for part in fixed.ranges)
    return replace(window.with_schema("", schema), ranges=ranges, snapshot=fixed.snapshot)


def _read(source: Source, window: Window) -> Generator[pa.RecordBatch | Unread, None, None]:
    for part in window.ranges:
        with contextlib.closing(source.read(part, window, None)) as batches:  # type: ignore[type-var]
            yield from batches
