"""What one part of a run leaves for the next in the same process: connections it is done with, and what it noted.

Planning, preparing, reading, staging and committing each open the source or the target; sharing, a run connects once and not nine times.
Only while a run is under way here (`kept`); otherwise nothing is left, and who is done with a connection closes it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["give", "kept", "note", "noted", "take"]

_lock = threading.Lock()
_runs = 0
_spare: dict[str, list[Any]] = {}
_notes: dict[str, Any] = {}


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Keep what is left until the block ends; connections are closed then."""
    global _runs
    with _lock:
        _runs += 1
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            left = [] if _runs else [one for many in _spare.values() for one in many]
            if not _runs:
                _spare.clear()
                _notes.clear()
        for one in left:
            with contextlib.suppress(Exception):
                one.close()


def take(place: str) -> Any | None:
    """A connection that was given for a place, as it was left; None when there is none."""
    with _lock:
        many = _spare.get(place)
        return many.pop() if many else None


def give(place: str, connection: Any) -> bool:
    """Leave a connection to whoever next wants one to the same place; False when no run is under way: close it."""
    with _lock:
        if _runs:
            _spare.setdefault(place, []).append(connection)
        return bool(_runs)


def note(place: str, value: Any) -> None:
    """Leave what was found out about a place; forgotten at once when no run is under way."""
    with _lock:
        if _runs:
            _notes[place] = value


def noted(place: str) -> Any | None:
    """What was found out about a place; None when nothing was."""
    with _lock:
        return _notes.get(place)
