"""What the rows of a table are like, column by column, measured batch by batch in states of bounded size that are merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import size
from beam_pipelines.columnar.convert import decoded, family
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.columnar.origin import PREFIX
from beam_pipelines.columnar.plain import plain
from beam_pipelines.rules.dataset.distinct import Distinct
from beam_pipelines.rules.dataset.figures import Figures, numbers
from beam_pipelines.rules.dataset.quantiles import Quantiles
from beam_pipelines.rules.dataset.statistic import plain_figure
from beam_pipelines.rules.profiling.frequent import Frequent
from beam_pipelines.rules.profiling.text_profile import TextProfile, readable

__all__ = ["ColumnProfile", "Profile", "profile"]

EXACT = 1 << 18  # different values that are counted exactly: two megabytes of hashes a column
CHARACTERS = 200  # of a text that count among the top values
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
    quantiles: Quantiles | None = None
    ends: pa.Array | None = None
    texts: TextProfile | None = None

    @classmethod
    def of(cls, array: pa.Array) -> ColumnProfile:
        """Return what the values of an array are like."""
        array = decoded(array)
        kind, name = array.type, family(array.type)
        made = cls(kind, len(array), array.null_count)
        if name not in _COUNTED or pa.types.is_float16(kind) or (name == "decimal" and kind.scale < 0):
            return made
        values = array.drop_null()
        if is_text(kind):
            values = readable(values)
        top = pc.utf8_slice_codeunits(values, 0, CHARACTERS) if is_text(kind) else values
        made = replace(made, distinct=Distinct.of(values, EXACT), top=Frequent.of(top))
        if name in _NUMBERS:
            found = numbers(values)
            return replace(made, nans=len(values) - len(found), figures=Figures.of(found), quantiles=Quantiles.of(found))
        if name in _TIMES:
            return replace(made, ends=_ends(values))
        return replace(made, texts=TextProfile.of(values)) if is_text(kind) else made

    def __add__(self, other: ColumnProfile) -> ColumnProfile:
        parts: dict[str, Any] = {name: _joined(getattr(self, name), getattr(other, name)) for name in _PARTS}
        ends = None if self.ends is None or other.ends is None else _ends(pa.concat_arrays([self.ends, other.ends]))
        return ColumnProfile(self.type, self.rows + other.rows, self.nulls + other.nulls, self.nans + other.nans, ends=ends, **parts)

    @property
    def count(self) -> int:
        """How many values are not null."""
        return self.rows - self.nulls

    def to_dict(self, top: int = 10) -> dict[str, Any]:
        """Return plain values.

        Args:
            top: How many of the values and shapes that occur most often.
        """
        told: dict[str, Any] = {"type": str(self.type), "count": self.count, "nulls": self.nulls}
        if self.distinct is not None and self.top is not None:
            told["distinct"] = min(self.distinct.count, self.count)
            if self.distinct.approximate:
                told["distinctApproximate"] = True
            told["top"] = _counts(self.top, top, self.type)
            if self.top.missed:
                told["topMissed"] = self.top.missed
        if self.figures is not None and self.quantiles is not None:
            told |= {"nan": self.nans, **self._figures(self.figures, self.quantiles)}
        if self.ends is not None:
            told |= dict(zip(("min", "max"), plain(self.ends) or (None, None), strict=True))
        if self.texts is not None:
            texts = self.texts
            mean = texts.characters / self.count if self.count else None
            told["empty"] = texts.empty
            told["length"] = {"min": texts.shortest, "max": texts.longest, "mean": mean}
            told["patterns"] = _counts(texts.shapes, top, pa.string())
        return told

    def _figures(self, figures: Figures, quantiles: Quantiles) -> dict[str, Any]:
        mean = figures.mean(self.type)
        ends = (None if end is None else plain(pa.array([end], self.type))[0] for end in (figures.least, figures.greatest))
        at = {str(share): quantiles.at(share) for share in SHARES}
        told = dict(zip(("min", "max"), ends, strict=True))
        told["mean"] = None if mean is None else plain_figure(mean, self.type, "mean")
        told["quantiles"] = {share: None if one is None else plain_figure(one, self.type, "") for share, one in at.items()}
        if quantiles.approximate:
            told["quantilesApproximate"] = True
        return told


_PARTS = ("distinct", "top", "figures", "quantiles", "texts")


def _joined(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other


def _ends(values: pa.Array) -> pa.Array:
    if not len(values):
        return values
    ends = pc.min_max(values)
    return pa.array([ends["min"], ends["max"]], values.type)


def _counts(frequent: Frequent, most: int, kind: pa.DataType) -> list[dict[str, Any]]:
    return [{"value": value, "count": count} for value, count in frequent.top(most, kind)]


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
    def of(cls, batch: pa.RecordBatch) -> Profile:
        """Return what the rows of a batch are like."""
        names = [name for name in batch.schema.names if not name.startswith(PREFIX)]
        return cls(batch.num_rows, {name: ColumnProfile.of(batch.column(batch.schema.get_field_index(name))) for name in names})

    @classmethod
    def nothing(cls, schema: pa.Schema) -> Profile:
        """Return the profile of no rows."""
        return cls.of(pa.RecordBatch.from_arrays([pa.nulls(0, column.type) for column in schema], schema=schema))

    def __add__(self, other: Profile) -> Profile:
        return Profile(self.rows + other.rows, {name: column + other.columns[name] for name, column in self.columns.items()})

    def to_dict(self, top: int = 10) -> dict[str, Any]:
        """Return plain values.

        Args:
            top: Of each column, how many of the values and patterns that occur most often.
        """
        return {"rows": self.rows, "columns": {name: column.to_dict(top) for name, column in self.columns.items()}}


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
