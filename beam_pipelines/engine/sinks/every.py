"""The sinks of a stream beside the one whose transaction holds its offsets, as its definition names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from typing import cast as cast_type

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.runs.facts import LATE, PENDING

if TYPE_CHECKING:
    from beam_pipelines.spec.step.window import WindowStep

from beam_pipelines.engine.sinks.sink import Sink
from beam_pipelines.engine.sinks.table import TableSink
from beam_pipelines.engine.sinks.topic import TopicSink

__all__ = ["sinks_of"]


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
        from beam_pipelines.engine.sinks.api import ApiSink  # few streams have one

        return ApiSink(name, model, path, kind)
    if model.type == "none":
        raise refusal(path, "expected a table, files, a topic or an API, got none, which keeps nothing", "not-served")
    return TableSink(name, model, path, kind)
