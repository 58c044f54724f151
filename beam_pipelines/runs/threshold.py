"""How many rows may violate a rule before it fails as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

__all__ = ["Threshold"]


@dataclass(frozen=True)
class Threshold:
    """What a rule allows. Rows that it says nothing of are no part of it; those on which it fails itself violate it.

    Args:
        step: Id of the step that the rule is of.
        rule: Id of the rule.
        severity: What it means that it is passed: error fails the load, warning warns (exit 3), info is only recorded.
        mostly: Least share of the rows looked at that must hold, from 0 to 1.
        rows: Most rows that may violate.
        share: Most rows that may violate, as a share of those looked at, from 0 to 1.
    """

    step: str
    rule: str
    severity: Literal["error", "warning", "info"] = "error"
    mostly: Decimal | None = None
    rows: int | None = None
    share: Decimal | None = None

    def passed(self, looked_at: int, violated: int) -> str | None:
        """Say in words how the threshold is passed; None: the rule holds. Of no rows at all none violates."""
        of = f"{violated} of {looked_at} rows violate the rule {self.rule!r}"
        if self.mostly is not None and looked_at - violated < self.mostly * looked_at:
            return f"{of}, and {_percent(self.mostly)} of them must hold"
        if self.rows is not None and violated > self.rows:
            return f"{of}, which allows {self.rows}"
        if self.share is not None and violated > self.share * looked_at:
            return f"{of}, which allows {_percent(self.share)}"
        return None


def _percent(share: Decimal) -> str:
    return f"{(share * 100).normalize():f}%"
