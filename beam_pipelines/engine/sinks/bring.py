"""Rows that a commit has kept for other sinks on their way there: commit by commit, and none twice where it can be told."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import pyarrow as pa

from beam_pipelines.columnar import packed
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.letters import Archive
from beam_pipelines.engine.sinks.every import sinks_of
from beam_pipelines.engine.sinks.refused import Refused
from beam_pipelines.engine.sinks.sink import Sink
from beam_pipelines.engine.sinks.waiting import Waiting, waiting_of
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import Target
from beam_pipelines.runs.context import RunContext
from beam_pipelines.state.store import StateStore

__all__ = ["bring"]

_LOG = logging.getLogger(__name__)


def bring(job: Job, context: RunContext, target: Target, load: str, store: StateStore, archive: Archive) -> None:
    """Bring what commits have kept to the sinks that have not got it, in the order of the commits. Safe to repeat.

    Rows that a sink refuses are dead letters, in a file of their own, and counted with those of the commit.

    Args:
        job: The service.
        context: Of whoever brings it.
        target: Whose ledger keeps it.
        load: The load of the offsets.
        store: Where dead letters are counted.
        archive: Where they go.

    Raises:
        PlanError: Rows are kept for a sink that the definition does not have any more; nothing is brought.
        BeamPipelinesError: A sink is away, or refuses rows and is to stop; it gets the rest when this is called again.
    """
    _Bringing(job, context, target, load, store, archive).bring()


@dataclass(frozen=True)
class _Bringing:
    """As `bring`."""

    job: Job
    context: RunContext
    target: Target
    load: str
    store: StateStore
    archive: Archive

    def bring(self) -> None:
        """Bring what is kept, commit by commit."""
        sinks = {sink.note: sink for sink in sinks_of(self.job)}
        waiting = [self._noted(one, sinks) for one in waiting_of(self.target, self.job.service, self.load)]
        self._check(waiting, sinks)
        for one in waiting:
            left = one
            for note in one.notes:
                if one.parts and note in sinks:
                    self._write(sinks[note], note, one)
                left = left.done(self.target, self.job.service, self.load, note)

    def _noted(self, one: Waiting, sinks: Mapping[str, Sink]) -> Waiting:
        """With its notes in the order of the definition; rows without any are all sinks', as they were before there were notes."""
        order = [note for note, sink in sinks.items() if sink.kind == one.kind]
        strangers = [note for note in one.notes if note not in order]
        known = [note for note in order if note in one.notes or not one.notes]
        return replace(one, notes=(*strangers, *known) or (f"{one.kind} unknown",))

    def _check(self, waiting: Sequence[Waiting], sinks: Mapping[str, Sink]) -> None:
        """See that rows are kept for sinks alone that are there.

        Raises:
            PlanError: They are not, and are not given up.
        """
        strangers = [(one, note) for one in waiting if one.parts for note in one.notes if note not in sinks]
        if not strangers:
            return
        gone = {note: self._who(one.run, note) for one, note in strangers}
        commits = Counter(note for _, note in strangers)
        told = "; ".join(
            f"{who or 'another sink'}, of {commits[note]} {'commit' if commits[note] == 1 else 'commits'}" for note, who in gone.items()
        )
        if not self.context.keep_watermark:
            raise PlanError(
                f"rows are kept for sinks that {self.job.service!r} does not have any more among its other ones: {told}."
                " Put them back and run until they have; or run once with --keep-watermark, which gives the rows up",
                code="fingerprint-changed",
            )
        _LOG.warning("--keep-watermark gives up the rows that are kept for sinks that are not there any more: %s", told)

    def _who(self, run: str, note: str) -> str:
        """What a sink was when rows were kept for it: its id, and what it is called; empty: nothing is known."""
        found = self.target.kept(self.job.service, self.load, note)
        return next((one.content for one in found if one.run == run), "")

    def _batches(self, one: Waiting) -> Iterator[pa.RecordBatch]:
        parts = (self.target.kept_block(self.job.service, self.load, one.kind, one.run, part) for part in range(one.parts))
        yield from packed.unpack(parts)

    def _write(self, sink: Sink, note: str, one: Waiting) -> None:
        """Write one commit to one sink, and what it refuses to the dead letters: it is noted to have got them after that."""
        now, run = datetime.now(timezone.utc), one.run
        # By its id in that commit: where sinks have changed places since, the letters of another one of them may have this one's.
        letters = Refused(self.archive, self.job.service, run, self.load, self._who(run, note).partition(" ")[0] or sink.id, now)
        try:
            lost = sink.write(self.job, self.context, run, self._batches(one), letters)
            failures = letters.finish()
        except BaseException:
            letters.abandon()
            raise
        if lost:
            _LOG.error("%s refuses %d rows of commit %s, which are nowhere else", sink.path, lost, run)
        if not failures:
            return
        row = self.target.row(self.job.service, self.load, run)
        if row is not None and self.store.execution(row.window.session) is not None:
            self.store.refuse(row.window.session, run, failures, now)
        count = sum(one.count for one in failures)
        _LOG.warning("%s refuses %d rows of commit %s: they are in the dead letters at %s", sink.path, count, run, failures[0].url)
