"""Rules over rows: kernels that look at record batches, and `check`, which runs them on a table without Beam."""

from __future__ import annotations

from beam_pipelines.rules.check import check
from beam_pipelines.rules.result import Result, RuleResult

__all__ = ["Result", "RuleResult", "check"]
