"""Progress of a local run: workers send small datagrams to the launcher, which adds them up. Hints only: records count by facts."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from beam_pipelines.runs.context import RunContext

__all__ = ["Progress", "Receiver", "Reporter"]

_LOG = logging.getLogger(__name__)
_PHASES = ("prepare", "extract", "transform", "load", "commit")
_EVERY = 0.2  # seconds between datagrams of one reporter: five a second is smooth, and costs nothing


class Reporter:
    """Sends what one DoFn has done so far; silent when nobody listens.

    Args:
        label: The phase, or the id of a step.
        phase: `transform` for a step; else the phase is the label.
    """

    def __init__(self, label: str, phase: str | None = None) -> None:
        self._phase = phase or label
        # A step may be called as a phase is: its rows are no rows read or loaded.
        self._label = f"step {label}" if phase and label in _PHASES else label
        self._socket: socket.socket | None = None
        self._port = 0
        self._rows = self._bytes = 0
        self._sent = 0.0

    def open(self, context: RunContext) -> None:
        if self._port == context.progress:
            return
        self.close()
        self._port = context.progress
        if self._port:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.connect(("127.0.0.1", self._port))

    def add(self, rows: int, size: int = 0) -> None:
        """Count rows and bytes done; sent at most five times a second."""
        self._rows += rows
        self._bytes += size
        if self._socket is not None and time.monotonic() - self._sent > _EVERY:
            self.flush()

    def flush(self, **total: int) -> None:
        """Send what is not sent yet; `total_rows` and `total_bytes` tell how much there is to do."""
        if self._socket is None:
            return
        message = {"label": self._label, "phase": self._phase, "rows": self._rows, "bytes": self._bytes, **total}
        self._rows = self._bytes = 0
        self._sent = time.monotonic()
        try:
            self._socket.send(json.dumps(message).encode())
        except OSError:
            # Nobody listens any more: progress is a courtesy.
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        if self._socket is not None:
            self.flush()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._port = 0


@dataclass
class Progress:
    """How far a run is.

    Args:
        rows: Rows done, by phase and by step; those of a bundle that is executed again are done again.
        bytes: Bytes read so far.
        total_rows: Rows to read, 0 when unknown.
        total_bytes: Bytes to read, 0 when unknown.
        phase: `prepare`, `extract`, `transform`, `load`, `commit`.
        started: `time.monotonic()` of the start.
    """

    rows: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    total_rows: int = 0
    total_bytes: int = 0
    phase: str = "prepare"
    started: float = field(default_factory=time.monotonic)

    @property
    def extracted(self) -> int:
        return self.rows.get("extract", 0)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Rows read a second."""
        return self.extracted / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds left by what is still to read: of files their bytes, else rows, which may be a guess; None when unknown."""
        if self.total_bytes:
            return max(0.0, self.seconds * (self.total_bytes / self.bytes - 1)) if self.bytes else None
        if not self.total_rows or not self.extracted:
            return None
        return max(0.0, (self.total_rows - self.extracted) / self.rate) if self.rate else None


class Receiver:
    """Takes the datagrams of one run in a thread of its own.

    Args:
        listener: Called with the progress after each change, from that thread.
    """

    def __init__(self, listener: Callable[[Progress], None]) -> None:
        self.progress = Progress()
        self._complained = False
        self._listener = listener
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.25)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._receive, name="progress", daemon=True)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            # The last message: what came before is still taken, and nobody waits for the timeout, which is a fifth of a small run.
            self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(timeout=2)
        self._socket.close()

    def _receive(self) -> None:
        while True:
            try:
                message = self._socket.recv(2048)
                if not message and self._stopped.is_set():
                    return
                self.take(json.loads(message))
            except TimeoutError:
                if self._stopped.is_set():
                    return
            except (OSError, ValueError, LookupError, TypeError):
                continue  # not one of ours: any program of this machine can send to the port
            self._tell()

    def _tell(self) -> None:
        try:
            self._listener(self.progress)
        except Exception as error:  # noqa: BLE001 - a caller's screen; the run is not about it
            if not self._complained:
                _LOG.warning("the listener of the progress failed: %s: %s", type(error).__name__, error)
            self._complained = True

    def take(self, message: dict[str, int | str]) -> None:
        """Add one message to the progress."""
        now, label = self.progress, str(message["label"])
        now.rows[label] = now.rows.get(label, 0) + int(message["rows"])
        if label == "extract":
            now.bytes += int(message["bytes"])
        # What there is to do is no more for being told again, by a bundle that is executed again.
        now.total_rows = max(now.total_rows, int(message.get("total_rows", 0)))
        now.total_bytes = max(now.total_bytes, int(message.get("total_bytes", 0)))
        # Workers report late and in any order: a phase that was reached is not left again. Prepare reports when it is done.
        reached = "extract" if message["phase"] == "prepare" else str(message["phase"])
        now.phase = max(now.phase, reached, key=_PHASES.index)
