"""Memory that batches leave behind in the process: allocators keep it for the next batch, and what follows may want it otherwise."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

__all__ = ["give_back", "keep_level"]

_STATM = Path("/proc/self/statm")
_GROWN = 1.05
_level: int | None = None  # pages that the process had when it was to keep its level, the least of all times


def give_back() -> None:
    """Return to the system what Arrow and the C library hold and do not use; some milliseconds, so for the turns of a run, not for batches.

    Measured before the commit of 1,000,000 rows from SQLite into DuckDB: the process falls from 350 MB to 210.
    """
    pa.default_memory_pool().release_unused()
    _trim()(0)


def keep_level() -> None:
    """`give_back` once the process has grown since it was first asked for this: at the ends of files, each of which leaves some in pieces.

    What is given back is asked for again, page by page, so it is not done behind each file.
    """
    global _level
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:  # another system
        give_back()
        return
    _level = min(pages, _level or pages)
    if pages > _level * _GROWN:
        give_back()


@functools.cache
def _trim() -> Callable[[int], int]:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda _: 0  # not glibc
    return trim
