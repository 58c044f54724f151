"""Columns of text, as rules about their form look at them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.expression import unreadable

__all__ = ["by_distinct", "without_unreadable"]


def without_unreadable(texts: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Return texts with null for those that are no UTF-8, as some databases store them, and which those are."""
    odd = np.zeros(len(texts), dtype=np.bool_)
    rows = unreadable(texts)
    if not rows:
        return texts, odd
    odd[rows] = True
    return pc.if_else(pa.array(odd), pa.scalar(None, texts.type), texts), odd


def by_distinct(texts: pa.Array, good: Callable[[str], bool], sure: pa.Array | None = None) -> pa.Array:
    """Return which texts are good by a function of one text, called once for each distinct text.

    Args:
        texts: Readable text.
        good: Of one text.
        sure: Which are known to be good, null nowhere: the function is not called for them.

    Returns:
        Null for null.
    """
    if sure is None:
        encoded = texts.dictionary_encode()
        answers = [good(text) for text in encoded.dictionary.to_pylist()]
        return pa.array(answers, pa.bool_()).take(encoded.indices)
    open_ = pc.and_(texts.is_valid(), pc.invert(sure))
    if not pc.any(open_, min_count=0).as_py():
        return sure
    return pc.replace_with_mask(sure, open_, by_distinct(texts.filter(open_), good))
