"""Work on the next batch in a thread, while the pipeline takes the one before further: Arrow lets go of Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")
_AHEAD = 2  # one being worked on, one ready; more only holds memory


class Ahead(Generic[T]):
    """Pieces of work, carried out one after the other in a thread of its own; what they give comes out in their order.

    What a piece raises is raised where its result would come out.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[T]] = deque()

    def put(self, work: Callable[[], T]) -> Iterator[T]:
        """Have a piece of work done; yields what is ready by then, at most one a call."""
        self._waiting.append(self.begin(work))
        if len(self._waiting) > _AHEAD:
            yield self._waiting.popleft().result()

    def begin(self, work: Callable[[], T]) -> Future[T]:
        """Have a piece of work done behind the others, for whoever asks for it."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="beam_pipelines-ahead")
        return self._thread.submit(work)

    def rest(self) -> Iterator[T]:
        """Yield what all others give."""
        while self._waiting:
            yield self._waiting.popleft().result()

    def end(self) -> None:
        """Let the thread end once it has done what was begun."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)
        self._thread = None

    def leave(self) -> None:
        """Drop what was not taken, and wait for what is being worked on."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._thread = None
        self._waiting.clear()
