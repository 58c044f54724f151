"""The heartbeat of a stream: a thread that says every minute that it runs, however long a drain takes."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

__all__ = ["EVERY", "beating"]

_LOG = logging.getLogger(__name__)
EVERY = 60.0  # seconds: no clock hour in which a stream is at work may pass without a word of it


@contextlib.contextmanager
def beating(beat: Callable[[], object], every: float = EVERY) -> Iterator[None]:
    """Call something again and again while the block runs, from a thread of its own.

    Args:
        beat: What it raises is logged, and it is called again the next time.
        every: Seconds between two calls; the first one is that long after the beginning.
    """
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(every):
            try:
                beat()
            except Exception as error:  # noqa: BLE001 - the store may be away in more ways than one; the stream goes on
                _LOG.warning("it is not noted that the stream runs, and tried again in %.0f s: %s", every, error)

    thread = threading.Thread(target=work, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
