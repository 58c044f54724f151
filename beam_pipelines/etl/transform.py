"""`Etl`: the ETL service as one transform of a user's own pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines.engine import presence
from beam_pipelines.engine.embedded import Asked, RunEmbedded
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.letters import Archive
from beam_pipelines.engine.options import check_runner, refuse_runner
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.errors import PlanError
from beam_pipelines.etl.service import Service
from beam_pipelines.io.url import DatabaseUrl
from beam_pipelines.runs.context import RunContext
from beam_pipelines.spec.definition import SECTIONS, Kind

__all__ = ["Etl"]


class Etl(beam.PTransform[PBegin, PCollection]):
    """Run an ETL service once, as a part of a pipeline.

    Bounded. Gives one element, the record of the run as `--output json` prints it, once its rows are committed; whatever hangs on it comes
    after the commit. The guarantee is that of the service. Rows that fail become dead letters, as ever. A run that fails raises in the
    pipeline, and is recorded. Each time the pipeline runs, the service does.

    The pipeline is not the service's own, so nothing renews its lease, nobody hears of progress, and a source's ranges are read without a
    common snapshot. See `docs/python.md`.

    Args:
        service: A definition's file, or a service.
        connections: Connections file; default: `connections.yaml` beside the definition.
        state: The state store: a path, a URL without a password, or the name of a connection. Default: beside the definition.
        full_refresh: Forget the watermark and read everything.
        keep_watermark: Go on from the watermark although source or target changed.
        yes: A full refresh of an insert service may replace the table.
        customer: Who pays.
        request: What asked for the run.
        lease_seconds: How long no other run of the service may begin while this one has not ended. One that is still at work after that
            may be given up by another, and then commits nothing.

    Raises:
        SpecError: The definition has mistakes, or cannot be run so; raised when the transform is made or applied.
    """

    kind: ClassVar[Kind] = "etl"

    def __init__(
        self,
        service: Service | str | Path,
        *,
        connections: str | Path | None = None,
        state: str | Path | None = None,
        full_refresh: bool = False,
        keep_watermark: bool = False,
        yes: bool = False,
        customer: str | None = None,
        request: str | None = None,
        lease_seconds: float = 3600.0,
    ) -> None:
        super().__init__()
        if lease_seconds <= 0:
            raise ValueError(f"expected lease_seconds above 0, got {lease_seconds}")
        if isinstance(service, Service):
            if connections is not None or state is not None:
                raise ValueError("expected connections and state with a definition's file, got them beside a Service, which has its own")
            self._service = service
        else:
            self._service = Service.load(service, connections=connections, state=state)
        place = self._place()
        self._beside = self._service.beside
        self._context = RunContext(
            run="",
            started_at="",
            connections=str(self._service.connections_file) if self._service.connections_file else None,
            folder=str(self._service.folder),
            state=place,
            local=False,
            full_refresh=full_refresh,
            keep_watermark=keep_watermark,
        )
        self._asked = Asked(str(self._beside), lease_seconds, yes=yes, customer=customer, request=request)

    def _place(self) -> str:
        """The state store as the pipeline may name it: what is in a pipeline is read by many."""
        place = self._service.state_place
        parsed = DatabaseUrl.parse(place)
        if parsed is not None and parsed.secrets():
            raise PlanError(
                f"a state store with a password ({parsed.display()}) cannot stand in a pipeline: name it as a connection, and give its name"
                " as state",
                code="connection-invalid",
            )
        return place

    def default_label(self) -> str:
        return f"{type(self).__name__} {self._service.id}"

    def expand(self, begin: PBegin) -> PCollection:
        definition = self._service.definition
        if not isinstance(begin.pipeline.runner, FnApiRunner):
            refuse_runner(type(begin.pipeline.runner).__name__)
            raise _refused(begin.pipeline.runner)
        check_runner(begin.pipeline.options)
        job = Job.of(definition, self._service.folder)
        with self._service.placing():
            if definition.kind != self.kind:
                section = next(key for key, kind in SECTIONS.items() if kind == self.kind)
                message = f"expected one, for {type(self).__name__} runs it; this definition is of kind {definition.kind!r}"
                raise refusal(section, message, "not-served")
            Archive.of(definition.dead_letters, self._beside)
            for step in job.steps():
                step.needs_sample  # noqa: B018 - finds the user's function, or says that there is none
        asked = replace(self._asked, runner=presence.watch(begin.pipeline.runner))
        return begin | "Run" >> RunEmbedded(Job(job.text, job.folder, context=self._context), asked)


def _refused(runner: object) -> PlanError:
    name = type(runner).__name__
    why = ": it tries another runner first, and should that fail, runs the whole pipeline again" if "Direct" in name else ""
    return PlanError(
        f"{name} is not served by Etl{why}; give the runner that is, beam.Pipeline(runner='FnApiRunner')",
        code="runner-refused",
    )
