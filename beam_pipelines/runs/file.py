"""What became of each file of a run whose unit is the file: worked out from its window and its facts alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beam_pipelines.errors import BalanceError

if TYPE_CHECKING:
    from beam_pipelines.runs.counts import Tally
    from beam_pipelines.runs.facts import Staged
    from beam_pipelines.runs.window import Window

__all__ = ["FileResult", "is_shards", "of_no_account", "results", "shards_of", "staged_of", "unbilled"]

UNREADABLE, REJECTED = "file-unreadable", "rule-violated"  # codes of dead letters that are no rows that failed
_HERE = "./"  # no name of an output begins so, so a pattern is none


def shards_of(run: str, ending: str) -> str:
    """What is told as the output of an input whose rows go to files of a wanted size, with those of others: a pattern of names."""
    return f"{_HERE}{run}-*{ending}"


def is_shards(output: str) -> bool:
    """Whether an output is such a pattern."""
    return output.startswith(_HERE)


@dataclass(frozen=True)
class FileResult:
    """One file.

    Args:
        name: As origins show it.
        size: Bytes, as stored.
        tag: Tells this version of it from another.
        output: Where its rows are, below the place of the destination; empty: not in a file of their own.
        records: Rows read, those included that are none.
        written: Rows of it in the output.
        rejected: Rows that were refused by rules or failed.
        seconds: Time spent reading it.
        error: Why it is a dead letter, empty: it was processed.
        passing: It is not to blame for that: the next run tries again.
    """

    name: str
    size: int
    tag: str
    output: str = ""
    records: int = 0
    written: int = 0
    rejected: int = 0
    seconds: float = 0.0
    error: str = ""
    passing: bool = False

    def to_json(self) -> dict[str, Any]:
        """As a record shows it: seconds are milliseconds there."""
        told: dict[str, Any] = {
            "file": self.name,
            "output": self.output or None,
            "records": self.records,
            "recordsWritten": self.written,
            "rejected": self.rejected,
            "bytes": self.size,
            "duration": round(self.seconds * 1000),
            "error": self.error or None,
        }
        return {name: value for name, value in told.items() if value is not None}


def _refused(tally: Tally) -> dict[str, dict[str, int]]:
    """Dead letters of each file by code: of its rows, and of itself."""
    found: dict[str, dict[str, int]] = {}
    for name, codes in (of for letter in tally.letters for of in letter.sources.items()):
        counts = found.setdefault(name, {})
        for code, count in codes.items():
            counts[code] = counts.get(code, 0) + count
    return found


def _unread(window: Window, tally: Tally) -> set[str]:
    """Files of which a part cannot be read."""
    failed = {fact.part for fact in tally.files if fact.error}
    return {str(part.bounds["label"]) for part in window.ranges if part.index in failed}


def of_no_account(window: Window, tally: Tally) -> tuple[int, int]:
    """What files that cannot be read have among the rows read, and among those that failed: no budget is about these, and no price.

    The letter that each of them is counts among both.
    """
    bad = _unread(window, tally)
    parts = {part.index for part in window.ranges if part.bounds["label"] in bad}
    codes = [codes for name, codes in _refused(tally).items() if name in bad]
    read = sum(fact.rows for fact in tally.files if fact.part in parts) + sum(of.get(UNREADABLE, 0) for of in codes)
    return read, sum(count for of in codes for code, count in of.items() if code != REJECTED)


def results(window: Window, tally: Tally) -> tuple[FileResult, ...]:
    """What became of each file of a window, in the order of its ranges; a file of which a part cannot be read is a dead letter.

    Raises:
        BalanceError: Nothing is said of a range.
    """
    facts = {fact.part: fact for fact in tally.files}
    staged: dict[int, int] = {}
    for one in tally.staged:
        staged[one.order] = staged.get(one.order, 0) + one.rows
    refused = _refused(tally)
    files: dict[str, list[Any]] = {}
    for part in window.ranges:
        files.setdefault(part.bounds["label"], []).append(part)
    told = []
    for name, parts in files.items():
        missing = [part.index for part in parts if part.index not in facts]
        if missing:
            raise BalanceError(f"nobody says whether {name!r} was read (range {missing[0]}): nothing is committed")
        read = [facts[part.index] for part in parts]
        failed = next((fact for fact in read if fact.error), None)
        told.append(
            FileResult(
                name=name,
                size=int(parts[0].bounds["size"]),
                tag=str(parts[0].bounds["tag"]),
                output="" if failed else str(parts[0].bounds.get("output", "")),
                records=sum(fact.rows for fact in read),
                written=0 if failed else sum(staged.get(part.index, 0) for part in parts),
                rejected=sum(count for code, count in refused.get(name, {}).items() if code != UNREADABLE),
                seconds=sum(fact.seconds for fact in read),
                error=failed.error if failed else "",
                passing=failed is not None and failed.passing,
            )
        )
    return tuple(told)


def unbilled(window: Window, tally: Tally) -> int:
    """Bytes that nobody pays for: those of all parts of files that cannot be read."""
    bad = _unread(window, tally)
    return sum(int(part.bounds["billed"]) for part in window.ranges if part.bounds["label"] in bad)


def staged_of(window: Window, staged: Iterable[Staged]) -> dict[str, list[Staged]]:
    """The staging objects of each file, in order."""
    names = {part.index: str(part.bounds["label"]) for part in window.ranges}
    found: dict[str, list[Staged]] = {name: [] for name in names.values()}
    for part in staged:
        found[names[part.order]].append(part)
    return found
