"""Rows with what a table, a file or an HTTP API knows of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.step.base import StepBase
from beam_pipelines.spec.step.join import JoinSource
from beam_pipelines.spec.values import ConnectionName, Count, Duration, Scalar, Size, Text, shown

__all__ = ["MAX_BATCH", "AnswerCache", "EnrichRequest", "EnrichStep", "RequestBatch", "placeholders"]

MAX_BATCH = 1000  # keys of one request: rows are looked at in slices of as many
_PLACE = re.compile(r"\{([^{}]*)\}")
_RATE = r"(\d+(?:\.\d+)?)\s*/\s*(s|m|h)"
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_NAMES = r"[^.\[\]]+(\[\d+\])*(\.[^.\[\]]+(\[\d+\])*)*"
_IN_JSON = rf"(\[\d+\])+(\.?{_NAMES})?|{_NAMES}"
_OF_TABLES = ("on",)
_OF_APIS = ("request", "output", "cache", "timeout", "retries", "rateLimit", "concurrency", "maxResponseSize", "onError")


def placeholders(value: Any) -> Iterator[str]:
    """Yield the fields that `{field}` names in a text, or in the texts of a list or mapping."""
    if isinstance(value, str):
        yield from (found.strip() for found in _PLACE.findall(value))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from placeholders(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from placeholders(item)


def _check_path(value: str) -> str:
    fixed = _PLACE.sub("x", value)
    if not fixed.startswith("/") or fixed.startswith("//") or re.search(r"[?#{}\s\\]", fixed):
        raise ValueError(f"expected a path such as /v1/companies/{{domain}}, without host and query, got {shown(value)}")
    if {".", ".."} & set(fixed.split("/")):
        raise ValueError(f"expected a path without . and .., got {shown(value)}")
    return _check_places(value)


def _check_places(value: Any) -> Any:
    for text in _texts(value):
        if "" in (found.strip() for found in _PLACE.findall(text)):
            raise ValueError("expected the name of a field between { and }, got nothing")
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _check_rate(value: str) -> str:
    match = re.fullmatch(_RATE, value.strip())
    if match is None or not float(match[1]):
        raise ValueError(f"expected a number of calls by time, such as 100/s, 600/m or 5000/h, got {shown(value)}")
    return value


def _check_in_json(value: str) -> str:
    if not re.fullmatch(_IN_JSON, value):
        raise ValueError(f"expected a path in the response such as company.name or items[0].id, got {shown(value)}")
    return value


def _check_above_zero(value: Any) -> Any:
    if not value:
        raise ValueError(f"expected {'a time' if isinstance(value, timedelta) else 'a size'} above zero")
    return value


InJson = Annotated[Text, AfterValidator(_check_in_json)]
Rate = Annotated[str, AfterValidator(_check_rate), Field(json_schema_extra={"pattern": rf"^\s*{_RATE}\s*$"})]
Names = Annotated[
    Annotated[tuple[Text, ...], Tag("type: same"), Field(min_length=1)]
    | Annotated[dict[Text, Text], Tag("type: pairs"), Field(min_length=1)],
    Discriminator(lambda value: "type: pairs" if isinstance(value, Mapping) else "type: same"),
]


class RequestBatch(Model):
    """Several keys in one request."""

    size: Annotated[Count, Field(le=MAX_BATCH)] = Field(default=100, description="Keys of one request, at most.")
    items: InJson | None = Field(
        default=None, description="Where the list of answers is in the response; default: the response is the list."
    )
    match: dict[Text, InJson] = Field(
        min_length=1,
        description="What tells whose answer one is: {field of the row: path in the answer}, one for each field of the request.",
    )


class EnrichRequest(Model):
    """What is asked: `{field}` stands for the row's value."""

    method: Literal["GET", "POST"] = Field(default="GET", description="POST only to what may be asked again: a retried bundle does so.")
    path: Annotated[Text, AfterValidator(_check_path)] = Field(
        description="Path below the connection's URL; a value in it is percent-encoded, and cannot lead elsewhere."
    )
    query: dict[Text, Annotated[Scalar, AfterValidator(_check_places)]] = Field(default_factory=dict, description="Parameters by name.")
    body: Annotated[dict[str, Any] | list[Any] | None, AfterValidator(_check_places)] = Field(
        default=None, description="JSON of a POST; a text that is one `{field}` alone becomes the value with its type."
    )
    batch: RequestBatch | None = Field(
        default=None, description="Ask for several keys at once: `{field}` then stands for the list of their values."
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """A body goes with POST; something is asked for; each key of a batch can be told."""
        if raw.get("body") is not None and raw.get("method", "GET") == "GET":
            yield mistake("expected method: POST beside 'body', got GET", "body", at="key")
        named = set(placeholders([raw.get("path"), raw.get("query"), raw.get("body")]))
        if not named:
            yield mistake(
                "expected a field of the row as {field} in 'path', 'query' or 'body', got none: every row would ask the same", "path"
            )
        batch = raw.get("batch")
        if not isinstance(batch, (Mapping, RequestBatch)):
            return
        if set(placeholders(raw.get("path"))):
            yield mistake("expected no {field} beside 'batch': a path has room for one key", "path", hint="put it into query or body")
        for text in _texts([raw.get("query"), raw.get("body")]):
            if _PLACE.search(text) and not _PLACE.fullmatch(text.strip()):
                yield mistake("expected {field} alone in a text beside 'batch', for it stands for a list", "batch", at="key")
                break
        match = batch.match if isinstance(batch, RequestBatch) else batch.get("match")
        if isinstance(match, Mapping) and named and set(match) != named:
            yield mistake(f"expected one path for each of {', '.join(sorted(named))}, got {', '.join(map(str, match))}", "batch", "match")

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the row that are asked with, each once, in the order of the request."""
        return tuple(dict.fromkeys(placeholders([self.path, self.query, self.body])))


class AnswerCache(Model):
    """Answers that a worker remembers."""

    size: Annotated[int, Field(ge=0)] = Field(default=10_000, description="Keys that each worker process remembers; 0: none.")
    ttl: Duration | None = Field(default=None, description="For how long; default: until the run ends.")


class EnrichStep(StepBase):
    """Rows with what another table, a file or an HTTP API knows of them."""

    type: Literal["enrich"] = Field(default="enrich", description="Look each row up in a table, a file or an HTTP API.")
    source: JoinSource | None = Field(
        default=None, description="Where to look up: a whole source, with its own `transformations` if wanted. Else `connection`."
    )
    on: Names | None = Field(default=None, description="Of a source. Keys: [name] where both sides call them the same, else {left: right}.")
    connection: ConnectionName | None = Field(default=None, description="The HTTP API to ask, by its connection. Else `source`.")
    request: EnrichRequest | None = Field(default=None, description="Of an API: what is asked.")
    output: dict[Text, Text] | None = Field(
        default=None, min_length=1, description="Of an API: the new columns with their types, such as {company: text, employees: bigint}."
    )
    fields: Names | None = Field(
        default=None,
        description="What is taken: [column] or {column or path in the response: new name}; default: of a source every column but its keys,"
        " of a response the fields called like the output.",
    )
    default: dict[Text, Scalar] = Field(default_factory=dict, description="Values of new columns, by name, for rows that are not found.")
    on_missing: Literal["null", "deadletter", "drop"] = Field(
        default="null", description="A row that is not found: goes on with nulls (or `default`), becomes a dead letter, or is left out."
    )
    on_error: Literal["deadletter", "null"] = Field(
        default="deadletter", description="Of an API: a row whose call failed becomes a dead letter, or goes on with nulls and is counted."
    )
    cache: AnswerCache = Field(default_factory=AnswerCache, description="Of an API: answers that each worker remembers.")
    timeout: Annotated[Duration, AfterValidator(_check_above_zero)] = Field(
        default=timedelta(seconds=5), description="Of an API: from the beginning of a call to the last byte of its answer (default 5s)."
    )
    retries: Annotated[int, Field(ge=0, le=20)] = Field(
        default=3, description="Of an API: more tries after a failure of network or server, or after 408, 425 and 429."
    )
    rate_limit: Rate | None = Field(default=None, description="Of an API: calls by time in each worker process, such as 100/s.")
    concurrency: Annotated[Count, Field(le=1000)] = Field(
        default=16, description="Of an API: calls under way at one time in each worker process."
    )
    max_response_size: Annotated[Size, AfterValidator(_check_above_zero)] = Field(
        default=1 << 20, description="Of an API: bytes of an answer, at most; a larger one is a failure."
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """A source or a connection, each with the keys that belong to it."""
        has_source, has_api = (raw.get(key) is not None for key in ("source", "connection"))
        if has_source == has_api:
            got = "both" if has_source else "neither"
            yield mistake(f"expected 'source' or 'connection', got {got}", at="key", wants=() if has_source else ("source", "connection"))
            return
        what, needed, other = ("source", ("on",), _OF_APIS) if has_source else ("connection", ("request", "output"), _OF_TABLES)
        for key in needed:
            if raw.get(key) is None:
                yield mistake(f"expected {key!r} beside {what!r}", at="key", wants=(key,))
        for key in other:
            if raw.get(key) is not None:
                yield mistake(f"{key!r} does not go with {what!r}", key, at="key")
        if has_source and raw.get("required") is False:
            yield mistake("expected true: a lookup in a source fails on no row by itself, got false", "required", hint="see onMissing")
        if raw.get("default") and raw.get("onMissing", "null") != "null":
            yield mistake("'default' is for rows that go on, but onMissing says that they do not", "default", at="key")
        if has_api:
            yield from _new_columns(raw)

    @property
    def how(self) -> str:
        """As of a join: `lookup`."""
        return "lookup"

    @property
    def suffix(self) -> str | None:
        """Names are given in `fields`."""
        return None

    @property
    def as_of(self) -> None:
        """Rows do not meet by time."""
        return None

    @property
    def keys_left_right(self) -> tuple[tuple[str, str], ...]:
        """Pairs of key columns, left and right."""
        on = self.on or ()
        return tuple(on.items()) if isinstance(on, dict) else tuple((name, name) for name in on)

    @property
    def taken(self) -> dict[str, str] | None:
        """New name by column or path, None: all there is."""
        return {name: name for name in self.fields} if isinstance(self.fields, tuple) else self.fields

    @property
    def interval(self) -> float:
        """Seconds between the beginnings of two calls, at least."""
        match = re.fullmatch(_RATE, (self.rate_limit or "").strip())
        return _SECONDS[match[2]] / float(match[1]) if match else 0.0


def _new_columns(raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    output, fields, default = raw.get("output"), raw.get("fields"), raw.get("default")
    known = list(output) if isinstance(output, Mapping) else None
    if known is None:
        return
    names = list(fields.values()) if isinstance(fields, Mapping) else list(fields) if isinstance(fields, (list, tuple)) else None
    if names is not None and sorted(map(str, names)) != sorted(map(str, known)):
        yield mistake(f"expected where each of {', '.join(map(str, known))} is in the response, got {', '.join(map(str, names))}", "fields")
    for path in fields if isinstance(fields, (Mapping, list, tuple)) else ():
        if isinstance(path, str) and not re.fullmatch(_IN_JSON, path):
            yield mistake(f"expected a path in the response such as company.name, got {shown(path)}", "fields")
    for name in default if isinstance(default, Mapping) else ():
        if name not in known:
            yield mistake(f"expected one of the output columns {', '.join(map(str, known))}, got {shown(name)}", "default", name, at="key")
