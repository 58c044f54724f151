"""What a join's definition names, found in the schemas of both sides."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from beam_pipelines.columnar.index import comparable
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.columnar.misfit import MisfitError
from beam_pipelines.columnar.path import FieldPath
from beam_pipelines.spec.step.join import AsOf
from beam_pipelines.spec.step.sided import Sided
from beam_pipelines.transforms.binding import Binding
from beam_pipelines.transforms.join.as_of import Way
from beam_pipelines.transforms.join.moment import longest, ordered_as

__all__ = ["Bound", "bind", "common"]


@dataclass(frozen=True)
class Bound:
    """What rows meet by.

    Args:
        left: Keys on the left side.
        right: Keys on the right side, in the same order.
        times: Of both sides, where they meet by time.
        way: How they do.
        gone: Columns of the right side that do not come out: keys, and a time that both sides call the same.
    """

    left: tuple[FieldPath, ...]
    right: tuple[FieldPath, ...]
    times: tuple[FieldPath, FieldPath] | None
    way: Way | None
    gone: frozenset[str]


def bind(model: Sided, path: str, left: pa.Schema, right: pa.Schema) -> Bound:
    """Find what a join meets by.

    Args:
        model: From the definition.
        path: Where it stands there.
        left: Schema of the left side.
        right: Of the right side.

    Raises:
        PlanError: A column is not there, or the two of a pair are never equal or have no order in common.
    """
    binding = Binding()

    def pair_of(one: str, other: str, at: str) -> tuple[FieldPath, FieldPath] | None:
        found = binding.find(one, left, at, where="the left side: "), binding.find(other, right, at, where="the right side: ")
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    keys = []
    for one, other in model.keys_left_right:
        pair = pair_of(one, other, f"{path}.on")
        if pair is not None:
            keys.append(pair)
            why = _unfit(model.how, *pair, one, other)
            if why:
                binding.refuse(why, f"{path}.on", "convert one side in a map step before")
    times, way = None, None
    if model.as_of is not None:
        times = pair_of(*model.as_of.left_right, f"{path}.asOf")
        try:
            way = _way(model.as_of, *times) if times else None
        except MisfitError as misfit:
            binding.refuse(misfit.message, f"{path}.asOf", misfit.hint)
    binding.check("a join cannot be carried out")
    gone = {key.name for _, key in keys if not key.parts}
    if times and model.as_of and model.as_of.column and not times[1].parts:
        gone.add(times[1].name)
    return Bound(tuple(key for key, _ in keys), tuple(key for _, key in keys), times, way, frozenset(gone))


def _unfit(how: str, left: FieldPath, right: FieldPath, one: str, other: str) -> str | None:
    if not comparable(left.type, right.type):
        return f"{one!r} is {left.type} and {other!r} is {right.type}, which are never equal"
    if how in ("right", "full") and (left.parts or common(left.type, right.type) is None):
        return (
            f"{how} gives rows that only the right side has, whose {other!r} ({right.type}) is to stand in {one!r} ({left.type}):"
            " expected fields of one kind, the left one not inside of another"
        )
    return None


def _way(model: AsOf, left: FieldPath, right: FieldPath) -> Way:
    """Return how rows meet by time.

    Raises:
        MisfitError: The columns have no order in common, or the tolerance is no distance of theirs.
    """
    kind = ordered_as(left.type, right.type)
    one, other = model.left_right
    if kind is None:
        raise MisfitError(
            f"expected times, dates or numbers on both sides, got {one!r}, {left.type}, and {other!r}, {right.type}",
            "convert one side in a map step before",
        )
    if model.within is not None:
        try:
            longest(model.within, kind)
        except ValueError as error:
            raise MisfitError(f"tolerance of {one!r}, {left.type}: {error}") from error
    return Way(kind, model.direction, model.within, model.allow_equal)


def common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that values of both fit in unchanged; None where none is sure to."""
    if one == other:
        return one
    plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (one, other)]
    if all(is_text(kind) for kind in plain):
        return pa.large_string()
    signed, floating = (all(test(kind) for kind in plain) for test in (pa.types.is_signed_integer, pa.types.is_floating))
    if signed or floating:
        return max(plain, key=lambda kind: int(kind.bit_width))
    return None
