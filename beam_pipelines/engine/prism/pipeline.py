"""The pipeline of a stream without an end: what `RunLoads` does once, for each drain that is asked for."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from beam_pipelines.columnar import coder
from beam_pipelines.engine.commit import Commit
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.pipeline import loaded
from beam_pipelines.engine.prepare import Prepare
from beam_pipelines.engine.prism.asked import Asked, Ended

__all__ = ["RunDrains"]


class RunDrains(beam.PTransform):
    """Everything that drains do, one behind the other.

    Args:
        job: The service.
        name: Of the exchange by which drains are asked for.
    """

    def __init__(self, job: Job, name: str) -> None:
        super().__init__()
        self._job, self._name = job, name

    def expand(self, begin: PBegin) -> PCollection:
        coder.register()
        asked = begin | "Asked" >> Asked(self._name)
        windows = asked | "Prepare" >> Prepare(self._job)
        return asked | "Commit" >> Commit(self._job, windows, loaded(self._job, windows)) | "Ended" >> Ended(self._name)
