"""`CheckRows`: rules over a PCollection of record batches, bounded or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsIter, PCollection
from apache_beam.transforms.window import GlobalWindow, GlobalWindows

from beam_pipelines.columnar import coder, origin
from beam_pipelines.engine.checking.counts import CountFn, packed
from beam_pipelines.engine.checking.cut import KEYS, KEYS_TYPE, CutFn
from beam_pipelines.engine.checking.gather import GATHERED, GatherFn, in_windows_of
from beam_pipelines.engine.checking.judge import COUNTS, REJECTED, VIOLATIONS, JudgeFn, RuleSet
from beam_pipelines.engine.checking.message import span_of
from beam_pipelines.engine.checking.refuse import Reference, endless_references, micros, misfits, refuse, schema_of, unanswerable
from beam_pipelines.engine.checking.remember import RememberFn
from beam_pipelines.engine.checking.wait import TogetherFn
from beam_pipelines.rules.models import rule_set
from beam_pipelines.spec.rule import Actions, RuleBase
from beam_pipelines.spec.rule.unique import Unique

__all__ = ["CheckRows", "CheckedRows"]

_SHARDS = 16
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
        counts_every: How long the windows of event time are that counts are of, where rows without an end have none of their own; as a
            definition has durations.
        now: By which expressions, `notInFuture` and freshness go, UTC where it has no zone; default: the time of the call, and for rows
            without an end the time at which they are judged.

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
        counts_every: str | int | timedelta = "1m",
        now: datetime | None = None,
    ) -> None:
        super().__init__()
        models, chosen = rule_set(rules, actions)
        self._references = dict(references or {})
        self._called = datetime.now(timezone.utc)
        now = now if now is None or now.tzinfo else now.replace(tzinfo=timezone.utc)
        visible, schemas = origin.visible_schema(schema), {name: schema_of(name, one) for name, one in self._references.items()}
        self._set = RuleSet(models, chosen, visible, schemas, now)
        self._order = (order,) if isinstance(order, str) else tuple(order)
        self._shards = shards
        self._every = micros(counts_every)
        refuse(misfits(self._set, self._order, shards, self._every))

    @property
    def _unique(self) -> dict[int, Unique]:
        return {at: rule for at, rule in enumerate(self._set.models) if isinstance(rule, Unique)}

    def expand(self, rows: PCollection) -> CheckedRows:
        coder.register()
        refuse([*unanswerable(self._set.models, rows), *endless_references(self._references)])
        if self._unique:
            gathered = self._gathered(rows)
            if not isinstance(rows.windowing.windowfn, GlobalWindows):
                gathered = gathered | "Windows" >> in_windows_of(rows)
        else:
            gathered = rows | "Batches" >> beam.FlatMap(_alone).with_output_types(GATHERED)
        every = self._every if not rows.is_bounded and isinstance(rows.windowing.windowfn, GlobalWindows) else None
        # Rows with an end are all judged as of one time.
        rules = replace(self._set, now=self._set.now or self._called) if rows.is_bounded else self._set
        judge = beam.ParDo(JudgeFn(rules, every), self._held(rows))
        judge = judge.with_output_types(pa.RecordBatch, **{REJECTED: pa.RecordBatch, VIOLATIONS: pa.RecordBatch, COUNTS: _KEYED_TYPE})
        judged = gathered | "Judge" >> judge.with_outputs(REJECTED, VIOLATIONS, COUNTS, main="valid")
        return CheckedRows(judged.valid, judged[REJECTED], judged[VIOLATIONS], self._counts(rows, judged[COUNTS], rules))

    def _gathered(self, rows: PCollection) -> PCollection:
        """Batches, each with the answers of all shards."""
        cut = beam.ParDo(CutFn(self._unique, self._set.schema, self._shards, self._order))
        cut = cut.with_output_types(_KEYED_TYPE, **{KEYS: KEYS_TYPE}).with_outputs(KEYS, main="rows")
        apart = rows | "Cut" >> cut
        told = []
        horizons = {at: micros(rule.horizon) for at, rule in self._unique.items() if rule.horizon is not None}
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

    def _counts(self, rows: PCollection, counted: PCollection, rules: RuleSet) -> PCollection:
        parts = [_everywhere(counted, "Counted")]
        if rows.is_bounded and isinstance(rows.windowing.windowfn, GlobalWindows):
            # So that there is an answer also where there are no rows: a rule may ask for some.
            made, checker = rules.made()
            for rule in made:
                rule.close()
            nothing = "", packed(span_of(GlobalWindow()), checker.nothing())
            parts.append(rows.pipeline | "Nothing" >> beam.Create([nothing], reshuffle=False).with_output_types(_KEYED_TYPE))
        keyed = tuple(parts) | "All counts" >> beam.Flatten()
        count = beam.ParDo(CountFn(rules.made, rules.now))
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
