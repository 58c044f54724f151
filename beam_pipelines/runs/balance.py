"""The laws every run is held to, whatever its exit path: a run whose rows do not add up has failed."""

from __future__ import annotations

from dataclasses import dataclass

from beam_pipelines.errors import BalanceError
from beam_pipelines.runs.counts import Merged, Tally

__all__ = ["Budget", "check_flow", "check_merge", "violations"]


def violations(tally: Tally) -> list[str]:
    """Each broken law between the read and the staging, in words with its numbers; empty when all hold.

    Laws: a step gets what the one before it gave; `in + made = out + filtered + rejected + absorbed + dead`; staging gets what the last
    step gave; `stage in = staged + dead`; dead letters staged = dead and rejected rows counted; rows put aside
    as rejected = rows rejected.
    """
    broken: list[str] = []
    giver, given = "the read", tally.read - tally.read_dead
    for step in tally.steps:
        if step.records_in != given:
            broken.append(f"step {step.step!r} got {step.records_in} rows, {giver} gave {given}")
        total = step.records_out + step.filtered + step.rejected + step.absorbed + step.dead
        if step.records_in + step.made != total:
            broken.append(
                f"step {step.step!r}: {step.records_in} in + {step.made} made != {step.records_out} out + {step.filtered} filtered"
                f" + {step.rejected} rejected + {step.absorbed} absorbed + {step.dead} dead"
            )
        aside = sum(one.rows for one in step.asides if one.output == "rejected")
        # Rows that were rejected in the source of a reference are made and rejected in this step, which puts none of them aside.
        if aside and not step.rejected - step.made <= aside <= step.rejected:
            broken.append(f"step {step.step!r} rejected {step.rejected} rows, but {aside} are put aside")
        giver, given = f"step {step.step!r}", step.records_out
    if tally.stage_in != given:
        broken.append(f"the staging got {tally.stage_in} rows, {giver} gave {given}")
    if tally.stage_in != tally.staged_rows + tally.stage_dead:
        broken.append(f"the staging got {tally.stage_in} rows, but {tally.staged_rows} are staged and {tally.stage_dead} are dead letters")
    letters = sum(letter.staged.rows for letter in tally.letters)
    if letters != tally.dead + tally.rejected:
        rejected = f" and {tally.rejected} were rejected" if tally.rejected else ""
        broken.append(f"{tally.dead} rows died before the merge{rejected}, but {letters} dead letters are staged")
    return broken


def check_flow(tally: Tally) -> None:
    """Hold the facts of a load against the laws.

    Raises:
        BalanceError: A law is broken; names each with its numbers.
    """
    broken = violations(tally)
    if broken:
        raise BalanceError(f"the rows of {tally.load!r} do not add up, nothing is committed: " + "; ".join(broken))


def check_merge(tally: Tally, merged: Merged) -> None:
    """Hold the merge against its law: `staged = inserted + updated + unchanged + stale + superseded + dead + withdrawn`.

    Raises:
        BalanceError: The law is broken.
    """
    accounted = merged.loaded + merged.dead + merged.withdrawn
    if accounted != tally.staged_rows:
        raise BalanceError(
            f"the merge into {tally.load!r} does not add up, nothing is committed: {tally.staged_rows} rows staged, but"
            f" {merged.inserted} inserted + {merged.updated} updated + {merged.unchanged} unchanged + {merged.stale} stale"
            f" + {merged.superseded} superseded + {merged.dead} dead + {merged.withdrawn} withdrawn = {accounted}"
        )


@dataclass(frozen=True)
class Budget:
    """How many dead rows a run may have: `errorBudget: {max: 100 | 1%, onExceed: fail | warn}`.

    Args:
        rows: Greatest number of dead rows, or None.
        share: Greatest share of the rows read (0..1), or None.
        fail: Exceeding it fails the load, else it only warns (exit 3).
        after: A share is judged only once this many rows were read: two bad rows of three say little.
    """

    rows: int | None = None
    share: float | None = 0.10
    fail: bool = True
    after: int = 1000

    def exceeded(self, read: int, dead: int) -> str | None:
        """Say in words how the budget is exceeded; None when it is kept."""
        if self.rows is not None and dead > self.rows:
            return f"{dead} of {read} rows failed, the error budget allows {self.rows}"
        # Divided, not multiplied: `57 % of 1000` is a little less than 570 in floating point.
        if self.share is not None and read >= max(self.after, 1) and dead / read > self.share:
            return f"{dead} of {read} rows failed ({dead / read:.1%}), the error budget allows {self.share * 100:g}%"
        return None
