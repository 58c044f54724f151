"""Hold rows against rules: those that violate one are rejected, marked or counted, as the rule says."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.hashing import row_hashes
from beam_pipelines.errors import Code, FatalError, PlanError, Problem
from beam_pipelines.rules.aside import rejected_rows, violation_rows
from beam_pipelines.rules.compiled import Compiled, compile_rules
from beam_pipelines.rules.dataset.measures import Measures
from beam_pipelines.rules.dataset.rule import Verdict
from beam_pipelines.rules.examples import examples
from beam_pipelines.rules.field import Field
from beam_pipelines.rules.judgement import Judgement, Positions
from beam_pipelines.rules.key.horizon import Horizon, Memory, Rows
from beam_pipelines.rules.key.reference import References
from beam_pipelines.rules.key.scope import stream_keys
from beam_pipelines.rules.key.unique import repeated, spread
from beam_pipelines.rules.profiling.profiler import Profiler
from beam_pipelines.rules.split import MARKS, Split, marked, split
from beam_pipelines.rules.tally import Tally, threshold
from beam_pipelines.runs.example import Examples
from beam_pipelines.runs.facts import add_rules
from beam_pipelines.spec.rule.reference import ForeignKey
from beam_pipelines.spec.rule.unique import Unique
from beam_pipelines.spec.step.validate import ValidateStep
from beam_pipelines.transforms.late import times_of
from beam_pipelines.transforms.step import Applied, DeadRows

__all__ = ["Validate"]

_ASIDE = ".source."  # in the path of a step that is not of the service's own rows
_NOBODY: Positions = np.zeros(0, dtype=np.int64)
_MEANING = 1  # of keys that are remembered, beside what the definition says: goes up when those of before can no longer be gone on with


class Validate:
    """A validate step.

    Rules that look at one row are held against each batch. What takes other rows to tell, which rows repeat a key or refer to nothing, is
    told by whoever has seen them (`judge`); `checked` sees to it where all rows are at hand.

    Rows of a stream (`in_stream`) have hidden columns: `TIME` (event time, int64 ms), `PARTITION` and `OFFSET`.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "validate"
    needs_sample = False
    required = True

    def __init__(self, model: ValidateStep, path: str) -> None:
        self.id = model.id
        self._model, self._path = model, path
        self._references: dict[str, pa.Schema] = {}
        self._rules: list[Compiled] | None = None
        self._schema: pa.Schema | None = None
        self._examples = Examples()  # those that were shown already
        self._horizons: Mapping[int, Horizon] | None = None
        self._several = False
        self._versions: Mapping[str, str] = {}

    @property
    def foreign_keys(self) -> tuple[ForeignKey, ...]:
        return self._model.foreign_keys

    def against(self, rule: str, reference: pa.Schema) -> None:
        """Say what the rows are that a foreign key refers to; before `plan` and `open`."""
        self._references[rule] = reference

    def in_stream(self, windows: Horizon | None, *, several: bool) -> None:
        """Say that rows have no end; before `plan` and `open`.

        Args:
            windows: Those that rows are summed up in behind the step; None: there are none, or they are not tumbling.
            several: There may be several rows of one message.
        """
        self._several = several
        unique = {at: rule for at, rule in enumerate(self._model.rules) if isinstance(rule, Unique)}
        known = {at: windows if rule.horizon is None else Horizon(rule.horizon // timedelta(milliseconds=1)) for at, rule in unique.items()}
        self._horizons = {at: horizon for at, horizon in known.items() if horizon is not None}

    @property
    def horizons(self) -> Mapping[int, Horizon]:
        """Of a stream, how long the keys of each `unique` rule are remembered, by the place of the rule."""
        return self._horizons or {}

    @property
    def state_versions(self) -> Mapping[str, str]:
        """What the keys mean, in short, that are remembered of each rule, by its id: those of another version cannot be gone on with."""
        self._opened()
        return self._versions

    def _version(self, at: int, schema: pa.Schema) -> tuple[str, str]:
        rule = self._model.rules[at]
        assert isinstance(rule, Unique)
        words = [str(_MEANING), str(self.horizons[at]), *(f"{name} {Field.find(name, schema).type}" for name in rule.names)]
        return rule.id, hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        rules = self._compiled(schema, None)
        for rule in rules:
            rule.close()
        self._refuse(rules)
        after = marked(schema, rules)
        if after is None:
            message = f"the column {MARKS!r} is where flagged rows say what they violate, a list of texts"
            problem = Problem(message, self._path, hint="rename it in a map step")
            raise PlanError(f"step {self.id!r} cannot be carried out", problems=[problem], code="rule-invalid")
        return after

    def _refuse(self, rules: Sequence[Compiled]) -> None:
        """Refuse rules about the order of rows, which a pipeline does not have; and judgements of all rows where nobody hears them."""
        problems = [
            Problem(
                f"expected a rule that needs no order of rows, got {rule.model.id!r} of type {rule.model.type}",
                f"{self._path}.rules[{at}].type",
                hint="beam_pipelines.rules.check holds a whole table against it",
            )
            for at, rule in enumerate(rules)
            if rule.order is not None
        ]
        if self._horizons is None:
            problems += stream_keys([rule.model for rule in rules], f"{self._path}.rules")
        if _ASIDE in self._path:
            problems += [
                Problem(
                    f"expected no judgement of all rows in the source of a join, lookup, union or foreign key, got {rule.model.id!r}",
                    f"{self._path}.rules[{at}]",
                    hint="its rows may be rejected there; to judge how many, hold them against rules in a service of their own",
                )
                for at, rule in enumerate(rules)
                if rule.dataset is not None or threshold(rule.model) is not None
            ]
            if self._model.profile:
                message = "expected no profile in the source of a join, lookup, union or foreign key, whose steps are not recorded"
                problems.append(Problem(message, f"{self._path}.profile", hint="profile its rows in a service of their own"))
            problems += [
                Problem(
                    "expected no output of its own in the source of a join, lookup, union or foreign key",
                    f"{self._path}.{key}",
                    hint="rejected rows are among the dead letters; a service of its own may have outputs",
                )
                for key in ("rejected", "violations")
                if getattr(self._model, key) is not None
            ]
        if problems:
            raise PlanError(f"step {self.id!r} cannot be carried out", problems=problems, code="rule-invalid")

    def _compiled(self, schema: pa.Schema, now: datetime | None) -> list[Compiled]:
        def nothing(rule: ForeignKey) -> pa.Table:
            return self._references[rule.id].empty_table()

        return compile_rules(self._model.rules, schema, self._model.actions, nothing, f"{self._path}.rules", now)

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (it follows from the other)
        self.close()
        self._rules, self._schema, self._examples = self._compiled(schema_in, now), schema_in, Examples()
        profiler = Profiler(schema_in) if self._model.profile else None
        self.measures = Measures(self._rules, profiler)
        self._versions = dict(self._version(at, schema_in) for at in self.horizons)

    def close(self) -> None:
        for rule in self._rules or ():
            rule.close()
        self._rules = self._schema = None

    def refer(self, rule: str, rows: pa.Table) -> None:
        """Give the rows that a foreign key refers to; after `open`."""
        rules = self._opened()
        at = self.place(rule)
        model = rules[at].model
        assert isinstance(model, ForeignKey)
        assert self._schema is not None
        rules[at] = replace(rules[at], row=References(model, self._schema, rows))

    def place(self, rule: str) -> int:
        """Return which of the rules has an id."""
        return [one.model.id for one in self._opened()].index(rule)

    @property
    def rules(self) -> Sequence[Compiled]:
        """The rules, made for the rows that the step is open for."""
        return self._opened()

    def _opened(self) -> list[Compiled]:
        if self._rules is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._rules

    def measured(self, states: Iterable[Any]) -> Any:
        """Return the state of all rows, of the states of all parts of the data set."""
        state = self.measures.nothing()
        for part in states:
            state = self.measures.merge(state, part)
        return state

    def verdicts(self, state: Any, now: datetime, past: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Verdict]:
        """Judge the rules of the data set as a whole; by their ids.

        Args:
            state: Of all rows.
            now: When the run started.
            past: What each rule told in earlier runs, the last one first, by its id.
        """
        ids = [rule.model.id for rule in self._opened()]
        known = {at: past[rule] for at, rule in enumerate(ids) if rule in past}
        return {ids[at]: verdict for at, verdict in self.measures.verdicts(state, now, known).items()}

    def apply(self, batch: pa.RecordBatch) -> Applied:
        """Carry the step out on one batch, as if it held every row."""
        (applied,) = self.checked([batch])
        return applied

    def checked(self, batches: Sequence[pa.RecordBatch]) -> list[Applied]:
        """Carry the step out on all rows."""
        found: dict[int, list[Positions]] = {}
        counts: dict[str, Tally] = {}
        for at, rule in enumerate(self._opened()):
            if at in self.horizons:
                found[at] = self._repeating(at, batches)
            elif rule.unique is not None:
                keys, found[at] = repeated(rule.unique, [origin.visible(batch) for batch in batches])
                counts[rule.model.id] = Tally().repeating(keys)
        results = [self.judge(batch, {at: rows[number] for at, rows in found.items()}) for number, batch in enumerate(batches)]
        if results and counts:
            repeated_keys = {rule: asdict(tally) for rule, tally in counts.items()}
            results[-1] = replace(results[-1], rules=add_rules(results[-1].rules, repeated_keys))
        return results

    def asked(self, at: int, batch: pa.RecordBatch) -> tuple[Rows, Positions]:
        """Return what a `unique` rule of a stream asks of the rows of a batch, and which these are: those that have a key."""
        key, horizon = self._opened()[at].unique, self.horizons[at]
        assert key is not None
        visible = origin.visible(batch)
        columns, rows = key.keys(visible)
        times = times_of(batch, self.id)[rows]
        places = [np.asarray(batch.column(name))[rows] for name in (origin.PARTITION, origin.OFFSET)]
        if self._several:  # else it takes longer than all the rest, nested values above all
            places.append(row_hashes(visible, visible.schema.names, one_type=True)[rows])
        return Rows(*horizon.keyed(columns, times), times, horizon.until(times), places), rows

    def _repeating(self, at: int, batches: Sequence[pa.RecordBatch]) -> list[Positions]:
        """Return the rows of each batch that repeat a key, as if these were all rows of a stream."""
        asked = [self.asked(at, batch) for batch in batches]
        if not asked:
            return []
        repeat = Memory().meet(Rows.together([rows for rows, _ in asked]))
        return spread(repeat, [rows for _, rows in asked])

    def alone(self, batch: pa.RecordBatch, apart: Collection[int]) -> dict[int, Judgement]:
        """Return what the rules say that this batch alone tells, by their places.

        Args:
            batch: With hidden columns.
            apart: The places of those that it does not tell.
        """
        return {at: _judgement(rule, batch, None, 0) for at, rule in enumerate(self._opened()) if at not in apart}

    def judge(
        self,
        batch: pa.RecordBatch,
        found: Mapping[int, Positions],
        closed: int | None = None,
        known: Mapping[int, Judgement] | None = None,
    ) -> Applied:
        """Hold one batch against the rules.

        Args:
            batch: With hidden columns.
            found: Positions of the rows that violate, by the place of the rule, of rules that this batch alone does not tell; ascending.
            closed: Of a stream, the watermark up to which keys have been forgotten, ms.
            known: What `alone` said of it, if it was asked.
        """
        rules, known = self._opened(), known or {}
        unknown = {at: self._untold(at, batch, found.get(at, _NOBODY), closed) for at in self.horizons}
        judgements = [
            known[at] if at in known else _judgement(rule, batch, found.get(at), unknown.get(at, 0)) for at, rule in enumerate(rules)
        ]
        parts = split(rules, batch, judgements)
        counts = {
            rule.model.id: asdict(Tally.of(one, batch.num_rows))
            for rule, one in zip(rules, judgements, strict=True)
            if rule.dataset is None
        }
        rejects = np.flatnonzero(parts.rejects)
        refused = (DeadRows(batch, rejects.tolist(), *_reasons(rules, judgements, rejects, batch.num_rows)),) if len(rejects) else ()
        shown = examples(batch, rules, judgements, self._model.examples, self._examples)
        self._examples += shown
        return Applied(
            (parts.valid,) if parts.valid.num_rows else (),
            rejects=refused,
            rules=counts,
            failed=parts.failed,
            warned=parts.warned,
            asides=tuple(self._asides(batch, parts, judgements)),
            examples=shown,
        )

    def _untold(self, at: int, batch: pa.RecordBatch, repeat: Positions, closed: int | None) -> int:
        """Return how many rows have a key of which it cannot be told any more whether it came before."""
        untold = self.horizons[at].untold(times_of(batch, self.id), closed)
        key = self._opened()[at].unique
        if key is None or not untold.any():
            return 0
        _, rows = key.keys(origin.visible(batch))
        return int(untold[rows].sum() - untold[repeat].sum())

    def _asides(self, batch: pa.RecordBatch, parts: Split, judgements: Sequence[Judgement]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield the rows for each output that the step has."""
        if self._model.rejected is not None and parts.rejected.num_rows:
            yield "rejected", rejected_rows(parts.rejected, parts.rejects, self._opened(), judgements)
        if self._model.violations is not None and (found := violation_rows(batch, self._opened(), judgements)) is not None:
            yield "violations", found


def _judgement(rule: Compiled, batch: pa.RecordBatch, rows: Positions | None, unknown: int) -> Judgement:
    if rule.unique is not None:
        return rule.unique.told(batch, _NOBODY if rows is None else rows, unknown)
    if rule.row is None:
        return Judgement()  # it is about the data set as a whole
    if rows is not None:
        assert isinstance(rule.row, References)
        return rule.row.told(batch, rows)
    return rule.row.judge(batch)


def _reasons(rules: Sequence[Compiled], judgements: Sequence[Judgement], rejects: Positions, rows: int) -> tuple[list[Code], list[str]]:
    """Return of each rejected row a code and everything that it violates, rule by rule.

    Rows are many, and the ways in which they violate rules are few: these are told apart finding by finding, and written down once each.
    """
    ways: list[tuple[str, ...]] = [()]
    which = np.zeros(rows, dtype=np.int64)  # of the ways, that of each row so far
    codes: dict[int, Code] = {}
    for rule, judgement in zip(rules, judgements, strict=True):
        for one in judgement.findings:
            text = f"{rule.model.id}: {one.message}"
            before, places = np.unique(which[one.rows], return_inverse=True)
            which[one.rows] = len(ways) + places
            ways += [(*ways[way], text) for way in before.tolist()]
        for row, why in judgement.failed.items():
            ways.append((*ways[which[row]], f"{rule.model.id}: the rule failed on this row: {why}"))
            which[row] = len(ways) - 1
            codes[row] = "rule-failed"
    found = which[rejects].tolist()
    texts = {way: "; ".join(ways[way]) for way in set(found)}
    told: list[Code] = [codes.get(row, "rule-violated") for row in rejects.tolist()] if codes else ["rule-violated"] * len(found)
    return told, [texts[way] for way in found]
