"""The counters of a load: what was read, dropped, staged and what became of the staged rows in the target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from beam_pipelines.runs.example import Examples
from beam_pipelines.runs.facts import KEPT, Aside, Dead, FileFact, ReadFact, Staged, StagedFact, StepFact, merge_steps
from beam_pipelines.runs.file import FileResult
from beam_pipelines.runs.mark import Mark

__all__ = ["LoadCounts", "Merged", "Tally"]


@dataclass(frozen=True)
class Merged:
    """What the merge did with the staged rows: `staged = inserted + updated + unchanged + stale + superseded + dead + withdrawn`.

    Args:
        inserted: New in the target.
        updated: Replaced an older version (in mode `replace`: rows whose key was there).
        unchanged: Equal to what is there; not written.
        stale: Older than what is there; not written.
        superseded: Of several staged rows with one key, all but the newest.
        dead: Refused by the target, now dead letters (`errorHandling: continue`).
        deleted: Rows of the target that a whole-table `replace` removed; not part of the law.
        codes: Dead rows by error code.
        letters: Where the refused rows are.
        method: The statements used, in words (`merge`, `insert`, `delete+insert`).
        withdrawn: Rows of files that could not be read to their ends: such a file is one dead letter, and nothing of it is loaded.
        files: What became of each file, of services whose unit it is.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    stale: int = 0
    superseded: int = 0
    dead: int = 0
    deleted: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    letters: tuple[Dead, ...] = ()
    method: str = ""
    withdrawn: int = 0
    files: tuple[FileResult, ...] = ()

    @property
    def loaded(self) -> int:
        """`recordsLoaded`: staged rows the target now answers for."""
        return self.inserted + self.updated + self.unchanged + self.stale + self.superseded


@dataclass(frozen=True)
class Tally:
    """All facts of one load added up, before the merge.

    Args:
        load: Ledger key.
        read: Rows read, dead ones included.
        bytes: Canonical bytes read.
        read_dead: Rows dead in the read.
        newest: Greatest cursor value read; of topics how far they were read, those of joins included.
        steps: By step id, in the order of the definition.
        staged: Staging objects, in the order of their ranges.
        stage_in: Rows that reached the stage.
        stage_dead: Rows dead in the stage.
        letters: Every staging object of dead letters.
        read_seconds: Sum over workers.
        stage_seconds: Sum over workers.
        files: What was read of each range, of services whose unit is the file.
        no_account: Of rows read, and of rows that failed, those of files that cannot be read.
        counted: Of ranges that are parts of a file: index, and lines or rows.
        pending: Rows put aside for the other sinks of a stream.
    """

    load: str
    read: int
    bytes: int
    read_dead: int
    newest: Mark | None
    steps: tuple[StepFact, ...]
    staged: tuple[Staged, ...]
    stage_in: int
    stage_dead: int
    letters: tuple[Dead, ...]
    read_seconds: float = 0.0
    stage_seconds: float = 0.0
    files: tuple[FileFact, ...] = ()
    no_account: tuple[int, int] = (0, 0)
    counted: tuple[tuple[int, int], ...] = ()
    pending: tuple[Aside, ...] = ()

    @property
    def asides(self) -> tuple[Aside, ...]:
        """Everything that is put aside."""
        return (*(aside for step in self.steps for aside in step.asides), *self.pending)

    @property
    def staged_rows(self) -> int:
        return sum(part.rows for part in self.staged)

    @property
    def dead(self) -> int:
        """Rows dead before the merge."""
        return self.read_dead + sum(step.dead for step in self.steps) + self.stage_dead

    @property
    def budgeted(self) -> int:
        """Rows that may fail, which the error budget is a share of: those read, and those read for the right sides of joins and unions."""
        return self.read + sum(step.right_read for step in self.steps) - self.no_account[0]

    def judged(self, step: str, rule: str) -> tuple[int, int]:
        """Return of a rule how many rows it says something of, and how many violate it, those included on which it failed itself."""
        counts = next((one.rules.get(rule, {}) for one in self.steps if one.step == step), {})
        return counts.get("rows", 0) - counts.get("unevaluated", 0), counts.get("violated", 0) + counts.get("failed", 0)

    @property
    def late(self) -> int:
        """Rows that are dead letters because they came too late for their windows: they are as they should be, and no failures."""
        return sum(letter.codes.get("late-row", 0) for letter in self.letters)

    @property
    def rule_errors(self) -> int:
        """Rows that were rejected because a rule itself failed on them."""
        return sum(letter.codes.get("rule-failed", 0) for letter in self.letters)

    @property
    def filtered(self) -> int:
        return sum(step.filtered for step in self.steps)

    @property
    def rejected(self) -> int:
        return sum(step.rejected for step in self.steps)

    @classmethod
    def of(cls, load: str, facts: Iterable[ReadFact | StepFact | StagedFact], step_ids: Sequence[str]) -> Tally:
        """Add up the facts of `load`; steps that saw no row of it are there with zeros."""
        mine = [fact for fact in facts if fact.load == load]
        reads = [fact for fact in mine if isinstance(fact, ReadFact)]
        stages = [fact for fact in mine if isinstance(fact, StagedFact)]
        merged = merge_steps(fact for fact in mine if isinstance(fact, StepFact))
        newest: Mark | None = None
        for mark in (*(read.newest for read in reads), *(step.newest for step in merged.values())):
            newest = mark.later(newest) if mark else newest
        steps = tuple(replace(merged.get(step, StepFact(load, step)), newest=None) for step in step_ids)
        letters = [letter for read in reads for letter in read.letters]
        letters += [letter for step in steps for letter in step.letters]
        letters += [letter for stage in stages for letter in stage.letters]
        return cls(
            load=load,
            read=sum(fact.rows for fact in reads),
            bytes=sum(fact.bytes for fact in reads),
            read_dead=sum(fact.dead for fact in reads),
            newest=newest,
            steps=steps,
            staged=tuple(sorted((part for fact in stages for part in fact.staged), key=lambda part: (part.order, part.piece, part.name))),
            stage_in=sum(fact.rows_in for fact in stages),
            stage_dead=sum(fact.dead for fact in stages),
            letters=tuple(letters),
            read_seconds=sum(fact.seconds for fact in reads),
            stage_seconds=sum(fact.seconds for fact in stages),
            files=tuple(sorted((file for fact in reads for file in fact.files), key=lambda file: file.part)),
            counted=tuple(sorted(part for fact in reads for part in fact.counted)),
            pending=tuple(aside for fact in stages for aside in fact.asides),
        )


