"""Keys of a `unique` rule that say what is looked at together, and for how long: they mean something where rows have no end, or windows."""

from __future__ import annotations

from collections.abc import Sequence

from beam_pipelines.errors import Problem
from beam_pipelines.spec.rule import RuleBase
from beam_pipelines.spec.rule.unique import Unique

__all__ = ["stream_keys"]

_WHERE = "beam_pipelines.quality.CheckRows holds the batches of a pipeline of yours against it"


def stream_keys(rules: Sequence[RuleBase], path: str = "rules") -> list[Problem]:
    """Return a problem for each setting of a rule that a run over all rows there are would have to pass over.

    Args:
        rules: In the order of the definition.
        path: Where they stand in it.
    """
    problems = []
    for at, rule in enumerate(rules):
        if isinstance(rule, Unique) and rule.horizon is not None:
            message = f"expected no 'horizon' where all rows are compared with each other, got one in the rule {rule.id!r}"
            problems.append(Problem(message, f"{path}[{at}].horizon", hint=f"leave it out; {_WHERE}"))
        if isinstance(rule, Unique) and rule.scope == "window":
            message = f"expected 'scope: dataset' where rows have no windows, got 'scope: window' in the rule {rule.id!r}"
            problems.append(Problem(message, f"{path}[{at}].scope", hint=f"leave it out; {_WHERE}"))
    return problems
