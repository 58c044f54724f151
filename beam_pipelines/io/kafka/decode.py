"""Values of messages made into columns: all at once where they are as planned, one by one where one may not be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar.cast import conform
from beam_pipelines.columnar.compact import take
from beam_pipelines.errors import Code

__all__ = ["VALUE", "Bad", "BytesDecoder", "Decoded", "Decoder", "Positions", "TextDecoder", "gathered", "without_null"]

VALUE = "value"  # the column of values that have none of their own
Positions = npt.NDArray[np.int64]
Bad = tuple[Code, str]
_NULL: Bad = ("row-invalid", "expected a value, got null, as is written where a key is deleted (a tombstone)")


@dataclass(frozen=True)
class Decoded:
    """What values became.

    Args:
        batch: Rows of the planned columns, in the order of their messages.
        rows: Of each row the position of its value, ascending.
        bad: Of each value that is none its position, why, and the code of its dead letter.
    """

    batch: pa.RecordBatch
    rows: Positions
    bad: dict[int, Bad] = field(default_factory=dict)


class Decoder(Protocol):
    """Knows how values are written."""

    @property
    def schema(self) -> pa.Schema:
        """The columns that they are made into."""

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Make values into rows. What becomes of one does not depend on the others."""


def without_null(values: Sequence[bytes | None]) -> tuple[list[bytes], Positions, dict[int, Bad]]:
    """The values that are there, their positions, and what is said of the others."""
    if None not in values:
        return list(values), np.arange(len(values)), {}  # type: ignore[arg-type]
    there = [place for place, value in enumerate(values) if value is not None]
    bad = {place: _NULL for place, value in enumerate(values) if value is None}
    return [value for value in values if value is not None], np.array(there, np.int64), bad


def gathered(parts: Sequence[tuple[Positions, pa.RecordBatch]], schema: pa.Schema, bad: dict[int, Bad]) -> Decoded:
    """Put together what was decoded apart, in columns of other types perhaps; values that do not fit their type are bad."""
    batches, places = [], []
    for rows, batch in parts:
        conformed = conform(batch, schema)
        if conformed.bad:
            for at, reason in zip(conformed.bad, conformed.reasons, strict=True):
                bad[int(rows[at])] = ("cast-failed", reason)
            rows = np.delete(rows, conformed.bad)
        batches.append(conformed.batch)
        places.append(rows)
    if len(batches) == 1:
        return Decoded(batches[0], places[0], bad)
    if not batches:
        return Decoded(pa.RecordBatch.from_pylist([], schema), np.array([], np.int64), bad)
    batch, rows = pa.concat_batches(batches), np.concatenate(places)
    order = np.argsort(rows)
    if (order != np.arange(len(order))).any():
        batch, rows = take(batch, order.tolist()), rows[order]
    return Decoded(batch, rows, bad)


class BytesDecoder:
    """Values as they are, in one column."""

    schema = pa.schema([(VALUE, pa.binary())])

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        there, places, bad = without_null(values)
        return Decoded(pa.record_batch([pa.array(there, pa.binary())], schema=self.schema), places, bad)


class TextDecoder:
    """Values of text, in one column."""

    schema = pa.schema([(VALUE, pa.string())])

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        there, places, bad = without_null(values)
        found = texts(there, lambda at: bad.__setitem__(int(places[at]), ("row-invalid", "expected text, got bytes that are no UTF-8")))
        rows = np.array([place for place in places.tolist() if place not in bad], np.int64)
        return Decoded(pa.record_batch([found.drop_null()], schema=self.schema), rows, bad)


def texts(values: Sequence[bytes | None], refuse: Callable[[int], object]) -> pa.Array:
    """Bytes as text; where they are none null, and `refuse` is told the position."""
    raw = pa.array(values, pa.binary())
    try:
        return raw.cast(pa.string())
    except pa.ArrowInvalid:
        pass
    found: list[str | None] = []
    for place, value in enumerate(values):
        try:
            found.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            refuse(place)
            found.append(None)
    return pa.array(found, pa.string())
