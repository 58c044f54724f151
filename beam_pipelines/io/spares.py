"""What one part of a run leaves for the next in the same process: connections it is done with, and what it noted.

Planning, preparing, reading, staging and committing each open the source or the target; sharing, a run connects once and not nine times.
Only while a run is under way here (`kept`); otherwise nothing is left, and who is done with a connection closes it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["IDLE_SECONDS", "anchor", "give", "hold", "kept", "note", "noted", "take", "together", "weigh"]

IDLE_SECONDS = 30.0

_lock = threading.Lock()
_left: _Left | None = None  # None: no run is under way
_anchors: _Anchors | None = None  # None: files are closed as soon as nobody works on them


@dataclass
class _Left:
    connections: dict[str, list[tuple[float, Any]]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Anchors:
    wanted: bool = True
    open: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Leave files open until the block ends that a process has to itself: what is done on one of them within it follows without a pause.

    To open such a file and to close it, with all that is written then, costs more than most of what is done in between. A block within
    another is a part of it.
    """
    global _anchors
    with _lock:
        outer = _anchors
        if outer is None:
            _anchors = _Anchors()
    try:
        yield
    finally:
        if outer is None:
            with _lock:
                ended, _anchors = _anchors, None
            _close(ended.open.values() if ended else ())


def hold(wanted: bool) -> None:
    """Say whether files are left open within `together`; if not, those that are open are closed, so that others may have them."""
    with _lock:
        ended = {}
        if _anchors is not None:
            _anchors.wanted = wanted
            ended = {} if wanted else dict(_anchors.open)
            for place in ended:
                del _anchors.open[place]
    _close(ended.values())


def anchor(place: str, make: Callable[[], Any]) -> None:
    """Keep a file open, by a connection that `make` gives, if it is to be left open and is not kept so already."""
    with _lock:
        if _anchors is not None and _anchors.wanted and place not in _anchors.open:
            _anchors.open[place] = make()


def weigh(place: str) -> None:
    """Let go of a file that is kept open: something failed on it, and it may be better opened anew."""
    with _lock:
        ended = _anchors.open.pop(place, None) if _anchors is not None else None
    _close(() if ended is None else [ended])


def _close(connections: Iterable[Any]) -> None:
    for connection in connections:
        with contextlib.suppress(Exception):
            connection.close()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Keep what is left until the block ends; connections are closed then. One run at a time in a process does so."""
    global _left
    with _lock:
        before, _left = _left, _Left()
    try:
        yield
    finally:
        with _lock:
            ended, _left = _left, before
        _close([connection for many in ended.connections.values() for _, connection in many] if ended else ())


def take(place: str) -> Any | None:
    """A connection that was given for a place lately, as it was left; None when there is none.

    One that was idle for long is closed instead: firewalls forget such connections, and a statement on it would wait for minutes.
    """
    while True:
        with _lock:
            many = _left.connections.get(place) if _left else None
            since, connection = many.pop() if many else (0.0, None)
        if connection is None or time.monotonic() - since < IDLE_SECONDS:
            return connection
        with contextlib.suppress(Exception):
            connection.close()


def give(place: str, connection: Any) -> bool:
    """Leave a connection to whoever next wants one to the same place; False when no run is under way: close it."""
    with _lock:
        if _left:
            _left.connections.setdefault(place, []).append((time.monotonic(), connection))
        return _left is not None


def note(place: str, value: Any) -> None:
    """Leave what was found out about a place; forgotten at once when no run is under way."""
    with _lock:
        if _left:
            _left.notes[place] = value


def noted(place: str) -> Any | None:
    """What was found out about a place; None when nothing was."""
    with _lock:
        return _left.notes.get(place) if _left else None
