"""What became of each file of a run whose unit is the file: worked out from its window and its facts alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_pipelines.runs.counts import Tally
    from beam_pipelines.runs.facts import Staged
    from beam_pipelines.runs.window import Window

__all__ = ["FileResult", "results", "staged_of"]


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


def results(window: Window, tally: Tally) -> tuple[FileResult, ...]:
    """What became of each file of a window, in the order of its ranges; a file of which a part cannot be read is a dead letter."""
    facts = {fact.part: fact for fact in tally.files}
    staged: dict[int, int] = {}
    for one in tally.staged:
        staged[one.order] = staged.get(one.order, 0) + one.rows
    refused: dict[str, int] = {}
    for name, count in (counted for letter in tally.letters for counted in letter.sources.items()):
        refused[name] = refused.get(name, 0) + count
    files: dict[str, list[Any]] = {}
    for part in window.ranges:
        files.setdefault(part.bounds["label"], []).append(part)
    told = []
    for name, parts in files.items():
        read = [facts[part.index] for part in parts if part.index in facts]
        failed = next((fact for fact in read if fact.error), None)
        told.append(
            FileResult(
                name=name,
                size=int(parts[0].bounds["size"]),
                tag=str(parts[0].bounds["tag"]),
                output="" if failed else str(parts[0].bounds.get("output", "")),
                records=sum(fact.rows for fact in read),
                written=0 if failed else sum(staged.get(part.index, 0) for part in parts),
                rejected=refused.get(name, 0),
                seconds=sum(fact.seconds for fact in read),
                error=failed.error if failed else "",
                passing=failed is not None and failed.passing,
            )
        )
    return tuple(told)


def staged_of(window: Window, staged: Iterable[Staged]) -> dict[str, list[Staged]]:
    """The staging objects of each file, in order."""
    names = {part.index: str(part.bounds["label"]) for part in window.ranges}
    found: dict[str, list[Staged]] = {name: [] for name in names.values()}
    for part in staged:
        found[names[part.order]].append(part)
    return found
