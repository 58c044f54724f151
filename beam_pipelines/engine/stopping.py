"""Whether somebody has asked this process to stop, for loops that go on by themselves.

The exception that a signal raises may be lost: in the C code of a driver, which raises its own, or in a callback, whose errors nobody sees.
"""

from __future__ import annotations

import threading

__all__ = ["asked", "forget", "note"]

_ASKED = threading.Event()


def note() -> None:
    """Note that somebody asks; called by handlers of signals."""
    _ASKED.set()


def asked() -> bool:
    """Whether somebody has asked since it was last forgotten."""
    return _ASKED.is_set()


def forget() -> None:
    """What comes now is about something else."""
    _ASKED.clear()
