"""What a connector keeps open for all of a run in this process (a snapshot of the source), and lets go of when the last range is read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

__all__ = ["keep", "release"]

_lock = threading.Lock()
_kept: dict[str, list[Callable[[], None]]] = {}


def keep(run: str, close: Callable[[], None]) -> None:
    """Have `close` called when the run lets go."""
    with _lock:
        _kept.setdefault(run, []).append(close)


def release(run: str) -> None:
    """Let go of everything kept for a run; never fails, may be called twice. A process that dies lets go by dying."""
    with _lock:
        closers = _kept.pop(run, [])
    for close in closers:
        with contextlib.suppress(Exception):
            close()
