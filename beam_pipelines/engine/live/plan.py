"""What holds of streams before one begins: which steps and sinks go together, and what the sinks together can promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import BY_GROUPS, sums_up
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.engine.sinks.every import sinks_of
from beam_pipelines.engine.sinks.place import key_of
from beam_pipelines.io.connector import Target
from beam_pipelines.rules.key.horizon import Horizon
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.guarantee import Guarantee
from beam_pipelines.spec.values import duration_text

if TYPE_CHECKING:
    from beam_pipelines.spec.rule.unique import Unique
    from beam_pipelines.spec.source import TopicSource
    from beam_pipelines.spec.step.join import JoinStep
    from beam_pipelines.spec.step.window import WindowStep

__all__ = ["check_live", "promise", "sink_lines", "tumbling", "window_line"]

_MS = timedelta(milliseconds=1)


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
    path = f"{job.path or job.definition.steps_path}[{place}]"
    if step.type != "window" and (sums_up(step) or step.type in BY_GROUPS or step.type == "union"):
        message = f"{step.id!r} takes all rows to tell what comes out, and a stream has no end"
        raise refusal(path, message, "mode-refused", "sum up by a window step, or take a step that works row by row")
    if step.type == "window" and place != job.window_at:
        raise refusal(path, f"expected one window step, got {step.id!r} as well: results of windows are not summed up again", "not-served")
    if step.type == "join":
        if step.live and not job.path:
            _check_live_join(job, place, step)
        elif step.how in ("right", "full"):
            raise refusal(f"{path}.how", f"expected inner, left, semi or anti: {step.how} needs all rows of a stream", "mode-refused")
    if step.type == "validate":
        for at, rule in enumerate(step.rules):
            if _of_all(rule):
                message = f"the rule {rule.id!r} of type {rule.type!r} takes all rows to tell, and a stream has no end"
                raise refusal(f"{path}.rules", message, "not-served", "hold the results against it, or use CheckRows with a scope")
            if rule.type == "unique":
                _check_unique(job, place, rule, f"{path}.rules[{at}]")


def _check_unique(job: Job, place: int, rule: Unique, path: str) -> None:
    """Refuse rules of which it is not said what of the rows without an end they compare, or which rows would have to wait for."""
    if job.path:
        message = f"expected no rule of type unique in the source of a step of a stream, got {rule.id!r}"
        raise refusal(path, message, "not-served", "hold the rows of the stream itself against it")
    if job.window_at is not None and place > job.window_at:
        message = f"{rule.id!r} stands behind the windows, whose results come once a group: hold the rows before them against it"
        raise refusal(path, message, "mode-refused")
    if rule.scope == "dataset":
        if rule.horizon is None:
            message = f"expected 'horizon' in the rule {rule.id!r}, for a stream has no end: how long a value is remembered, in event time"
            raise refusal(f"{path}.horizon", message, "mode-refused", "such as 24h; or 'scope: window' before tumbling windows")
        return
    if tumbling(job) is None:
        message = f"expected tumbling windows behind 'scope: window' of the rule {rule.id!r}, for they say which rows are compared"
        raise refusal(f"{path}.scope", message, "mode-refused", "give 'horizon' with 'scope: dataset'")
    if rule.keep != "first":
        message = f"expected 'keep: first' in a stream, got {rule.keep!r} in the rule {rule.id!r}: each row is told of when it comes"
        raise refusal(f"{path}.keep", message, "not-served", "CheckRows, in a pipeline of yours, waits for the end of each window")


def tumbling(job: Job) -> Horizon | None:
    """The windows of a stream in each of which a value may occur, of rules with `scope: window`; None: it has none, or they overlap."""
    step = cast("WindowStep", job.definition.steps[job.window_at]) if job.window_at is not None else None
    if step is None or step.window.type != "tumbling":
        return None
    return Horizon(step.allowed_lateness // _MS, step.window.size // _MS)


def _check_live_join(job: Job, place: int, step: JoinStep) -> None:
    """Refuse joins of two streams whose rows would come without columns that are known, or without an order of time."""
    path, steps = f"{job.definition.steps_path}[{place}]", job.definition.steps
    topic, side = cast("TopicSource", step.source), job.side(step.id)
    for at, one in enumerate(side.definition.steps):
        _check_step(side, at, one)
    if step.id != next(iter(job.live_joins)):
        message = f"expected one join with a topic, got {step.id!r} as well"
        raise refusal(path, message, "not-served", "write the results of one to a topic, and join that in a stream of its own")
    if topic.format == "json" and not topic.columns:
        message = "expected the columns of the topic that is joined with: each drain would else look at its newest messages to tell them"
        raise refusal(f"{path}.source.columns", message, "column-missing", "columns: {userId: text, timestamp: bigint}")
    if any(before.type == "window" for before in steps[:place]):
        raise refusal(path, f"{step.id!r} stands behind the windows: join first", "mode-refused")
    if job.window_at is not None and (step.within is None or step.how != "inner"):
        message = (
            f"rows of {step.id!r} may come out when the windows of {steps[job.window_at].id!r} that they belong to are closed: expected an"
            " inner join with `within`, whose pairs come out as soon as both rows are there"
        )
        raise refusal(path, message, "mode-refused")


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
        "each message is read once: offsets, results, states of open windows and rows that wait are committed in one transaction"
        + ("" if target.traits.transactional else " of the state store, and files after it, which the next start finishes")
    ]
    if job.window_at is not None or job.live_joins:
        reasons.append(
            "late is a function of the topics' logs: the same rows are late in every run, but where a partition had not been waited for"
            " (idleTimeout)"
        )
    if job.remembers:
        reasons.append(
            "which rows repeat a value is a function of the topic's log where those of it are of one partition, else of how drains cut it"
        )
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
        spans = f"that end {duration_text(window.gap)} after their last event"
    else:
        spans = f"of {duration_text(window.size)}" + (f", one each {duration_text(window.slide)}" if window.type == "sliding" else "")
    groups = f", by {', '.join(step.group_by)}" if step.group_by else ""
    lateness = f", kept {duration_text(step.allowed_lateness)} for late events" if step.allowed_lateness else ""
    early = f", also as they are every {duration_text(step.emit_every)}" if step.emit_every is not None else ""
    return f"{window.type} windows {spans}{groups}{lateness}{early}"


def sink_lines(job: Job, target: Target) -> Iterator[str]:
    """A line for each sink, for the plan."""
    if target.traits.keeps:
        where = getattr(job.destination, "connection_name", None) or "files"
        yield f"{job.destination.mode} into {job.load_of('{table}')} at {where} ({target.traits.system}), with the offsets"
    else:
        yield "offsets and open windows go to the state store"
    yield from (sink.line for sink in sinks_of(job))
