"""Hold each batch against all rules, when all is told of it, and tell its rows apart."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import BoundedWindow
from apache_beam.utils.timestamp import Timestamp

from beam_pipelines.engine.bundle import PlainFn
from beam_pipelines.engine.checking.counts import packed
from beam_pipelines.engine.checking.message import Answer, Stamp, span_of
from beam_pipelines.errors import FatalError
from beam_pipelines.rules.checker import Checker, Told
from beam_pipelines.rules.compiled import TIMED, Compiled, compile_rules
from beam_pipelines.spec.rule import Actions, RuleBase
from beam_pipelines.spec.rule.reference import ForeignKey

__all__ = ["COUNTS", "REJECTED", "VIOLATIONS", "JudgeFn", "RuleSet"]

REJECTED, VIOLATIONS, COUNTS = "rejected", "violations", "counts"
Held = Iterable[tuple[str, pa.RecordBatch]]
_RENEWED = timedelta(seconds=1)  # as often, at most, are rules made anew that go by the clock


def clock() -> datetime:
    """Return the time."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class RuleSet:
    """Rules, and the rows that they are for.

    Args:
        models: In their order.
        actions: What becomes of a row by severity.
        schema: Of the rows, without hidden columns.
        references: Schemas of what foreign keys refer to, by the name in `reference.table`.
        now: By which expressions, `notInFuture` and freshness go; None: by the clock, as rows without an end are judged.
    """

    models: tuple[RuleBase, ...]
    actions: Actions
    schema: pa.Schema
    references: dict[str, pa.Schema] = field(default_factory=dict)
    now: datetime | None = None

    def made(self, held: Held = ()) -> tuple[list[Compiled], Checker]:
        """Make the rules; the caller closes each.

        Args:
            held: Rows that foreign keys refer to, by that name.

        Raises:
            PlanError: Some do not fit.
        """
        rows: dict[str, list[pa.RecordBatch]] = {}
        for name, batch in held:
            rows.setdefault(name, []).append(_referred(name, batch, self.references[name]))

        def referred(rule: ForeignKey) -> pa.Table:
            name = rule.reference.where
            return pa.Table.from_batches(rows.get(name, []), self.references[name])

        rules = compile_rules(self.models, self.schema, self.actions, referred, now=self.now or clock())
        return rules, Checker(rules, self.schema)

    def renewed(self, rules: list[Compiled]) -> tuple[list[Compiled], Checker]:
        """Make those rules anew that go by the clock, and close them as they were; the others stay, with what they hold."""
        timed = [at for at, rule in enumerate(rules) if rule.model.type in TIMED]
        made = compile_rules([self.models[at] for at in timed], self.schema, self.actions, _nothing, now=clock())
        kept = list(rules)
        for at, rule in zip(timed, made, strict=True):
            kept[at].close()
            kept[at] = rule
        return kept, Checker(kept, self.schema)


class JudgeFn(PlainFn):
    """Yields the rows that go on, and the others to `REJECTED`; to `VIOLATIONS` what they violate, and to `COUNTS` how many.

    Takes pairs of a batch and what is told of it, and what foreign keys refer to, which is made an index once an instance.

    Args:
        rules: To hold rows against.
        every: How long the windows are that counts are of, microseconds, where the rows have none; None: those of the rows.
    """

    def __init__(self, rules: RuleSet, every: int | None) -> None:
        self._set, self._every = rules, every

    def setup(self) -> None:
        self._made: tuple[list[Compiled], Checker] | None = None
        self._at = clock()

    def start_bundle(self) -> None:
        if self._made is not None and self._set.now is None and clock() - self._at >= _RENEWED:
            self._made, self._at = self._set.renewed(self._made[0]), clock()

    def teardown(self) -> None:
        for rule in self._made[0] if self._made else ():
            rule.close()

    def process(
        self,
        element: tuple[pa.RecordBatch, list[bytes]],
        held: Held,
        time: Timestamp = beam.DoFn.TimestampParam,
        window: BoundedWindow = beam.DoFn.WindowParam,
    ) -> Iterator[Any]:
        if self._made is None:
            self._made, self._at = self._set.made(held), clock()
        checker = self._made[1]
        batch, answers = element
        stamp = Stamp(uuid.uuid4().hex, int(time.micros), span_of(window))
        if answers:
            stamp, batch = Stamp.of(batch), Stamp.off(batch)
        checked = checker.check(checker.fitting(batch), stamp.name, _told(answers))
        if checked.valid.num_rows:
            yield checked.valid
        if checked.rejected.num_rows:
            yield TaggedOutput(REJECTED, checked.rejected)
        if checked.violations.num_rows:
            yield TaggedOutput(VIOLATIONS, checked.violations)
        yield TaggedOutput(COUNTS, ("", packed(self._span(stamp), checked.counts)))

    def _span(self, stamp: Stamp) -> tuple[int, int]:
        if self._every is None:
            return stamp.span
        start = stamp.time // self._every * self._every
        return start, start + self._every


def _nothing(rule: ForeignKey) -> pa.Table:
    raise AssertionError(f"{rule.id!r} does not go by the clock")


def _referred(name: str, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return rows of a reference in the schema that was given with it; other columns are left out.

    Raises:
        FatalError: They do not fit it.
    """
    try:
        return batch.select(schema.names).replace_schema_metadata(None).cast(schema)
    except (KeyError, pa.ArrowException):  # what Arrow says may hold a value
        wanted, found = (", ".join(f"{one.name} {one.type}" for one in some) for some in (schema, batch.schema))
        message = f"expected the reference {name!r} in the schema that was given with it, {wanted}; got {found}"
        raise FatalError(message, code="schema-changed") from None


def _told(answers: Iterable[bytes]) -> dict[int, Told]:
    """What all shards tell, by the place of the rule."""
    told: dict[int, Answer] = {}
    for data in answers:
        answer = Answer.from_bytes(data)
        told[answer.place] = told[answer.place] + answer if answer.place in told else answer
    return {place: answer.told for place, answer in told.items()}
