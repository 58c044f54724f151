"""Async functions of a user, called for many rows at a time from code that is not async.

The event loop runs in a thread of its own: the caller's thread may have a loop already, as notebooks do.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from beam_pipelines.functions import UserFunction

__all__ = ["Concurrent"]

_T = TypeVar("_T")


class Concurrent:
    """An async function that is set up.

    Args:
        call: Coroutine function or async generator function of one row.
        limit: Calls under way at one time, at most.
        loop: That they run in.
    """

    def __init__(self, call: Callable[[Any], Any], limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self._call, self._limit, self._loop = call, limit, loop

    @classmethod
    @contextmanager
    def of(cls, code: UserFunction, limit: int) -> Iterator[Concurrent]:
        """Set up the code of a user; a class is made and entered (`__aenter__`, else `__enter__`) in the loop, and left there."""
        with _loop() as loop:
            if not inspect.isclass(code.code):
                yield cls(code.code, limit, loop)
                return
            made: Any = code.code()
            entered = _run(loop, _entered(made))
            try:
                yield cls(made if entered is None else entered, limit, loop)
            finally:
                _run(loop, _left(made))

    def call(self, rows: Sequence[Any]) -> list[Any]:
        """Call the function for each row, `limit` at a time.

        Returns:
            For each row what the call gave (a list of what an async generator gave), or the exception that it raised.
        """
        return _run(self._loop, self._called(rows))

    async def _called(self, rows: Sequence[Any]) -> list[Any]:
        answers: list[Any] = [None] * len(rows)
        waiting = iter(enumerate(rows))

        async def work() -> None:
            for position, row in waiting:
                try:
                    answers[position] = await self._one(row)
                except BaseException as error:  # noqa: BLE001 (the caller raises it again, where its row is known; SystemExit would end the loop)
                    answers[position] = error

        await asyncio.gather(*(work() for _ in range(min(self._limit, len(rows)))))
        return answers

    async def _one(self, row: Any) -> Any:
        given = self._call(row)
        return [one async for one in given] if inspect.isasyncgen(given) else await given


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="async functions", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        _run(loop, loop.shutdown_asyncgens())
        _run(loop, loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()


async def _entered(made: Any) -> Any:
    if hasattr(made, "__aenter__"):
        return await made.__aenter__()
    return made.__enter__() if hasattr(made, "__enter__") else None


async def _left(made: Any) -> None:
    if hasattr(made, "__aexit__"):
        await made.__aexit__(None, None, None)
    elif hasattr(made, "__exit__"):
        made.__exit__(None, None, None)
