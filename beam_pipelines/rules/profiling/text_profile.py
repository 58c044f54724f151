"""What texts are like: how long they are, of which shapes and of which forms."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.plain import plain
from beam_pipelines.rules.profiling.frequent import Frequent
from beam_pipelines.rules.profiling.shape import FORMS, of_form, shapes

__all__ = ["TextProfile", "readable"]


@dataclass(frozen=True)
class TextProfile:
    """What the texts of a column are like.

    Args:
        empty: How many are empty.
        shortest: Fewest characters; None: there is no text.
        longest: Most characters.
        characters: Of all texts together.
        shapes: As `rules.shape` says, of those that are not empty.
        forms: How many have each of `rules.shape.FORMS`.
    """

    empty: int = 0
    shortest: int | None = None
    longest: int | None = None
    characters: int = 0
    shapes: Frequent = field(default_factory=lambda: Frequent.nothing(pa.string()))
    forms: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FORMS, 0))

    @classmethod
    def of(cls, texts: pa.Array) -> TextProfile:
        """Return what texts, without null, are like: each different one is looked at once."""
        encoded = texts.dictionary_encode()
        different, counts = encoded.dictionary, np.bincount(np.asarray(encoded.indices), minlength=len(encoded.dictionary))
        lengths = np.asarray(pc.utf8_length(different)).astype(np.int64)
        full = np.flatnonzero(lengths)
        some, often = different.take(pa.array(full)), counts[full]
        shaped = shapes(some).dictionary_encode()
        sums = np.zeros(len(shaped.dictionary), dtype=np.int64)
        np.add.at(sums, np.asarray(shaped.indices), often)
        return cls(
            empty=len(texts) - int(often.sum()),
            shortest=int(lengths.min()) if len(lengths) else None,
            longest=int(lengths.max()) if len(lengths) else None,
            characters=int((lengths * counts).sum()),
            shapes=Frequent.counted(shaped.dictionary, sums),
            forms={name: int(often[of_form(some, name)].sum()) for name in FORMS},
        )

    def __add__(self, other: TextProfile) -> TextProfile:
        return TextProfile(
            self.empty + other.empty,
            min((one for one in (self.shortest, other.shortest) if one is not None), default=None),
            max((one for one in (self.longest, other.longest) if one is not None), default=None),
            self.characters + other.characters,
            self.shapes + other.shapes,
            {name: count + other.forms[name] for name, count in self.forms.items()},
        )


def readable(texts: pa.Array) -> pa.Array:
    """Return texts with replacement characters for bytes that are no UTF-8."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array(plain(texts), texts.type)
    return texts
