"""Which keys are known: a set of values, or of several together, that batches are held against. Nothing is done by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.index import Index

__all__ = ["Known"]

_ROOM = 16  # bytes of a map for each number in it, at most: twice the number itself


class Known:
    """A set of keys, made once and asked often. Keys are compared as joins compare them; a key with a null in it is never known.

    Whole numbers that lie close together are places of a map, everything else is found by its hash and then by its value.

    Args:
        columns: Of the key, all of one length, of types that are `comparable` with those that are looked up.
    """

    def __init__(self, columns: Sequence[pa.Array]) -> None:
        self._there: npt.NDArray[np.bool_] | None = None
        self._least = 0
        if len(columns) == 1 and pa.types.is_integer(columns[0].type) and not pa.types.is_uint64(columns[0].type):
            self._map(columns[0])
        self._columns = list(columns)
        self._index: Index | None = None  # made when it is asked: not where the map will do

    def _map(self, column: pa.Array) -> None:
        numbers = np.asarray(column.drop_null().cast(pa.int64()))
        if not len(numbers):
            return
        least, greatest = int(numbers.min()), int(numbers.max())
        if greatest - least < _ROOM * len(numbers):
            self._least, self._there = least, np.zeros(greatest - least + 1, dtype=np.bool_)
            self._there[numbers - least] = True

    def has(self, columns: Sequence[pa.Array]) -> npt.NDArray[np.bool_]:
        """Return which rows have a key that is known.

        Args:
            columns: Of the key, all of one length.
        """
        if self._there is not None and pa.types.is_integer(columns[0].type) and not pa.types.is_uint64(columns[0].type):
            return self._mapped(columns[0])
        if self._index is None:
            self._index = Index(self._columns, len(self._columns[0]), distinct=True)
        rows = len(columns[0])
        known = np.zeros(rows, dtype=np.bool_)
        for found, _ in self._index.pairs(columns, rows):
            known[found] = True
        return known

    def _mapped(self, column: pa.Array) -> npt.NDArray[np.bool_]:
        assert self._there is not None
        valid = np.asarray(column.is_valid()) if column.null_count else None
        numbers = np.asarray(pc.fill_null(column, 0) if valid is not None else column).astype(np.int64, copy=False)
        # As unsigned numbers, those below the least are above the greatest.
        places = (numbers - np.int64(self._least)).view(np.uint64)
        inside = places < np.uint64(len(self._there))
        known = np.zeros(len(column), dtype=np.bool_)
        known[inside] = self._there[places[inside].astype(np.int64)]
        return known if valid is None else known & valid
