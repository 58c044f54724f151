"""`CheckRows`: rules over a PCollection of record batches, bounded or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeAlias

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsIter, PCollection
from apache_beam.transforms.window import FixedWindows, GlobalWindow, GlobalWindows, SlidingWindows

from beam_pipelines.columnar import coder, origin
from beam_pipelines.columnar.keys import sortable
from beam_pipelines.engine.checking.counts import CountFn, packed
from beam_pipelines.engine.checking.cut import KEYS, KEYS_TYPE, CutFn
from beam_pipelines.engine.checking.gather import GATHERED, GatherFn, in_windows_of
from beam_pipelines.engine.checking.judge import COUNTS, REJECTED, VIOLATIONS, JudgeFn, RuleSet
from beam_pipelines.engine.checking.message import span_of
from beam_pipelines.engine.checking.remember import RememberFn
from beam_pipelines.engine.checking.wait import TogetherFn
from beam_pipelines.errors import PlanError, Problem
from beam_pipelines.rules.checker import REASONS
from beam_pipelines.rules.compiled import compile_rules
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.rules.models import rule_set
from beam_pipelines.rules.split import MARKS, marked
from beam_pipelines.spec.rule import Actions, RuleBase
from beam_pipelines.spec.rule.dataset import SetRule
from beam_pipelines.spec.rule.reference import ForeignKey
from beam_pipelines.spec.rule.unique import Unique
from beam_pipelines.spec.values import parse_duration

__all__ = ["CheckRows", "CheckedRows"]

Reference: TypeAlias = "pa.Table | tuple[PCollection, pa.Schema]"
_SHARDS = 16
_MOST_SHARDS = 4_096
_KEYED_TYPE = tuple[str, bytes]


class CheckedRows(NamedTuple):
    """What `CheckRows` gives, each a PCollection.

    Args:
        valid: Batches of the rows that no rule rejects, in the windows of the input; with `_dq` where a rule may flag rows.
        rejected: Batches of the others as they came, with the rules that each violates in `_rules`.
        violations: Batches in the schema `rules.checker.VIOLATIONS`: one row for each way in which a row violates a rule.
        counts: What the rules came to in each window, as mappings.
    """

    valid: PCollection
    rejected: PCollection
    violations: PCollection
    counts: PCollection


class CheckRows(beam.PTransform):
    """Hold the batches of a pipeline against rules.

    Args:
        rules: As a definition has them.
        schema: Of the rows.
        actions: What becomes of a row by the severity of its violation, as a definition has it; default: reject, flag, log.
        references: What foreign keys refer to, by the name in `reference.table`: a table, or batches of a pipeline with their schema.
        order: Columns that tell which of several rows is the first, for `unique` rules that wait for all of them; default: the earlier
            element, then what is in the rows.
        shards: How many parts the keys of each `unique` rule are told in.
        counts_every: How long the windows of event time are that counts are of, where rows without an end have none of their own.
        now: By which expressions, `notInFuture` and freshness go, UTC where it has no zone; default: the time of the call.

    Raises:
        SpecError: A rule is not well formed; every mistake of every rule is listed.
        PlanError: Rules do not fit the rows, or what is asked for cannot be told of such rows; says which, all at once.
    """

    def __init__(
        self,
        rules: Iterable[RuleBase | Mapping[str, Any]],
        *,
        schema: pa.Schema,
        actions: Actions | Mapping[str, Any] | None = None,
        references: Mapping[str, Reference] | None = None,
        order: Sequence[str] = (),
        shards: int = _SHARDS,
        counts_every: str = "1m",
        now: datetime | None = None,
    ) -> None:
        super().__init__()
        models, chosen = rule_set(rules, actions)
        self._references = dict(references or {})
        now = now or datetime.now(timezone.utc)
        now = now if now.tzinfo else now.replace(tzinfo=timezone.utc)
        visible, schemas = origin.visible_schema(schema), {name: _schema_of(name, one) for name, one in self._references.items()}
        self._set = RuleSet(models, chosen, visible, schemas, now)
        self._order = (order,) if isinstance(order, str) else tuple(order)
        self._shards = shards
        self._every = round(parse_duration(counts_every).total_seconds() * 1e6)
        self._refuse(_misfits(self._set, self._order, shards, self._every))

    @property
    def _unique(self) -> dict[int, Unique]:
        return {at: rule for at, rule in enumerate(self._set.models) if isinstance(rule, Unique)}

    def expand(self, rows: PCollection) -> CheckedRows:
        coder.register()
        self._refuse(self._unanswerable(rows))
        if self._unique:
            gathered = self._gathered(rows)
            if not isinstance(rows.windowing.windowfn, GlobalWindows):
                gathered = gathered | "Windows" >> in_windows_of(rows)
        else:
            gathered = rows | "Batches" >> beam.FlatMap(_alone).with_output_types(GATHERED)
        every = self._every if not rows.is_bounded and isinstance(rows.windowing.windowfn, GlobalWindows) else None
        judge = beam.ParDo(JudgeFn(self._set, every), self._held(rows))
        judge = judge.with_output_types(pa.RecordBatch, **{REJECTED: pa.RecordBatch, VIOLATIONS: pa.RecordBatch, COUNTS: _KEYED_TYPE})
        judged = gathered | "Judge" >> judge.with_outputs(REJECTED, VIOLATIONS, COUNTS, main="valid")
        return CheckedRows(judged.valid, judged[REJECTED], judged[VIOLATIONS], self._counts(rows, judged[COUNTS]))

    def _gathered(self, rows: PCollection) -> PCollection:
        """Batches, each with the answers of all shards."""
        cut = beam.ParDo(CutFn(self._unique, self._set.schema, self._shards, self._order))
        cut = cut.with_output_types(_KEYED_TYPE, **{KEYS: KEYS_TYPE}).with_outputs(KEYS, main="rows")
        apart = rows | "Cut" >> cut
        told = []
        horizons = {at: round(rule.horizon.total_seconds() * 1e6) for at, rule in self._unique.items() if rule.horizon is not None}
        together = {at: rule for at, rule in self._unique.items() if rule.horizon is None}
        keys = _everywhere(apart[KEYS], "Keys")
        if horizons:
            chosen = keys | "Remembered" >> _of(horizons) if together else keys
            told.append(chosen | "Remember" >> beam.ParDo(RememberFn(horizons)).with_output_types(_KEYED_TYPE))
        if together:
            chosen = keys | "Together" >> _of(together) if horizons else keys
            told.append(chosen | "Wait" >> beam.ParDo(TogetherFn(together, len(self._order))).with_output_types(_KEYED_TYPE))
        every = (_everywhere(apart.rows, "Waiting"), *told) | "Answers" >> beam.Flatten()
        gather = GatherFn(len(self._unique) * self._shards, at_end=not rows.is_bounded and bool(together))
        return every | "Gather" >> beam.ParDo(gather).with_output_types(GATHERED)

    def _counts(self, rows: PCollection, counted: PCollection) -> PCollection:
        parts = [_everywhere(counted, "Counted")]
        if rows.is_bounded and isinstance(rows.windowing.windowfn, GlobalWindows):
            # So that there is an answer also where there are no rows: a rule may ask for some.
            made, checker = self._set.made()
            for rule in made:
                rule.close()
            nothing = "", packed(span_of(GlobalWindow()), checker.nothing())
            parts.append(rows.pipeline | "Nothing" >> beam.Create([nothing], reshuffle=False).with_output_types(_KEYED_TYPE))
        keyed = tuple(parts) | "All counts" >> beam.Flatten()
        assert self._set.now is not None
        count = beam.ParDo(CountFn(self._set.made, self._set.now))
        return keyed | "Count" >> count.with_output_types(dict[str, Any])

    def _held(self, rows: PCollection) -> Any:
        """What foreign keys refer to, as a side input."""
        if not self._references:
            return ()
        named = []
        for name, one in self._references.items():
            given = rows.pipeline | f"Table {name}" >> beam.Create(one.to_batches()) if isinstance(one, pa.Table) else one[0]
            told = beam.Map(_named, name).with_output_types(tuple[str, pa.RecordBatch])
            named.append(_everywhere(given, f"Reference {name}") | f"Name {name}" >> told)
        return AsIter(tuple(named) | "References" >> beam.Flatten())

    def _unanswerable(self, rows: PCollection) -> list[Problem]:
        """What cannot be told of these rows, as they have an end or none, and windows or none."""
        windowfn, endless = rows.windowing.windowfn, not rows.is_bounded
        whole = isinstance(windowfn, GlobalWindows)
        problems = []
        for at, rule in enumerate(self._set.models):
            if isinstance(rule, Unique):
                problems += _unanswerable(rule, f"rules[{at}]", windowfn, endless=endless)
            elif endless and whole and isinstance(rule, SetRule):
                message = f"expected rows with windows or an end for the rule {rule.id!r}, which is of all rows together, got neither"
                problems.append(Problem(message, f"rules[{at}].type", hint="put the rows into windows: it is then told of each"))
        problems += [
            Problem(f"expected a reference with an end, got {name!r} without one", f"references[{name!r}]", hint="read it as bounded")
            for name, one in self._references.items()
            if not isinstance(one, pa.Table) and not one[0].is_bounded
        ]
        return problems

    @staticmethod
    def _refuse(problems: Sequence[Problem]) -> None:
        if problems:
            raise PlanError("these rules cannot be held against these rows", problems=list(problems), code="rule-invalid")


def _unanswerable(rule: Unique, path: str, windowfn: Any, *, endless: bool) -> list[Problem]:
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


def _misfits(rules: RuleSet, order: Sequence[str], shards: int, every: int) -> list[Problem]:
    """What does not fit, whatever the rows are."""
    problems = [
        Problem(f"expected rules that need no order of rows, got {rule.id!r} of type {rule.type}", f"rules[{at}].type")
        for at, rule in enumerate(rules.models)
        if rule.type == "monotonic"
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


def _schema_of(name: str, reference: Any) -> pa.Schema:
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
    raise PlanError("these rules cannot be held against these rows", problems=[problem], code="rule-invalid")


def _everywhere(given: PCollection, name: str) -> PCollection:
    """Put elements into the global window, where nothing is ever dropped as late."""
    if isinstance(given.windowing.windowfn, GlobalWindows):
        return given
    return given | name >> beam.WindowInto(GlobalWindows())


def _of(places: Iterable[int]) -> beam.PTransform:
    known = frozenset(places)
    return beam.Filter(lambda keyed: keyed[0][0] in known).with_output_types(KEYS_TYPE)


def _alone(batch: pa.RecordBatch) -> list[tuple[pa.RecordBatch, list[bytes]]]:
    return [(batch, [])] if batch.num_rows else []


def _named(batch: pa.RecordBatch, name: str) -> tuple[str, pa.RecordBatch]:
    return name, batch
