"""Columns converted by a library that takes one text at a time: each distinct value of a batch is converted once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.transforms.converters.converter import Converted

__all__ = ["Unconverted", "by_distinct"]


class Unconverted(ValueError):  # noqa: N818 (it never leaves the converters)
    """A text that cannot be converted; says why, and never the text."""


def by_distinct(values: pa.Array, convert: Callable[[str], str]) -> Converted:
    """Convert a column of text.

    Args:
        values: Text, null where there is none.
        convert: Of one text; raises `Unconverted`.

    Returns:
        The column in the type of `values`.
    """
    encoded = values.dictionary_encode()
    made: list[str | None] = []
    reasons: dict[int, str] = {}
    for place, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            made.append(convert(text))
        except Unconverted as error:
            made.append(None)
            reasons[place] = str(error)
    array = pa.array(made, values.type).take(encoded.indices)
    if not reasons:
        return Converted(array, [], [])
    rows: list[int] = pc.indices_nonzero(pc.and_(values.is_valid(), array.is_null())).to_pylist()
    return Converted(array, rows, list(_reasons(encoded.indices, rows, reasons)))


def _reasons(places: pa.Array, rows: list[int], reasons: dict[int, str]) -> Iterable[str]:
    return (reasons[place] for place in places.take(pa.array(rows, pa.int64())).to_pylist())
