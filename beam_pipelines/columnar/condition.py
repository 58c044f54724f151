"""Structured conditions as expressions: `{field: age, operator: gte, value: 18}` means `age >= 18`, nulls, NaN and errors included."""

from __future__ import annotations

import datetime as dt
from typing import Any

from beam_pipelines.columnar.expression import Node, Scope, Term, comparison, function, junction, literal, negation, operation
from beam_pipelines.columnar.path import PathProblem, find_path
from beam_pipelines.errors import PlanError, Problem
from beam_pipelines.spec.condition import AllOf, AnyOf, Comparison, Condition, Negation

__all__ = ["compile_condition"]

_COMPARISONS = {
    "eq": "COMPARE_EQUAL",
    "ne": "COMPARE_NOTEQUAL",
    "lt": "COMPARE_LESSTHAN",
    "lte": "COMPARE_LESSTHANOREQUALTO",
    "gt": "COMPARE_GREATERTHAN",
    "gte": "COMPARE_GREATERTHANOREQUALTO",
}
_TEXTS = {"contains": "contains", "starts_with": "starts_with", "ends_with": "ends_with", "matches": "regexp_matches"}


def compile_condition(condition: Condition, scope: Scope, path: str) -> Term:
    """Compile a condition, SQL or structured, against a scope's schema.

    Args:
        condition: From the definition.
        scope: Of the step.
        path: Where the condition stands in the definition.

    Raises:
        PlanError: It does not fit the schema, or is not a condition.
    """
    if isinstance(condition, str):
        term = scope.compile(condition, path)
        if str(term.type) not in ("bool", "null"):
            problem = Problem(f"expected a condition, which is true or false, got an expression of type {term.type}: {condition!r}", path)
            raise PlanError("an expression cannot be used", problems=[problem], code="expression-invalid")
        return term
    if isinstance(condition, AllOf):
        return scope.join("AND", [compile_condition(part, scope, f"{path}.all[{at}]") for at, part in enumerate(condition.all_of)])
    if isinstance(condition, AnyOf):
        return scope.join("OR", [compile_condition(part, scope, f"{path}.any[{at}]") for at, part in enumerate(condition.any_of)])
    if isinstance(condition, Negation):
        return scope.join("NOT", [compile_condition(condition.negated, scope, f"{path}.not")])
    try:
        field = find_path(condition.field, scope.schema).node()
    except PathProblem as problem:
        found = Problem(problem.message, f"{path}.field", hint=problem.hint)
        raise PlanError("a condition cannot be used", problems=[found], code=problem.code) from problem
    return scope.build(_compared(condition, field), path)


def _compared(condition: Comparison, field: Node) -> Node:
    operator, value = condition.operator, condition.value
    if operator in _COMPARISONS:
        return comparison(_COMPARISONS[operator], field, _constant(value))
    if operator in _TEXTS:
        return function(_TEXTS[operator], field, _constant(value))
    if operator in ("is_null", "not_null"):
        return operation("OPERATOR_IS_NULL" if operator == "is_null" else "OPERATOR_IS_NOT_NULL", field)
    values = [_constant(entry) for entry in (value if isinstance(value, tuple) else (value,))]
    if operator == "between":
        return junction("AND", [comparison(_COMPARISONS["gte"], field, values[0]), comparison(_COMPARISONS["lte"], dict(field), values[1])])
    listed = operation("COMPARE_IN", field, *values)
    return listed if operator == "in" else negation(listed)


def _constant(value: Any) -> Node:
    # Text takes the type of what it is compared with, as a quoted constant does in SQL.
    return literal(value.isoformat() if isinstance(value, (dt.date, dt.time)) else value)
