"""Questions about Arrow types that more than one module asks; Arrow's own tests are one a layout, users think one a meaning."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["is_bytes", "is_list", "is_odd_decimal", "is_text", "is_uuid", "is_view", "plain_type", "storage"]


def is_text(kind: pa.DataType) -> bool:
    """Text in any layout."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Binary of any length in any layout; fixed-size binary too."""
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def is_list(kind: pa.DataType) -> bool:
    """A list in any layout, but not a map."""
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view, pa.types.is_large_list_view)
    return any(test(kind) for test in tests)


def is_view(kind: pa.DataType) -> bool:
    """Values are views of buffers that a slice does not cut."""
    tests = (pa.types.is_string_view, pa.types.is_binary_view, pa.types.is_list_view, pa.types.is_large_list_view)
    return any(test(kind) for test in tests)


def is_odd_decimal(kind: pa.DataType) -> bool:
    """A decimal that Arrow hardly computes with: of fewer than 128 bits, or with a scale below 0."""
    return bool(pa.types.is_decimal(kind) and (kind.bit_width < 128 or kind.scale < 0))


def is_uuid(kind: pa.DataType) -> bool:
    """Arrow's UUID extension type (16 bytes)."""
    return isinstance(kind, pa.BaseExtensionType) and bool(kind.extension_name == "arrow.uuid")


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values: dictionaries and views are ways to store them, and Arrow computes with these only here and there."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind


def storage(array: pa.Array) -> pa.Array:
    """The array as stored, without its extension type."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array
