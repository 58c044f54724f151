"""Batches of any type as texts that every database takes: Arrow IPC in base64, and in pieces where one statement would be too large.

A text may also stand for one that is elsewhere already, by the name that it has there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from beam_pipelines.columnar import ipc
from beam_pipelines.errors import FatalError

__all__ = ["PIECE", "joined", "named", "naming", "pack", "unpack"]

PIECE = 3 << 20  # characters: databases take 4 MiB of a statement at least, as they come
_GOES_ON, _NAMES = "~", "="  # first characters of texts that are no whole batch; base64 has the one nowhere, the other at its end alone


def pack(rows: pa.RecordBatch) -> list[str]:
    """Return a batch as texts of at most `PIECE` characters, and a few; mostly it is one."""
    text = base64.b64encode(ipc.encode(rows, "zstd")).decode()
    pieces = [text[begin : begin + PIECE] for begin in range(0, len(text), PIECE)]
    return pieces if len(pieces) == 1 else [f"{_GOES_ON}{number}/{len(pieces)} {piece}" for number, piece in enumerate(pieces)]


def joined(texts: Iterable[str]) -> Iterator[Sequence[str]]:
    """Return the texts of each batch, which follow each other.

    Raises:
        FatalError: One is missing, or out of its place (`staging-lost`).
    """
    pieces: list[str] = []
    for text in texts:
        number, count = _place(text)
        if number != len(pieces):
            raise FatalError(f"expected piece {len(pieces)} of a block of rows, found piece {number}", code="staging-lost")
        pieces.append(text)
        if len(pieces) == count:
            yield pieces
            pieces = []
    if pieces:
        raise FatalError(f"expected more than {len(pieces)} pieces of a block of rows, found no more", code="staging-lost")


def unpack(texts: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """Return the batches of texts, one at a time.

    Raises:
        FatalError: As of `joined`.
    """
    for pieces in joined(texts):
        text = pieces[0] if len(pieces) == 1 else "".join(piece.partition(" ")[2] for piece in pieces)
        yield ipc.decode(base64.b64decode(text))


def naming(run: str, part: int) -> str:
    """Return a text that stands for one that a commit has kept: by the run of that, and the number of the part."""
    return f"{_NAMES}{part} {run}"


def named(text: str) -> tuple[str, int] | None:
    """Return what a text stands for, as `naming` was told; None: it stands for itself."""
    if not text.startswith(_NAMES):
        return None
    part, _, run = text[1:].partition(" ")
    return run, int(part)


def _place(text: str) -> tuple[int, int]:
    """Number of a piece, and of how many."""
    if not text.startswith(_GOES_ON):
        return 0, 1
    number, _, count = text[1 : text.index(" ")].partition("/")
    return int(number), int(count)
