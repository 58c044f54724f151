"""What the bytes of a column of text tell at once, without a look at each value: a hundred times as fast where they tell enough."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["data_of", "has_any", "is_ascii", "trimmed"]

_SEPARATORS = b"\x1c\x1d\x1e\x1f"  # white space to Unicode, and none to ASCII


def data_of(texts: pa.Array) -> pa.Buffer | bytes:
    """The bytes of all texts of an array (`pa.string()`), one after the other, without a copy; perhaps with some behind nulls."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return b""
    bounds = memoryview(offsets).cast("i")
    start, end = bounds[texts.offset], bounds[texts.offset + len(texts)]
    return data.slice(start, end - start)


def is_ascii(texts: pa.Array) -> bool:
    """Whether all texts are known to be ASCII; False where that would take a look at each."""
    return bool(pa.types.is_string(texts.type)) and bytes(data_of(texts)).isascii()


def has_any(texts: pa.Array, letters: bytes) -> bool:
    """Whether one of some ASCII characters may be in a text; True where that would take a look at each."""
    if not pa.types.is_string(texts.type):
        return True
    data = bytes(data_of(texts))
    return any(data.find(letter) >= 0 for letter in letters)


def trimmed(texts: pa.Array) -> pa.Array:
    """Texts without what Unicode calls white space at their ends; in half the time where they are ASCII."""
    plain = is_ascii(texts) and not has_any(texts, _SEPARATORS)
    return pc.ascii_trim_whitespace(texts) if plain else pc.utf8_trim_whitespace(texts)
