"""What part of what source rows are of: sources are numbered as the definition names them, and the ranges of each follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import BY_GROUPS, sums_up
from beam_pipelines.runs.window import Window

__all__ = ["RANGES", "sources_in", "tables_of"]

RANGES = 20  # bits of the number of a range: more than any source has; those above number the source


def sources_in(steps: Sequence[Any]) -> int:
    """Count the sources that the unions of some steps add, those inside of one another included."""
    return sum(1 + sources_in(step.source.transformations) for step in steps if step.type == "union")


def tables_of(job: Job, window: Window) -> list[tuple[str, ...]]:
    """Return what rows may be of in the end, for each source by its number: its table, behind a shuffle those of all that were there."""
    steps = job.definition.steps
    last = max((at for at, step in enumerate(steps) if step.type in BY_GROUPS or sums_up(step) or _brings(step)), default=-1)
    own, added = [window.table], []
    for at, step in enumerate(steps):
        more = tables_of(job.side(step.id), window.sides[step.id]) if step.type == "union" else []
        added += more
        if at <= last:
            own += [table for tables in more for table in tables]
            own += [window.sides[step.id].table] if _brings(step) else []
    return [tuple(dict.fromkeys(own)), *added]


def _brings(step: Any) -> bool:
    """Whether rows of the right side come out by themselves."""
    return step.type == "join" and step.how in ("right", "full")
