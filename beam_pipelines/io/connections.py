"""Connections by name: the connections file, then the environment (contracts, section 7).

    crm-database: postgresql://crm:${env:CRM_PASSWORD}@db.example.com/crm
    analytics-warehouse: warehouse.duckdb
    incoming: {path: ./incoming}

A value is a URL, a path of a database file, or a mapping: `{url, user, password}` for a database, `{path}`, `{url: file:///...}`,
`{endpoint, accessKey, secretKey}`, `{url: s3://..., region}` or `{url: gs://..., credentials}` for a bucket, `{bootstrap.servers: ...}` for
Kafka. Relative paths are relative to the connections file (in a variable: to the working directory). Secrets are resolved when a client
asks for them, and neither class can be pickled or shown.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, quote, urlencode

from beam_pipelines.errors import PlanError, Problem, SpecError
from beam_pipelines.io.secret import HIDDEN, Secrets, references
from beam_pipelines.io.url import EMBEDDED, DatabaseUrl, file_path, is_secret_name
from beam_pipelines.io.yaml_values import Marked, parse

__all__ = ["PREFIX", "Connection", "Connections", "variable"]

PREFIX = "BEAM_PIPELINES_CONNECTION_"
_DATABASE_KEYS = ("url", "user", "password")
_BUCKET_KEYS = ("path", "url", "endpoint", "region", "accessKey", "secretKey", "sessionToken", "credentials")
_BUCKET_SCHEMES = ("file", "s3", "gs")
_BARE_FILE = re.compile(r"^file:", re.IGNORECASE)


def variable(name: str) -> str:
    """The environment variable that may hold the connection `name`: `crm-database` is `BEAM_PIPELINES_CONNECTION_CRM_DATABASE`."""
    return PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())


class Connection:
    """One connection, its secrets still unresolved.

    Args:
        name: As the definition names it.
        kind: `url` (a database), `bucket`, `kafka` or `http`.
        raw: What was written: a text, or a mapping.
        folder: What relative paths are relative to.
        secrets: Resolves references.
    """

    def __init__(self, name: str, kind: str, raw: str | Mapping[str, Any], folder: Path, secrets: Secrets) -> None:
        self.name = name
        self.kind = kind
        self._raw: Mapping[str, Any] = {"url": raw} if isinstance(raw, str) else raw
        self._folder = folder
        self._secrets = secrets

    def __repr__(self) -> str:
        return f"Connection({self.name!r}, {self.kind!r}, {self.display!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"connection {self.name!r} holds secrets and is never pickled: pass its name, and look it up in the worker")

    @property
    def url(self) -> str:
        """The URL with its secrets, credentials percent-encoded and file paths absolute; for a driver, never for a message.

        Raises:
            SpecError: A secret is missing, or this is no URL.
        """
        return self._parsed().text()

    @property
    def system(self) -> str:
        """`postgresql`, `sqlite`, `duckdb`, another SQLAlchemy dialect's name; for other kinds the kind itself."""
        return self._parsed().system if self.kind == "url" else self.kind

    @property
    def path(self) -> Path | None:
        """The local file or folder, absolute; None when it is not on this machine."""
        if self.kind == "bucket":
            if "path" in self._raw:
                return self._folder / Path(self._text("path")).expanduser()
            location = self._text("url") if "url" in self._raw else ""
            return file_path(location, self._folder) if _BARE_FILE.match(location) else None
        if self.kind == "url":
            parsed = self._parsed()
            return Path(parsed.rest[1:]) if parsed.system in ("sqlite", "duckdb") else None
        return None

    @property
    def settings(self) -> dict[str, Any]:
        """The mapping as written, references resolved; `{"url": ...}` for a text."""
        return {name: self._resolved(value, name) for name, value in self._raw.items()}

    def beside(self, path: str) -> str:
        """A path that a setting names, absolute."""
        return str(self._folder / Path(path).expanduser())

    @property
    def display(self) -> str:
        """What people may see: where it leads, without secrets and without resolving any."""
        if self.kind == "url" or ("url" in self._raw and isinstance(self._raw["url"], str)):
            return _shown_url(str(self._raw["url"]), self._raw.get("user"))
        return json.dumps(_shown(self._raw), ensure_ascii=False, default=str)

    @property
    def place(self) -> str:
        """Which database it is: system, host, port and name, or the file; without user, password and settings."""
        parsed = self._parsed()
        where = [(name, value) for name, value in parse_qsl(parsed.query) if name in ("host", "hostaddr", "port", "dbname")]
        return f"{parsed.system}://{parsed.rest}" + (f"?{urlencode(where, safe='/')}" if where else "")

    @property
    def references(self) -> tuple[str, ...]:
        """Kinds of secret reference in it, sorted (`env`, `file`): workers on other machines may not have them."""
        return tuple(sorted({kind for text in _texts(self._raw) for kind, _ in references(text)}))

    @property
    def inline_secret(self) -> bool:
        """A password stands in the file itself, not behind a reference: for local runs only."""
        written = [str(value) for key, value in _items(self._raw) if is_secret_name(key)]
        parsed = DatabaseUrl.parse(_masked(str(self._raw.get("url", "")))[0])
        in_url = parsed.secrets() if parsed else []
        return any(value and not references(value) for value in written) or any("\0" not in word for word in in_url)

    def redact(self, text: str) -> str:
        """The text without this process's secrets: for messages of drivers, which may quote a URL."""
        return self._secrets.redact(text)

    def _parsed(self) -> DatabaseUrl:
        if "url" not in self._raw:
            self._fail(f"expected a database URL, got {self.display}")
        text = self._text("url", encode=True)
        parsed = DatabaseUrl.parse(text)
        if parsed is None:
            suffix = Path(text).suffix.lower()
            if "://" in text or suffix not in EMBEDDED:
                self._fail(
                    f"expected a database URL (postgresql://..., sqlite:///crm.db, duckdb:///warehouse.duckdb) or a file"
                    f" ({', '.join(f'*{known}' for known in EMBEDDED)}), got {self.display!r}"
                )
            parsed = DatabaseUrl(EMBEDDED[suffix], rest="/" + text)
        parsed = parsed.with_credentials(self._optional("user"), self._optional("password"))
        for secret in parsed.secrets():
            self._secrets.remember(secret)
        if parsed.system in ("sqlite", "duckdb"):
            parsed = self._embedded(parsed)
        return parsed

    def _embedded(self, parsed: DatabaseUrl) -> DatabaseUrl:
        """A database file's URL with its path absolute."""
        where = parsed.rest[1:]
        if not where or where == ":memory:" or not parsed.rest.startswith("/"):
            self._fail(f"expected a path ({parsed.scheme}:///crm.db, or four slashes for an absolute one), got {self.display!r}")
        if parsed.query:
            self._fail(f"options in the URL of a {parsed.system} file are not served, got {self.display!r}: leave out what follows '?'")
        path = os.path.normpath(self._folder / Path(where).expanduser())
        return DatabaseUrl(parsed.system, rest=f"/{path}")

    def _text(self, key: str, encode: bool = False) -> str:
        encoder = (lambda secret: quote(secret, safe="")) if encode else None
        return self._secrets.resolve(str(self._raw[key]), self.name, encoder).strip()

    def _optional(self, key: str) -> str | None:
        value = self._text(key) if self._raw.get(key) is not None else None
        if value and is_secret_name(key):
            self._secrets.remember(value)
        return value

    def _resolved(self, value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {name: self._resolved(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._resolved(item, key) for item in value]
        if not isinstance(value, str):
            return value
        text = self._secrets.resolve(value, self.name)
        if is_secret_name(key):
            self._secrets.remember(text)
        return text

    def _fail(self, message: str) -> NoReturn:
        raise SpecError(f"connection {self.name!r}: {self.redact(message)}", code="connection-invalid")


class Connections:
    """Every connection a run can name.

    Args:
        file: The connections file, None when there is none.
        environ: Environment variables.

    Raises:
        SpecError: The file cannot be read, or is not a mapping of names; names each mistake with line and column.
    """

    def __init__(self, file: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self.file = Path(file) if file is not None else None
        self._environ = environ
        self._here = Secrets(environ, Path.cwd())
        self._beside = Secrets(environ, self._folder)
        self._written: dict[str, Marked] = _read(self.file) if self.file else {}

    def __repr__(self) -> str:
        return f"Connections({str(self.file) if self.file else None!r}, {sorted(self._written)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("connections hold secrets and are never pickled: pass the path of the file")

    @property
    def _folder(self) -> Path:
        return self.file.absolute().parent if self.file else Path.cwd()

    def names(self) -> list[str]:
        """Names in the file, sorted; those in the environment are known only by asking for them."""
        return sorted(self._written)

    def __contains__(self, name: object) -> bool:
        """Whether `get` would find it: in the file, or in its variable."""
        return isinstance(name, str) and (name in self._written or bool(self._environ.get(variable(name), "").strip()))

    def get(self, name: str) -> Connection:
        """Look a connection up, in the file first and then in its variable.

        Raises:
            PlanError: There is none (`connection-missing`); shows both places and the nearest name.
            SpecError: It is neither a URL nor a mapping that can be understood.
        """
        if name in self._written:
            marked = self._written[name]
            return self._build(name, marked.value, self._folder, self._beside, marked)
        text = self._environ.get(variable(name), "").strip()
        if text:
            value: Any = text
            if text.startswith("{"):
                value = parse(text, variable(name), code="connection-invalid").value
            return self._build(name, value, Path.cwd(), self._here, None)
        looked = "there is no connections file (--connections FILE, or connections.yaml beside the definition)"
        if self.file:
            looked = f"it is not in {str(self.file)!r}"
        near = difflib.get_close_matches(name, self._written, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else (f"; known: {', '.join(self.names()[:20])}" if self._written else "")
        raise PlanError(
            f"no connection {name!r}: {looked}, and the variable {variable(name)} is not set{hint}",
            code="connection-missing",
            details={"connection": name, "file": str(self.file) if self.file else None, "variable": variable(name)},
        )

    def bucket(self, name: str, scheme: str) -> Connection:
        """Look a bucket up; one that is nowhere is the bucket of that name, entered with what the client's own places hold.

        Args:
            name: As the definition names it.
            scheme: `s3` or `gs`.

        Raises:
            SpecError: As `get`.
        """
        return self.get(name) if name in self else Connection(name, "bucket", f"{scheme}://{name}", self._folder, self._here)

    def secret(self, reference: str, what: str) -> str:
        """What a reference stands for that is not in a connection but in the definition; a file is looked for where connections' are.

        Args:
            reference: Such as `${env:CRM_API_KEY}`.
            what: Names it, for messages.

        Raises:
            SpecError: The variable or file is missing, or the reference cannot be understood.
        """
        try:
            secret = self._beside.resolve(reference, what).strip()
        except SpecError as error:
            raise type(error)(error.message.removeprefix("connection "), code=error.code) from None
        self._beside.remember(secret)
        return secret

    def redact(self, text: str) -> str:
        """The text with every secret that was resolved so far replaced by `***`."""
        return self._here.redact(self._beside.redact(text))

    def _build(self, name: str, value: Any, folder: Path, secrets: Secrets, marked: Marked | None) -> Connection:
        kind, problem, hint = _kind(value)
        if not problem:
            return Connection(name, kind, value, folder, secrets)
        where = Problem(problem, name, variable(name), hint=hint)
        if marked is not None:
            where = Problem(problem, name, str(self.file), marked.line, marked.column, hint)
        raise SpecError(f"connection {name!r} cannot be understood", problems=[where], code="connection-invalid")


def _read(file: Path) -> dict[str, Marked]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as bad:
        reason = bad.strerror if isinstance(bad, OSError) else "it is not UTF-8 text"
        raise SpecError(f"cannot read the connections file {str(file)!r}: {reason}", code="spec-unreadable") from bad
    return _understood(text, file)


@functools.lru_cache(maxsize=8)  # every part of a run that opens a connection asks for the file, a dozen times in all
def _understood(text: str, file: Path) -> dict[str, Marked]:
    root = parse(text, str(file), code="connection-invalid")
    if root.value is None:
        return {}
    if not isinstance(root.value, dict):
        expected = "expected names with a URL or a mapping each (crm-database: postgresql://...)"
        where = Problem(expected, "", str(file), root.line, root.column)
        raise SpecError("the connections file cannot be understood", problems=[where], code="connection-invalid")
    return root.children


def _kind(value: Any) -> tuple[str, str, str]:
    """What a value is: (kind, "", "") or ("", problem, hint). Says nothing of the value itself: it may be a secret."""
    if isinstance(value, str) and value.strip():
        scheme = value.partition(":")[0].lower() if ":" in value else ""
        if scheme in _BUCKET_SCHEMES:
            return "bucket", "", ""
        return ("http" if scheme in ("http", "https") else "url"), "", ""
    if not isinstance(value, Mapping):
        what = "nothing" if value is None or value == "" else f"a {type(value).__name__}"
        return "", f"expected a URL or a mapping, got {what}", "write crm-database: postgresql://user:${env:PASSWORD}@host/database"
    if "bootstrap.servers" in value:
        return "kafka", "", ""
    kind = _kind(value["url"])[0] if isinstance(value.get("url"), str) else ""
    # Where the URL begins with a reference, only its other keys say what it is.
    if kind == "http" or (kind == "url" and not {"token", "headers"}.isdisjoint(value)):
        kind = "http"
        return kind, "", ""
    if not kind and ("path" in value or "endpoint" in value):
        kind = "bucket"
    if not kind:
        got = ", ".join(map(str, value)) or "none"
        return "", f"expected one of the keys url, path, endpoint or bootstrap.servers, got {got}", _near(value)
    known = _BUCKET_KEYS if kind == "bucket" else _DATABASE_KEYS
    unknown = [str(key) for key in value if key not in known]
    if unknown:
        return "", f"unknown key {unknown[0]!r}; expected {', '.join(known)}", _near(unknown, known)
    for key, item in value.items():
        if isinstance(item, (Mapping, list)):
            what = "a list" if isinstance(item, list) else "a mapping"
            return "", f"expected text as {key!r}, got {what}", "secrets are written as text: ${env:NAME} or ${file:PATH}"
    return kind, "", ""


def _near(keys: Any, known: tuple[str, ...] = (*_BUCKET_KEYS, *_DATABASE_KEYS, "bootstrap.servers")) -> str:
    for key in keys:
        found = difflib.get_close_matches(str(key), known, n=1)
        if found:
            return f"did you mean {found[0]!r}?"
    return ""


def _masked(text: str) -> tuple[str, dict[str, str]]:
    """Put a mark in the place of each reference, so that their colons and slashes do not mislead the parsing of a URL."""
    marks: dict[str, str] = {}

    def mark(match: re.Match[str]) -> str:
        name = f"\0{len(marks)}\0"
        marks[name] = match.group(0)
        return name

    return re.sub(r"\$\{[^}]*\}", mark, text), marks


def _shown_url(text: str, user: Any = None) -> str:
    masked, marks = _masked(text)
    parsed = DatabaseUrl.parse(masked)
    if parsed is not None:
        masked = parsed.with_credentials(str(user) if user else None, None).display()
    elif "@" in masked:  # not a URL, but it may be one with a slip of the pen: its password must not be shown
        masked = HIDDEN + masked[masked.rindex("@") :]
    for name, reference in marks.items():
        masked = masked.replace(name, reference).replace(quote(name, safe=""), reference)
    return masked


def _shown(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _shown(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_shown(item, key) for item in value]
    return HIDDEN if is_secret_name(key) and value else value


def _items(value: Any, key: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [found for name, item in value.items() for found in _items(item, str(name))]
    if isinstance(value, list):
        return [found for item in value for found in _items(item, key)]
    return [(key, value)]


def _texts(value: Any) -> list[str]:
    return [item for _, item in _items(value) if isinstance(item, str)]
