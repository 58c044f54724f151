"""The guarantee a service can keep, derived from its parts and said with its reasons; a stronger one asked for is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from beam_pipelines.errors import PlanError, Problem

__all__ = ["Guarantee", "Level", "derive", "require"]

Level = Literal["exactly-once", "at-least-once"]


@dataclass(frozen=True)
class Guarantee:
    """What a service promises of every row it reads.

    Args:
        level: `exactly-once` (in effect: each row is in the target once, whatever died) or `at-least-once`.
        reasons: What the promise comes from and what it rests on, a sentence each.
    """

    level: Level
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.level}: " + "; ".join(self.reasons)


def derive(
    *,
    mode: str,
    whole: bool,
    transactional: bool,
    cursor: str | None,
    stamped_by: str = "database",
    overlap: float = 0.0,
    versioned: bool = False,
    assumptions: Sequence[str] = (),
) -> Guarantee:
    """Derive the guarantee of one load.

    Args:
        mode: `insert`, `upsert` or `replace`.
        whole: The whole table is replaced.
        transactional: Rows, ledger and watermark are one transaction of the target.
        cursor: Column that says what is new; None: every run reads everything.
        stamped_by: Who sets the cursor.
        overlap: Seconds or units re-read.
        versioned: A version column keeps older rows from overwriting newer ones.
        assumptions: What the source says its part rests on.
    """
    reasons = ["rows, ledger and watermark are committed in one transaction of the target"]
    if not transactional:
        reasons = [
            "the target has no transaction: the ledger is in the state store, and files are named by the run, so a commit done twice is done once"
        ]
    level: Level = "exactly-once"
    if cursor is None:
        reasons.append("every run reads everything")
        if mode == "insert":
            level = "at-least-once"
            reasons.append("mode insert adds the whole source again on each run")
    elif overlap:
        reasons.append(
            f"rows are read again {overlap:g} {'units' if stamped_by == 'sequence' else 's'} below the watermark, and written idempotently"
        )
        reasons.append(f"a row stamped by its {stamped_by} and committed later than that is not seen")
    else:
        reasons.append(f"{cursor!r} is taken to be stamped by the database, and is read below a ceiling that late commits cannot pass")
    if mode == "upsert":
        reasons.append("an older version never overwrites a newer one" if versioned else "there is no version column: the last run wins")
    if cursor is not None:
        reasons.append("rows with a null cursor and deleted rows are not seen")
    return Guarantee(level, (*reasons, *assumptions))


def require(asked: str | None, derived: Guarantee) -> None:
    """Refuse a definition that asks for more than its parts can give.

    Raises:
        PlanError: `delivery: exactly-once` over parts that give at-least-once.
    """
    if asked == "exactly-once" and derived.level != "exactly-once":
        message = f"exactly-once is asked for, but these parts give {derived}; use mode upsert or replace, or a cursor"
        raise PlanError(
            "the service cannot promise what it is asked for", problems=[Problem(message, "delivery")], code="guarantee-unreachable"
        )
