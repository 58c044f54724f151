"""Rules over rows: kernels that look at record batches, `check`, which runs them on a table without Beam, `profile` and `suggest`."""

from __future__ import annotations

from beam_pipelines.rules.check import check
from beam_pipelines.rules.profile import Profile, profile
from beam_pipelines.rules.result import Result, RuleResult
from beam_pipelines.rules.suggest import suggest

__all__ = ["Profile", "Result", "RuleResult", "check", "profile", "suggest"]
