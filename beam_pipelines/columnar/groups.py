"""Rows by their key, and the states of each group combined: one pass of Arrow's hash aggregation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.expression.engine import one_chunk

__all__ = ["Groups", "Positions", "Values", "grouped"]

Values: TypeAlias = "pa.Array | pa.ChunkedArray"
Positions = npt.NDArray[np.int64]
_ROW = "row"
# A sum of nothing but nulls is null.
_OPTIONS = pc.ScalarAggregateOptions(skip_nulls=True, min_count=1)


class Groups:
    """Which rows are in which group.

    Args:
        lists: Positions of the rows of each group, ascending.
    """

    def __init__(self, lists: pa.ListArray) -> None:
        self.offsets: Positions = np.asarray(lists.offsets, dtype=np.int64)
        self.order: Positions = np.asarray(lists.flatten(), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def of(self) -> Positions:
        """The group of each of `order`."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def grouped(
    keys: Sequence[Values], columns: Sequence[tuple[Values, str]], rows: int, *, listed: bool
) -> tuple[list[pa.Array], list[pa.Array], Groups | None]:
    """Group rows, and combine columns of them by Arrow's own functions.

    Args:
        keys: Columns of the key, of types that Arrow hashes; none: all rows are one group.
        columns: What to combine, each with its function: `sum`, `min`, `max`.
        rows: How many there are.
        listed: Whether to tell the rows of each group.

    Returns:
        The keys and the combined columns, one value a group, groups in no order; the groups, if asked for.
    """
    names = [f"k{number}" for number in range(len(keys))]
    arrays = dict(zip(names, keys, strict=True))
    if not keys:
        names, arrays = ["k"], {"k": pa.array(np.zeros(rows, dtype=np.int8))}
    wanted: list[tuple[str, str, pc.FunctionOptions | None]] = []
    for number, (array, function) in enumerate(columns):
        arrays[f"c{number}"] = array
        wanted.append((f"c{number}", function, _OPTIONS))
    if listed:
        arrays[_ROW] = pa.array(np.arange(rows, dtype=np.int64))
        wanted.append((_ROW, "list", None))
    # One thread: the rows of a group keep their order.
    table = pa.table(arrays).group_by(names, use_threads=False).aggregate(wanted)
    combined = [one_chunk(table.column(f"c{number}_{function}")) for number, (_, function) in enumerate(columns)]
    groups = Groups(one_chunk(table.column(f"{_ROW}_list"))) if listed else None
    return [one_chunk(table.column(name)) for name in names[: len(keys)]], combined, groups
