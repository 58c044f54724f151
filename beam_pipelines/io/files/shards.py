"""Files of a wanted size: which of those that workers wrote are joined, for each of these ends with one that is not full."""

from __future__ import annotations

from collections.abc import Iterable

from beam_pipelines.runs.facts import Staged

__all__ = ["joined"]

_LEAST = 2 / 3  # of the wanted size: two files below it are at most a third too large together


def joined(parts: Iterable[Staged], size: int) -> list[tuple[Staged, ...]]:
    """What becomes one file each: files that are large enough alone, the others together with the next that are not.

    Args:
        parts: In the order of their rows, which is kept within each file.
        size: Bytes wanted.
    """
    least = size * _LEAST
    groups: list[list[Staged]] = []
    gathering: list[Staged] | None = None
    gathered = 0
    for part in parts:
        if part.bytes >= least:
            groups.append([part])
            continue
        if gathering is None:
            gathering, gathered = [], 0
            groups.append(gathering)
        gathering.append(part)
        gathered += part.bytes
        if gathered >= least:
            gathering = None
    return [tuple(group) for group in groups]
