"""What bundles tell Commit: what was read, what each step did, what was staged. One fact a bundle and DoFn, yielded when the bundle ends.

Beam delivers the output of exactly one attempt of a bundle, so the facts that reach Commit describe exactly what counts; metrics would
count retries too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from beam_pipelines.runs.example import Examples
from beam_pipelines.runs.mark import Mark

__all__ = [
    "KEPT",
    "LATE",
    "OPEN",
    "PENDING",
    "Aside",
    "Dead",
    "FileFact",
    "ReadFact",
    "RuleCounts",
    "Staged",
    "StagedFact",
    "StepFact",
    "add_rules",
    "merge_steps",
]

RuleCounts = dict[str, dict[str, int]]  # counts of each rule, by its id
OPEN = "open"  # states of windows that are open, put aside for the commits to come
PENDING = "pending"  # rows that are put aside for the other sinks of a stream
LATE = "late"  # rows that came too late, put aside for the place that a window step names
KEPT = (OPEN, PENDING, LATE)  # what is put aside, and kept by the commit itself


@dataclass(frozen=True)
class Staged:
    """One closed staging object: a table or a file that holds the rows of one attempt.

    Args:
        name: `StagingName` as text.
        rows: Rows in it, checked against the object itself in Commit (unlogged tables are empty after a crash of the server).
        bytes: Size as written, for the record only.
        order: Sort key among the staged objects of a load: index of the first range in it; later rows win ties of an upsert.
        through: Index of the last range in it, as far as it is above `order`.
        sources: Tables, queries or files that its rows may be of, where no ranges of the load's own source can be told; else nothing.
        piece: Position among those of one range, where an object holds rows of one range alone.
    """

    name: str
    rows: int
    bytes: int = 0
    order: int = 0
    through: int = 0
    sources: tuple[str, ...] = ()
    piece: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))  # a list, when it is read from JSON


@dataclass(frozen=True)
class Dead:
    """Dead letters of one attempt: where they are staged and how many there are of each kind.

    Args:
        staged: The staging object, in the schema `columnar.dead.SCHEMA`.
        codes: Count by error code.
        sources: Count by code of the rows of each file, of services whose unit is the file.
    """

    staged: Staged
    codes: dict[str, int] = field(default_factory=dict)
    sources: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class FileFact:
    """What was read of one range of a file.

    Args:
        part: Index of the range.
        rows: Rows read, those included that are none.
        seconds: Time spent reading.
        error: Why it cannot be read whole, empty: it was.
        passing: The file is not to blame: it is read anew by the next run.
    """

    part: int
    rows: int = 0
    seconds: float = 0.0
    error: str = ""
    passing: bool = False


@dataclass(frozen=True)
class Aside:
    """What one attempt has put aside for an output of a step, which is written when the run has ended.

    Args:
        output: `rejected` or `violations`; or one of `KEPT`.
        staged: The staging object, in the schema `columnar.dead.SCHEMA`: one row for each block of rows.
        rows: Rows in all blocks.
    """

    output: str
    staged: Staged
    rows: int


@dataclass(frozen=True)
class ReadFact:
    """What one bundle read of one load.

    Args:
        load: Ledger key of the load.
        rows: Rows read, dead ones included.
        bytes: Canonical size of the values (`columnar.size.canonical_bytes`) or bytes of the objects read; it is billed.
        dead: Rows that could not be read as the planned schema.
        newest: Greatest cursor value read, taken before any filter; None when nothing was read.
        letters: Where the dead rows are.
        seconds: Time spent reading.
        files: What was read of each range, of services whose unit is the file.
        counted: Of ranges that are parts of a file: index, and how many lines or rows it has, by which numbers in later parts go.
    """

    load: str
    rows: int = 0
    bytes: int = 0
    dead: int = 0
    newest: Mark | None = None
    letters: tuple[Dead, ...] = ()
    seconds: float = 0.0
    files: tuple[FileFact, ...] = ()
    counted: tuple[tuple[int, int], ...] = ()

    @property
    def out(self) -> int:
        return self.rows - self.dead


@dataclass(frozen=True)
class StepFact:
    """What one bundle did in one step: `in + made = out + filtered + rejected + absorbed + dead`.

    Args:
        load: Ledger key of the load.
        step: Id of the step.
        records_in: Rows that came.
        records_out: Rows that went on.
        filtered: Rows the step is meant to drop (a filter; None from a row function).
        rejected: Rows a rule refused.
        dead: Rows that failed, now dead letters.
        nulled: Rows that failed in a step with `required: false` and went on with its columns null; part of `records_out`.
        made: Rows above one to one, from a function that returns several for one.
        right: Rows of the right side of a join, after its own steps; part of no law.
        right_read: Rows read for the right side, dead ones included; part of no law.
        absorbed: Rows that went on only as a part of another one: of a group all but one.
        bytes_out: Canonical size of what went on (`columnar.size.canonical_bytes`); steps that ran as one have that of the last.
        seconds: Time spent.
        letters: Where the dead rows are.
        error: First error of a row, code and message without payload.
        fused_with: Ids of the steps that it ran as one with, whose time it shares.
        rules: Counts of each rule of a `validate` step, by its id, as `rules.tally.Tally` names them.
        failed: Rows that violate one of its rules of severity error, rejected or not.
        warned: Rows that violate one of severity warning.
        states: What its rules of the data set as a whole measured, and its profile, of each bundle; nothing once they are judged.
        verdicts: What is said of these rules, by their ids, as `rules.dataset.rule.Verdict` names it, with their `severity`.
        profile: What the columns of the rows that came are like, as `rules.profiling.columns.Profile.told` tells it.
        asides: What is put aside for outputs of its own.
        examples: Some violations of each rule of a `validate` step.
        windows: Results of windows that came out, of a `window` step.
        open_windows: Windows that stay open, each once a group.
        late: Rows that came too late for each of their windows.
        partly: Of rows that count in some of their windows, how many times one came too late for another one.
        waiting: Rows of either side of a join of two streams that wait for others.
        remembered: Keys of rules that a stream remembers.
        newest: How far the topic of its right side was read, of such a join; part of no law.
    """

    load: str
    step: str
    records_in: int = 0
    records_out: int = 0
    filtered: int = 0
    rejected: int = 0
    dead: int = 0
    nulled: int = 0
    made: int = 0
    absorbed: int = 0
    right: int = 0
    right_read: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    letters: tuple[Dead, ...] = ()
    error: str | None = None
    fused_with: tuple[str, ...] = ()
    rules: RuleCounts = field(default_factory=dict)
    failed: int = 0
    warned: int = 0
    states: tuple[Any, ...] = ()
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    profile: tuple[dict[str, Any], ...] = ()
    asides: tuple[Aside, ...] = ()
    examples: Examples = field(default_factory=Examples)
    windows: int = 0
    open_windows: int = 0
    late: int = 0
    partly: int = 0
    waiting: int = 0
    remembered: int = 0
    newest: Mark | None = None


@dataclass(frozen=True)
class StagedFact:
    """What one bundle staged for one load.

    Args:
        load: Ledger key of the load.
        rows_in: Rows that came: staged + dead.
        staged: The closed staging objects.
        dead: Rows the staging itself refused.
        letters: Where the dead rows are.
        seconds: Time spent.
        asides: Rows put aside for other sinks.
    """

    load: str
    rows_in: int = 0
    staged: tuple[Staged, ...] = ()
    dead: int = 0
    letters: tuple[Dead, ...] = ()
    seconds: float = 0.0
    asides: tuple[Aside, ...] = ()


def merge_steps(facts: Iterable[StepFact]) -> dict[str, StepFact]:
    """Add up the facts of each step over bundles; the order of steps is that of their first fact."""
    merged: dict[str, StepFact] = {}
    for fact in facts:
        so_far = merged.get(fact.step)
        merged[fact.step] = fact if so_far is None else _add(so_far, fact)
    return merged


def _add(a: StepFact, b: StepFact) -> StepFact:
    numbers = ("records_in", "records_out", "filtered", "rejected", "dead", "nulled", "made", "absorbed", "right", "right_read")
    more = ("failed", "warned", "bytes_out", "seconds", "windows", "open_windows", "late", "partly", "waiting", "remembered")
    summed = {name: getattr(a, name) + getattr(b, name) for name in (*numbers, *more)}
    return replace(
        a,
        **summed,
        letters=a.letters + b.letters,
        error=a.error or b.error,
        newest=a.newest.later(b.newest) if a.newest is not None else b.newest,
        rules=add_rules(a.rules, b.rules),
        states=a.states + b.states,
        asides=a.asides + b.asides,
        examples=a.examples + b.examples,
    )


def add_rules(*counts: RuleCounts) -> RuleCounts:
    """Add up the counts of each rule."""
    summed: RuleCounts = {}
    for rule, counted in (item for one in counts for item in one.items()):
        sums = summed.setdefault(rule, {})
        for name, number in counted.items():
            sums[name] = sums.get(name, 0) + number
    return summed
