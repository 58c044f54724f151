"""An HTTP API on this machine, for tests: it answers as it is told, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Api", "Asked", "Reply", "serving"]


@dataclass(frozen=True)
class Asked:
    """One request.

    Args:
        method: `GET` or `POST`.
        target: Path and query as they were sent.
        headers: By name in lower case.
        body: JSON, None: there was none.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True)
class Reply:
    """What is answered.

    Args:
        status: HTTP status.
        body: JSON, or bytes as they are.
        headers: Beside those of any answer.
        hang: Send nothing until the server ends.
        drip: Send the headers, and then a byte now and again until the server ends.
        chunked: The body is written in chunks already, so its length is not said.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    drip: bool = False
    chunked: bool = False


class Api:
    """A server that runs.

    Args:
        answer: Gives the reply to a request.
    """

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.most = 0  # requests under way at one time
        self._now = 0
        self._lock = threading.Lock()
        self.ended = threading.Event()
        api = self

        class Handler(_Handler):
            served = api

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def targets(self) -> Counter[str]:
        """How often each path and query was asked for."""
        return Counter(asked.target for asked in self.asked)

    def close(self) -> None:
        """Let go of what hangs, and end."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def noted(self, asked: Asked) -> Iterator[None]:
        """Remember a request while it is answered."""
        with self._lock:
            self.asked.append(asked)
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1


class _Handler(BaseHTTPRequestHandler):
    served: Api
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length) if length else b""
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, json.loads(content) if content else None)
        with self.served.noted(asked), contextlib.suppress(OSError):  # a client that gave up
            self._reply(self.served.answer(asked))

    do_POST = do_GET  # noqa: N815 (the library's name)

    def _reply(self, reply: Reply) -> None:
        if reply.hang:
            self.served.ended.wait()
            self.close_connection = True
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if not reply.chunked:
            self.send_header("Content-Length", str(len(content) + (1000 if reply.drip else 0)))
        self.end_headers()
        self.wfile.write(content)
        while reply.drip and not self.served.ended.wait(0.01):
            self.wfile.write(b" ")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        """Nothing is logged."""


@contextmanager
def serving(answer: Callable[[Asked], Reply]) -> Iterator[Api]:
    """Run a server while the block runs.

    Args:
        answer: Gives the reply to a request; may be exchanged (`api.answer = ...`) at any time.
    """
    api = Api(answer)
    try:
        yield api
    finally:
        api.close()
