"""What must hold of rows, how bad it is when it does not, and what then becomes of the row: a module for each kind of rule."""

from __future__ import annotations

from beam_pipelines.spec.rule.base import Action, Actions, RuleBase, Severity
from beam_pipelines.spec.rule.kinds import Rule

__all__ = ["Action", "Actions", "Rule", "RuleBase", "Severity"]
