"""Rules made for rows of one schema: every mistake is found before the first row."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from beam_pipelines.errors import PlanError, Problem
from beam_pipelines.rules.dataset.order import Order
from beam_pipelines.rules.dataset.rule import SetRule
from beam_pipelines.rules.field import RuleMisfit
from beam_pipelines.rules.judgement import RowRule
from beam_pipelines.rules.key.reference import References
from beam_pipelines.rules.key.unique import UniqueKey
from beam_pipelines.spec.rule import Action, Actions, RuleBase
from beam_pipelines.spec.rule.order import Monotonic
from beam_pipelines.spec.rule.reference import ForeignKey
from beam_pipelines.spec.rule.unique import Unique

__all__ = ["TIMED", "Compiled", "compile_rules"]

_HERE = "beam_pipelines.rules"
# Rules that look at one row and need nothing else, by type.
_HOMES = {
    "required-fields": "row.required:Required",
    "regex": "row.pattern:Pattern",
    "numeric-range": "row.number:NumberRange",
    "in-set": "row.member:Member",
    "not-in-set": "row.member:NotMember",
    "length": "row.length:LengthRange",
    "compare-columns": "row.compare:Comparison",
    "email": "row.address:EmailAddress",
    "url": "row.url:WebAddress",
    "uuid": "row.identifier:UuidForm",
    "ip": "row.address:IpAddress",
    "type": "row.value_type:TypeOfValue",
    "date-format": "row.date_format:DateInFormat",
    "json-schema": "row.json_schema:JsonBySchema",
}
# Those that also need the run's start.
TIMED = {
    "date-range": "row.moment:MomentRange",
    "expression": "row.expression:ConditionRule",
}
# Rules that look at the data set as a whole, by type.
_WHOLE = {
    "row-count": "dataset.volume:Rows",
    "null-ratio": "dataset.volume:Nulls",
    "distinct-count": "dataset.volume:Differences",
    "distinct-ratio": "dataset.volume:Differences",
    "statistic": "dataset.statistic:Figure",
    "freshness": "dataset.freshness:Newest",
    "drift": "dataset.drift:Drifting",
    "schema": "dataset.columns:Columns",
}


@dataclass(frozen=True)
class Compiled:
    """A rule for rows of one schema: one that looks at each row, one that looks at all of them, or one of the data set as a whole.

    Args:
        model: From the definition.
        action: What becomes of a row that violates it; of a rule of the data set, which no row violates, log.
        row: Looks at each row.
        unique: Says what the keys are, of which one must not occur twice.
        order: Looks at each row and at the one before it, of the batch before if need be.
        dataset: Measures the data set.
    """

    model: RuleBase
    action: Action
    row: RowRule | None = None
    unique: UniqueKey | None = None
    order: Order | None = None
    dataset: SetRule | None = None

    def close(self) -> None:
        """Give back what the rule holds: that of a rule with an expression, a connection."""
        close = getattr(self.row, "close", None)
        if close is not None:
            close()


def compile_rules(
    models: Sequence[RuleBase],
    schema: pa.Schema,
    actions: Actions,
    references: Callable[[ForeignKey], pa.Table],
    path: str = "rules",
    now: datetime | None = None,
) -> list[Compiled]:
    """Make rules for rows of a schema; the caller closes each.

    Args:
        models: From the definition.
        schema: Of the rows; hidden columns may be there.
        actions: What becomes of a row, by severity, where the rule does not say.
        references: Gives the rows that a foreign key refers to.
        path: Where the rules stand in the definition.
        now: The run's start, UTC where it has no zone; default: the time of the call.

    Raises:
        PlanError: Some do not fit the schema; says which, all at once.
    """
    now = now or datetime.now(timezone.utc)
    now = now if now.tzinfo else now.replace(tzinfo=timezone.utc)
    compiled: list[Compiled] = []
    problems: list[Problem] = []
    for at, model in enumerate(models):
        try:
            compiled.append(_compiled(model, schema, model.action or actions.of(model.severity), references, now))
        except RuleMisfit as misfit:
            problems.append(Problem(misfit.message, f"{path}[{at}].{misfit.key}", hint=misfit.hint))
    if problems:
        for rule in compiled:
            rule.close()
        raise PlanError("these rules do not fit the rows", problems=problems, code="rule-invalid")
    return compiled


def _compiled(model: RuleBase, schema: pa.Schema, action: Action, references: Callable[[ForeignKey], pa.Table], now: datetime) -> Compiled:
    if isinstance(model, Unique):
        return Compiled(model, action, unique=UniqueKey(model, schema))
    if isinstance(model, ForeignKey):
        return Compiled(model, action, References(model, schema, references(model)))
    if isinstance(model, Monotonic):
        return Compiled(model, action, order=Order(model, schema))
    if model.type in _WHOLE:
        return Compiled(model, "log", dataset=_made(_WHOLE[model.type], model, schema))
    if model.type in TIMED:
        return Compiled(model, action, _made(TIMED[model.type], model, schema, now))
    return Compiled(model, action, _made(_HOMES[model.type], model, schema))


def _made(home: str, *given: Any) -> Any:
    module, _, name = home.partition(":")
    make: Any = getattr(importlib.import_module(f"{_HERE}.{module}"), name)
    return make(*given)
