"""The phases of a run, and what the definition's steps did in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Step", "Transformation", "without_rows"]

_OF_ROWS = ("examples", "profile")  # of what is told of a step of rules, that which holds values of rows


@dataclass(frozen=True)
class Transformation:
    """What one step of the definition did.

    Args:
        id: Step id.
        success: False when the step failed as a whole.
        duration: Milliseconds.
        records_in: Rows in.
        records_out: Rows out.
        error: Why it failed, without payload.
        records_filtered: Rows it dropped on purpose.
        records_rejected: Rows its rules rejected.
        records_dead_lettered: Rows that failed in it.
        fused_with: Ids of the steps it ran as one with; they share the duration.
        records_nulled: Rows that failed in it and passed with its columns null (`required: false`, or a converter's `onError`).
        records_made: Rows it gave above one for one, from a function that returns several.
        records_absorbed: Rows that went on only as a part of another one: of a group all but one.
        records_right: Rows of the right side of a join, after its own steps.
        bytes_out: Canonical size of the rows out; steps that ran as one (`fused_with`) have that of the last.
        rules: Of a `validate` step what each rule came to, as `rules.tally.Tally.to_dict` tells it, with the rule's id as `rule`, and
            what it is: `type`, `severity`, `action`, `fields`, `mostly`, `maxFailures` and `description`, as far as they are set.
        quality: Of a `validate` step how many rows it looked at (`total`), how many violate a rule of severity error (`failed`), how many
            none (`passed`), and how many one of severity warning (`warnings`); where they are known, `examples` of rows that violate, and
            the `profile` of the columns, as `rules.profiling.columns.Profile.told` tells it.
    """

    id: str
    success: bool = True
    duration: int = 0
    records_in: int = 0
    records_out: int = 0
    error: str | None = None
    records_filtered: int = 0
    records_rejected: int = 0
    records_dead_lettered: int = 0
    fused_with: tuple[str, ...] = ()
    records_nulled: int = 0
    records_made: int = 0
    records_absorbed: int = 0
    records_right: int = 0
    bytes_out: int = 0
    rules: tuple[dict[str, Any], ...] = ()
    quality: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        data = {
            "id": self.id,
            "success": self.success,
            "duration": self.duration,
            "recordsIn": self.records_in,
            "recordsOut": self.records_out,
            "recordsFiltered": self.records_filtered,
            "recordsRejected": self.records_rejected,
            "recordsDeadLettered": self.records_dead_lettered,
            "recordsNulled": self.records_nulled,
            "recordsMade": self.records_made,
            "recordsAbsorbed": self.records_absorbed,
            "recordsRight": self.records_right,
            "bytesOut": self.bytes_out,
        }
        data |= _given(error=self.error, fusedWith=list(self.fused_with) or None)
        return data | _given(rules=list(self.rules) or None, quality=self.quality)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Transformation:
        return cls(
            id=data["id"],
            success=data["success"],
            duration=data["duration"],
            records_in=data["recordsIn"],
            records_out=data["recordsOut"],
            error=data.get("error"),
            records_filtered=data["recordsFiltered"],
            records_rejected=data["recordsRejected"],
            records_dead_lettered=data["recordsDeadLettered"],
            records_nulled=data.get("recordsNulled", 0),
            records_made=data.get("recordsMade", 0),
            records_absorbed=data.get("recordsAbsorbed", 0),
            records_right=data.get("recordsRight", 0),
            bytes_out=data.get("bytesOut", 0),
            fused_with=tuple(data.get("fusedWith", ())),
            rules=tuple(data.get("rules", ())),
            quality=data.get("quality"),
        )


@dataclass(frozen=True)
class Step:
    """One phase of a run: `extract`, `transform` or `load`. Of what is None, the phase has none.

    Args:
        phase: Name of the phase.
        success: Whether it ended well.
        record_count: Rows it handled.
        transformations: Results of the definition's steps, in its order.
        loaded: Rows loaded.
        errors: Rows refused.
        method: The statements used (`merge`, `insert`, ...).
        duration: Milliseconds.
        table: The load it belongs to, where a run has several.
    """

    phase: str
    success: bool = True
    record_count: int | None = None
    transformations: tuple[Transformation, ...] = ()
    loaded: int | None = None
    errors: int | None = None
    method: str | None = None
    duration: int | None = None
    table: str | None = None

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"phase": self.phase, "success": self.success}
        data |= _given(recordCount=self.record_count, loaded=self.loaded, errors=self.errors, method=self.method)
        data |= _given(duration=self.duration, table=self.table)
        if self.transformations:
            data["transformations"] = [one.to_json() for one in self.transformations]
        return data


def without_rows(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return a phase as `Step.to_json` tells it, without the values of rows."""
    if "transformations" not in step:
        return dict(step)
    return {**step, "transformations": [_without_rows(one) for one in step["transformations"]]}


def _without_rows(transformation: dict[str, Any]) -> dict[str, Any]:
    if not transformation.get("quality"):
        return transformation
    return {**transformation, "quality": {name: one for name, one in transformation["quality"].items() if name not in _OF_ROWS}}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
