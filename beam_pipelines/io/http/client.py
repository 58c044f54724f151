"""Calls of an HTTP API: several under way at a time, each bounded in time and size, tried again where that may help.

An answer is JSON (`ask`), or nothing of it counts but its status (`send`).
No message holds a URL, a header, a body or a value of a row: of a call that failed it says what the server did.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random
from yarl import URL

from beam_pipelines import __version__
from beam_pipelines.errors import FatalError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.http.json import Json, JsonError, parsed
from beam_pipelines.io.http.names import resolver
from beam_pipelines.io.http.pace import Pace
from beam_pipelines.io.http.place import HttpPlace

__all__ = ["Call", "Client", "Limits", "Read", "Refusal", "Sent", "checked"]

_NOT_KNOWN = (204, 404)
_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # and every other 5xx; RFC 9110, section 15, and RFC 8470 (425)
_FOR_ALL = (429, 503)  # whose Retry-After is about the service, not about what was asked for
_REDIRECTS = (301, 302, 303, 307, 308)
_HOPS = 5
_LONGEST_WAIT = 60.0  # seconds of Retry-After that are waited for: longer, and the run is better begun again
_CHUNK = 1 << 16
_HEARD = 1 << 16  # bytes of an answer that nobody wants, read so that its connection can be used again
_PATIENCE = 1.0  # seconds for that
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_LOOKS = (0.0, 1.0, 2.0, 4.0, 8.0)  # seconds before each look whether a server that gave no answer is there: a restart takes as long
_BACK_OFF = wait_exponential(multiplier=0.25, max=10) + wait_random(0, 0.25)  # seconds: 0.25, 0.5, 1, 2, ..., each with up to 0.25 more


class Call(Protocol):
    """What is asked, below the URL of the connection."""

    @property
    def method(self) -> str:
        """`GET` or `POST`."""

    @property
    def target(self) -> str:
        """Path and query, percent-encoded."""

    @property
    def body(self) -> bytes | None:
        """JSON."""


class Sent(Call, Protocol):
    """What is sent, and not asked."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Beside those of any call; empty: none."""


@dataclass(frozen=True)
class Limits:
    """What bounds the calls of a client.

    Args:
        timeout: Seconds from the beginning of a try to the last byte of its answer.
        retries: Tries after the first one.
        interval: Seconds between the beginnings of two tries.
        concurrency: Tries under way at one time.
        size: Bytes of an answer.
    """

    timeout: float = 5.0
    retries: int = 3
    interval: float = 0.0
    concurrency: int = 16
    size: int = 1 << 20


@dataclass(frozen=True)
class Refusal:
    """A call that failed for good.

    Args:
        message: Why.
        status: What the server answered; None: nothing that counts as an answer.
        passing: The same call may fare better another time.
    """

    message: str
    status: int | None = field(default=None, compare=False)
    passing: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    retry_after: float | None = None


AnyCall = TypeVar("AnyCall", bound=Call)
AnySent = TypeVar("AnySent", bound=Sent)
Read = Callable[[int, Json], Any]
"""Gives what is kept of an answer; called with the position of its call as soon as it is there, so that not all are held at once."""


