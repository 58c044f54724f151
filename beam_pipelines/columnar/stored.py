"""Values as Arrow's hash aggregation takes them, and back as the planned type holds them.

It ends the process when it meets a dictionary, knows no extension types and no views, and tells -0.0 from 0.0.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.kinds import plain_type

__all__ = ["reduced", "restored", "stored"]


def stored(kind: pa.DataType) -> pa.DataType:
    """The type as states hold it: of an extension type its storage."""
    kind = plain_type(kind)
    return stored(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else kind


def reduced(array: pa.Array) -> pa.Array:
    """Return values in the type `stored`; every NaN is the same one, and -0.0 is 0.0."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = stored(array.type)
    if kind != array.type:
        array = array.cast(kind)
    if pa.types.is_floating(kind) and not pa.types.is_float16(kind):
        array = pc.if_else(pc.is_nan(array), pa.scalar(float("nan"), kind), pc.add(array, pa.scalar(0.0, kind)))
    return array


def restored(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return values of the type `stored`, or lists of them, in their own type."""
    if array.type == kind:
        return array
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, restored(array, kind.storage_type))
    if pa.types.is_list(kind) and pa.types.is_list(array.type):
        # No list of a result is null.
        return pa.ListArray.from_arrays(array.offsets, restored(array.values, kind.value_type), type=kind)
    return array.cast(kind)
