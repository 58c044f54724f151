"""A table, or files, as a sink of a stream: each commit's rows are a load of its own."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import cast, size
from beam_pipelines.columnar.compact import take
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import group_columns, snake
from beam_pipelines.engine.prepare import TARGET
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.engine.sinks.refused import Refused
from beam_pipelines.engine.tries import next_try
from beam_pipelines.errors import BeamPipelinesError, DataError, FatalError, FencedError, PlanError
from beam_pipelines.io import registry
from beam_pipelines.io.connector import Policy, Stager, Target
from beam_pipelines.runs.balance import Budget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import LoadCounts, Tally
from beam_pipelines.runs.facts import PENDING, Staged
from beam_pipelines.runs.names import StagingName, new_attempt
from beam_pipelines.runs.window import Window, schema_to_text

if TYPE_CHECKING:
    pass

from beam_pipelines.engine.sinks.sink import Sink

__all__ = ["TableSink"]

_TRIES = 5  # to commit, while somebody else commits to the same place


class TableSink(Sink):
    """A table, or files: a load of its own in its own ledger, so that a commit's rows are there once."""

    @property
    def repeats(self) -> bool:
        return False

    @property
    def promise(self) -> str:
        return f"{self._where} gets each commit's rows once, by a ledger of its own, after the commit"

    @property
    def line(self) -> str:
        return f"{getattr(self.model, 'mode', 'insert')} into {self._load} ({self.id}), after the commit"

    @property
    def _load(self) -> str:
        where = self.model
        return str(getattr(where, "table", None) or getattr(where, "path", None) or f"{where.bucket}/{where.prefix}")

    @property
    def what(self) -> str:
        return repr(self._load)

    def again(self, job: Job) -> bool:
        return self._mode(job) != "upsert"

    def check(self, job: Job, context: RunContext) -> None:
        with contextlib.closing(self._open(job, context)) as target:
            if self.model.mode not in target.traits.modes:
                modes = ", ".join(target.traits.modes)
                raise refusal(f"{self.path}.mode", f"{target.traits.system} serves {modes}, not {self.model.mode!r}", "mode-refused")
            target.describe(self._load)

    def _open(self, job: Job, context: RunContext) -> Target:
        try:
            return registry.open_target(self.model, job.connections(context), Path(job.folder) if job.folder else None, context)
        except PlanError as error:
            if error.problems:
                raise
            raise refusal(self.path, error.message, error.code) from error

    def _mode(self, job: Job) -> str:
        results = self.kind == PENDING and job.window_at is not None and self.model.type in ("database", "data-warehouse")
        return "upsert" if results and "mode" not in self.model.model_fields_set else str(self.model.mode)

    def write(self, job: Job, context: RunContext, run: str, batches: Iterator[pa.RecordBatch], letters: Refused) -> int:
        service = f"{job.service}/{self.key}"
        with contextlib.closing(self._open(job, context)) as target:
            name, row = next_try(target, service, self._load, run)
            first = next(batches, None)
            if first is None:
                return 0
            schema = target.stored(first.schema)
            if row is not None and row.status == "committed":
                # Whoever committed may not have lived to write the letters: they are made again.
                staged = _staged(target, row.window, schema, itertools.chain([first], batches), letters)
                target.drop_staged([staged.name])
                return _told(target, row.counts, letters)
            mode = self._mode(job)
            window = Window(
                service=service,
                load=self._load,
                table=self._load,
                run=name,
                generation=target.standing(service, self._load).generation,
                started_at=context.started_at,
                schemas={TARGET: schema_to_text(schema)},
                key_fields=self._keys(job, target) if mode == "upsert" else (),
                there=target.describe(self._load) is not None,
                live=True,
            )
            target.prepare(window, context)
            # What the target cannot keep is a dead letter, whatever `errorHandling` says: that is about what its commit refuses.
            staged = _staged(target, window, schema, itertools.chain([first], batches), letters)
            return _told(target, self._commit(target, window, schema, staged, mode), letters)

    def _keys(self, job: Job, target: Target) -> tuple[str, ...]:
        if self.model.key_fields:
            return tuple(self.model.key_fields)
        there = target.describe(self._load)
        if there is not None and there.primary_key:
            return there.primary_key
        groups = group_columns(job.definition.steps) or ()
        if not groups:
            raise refusal(f"{self.path}.keyFields", f"upsert into {self._load!r} needs to know which columns name a row", "key-missing")
        return tuple(map(snake, groups)) if job.definition.naming == "snake" else groups

    def _commit(self, target: Target, window: Window, schema: pa.Schema, staged: Staged, mode: str) -> LoadCounts:
        tally = Tally(self._load, staged.rows, 0, 0, None, (), (staged,), staged.rows, 0, ())
        policy = Policy(
            mode=mode,
            stop=self.model.error_handling == "stop",
            evolve=getattr(self.model, "schema_policy", "evolve") == "evolve",
            batch_size=getattr(self.model, "batch_size", 1000),
            budget=Budget(share=None),
        )
        for more in reversed(range(_TRIES)):
            now = replace(window, generation=target.standing(window.service, window.load).generation)
            try:
                counts = target.commit(now, policy, schema, tally)
                break
            except FencedError:  # the fence keeps a run from loading what another one has read: here nothing is read
                if not more:
                    raise
        if counts.code:
            if counts.code == "staging-lost":  # which passes by itself
                raise FatalError(f"{self._where}: {counts.message}", code="staging-lost")
            raise FatalError(f"{self._where} refuses what is brought there: {counts.message}", code="target-refused")
        return counts


def _staged(target: Target, window: Window, schema: pa.Schema, batches: Iterable[pa.RecordBatch], letters: Refused) -> Staged:
    """Stage rows, and make dead letters of those that cannot be."""
    stager: Stager = target.stager(str(StagingName.of(window.service, window.run, new_attempt())), schema, 0)
    first = 0
    try:
        for batch in batches:
            for part in size.split(batch):
                conformed = cast.conform(part, schema)
                if conformed.bad:
                    letters.add(part, conformed.bad, ["cast-failed"] * len(conformed.bad), conformed.reasons, first)
                try:
                    stager.write(conformed.batch)
                except DataError as no:
                    rows = sorted(set(no.details.get("rows", range(conformed.batch.num_rows))))
                    good = np.delete(np.arange(part.num_rows), conformed.bad)  # where in the part each row was
                    letters.add(part, good[rows].tolist(), [no.code] * len(rows), [no.message] * len(rows), first)
                    stager.write(take(conformed.batch, np.delete(np.arange(conformed.batch.num_rows), rows)))
                first += part.num_rows
        return stager.finish()
    except BaseException:
        stager.abort()
        raise


def _told(target: Target, counts: LoadCounts | None, letters: Refused) -> int:
    """Take the dead letters of rows that a target refused when they were loaded; gives how many are lost."""
    found = 0
    for letter in counts.merged.letters if counts is not None else ():
        try:
            for batch in target.read_staged(letter.staged):
                letters.take(batch)
                found += batch.num_rows
        except BeamPipelinesError as gone:
            if gone.code not in ("staging-lost", "table-missing"):
                raise
    return counts.merged.dead - found if counts is not None else 0
