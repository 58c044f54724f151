"""Values as drivers give them, as Arrow arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

__all__ = ["array_of"]


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """An array of the type; of text, where the database gave back otherwise than it was given (an enum for its name, say)."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