@dataclass(frozen=True)
class LoadCounts:
    """The result of one load as the ledger keeps it: enough to write the record, the charge and the events without the run.

    Args:
        tally: Before the merge.
        merged: In the target.
        watermark: Stored with this commit; None for loads without a cursor.
        budget_exceeded: The error budget, or the threshold of a rule, was exceeded (and only warns, else there is no commit).
        message: Why the load failed; of one that committed what it is warned of.
        code: Error code of the failure.
    """

    tally: Tally
    merged: Merged
    watermark: Mark | None = None
    budget_exceeded: bool = False
    message: str = ""
    code: str = ""

    @property
    def dead(self) -> int:
        """`recordsDeadLettered`."""
        return self.tally.dead + self.merged.dead

    @property
    def letters(self) -> tuple[Dead, ...]:
        return self.tally.letters + self.merged.letters

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the staging objects that are still to be taken out when the load has ended: dead letters, and what was put aside."""
        # What the commit keeps itself is not: staging may be gone when a server has crashed.
        asides = [aside.staged.name for aside in self.tally.asides if aside.output not in KEPT]
        return (*(letter.staged.name for letter in self.letters), *asides)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as the ledger keeps them."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LoadCounts:
        tally, merged = dict(data["tally"]), dict(data["merged"])
        tally["newest"] = Mark.from_json(tally["newest"])
        tally["staged"] = tuple(Staged(**part) for part in tally["staged"])
        tally["letters"] = _letters(tally["letters"])
        tally["steps"] = tuple(_step(step) for step in tally["steps"])
        tally["no_account"] = tuple(tally.get("no_account", (0, 0)))
        tally["files"] = tuple(FileFact(**file) for file in tally.get("files", ()))
        tally["pending"] = _asides(tally.get("pending", ()))
        tally["counted"] = tuple((part, count) for part, count in tally.get("counted", ()))
        merged["letters"] = _letters(merged["letters"])
        merged["files"] = tuple(FileResult(**file) for file in merged.get("files", ()))
        return cls(
            Tally(**tally), Merged(**merged), Mark.from_json(data["watermark"]), data["budget_exceeded"], data["message"], data["code"]
        )


def _step(data: dict[str, Any]) -> StepFact:
    # Ledger rows of runs before steps were fused do not say with which, nor do those before it was kept what was put aside.
    more = {
        "letters": _letters(data["letters"]),
        "fused_with": tuple(data.get("fused_with", ())),
        "states": (),
        "profile": tuple(data.get("profile", ())),
        "asides": _asides(data.get("asides", ())),
        "examples": Examples.from_json(data.get("examples", {})),
    }
    return StepFact(**{**data, **more})


def _asides(data: Iterable[dict[str, Any]]) -> tuple[Aside, ...]:
    return tuple(Aside(**{**aside, "staged": Staged(**aside["staged"])}) for aside in data)


def _letters(data: Iterable[dict[str, Any]]) -> tuple[Dead, ...]:
    return tuple(Dead(Staged(**letter["staged"]), dict(letter["codes"]), dict(letter.get("sources", ()))) for letter in data)
