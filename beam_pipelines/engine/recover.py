"""Roll-forward: the target's ledger is the truth, and the state store follows it, exactly once."""

from __future__ import annotations

import logging

from beam_pipelines.engine import deliver, letters
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.outcome import all_committed, outcome_of
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import Target
from beam_pipelines.runs.context import RunContext
from beam_pipelines.state.record import Execution
from beam_pipelines.state.store import StateStore

__all__ = ["check_ahead", "elsewhere", "roll_forward"]

_LOG = logging.getLogger(__name__)


def roll_forward(
    job: Job, store: StateStore, target: Target, archive: letters.Archive, context: RunContext, *, accepted: bool
) -> list[str]:
    """Write what runs that died did not live to write: record, events, charge, dead letters and outputs of those that committed.

    The others are `lost`. The caller holds the service's lease, so no other run of this store is alive.

    Args:
        job: The service.
        store: Where the records are.
        target: Whose ledger is the truth.
        archive: Where dead letters go.
        context: Of the caller; its own run is left alone.
        accepted: The user has chosen (`--full-refresh` or `--keep-watermark`): a run whose ledger is elsewhere is given up.

    Returns:
        Ids of the runs that were settled.

    Raises:
        PlanError: `ledger-behind`: a run that died wrote to another target than this one, so nobody here knows whether it committed.
        FatalError: Dead letters or an output of a run that died cannot be written.
    """
    settled = []
    for execution in store.unfinished(job.service):
        if execution.run == context.run:
            continue
        unknown = elsewhere(job, execution, target)
        if unknown is not None and not accepted:
            raise unknown
        rows = target.give_up(job.service, execution.run)
        # What somebody removed from staging must not keep the service from ever starting again.
        failures = letters.export(target, archive, job.service, rows, missing_ok=True)
        deliver.deliver(job, context, target, rows, missing_ok=True)
        status = "failed" if any(row.status == "failed" for row in rows) else "lost"
        outcome = outcome_of(job, rows, failures, unknown, status)
        if store.finish(execution.run, outcome):
            settled.append(execution.run)
            _LOG.info(
                "run %s had %s, and is recorded as %s now", execution.run, "committed" if all_committed(rows) else "died", outcome.status
            )
        letters.drop(target, rows)
        deliver.drop(target, rows)
    return settled


def elsewhere(job: Job, execution: Execution, target: Target) -> PlanError | None:
    """The error of a run whose target was another one; None where this target's ledger can tell how it ended.

    A place may be spelled anew (a folder that was moved, another name of a host): the ledger that has the run is the right one. Files have
    theirs in the state store, which is here, whatever folder they are in.
    """
    place = execution.place or target.place  # not known of runs of an earlier version
    if place == target.place or (_is_files(place) and _is_files(target.place)) or _has(job, execution, target):
        return None
    return PlanError(
        f"run {execution.run}, which died, wrote to {execution.place}, but the destination leads to {target.place} now, and"
        " nobody there knows whether it committed. Lead the connection back and run once, which settles it; or run with --full-refresh to"
        " read everything again, or with --keep-watermark to go on from what this target has: then it is recorded as lost, whatever it"
        " loaded",
        code="ledger-behind",
    )


def _has(job: Job, execution: Execution, target: Target) -> bool:
    """Whether a target's ledger has a run; of a stream, whose drains are runs of their own, the last commit tells."""
    if not job.live:
        return bool(target.rows(job.service, execution.run))
    last = (target.committed(job.service, load, head.generation, 1) for load, head in target.heads(job.service).items())
    return any(row.window.session == execution.run for rows in last for row in rows)


def _is_files(place: str) -> bool:
    return place.startswith("file://")


def check_ahead(job: Job, store: StateStore, target: Target, *, accepted: bool) -> None:
    """Stop when the store remembers commits that the target's ledger does not have: the target was restored, or is another one.

    Args:
        job: The service.
        store: What remembers.
        target: Whose ledger is the truth.
        accepted: The user has chosen (`--full-refresh` or `--keep-watermark`): the store's copies are forgotten.

    Raises:
        PlanError: `ledger-behind`, with the choice.
    """
    heads = target.heads(job.service)
    for copy in store.watermarks(job.service):
        head = heads.get(copy.table)
        generation = head.generation if head else 0
        if generation < copy.generation:
            if accepted:
                store.clear_watermark(job.service)
                return
            raise PlanError(
                f"the state store knows commit {copy.generation} of {copy.table!r}, the target's ledger only {generation}: the target was"
                " restored, or is another one. Run with --full-refresh to read everything again, or with --keep-watermark to go on from"
                " what the target has",
                code="ledger-behind",
            )
