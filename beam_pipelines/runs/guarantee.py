"""The guarantee a service can keep, derived from its parts and said with its reasons; a stronger one asked for is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from beam_pipelines.errors import PlanError, Problem

__all__ = ["Guarantee", "Level", "Promise", "derive", "promises", "require", "weakest"]

Level = Literal["exactly-once", "at-least-once"]
_SPANS = ((86400, "d"), (3600, "h"), (60, "min"))  # seconds


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


@dataclass(frozen=True)
class Promise:
    """A guarantee, and the loads of a run that it is for.

    Args:
        guarantee: The same for each of them.
        loads: Target tables; empty where a run has one load only.
    """

    guarantee: Guarantee
    loads: tuple[str, ...] = ()

    @property
    def level(self) -> str:
        """`exactly-once`, or `exactly-once for raw_a, raw_b`."""
        return self.guarantee.level + (f" for {', '.join(self.loads)}" if self.loads else "")

    def __str__(self) -> str:
        return f"{self.level}: " + "; ".join(self.guarantee.reasons)


def promises(by_load: Mapping[str, Guarantee]) -> tuple[Promise, ...]:
    """Group the loads of a run whose guarantees are the same; in the order of their first loads."""
    groups: dict[Guarantee, list[str]] = {}
    for load, guarantee in by_load.items():
        groups.setdefault(guarantee, []).append(load)
    return tuple(Promise(guarantee, tuple(loads) if len(by_load) > 1 else ()) for guarantee, loads in groups.items())


def weakest(made: Sequence[Promise]) -> Guarantee:
    """The guarantee of a run as a whole: that of its weakest load."""
    return next((one.guarantee for one in made if one.guarantee.level != "exactly-once"), made[0].guarantee)


def derive(
    *,
    mode: str,
    whole: bool,
    transactional: bool,
    cursor: str | None,
    kind: str = "timestamp",
    overlap: float = 0.0,
    swap: bool = False,
    versioned: bool | None = False,
    assumptions: Sequence[str] = (),
    kept: bool = True,
    by_file: bool = False,
) -> Guarantee:
    """Derive the guarantee of one load.

    Args:
        mode: `insert`, `upsert` or `replace`.
        whole: The whole table is replaced.
        transactional: Rows, ledger and watermark are one transaction of the target.
        cursor: Column that says what is new; None: every run reads everything.
        kind: What the cursor is: `timestamp`, `date` or `sequence`.
        overlap: What is read again below the watermark: seconds (of a sequence, units).
        swap: A new table is renamed into the place of the old one.
        versioned: A version column keeps older rows from overwriting newer ones; None: it does if the functions keep it.
        assumptions: What the source says its part rests on; who sets the cursor is among it.
        kept: The target keeps rows; else they are only counted.
        by_file: Each file read has an output of its own.
    """
    if by_file:
        return Guarantee("exactly-once", (*_BY_FILE, *_committed(transactional), *assumptions))
    if not kept:
        reasons = ["no row is kept: each run counts anew", *_read(cursor, kind, overlap)]
        return Guarantee("exactly-once", (*reasons, *assumptions))
    reasons = [*_committed(transactional), *_read(cursor, kind, overlap)]
    doubled = mode == "insert" and cursor is None and not whole
    if doubled:
        reasons.append("mode insert adds the whole source again on each run")
    if mode == "upsert":
        reasons.append(_VERSIONS[versioned])
    if whole:
        reasons.append("the table becomes what is read: rows that were deleted in the source go")
        if swap:
            reasons.append(
                "a new table is renamed into its place: grants, and views that know the old one by more than its name, do not follow"
            )
    else:
        reasons.append("rows that were deleted in the source stay in the target")
    if cursor is not None:
        reasons.append(f"rows whose {cursor!r} is null are not read")
    return Guarantee("at-least-once" if doubled else "exactly-once", (*reasons, *assumptions))


_BY_FILE = (
    "a file is read whole or not at all, once: by its name, size and tag",
    "its rows are in one file of its own, which appears whole, and is replaced whole when the file changes",
    "outputs of files that were deleted in the source stay",
)
_VERSIONS = {
    True: "an older version never overwrites a newer one",
    None: "an older version does not overwrite a newer one, if the functions give the cursor's column on as it is",
    False: "there is no version column: the last run wins",
}


def _committed(transactional: bool) -> list[str]:
    if transactional:
        return ["rows, ledger and watermark are committed in one transaction of the target"]
    return [
        "files have no transaction: the ledger is in the state store, and the next run finishes a commit that was cut off",
        "without its state store a service starts anew",
    ]


def _read(cursor: str | None, kind: str, overlap: float) -> list[str]:
    if cursor is None:
        return ["every run reads the whole source"]
    if not overlap:
        return ["rows are read below a ceiling that no late commit can pass"]
    span = _span(overlap, kind)
    return [
        f"rows are read again from {span} below the watermark, and written by key",
        f"a row that is committed more than {span} late is not seen",
    ]


def _span(overlap: float, kind: str) -> str:
    """`1 h`, `90 s`, `2 d`, `100 units`; dates are read again by whole days."""
    if kind == "sequence":
        return f"{overlap:g} units"
    seconds = -(-overlap // 86400) * 86400 if kind == "date" else overlap
    unit, name = next(((unit, name) for unit, name in _SPANS if seconds >= unit and seconds % unit == 0), (1, "s"))
    return f"{seconds / unit:g} {name}"


def require(asked: str | None, derived: Guarantee | Promise) -> None:
    """Refuse a definition that asks for more than its parts can give.

    Raises:
        PlanError: `delivery: exactly-once` over parts that give at-least-once.
    """
    level = derived.guarantee.level if isinstance(derived, Promise) else derived.level
    if asked == "exactly-once" and level != "exactly-once":
        message = f"exactly-once is asked for, but these parts give {derived}; use mode upsert or replace, or a cursor"
        raise PlanError(
            "the service cannot promise what it is asked for", problems=[Problem(message, "delivery")], code="guarantee-unreachable"
        )
