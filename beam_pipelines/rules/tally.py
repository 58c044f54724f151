"""What a rule came to over all rows: counts that add up whatever the batches were, and whether too many rows violate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from beam_pipelines.rules.judgement import Judgement
from beam_pipelines.rules.key.unique import Repeats
from beam_pipelines.runs.threshold import Threshold
from beam_pipelines.spec.limit import limit_rows, limit_share
from beam_pipelines.spec.rule import RuleBase

__all__ = ["Tally", "threshold"]


@dataclass(frozen=True)
class Tally:
    """Counts of one rule.

    Args:
        rows: How many there were.
        violated: Rows that violate.
        unevaluated: Rows that the rule says nothing of.
        failed: Rows on which the rule itself failed.
        repeated_keys: Of a `unique` rule, keys that occur more than once.
        repeated_rows: Rows that have such a key.
    """

    rows: int = 0
    violated: int = 0
    unevaluated: int = 0
    failed: int = 0
    repeated_keys: int = 0
    repeated_rows: int = 0

    @classmethod
    def of(cls, judgement: Judgement, rows: int) -> Tally:
        return cls(rows, len(judgement.rows), judgement.unevaluated, len(judgement.failed))

    def repeating(self, repeats: Repeats) -> Tally:
        return replace(self, repeated_keys=self.repeated_keys + repeats.keys, repeated_rows=self.repeated_rows + repeats.members)

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def evaluated(self) -> int:
        """Rows of which the rule says whether it holds."""
        return self.rows - self.unevaluated - self.failed

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as a result and a record tell them; of keys that occur more than once all three counts there are."""
        told: dict[str, Any] = {
            "evaluated": self.evaluated,
            "violated": self.violated,
            "notEvaluated": self.unevaluated,
            "ruleErrors": self.failed,
        }
        if self.repeated_keys:
            keys, members = self.repeated_keys, self.repeated_rows
            told["duplicates"] = {"laterRows": members - keys, "keys": keys, "members": members}
        return told

    def holds(self, rule: RuleBase) -> bool | None:
        """Whether the rule holds as a whole, by its threshold; None where it has none, or there was nothing to look at."""
        limit, looked_at = threshold(rule), self.evaluated + self.failed
        return None if limit is None or not looked_at else limit.passed(looked_at, self.violated + self.failed) is None


def threshold(rule: RuleBase, step: str = "") -> Threshold | None:
    """Return how many rows may violate a rule; None: any number."""
    if rule.mostly is None and rule.max_failures is None:
        return None
    most = rule.max_failures
    rows, share = (None, None) if most is None else (limit_rows(most), limit_share(most))
    return Threshold(step, rule.id, rule.severity, rule.least_share, rows, share)
