"""Numbers of lines and rows in files that were read in parts: once all parts were read, those in a later part are counted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.numbering import PART_BITS
from beam_pipelines.io.connector import LedgerRow

__all__ = ["FROM", "Numbers"]

FROM = "from"  # key of the byte behind which a number counts, where a part before was not read to its end
_KINDS = ("line", "row")
_LATE = rf'^\{{"source":(?P<source>.*),"(?P<kind>{"|".join(_KINDS)})":(?P<number>[0-9]{{13,}})\}}$'


@dataclass(frozen=True)
class _Part:
    start: int  # byte of the file
    before: int | None  # lines or rows in the parts before; None: nobody knows


@dataclass(frozen=True)
class Numbers:
    """What the numbers of rows in origins are in their files.

    Args:
        parts: Of each file that was read in parts, by its name in origins.
    """

    parts: Mapping[str, tuple[_Part, ...]]

    @classmethod
    def of(cls, row: LedgerRow) -> Numbers | None:
        """By what a run read; None where no file was read in parts."""
        ranges = [part for part in row.window.ranges if "part" in part.bounds]
        if not ranges:
            return None
        counted = dict(row.counts.tally.counted) if row.counts else {}
        parts: dict[str, list[_Part]] = {}
        before: int | None = 0
        for part in ranges:
            of = parts.setdefault(str(part.bounds["label"]), [])
            before = before if of else 0
            of.append(_Part(int(part.bounds["start"]), before))
            before = before + counted[part.index] if before is not None and part.index in counted else None
        return cls({name: tuple(of) for name, of in parts.items()})

    def place(self, origin: Mapping[str, Any]) -> dict[str, Any]:
        """An origin as `columnar.origin.describe` gives it, with its number in the file."""
        told = dict(origin)
        kind = next((kind for kind in _KINDS if (told.get(kind) or 0) >> PART_BITS), None)
        if kind is not None and told.get("source") in self.parts:
            told |= self._number(str(told["source"]), kind, told[kind])
        return told

    def _number(self, source: str, kind: str, number: int) -> dict[str, int]:
        part = self.parts[source][number >> PART_BITS]
        within = number & ((1 << PART_BITS) - 1)
        return {kind: within + part.before} if part.before is not None else {kind: within, FROM: part.start}

    def told(self, batch: pa.RecordBatch, at: int) -> pa.RecordBatch:
        """A batch with `texts` of its column of origins, which is the one at `at`."""
        return batch.set_column(at, batch.schema.field(at), self.texts(batch.column(at)))

    def texts(self, origins: pa.Array) -> pa.Array:
        """The same of many origins as JSON, null where one is; of the type that they came in."""
        if pa.types.is_dictionary(origins.type):
            return pa.DictionaryArray.from_arrays(origins.indices, self.texts(origins.dictionary))
        found = pc.extract_regex(origins.cast(pa.string()), _LATE)
        late = np.flatnonzero(np.asarray(found.is_valid()))
        if not len(late):
            return origins
        found = found.take(pa.array(late))
        sources, kinds = found.field("source").dictionary_encode(), found.field("kind")
        numbers = np.asarray(found.field("number").cast(pa.int64()))
        # Few files and few parts: each of them is looked up once.
        parts = np.stack([np.asarray(sources.indices).astype(np.int64), numbers >> PART_BITS])
        each, which = np.unique(parts, axis=1, return_inverse=True)
        more, tails = [], []
        for source, part in each.T.tolist():
            name = orjson.loads(sources.dictionary[source].as_py())
            one = self.parts[name][part] if name in self.parts else _Part(0, part << PART_BITS)
            more.append(one.before or 0)
            tails.append("}" if one.before is not None else f',"{FROM}":{one.start}}}')
        which = which.reshape(-1)
        within = (numbers & ((1 << PART_BITS) - 1)) + np.array(more, dtype=np.int64)[which]
        told = pc.binary_join_element_wise(
            pa.scalar('{"source":'),
            sources.dictionary.take(sources.indices),
            pa.scalar(',"'),
            kinds,
            pa.scalar('":'),
            pa.array(within).cast(pa.string()),
            pa.array(tails, pa.string()).take(pa.array(which)),
            pa.scalar(""),
        )
        mask = np.zeros(len(origins), dtype=bool)
        mask[late] = True
        return pc.replace_with_mask(origins, pa.array(mask), told.cast(origins.type))

    def column(self, numbers: pa.Array, origins: pa.Array) -> pa.Array:
        """Numbers of rows in a column of their own, by their origins as `texts` gives them."""
        late = np.asarray(pc.fill_null(pc.greater_equal(numbers, 1 << PART_BITS), False))
        if not late.any():
            return numbers
        told = origins.dictionary_decode() if pa.types.is_dictionary(origins.type) else origins
        found = pc.extract_regex(told.filter(pa.array(late)), r'"row":(?P<number>[0-9]+)').field("number").cast(numbers.type)
        return pc.replace_with_mask(numbers, pa.array(late), found)
