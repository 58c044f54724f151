"""What the rows of a table are like, column by column, measured batch by batch in states of bounded size that are merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import size
from beam_pipelines.columnar.convert import decoded, family
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.columnar.origin import PREFIX
from beam_pipelines.columnar.plain import plain
from beam_pipelines.columnar.stored import reduced
from beam_pipelines.rules.dataset.distinct import Distinct
from beam_pipelines.rules.dataset.figures import Figures, numbers
from beam_pipelines.rules.dataset.moments import Moments
from beam_pipelines.rules.dataset.quantiles import Quantiles
from beam_pipelines.rules.dataset.statistic import plain_figure
from beam_pipelines.rules.profiling.discreet import keeps_secrets
from beam_pipelines.rules.profiling.frequent import Frequent
from beam_pipelines.rules.profiling.once import KEYS
from beam_pipelines.rules.profiling.room import WHOLE, Room
from beam_pipelines.rules.profiling.text_profile import TextProfile, readable

__all__ = ["ColumnProfile", "Profile", "profile"]

CHARACTERS = 100  # of a text that count among the top values
_NEARLY = 0.975  # three standard errors of an estimate
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
_NUMBERS = ("int", "float", "decimal")
_TIMES = ("date", "timestamp", "time")
_COUNTED = ("bool", *_NUMBERS, "text", *_TIMES, "duration", "uuid")  # families whose values are compared


@dataclass(frozen=True)
class ColumnProfile:
    """What the values of a column are like.

    Args:
        type: Of the values.
        rows: How many there are.
        nulls: How many are null.
        nans: How many are NaN.
        distinct: The different ones; None: of a type whose values are not compared, such as lists.
        top: Those that occur most often; None as `distinct`.
        figures: Of numbers, without NaN.
        moments: Of numbers, without NaN.
        quantiles: Of numbers, without NaN.
        ends: Of dates and times, the least and the greatest; empty where there are none.
        texts: Of text.
    """

    type: pa.DataType
    rows: int = 0
    nulls: int = 0
    nans: int = 0
    distinct: Distinct | None = None
    top: Frequent | None = None
    figures: Figures | None = None
    moments: Moments | None = None
    quantiles: Quantiles | None = None
    ends: pa.Array | None = None
    texts: TextProfile | None = None

    @classmethod
    def of(cls, array: pa.Array, room: Room = WHOLE) -> ColumnProfile:
        """Return what the values of an array are like: each different one is looked at once.

        Args:
            array: Of any type.
            room: How much the profile may hold; the same for all that are added up.
        """
        array = decoded(array)
        kind, name = array.type, family(array.type)
        made = cls(kind, len(array), array.null_count)
        if name not in _COUNTED or pa.types.is_float16(kind) or (name == "decimal" and kind.scale < 0):
            return made
        values = array.drop_null() if array.null_count else array
        broken = False
        if is_text(kind):
            values, broken = readable(values)
        encoded = reduced(values).dictionary_encode()
        different, counts = encoded.dictionary, np.bincount(np.asarray(encoded.indices), minlength=len(encoded.dictionary))
        made = replace(made, distinct=Distinct.among(different, room.distinct))
        if is_text(kind):
            texts = replace(TextProfile.of(different, counts, forms=room.forms), broken=broken)
            top = Frequent.counted(different, counts)
            if texts.longest is not None and texts.longest > CHARACTERS:
                top = top.cut(CHARACTERS)
            return replace(made, top=top, texts=texts)
        made = replace(made, top=Frequent.counted(different, counts))
        if name in _NUMBERS:
            found, numeric = numbers(values), _not_nan(different)
            quantiles = Quantiles.weighted(different.filter(numeric), counts[np.asarray(numeric)], room.numbers)
            nans = len(values) - len(found)
            return replace(made, nans=nans, figures=Figures.of(found), moments=Moments.of(found), quantiles=quantiles)
        return replace(made, ends=_ends(values)) if name in _TIMES else made

    def __add__(self, other: ColumnProfile) -> ColumnProfile:
        parts: dict[str, Any] = {name: _joined(getattr(self, name), getattr(other, name)) for name in _PARTS}
        ends = None if self.ends is None or other.ends is None else _ends(pa.concat_arrays([self.ends, other.ends]))
        return ColumnProfile(self.type, self.rows + other.rows, self.nulls + other.nulls, self.nans + other.nans, ends=ends, **parts)

    @property
    def count(self) -> int:
        """How many values are not null."""
        return self.rows - self.nulls

    @property
    def nearly_unique(self) -> bool:
        """Whether each value may occur once, as far as an estimate tells, and no value is known to occur twice."""
        if self.distinct is None or self.top is None:
            return False
        return self.distinct.count >= _NEARLY * self.count and not bool((self.top.counts > 1).any())

    @property
    def perhaps_key(self) -> bool:
        """Whether an estimate alone says that the values, of a type that keys have, may each occur once."""
        return family(self.type) in KEYS and self.distinct is not None and self.distinct.approximate and self.nearly_unique

    def to_dict(self, top: int = 10, *, discreet: bool = False) -> dict[str, Any]:
        """Return plain values.

        Args:
            top: How many of the values and shapes that occur most often.
            discreet: Tell no value and no shape, only how many there are.
        """
        told: dict[str, Any] = {"type": str(self.type), "count": self.count, "nulls": self.nulls}
        if self.distinct is not None and self.top is not None:
            told["distinct"] = min(self.distinct.count, self.count)
            if self.distinct.approximate:
                told["distinctApproximate"] = True
            if not discreet:
                told |= _counts("top", self.top, top, self.type)
        if self.figures is not None and self.moments is not None and self.quantiles is not None:
            told["nan"] = self.nans
            if not discreet:
                told |= self._figures(self.figures, self.moments, self.quantiles)
        if self.ends is not None and not discreet:
            told |= dict(zip(("min", "max"), plain(self.ends) or (None, None), strict=True))
        if self.texts is not None:
            texts = self.texts
            mean = texts.characters / self.count if self.count else None
            told["empty"] = texts.empty
            told["length"] = {"min": texts.shortest, "max": texts.longest, "mean": mean}
            if not discreet:
                told |= _counts("patterns", texts.shapes, top, pa.string())
        return {**told, "withheld": True} if discreet else told

    def _figures(self, figures: Figures, moments: Moments, quantiles: Quantiles) -> dict[str, Any]:
        mean = figures.mean(self.type)
        ends = (None if end is None else plain(pa.array([end], self.type))[0] for end in (figures.least, figures.greatest))
        at = {str(share): quantiles.at(share) for share in SHARES}
        told = dict(zip(("min", "max"), ends, strict=True))
        told["mean"] = None if mean is None else plain_figure(mean, self.type, "mean")
        told["stddev"] = None if moments.deviation is None else plain_figure(moments.deviation, self.type, "stddev")
        told["quantiles"] = {share: None if one is None else plain_figure(one, self.type, "") for share, one in at.items()}
        if quantiles.approximate:
            told["quantilesApproximate"] = True
        return told


_PARTS = ("distinct", "top", "figures", "moments", "quantiles", "texts")


def _joined(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other


def _ends(values: pa.Array) -> pa.Array:
    if not len(values):
        return values
    ends = pc.min_max(values)
    return pa.array([ends["min"], ends["max"]], values.type)


def _not_nan(values: pa.Array) -> pa.Array:
    return pc.invert(pc.is_nan(values)) if pa.types.is_floating(values.type) else pc.is_valid(values)


def _counts(name: str, frequent: Frequent, most: int, kind: pa.DataType) -> dict[str, Any]:
    # A value with fewer than may have been missed is there by chance.
    found = [(value, count) for value, count in frequent.top(most, kind) if count > frequent.missed]
    told: dict[str, Any] = {name: [{"value": value, "count": count} for value, count in found]}
    return {**told, f"{name}Missed": frequent.missed} if frequent.missed else told


@dataclass(frozen=True)
class Profile:
    """What the rows of a table are like; two profiles of one schema are added up.

    Args:
        rows: How many there are.
        columns: By name; hidden columns are left out.
    """

    rows: int
    columns: dict[str, ColumnProfile]

    @classmethod
    def of(cls, batch: pa.RecordBatch, room: Room = WHOLE) -> Profile:
        """Return what the rows of a batch are like."""
        names = [name for name in batch.schema.names if not name.startswith(PREFIX)]
        return cls(batch.num_rows, {name: ColumnProfile.of(batch.column(batch.schema.get_field_index(name)), room) for name in names})

    @classmethod
    def nothing(cls, schema: pa.Schema, room: Room = WHOLE) -> Profile:
        """Return the profile of no rows."""
        return cls.of(pa.RecordBatch.from_arrays([pa.nulls(0, column.type) for column in schema], schema=schema), room)

    def __add__(self, other: Profile) -> Profile:
        return Profile(self.rows + other.rows, {name: column + other.columns[name] for name, column in self.columns.items()})

    def to_dict(self, top: int = 10) -> dict[str, Any]:
        """Return plain values.

        Args:
            top: Of each column, how many of the values and patterns that occur most often.
        """
        return {"rows": self.rows, "columns": {name: column.to_dict(top) for name, column in self.columns.items()}}

    def told(self, top: int = 10) -> list[dict[str, Any]]:
        """Return of each column its `name` and plain values, as a run's record holds them.

        Of a column whose name says that its values are secret, such as `password`, none of them is told: `withheld` is true instead.
        """
        return [{"name": name, **column.to_dict(top, discreet=keeps_secrets(name))} for name, column in self.columns.items()]


def profile(rows: pa.Table | Iterable[pa.RecordBatch]) -> Profile:
    """Return what rows are like.

    Args:
        rows: A table, or batches of one schema, of which there is at least one.
    """
    made = Profile.nothing(rows.schema) if isinstance(rows, pa.Table) else None
    for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
        for part in size.split(batch):
            made = Profile.of(part) if made is None else made + Profile.of(part)
    if made is None:
        raise ValueError("expected at least one batch, got none")
    return made
