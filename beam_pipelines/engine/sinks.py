"""The other sinks of a stream: they get what a commit has kept for them, one after the other, and none twice where it can be told.

A commit holds offsets, the results of its own sink and, in the same transaction, the rows that the other sinks have not got yet. Whatever
dies afterwards, the next start brings them there; what each sink has got is noted beside them, commit by commit.
"""

from __future__ import annotations

import base64
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from typing import cast as cast_type

import pyarrow as pa

from beam_pipelines.columnar import cast, ipc, size
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import group_columns, snake
from beam_pipelines.engine.prepare import TARGET
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.errors import DataError, FatalError, FencedError, PlanError
from beam_pipelines.io import registry
from beam_pipelines.io.connector import Policy, Stager, Target
from beam_pipelines.runs.balance import Budget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import Tally
from beam_pipelines.runs.facts import LATE, PENDING, Staged
from beam_pipelines.runs.names import StagingName, new_attempt
from beam_pipelines.runs.window import Window, schema_to_text

if TYPE_CHECKING:
    from beam_pipelines.io.kafka.producer import TopicWriter
    from beam_pipelines.spec.step.window import WindowStep

__all__ = ["Sink", "TableSink", "TopicSink", "bring", "sinks_of"]

_LOG = logging.getLogger(__name__)
_SHOWN = 3  # reasons of refused rows that are logged
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
    def done(self) -> str:
        """The kind under which it is noted what the sink has got."""
        return f"done {self.id}"

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
    def write(self, job: Job, context: RunContext, run: str, batches: Iterator[pa.RecordBatch]) -> int:
        """Write the rows of one commit, all of them; gives how many it refuses.

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
    def _where(self) -> str:
        return f"{self._load!r} ({self.id})"

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

    def write(self, job: Job, context: RunContext, run: str, batches: Iterator[pa.RecordBatch]) -> int:
        service = f"{job.service}/{self.id}"
        with contextlib.closing(self._open(job, context)) as target:
            row = target.row(service, self._load, run)
            if row is not None and row.status == "committed":
                return 0
            first = next(batches, None)
            if first is None:
                return 0
            schema = target.stored(first.schema)
            mode = self._mode(job)
            window = Window(
                service=service,
                load=self._load,
                table=self._load,
                run=run,
                generation=target.standing(service, self._load).generation,
                started_at=context.started_at,
                schemas={TARGET: schema_to_text(schema)},
                key_fields=self._keys(job, target) if mode == "upsert" else (),
                there=target.describe(self._load) is not None,
                live=True,
            )
            target.prepare(window, context)
            staged, refused = _staged(target, window, schema, first, batches)
            return refused + self._commit(target, window, schema, staged, mode)

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

    def _commit(self, target: Target, window: Window, schema: pa.Schema, staged: Staged, mode: str) -> int:
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
            raise FatalError(f"{self._where} refuses what is brought there: {counts.message}", code="target-refused")
        target.drop_staged([letter.staged.name for letter in counts.merged.letters])
        return counts.merged.dead


def _staged(
    target: Target, window: Window, schema: pa.Schema, first: pa.RecordBatch, batches: Iterator[pa.RecordBatch]
) -> tuple[Staged, int]:
    stager: Stager = target.stager(str(StagingName.of(window.service, window.run, new_attempt())), schema, 0)
    refused = 0
    try:
        for batch in (first, *batches):
            for part in size.split(batch):
                conformed = cast.conform(part, schema)
                refused += len(conformed.bad)
                try:
                    stager.write(conformed.batch)
                except DataError as no:
                    rows = set(no.details.get("rows", range(conformed.batch.num_rows)))
                    refused += len(rows)
                    keep = pa.array([row not in rows for row in range(conformed.batch.num_rows)], pa.bool_())
                    stager.write(conformed.batch.filter(keep))
        return stager.finish(), refused
    except BaseException:
        stager.abort()
        raise


class TopicSink(Sink):
    """A Kafka topic: messages are flushed before it is noted that they are there, so a death in between writes them again."""

    @property
    def repeats(self) -> bool:
        return True

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

    def write(self, job: Job, context: RunContext, run: str, batches: Iterator[pa.RecordBatch]) -> int:
        del run
        with contextlib.closing(self._writer(job, context)) as writer:
            for number, batch in enumerate(batches):
                if not number:
                    writer.check(batch.schema)
                writer.write(batch)
            refused = writer.flush()
            for _, why in refused[:_SHOWN]:
                _LOG.error("%s: %s", self.path, why)
            return len(refused)

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
    if model.type in ("api", "none"):
        raise refusal(path, f"expected a table, files or a topic, got {model.type}, which is not served yet as a sink", "not-served")
    return TableSink(name, model, path, kind)


def bring(job: Job, context: RunContext, target: Target, load: str) -> int:
    """Bring what commits have kept to the sinks that have not got it, in the order of the commits. Safe to repeat.

    Args:
        job: The service.
        context: Of whoever brings it.
        target: Whose ledger keeps it.
        load: The load of the offsets.

    Returns:
        Rows that sinks refused, which are only logged.

    Raises:
        BeamPipelinesError: A sink is away; it gets the rest when this is called again.
    """
    every = sinks_of(job)
    return sum(_bring(job, context, target, load, kind, sinks) for kind, sinks in _by_kind(every).items())


def _by_kind(sinks: Sequence[Sink]) -> dict[str, list[Sink]]:
    by_kind: dict[str, list[Sink]] = {}
    for sink in sinks:
        by_kind.setdefault(sink.kind, []).append(sink)
    return by_kind


def _bring(job: Job, context: RunContext, target: Target, load: str, kind: str, sinks: Sequence[Sink]) -> int:
    kept: dict[str, list[str]] = {}
    for block in target.kept(job.service, load, kind):
        kept.setdefault(block.run, []).append(block.content)
    # Where there is one sink, that nothing is kept any more is the note.
    several = sinks if len(sinks) > 1 else ()
    notes = {sink.id: {one.run for one in target.kept(job.service, load, sink.done)} for sink in several}
    refused = 0
    for run, contents in kept.items():
        for sink in sinks:
            if run in notes.get(sink.id, ()):
                continue
            no = sink.write(job, context, run, _batches(contents))
            if no:
                _LOG.error("%s refuses %d rows of commit %s, which are nowhere else", sink.path, no, run)
                refused += no
            if several:
                target.note_kept(job.service, load, sink.done, run)
        target.forget_kept(job.service, load, kind, run)
        for sink in several:
            target.forget_kept(job.service, load, sink.done, run)
    for sink in several:
        for run in notes[sink.id] - kept.keys():
            target.forget_kept(job.service, load, sink.done, run)
    return refused


def _batches(contents: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for content in contents:
        yield ipc.decode(base64.b64decode(content))
