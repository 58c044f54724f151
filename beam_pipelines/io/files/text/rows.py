"""What is read of a file of text: its beginning, its rows, and records that are no rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.errors import Code
from beam_pipelines.io.objects.store import Stored

__all__ = ["Bad", "Head", "Rows", "is_text"]


@dataclass(frozen=True)
class Bad:
    """A record that is no row.

    Args:
        line: Where it begins, from 1.
        text: It, or its beginning.
        message: Why, without any of it.
        code: Of the dead letter.
    """

    line: int
    text: bytes
    message: str
    code: Code = "row-invalid"


@dataclass(frozen=True)
class Rows:
    """What became of a block.

    Args:
        batch: Its rows, in columns of text or of what they are written as.
        lines: Where each begins, int64.
        bad: Records that are none.
        quoted: Some of its fields are in quotes.
        misfits: Rows that do not fit, by their position in `batch`: they are left out of what goes on.
    """

    batch: pa.RecordBatch
    lines: pa.Array
    bad: Sequence[Bad] = ()
    quoted: bool = True
    misfits: dict[int, str] | None = None


@dataclass(frozen=True)
class Head:
    """The beginning of a file.

    Args:
        path: The file.
        names: Its columns.
        sample: What the format's own `types` reads.
        rows: Rows that were read for it.
        taken: Bytes of the file that they took.
        whole: There are no others.
    """

    path: Stored
    names: tuple[str, ...]
    sample: Any
    rows: int
    taken: int
    whole: bool


def is_text(data: bytes) -> bool:
    """Whether bytes are UTF-8."""
    if data.isascii():
        return True
    offsets = pa.py_buffer(np.array([0, len(data)], dtype=np.int32).tobytes())
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
