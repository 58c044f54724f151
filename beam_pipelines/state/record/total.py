"""The phases of a stream: those of its drains, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from beam_pipelines.state.record.step import Step, Transformation

__all__ = ["merged"]

_ROWS = ("total", "passed", "failed", "warnings")  # counts of `Transformation.quality`
_TALLIED = ("evaluated", "violated", "notEvaluated", "ruleErrors")  # counts of a rule
_EXAMPLES = 5  # of each rule: as many as a run shows, the first ones
_COUNTED = ("duration", "bytes_out", *(one.name for one in fields(Transformation) if one.name.startswith("records_")))


def merged(before: Sequence[Step], more: Sequence[Step]) -> tuple[Step, ...]:
    """Add the phases of a drain to those before it, phase by phase and step by step, in their order; what is new comes last.

    Counts and durations are sums; a step succeeded if it did in all drains, and its error is the first one. Of a rule the counts are sums,
    and what it was measured as is of the newest drain; so is the profile of columns, while examples are the first ones.
    """
    found = {(step.phase, step.table): step for step in before}
    for step in more:
        known = found.get((step.phase, step.table))
        found[step.phase, step.table] = step if known is None else _step(known, step)
    return tuple(found.values())


def _step(first: Step, then: Step) -> Step:
    every = {one.id: one for one in first.transformations}
    for one in then.transformations:
        every[one.id] = _transformation(every[one.id], one) if one.id in every else one
    methods = [*(first.method or "").split(", "), *(then.method or "").split(", ")]
    return replace(
        first,
        success=first.success and then.success,
        record_count=_sum(first.record_count, then.record_count),
        transformations=tuple(every.values()),
        loaded=_sum(first.loaded, then.loaded),
        errors=_sum(first.errors, then.errors),
        method=", ".join(dict.fromkeys(filter(None, methods))) or None,
        duration=_sum(first.duration, then.duration),
    )


def _transformation(first: Transformation, then: Transformation) -> Transformation:
    counts: dict[str, Any] = {name: getattr(first, name) + getattr(then, name) for name in _COUNTED}
    return replace(
        first,
        **counts,
        success=first.success and then.success,
        error=first.error if first.error is not None else then.error,
        fused_with=tuple(dict.fromkeys((*first.fused_with, *then.fused_with))),
        rules=_rules(first.rules, then.rules),
        quality=_quality(first.quality, then.quality),
    )


def _rules(first: Sequence[dict[str, Any]], then: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    every = {one["rule"]: one for one in first}
    for one in then:
        known = every.get(one["rule"], {})
        told = {**known, **one, **_added(known, one, _TALLIED)}
        every[one["rule"]] = told
        if "duplicates" in known and "duplicates" in one:
            told["duplicates"] = _added(known["duplicates"], one["duplicates"], tuple(one["duplicates"]))
    return tuple(every.values())


def _added(first: Mapping[str, int], then: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    return {name: first.get(name, 0) + then.get(name, 0) for name in names if name in first or name in then}


def _quality(first: dict[str, Any] | None, then: dict[str, Any] | None) -> dict[str, Any] | None:
    if first is None or then is None:
        return then if first is None else first
    told = {**first, **then, **_added(first, then, _ROWS)}
    seen: Counter[Any] = Counter()
    examples = []
    for one in (*first.get("examples", ()), *then.get("examples", ())):
        seen[one.get("rule")] += 1
        if seen[one.get("rule")] <= _EXAMPLES:
            examples.append(one)
    return {**told, "examples": examples} if examples else told


def _sum(first: int | None, then: int | None) -> int | None:
    return None if first is None and then is None else (first or 0) + (then or 0)
