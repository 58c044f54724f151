"""What a rule says of a batch: which rows violate it and how, which it could not look at, and on which it failed itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Finding", "Judgement", "RowRule", "finding", "positions"]

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Finding:
    """Rows that violate a rule in one way.

    Args:
        rows: Positions in the batch, ascending.
        field: What was looked at, as the definition names it.
        values: What was found there, one a row; None: there is no such value.
        message: What was expected; never a value of a row.
    """

    rows: Positions
    field: str
    values: pa.Array | None
    message: str


@dataclass(frozen=True)
class Judgement:
    """What a rule says of one batch.

    Args:
        findings: A row may be in several.
        unevaluated: Rows that the rule says nothing of, such as those that are null where a pattern is looked for.
        failed: Why the rule failed on a row, by position: such a row is rejected.
    """

    findings: tuple[Finding, ...] = ()
    unevaluated: int = 0
    failed: dict[int, str] = field(default_factory=dict)

    @property
    def rows(self) -> Positions:
        """Positions of the rows that violate, each once, ascending."""
        if len(self.findings) == 1:
            return self.findings[0].rows
        return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *(found.rows for found in self.findings)]))

    @property
    def failures(self) -> list[Finding]:
        """The rows on which the rule failed, by the reason, as findings."""
        by_reason: dict[str, list[int]] = {}
        for row, reason in self.failed.items():
            by_reason.setdefault(reason, []).append(row)
        return [
            Finding(np.array(sorted(rows), dtype=np.int64), "", None, f"the rule failed on this row: {reason}")
            for reason, rows in by_reason.items()
        ]


class RowRule(Protocol):
    """A rule that looks at one row at a time, made for batches of one schema."""

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        """Look at every row of a batch; never raises for a bad row."""


def positions(mask: pa.Array) -> Positions:
    """Return where a mask is true; null is not."""
    if mask.null_count:
        mask = mask.fill_null(False)
    return np.flatnonzero(np.asarray(mask)).astype(np.int64)


def finding(mask: pa.Array, field: str, values: pa.Array | None, message: str) -> Sequence[Finding]:
    """Return the finding of the rows that a mask is true of: none where it is true of no row."""
    rows = positions(mask)
    if not len(rows):
        return ()
    return (Finding(rows, field, None if values is None else values.take(pa.array(rows)), message),)
