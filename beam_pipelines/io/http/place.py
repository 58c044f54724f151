"""Where an HTTP API is and how it lets us in: a connection made into a base URL and headers."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.url import DatabaseUrl

__all__ = ["HttpPlace"]

_KEYS = ("url", "user", "password", "token", "headers")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_OURS = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding")
_EXAMPLE = "{url: https://api.example.com, token: ${env:API_TOKEN}}"


@dataclass(frozen=True, repr=False)
class HttpPlace:
    """Where calls go; holds secrets, and is never pickled or shown.

    Args:
        name: Of the connection.
        base: Scheme, host, port and path, without a slash at the end.
        query: What each call has in its query, percent-encoded; empty: nothing.
        headers: Of each call.
        title: What messages call it.
    """

    name: str
    base: str
    query: str
    headers: Mapping[str, str]
    title: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or f"connection {self.name!r}")

    def __repr__(self) -> str:
        return f"HttpPlace({self.name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"connection {self.name!r} holds secrets and is never pickled: pass its name, and look it up in the worker")

    @classmethod
    def of(cls, connection: Connection) -> HttpPlace:
        """Resolve a connection.

        Raises:
            PlanError: It is no HTTP API.
            SpecError: It cannot be understood, or a secret is missing.
        """
        name = connection.name
        behind = connection.kind == "url" and connection.system in ("http", "https")  # a reference that stands for a URL
        if connection.kind != "http" and not behind:
            what = f"expected a connection to an HTTP API, such as {_EXAMPLE}, got {connection.kind}"
            raise PlanError(f"connection {name!r}: {what}", code="connection-invalid")
        settings = connection.settings
        unknown = [key for key in settings if key not in _KEYS]
        if unknown:
            raise _invalid(name, f"unknown key {str(unknown[0])!r}; expected {', '.join(_KEYS)}")
        url = DatabaseUrl.parse(connection.url)
        if url is None or not re.fullmatch(r"[^/?#@\s\\]+(/[^?#\s\\]*)?", url.rest):
            raise _invalid(name, f"expected a URL of http or https with a host, such as {_EXAMPLE}")
        base = f"{url.scheme}://{url.rest.rstrip('/')}"
        if not _understood(base):
            raise _invalid(name, "expected a URL whose host and port can be understood; a port is at most 65535")
        headers = _headers(name, settings.get("headers") or {})
        if any(key.lower() == "authorization" for key in headers) and (settings.get("token") is not None or url.user or url.password):
            raise _invalid(name, "expected a token, user and password, or a header 'Authorization', got two of them")
        if settings.get("token") is not None:
            headers["Authorization"] = f"Bearer {settings['token']}"
        if url.user or url.password:
            if settings.get("token") is not None:
                raise _invalid(name, "expected a token, or user and password, got both")
            pair = f"{url.user}:{url.password or ''}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        for value in headers.values():
            if not _sendable(value):
                raise _invalid(name, "expected token and headers without line breaks and control characters")
        return cls(name, base, url.query.partition("#")[0], headers)

    @classmethod
    def at(cls, endpoint: str, token: str | None, title: str) -> HttpPlace:
        """The place of a URL that stands in a definition.

        Args:
            endpoint: URL, without credentials; what follows `#` is never sent.
            token: Bearer token, None: there is none.
            title: What messages call it.

        Raises:
            SpecError: URL or token cannot be used; shows neither.
        """
        from yarl import URL

        try:
            url = URL(endpoint, encoded=endpoint.isascii())  # as it was written: `%2F` may not be what `/` is
            known = bool(url.host) and url.port is not None
        except ValueError:
            known = False
        if not known:
            raise SpecError("expected a URL whose host and port can be understood; a port is at most 65535", code="connection-invalid")
        if token is not None and (not token.strip() or not _sendable(token)):
            raise SpecError(
                "expected a token without line breaks and control characters, got none that can be sent", code="connection-invalid"
            )
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return cls(title, str(url.with_query(None).with_fragment(None)), url.raw_query_string, headers, title)


def _sendable(value: str) -> bool:
    return re.fullmatch(r"[\x20-\x7e\x80-\xff\t]*", value) is not None


def _understood(base: str) -> bool:
    from yarl import URL  # as aiohttp does it; a plan without an API does not pay for it

    try:
        return bool(URL(base).host)
    except ValueError:
        return False


def _headers(name: str, given: object) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise _invalid(name, "expected names with a text each as 'headers', such as {X-Api-Key: ${env:API_KEY}}")
    for key, value in given.items():
        if not _HEADER.fullmatch(str(key)) or isinstance(value, (Mapping, list)) or value is None:
            raise _invalid(name, "expected names with a text each as 'headers', such as {X-Api-Key: ${env:API_KEY}}")
        if str(key).lower() in _OURS:
            raise _invalid(name, f"the header {str(key)!r} is set by the client itself")
    if len({str(key).lower() for key in given}) < len(given):
        raise _invalid(name, "expected each of 'headers' once, got two whose names differ in case alone")
    return {str(key): str(value) for key, value in given.items()}


def _invalid(name: str, message: str) -> SpecError:
    return SpecError(f"connection {name!r}: {message}", code="connection-invalid")
