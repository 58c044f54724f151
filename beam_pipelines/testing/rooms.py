"""Which room of the house makes a call: read from the stack, so that a name of a call says who made it, and where."""

from __future__ import annotations

import functools
import sys

__all__ = ["ROOMS", "caller"]

# The first that is part of a module's name decides. Modules of no room (sessions, catalogs) belong to whoever calls them.
_SIGNS = (
    ("beam_pipelines.testing", ""),
    ("beam_pipelines.engine.letters", "letters"),
    ("beam_pipelines.engine.retention", "retention"),
    ("beam_pipelines.state", "state"),
    ("beam_pipelines.io.keepers", "keeper"),
    ("beam_pipelines.io.spares", "keeper"),
    ("beam_pipelines.io.postgres.snapshot", "keeper"),
    ("beam_pipelines.io.postgres.fetch", "source"),
    ("beam_pipelines.io.files.place", "source"),
    (".ledger_target", "target"),
    (".ledger", "ledger"),
    (".stage", "staging"),
    ("_stage", "staging"),
    ("staging", "staging"),
    ("target", "target"),
    ("source", "source"),
)
ROOMS = tuple(dict.fromkeys(room for _, room in _SIGNS if room))


@functools.cache
def _room(module: str) -> str:
    if not module.startswith("beam_pipelines."):
        return ""
    return next((room for sign, room in _SIGNS if sign in module), "")


def caller() -> str | None:
    """`room.function` of the innermost room on this thread's stack, with the outermost of that room's functions that lead here.

    None when no room is on it.
    """
    frame = sys._getframe(1)
    room, function = "", ""
    while frame is not None:
        # A session's `execute` belongs to whoever has something to execute.
        here = _room(frame.f_globals.get("__name__", "")) if frame.f_code.co_name != "execute" else ""
        if here and not room:
            room = here
        if here and here != room:
            break
        if here:
            function = frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]
    return f"{room}.{function}" if room else None
