"""Rows posted to an HTTP API: JSON arrays, each under a key by which the API can tell that it has it already.

Batches are cut in the order of the rows, by nothing but the rows themselves: who sends the same rows again sends the same bodies, under
the same keys.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from beam_pipelines.columnar import size
from beam_pipelines.io.files.writing.json import JsonArrayWriter
from beam_pipelines.io.http.client import Client, Limits, Refusal
from beam_pipelines.io.http.place import HttpPlace

__all__ = ["Post", "posts", "send"]

_MOST_BYTES = 4 << 20  # of the rows of a request, as Arrow holds them: servers commonly refuse bodies of some tens of MB
_LONGEST_BODY = 8 << 20  # bytes, unless of one row
_LIMITS = Limits(timeout=30.0, retries=4, concurrency=4)


@dataclass(frozen=True)
class Post:
    """One request.

    Args:
        rows: Some rows, in order.
        first: Position of the first one among all of the commit.
        body: They, as a JSON array of objects.
        key: Stands for this body in this place of this commit.
    """

    method: ClassVar[str] = "POST"
    target: ClassVar[str] = ""

    rows: Sequence[pa.RecordBatch]
    first: int
    body: bytes
    key: str

    @property
    def count(self) -> int:
        """Rows."""
        return sum(part.num_rows for part in self.rows)

    @property
    def headers(self) -> Mapping[str, str]:
        """The key."""
        return {"Idempotency-Key": self.key}


def posts(batches: Iterable[pa.RecordBatch], most: int, *names: str) -> Iterator[Post]:
    """Make requests of rows.

    A key is a digest of the names, the number of the request and its body. The body belongs to it: were a batch cut anew, because the
    definition has changed since, an API would else take other rows for those that it has.

    Args:
        batches: Rows, in an order that is the same each time.
        most: Rows of a request.
        names: Whose rows these are: service, sink, commit.

    Yields:
        Requests of `most` rows each, but for the last one and for rows that are large. A row that is larger than a request may be is sent
        alone.
    """
    first = 0
    written = (one for parts in _cut(batches, most) for one in _written(parts))
    for number, (parts, body) in enumerate(written):
        digest = hashlib.sha256(json.dumps([*names, number]).encode() + b"\0" + body)
        post = Post(parts, first, body, digest.hexdigest())
        yield post
        first += post.count


def _written(parts: list[pa.RecordBatch]) -> Iterator[tuple[list[pa.RecordBatch], bytes]]:
    """Rows as JSON; in halves while that is too long: many columns with long names and little in them are small in Arrow alone."""
    out = io.BytesIO()
    writer = JsonArrayWriter(out, parts[0].schema)
    for part in parts:
        writer.write(part)
    writer.close()
    rows = sum(part.num_rows for part in parts)
    if out.tell() <= _LONGEST_BODY or rows == 1:
        yield parts, out.getvalue()
        return
    del out
    yield from _written(_between(parts, 0, rows // 2))
    yield from _written(_between(parts, rows // 2, rows))


def _between(parts: list[pa.RecordBatch], first: int, end: int) -> list[pa.RecordBatch]:
    taken, begin = [], 0
    for part in parts:
        low, high = max(first - begin, 0), min(end - begin, part.num_rows)
        if low < high:
            taken.append(part.slice(low, high - low))
        begin += part.num_rows
    return taken


def _cut(batches: Iterable[pa.RecordBatch], most: int) -> Iterator[list[pa.RecordBatch]]:
    parts: list[pa.RecordBatch] = []
    rows = bytes_ = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            part = next(size.split(batch.slice(start, most - rows), most - rows, _MOST_BYTES - bytes_))
            weight = size.slice_bytes(part)
            if parts and (bytes_ + weight > _MOST_BYTES or part.schema != parts[0].schema):
                yield parts
                parts, rows, bytes_ = [], 0, 0
                continue
            parts.append(part)
            start += part.num_rows
            rows += part.num_rows
            bytes_ += weight
            if rows == most or bytes_ >= _MOST_BYTES:
                yield parts
                parts, rows, bytes_ = [], 0, 0
    if parts:
        yield parts


async def send(place: HttpPlace, calls: Iterable[Post], refused: Callable[[Post, Refusal], None]) -> None:
    """Send requests, a few at a time.

    Args:
        place: Where to.
        calls: Each is made when there is room for it.
        refused: Called with each that failed for good, or for now (`passing`). What it raises ends the others.

    Raises:
        FatalError: `authentication-failed`: the API does not let us in. `unreachable`: it wants to be left alone for long.
    """
    client = await Client(place, _LIMITS).open()
    try:
        await client.send(calls, refused)
    finally:
        await client.close()
