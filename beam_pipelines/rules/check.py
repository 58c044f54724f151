"""Rules over a table, without Beam: the same kernels, and the same answers, as in a pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar import size
from beam_pipelines.errors import PlanError, Problem
from beam_pipelines.rules.compiled import Compiled, compile_rules
from beam_pipelines.rules.dataset.measures import Measures, Past
from beam_pipelines.rules.field import RuleMisfit
from beam_pipelines.rules.judgement import Judgement
from beam_pipelines.rules.key.scope import stream_keys
from beam_pipelines.rules.key.unique import repeated
from beam_pipelines.rules.models import rule_set
from beam_pipelines.rules.result import Result, RuleResult
from beam_pipelines.rules.split import MARKS, Split, marked, split
from beam_pipelines.rules.tally import Tally
from beam_pipelines.rules.violation import Violations
from beam_pipelines.spec.rule import Actions, RuleBase
from beam_pipelines.spec.rule.reference import ForeignKey

__all__ = ["check"]


def check(
    table: pa.Table,
    rules: Iterable[RuleBase | Mapping[str, Any]],
    *,
    actions: Actions | Mapping[str, Any] | None = None,
    references: Mapping[str, pa.Table] | None = None,
    now: datetime | None = None,
    history: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Check every row of a table.

    Args:
        table: Rows; their numbers, from 0, are the `recordIndex` of violations.
        rules: As a definition has them.
        actions: What becomes of a row by the severity of its violation, as a definition has it; default: reject, flag, log.
        references: Tables that foreign keys refer to, by the name in `reference.table`, of another source its path.
        now: The run's start, UTC where it has no zone, by which expressions, `notInFuture` and freshness go; default: the time of the call.
        history: What earlier checks came to, as `Result.to_dict` gives it, the last one last; drift goes by it, and is not judged without.

    Returns:
        Every violation, and the rows told apart; nothing is capped.

    Raises:
        SpecError: A rule is not well formed; every mistake of every rule is listed.
        PlanError: Rules do not fit the table, or references are missing; says which, all at once.
    """
    models, chosen = rule_set(rules, actions)
    if problems := stream_keys(models):
        raise PlanError("these rules are not for a table", problems=problems, code="rule-invalid")
    now = _zoned(now)
    compiled = compile_rules(models, table.schema, chosen, lambda rule: _referred(rule, references or {}), now=now)
    try:
        return _checked(table, compiled, now, _past(compiled, history))
    finally:
        for rule in compiled:
            rule.close()


def _past(compiled: Sequence[Compiled], history: Sequence[Mapping[str, Any]]) -> Past:
    """What each rule of the data set told in earlier checks, the last one first."""
    return {
        at: [one for result in reversed(history) for one in result["rules"] if one["rule"] == rule.model.id]
        for at, rule in enumerate(compiled)
        if rule.dataset is not None
    }


def _checked(table: pa.Table, compiled: Sequence[Compiled], now: datetime, past: Past) -> Result:
    batches = [part for batch in table.to_batches() for part in size.split(batch) if part.num_rows]
    schema = marked(table.schema, compiled)
    if schema is None:
        problem = Problem(f"the column {MARKS!r} is where flagged rows say what they violate", hint="rename the column of the table")
        raise PlanError("these rules do not fit the rows", problems=[problem], code="rule-invalid")
    whole = {at: repeated(rule.unique, batches) for at, rule in enumerate(compiled) if rule.unique is not None}
    before: dict[int, pa.Array | None] = {}  # of rules about the row before, the last value so far
    measures = Measures(compiled)
    measured = measures.nothing()
    violations = Violations(compiled)
    tallies = [Tally().repeating(whole[at][0]) if at in whole else Tally() for at in range(len(compiled))]
    splits: list[Split] = []
    first = 0
    for number, batch in enumerate(batches):
        judgements = [
            _judged(rule, batch, at, before) if rule.unique is None else rule.unique.told(batch, whole[at][1][number])
            for at, rule in enumerate(compiled)
        ]
        measured = measures.merge(measured, measures.measure(batch))
        tallies = [tally + Tally.of(judgement, batch.num_rows) for tally, judgement in zip(tallies, judgements, strict=True)]
        violations.add(judgements, first)
        splits.append(split(compiled, batch, judgements))
        first += batch.num_rows
    verdicts = measures.verdicts(measured, now, past)
    return Result(
        valid=_table([part.valid for part in splits], schema),
        rejected=pa.Table.from_batches([part.rejected for part in splits if part.rejected.num_rows], table.schema),
        violations=violations.table(),
        rules=tuple(RuleResult.of(rule, tally, verdicts.get(at)) for at, (rule, tally) in enumerate(zip(compiled, tallies, strict=True))),
        total=table.num_rows,
        failed=sum(part.failed for part in splits),
        warnings=sum(part.warned for part in splits),
        records=table,
    )


def _referred(rule: ForeignKey, references: Mapping[str, pa.Table]) -> pa.Table:
    table = references.get(rule.reference.where)
    if table is None:
        known = ", ".join(map(repr, references)) or "none"
        raise RuleMisfit(
            f"expected the table {rule.reference.where!r}, to which the rule {rule.id!r} refers, among the references, got {known}",
            "reference.table",
            f"references={{{rule.reference.where!r}: table}}",
        )
    return table


def _zoned(now: datetime | None) -> datetime:
    now = now or datetime.now(timezone.utc)
    return now if now.tzinfo else now.replace(tzinfo=timezone.utc)


def _judged(rule: Compiled, batch: pa.RecordBatch, at: int, before: dict[int, pa.Array | None]) -> Judgement:
    """Return what a rule says of a batch: one of the data set nothing; `before` is brought up to date."""
    if rule.order is not None:
        judgement = rule.order.judge(batch, before.get(at))
        last = rule.order.last(batch)
        before[at] = before.get(at) if last is None else last
        return judgement
    return Judgement() if rule.row is None else rule.row.judge(batch)


def _table(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches([batch for batch in batches if batch.num_rows], batches[0].schema if batches else schema)