class _AgainError(Exception):
    """A try that failed in a way that the next one may not.

    Args:
        message: What the server did.
        status: That it answered; None: it gave no answer.
        wait: Seconds that it wants to be left alone.
    """

    def __init__(self, message: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(message)
        self.status, self.wait = status, wait


class _RefusedError(Exception):
    """A call that it is no use to try again, although the server is there.

    Args:
        message: What the server did.
        passing: It may help later, when the run is begun again.
    """

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


async def _passed_over(response: aiohttp.ClientResponse) -> None:
    """Read what nobody wants to know, if that is little: its connection can be used again then. Its status has told how the call fared."""
    with contextlib.suppress(aiohttp.ClientError, OSError, asyncio.TimeoutError):
        if (response.content_length or 0) <= _HEARD:
            await asyncio.wait_for(response.content.read(_HEARD), _PATIENCE)


def _value(position: int, answer: Json) -> Any:
    del position
    return answer.value


class Client:
    """A client of one API; made, used and closed in one event loop.

    Args:
        place: Where the API is.
        limits: What bounds the calls.
        sleep: How it waits, for its turn and between tries.
    """

    def __init__(self, place: HttpPlace, limits: Limits, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._place, self._limits, self._sleep = place, limits, sleep
        self._origin = URL(place.base).origin()
        self._pace = Pace(limits.interval)
        self._answers = 0  # of any status
        self._look = asyncio.Lock()
        self._under_way = asyncio.Semaphore(limits.concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._fatal: FatalError | None = None

    async def open(self) -> Client:
        """Make the pool of connections; in the loop that uses it."""
        given = {name.lower() for name in self._place.headers}
        ours = {"Accept": "application/json", "User-Agent": f"beam-pipelines/{__version__}"}
        headers = {**{name: value for name, value in ours.items() if name.lower() not in given}, **self._place.headers}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._limits.concurrency, resolver=resolver()),
            # Compressed, a small answer could become a large one before it is counted.
            headers={**headers, "Accept-Encoding": "identity"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),  # one row's answer must not change what the next one asks
            timeout=aiohttp.ClientTimeout(total=None),  # `_exchanged` is bounded as a whole
        )
        return self

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, calls: Sequence[Call], read: Read = _value) -> list[Any]:
        """Carry calls out, as many at a time as the limits say.

        Args:
            calls: What is asked.
            read: Gives what is kept of an answer; None (`Json.of(None)`) is answered where nothing is known (404, 204).

        Returns:
            For each call what `read` gave, or a `Refusal`.

        Raises:
            FatalError: No other call would fare better. `authentication-failed`: the API does not let us in (401). `unreachable`: it is
                not there, or wants to be left alone for long.
        """
        answers: list[Any] = [None] * len(calls)

        async def asked(position: int, call: Call) -> None:
            answers[position] = await self._asked(position, call, read)

        await self._each(calls, min(self._limits.concurrency, len(calls)), asked)
        return answers

    async def send(self, calls: Iterable[AnySent], refused: Callable[[AnySent, Refusal], None]) -> None:
        """Carry calls out whose answer is of no interest, as many at a time as the limits say.

        No other request is made than these: nothing that may cost looks whether a server is there. A redirection is followed where it
        keeps method and body (307, 308).

        Args:
            calls: What is sent; each is taken when there is room for it, so that not all are held at once.
            refused: Called with each call that failed for good. What it raises ends the others.

        Raises:
            FatalError: As `ask`.
        """

        async def sent(position: int, call: AnySent) -> None:
            del position
            answer = await self._answered(call, call.headers, heard=False)
            if isinstance(answer, Refusal):
                refused(call, answer)
            elif not 200 <= answer.status < 300:
                refused(call, Refusal(f"the server answered {answer.status}", answer.status))

        await self._each(calls, self._limits.concurrency, sent)

    async def _each(self, calls: Iterable[AnyCall], most: int, one: Callable[[int, AnyCall], Awaitable[None]]) -> None:
        """Do something with each call; what it raises ends the others."""
        waiting = iter(enumerate(calls))

        async def work() -> None:
            for position, call in waiting:
                await one(position, call)

        workers = [asyncio.ensure_future(work()) for _ in range(most)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def check(self) -> str:
        """Ask for the connection's own URL, once, and say what answered.

        Raises:
            FatalError: Nothing did, or it does not let us in.
        """
        try:
            answer = await self._exchanged("GET", self._url(""), None)
        except (_AgainError, _RefusedError) as error:
            raise FatalError(f"{self._place.title}: {error}", code="unreachable") from None
        if answer.status == 401:
            raise self._locked_out()
        return f"HTTP API, answered {answer.status}"

    async def _asked(self, position: int, call: Call, read: Read) -> Any:
        answer = await self._answered(call, _NO_HEADERS, heard=True)
        if isinstance(answer, Refusal):
            return answer
        if answer.status in _NOT_KNOWN:
            return read(position, Json.of(None))
        if not 200 <= answer.status < 300:
            return Refusal(f"the server answered {answer.status}", answer.status)
        try:
            return read(position, parsed(answer.body))
        except JsonError as error:
            return Refusal(str(error))

    async def _answered(self, call: Call, headers: Mapping[str, str], *, heard: bool) -> _Answer | Refusal:
        """Try a call as often as may help.

        Args:
            call: The call.
            headers: Of it alone.
            heard: What is answered is of interest; and the server may be asked whether it is there.
        """
        if self._fatal is not None:
            raise self._fatal
        tries = AsyncRetrying(
            stop=stop_after_attempt(self._limits.retries + 1),
            wait=self._wait,
            retry=retry_if_exception_type(_AgainError),
            reraise=True,
            sleep=self._sleep,
        )
        try:
            answer: _Answer = await tries(self._tried, call, headers, heard)
        except _AgainError as error:
            times = self._limits.retries + 1
            why = f"{error}" + (f", {times} times" if times > 1 else "")
            if error.status is None and heard:
                await self._see_that_it_is_there(why)
            return Refusal(why, error.status, passing=True)
        except _RefusedError as error:
            return Refusal(str(error), passing=error.passing)
        if answer.status == 401:
            raise self._ended(self._locked_out())
        return answer

    async def _see_that_it_is_there(self, why: str) -> None:
        """Tell a row that the server does not answer from a server that does not: ask for the connection's own URL.

        Raises:
            FatalError: `unreachable`: there was no answer to that, nor to any other call.
        """
        answers = self._answers
        async with self._look:
            for wait in _LOOKS:
                if wait:
                    await self._sleep(wait)
                if self._answers != answers:
                    return
                if self._fatal is not None:
                    raise self._fatal
                try:
                    await self._exchanged("GET", self._url(""), None)
                except _AgainError:
                    continue
                except _RefusedError:
                    return
        message = f"{self._place.title}: {why}, nor did it answer when it was asked for the connection's own URL"
        raise self._ended(FatalError(message, code="unreachable"))

    def _ended(self, error: FatalError) -> FatalError:
        """Note that no call is to be made any more."""
        self._fatal = self._fatal or error
        return self._fatal

    def _locked_out(self) -> FatalError:
        message = f"{self._place.title}: the API answered 401: it wants another token, or another user and password"
        return FatalError(message, code="authentication-failed")

    async def _tried(self, call: Call, headers: Mapping[str, str], heard: bool) -> _Answer:
        """Try once, in its turn."""
        if self._fatal is not None:  # before Python 3.12 `wait_for` may lose the cancellation that would say so
            raise self._fatal
        async with self._under_way:
            await self._turn()
            answer = await self._exchanged(call.method, self._url(call.target), call.body, headers, heard=heard)
        status, wait = answer.status, answer.retry_after
        if status not in _AGAIN and status < 500:
            return answer
        if wait is not None and wait > _LONGEST_WAIT:
            said = f"the server answered {status}, and wants to be asked again only after {wait:.0f} s"
            if status not in _FOR_ALL:
                raise _RefusedError(said, passing=True)
            raise self._ended(FatalError(f"{self._place.title}: {said}", code="unreachable"))
        if wait is not None:
            self._pace.rest(wait)
        raise _AgainError(f"the server answered {status}", status, wait)

    async def _turn(self) -> None:
        """Wait for a turn; when the server asks to be left alone meanwhile, for another one."""
        while wait := self._pace.turn():
            rests = self._pace.rests
            await self._sleep(wait)
            if self._pace.rests == rests:
                return

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds before the next try: what the server asked for, else more each time."""
        error = state.outcome.exception() if state.outcome is not None else None
        if not isinstance(error, _AgainError):
            return _BACK_OFF(state)
        if error.wait is not None:
            return error.wait
        wait = _BACK_OFF(state)
        if error.status == 429:
            self._pace.rest(wait)  # too many calls: it is about all of them
        return wait

    def _url(self, target: str) -> URL:
        path, _, query = target.partition("?")
        whole = "&".join(part for part in (self._place.query, query) if part)
        # Encoded already: another pass would take `%2F` in a value for what it stands for.
        return URL(self._place.base + path + (f"?{whole}" if whole else ""), encoded=True)

    async def _exchanged(
        self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str] = _NO_HEADERS, *, heard: bool = True
    ) -> _Answer:
        try:
            return await asyncio.wait_for(self._followed(method, url, body, headers, heard), self._limits.timeout)
        except asyncio.TimeoutError:
            raise _AgainError(f"the server did not answer within {self._limits.timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _AgainError(f"the server could not be asked ({type(error).__name__})") from None
        except ValueError as error:
            # Of a Location or a header that aiohttp cannot read.
            raise _RefusedError(f"the answer cannot be read ({type(error).__name__})") from None

    async def _followed(self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str], heard: bool) -> _Answer:
        """Ask, and go where the server sends us as long as that is the server itself: the token is for no one else."""
        for _ in range(_HOPS + 1):
            answer, location = await self._sent(method, url, body, headers, heard)
            if answer.status not in _REDIRECTS or location is None:
                return answer
            url = url.join(URL(location))
            if url.scheme not in ("http", "https") or url.origin() != self._origin:
                raise _RefusedError(f"the server answered {answer.status}, and sends us to another host")
            if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):
                if not heard:  # what is to be sent would not be, and a page that says so answers 200
                    raise _RefusedError(f"the server answered {answer.status}, and wants to be asked for a page, not sent anything")
                method, body = "GET", None
        raise _RefusedError(f"the server sends us on more than {_HOPS} times")

    async def _sent(self, method: str, url: URL, body: bytes | None, more: Mapping[str, str], heard: bool) -> tuple[_Answer, str | None]:
        assert self._session is not None
        headers = {**more, "Content-Type": "application/json"} if body is not None else dict(more)
        async with self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
            self._answers += 1
            # What an error says is of no use to us, and may be long.
            wanted = heard and 200 <= response.status < 300
            content = await self._content(response) if wanted else b""
            if not heard:
                await _passed_over(response)
            after = _retry_after(response.headers.get("Retry-After"))
            return _Answer(response.status, content, after), response.headers.get("Location")

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._limits.size
        parts, size = [], 0
        if (response.content_length or 0) <= limit:
            async for part in response.content.iter_chunked(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > limit:
                    break
            else:
                return b"".join(parts)
        response.close()  # the rest is not wanted
        raise _RefusedError(f"the answer is larger than {limit} bytes (maxResponseSize)")


def checked(connection: Connection) -> str:
    """Ask an API for the connection's own URL, and say what answered; not within an event loop.

    Raises:
        FatalError: Nothing did, or it does not let us in.
        SpecError: The connection cannot be used.
    """

    async def asked() -> str:
        client = await Client(HttpPlace.of(connection), Limits()).open()
        try:
            return await client.check()
        finally:
            await client.close()

    return asyncio.run(asked())


def _retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, section 10.2.3), None where it says nothing that can be read."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
    return None
