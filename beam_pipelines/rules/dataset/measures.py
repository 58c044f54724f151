"""All rules of a data set measured at once, and its profile beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from beam_pipelines.rules.compiled import Compiled
from beam_pipelines.rules.dataset.rule import SetRule, Verdict
from beam_pipelines.rules.profiling.profiler import Profiler

__all__ = ["ByPast", "Measures", "Past"]

Past = Mapping[int, Sequence[Mapping[str, Any]]]


@runtime_checkable
class ByPast(Protocol):
    """A rule of a data set that looks at what it measured before."""

    def judge_by(self, state: Any, now: datetime, past: Sequence[Mapping[str, Any]]) -> Verdict:
        """Say whether the rule holds of all rows, by what it told in earlier runs, the last one first."""


class Measures:
    """All rules of a data set, measured in one state: that of each, in their order, and the profile of its columns if that is asked for.

    Args:
        rules: Of any kind; those that look at rows are passed over.
        profiler: Measures the columns as well, last.
    """

    def __init__(self, rules: Sequence[Compiled], profiler: Profiler | None = None) -> None:
        self._rules = [(at, rule.dataset) for at, rule in enumerate(rules) if rule.dataset is not None]
        self._profiler = profiler
        self._parts: list[SetRule | Profiler] = [rule for _, rule in self._rules]
        if profiler is not None:
            self._parts.append(profiler)

    def nothing(self) -> tuple[Any, ...]:
        """Return the state of no rows."""
        return tuple(part.nothing() for part in self._parts)

    def measure(self, batch: pa.RecordBatch) -> tuple[Any, ...]:
        """Return the state of the rows of a batch."""
        return tuple(part.measure(batch) for part in self._parts)

    def merge(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the state of the rows of two states."""
        return tuple(part.merge(mine, theirs) for part, mine, theirs in zip(self._parts, one, other, strict=True))

    def verdicts(self, state: tuple[Any, ...], now: datetime, past: Past | None = None) -> dict[int, Verdict]:
        """Judge all rules; by their place among all rules, those that look at rows included.

        Args:
            state: Of all rows.
            now: When the check started, with a zone.
            past: What each rule told in earlier runs, the last one first, by its place.
        """
        known, states = past or {}, zip(self._rules, state[: len(self._rules)], strict=True)
        return {
            at: rule.judge_by(mine, now, known.get(at, ())) if isinstance(rule, ByPast) else rule.judge(mine, now)
            for (at, rule), mine in states
        }

    def profile(self, state: tuple[Any, ...]) -> Sequence[dict[str, Any]]:
        """Return what is told of the columns, as `rules.profiling.columns.Profile.told` does; nothing where they were not measured."""
        return () if self._profiler is None else self._profiler.told(state[-1])
