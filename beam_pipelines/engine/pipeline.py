"""The pipeline of a bounded service: `Prepare -> read -> steps -> stage -> Commit`, the same on every runner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from beam_pipelines.columnar import coder
from beam_pipelines.engine.apply import ApplySteps
from beam_pipelines.engine.bundle import FACTS
from beam_pipelines.engine.commit import Commit
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import BY_GROUPS, sums_up, takes_others
from beam_pipelines.engine.live.noted import by_drain
from beam_pipelines.engine.prepare import Prepare
from beam_pipelines.engine.read import Read
from beam_pipelines.engine.sides import reference_name
from beam_pipelines.engine.stage import Stage
from beam_pipelines.runs.facts import StepFact
from beam_pipelines.spec.step.sided import sided
from beam_pipelines.transforms.fused import groups

if TYPE_CHECKING:
    from beam_pipelines.spec.step.validate import ValidateStep

__all__ = ["RunLoads", "loaded"]

Streams = dict[str, PCollection]  # rows that go on beside each other, by what labels say of them
_SHARDS = " of shards"


class RunLoads(beam.PTransform):
    """Everything one run of a bounded service does; the output is one `(load, LoadCounts)` a load.

    Args:
        job: The service.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    def expand(self, begin: PBegin) -> PCollection:
        coder.register()
        seed = begin | "Seed" >> beam.Impulse()
        windows = seed | "Prepare" >> Prepare(self._job)
        return seed | "Commit" >> Commit(self._job, windows, loaded(self._job, windows))


def loaded(job: Job, windows: PCollection) -> PCollection:
    """Read, transform and stage what the windows say; gives the facts of every bundle."""
    streams, facts = transformed(job, windows, windows | "Read" >> Read(job))
    facts += [rows | f"Stage{which}" >> Stage(job, windows) for which, rows in streams.items()]
    return facts | "Facts" >> beam.Flatten()


def transformed(job: Job, windows: PCollection, read: Any) -> tuple[Streams, list[PCollection]]:
    """Apply a job's steps to what was read; gives the rows, and the facts of the read and of each step.

    Rows that a join has sent to shards, and those that a union adds, go on beside the others, for where Beam's local runner flattens two
    collections it holds both whole.
    """
    streams: Streams = {"": read.rows}
    facts, reads = [read[FACTS]], read[FACTS]
    for steps in groups(job.definition.steps):
        model = job.definition.steps[steps[0]]
        label = f"Step {' + '.join(job.step_ids[index] for index in steps)}"
        given = tuple(streams.values())
        if model.type == "window":
            from beam_pipelines.engine.live.windows import SumWindows

            rows, told = (given, reads) | label >> SumWindows(job, steps[0], windows)
            streams = {"": rows}
            facts += told
        elif model.id in job.live_joins:
            from beam_pipelines.engine.live.join import MeetRows

            side = windows | f"{label} source" >> RightSide(job, model.id)
            reads = (reads, side.read) | f"{label} reads" >> beam.Flatten()
            rows, told = (given, side.rows[0], reads) | label >> MeetRows(job, steps[0], windows)
            streams = {"": rows}
            facts += [side.facts, *told]
        elif sums_up(model):
            from beam_pipelines.engine.aggregate import AggregateRows  # most services have none, and start without it

            rows, told = given | label >> AggregateRows(job, steps[0], windows)
            streams = {"": rows}
            facts += told
        elif model.type in BY_GROUPS:
            from beam_pipelines.engine.grouped import GroupRows

            rows, told = given | label >> GroupRows(job, steps[0], windows)
            streams = {"": rows}
            facts += told
        elif sided(model):
            from beam_pipelines.engine.join import JoinRows

            side = windows | f"{label} source" >> RightSide(job, model.id)
            names = list(streams)
            shards = names.index(_SHARDS) if _SHARDS in names else None
            every, more = (given, side.rows[0]) | label >> JoinRows(job, steps[0], windows, shards)
            streams = dict(zip(names if shards is not None else [*names, _SHARDS], every, strict=False))
            facts += [side.facts, *more]
        elif takes_others(model):
            references = {}
            for rule in (rule.id for rule in cast("ValidateStep", model).foreign_keys):
                side = windows | f"{label} {rule}" >> RightSide(job, reference_name(model.id, rule), tells=model.id)
                references[rule] = side.rows[0]
                facts.append(side.facts)
            if job.live or by_drain(windows):
                from beam_pipelines.engine.live.rules import HoldRows

                rows, told = (given, references, reads) | label >> HoldRows(job, steps[0], windows)
                streams = {"": rows}
                facts += told
            else:
                from beam_pipelines.engine.validate import ValidateRows

                every, more = (given, references) | label >> ValidateRows(job, steps[0], windows)
                streams = dict(zip(streams, every, strict=True))
                facts += more
        elif model.type == "union":
            from beam_pipelines.engine.union import UnionRows

            side = windows | f"{label} source" >> RightSide(job, model.id, together=False)
            ours, theirs, more = (given, side.rows) | label >> UnionRows(job, steps[0], windows)
            streams = dict(zip(streams, ours, strict=True))
            streams |= {f" from {model.id}" + (f"/{number}" if number else ""): rows for number, rows in enumerate(theirs)}
            facts += [side.facts, *more]
        else:
            applied = {which: rows | f"{label}{which}" >> ApplySteps(job, steps, windows) for which, rows in streams.items()}
            streams = {which: one.rows for which, one in applied.items()}
            facts += [one[FACTS] for one in applied.values()]
    return streams, facts


class Side(NamedTuple):
    """What was read of a source beside that of a job's own rows.

    Args:
        rows: Behind its own steps, in one collection unless several were asked for.
        facts: Of its read and its steps, told as those of the step that it belongs to.
        read: Of its read, as they are.
    """

    rows: tuple[PCollection, ...]
    facts: PCollection
    read: PCollection


class RightSide(beam.PTransform):
    """The rows that a join or lookup meets or a union adds: its source, read and transformed; with the facts of it, told as the step's.

    Args:
        job: The service.
        step: Id of the join or union.
        together: The rows are to be one collection.
        tells: Id of the step whose facts these are, where it is not that of the side.
    """

    def __init__(self, job: Job, step: str, *, together: bool = True, tells: str = "") -> None:
        super().__init__()
        self._job, self._step, self._together = job.side(step), step, together
        self._tells = tells or step

    def expand(self, windows: PCollection) -> Side:
        from beam_pipelines.engine.join import Sides, TellFn

        sides = windows | "Windows" >> Sides(self._job, self._step)
        read = sides | "Read" >> Read(self._job, self._step)
        streams, facts = transformed(self._job, sides, read)
        rows = tuple(streams.values())
        if self._together and len(rows) > 1:
            rows = (rows | "Rows" >> beam.Flatten(),)
        told = facts | "Facts" >> beam.Flatten() | "Told" >> beam.ParDo(TellFn(self._tells)).with_output_types(StepFact)
        return Side(rows, told, read[FACTS])
