"""Rules as a person gives them in Python: mappings or models, checked as a definition is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from beam_pipelines.spec.load import parse
from beam_pipelines.spec.rule import Actions, RuleBase

__all__ = ["rule_set"]


def rule_set(
    rules: Iterable[RuleBase | Mapping[str, Any]], actions: Actions | Mapping[str, Any] | None
) -> tuple[tuple[RuleBase, ...], Actions]:
    """Return rules and actions as models.

    Raises:
        SpecError: Some are not well formed; every mistake is listed.
    """
    written: dict[str, Any] = {"rules": list(rules)}
    if actions is not None:
        written["actions"] = actions
    validation = parse({"name": "rules", "validation": written}, "rules").definition.validation
    assert validation is not None
    return tuple(validation.rules), validation.actions
