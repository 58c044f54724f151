"""Blocks of states that this process has read: a drain reads those alone that came since, and none of them goes through Beam.

A block that is committed never changes, so it is known by its first part. Where all workers are this process (`room`), blocks stay here, up
to a bound, and what goes from stage to stage is a batch without rows that names one. What is beyond the bound, and all of it in any other
process, is read with each drain and goes the usual way.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import orjson
import pyarrow as pa

from beam_pipelines.columnar import packed
from beam_pipelines.errors import FencedError
from beam_pipelines.io.connector import Kept, Target
from beam_pipelines.runs.facts import OPEN

__all__ = ["PARTS", "ROOM", "Names", "opened", "parts_of", "read", "room"]

ROOM = 256 << 20  # bytes that are held at most
PARTS = b"parts"  # of the schema of states that were kept: where, `[[run, part], ...]`
_NAMES = b"names"  # of the schema of a batch without rows: the first parts of the blocks that it stands for

_Part = tuple[str, int]  # run and number


class _Held:
    """Blocks by load and first part."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._lock = threading.Lock()
        self._loads: dict[str, dict[_Part, pa.RecordBatch]] = {}
        self._left = ROOM

    def of(self, load: str) -> dict[_Part, pa.RecordBatch]:
        with self._lock:
            return dict(self._loads.get(load, {}))

    def get(self, load: str, first: _Part) -> pa.RecordBatch | None:
        with self._lock:
            return self._loads.get(load, {}).get(first)

    def put(self, load: str, block: pa.RecordBatch) -> None:
        """Hold a block, if there is room."""
        size = block.get_total_buffer_size()
        with self._lock:
            if size <= self._left:
                self._loads.setdefault(load, {})[parts_of(block)[0]] = block
                self._left -= size

    def keep(self, load: str, firsts: set[_Part]) -> None:
        """Drop all blocks of a load but some."""
        with self._lock:
            blocks = self._loads.get(load, {})
            for first in blocks.keys() - firsts:
                self._left += blocks.pop(first).get_total_buffer_size()


_held: _Held | None = None  # None: workers may be elsewhere


@contextlib.contextmanager
def room() -> Iterator[None]:
    """Let blocks stay here until the block ends: for a stream, of which one runs at a time in a process."""
    global _held
    before, _held = _held, _Held()
    try:
        yield
    finally:
        _held = before


def _here() -> _Held | None:
    """What is held in this process; a worker that was forked from it holds nothing, for another one may be asked for a block."""
    return _held if _held is not None and _held.process == os.getpid() else None


def read(target: Target, service: str, load: str) -> Iterator[pa.RecordBatch]:
    """Return the blocks of states that the commits of a load have left, in their order; of each its schema says where it is (`PARTS`).

    Raises:
        FatalError: A piece of one is missing (`staging-lost`).
    """
    held = _here() or _Held()
    known = held.of(load)
    parts = {part for block in known.values() for part in parts_of(block)}
    firsts: set[_Part] = set()
    for there, some in groupby(target.kept(service, load, OPEN, parts), key=lambda one: (one.run, one.part) in parts):
        for block in _firsts(some, known) if there else _unpacked(list(some)):
            first = parts_of(block)[0]
            firsts.add(first)
            if first not in known:
                held.put(load, block)
            yield block
    held.keep(load, firsts)


def _firsts(kept: Iterable[Kept], known: Mapping[_Part, pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The blocks whose first parts these are; other parts are passed over."""
    return (known[one.run, one.part] for one in kept if (one.run, one.part) in known)


def _unpacked(kept: list[Kept]) -> Iterator[pa.RecordBatch]:
    """The blocks of contents, each with its parts."""
    at = 0
    for pieces in packed.joined(one.content for one in kept):
        parts = orjson.dumps([(one.run, one.part) for one in kept[at : at + len(pieces)]])
        block = next(packed.unpack(pieces))
        yield block.replace_schema_metadata({**(block.schema.metadata or {}), PARTS: parts})
        at += len(pieces)


def parts_of(block: pa.RecordBatch) -> list[_Part]:
    """Where a block is kept, in its pieces; empty: it is not, for its rows came since."""
    told = (block.schema.metadata or {}).get(PARTS)
    return [(run, part) for run, part in orjson.loads(told)] if told is not None else []


class Names:
    """Blocks that are held here, as they go through Beam: by their names, those of one schema together.

    Args:
        load: What they are of.
    """

    def __init__(self, load: str) -> None:
        self._load = load
        self._named: list[tuple[pa.Schema, list[_Part]]] = []

    def add(self, block: pa.RecordBatch) -> bool:
        """Add a block, with columns and metadata as they are to be when it is `opened`; False: it is not held here."""
        held, first = _here(), parts_of(block)[0]
        if held is None or held.get(self._load, first) is None:
            return False
        told = {name: value for name, value in block.schema.metadata.items() if name != PARTS}
        schema = block.schema.with_metadata(told)
        for known, firsts in self._named:
            if known.equals(schema, check_metadata=True):
                firsts.append(first)
                return True
        self._named.append((schema, [first]))
        return True

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches without rows that stand for all that was added."""
        for schema, firsts in self._named:
            told = {**schema.metadata, _NAMES: orjson.dumps(firsts)}
            yield pa.RecordBatch.from_pylist([], schema=schema.with_metadata(told))


def opened(load: str, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The blocks that a batch stands for; one that stands for none, itself.

    Raises:
        FencedError: Another drain has been begun since, and that one has other blocks.
    """
    told = dict(batch.schema.metadata or {})
    names, held = told.pop(_NAMES, None), _here()
    if names is None:
        yield batch
        return
    for run, part in orjson.loads(names):
        whole = None if held is None else held.get(load, (run, part))
        if whole is None:
            raise FencedError("a bundle of a drain that was given up is carried out no more")
        yield whole.select(batch.schema.names).replace_schema_metadata({**told, PARTS: whole.schema.metadata[PARTS]})
