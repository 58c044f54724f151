"""The pipeline of a bounded service: `Prepare -> read -> steps -> stage -> Commit`, the same on every runner."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from beam_pipelines.columnar import coder
from beam_pipelines.engine.aggregate import AggregateRows
from beam_pipelines.engine.apply import ApplySteps
from beam_pipelines.engine.bundle import FACTS
from beam_pipelines.engine.commit import Commit
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.prepare import Prepare
from beam_pipelines.engine.read import Read
from beam_pipelines.engine.stage import Stage
from beam_pipelines.transforms.fused import groups

__all__ = ["RunLoads", "loaded"]


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
    read = windows | "Read" >> Read(job)
    rows, facts = read.rows, [read[FACTS]]
    for steps in groups(job.definition.steps):
        if job.definition.steps[steps[0]].type == "aggregate":
            rows, told = rows | f"Step {job.step_ids[steps[0]]}" >> AggregateRows(job, steps[0], windows)
            facts += told
            continue
        label = " + ".join(job.step_ids[index] for index in steps)
        applied = rows | f"Step {label}" >> ApplySteps(job, steps, windows)
        rows = applied.rows
        facts.append(applied[FACTS])
    facts.append(rows | "Stage" >> Stage(job, windows))
    return facts | "Facts" >> beam.Flatten()
