"""The other sinks of a stream: they get what a commit has kept for them, one after the other, and none twice where it can be told.

A commit holds offsets, the results of its own sink and, in the same transaction, the rows that the other sinks have not got yet. Whatever
dies afterwards, the next start brings them there; which sinks have not got them is noted beside them, commit by commit.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from typing import cast as cast_type

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import cast, ipc, size
from beam_pipelines.columnar.compact import take
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.letters import Archive
from beam_pipelines.engine.lineage import group_columns, snake
from beam_pipelines.engine.prepare import TARGET
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.engine.refused import Refused
from beam_pipelines.engine.sink_place import key_of
from beam_pipelines.engine.tries import next_try
from beam_pipelines.engine.waiting import Waiting, waiting_of
from beam_pipelines.errors import BeamPipelinesError, DataError, FatalError, FencedError, PlanError
from beam_pipelines.io import registry
from beam_pipelines.io.connector import Policy, Stager, Target
from beam_pipelines.runs.balance import Budget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import LoadCounts, Tally
from beam_pipelines.runs.facts import LATE, PENDING, Staged
from beam_pipelines.runs.names import StagingName, new_attempt
from beam_pipelines.runs.window import Window, schema_to_text
from beam_pipelines.state.store import StateStore

if TYPE_CHECKING:
    from beam_pipelines.io.kafka.producer import TopicWriter
    from beam_pipelines.spec.step.window import WindowStep

__all__ = ["Sink", "TableSink", "TopicSink", "bring", "sinks_of"]

_LOG = logging.getLogger(__name__)
_TRIES = 5  # to commit, while somebody else commits to the same place


@dataclass(frozen=True)
class Sink(ABC):
    """One of the other sinks.

    Args:
        id: `sinks[1]`, as it stands in the definition; `late` of rows that come too late.
        model: From the definition.
        path: Where it stands there.
        kind: What it gets: one of `runs.facts.KEPT`.
    """

    id: str
    model: Any
    path: str
    kind: str = PENDING

    @property
    def key(self) -> str:
        """Which sink it is, wherever it stands."""
        return key_of(self.model)

    @property
    def note(self) -> str:
        """Under which kind it is noted that rows are kept for it."""
        return f"{self.kind} {self.key}"

    @property
    @abstractmethod
    def what(self) -> str:
        """What messages call the place; no secrets."""

    @property
    def _where(self) -> str:
        return f"{self.what} ({self.id})"

    def again(self, job: Job) -> bool:  # noqa: ARG002 - of most it is the same whatever the job
        """Whether rows that are read again, as a full refresh does, come there again."""
        return True

    @property
    @abstractmethod
    def repeats(self) -> bool:
        """Whether a row may come twice when the service dies at the wrong moment."""

    @property
    @abstractmethod
    def promise(self) -> str:
        """What the guarantee says of it."""

    @property
    @abstractmethod
    def line(self) -> str:
        """What the plan says of it."""

    @abstractmethod
    def check(self, job: Job, context: RunContext) -> None:
        """Open it, and see that it answers.

        Raises:
            PlanError: It cannot be written to as asked.
        """

    @abstractmethod
    def write(self, job: Job, context: RunContext, run: str, batches: Iterator[pa.RecordBatch], letters: Refused) -> int:
        """Write the rows of one commit, all of them, or make dead letters of them; gives how many it refuses that are in no letter.

        Raises:
            BeamPipelinesError: It failed; perhaps some are written.
        """


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


class TopicSink(Sink):
    """A Kafka topic: messages are flushed before it is noted that they are there, so a death in between writes them again."""

    @property
    def repeats(self) -> bool:
        return True

    @property
    def what(self) -> str:
        return f"the topic {self.model.topic!r}"

    @property
    def promise(self) -> str:
        return (
            f"messages to {self.model.topic!r} ({self.id}) are written again when the service dies before it is noted that they are there"
        )

    @property
    def line(self) -> str:
        return f"produce to the topic {self.model.topic} ({self.id}), after the commit"

    def check(self, job: Job, context: RunContext) -> None:
        self._writer(job, context).close()

    def write(self, job: Job, context: RunContext, run: str, batches: Iterator[pa.RecordBatch], letters: Refused) -> int:
        del run
        first = 0
        with contextlib.closing(self._writer(job, context)) as writer:
            for batch in size.gather(batches):
                if not first:
                    writer.check(batch.schema)
                writer.write(batch)
                refused = writer.flush()
                if refused:
                    rows, reasons = zip(*refused, strict=True)
                    letters.add(batch, rows, ["target-refused"] * len(rows), reasons, first)
                first += batch.num_rows
        return 0

    def _writer(self, job: Job, context: RunContext) -> TopicWriter:
        from beam_pipelines.io.kafka.producer import TopicWriter

        return TopicWriter(self.model, job.connections(context).get(self.model.connection))


def sinks_of(job: Job) -> tuple[Sink, ...]:
    """The other sinks of a stream, in the order of the definition.

    Raises:
        PlanError: One is of a kind that is not served.
    """
    sinks = [_sink(name, model, f"stream.{name}", PENDING) for name, model in job.others]
    for place, step in enumerate(job.definition.steps):
        if step.type == "window" and not isinstance(late := cast_type("WindowStep", step).late, str):
            sinks.append(_sink("late", late, f"{job.definition.steps_path}[{place}].late", LATE))
    return tuple(sinks)


def _sink(name: str, model: Any, path: str, kind: str) -> Sink:
    if model.type == "kafka":
        return TopicSink(name, model, path, kind)
    if model.type == "api":
        from beam_pipelines.engine.api_sink import ApiSink  # few streams have one

        return ApiSink(name, model, path, kind)
    if model.type == "none":
        raise refusal(path, "expected a table, files, a topic or an API, got none, which keeps nothing", "not-served")
    return TableSink(name, model, path, kind)


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
        for part in range(one.parts):
            content = self.target.kept_block(self.job.service, self.load, one.kind, one.run, part)
            yield ipc.decode(base64.b64decode(content))

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
