"""min, max, first and last."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.transforms.aggregate.groups import Groups
from beam_pipelines.transforms.aggregate.layout import stored
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
        ordered = pc.sort_indices(pa.table(table), sort_keys=[*keys, ("at", direction)])
        picked = rows.take(ordered.take(pa.array(groups.offsets[:-1])))
        return [state.take(picked) for state in states]

    def result(self, states: list[pa.Array]) -> Measured:
        return Measured(states[0])
