"""Names of hosts, looked up without holding up the end of the process."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import Any

from aiohttp.resolver import ThreadedResolver

__all__ = ["resolver"]


def resolver() -> ThreadedResolver:
    """Return what asks the system for the address of a host.

    A look-up cannot be broken off. The threads of an executor are waited for when Python ends, so a name server that hangs would keep the
    process; a daemon's are not.
    """
    return ThreadedResolver(loop=_LookUps())  # type: ignore[arg-type]  # it is asked for nothing else


class _LookUps:
    """What aiohttp uses of a loop to look a name up; one that is under way is waited for, and not begun again."""

    def __init__(self) -> None:
        self._under_way: dict[Any, Future[Any]] = {}

    async def getaddrinfo(self, host: str, port: int, **more: Any) -> Any:
        key = (host, port, *sorted(more.items()))
        future = self._under_way.get(key)
        if future is None or future.done():
            future = self._under_way[key] = _in_daemon(socket.getaddrinfo, host, port, **more)
        return await asyncio.wrap_future(future)

    async def getnameinfo(self, address: Any, flags: int) -> Any:
        return await asyncio.wrap_future(_in_daemon(socket.getnameinfo, address, flags))


def _in_daemon(work: Any, *given: Any, **more: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()  # who stops waiting does not stop it

    def done() -> None:
        try:
            future.set_result(work(*given, **more))
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            future.set_exception(error)

    threading.Thread(target=done, name="look-up of a host", daemon=True).start()
    return future
