"""An upload in parts: what is held of it is one part, and a small one is a single request."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from typing import Any

from beam_pipelines.io.objects.store import Stored, Upload

__all__ = ["PartedUpload"]

_PART = 8 << 20  # bytes; S3 takes none below 5 MiB but the last
_STEP = 1000  # parts after which they grow, because S3 takes 10,000


class PartedUpload(Upload):
    """Gathers what is written into parts."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._sent = self._taken = 0
        self.closed = False

    @abstractmethod
    def whole(self, data: bytes) -> Stored:
        """Make a file of one request."""

    @abstractmethod
    def part(self, number: int, data: bytes) -> None:
        """Send a part, numbered from 0; the first one begins the upload."""

    @abstractmethod
    def complete(self) -> Stored:
        """Make a file of the parts."""

    @abstractmethod
    def abandon(self) -> None:
        """Have the store forget the parts."""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._held += view
        self._taken += len(view)
        while len(self._held) >= (size := _PART * (1 + self._sent // _STEP)):
            self._send(bytes(self._held[:size]))
            del self._held[:size]
        return len(view)

    def finish(self) -> Stored:
        self.closed = True
        if not self._sent:
            return self.whole(bytes(self._held))
        if self._held:
            self._send(bytes(self._held))
        return self.complete()

    def abort(self) -> None:
        self.closed = True
        self._held.clear()
        if self._sent:
            with contextlib.suppress(Exception):
                self.abandon()

    def tell(self) -> int:
        return self._taken

    def flush(self) -> None:
        """Nothing: a part is sent when it is large enough."""

    def close(self) -> None:
        """Nothing: `finish` or `abort` end it."""

    def _send(self, data: bytes) -> None:
        self.part(self._sent, data)
        self._sent += 1
