"""What texts are like: how long they are, of which shapes and of which forms."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.plain import plain
from beam_pipelines.rules.profiling.frequent import Frequent
from beam_pipelines.rules.profiling.shape import FORMS, all_of_form, shapes

__all__ = ["TextProfile", "readable"]

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TextProfile:
    """What the texts of a column are like.

    Args:
        empty: How many are empty.
        shortest: Fewest characters; None: there is no text.
        longest: Most characters.
        characters: Of all texts together.
        shapes: As `rules.shape` says, of those that are not empty.
        forms: Those of `rules.profiling.shape.FORMS` that all have which are not empty, as far as they were looked for.
        broken: Whether there are bytes that are no UTF-8.
    """

    empty: int = 0
    shortest: int | None = None
    longest: int | None = None
    characters: int = 0
    shapes: Frequent = field(default_factory=lambda: Frequent.nothing(pa.string()))
    forms: frozenset[str] = frozenset(FORMS)
    broken: bool = False

    @classmethod
    def of(cls, different: pa.Array, counts: Longs, *, forms: bool = True) -> TextProfile:
        """Return what texts are like.

        Args:
            different: Each of them once, none of them null.
            counts: How often each occurs.
            forms: Whether their forms are looked for.
        """
        lengths = np.asarray(pc.utf8_length(different)).astype(np.int64)
        full = np.flatnonzero(lengths)
        some, often = (different, counts) if len(full) == len(lengths) else (different.take(pa.array(full)), counts[full])
        shaped = shapes(some).dictionary_encode()
        sums = np.bincount(np.asarray(shaped.indices), weights=often, minlength=len(shaped.dictionary)).astype(np.int64)
        return cls(
            empty=int(counts.sum() - often.sum()),
            shortest=int(lengths.min()) if len(lengths) else None,
            longest=int(lengths.max()) if len(lengths) else None,
            characters=int((lengths * counts).sum()),
            shapes=Frequent.counted(shaped.dictionary, sums),
            forms=frozenset(name for name in FORMS if forms and all_of_form(some, name)),
        )

    def __add__(self, other: TextProfile) -> TextProfile:
        return TextProfile(
            self.empty + other.empty,
            min((one for one in (self.shortest, other.shortest) if one is not None), default=None),
            max((one for one in (self.longest, other.longest) if one is not None), default=None),
            self.characters + other.characters,
            self.shapes + other.shapes,
            self.forms & other.forms,
            self.broken or other.broken,
        )


def readable(texts: pa.Array) -> tuple[pa.Array, bool]:
    """Return texts with replacement characters for bytes that are no UTF-8, and whether there are such."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array(plain(texts), texts.type), True
    return texts, False
