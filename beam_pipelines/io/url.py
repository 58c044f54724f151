"""Database URLs as people write them: taken apart, put right, and shown without secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from beam_pipelines.io.secret import HIDDEN

__all__ = ["EMBEDDED", "DatabaseUrl", "file_path", "is_secret_name", "system_of_scheme"]

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*):(//)?(.*)$", re.DOTALL)
_SECRET_NAME = re.compile(
    r"pass|pwd|secret|token|credential|api_?key|access_?key|private_?key|sasl\.jaas|auth\.user\.info|\bkey\b", re.IGNORECASE
)
# `host/db?name=` or `user:word@host/db?name=`: what follows is an option's value.
_IN_QUERY = re.compile(r"^([^@?]*/[^@?]*|.*@[^@?]*)\?[\w.\-]+=", re.DOTALL)
EMBEDDED = {".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db3": "sqlite", ".duckdb": "duckdb", ".ddb": "duckdb"}


def is_secret_name(name: str) -> bool:
    """Whether a setting of this name holds a secret (`password`, `secretKey`, `sasl.password`, ...)."""
    return bool(_SECRET_NAME.search(name))


def system_of_scheme(scheme: str) -> str:
    """The system a URL's scheme names: `postgres` and `postgresql+psycopg` are `postgresql`; others are their dialect's name."""
    dialect = scheme.lower().partition("+")[0]
    return "postgresql" if dialect == "postgres" else dialect


def file_path(text: str, folder: Path) -> Path:
    """The path a `file:` URL names (`file:///a/b`, `file:a/b`, `file://./a/b`), relative ones within `folder`."""
    rest = re.sub(r"^file:(//(localhost(?=/))?)?", "", text, flags=re.IGNORECASE)
    return folder / Path(unquote(rest)).expanduser()


@dataclass(frozen=True)
class DatabaseUrl:
    """The parts of a URL, user and password as they are (not percent-encoded).

    Args:
        scheme: As written, lower case, such as `postgresql+psycopg`.
        user: Empty when there is none.
        password: None when there is none.
        rest: What follows the credentials up to the query: `host:5432/crm`, or a path with its leading slash.
        query: What follows the question mark, as written.
    """

    scheme: str
    user: str = ""
    password: str | None = None
    rest: str = ""
    query: str = ""

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.display()!r})"

    @property
    def system(self) -> str:
        return system_of_scheme(self.scheme)

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl | None:
        """Take a URL apart; None when it has no scheme.

        A password may hold `@`, `/`, `?`, `#` and `:` unencoded: what stands before the last `@` that a host can follow is the credentials.
        """
        found = _SCHEME.match(text.strip())
        if found is None or found.group(2) is None:
            return None
        scheme, body = found.group(1).lower(), found.group(3)
        user, password = "", None
        credentials, at, after = _split_credentials(body)
        if at and system_of_scheme(scheme) not in ("sqlite", "duckdb"):
            body = after
            name, colon, word = credentials.partition(":")
            user, password = unquote(name), unquote(word) if colon else None
        rest, _, query = body.partition("?")
        return cls(scheme, user, password, rest, query)

    def with_credentials(self, user: str | None, password: str | None) -> DatabaseUrl:
        """The same URL with user and password that were given beside it."""
        return replace(self, user=self.user if user is None else user, password=self.password if password is None else password)

    def text(self, scheme: str | None = None) -> str:
        """The whole URL, credentials percent-encoded, for a driver."""
        credentials = ""
        if self.user or self.password is not None:
            word = "" if self.password is None else ":" + quote(self.password, safe="")
            credentials = f"{quote(self.user, safe='')}{word}@"
        return f"{scheme or self.scheme}://{credentials}{self.rest}" + (f"?{self.query}" if self.query else "")

    def display(self) -> str:
        """The URL for people: no password, and no value of a query option that may hold a secret."""
        credentials = f"{quote(self.user, safe='')}@" if self.user else ""
        shown = [(name, HIDDEN if is_secret_name(name) else value) for name, value in parse_qsl(self.query, keep_blank_values=True)]
        return f"{self.scheme}://{credentials}{self.rest}" + (f"?{urlencode(shown, safe='*/:,.')}" if shown else "")

    def secrets(self) -> list[str]:
        """What must not be shown: the password and secret query options."""
        hidden = [value for name, value in parse_qsl(self.query) if is_secret_name(name)]
        return [*([self.password] if self.password else []), *hidden]


def _split_credentials(body: str) -> tuple[str, bool, str]:
    """Split `user:pass@host/db?x=a@b` at the last `@` that leaves a host behind it and is not within the query's values."""
    positions = [found.start() for found in re.finditer("@", body)]
    for position in reversed(positions):
        before, after = body[:position], body[position + 1 :]
        if not _IN_QUERY.match(before):
            return before, True, after
    return "", False, body
