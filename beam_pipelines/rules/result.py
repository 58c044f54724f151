"""What a check came to: rows told apart, every violation, and the counts of each rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
import pyarrow as pa

from beam_pipelines.columnar.plain import plain
from beam_pipelines.rules.compiled import Compiled
from beam_pipelines.rules.dataset.rule import Verdict
from beam_pipelines.rules.tally import Tally
from beam_pipelines.spec.rule import Action, RuleBase, Severity

__all__ = ["Result", "RuleResult"]

_WORST_FIRST: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class RuleResult:
    """What one rule came to.

    Args:
        rule: From the definition.
        action: What becomes of a row that violates it.
        tally: Its counts.
        verdict: What it says of the data set, if it is a rule of that.
    """

    rule: RuleBase
    action: Action
    tally: Tally
    verdict: Verdict | None = None

    @classmethod
    def of(cls, rule: Compiled, tally: Tally, verdict: Verdict | None) -> RuleResult:
        """Return what a rule came to; one of the data set says itself how many rows it left out."""
        known = tally if verdict is None else replace(tally, unevaluated=verdict.unevaluated)
        return cls(rule.model, rule.action, known, verdict)

    @property
    def holds(self) -> bool | None:
        """Whether it holds as a whole, by its threshold or its measure; None where it has no threshold or nothing to measure."""
        return self.tally.holds(self.rule) if self.verdict is None else self.verdict.holds

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, under the names of the definition."""
        if self.verdict is not None:
            return self._measured(self.verdict)
        told: dict[str, Any] = {
            "rule": self.rule.id,
            "type": self.rule.type,
            "severity": self.rule.severity,
            "action": self.action,
            **self.tally.to_dict(),
        }
        if self.holds is not None:
            told["holds"] = self.holds
        return told

    def _measured(self, verdict: Verdict) -> dict[str, Any]:
        return {
            "rule": self.rule.id,
            "type": self.rule.type,
            "severity": self.rule.severity,
            "holds": verdict.holds,
            "measured": verdict.measured,
            **verdict.details,
            "message": verdict.message,
            "evaluated": self.tally.evaluated,
            "notEvaluated": self.tally.unevaluated,
        }


@dataclass(frozen=True)
class Result:
    """What a check of a table came to: `passed + failed = total`, and `valid` and `rejected` together are the table.

    Args:
        valid: Rows that no rule rejects; with the column `_dq` where a rule may flag rows: the ids of those that it violates, else null.
        rejected: Rows that at least one rule rejects, as they came.
        violations: One row for each way in which a row violates a rule, by row, in the schema `rules.violation.SCHEMA`.
        rules: What each rule came to, in the order of the definition.
        total: Rows.
        failed: Rows that violate a rule of severity error, or on which a rule itself failed.
        warnings: Rows that violate a rule of severity warning, whatever else they do.
    """

    valid: pa.Table
    rejected: pa.Table
    violations: pa.Table
    rules: tuple[RuleResult, ...]
    total: int
    failed: int
    warnings: int
    records: pa.Table

    @property
    def passed(self) -> int:
        """Rows that violate no rule of severity error."""
        return self.total - self.failed

    @property
    def ok(self) -> bool:
        """No rule of severity error has failed as a whole: none has passed its threshold, and each of the data set holds."""
        return self.status != "error"

    @property
    def status(self) -> Literal["error", "warning", "info", "ok"]:
        """The worst severity of the rules that have failed as a whole; ok where none has."""
        failed = {rule.rule.severity for rule in self.rules if rule.holds is False}
        for severity in _WORST_FIRST:
            if severity in failed:
                return severity
        return "ok"

    def violations_with_records(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return violations as plain values, each with the `record` that violates.

        Args:
            limit: Only the first so many; None: all.
        """
        chosen = self.violations if limit is None else self.violations.slice(0, limit)
        records = self.records.take(chosen.column("recordIndex"))
        columns = {name: plain(records.column(name).combine_chunks()) for name in records.column_names}
        told = chosen.to_pylist()
        for at, violation in enumerate(told):
            violation["record"] = {name: values[at] for name, values in columns.items()}
        return told

    def to_dict(self, examples: int = 0) -> dict[str, Any]:
        """Return counts as plain values, and some violations with their records.

        Args:
            examples: How many violations.
        """
        told: dict[str, Any] = {
            "total": self.total,
            "passed": self.passed,
            "failed": self.failed,
            "warnings": self.warnings,
            "rejected": self.rejected.num_rows,
            "violations": self.violations.num_rows,
            "ok": self.ok,
            "status": self.status,
            "rules": [rule.to_dict() for rule in self.rules],
        }
        if examples:
            told["examples"] = self.violations_with_records(examples)
        return told

    def to_json(self, examples: int = 0) -> str:
        """Return `to_dict` as JSON."""
        return orjson.dumps(self.to_dict(examples), option=orjson.OPT_INDENT_2).decode()
