"""Take from an iterator in a thread of its own, while what came before is worked on: librdkafka and Arrow let go of Python's lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")
_AHEAD = 2  # items that are ready; more only holds memory


class _Ended:
    """The iterator has no more; `error` is what it raised, if it did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Generator[T, None, None], most: int = _AHEAD) -> Generator[T, None, None]:
    """Yield what a generator gives, which runs in a thread; what it raises is raised where the next item would come out.

    When the taker goes away, the generator is closed in its thread before this returns.

    Args:
        items: Begun and closed in the thread alone.
        most: Items that are held ready at most.
    """
    ready: queue.Queue[T | _Ended] = queue.Queue()
    room, left = threading.Semaphore(most), threading.Event()

    def take() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                ready.put(item)
                room.acquire()
                if left.is_set():
                    break
        except BaseException as raised:  # noqa: BLE001 - it is raised where the item is waited for
            error = raised
        finally:
            try:
                items.close()
            except BaseException as raised:  # noqa: BLE001
                error = error or raised
            ready.put(_Ended(error))

    thread = threading.Thread(target=take, name="beam_pipelines-kafka-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _Ended):
            room.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        room.release()
        thread.join()
