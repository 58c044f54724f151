"""What `CheckRows` refuses: rules that do not fit the rows, and what cannot be told of rows that have no end, or windows of a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

import pyarrow as pa
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import FixedWindows, GlobalWindows, SlidingWindows

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.keys import sortable
from beam_pipelines.engine.checking.judge import RuleSet
from beam_pipelines.errors import PlanError, Problem
from beam_pipelines.rules.checker import REASONS
from beam_pipelines.rules.compiled import compile_rules
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.rules.split import MARKS, marked
from beam_pipelines.spec.rule import RuleBase
from beam_pipelines.spec.rule.dataset import SetRule
from beam_pipelines.spec.rule.reference import ForeignKey
from beam_pipelines.spec.rule.unique import Unique
from beam_pipelines.spec.values import parse_duration

__all__ = ["Reference", "endless_references", "micros", "misfits", "refuse", "schema_of", "unanswerable"]

Reference: TypeAlias = "pa.Table | tuple[PCollection, pa.Schema]"
_MOST_SHARDS = 4_096


def refuse(problems: Sequence[Problem]) -> None:
    """Raise a PlanError, if there are problems."""
    if problems:
        raise _refused(list(problems))


def unanswerable(rules: Sequence[RuleBase], rows: PCollection) -> list[Problem]:
    """Return what cannot be told of these rows, as they have an end or none, and windows or none."""
    windowfn, endless = rows.windowing.windowfn, not rows.is_bounded
    problems = []
    for at, rule in enumerate(rules):
        if isinstance(rule, Unique):
            problems += _untold(rule, f"rules[{at}]", windowfn, endless=endless)
        elif endless and isinstance(windowfn, GlobalWindows) and isinstance(rule, SetRule):
            message = f"expected rows with windows or an end for the rule {rule.id!r}, which is of all rows together, got neither"
            problems.append(Problem(message, f"rules[{at}].type", hint="put the rows into windows: it is then told of each"))
    return problems


def endless_references(references: Mapping[str, Reference]) -> list[Problem]:
    """Return which references have no end."""
    return [
        Problem(f"expected a reference with an end, got {name!r} without one", f"references[{name!r}]", hint="read it as bounded")
        for name, one in references.items()
        if not isinstance(one, pa.Table) and not one[0].is_bounded
    ]


def _untold(rule: Unique, path: str, windowfn: Any, *, endless: bool) -> list[Problem]:
    if rule.scope == "window":
        if endless and isinstance(windowfn, GlobalWindows):
            message = f"expected rows in windows for 'scope: window' of the rule {rule.id!r}, got the global window, which has no end here"
            return [Problem(message, f"{path}.scope", hint="put the rows into windows, or give 'horizon' with 'scope: dataset'")]
        if not isinstance(windowfn, (GlobalWindows, FixedWindows, SlidingWindows)):
            message = f"expected fixed or sliding windows for 'scope: window' of the rule {rule.id!r}, got {type(windowfn).__name__}"
            return [Problem(message, f"{path}.scope", hint="windows that grow while rows come do not tell which rows to compare")]
        return []
    if endless and rule.horizon is None:
        message = f"expected 'horizon' in the rule {rule.id!r}, for these rows have no end: how long a value is remembered"
        return [Problem(message, f"{path}.horizon", hint="such as 24h of event time; or 'scope: window'")]
    if not isinstance(windowfn, (GlobalWindows, FixedWindows)):
        message = f"expected the global window or fixed windows for 'scope: dataset' of the rule {rule.id!r}, got {type(windowfn).__name__}"
        return [Problem(message, f"{path}.scope", hint="in them a row may be several times: check the rows before they are put into them")]
    return []


def misfits(rules: RuleSet, order: Sequence[str], shards: int, every: int) -> list[Problem]:
    """Return what does not fit, whatever becomes of the rows."""
    problems = [
        Problem(f"expected rules that need no order of rows, got {rule.id!r} of type {rule.type}", f"rules[{at}].type")
        for at, rule in enumerate(rules.models)
        if rule.type == "monotonic"
    ]
    problems += [
        Problem(
            f"expected rules that need no earlier runs, which nobody keeps here, got {rule.id!r} of type {rule.type}",
            f"rules[{at}].type",
            hint="a service holds it against the runs in its target's ledger, check against its history",
        )
        for at, rule in enumerate(rules.models)
        if rule.type == "drift"
    ]
    if not isinstance(shards, int) or not 1 <= shards <= _MOST_SHARDS:
        problems.append(Problem(f"expected a number from 1 to {_MOST_SHARDS}, got {shards!r}", "shards"))
    if not every:
        problems.append(Problem("expected a duration above zero, got 0", "counts_every"))
    for at, name in enumerate(order):
        try:
            kind = Field.find(name, rules.schema).type
        except RuleMisfit as misfit:
            problems.append(Problem(misfit.message, f"order[{at}]", hint=misfit.hint))
        else:
            if not sortable(kind):
                problems.append(Problem(f"expected a column that can be sorted, got {name!r} of type {kind}", f"order[{at}]"))
    if REASONS in rules.schema.names:
        message = f"the column {REASONS!r} is where rejected rows say what they violate"
        problems.append(Problem(message, "schema", hint="rename it before"))
    try:
        made = compile_rules(rules.models, rules.schema, rules.actions, lambda rule: _empty(rule, rules.references), now=rules.now)
    except PlanError as error:
        return [*problems, *error.problems]
    if marked(rules.schema, made) is None:
        message = f"the column {MARKS!r} is where flagged rows say what they violate, a list of texts"
        problems.append(Problem(message, "schema", hint="rename it before"))
    for rule in made:
        rule.close()
    return problems


def _empty(rule: ForeignKey, references: Mapping[str, pa.Schema]) -> pa.Table:
    schema = references.get(rule.reference.where)
    if schema is None:
        known = ", ".join(map(repr, references)) or "none"
        message = f"expected {rule.reference.where!r}, to which the rule {rule.id!r} refers, among the references, got {known}"
        raise RuleMisfit(message, "reference.table", f"references={{{rule.reference.where!r}: table}}")
    return schema.empty_table()


def schema_of(name: str, reference: Any) -> pa.Schema:
    """Return of which schema a reference is, without hidden columns."""
    if isinstance(reference, pa.Table):
        return reference.schema.remove_metadata()
    pair = reference if isinstance(reference, tuple) else (reference,)
    if len(pair) == 2 and isinstance(pair[0], PCollection) and isinstance(pair[1], pa.Schema):
        return origin.visible_schema(pair[1]).remove_metadata()
    problem = Problem(
        f"expected a table, or batches of a pipeline and their schema, got {type(reference).__name__}",
        f"references[{name!r}]",
        hint=f"references={{{name!r}: (batches, schema)}}",
    )
    raise _refused([problem])


def micros(duration: object) -> int:
    """Return a duration, as a definition has them, in microseconds."""
    try:
        return round(parse_duration(duration) / timedelta(microseconds=1))
    except ValueError as error:
        raise _refused([Problem(str(error), "counts_every")]) from error


def _refused(problems: list[Problem]) -> PlanError:
    return PlanError("these rules cannot be held against these rows", problems=problems, code="rule-invalid")
