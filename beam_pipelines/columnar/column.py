"""One column made into another type: the values that fit, and which do not.

Lists, structs and maps are converted by their parts; a value with a part that does not fit does not fit as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.convert import Converter, converter, decoded, family, hopeless
from beam_pipelines.columnar.kinds import is_list, storage

__all__ = ["Mask", "convert_column"]

Mask = npt.NDArray[np.bool_]
_REFUSED = (pa.ArrowInvalid, UnicodeDecodeError)  # the latter by text that is read value by value and is no UTF-8


def convert_column(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """Convert one column.

    Args:
        array: Values of any type.
        target: The type wanted.

    Returns:
        The values, null where they do not fit, and which do not (None: all fit).
    """
    if array.type == target:
        return array, None
    array = decoded(array)
    if array.type == target:
        return array, None
    if pa.types.is_null(array.type) or array.null_count == len(array):
        return _nulls(len(array), target), None
    if pa.types.is_dictionary(target):
        values, wrong = convert_column(array, target.value_type)
        return values.dictionary_encode().cast(target), wrong
    if isinstance(target, pa.BaseExtensionType) and family(target) not in ("uuid", "json"):
        values, wrong = convert_column(array, target.storage_type)
        return pa.ExtensionArray.from_storage(target, values), wrong
    nested = _NESTED.get((_shape(array.type), _shape(target)))
    if nested is not None:
        return nested(array, target)
    convert = converter(array.type, target)
    if convert is None:
        return _nulls(len(array), target), array.is_valid().to_numpy(zero_copy_only=False)
    try:
        return convert(array, target), None
    except _REFUSED:
        wrong = _misfits(array, target, convert)
        return convert(_without(array, wrong), target), wrong


def _nulls(length: int, target: pa.DataType) -> pa.Array:
    if isinstance(target, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(target, pa.nulls(length, target.storage_type))
    return pa.nulls(length, target)


def _without(array: pa.Array, wrong: Mask) -> pa.Array:
    """The array with null where values are wrong."""
    positions = pa.array(np.arange(len(array)), mask=wrong)
    return array.take(positions)


def _misfits(array: pa.Array, target: pa.DataType, convert: Converter) -> Mask:
    """Which values do not fit, given that some do not: those that are told at once, then by trying the distinct values that are left."""
    wrong = np.zeros(len(array), dtype=bool)
    told = hopeless(array, target)
    if told is not None:
        wrong |= pc.fill_null(told, False).to_numpy(zero_copy_only=False)
        array = _without(array, wrong)
    encoded = storage(array).dictionary_encode()
    values = encoded.dictionary
    if isinstance(array, pa.ExtensionArray):
        values = pa.ExtensionArray.from_storage(array.type, values)
    doubtful = _halved(values, target, convert)
    if doubtful.any():
        places = encoded.indices
        wrong |= doubtful[np.asarray(pc.fill_null(places, 0))] & np.asarray(places.is_valid())
    return wrong


def _halved(values: pa.Array, target: pa.DataType, convert: Converter) -> Mask:
    """Which values do not convert, found by halving until each part converts as a whole or is one value."""
    wrong = np.zeros(len(values), dtype=bool)
    parts = [(0, len(values))]
    while parts:
        start, length = parts.pop()
        try:
            convert(values.slice(start, length), target)
        except _REFUSED:
            if length == 1:
                wrong[start] = True
                continue
            # Bad values come in crowds: below 16 one by one is cheaper than by halves.
            step = length // 2 if length > 16 else 1
            parts += [(at, min(step, start + length - at)) for at in range(start, start + length, step)]
    return wrong


def _shape(kind: pa.DataType) -> str:
    if isinstance(kind, pa.BaseExtensionType):
        return ""
    if pa.types.is_fixed_size_list(kind):
        return "fixed"
    return "map" if pa.types.is_map(kind) else "struct" if pa.types.is_struct(kind) else "list" if is_list(kind) else ""


def _convert_list(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """Lists by their items: a list with an item that does not fit is wrong as a whole."""
    offsets, present = _spans(array)
    items, wrong = convert_column(array.flatten(), target.value_type)
    mask = pa.array(~present) if not present.all() else None
    if pa.types.is_fixed_size_list(target):
        return _fixed(items, offsets, present, target, _any_within(wrong, offsets))
    if pa.types.is_large_list(target):
        made = pa.LargeListArray.from_arrays(pa.array(offsets), items, type=target, mask=mask)
    else:
        made = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items, type=_as_list(target), mask=mask).cast(target)
    return _blanked(made, _any_within(wrong, offsets))


def _as_list(target: pa.DataType) -> pa.DataType:
    return target if pa.types.is_list(target) else pa.list_(target.value_field)


def _fixed(
    items: pa.Array, offsets: npt.NDArray[np.int64], present: Mask, target: pa.DataType, wrong: Mask | None
) -> tuple[pa.Array, Mask | None]:
    misfit = present & (np.diff(offsets) != target.list_size)
    if wrong is not None:
        misfit |= wrong
    good = present & ~misfit
    places = np.zeros((len(present), target.list_size), dtype=np.int64)
    places[good] = offsets[:-1][good, None] + np.arange(target.list_size)
    spread = np.repeat(~good, target.list_size)
    filled = items.take(pa.array(places.reshape(-1), mask=spread))
    made = pa.FixedSizeListArray.from_arrays(filled, type=target, mask=pa.array(~good))
    return made, misfit if misfit.any() else None


def _spans(array: pa.Array) -> tuple[npt.NDArray[np.int64], Mask]:
    """Offsets into `flatten()`, which leaves out what null lists point at, and which lists are there."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), dtype=np.int64)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    return offsets, array.is_valid().to_numpy(zero_copy_only=False)


