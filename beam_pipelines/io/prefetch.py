"""Read ahead in a thread: a driver fetches, or a file is decoded, while the pipeline works. All of them let go of Python's lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")
_AHEAD = 2  # batches: one being taken, one ready; more only holds memory
_LOOK_SECONDS = 0.1  # how soon a thread that waits for room notices that nobody wants more


class _End:
    """Marks the end of the items, with the error that caused it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def prefetch(items: Callable[[], Iterator[T]], cancel: Callable[[], None] | None = None) -> Generator[T, None, None]:
    """Yield what `items()` yields, made in a thread of its own, a few ahead.

    The thread has ended when this generator has: after the last item, after an error (raised here, as it was there), and after `close()`.

    Args:
        items: Makes the iterator, in the thread.
        cancel: Called from here when the generator is closed early, to end a call that the thread is blocked in; None: no call blocks long.
    """
    ahead: queue.Queue[T | _End] = queue.Queue(_AHEAD)
    unwanted = threading.Event()

    def put(item: T | _End) -> bool:
        while not unwanted.is_set():
            try:
                ahead.put(item, timeout=_LOOK_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        error: BaseException | None = None
        made: Iterator[T] | None = None
        try:
            made = items()
            for item in made:
                if not put(item):
                    break
        except BaseException as raised:  # noqa: BLE001 - it is raised again, where the items are taken
            error = raised
        finally:
            close = getattr(made, "close", None)
            if close is not None:
                try:
                    close()
                except BaseException as raised:  # noqa: BLE001
                    error = error or raised
            put(_End(error))

    thread = threading.Thread(target=work, name="beam_pipelines-prefetch", daemon=True)
    thread.start()
    ended = False
    try:
        while True:
            item = ahead.get()
            if isinstance(item, _End):
                ended = True
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        unwanted.set()
        while not ended and thread.is_alive():
            # More than once: the first may come before the thread is in the call that it is meant to end.
            if cancel is not None:
                cancel()
            thread.join(_LOOK_SECONDS)
        thread.join()
