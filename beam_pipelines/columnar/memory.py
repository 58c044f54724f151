"""Memory that batches leave behind in the process: allocators keep it for the next batch, and what follows may want it otherwise."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import pyarrow as pa

__all__ = ["give_back"]


def give_back() -> None:
    """Return to the system what Arrow and the C library hold and do not use; some milliseconds, so for the turns of a run, not for batches.

    Measured before the commit of 1,000,000 rows from SQLite into DuckDB: the process falls from 350 MB to 210.
    """
    pa.default_memory_pool().release_unused()
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], int]:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda _: 0  # not glibc
    return trim
