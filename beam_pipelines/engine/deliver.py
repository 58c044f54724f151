"""What steps put aside on its way out of staging, when a run has ended: each output is a load of its own, in its own target's ledger.

The ledger makes it safe to repeat: whoever comes again, after a death at any point, finds what is committed and writes nothing twice. What
is staged stays until the run is recorded, and a run that could not write it all is not: the next one writes the rest before it begins.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import cast, size
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.engine.aside import blocks
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.outputs import Output, outputs_of
from beam_pipelines.engine.prepare import TARGET
from beam_pipelines.errors import BeamPipelinesError, Code, DataError, FatalError, FencedError
from beam_pipelines.io.connector import LedgerRow, Policy, Stager, Target
from beam_pipelines.runs.balance import Budget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import Merged, Tally
from beam_pipelines.runs.facts import Aside, Staged
from beam_pipelines.runs.names import StagingName, new_attempt
from beam_pipelines.runs.window import Window, schema_to_text

__all__ = ["deliver", "drop"]

_LOG = logging.getLogger(__name__)
_GONE = ("staging-lost", "table-missing")
_TRIES = 5  # to commit, while somebody else commits to the same place


def deliver(job: Job, context: RunContext, target: Target, rows: Sequence[LedgerRow], *, missing_ok: bool = False) -> None:
    """Write what a run's ledger rows name to the outputs of the definition. Safe to repeat.

    Args:
        job: The service.
        context: Of whoever writes; its run may be another one.
        target: Where it is staged.
        rows: Ledger rows of one run.
        missing_ok: Staging that is gone costs its rows and a line in the log.

    Raises:
        FatalError: An output could not be written; the others are.
    """
    done = [row for row in rows if row.counts is not None]
    failure: FatalError | None = None
    outputs = outputs_of(job) if done else []
    for output in outputs:
        for load in dict.fromkeys(output.load_of(row.window.table) for row in done):
            mine = [row for row in done if output.load_of(row.window.table) == load]
            try:
                _Delivery(job, context, output, load, mine).write(_Staging(target, output, mine, missing_ok))
            except BeamPipelinesError as error:
                ended = "is committed" if all(row.status == "committed" for row in rows) else "has failed"
                told = FatalError(
                    f"run {rows[0].run} {ended}, but {output.what} could not be written to {load!r}: {error}."
                    " They are kept in staging, and the next run writes them before it begins",
                    code=error.code,
                )
                _LOG.debug("an output was not written", exc_info=True)
                if failure is not None:
                    _LOG.error("%s", told)
                failure = failure or told
    known = {(output.step, output.kind) for output in outputs}
    lost = sum(aside.rows for row in done for step, aside in _asides(row) if (step, aside.output) not in known)
    if lost:
        _LOG.warning("%d rows that run %s put aside are dropped, for the definition has no output for them any more", lost, rows[0].run)
    if failure is not None:
        raise failure


def _asides(row: LedgerRow) -> Iterator[tuple[str, Aside]]:
    for step in row.counts.tally.steps if row.counts else ():
        for aside in step.asides:
            yield step.step, aside


def drop(target: Target, rows: Iterable[LedgerRow]) -> None:
    """Drop what was put aside, once it is written and the run recorded."""
    target.drop_staged([aside.staged.name for row in rows for _, aside in _asides(row)])


@dataclass(frozen=True)
class _Staging:
    """What is staged for one place of an output.

    Args:
        target: Where.
        output: What for.
        rows: Ledger rows that name it.
        missing_ok: As of `deliver`.
    """

    target: Target
    output: Output
    rows: Sequence[LedgerRow]
    missing_ok: bool

    @property
    def asides(self) -> list[Aside]:
        found = [aside for row in self.rows for step, aside in _asides(row) if (step, aside.output) == (self.output.step, self.output.kind)]
        return sorted(found, key=lambda aside: aside.staged.name)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows, in blocks.

        Raises:
            FatalError: Staging is gone (`staging-lost`), and not `missing_ok`.
        """
        for aside in self.asides:
            found = 0
            try:
                for packed in self.target.read_staged(aside.staged):
                    for block in blocks(packed):
                        found += block.num_rows
                        yield block
            except BeamPipelinesError as gone:
                if not self.missing_ok or gone.code not in _GONE:
                    raise
                _LOG.error("%d of %s are lost: %s", aside.rows - found, self.output.what, gone)
                continue
            if found < aside.rows:
                # PostgreSQL empties unlogged tables when it recovers from a crash.
                _LOG.error("%d of %s are lost, though the run's record counts them", aside.rows - found, self.output.what)


@dataclass(frozen=True)
class _Delivery:
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

    def write(self, staging: _Staging) -> None:
        """Write the rows, unless that is done.

        Raises:
            BeamPipelinesError: It failed; nothing is written.
        """
        replaces = self.output.model.mode == "replace"
        if not staging.asides and not replaces:
            return  # whatever the target is up to
        context = replace(self.context, full_refresh=False, keep_watermark=False)
        with contextlib.closing(self.output.open(self.job, context)) as target:
            schema = self._stored(target)
            window = self._window(target, schema)
            if window is None or (replaces and self._overtaken(target)):
                return
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

    def _stored(self, target: Target) -> pa.Schema:
        """The columns as the target keeps them; those of the first load, for all that go to one place have the same."""
        window = next((row.window for row in self.rows if row.counts and row.counts.tally.read), self.rows[0].window)
        return target.stored(self.output.schema(self.job, window))

    def _window(self, target: Target, schema: pa.Schema) -> Window | None:
        """The window of this load in the output's ledger; None: it is committed.

        A try that was judged to fail stands in the ledger as failed, and is not tried again: the next one has an id of its own.
        """
        service, tries = self.output.service(self.job.service), 0
        while True:
            run = hashlib.sha256(f"{self._run} {tries}".encode()).hexdigest()[:12] if tries else self._run
            row = target.row(service, self.load, run)
            if row is not None and row.status == "committed":
                return None
            if row is None or row.status == "prepared":
                break
            tries += 1
        return Window(
            service=service,
            load=self.load,
            table=self.load,
            run=run,
            generation=target.standing(service, self.load).generation,
            started_at=self.rows[0].window.started_at,
            schemas={TARGET: schema_to_text(schema)},
            there=target.describe(self.load) is not None,
        )

    def _overtaken(self, target: Target) -> bool:
        """Whether a run that began later has replaced what is there: it stays."""
        service = self.output.service(self.job.service)
        head = target.standing(service, self.load).run
        row = target.row(service, self.load, head) if head else None
        return row is not None and row.window.started_at > self.rows[0].window.started_at

    def _staged(self, target: Target, window: Window, schema: pa.Schema, staging: _Staging) -> tuple[Staged | None, int]:
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
