"""Async functions of a user, called for many rows at a time from code that is not async.

The event loop runs in a thread of its own: the caller's thread may have a loop already, as notebooks do. Nothing here waits for the user's
code without an end: what ends the loop (`sys.exit` in a task of its own) ends what waits for it, and what blocks it is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from beam_pipelines.errors import FatalError
from beam_pipelines.functions import UserFunction

__all__ = ["Concurrent", "Loop"]

_PATIENCE = 1.0  # seconds that code which does not end gets to end


class Concurrent:
    """An async function that is set up.

    Args:
        call: Coroutine function or async generator function of one row.
        limit: Calls under way at one time, at most.
        loop: That they run in.
    """

    def __init__(self, call: Callable[[Any], Any], limit: int, loop: Loop) -> None:
        self._call, self._limit, self._loop = call, limit, loop

    @classmethod
    @contextmanager
    def of(cls, code: UserFunction, limit: int) -> Iterator[Concurrent]:
        """Set up the code of a user; a class is made and entered (`__aenter__`, else `__enter__`) in the loop, and left there."""
        loop = Loop(code.name)
        try:
            if not inspect.isclass(code.code):
                yield cls(code.code, limit, loop)
                return
            made: Any = code.code()
            entered = loop.run(_entered(made))
            try:
                yield cls(made if entered is None else entered, limit, loop)
            finally:
                loop.run(_left(made))
        finally:
            loop.close()

    def call(self, rows: Sequence[Any]) -> list[Any]:
        """Call the function for each row, `limit` at a time.

        Returns:
            For each row what the call gave (a list of what an async generator gave), or the exception that it raised.

        Raises:
            FatalError: The code ended the loop.
        """
        answers: list[Any] = [asyncio.CancelledError("another row's call cancelled it") for _ in rows]
        self._loop.run(self._called(rows, answers))
        return answers

    async def _called(self, rows: Sequence[Any], answers: list[Any]) -> None:
        waiting = iter(enumerate(rows))

        async def work() -> None:
            for position, row in waiting:
                # A task a row: code that cancels its own has cancelled this row.
                task = asyncio.ensure_future(_told(self._one(row)))
                await asyncio.wait([task])
                answers[position] = asyncio.CancelledError() if task.cancelled() else task.result()

        await asyncio.gather(*(work() for _ in range(min(self._limit, len(rows)))), return_exceptions=True)

    async def _one(self, row: Any) -> Any:
        given = self._call(row)
        return [one async for one in given] if inspect.isasyncgen(given) else await given


class Loop:
    """An event loop in a thread.

    Args:
        name: Of the code that runs in it, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._threads = ThreadPoolExecutor(thread_name_prefix="async functions")
        self._loop.set_default_executor(self._threads)
        self._waited: set[Future[Any]] = set()
        self._ended: FatalError | None = None
        self._thread = threading.Thread(target=self._work, name="async functions", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        why = "it stopped the event loop"
        try:
            self._loop.run_forever()
        except BaseException as error:  # noqa: BLE001 (what leaves the loop nobody else sees)
            why = f"it raised {type(error).__name__} in a task of its own"
        self._ended = FatalError(f"{self._name} ended the event loop that its calls run in: {why}", code="function-failed")
        for future in list(self._waited):
            with contextlib.suppress(Exception):  # it may be done by now
                future.set_exception(self._ended)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end; what it raises, `SystemExit` too, is raised here and does not end the loop."""
        future = asyncio.run_coroutine_threadsafe(_told(work), self._loop)
        self._waited.add(future)
        try:
            if self._ended is not None:
                raise self._ended
            answer = future.result()
        finally:
            self._waited.discard(future)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """End the loop; code that does not let go within a second is left to the end of the process."""
        if self._ended is None:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                asyncio.run_coroutine_threadsafe(_cleared(self._loop), self._loop).result(_PATIENCE)
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._thread.join(_PATIENCE)
        if not self._thread.is_alive():
            self._loop.close()


async def _told(work: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine raises: of some exceptions (SystemExit) the loop would take notice itself."""
    try:
        return await work
    except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
        return error


async def _cleared(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is still under way, and end generators that were left in the middle."""
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_PATIENCE / 2)  # else Python complains of tasks that were destroyed while pending
    await loop.shutdown_asyncgens()


async def _entered(made: Any) -> Any:
    if hasattr(made, "__aenter__"):
        return await made.__aenter__()
    return made.__enter__() if hasattr(made, "__enter__") else None


async def _left(made: Any) -> None:
    if hasattr(made, "__aexit__"):
        await made.__aexit__(None, None, None)
    elif hasattr(made, "__exit__"):
        made.__exit__(None, None, None)
