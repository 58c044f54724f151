"""min, max, first and last."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import hashing
from beam_pipelines.columnar.groups import Groups
from beam_pipelines.columnar.stored import stored
from beam_pipelines.transforms.aggregate.measure import Kernel, Measured, MeasureProblem, Rows, State

__all__ = ["Extreme", "Picked"]


class Extreme(Kernel):
    """The least or the greatest of what is not null; a NaN only where there is nothing else.

    Args:
        kind: Type of the field.
        function: `min` or `max`.
    """

    def __init__(self, kind: pa.DataType, function: str) -> None:
        self._kept = _ordered(kind)
        super().__init__(kind, State(self._kept, "min" if function == "min" else "max"))

    def lift(self, rows: Rows) -> list[pa.Array]:
        return [rows.values.cast(self._kept)]

    def result(self, states: list[pa.Array]) -> Measured:
        return Measured(states[0].cast(stored(self.type)))


def _ordered(kind: pa.DataType) -> pa.DataType:
    """The type by which Arrow orders values of a type, where it cannot order them by their own."""
    kind = stored(kind)
    if pa.types.is_duration(kind):
        return pa.int64()
    if pa.types.is_decimal(kind) and kind.bit_width < 128:
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_nested(kind) or pa.types.is_interval(kind):
        raise MeasureProblem(f"expected values that have an order, got a {kind}")
    return kind


class Picked(Kernel):
    """The value of the first or the last row in which it is not null.

    First is by the field that `orderBy` names, nulls of it last; rows that are equal by it, and all rows without it, are in the order of
    the source: of a range of it as it was read, and ranges in their order.

    Args:
        kind: Type of the field.
        function: `first` or `last`.
        order: Type of the field that `orderBy` names.
    """

    def __init__(self, kind: pa.DataType, function: str, order: pa.DataType | None) -> None:
        self._last = function == "last"
        ordered = () if order is None else (State(_ordered(order)),)
        super().__init__(kind, State(stored(kind)), State(pa.int64()), *ordered)

    def lift(self, rows: Rows) -> list[pa.Array]:
        # A null is never picked: it has no place in the order.
        ordinals = pc.if_else(rows.values.is_valid(), rows.ordinals, pa.scalar(None, pa.int64()))
        ordered = [] if rows.order is None else [rows.order.cast(self.states[2].type)]
        return [rows.values, ordinals, *ordered]

    def combine(self, states: list[pa.Array], groups: Groups) -> list[pa.Array]:
        rows = pa.array(groups.order)
        table = {"group": pa.array(groups.of), "none": states[1].take(rows).is_null(), "at": states[1].take(rows)}
        direction = "descending" if self._last else "ascending"
        keys = [("group", "ascending"), ("none", "ascending")]
        if len(states) > 2:
            order = states[2].take(rows)
            table |= {"blank": order.is_null(), "by": order}
            keys += [("blank", "ascending"), ("by", direction)]
        keys.append(("at", direction))
        ordered = pc.sort_indices(pa.table(table), sort_keys=keys)
        if _tied(groups.of, table["at"], ordered):
            # As a join makes several rows of one: which comes first follows from what is in them, whatever the order they came in.
            table["value"] = pa.array(hashing.row_hashes(pa.record_batch({"value": states[0].take(rows)}), ["value"], one_type=True))
            ordered = pc.sort_indices(pa.table(table), sort_keys=[*keys, ("value", "ascending")])
        picked = rows.take(ordered.take(pa.array(groups.offsets[:-1])))
        return [state.take(picked) for state in states]

    def result(self, states: list[pa.Array]) -> Measured:
        return Measured(states[0])


def _tied(groups: npt.NDArray[np.int64], at: pa.Array, ordered: pa.Array) -> bool:
    """Whether two rows of a group have one place."""
    rows = np.asarray(ordered)
    of, places, known = groups[rows], np.asarray(at.fill_null(0))[rows], np.asarray(at.is_valid())[rows]
    return bool(((of[1:] == of[:-1]) & (places[1:] == places[:-1]) & known[1:] & known[:-1]).any())
