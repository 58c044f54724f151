"""Rules over rows: kernels that look at record batches, `check`, which runs them on a table without Beam, `profile` and `suggest`."""

from __future__ import annotations

from beam_pipelines.rules.check import check
from beam_pipelines.rules.profiling.columns import Profile, profile
from beam_pipelines.rules.profiling.suggest import suggest
from beam_pipelines.rules.result import Result, RuleResult

__all__ = ["Profile", "Result", "RuleResult", "check", "profile", "suggest"]