def _any_within(wrong: Mask | None, offsets: npt.NDArray[np.int64]) -> Mask | None:
    if wrong is None:
        return None
    running = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(wrong)])
    within: Mask = running[offsets[1:]] > running[offsets[:-1]]
    return within


def _blanked(made: pa.Array, wrong: Mask | None) -> tuple[pa.Array, Mask | None]:
    return (made, None) if wrong is None or not wrong.any() else (_without(made, wrong), wrong)


def _convert_map(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    offsets = np.asarray(array.offsets, dtype=np.int64) - first
    keys, bad_keys = convert_column(array.keys.slice(first, last - first), target.key_type)
    items, bad_items = convert_column(array.items.slice(first, last - first), target.item_type)
    # A key that does not fit is null here, which no map may hold: such maps are blanked before the map is built.
    wrong = _either(_any_within(bad_keys, offsets), _any_within(bad_items, offsets))
    absent = ~array.is_valid().to_numpy(zero_copy_only=False)
    if wrong is not None:
        wrong = wrong & ~absent
    blank = absent if wrong is None else absent | wrong
    kept = np.repeat(~blank, np.diff(offsets))
    lengths = np.where(blank, 0, np.diff(offsets))
    moved = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    made = pa.MapArray.from_arrays(
        pa.array(moved, pa.int32()), keys.filter(pa.array(kept)), items.filter(pa.array(kept)), type=target, mask=pa.array(blank)
    )
    return made, wrong


def _convert_struct(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """Structs by the names of their fields: what is not planned is dropped, what is missing is null."""
    absent = array.is_null()
    there = ~absent.to_numpy(zero_copy_only=False)
    parts: list[pa.Array] = []
    wrong: Mask | None = None
    for planned in target:
        position = array.type.get_field_index(planned.name)
        if position < 0:
            parts.append(_nulls(len(array), planned.type))
            bad: Mask | None = None if planned.nullable else there
        else:
            part, bad = convert_column(array.field(position), planned.type)
            parts.append(part)
        if bad is not None:
            wrong = _either(wrong, bad & there)
    made = pa.StructArray.from_arrays(parts, fields=[planned.with_nullable(True) for planned in target], mask=absent)
    return _blanked(made.cast(target) if made.type != target else made, wrong)


def _either(one: Mask | None, other: Mask | None) -> Mask | None:
    if one is None or other is None:
        return other if one is None else one
    both: Mask = one | other
    return both


_Nested = Callable[[pa.Array, pa.DataType], tuple[pa.Array, "Mask | None"]]
_NESTED: dict[tuple[str, str], _Nested] = {
    ("list", "list"): _convert_list,
    ("list", "fixed"): _convert_list,
    ("fixed", "list"): _convert_list,
    ("fixed", "fixed"): _convert_list,
    ("map", "map"): _convert_map,
    ("struct", "struct"): _convert_struct,
}
