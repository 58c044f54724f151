"""Names that are to be told apart: steps of a definition, rules of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import mistake

__all__ = ["Named", "identified", "repeated"]

Named = list[tuple[str, tuple[str | int, ...]]]  # ids with their places


def identified(entries: Any, place: tuple[str | int, ...]) -> Named:
    """Return the ids in a raw list, with their places."""
    if not isinstance(entries, (list, tuple)):
        return []
    return [
        (entry["id"], (*place, index, "id"))
        for index, entry in enumerate(entries)
        if isinstance(entry, Mapping) and isinstance(entry.get("id"), str)
    ]


def repeated(named: Named) -> Iterator[InitErrorDetails]:
    """Yield a mistake for each id that was there before."""
    seen: set[str] = set()
    for name, place in named:
        if name in seen:
            yield mistake(f"expected an id of its own, got {name!r} again", *place)
        seen.add(name)
