"""What steps put aside on its way out of staging, when a run has ended: each output is a load of its own, in its own target's ledger.

The ledger makes it safe to repeat: whoever comes again, after a death at any point, finds what is committed and writes nothing twice. What
is staged stays until the run is recorded, and a run that could not write it all is not: the next one writes the rest before it begins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from beam_pipelines.engine.delivery import Delivery
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.outputs import outputs_of
from beam_pipelines.engine.put_aside import PutAside, asides_of
from beam_pipelines.errors import BeamPipelinesError, FatalError
from beam_pipelines.io.connector import LedgerRow, Target
from beam_pipelines.runs.context import RunContext

__all__ = ["deliver", "drop"]

_LOG = logging.getLogger(__name__)


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
                Delivery(job, context, output, load, mine).write(PutAside(target, output, mine, missing_ok))
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
    lost = sum(aside.rows for row in done for step, aside in asides_of(row) if (step, aside.output) not in known)
    if lost:
        _LOG.warning("%d rows that run %s put aside are dropped, for the definition has no output for them any more", lost, rows[0].run)
    if failure is not None:
        raise failure


def drop(target: Target, rows: Iterable[LedgerRow]) -> None:
    """Drop what was put aside, once it is written and the run recorded."""
    target.drop_staged([aside.staged.name for row in rows for _, aside in asides_of(row)])
