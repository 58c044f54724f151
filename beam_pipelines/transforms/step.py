"""What a step is: a pure function on record batches that accounts for every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from beam_pipelines.errors import BalanceError, Code
from beam_pipelines.runs.example import Examples
from beam_pipelines.runs.facts import RuleCounts

__all__ = ["Applied", "DeadRows", "Step", "check_law", "dead_rows"]


@dataclass(frozen=True)
class DeadRows:
    """Rows that failed in a step, and why.

    Args:
        batch: The step's input, hidden columns included: origin and payload of the dead letters.
        rows: Positions in `batch`, ascending.
        codes: Error code of each.
        messages: Reason of each; never a value of the row.
    """

    batch: pa.RecordBatch
    rows: list[int]
    codes: list[Code]
    messages: list[str]


@dataclass(frozen=True)
class Applied:
    """What became of one batch: `in + made = out + filtered + rejected + absorbed + dead`.

    Args:
        batches: What goes on, in the order of the input; hidden columns and the load go with the rows.
        filtered: Rows the step is meant to drop.
        nulled: Rows that failed and went on: with the step's columns null (`required: false`), or a value nulled or kept (`onError`);
            part of the rows of `batches`.
        made: Rows above one for one.
        absorbed: Rows that went on only as a part of another one: of a group all but one.
        dead: Rows that failed.
        rejects: Rows that rules refused, with what each violates.
        rules: Counts of each rule, as `rules.tally.Tally` names them.
        failed: Rows that violate a rule of severity error, rejected or not.
        warned: Rows that violate one of severity warning.
        asides: Rows for outputs of the step, by the name of the output.
        examples: Some violations of each rule.
        kept: Of a filter, which rows of the batch went on; None: all of them, or the step is no filter.
    """

    batches: tuple[pa.RecordBatch, ...]
    filtered: int = 0
    nulled: int = 0
    made: int = 0
    absorbed: int = 0
    dead: tuple[DeadRows, ...] = ()
    rejects: tuple[DeadRows, ...] = ()
    rules: RuleCounts = field(default_factory=dict)
    failed: int = 0
    warned: int = 0
    asides: tuple[tuple[str, pa.RecordBatch], ...] = ()
    examples: Examples = field(default_factory=Examples)
    kept: pa.Array | None = None

    @property
    def rows_out(self) -> int:
        return sum(batch.num_rows for batch in self.batches)

    @property
    def rows_dead(self) -> int:
        return sum(len(dead.rows) for dead in self.dead)

    @property
    def rejected(self) -> int:
        """Rows that rules refused."""
        return sum(len(rejects.rows) for rejects in self.rejects)


class Step(Protocol):
    """One step of a definition.

    `plan` may be called without `open`; `apply` only between `open` and `close`, by one thread. A step may be opened again after `close`.
    """

    id: str
    type: str
    required: bool

    @property
    def needs_sample(self) -> bool:
        """What comes out is not known from the definition alone; `plan` needs rows."""

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:
        """Return the visible schema after the step.

        Args:
            schema: Visible schema before it.
            sample: At most 1,000 rows as they reach the step, for steps with `needs_sample`.

        Raises:
            PlanError: The step does not fit the schema; its problems carry the path in the definition.
        """

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:
        """Get ready for batches of `schema_in`; `now` is the run's start."""

    def apply(self, batch: pa.RecordBatch) -> Applied:
        """Transform one batch, with hidden columns; never raises for a bad row."""

    def close(self) -> None:
        """Let go of connections and of the user's own set-up; may be called twice."""


def check_law(step: str, rows_in: int, applied: Applied) -> None:
    """Check that every row of a batch is accounted for.

    Raises:
        BalanceError: It is not; the step has a defect.
    """
    out, dead = applied.rows_out, applied.rows_dead
    if rows_in + applied.made != out + applied.filtered + applied.rejected + applied.absorbed + dead:
        counts = f"in {rows_in}, made {applied.made}, out {out}, filtered {applied.filtered}, rejected {applied.rejected}, dead {dead}"
        counts += f", absorbed {applied.absorbed}"
        raise BalanceError(f"step {step!r} does not account for every row: {counts}")


def dead_rows(batch: pa.RecordBatch, reasons: dict[int, tuple[Code, str]]) -> tuple[DeadRows, ...]:
    """Return the dead rows of one batch from (code, message) by position."""
    rows: Sequence[int] = sorted(reasons)
    if not rows:
        return ()
    return (DeadRows(batch, list(rows), [reasons[row][0] for row in rows], [reasons[row][1] for row in rows]),)
