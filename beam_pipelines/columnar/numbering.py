"""Numbers of rows and lines in parts of a file that are read by themselves: nobody has counted what is before them.

A number in a later part is that within the part, with the part's own number above it: so numbers of one file differ, and grow with their
places, from the beginning on. What they are in the file is known when all parts were read (`engine.numbers`).
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["PART_BITS", "first_of", "in_part"]

PART_BITS = 40  # of the number within a part; those above number the part, 0 being the beginning of its file


def first_of(part: int) -> int:
    """What is added to the numbers of a part, whose own number is from 0."""
    return part << PART_BITS


def in_part(numbers: pa.Array, part: int) -> pa.Array:
    """Numbers within a part (int64), as those of its file differ."""
    return pc.add(numbers, pa.scalar(first_of(part), pa.int64())) if part else numbers
