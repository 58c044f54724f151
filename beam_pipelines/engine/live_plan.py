"""What holds of streams before one begins: which steps and sinks go together, and what the sinks together can promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.engine.sinks.every import sinks_of
from beam_pipelines.engine.sinks.place import key_of
from beam_pipelines.io.connector import Target
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.guarantee import Guarantee

if TYPE_CHECKING:
    from beam_pipelines.spec.step.window import WindowStep

__all__ = ["check_live", "promise", "sink_lines", "window_line"]


def check_live(job: Job, context: RunContext) -> None:
    """Refuse what a stream cannot do, and sinks that cannot be opened.

    Raises:
        PlanError: Names the key.
    """
    for place, step in enumerate(job.definition.steps):
        _check_step(job, place, step)
    _check_modes(job)
    _check_results(job)
    _check_places(job)
    for sink in sinks_of(job):
        sink.check(job, context)


def _check_places(job: Job) -> None:
    """Refuse to bring rows twice to one place: it is by the place that a sink is known."""
    others = dict(job.others)
    names = [f"sinks[{place}]" for place, model in enumerate(job.definition.destinations) if model.type != "none"]
    there = {key_of(job.destination): name for name in names if name not in others}  # the one that holds the offsets
    for sink in sinks_of(job):
        if sink.key in there:
            message = f"expected another place than that of {there[sink.key]}, got {sink.what} as well, which would get rows twice"
            raise refusal(sink.path, message, "mode-refused")
        there[sink.key] = sink.id


def _check_step(job: Job, place: int, step: Any) -> None:
    path = f"{job.definition.steps_path}[{place}]"
    if step.type == "window" and place != job.window_at:
        raise refusal(path, f"expected one window step, got {step.id!r} as well: results of windows are not summed up again", "not-served")
    if step.type == "join":
        if step.source.type in ("kafka", "stream"):
            raise refusal(f"{path}.source", "a stream is not joined with another one yet: join it with a table or files", "not-served")
        if step.how in ("right", "full"):
            raise refusal(f"{path}.how", f"expected inner, left, semi or anti: {step.how} needs all rows of a stream", "mode-refused")
    if step.type == "validate":
        for rule in step.rules:
            if rule.type == "unique" or _of_all(rule):
                message = f"the rule {rule.id!r} of type {rule.type!r} takes all rows to tell, and a stream has no end"
                raise refusal(f"{path}.rules", message, "not-served", "hold the results against it, or use CheckRows with a scope")


def _of_all(rule: Any) -> bool:
    from beam_pipelines.spec.rule.dataset import SetRule

    return isinstance(rule, SetRule)


def _check_modes(job: Job) -> None:
    """Refuse what would take away what the commits before have brought."""
    sinks = [(f"stream.sinks[{place}]", sink) for place, sink in enumerate(job.definition.destinations)]
    for place, step in enumerate(job.definition.steps):
        if step.type == "window" and not isinstance(late := cast("WindowStep", step).late, str):
            sinks.append((f"{job.definition.steps_path}[{place}].late", late))
    for path, sink in sinks:
        if getattr(sink, "mode", None) == "replace":
            message = (
                "expected insert or upsert, got replace: a stream commits again and again, and each commit would take away the rows before"
            )
            raise refusal(f"{path}.mode", message, "mode-refused")


def _check_results(job: Job) -> None:
    """Refuse to add results that come out more than once."""
    if job.window_at is None:
        return
    step = cast("WindowStep", job.definition.steps[job.window_at])
    again = (
        "emit" if step.emit_every is not None else "allowedLateness" if step.allowed_lateness and step.window.type != "session" else None
    )
    for place, sink in enumerate(job.definition.destinations):
        explicit = sink.type in ("database", "data-warehouse") and "mode" in sink.model_fields_set and sink.mode == "insert"
        if again and (explicit or sink.type in ("file", "s3", "gcs")):
            what = "mode insert" if explicit else "a file"
            message = f"{what} would hold a result of {step.id!r} each time it comes out, and with {again!r} it comes out more than once"
            raise refusal(f"stream.sinks[{place}]", message, "mode-refused", "use mode upsert, which is the default for results of windows")


def promise(job: Job, target: Target, assumptions: Sequence[str]) -> Guarantee:
    """The guarantee of a stream: that of its weakest sink."""
    reasons = [
        "each message is read once: offsets, results and the states of open windows are committed in one transaction"
        + ("" if target.traits.transactional else " of the state store, and files after it, which the next start finishes")
    ]
    if job.window_at is not None:
        reasons.append("late is a function of the topic's log: the same rows are late in every run")
    level = "exactly-once"
    for sink in sinks_of(job):
        if sink.repeats:
            level = "at-least-once"
        reasons.append(sink.promise)
    return Guarantee(cast("Any", level), (*reasons, *assumptions))


def window_line(step: WindowStep) -> str:
    """What the plan says of a window step."""
    window = step.window
    if window.type == "session":
        spans = f"that end {_span(window.gap)} after their last event"
    else:
        spans = f"of {_span(window.size)}" + (f", one each {_span(window.slide)}" if window.type == "sliding" else "")
    groups = f", by {', '.join(step.group_by)}" if step.group_by else ""
    lateness = f", kept {_span(step.allowed_lateness)} for late events" if step.allowed_lateness else ""
    early = f", also as they are every {_span(step.emit_every)}" if step.emit_every is not None else ""
    return f"{window.type} windows {spans}{groups}{lateness}{early}"


def _span(span: timedelta) -> str:
    """A duration as definitions write it, in the largest unit that it is a whole number of."""
    ms = span // timedelta(milliseconds=1)
    units = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
    unit = next(unit for unit, size in units.items() if ms % size == 0)
    return f"{ms // units[unit]}{unit}"


def sink_lines(job: Job, target: Target) -> Iterator[str]:
    """A line for each sink, for the plan."""
    if target.traits.keeps:
        where = getattr(job.destination, "connection_name", None) or "files"
        yield f"{job.destination.mode} into {job.load_of('{table}')} at {where} ({target.traits.system}), with the offsets"
    else:
        yield "offsets and open windows go to the state store"
    yield from (sink.line for sink in sinks_of(job))
