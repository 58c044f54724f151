"""A file that is read by ranges of bytes: what the file of a bucket looks like to whoever reads it.

Reading on from where the last read ended, a file is fetched in pieces that double up to `MOST`; anywhere else, as much as is asked for.
What is held is one piece. A small file is fetched whole.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager

import pyarrow as pa

__all__ = ["MOST", "RangedFile", "ranged"]

MOST = 8 << 20
_SMALL = 1 << 20
_LEAST = 64 << 10


class RangedFile(io.RawIOBase):
    """One file, seekable.

    Args:
        fetch: Gives the bytes from `start` up to `end`.
        size: Bytes of the file.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size = fetch, size
        self._at = self._from = 0
        self._held = b""
        self._piece = _LEAST

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, fewer only at the end of the file."""
        wanted = self._size - self._at if size is None or size < 0 else min(size, self._size - self._at)
        parts = []
        while wanted > 0:
            inside = self._at - self._from
            if not 0 <= inside < len(self._held):
                self._load(wanted)
                inside = self._at - self._from
            part = self._held[inside : inside + wanted]
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readall(self) -> bytes:
        return self.read()

    def _load(self, wanted: int) -> None:
        end = self._from + len(self._held)
        start = self._at
        if self._size <= _SMALL:
            start, stop = 0, self._size
        elif start == end:
            self._piece = min(MOST, self._piece * 2)
            stop = start + max(self._piece, min(wanted, MOST))
        else:
            self._piece = _LEAST
            stop = start + max(_LEAST, min(wanted, MOST))
        stop = min(stop, self._size)
        self._held = b""  # not two pieces at a time
        data = self._fetch(start, stop)
        if len(data) != stop - start:
            raise OSError(f"expected {stop - start} bytes from {start} on, got {len(data)}")
        self._from, self._held = start, data


def ranged(fetch: Callable[[int, int], bytes], size: int) -> AbstractContextManager[pa.NativeFile]:
    """Return the same as Arrow takes it."""
    opened: AbstractContextManager[pa.NativeFile] = pa.PythonFile(RangedFile(fetch, size), mode="r")
    return opened
