"""Rules held against batches one by one, where somebody else knows the other rows: what `check` does with a table, for a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError
from beam_pipelines.rules.compiled import Compiled
from beam_pipelines.rules.dataset.measures import Measures
from beam_pipelines.rules.judgement import Judgement
from beam_pipelines.rules.key.unique import Repeats
from beam_pipelines.rules.result import RuleResult
from beam_pipelines.rules.split import Split, split
from beam_pipelines.rules.tally import Tally
from beam_pipelines.rules.violation import SCHEMA, Violations

__all__ = ["REASONS", "VIOLATIONS", "Checked", "Checker", "Counts", "Told"]

REASONS = "_rules"  # column of rejected rows: the rules that each violates
_REASONS_TYPE = pa.list_(pa.string())
# Those of `check`, with the batch that `recordIndex` is counted in, and where the row came from, as JSON, where that is known.
VIOLATIONS = pa.schema([pa.field("batch", pa.string(), nullable=False), *SCHEMA, pa.field("origin", pa.string())])


@dataclass(frozen=True)
class Told:
    """What is told of a batch by who knows the keys of other rows.

    Args:
        repeats: Rows of the batch that violate; of its keys, some that occur more than once in all rows, and the rows that have them.
        unknown: Rows of which it can no longer be told.
    """

    repeats: Repeats
    unknown: int = 0


@dataclass(frozen=True)
class Counts:
    """What rules came to over some rows; adds up.

    Args:
        rows: How many there were.
        failed: Rows that violate a rule of severity error, or on which a rule failed.
        warned: Rows that violate one of severity warning.
        rejected: Rows that are rejected.
        violations: Ways in which rows violate rules.
        tallies: One a rule.
        state: What rules of the data set measured.
    """

    rows: int = 0
    failed: int = 0
    warned: int = 0
    rejected: int = 0
    violations: int = 0
    tallies: tuple[Tally, ...] = ()
    state: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Checked:
    """One batch, told apart.

    Args:
        valid: Rows that go on, as `rules.split` gives them.
        rejected: The others as they came, with the rules that each violates in `REASONS`.
        violations: In the schema `VIOLATIONS`.
        counts: Of this batch.
    """

    valid: pa.RecordBatch
    rejected: pa.RecordBatch
    violations: pa.RecordBatch
    counts: Counts = field(default_factory=Counts)


class Checker:
    """Rules made for rows of one schema.

    Args:
        rules: The caller closes them.
        schema: Of the rows, without hidden columns.
    """

    def __init__(self, rules: Sequence[Compiled], schema: pa.Schema) -> None:
        self._rules, self._schema = list(rules), schema
        self._measures = Measures(rules)

    def nothing(self) -> Counts:
        """Return the counts of no rows."""
        return Counts(tallies=tuple(Tally() for _ in self._rules), state=self._measures.nothing())

    def check(self, batch: pa.RecordBatch, name: str, told: Mapping[int, Told]) -> Checked:
        """Hold one batch against the rules.

        Args:
            batch: Rows; hidden columns may be there.
            name: Of the batch, in violations.
            told: Of each `unique` rule, by its place.
        """
        judgements = [self._judged(rule, batch, told.get(at)) for at, rule in enumerate(self._rules)]
        parts = split(self._rules, batch, judgements)
        violations = self._violations(batch, name, judgements)
        tallies = [Tally.of(judgement, batch.num_rows) for judgement in judgements]
        for at, one in told.items():
            tallies[at] = tallies[at].repeating(one.repeats)
        rejected = int(parts.rejects.sum())
        state = self._measures.measure(origin.visible(batch))
        counts = Counts(batch.num_rows, parts.failed, parts.warned, rejected, violations.num_rows, tuple(tallies), state)
        return Checked(parts.valid, self._with_reasons(parts, judgements), violations, counts)

    def fitting(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch, if it is of the schema that the rules were made for.

        Raises:
            FatalError: It is not.
        """
        came = origin.visible(batch).schema
        if came.names != self._schema.names or came.types != self._schema.types:
            wanted, found = (", ".join(f"{one.name} {one.type}" for one in schema) for schema in (self._schema, came))
            raise FatalError(
                f"expected batches of the schema that the rules were made for, {wanted}; got {found}: cast them before",
                code="schema-changed",
            )
        return batch

    def total(self, parts: Iterable[Counts]) -> Counts:
        """Add counts up."""
        total = self.nothing()
        for part in parts:
            total = Counts(
                total.rows + part.rows,
                total.failed + part.failed,
                total.warned + part.warned,
                total.rejected + part.rejected,
                total.violations + part.violations,
                tuple(mine + theirs for mine, theirs in zip(total.tallies, part.tallies, strict=True)),
                self._measures.merge(total.state, part.state),
            )
        return total

    def report(self, counts: Counts, now: datetime) -> dict[str, Any]:
        """Return counts as plain values, under the names of `rules.result.Result`."""
        verdicts = self._measures.verdicts(counts.state, now)
        each = enumerate(zip(self._rules, counts.tallies, strict=True))
        told = [RuleResult.of(rule, tally, verdicts.get(at)).to_dict() for at, (rule, tally) in each]
        return {
            "total": counts.rows,
            "passed": counts.rows - counts.failed,
            "failed": counts.failed,
            "warnings": counts.warned,
            "rejected": counts.rejected,
            "violations": counts.violations,
            "rules": told,
        }

    def _judged(self, rule: Compiled, batch: pa.RecordBatch, told: Told | None) -> Judgement:
        if rule.unique is not None:
            assert told is not None
            return rule.unique.told(batch, told.repeats.rows, told.unknown)
        return Judgement() if rule.row is None else rule.row.judge(batch)

    def _violations(self, batch: pa.RecordBatch, name: str, judgements: Sequence[Judgement]) -> pa.RecordBatch:
        gathered = Violations(self._rules)
        gathered.add(judgements, 0)
        table = gathered.table().combine_chunks()
        columns = [column.chunk(0) if column.num_chunks else pa.nulls(0, column.type) for column in table.columns]
        names = pa.array([name] * table.num_rows, pa.string())
        return pa.RecordBatch.from_arrays([names, *columns, _origins(batch, columns[0])], schema=VIOLATIONS)

    def _with_reasons(self, parts: Split, judgements: Sequence[Judgement]) -> pa.RecordBatch:
        rejects = parts.rejects
        rows = [np.concatenate([one.rows, np.array(sorted(one.failed), dtype=np.int64)]) for one in judgements]
        which = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
        every = np.concatenate(rows)
        chosen = rejects[every]
        places, which = (np.cumsum(rejects) - 1)[every[chosen]], which[chosen]
        order = np.lexsort((which, places))
        ends = np.cumsum(np.bincount(places, minlength=int(rejects.sum())))
        ids = pa.array([rule.model.id for rule in self._rules], pa.string()).take(pa.array(which[order]))
        reasons = pa.ListArray.from_arrays(pa.array(np.concatenate([[0], ends]).astype(np.int32)), ids)
        rejected = parts.rejected
        hidden = sum(one.startswith(origin.PREFIX) for one in rejected.schema.names)
        return rejected.add_column(rejected.num_columns - hidden, pa.field(REASONS, _REASONS_TYPE), reasons)


def _origins(batch: pa.RecordBatch, rows: pa.Array) -> pa.Array:
    return origin.json_origins(batch, rows.to_pylist()) if origin.SOURCE in batch.schema.names else pa.nulls(len(rows), pa.string())
