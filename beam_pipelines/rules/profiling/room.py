"""How much the profile of a column may hold: what is exact up to a bound is about so much above it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BUNDLE", "WHOLE", "Room"]


@dataclass(frozen=True)
class Room:
    """How much the profile of a column may hold.

    Args:
        distinct: Different values that are counted exactly, 8 bytes each; above them 16 KiB of registers.
        numbers: Numbers that are kept for quantiles, 8 bytes each; above them 16 bytes for each size there is, 128 an octave:
            of ten octaves 20 KiB, of all that doubles have 8 MiB.
        forms: Whether the forms of texts (e-mail, UUID) are looked for, from which rules are suggested.
    """

    distinct: int
    numbers: int
    forms: bool


WHOLE = Room(distinct=1 << 18, numbers=1 << 16, forms=True)  # of a table in one process: 2.5 MiB a column
# Of each bundle of a pipeline, which Commit holds of all bundles at once: 192 KiB a column, and the texts that occur most often.
BUNDLE = Room(distinct=1 << 14, numbers=1 << 13, forms=False)
