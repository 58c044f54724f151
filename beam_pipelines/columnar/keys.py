"""Values by which rows are alike, as columns that Arrow groups: null is null, NaN is NaN, -0.0 is 0.0, types stay apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.convert import decoded
from beam_pipelines.columnar.groups import Positions, grouped
from beam_pipelines.columnar.plain import plain
from beam_pipelines.columnar.stored import reduced

__all__ = ["key_columns", "ranked", "sortable", "sorted_by"]


def key_columns(array: pa.Array) -> list[pa.Array]:
    """Return one column or several that are equal where the values are.

    A struct is whether it is there and its fields; a list or a map is the text of its JSON, which is made value by value.
    """
    array = decoded(array)
    kind = array.type
    if pa.types.is_struct(kind):
        fields = [pc.struct_field(array, [at]) for at in range(kind.num_fields)]
        return [array.is_valid(), *(part for field in fields for part in key_columns(field))]
    if pa.types.is_nested(kind):
        texts = [None if value is None else orjson.dumps(_unsigned(value), option=orjson.OPT_SORT_KEYS) for value in plain(array)]
        return [pa.array(texts, pa.large_binary())]
    return [reduced(array.cast(pa.float32()) if pa.types.is_float16(kind) else array)]


def _unsigned(value: Any) -> Any:
    """The value with 0.0 for -0.0 in it."""
    if isinstance(value, list):
        return [_unsigned(one) for one in value]
    if isinstance(value, dict):
        return {key: _unsigned(one) for key, one in value.items()}
    return value + 0.0 if isinstance(value, float) else value


def ranked(keys: list[pa.Array], order: Positions) -> tuple[Positions, Positions]:
    """Bring rows of one group together.

    Args:
        keys: Columns as `key_columns` gives them, one value a row; none: all rows are one group.
        order: Positions of all rows in their order.

    Returns:
        The positions again, group after group in the order of their first rows, and the place of each in its group, from 0.
    """
    if not keys or not len(order):
        return order, np.arange(len(order))
    _, _, groups = grouped([key.take(pa.array(order)) for key in keys], [], len(order), listed=True)
    assert groups is not None
    starts, lengths = groups.offsets[:-1], np.diff(groups.offsets)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[groups.order] = np.arange(len(order)) - np.repeat(starts, lengths)
    first = np.empty(len(order), dtype=np.int64)  # of each row, where its group begins
    first[groups.order] = np.repeat(groups.order[starts], lengths)
    together = np.argsort(first, kind="stable")
    return order[together], ranks[together]


def sortable(kind: pa.DataType) -> bool:
    """Whether values of a type have an order."""
    kind = decoded(pa.nulls(0, kind)).type
    return not (pa.types.is_nested(kind) or pa.types.is_interval(kind))


def sorted_by(columns: list[tuple[pa.Array, bool]], order: Positions) -> Positions:
    """Sort rows; NaN and then nulls come last in both directions, and rows that are equal keep their order.

    Args:
        columns: Values of types that are `sortable`, one a row, each with whether the greatest comes first.
        order: Positions of all rows in the order that they keep.

    Returns:
        The positions, sorted.
    """
    if not columns:
        return order
    rows = pa.array(order)
    table = {f"c{at}": key_columns(array)[0].take(rows) for at, (array, _) in enumerate(columns)}
    directions = [(f"c{at}", "descending" if descending else "ascending") for at, (_, descending) in enumerate(columns)]
    table["at"] = pa.array(np.arange(len(order)))
    ordered = pc.sort_indices(pa.table(table), sort_keys=[*directions, ("at", "ascending")])
    return order[np.asarray(ordered)]
