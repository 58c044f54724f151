"""One output of a run on its way to its target: read from staging, and loaded as a load of its own, once."""

from __future__ import annotations

import contextlib
import logging
import typing
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import cast, size
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.outputs import Output
from beam_pipelines.engine.prepare import TARGET
from beam_pipelines.engine.put_aside import PutAside
from beam_pipelines.engine.tries import next_try
from beam_pipelines.errors import Code, DataError, FatalError, FencedError
from beam_pipelines.io.connector import LedgerRow, Policy, Stager, Target
from beam_pipelines.runs.balance import Budget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import Merged, Tally
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.names import StagingName, new_attempt
from beam_pipelines.runs.window import Window, schema_to_text

__all__ = ["Delivery"]

_LOG = logging.getLogger(__name__)
_TRIES = 5  # to commit, while somebody else commits to the same place


@dataclass(frozen=True)
class Delivery:
    """One place of an output, and the run whose rows go there.

    Args:
        job: The service.
        context: Of whoever writes.
        output: The output.
        load: The place.
        rows: Ledger rows of the run, of the loads whose rows go there.
    """

    job: Job
    context: RunContext
    output: Output
    load: str
    rows: Sequence[LedgerRow]

    def write(self, staging: PutAside) -> None:
        """Write the rows, unless that is done.

        Raises:
            BeamPipelinesError: It failed; nothing is written.
        """
        replaces = self.output.model.mode == "replace"
        if not staging.asides and not replaces:
            return  # whatever the target is up to
        context = replace(self.context, full_refresh=False, keep_watermark=False)
        with contextlib.closing(self.output.open(self.job, context)) as target:
            run, row = next_try(target, self._service, self.load, self._run)
            if (row is not None and row.status == "committed") or (replaces and self._overtaken(target)):
                return
            schema = target.stored(self._schema(staging))
            window = self._window(target, run, schema)
            target.prepare(window, context)
            staged, refused = self._staged(target, window, schema, staging)
            merged = self._commit(target, window, schema, staged)
            if refused + merged.dead:
                _LOG.error(
                    "%r refuses %d of %s of run %s: %s",
                    self.load,
                    refused + merged.dead,
                    self.output.what,
                    self._run,
                    "they are among its dead letters" if self.output.kind == "rejected" else "its record counts them",
                )
                target.drop_staged([letter.staged.name for letter in merged.letters])

    @property
    def _run(self) -> str:
        return self.rows[0].run

    def _schema(self, staging: PutAside) -> pa.Schema:
        """The columns of the rows; those that were rejected have what they had in that run, whatever the definition says now."""
        first = next(staging.batches(), None) if self.output.kind == "rejected" else None
        if first is not None:
            return self._completed(first).schema
        window = next((row.window for row in self.rows if row.counts and row.counts.tally.read), self.rows[0].window)
        return self.output.schema(self.job, window)

    @property
    def _service(self) -> str:
        return self.output.service(self.job.service)

    def _window(self, target: Target, run: str, schema: pa.Schema) -> Window:
        return Window(
            service=self._service,
            load=self.load,
            table=self.load,
            run=run,
            generation=target.standing(self._service, self.load).generation,
            started_at=self.rows[0].window.started_at,
            schemas={TARGET: schema_to_text(schema)},
            there=target.describe(self.load) is not None,
        )

    def _overtaken(self, target: Target) -> bool:
        """Whether a run that began later has replaced what is there: it stays."""
        head = target.standing(self._service, self.load).run
        row = target.row(self._service, self.load, head) if head else None
        return row is not None and row.window.started_at > self.rows[0].window.started_at

    def _staged(self, target: Target, window: Window, schema: pa.Schema, staging: PutAside) -> tuple[Staged | None, int]:
        """Stage the rows, None: there are none; with the number of those that the target refuses."""
        stager: Stager | None = None
        refused = 0
        try:
            for block in staging.batches():
                for part in size.split(self._completed(block)):
                    conformed = cast.conform(part, schema)
                    stager = stager or target.stager(str(StagingName.of(window.service, window.run, new_attempt())), schema, 0)
                    refused += len(conformed.bad) + self._write(stager, conformed.batch)
            return stager.finish() if stager else None, refused
        except BaseException:
            if stager:
                stager.abort()
            raise

    def _completed(self, block: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with what is the same in all of them."""
        from beam_pipelines.rules.aside import RUN

        same = {RUN: self._run} if self.output.kind == "rejected" else {"run": self._run, "step": self.output.step}
        columns = [pa.repeat(pa.scalar(value, pa.string()), block.num_rows) for value in same.values()]
        return pa.RecordBatch.from_arrays([*block.columns, *columns], names=[*block.schema.names, *same])

    def _write(self, stager: Stager, rows: pa.RecordBatch) -> int:
        """Write rows; the number of those that the target refuses. A violation is shown without what it cannot hold, such as a NUL."""
        refused = 0
        while rows.num_rows:
            try:
                stager.write(rows)
                break
            except DataError as refusal:
                which = np.zeros(rows.num_rows, dtype=np.bool_)
                which[list(refusal.details.get("rows", range(rows.num_rows)))] = True
                bad, rows = take(rows, np.flatnonzero(which)), take(rows, np.flatnonzero(~which))
                shown = _readable(bad) if self.output.kind == "violations" else bad
                refused += bad.num_rows if shown.equals(bad) else self._write(stager, shown)
        return refused

    def _commit(self, target: Target, window: Window, schema: pa.Schema, staged: Staged | None) -> Merged:
        """Commit what is staged.

        Raises:
            FatalError: The target has judged that it fails; nothing of it is there.
        """
        rows, whole = staged.rows if staged else 0, self.output.model.mode == "replace"
        tally = Tally(self.load, rows, 0, 0, None, (), (staged,) if staged else (), rows, 0, ())
        policy = Policy(
            mode=self.output.model.mode,
            whole=whole,
            stop=False,
            allow_empty=True,
            batch_size=getattr(self.output.model, "batch_size", 1000),
            budget=Budget(share=None),
        )
        for more in reversed(range(_TRIES)):
            # The fence keeps a run from loading what another one has read: here there is nothing that it could have read.
            now = replace(window, generation=target.standing(window.service, window.load).generation)
            try:
                counts = target.commit(now, policy, schema, tally)
                break
            except FencedError:
                if not more:
                    raise
        if counts.code:
            raise FatalError(counts.message, code=typing.cast(Code, counts.code))
        return counts.merged


def _readable(rows: pa.RecordBatch) -> pa.RecordBatch:
    columns = [pc.replace_substring(column, "\0", "\ufffd") if is_text(column.type) else column for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, schema=rows.schema)
