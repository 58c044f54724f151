"""A report as plain values, made of the record of a run and of the history of its service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from beam_pipelines.quality.report.profile import columns_of
from beam_pipelines.quality.report.quantity import share
from beam_pipelines.quality.report.verdict import expected, looked_at, sentence, status_of, verdict_of, violating, worst_first
from beam_pipelines.state.record import Execution, QualityRecord, Step, Transformation, moment_text

__all__ = ["TREND_RUNS", "Report", "is_reported", "make"]

Report = dict[str, Any]  # what `make` returns; docs/check-quality.md names its keys
TREND_RUNS = 30  # that the trend goes back
_COUNTS = ("total", "passed", "failed", "warnings")


def is_reported(execution: Execution) -> bool:
    """Whether a run has come to anything that a report would tell of its rules."""
    return any(True for _ in _checks(execution))


def make(execution: Execution, history: Iterable[QualityRecord] = (), redact: Callable[[str], str] = str) -> Report:
    """Return a report.

    Args:
        execution: Record of a run that has ended. One that ended before its rules were judged gives a report that says so.
        history: What the rules came to in earlier runs, in any order; the run itself may be among them. Later runs are left out.
        redact: Takes secrets out of a text.
    """
    past = [one for one in history if one.run != execution.run and _before(one, execution)]
    steps = [_step(step, one, execution, past) for step, one in _checks(execution)]
    report = {
        "version": 1,
        "serviceId": execution.service,
        "name": execution.name or execution.service,
        "kind": execution.kind,
        "runId": execution.run,
        "requestId": execution.request,
        "runStatus": execution.status,
        "startedAt": moment_text(execution.started_at),
        "completedAt": moment_text(execution.completed_at),
        "durationSeconds": None if execution.duration is None else execution.duration / 1000,
        "error": execution.error,
        "errorCode": execution.error_code,
        "status": status_of(execution.status, steps),
        "summary": sentence(execution.status, execution.error, steps),
        **(counts := {name: sum(step[name] for step in steps) for name in _COUNTS}),
        "passRate": share(counts["passed"], counts["total"]),
        "recordsExtracted": execution.metrics.records_extracted,
        "recordsRejected": execution.metrics.records_rejected,
        "recordsDeadLettered": execution.metrics.records_dead_lettered,
        "steps": steps,
    }
    redacted: Report = _redacted(report, redact)
    return redacted


def _checks(execution: Execution) -> Iterator[tuple[Step, Transformation]]:
    """The steps that held rows against rules, each with the phase that it is of."""
    return ((step, one) for step in execution.steps for one in step.transformations if one.quality is not None)


def _before(one: QualityRecord, execution: Execution) -> bool:
    return execution.completed_at is None or one.timestamp <= execution.completed_at


def _step(step: Step, one: Transformation, execution: Execution, past: Sequence[QualityRecord]) -> dict[str, Any]:
    quality = one.quality or {}
    shown: dict[str, list[Any]] = {}
    for example in quality.get("examples") or ():
        shown.setdefault(example["rule"], []).append(example)
    told = {
        "step": one.id,
        "table": step.table,
        **(counts := {name: quality[name] for name in _COUNTS}),
        "passRate": share(counts["passed"], counts["total"]),
        "recordsRejected": one.records_rejected,
        "durationSeconds": one.duration / 1000,
        "rules": worst_first([_rule(rule, shown.get(rule["rule"])) for rule in one.rules]),
        "trend": _trend(step, one, execution, past),
    }
    profile = columns_of(quality.get("profile"))
    return told | {"profile": profile} if profile else told


def _rule(rule: Mapping[str, Any], examples: list[Any] | None) -> dict[str, Any]:
    told = {**rule, "verdict": verdict_of(rule), "violatedShare": share(violating(rule), looked_at(rule))}
    if asked := expected(rule):
        told["expected"] = asked
    return told | {"examples": examples} if examples else told


def _trend(step: Step, one: Transformation, execution: Execution, past: Sequence[QualityRecord]) -> list[dict[str, Any]]:
    """What came of the last runs, the oldest first, this one last."""
    mine = sorted((old for old in past if (old.step, old.table) == (one.id, step.table)), key=lambda old: (old.timestamp, old.run))
    points = [
        _point(old.run, moment_text(old.timestamp), old.status, vars(old), old.result.get("rules", ())) for old in mine[1 - TREND_RUNS :]
    ]
    return [*points, _point(execution.run, moment_text(execution.completed_at), execution.status, one.quality or {}, one.rules)]


def _point(run: str, ended: str | None, status: str, counts: Mapping[str, Any], rules: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    shares = {rule["rule"]: {"violatedShare": share(violating(rule), looked_at(rule)), "verdict": verdict_of(rule)} for rule in rules}
    told = {name: counts[name] for name in _COUNTS}
    rate = share(told["passed"], told["total"])
    return {"runId": run, "timestamp": ended, "runStatus": status, **told, "passRate": rate, "rules": shares}


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _redacted(one, redact) for key, one in value.items()}
    return [_redacted(one, redact) for one in value] if isinstance(value, (list, tuple)) else value
