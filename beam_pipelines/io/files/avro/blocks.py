"""The bytes of an Avro object container file: its header, and its rows a block at a time, in Avro's base types."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

import fastavro
import pyarrow as pa

__all__ = ["BASE_TYPES", "AvroError", "Header", "bare", "blocks", "read_header", "seek_block"]

_HEADER = fastavro.parse_schema(
    {
        "type": "record",
        "name": "org.apache.avro.file.Header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
        ],
    }
)
_MAGIC = b"Obj\x01"
# Logical types whose values are better made a column at a time, and of any year.
BASE_TYPES = frozenset(
    {"date", "uuid", "duration", "time-millis", "time-micros"}
    | {f"{local}timestamp-{unit}" for local in ("", "local-") for unit in ("millis", "micros", "nanos")}
)
_LONGEST_NUMBER = 10  # bytes
_LOOK = 64 * 1024  # bytes that are looked through at a time for a mark


class AvroError(ValueError):
    """A file that is not as Avro has it."""


@dataclass(frozen=True)
class Header:
    """Of a file.

    Args:
        schema: Of its rows, as it stands there.
        meta: All that is said of the file.
        sync: Mark behind each block.
    """

    schema: Any
    meta: dict[str, bytes]
    sync: bytes


def read_header(file: pa.NativeFile) -> Header:
    """Read the beginning of a file; behind it the first block stands.

    Raises:
        AvroError: It is none of an Avro file.
    """
    try:
        found: Any = fastavro.schemaless_reader(cast(IO[bytes], _Whole(file)), _HEADER, None)
        if found["magic"] != _MAGIC:
            raise AvroError("it does not begin as Avro files do")
        schema = json.loads(found["meta"]["avro.schema"])
    except AvroError:
        raise
    except (ValueError, KeyError, EOFError, IndexError, TypeError, OverflowError, MemoryError, UnicodeDecodeError) as bad:
        raise AvroError("its header is none of an Avro file") from bad
    return Header(schema, found["meta"], found["sync"])


def seek_block(file: pa.NativeFile, header: Header, start: int, end: int) -> bool:
    """Go to the first block that begins behind a place; False: none does up to the other.

    Args:
        file: The file.
        header: Its header.
        start: The place: the mark of a block before may begin before it.
        end: The other.

    """
    at = max(0, start - len(header.sync) + 1)
    file.seek(at)
    data = b""
    while at + len(header.sync) <= end:
        more = file.read(_LOOK)
        if not more:
            return False
        data += more
        found = data.find(header.sync)
        if found >= 0:
            place = at + found + len(header.sync)
            file.seek(place)
            return place <= end
        kept = min(len(data), len(header.sync) - 1)
        at += len(data) - kept
        data = data[len(data) - kept :]
    return False


def blocks(file: pa.NativeFile, header: Header, end: int | None = None) -> Iterator[tuple[int, int, Iterator[Any]]]:
    """The blocks of a file that stands at one: behind its header, or where `seek_block` found it.

    Args:
        file: The file.
        header: Its header.
        end: No block is read that begins behind it; None: all are.

    Yields:
        How many rows one has, its bytes in the file, and its rows: of records dicts, with values of base types (decimals are decimals).

    Raises:
        AvroError: It is damaged or cut off.
    """
    whole = _Whole(file)
    beginning = _beginning(header)
    while (end is None or file.tell() <= end) and (count := _number(whole, first=True)) is not None:
        size = _number(whole)
        assert size is not None
        if count < 0 or size < 0:
            raise AvroError("a block has less than no rows")
        payload = whole.read(size)
        if whole.read(len(header.sync)) != header.sync:
            raise AvroError("the mark behind a block is another than the file's")
        parts = (beginning, _written(count), _written(size), payload, header.sync)
        yield count, size, _rows(b"".join(parts), count)


def _rows(data: bytes, count: int) -> Iterator[Any]:
    """The rows of a file of one block."""
    seen = 0
    try:
        for row in fastavro.reader(io.BytesIO(data)):
            seen += 1
            yield row
    except Exception as bad:  # whatever a codec or fastavro raises of bytes that are none of theirs
        raise AvroError(f"a block cannot be taken apart ({type(bad).__name__})") from bad
    if seen != count:
        raise AvroError(f"a block has {seen} rows, and says {count}")


def _beginning(header: Header) -> bytes:
    """The header of the same file without the logical types that are left to Arrow."""
    out = io.BytesIO()
    meta = {**header.meta, "avro.schema": json.dumps(bare(header.schema)).encode()}
    fastavro.schemaless_writer(out, _HEADER, {"magic": _MAGIC, "meta": meta, "sync": header.sync})
    return out.getvalue()


def bare(schema: Any) -> Any:
    """The same schema without the logical types that are left to Arrow, and without defaults."""
    if isinstance(schema, list):
        return [bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: bare(value) if key in ("type", "items", "values") else value
        for key, value in schema.items()
        if not (key == "logicalType" and value in BASE_TYPES)
    }
    if "fields" in made:
        # Defaults are of readers with another schema; there is none here.
        made["fields"] = [{key: value for key, value in bare(part).items() if key != "default"} for part in made["fields"]]
    return made


class _Whole:
    """Reads exactly as many bytes as are asked for; a damaged number may ask for more than there are, or than memory holds."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file, self._size = file, int(file.size())

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._size - self._file.tell():
            raise AvroError("it ends within a block or its header")
        return bytes(self._file.read(size))

    def one(self) -> bytes:
        """A byte, or none at the end."""
        return bytes(self._file.read(1))


def _number(file: _Whole, *, first: bool = False) -> int | None:
    """A number as Avro writes it (zigzag, 7 bits a byte); None where the file ends before it, if it may."""
    found = 0
    for place in range(_LONGEST_NUMBER):
        data = file.one()
        if not data:
            if first and not place:
                return None
            raise AvroError("it ends within a block")
        found |= (data[0] & 0x7F) << (7 * place)
        if data[0] < 0x80:
            return (found >> 1) ^ -(found & 1)
    raise AvroError("a number in it is too long")


def _written(number: int) -> bytes:
    """A number of 0 or more."""
    left, made = number << 1, bytearray()
    while left > 0x7F:
        made.append((left & 0x7F) | 0x80)
        left >>= 7
    made.append(left)
    return bytes(made)
