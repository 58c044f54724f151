"""What a benchmark found: one line a comparison, with the ratio, its spread over the rounds, and the target."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = ["Line", "Results", "at_least", "at_most", "compared"]


@dataclass(frozen=True)
class Line:
    """One comparison.

    Args:
        case: Name of the case, for `--only`.
        job: What was done.
        ours: Ours, in `unit`; median over the rounds.
        peer: The peer's; None where ours stands alone.
        peer_name: Who that is.
        unit: Of `ours` and `peer`.
        ratio: Median over the rounds of the ratio in each; None where nothing is compared.
        spread: Least and greatest ratio of a round.
        means: What is divided by what: `peer / ours` (so many times as fast) or `ours / peer` (so many times the cost).
        target: The issue's target in words; empty: for information.
        met: Whether it is met; None without target.
        note: What one must know to read the line.
        made: When, ISO-8601.
        rounds: How many.
    """

    case: str
    job: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    means: str = ""
    target: str = ""
    met: bool | None = None
    note: str = ""
    made: str = ""
    rounds: int = 0


@dataclass(frozen=True)
class Results:
    """What the benchmarks found, in one run, or each case in one (`with_cases`).

    Args:
        made: When, ISO-8601; of the last run.
        machine: What it ran on.
        settings: Rows, rounds.
        versions: Of ours and of the peers, by who.
        lines: The comparisons.
        remark: What is wrong with this run, if anything; shown above the table.
    """

    made: str
    machine: dict[str, str]
    settings: dict[str, int]
    versions: dict[str, dict[str, str]]
    lines: list[Line] = field(default_factory=list)
    remark: str = ""

    @property
    def met(self) -> bool:
        """Whether no target is missed."""
        return all(line.met is not False for line in self.lines)

    def with_cases(self, newer: Results, order: Sequence[str]) -> Results:
        """These, with the cases that another run has measured as that found them.

        Args:
            newer: That run, on the same machine.
            order: Names of all cases.
        """
        measured = {line.case for line in newer.lines}
        lines = [*(line for line in self.lines if line.case not in measured), *newer.lines]
        versions = {who: {**self.versions.get(who, {}), **found} for who, found in {**self.versions, **newer.versions}.items()}
        return replace(newer, versions=versions, lines=sorted(lines, key=lambda line: order.index(line.case)), remark=self.remark)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `write` wrote."""
        data: dict[str, Any] = json.loads(path.read_text())
        lines = [Line(**{**line, "spread": tuple(line["spread"]) if line["spread"] else None}) for line in data.pop("lines")]
        return cls(**data, lines=lines)


def compared(
    case: str, job: str, unit: str, ours: Sequence[float], peer: Sequence[float], peer_name: str, *, cost: bool = False, note: str = ""
) -> Line:
    """Compare what two took in the same rounds.

    Args:
        case: Name of the case.
        job: What was done.
        unit: Of the values.
        ours: A round each.
        peer: A round each.
        peer_name: Who.
        cost: The ratio is ours / peer; otherwise peer / ours.
        note: For the reader.
    """
    ratios = [mine / theirs if cost else theirs / mine for mine, theirs in zip(ours, peer, strict=True)]
    return Line(
        case,
        job,
        statistics.median(ours),
        unit,
        statistics.median(peer),
        peer_name,
        statistics.median(ratios),
        (min(ratios), max(ratios)),
        "ours / peer" if cost else "peer / ours",
        note=note,
    )


def at_least(line: Line, bound: float) -> Line:
    """The line with a target for its ratio: not less than `bound`."""
    return _judged(line, f"at least {bound:g}x", (line.ratio or 0.0) >= bound)


def at_most(line: Line, bound: float, *, of: float | None = None, unit: str = "x") -> Line:
    """The line with a target: its ratio (or `of`) is not more than `bound`."""
    value = line.ratio if of is None else of
    return _judged(line, f"at most {bound:g}{unit}", value is not None and value <= bound)


def _judged(line: Line, target: str, met: bool) -> Line:
    return Line(**{**asdict(line), "target": target, "met": met, "spread": line.spread})
