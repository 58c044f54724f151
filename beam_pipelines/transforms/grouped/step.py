"""What steps that look at the rows of a group have in common: rows go to shards by their group, and are looked at there in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

import pyarrow as pa

from beam_pipelines.columnar.keys import key_columns, ranked, sortable, sorted_by
from beam_pipelines.columnar.path import FieldPath
from beam_pipelines.errors import FatalError
from beam_pipelines.spec.order import Term
from beam_pipelines.spec.step.base import StepBase
from beam_pipelines.transforms.binding import Binding
from beam_pipelines.transforms.grouped.blocks import Positions, column, in_order, picked, placed, unplaced
from beam_pipelines.transforms.step import Applied

__all__ = ["Grouped"]


class Grouped(ABC):
    """A step by groups.

    Rows come in blocks (`placed`), of which each knows its place in the order of the source. They are ordered by the step's fields, then by
    their places; in a field null is last and NaN before it, in both directions. What comes out is the same for blocks in any order, cut
    anywhere; of a step that drops rows also when `cut` has dropped some of them before.

    Args:
        model: From the definition.
        path: Where the step stands in it.
        by: Fields of a group; None: all columns.
        order: Fields that rows are ordered by.
    """

    type: str
    cuts: ClassVar[bool] = True  # some rows of a part of the source can be told not to come out
    needs_sample = False
    required = True

    def __init__(self, model: StepBase, path: str, by: Sequence[str] | None, order: Sequence[Term]) -> None:
        self.id = model.id
        self._path = path
        self._by, self._order = by, order
        self._keys: list[FieldPath] = []
        self._sorted: list[FieldPath] = []
        self._schema: pa.Schema | None = None

    @property
    def whole(self) -> bool:
        """Whether every column decides what comes out."""
        return self._by is None

    @property
    def columns(self) -> frozenset[str]:
        """The columns that decide what comes out."""
        self._opened()
        return frozenset(path.name for path in (*self._keys, *self._sorted))

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        self._bind(schema)
        return schema

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (it has no clock)
        self._keys, self._sorted = self._bind(schema_in)
        self._schema = schema_out

    def close(self) -> None:
        self._schema = None

    def apply(self, batch: pa.RecordBatch) -> Applied:
        """Carry the step out on one batch, as if it held every row."""
        return self.results([placed(batch, 0)])

    def keys(self, block: pa.RecordBatch) -> pa.RecordBatch | None:
        """Return the columns by whose hash rows go to shards; None: all rows are one group."""
        self._opened()
        columns = [part for key in self._keys for part in key_columns(key.read(block))]
        return pa.RecordBatch.from_arrays(columns, names=[f"k{at}" for at in range(len(columns))]) if columns else None

    def cut(self, blocks: Sequence[pa.RecordBatch]) -> tuple[list[pa.RecordBatch], Applied]:
        """Drop the rows that do not come out whatever others there are; at least one block must be given.

        Returns:
            Blocks of the rows that are left, and what is to be counted of those that are not.
        """
        kept = self._kept(*self._ranked(blocks))
        rows = sum(block.num_rows for block in blocks)
        return picked(blocks, kept), self._dropped((), rows - len(kept))

    def results(self, blocks: Sequence[pa.RecordBatch]) -> Applied:
        """Return what comes out of all rows of some groups; at least one block must be given."""
        kept, told = self.cut(blocks)
        return self._dropped(tuple(map(unplaced, kept)), told.filtered + told.absorbed)

    def _dropped(self, batches: tuple[pa.RecordBatch, ...], rows: int) -> Applied:
        """What is counted when rows do not come out."""
        return Applied(batches, filtered=rows)

    @abstractmethod
    def _kept(self, order: Positions, ranks: Positions) -> Positions:
        """Return the positions of the rows that come out, from those of all with their places in their group."""

    def _ranked(self, blocks: Sequence[pa.RecordBatch], *, last: bool = False) -> tuple[Positions, Positions]:
        """Return the positions of rows group by group in their order, and their places in the group; `last`: from the end of the order."""
        self._opened()
        order = in_order(blocks)
        by = [(column(blocks, path.read), term.descending != last) for path, term in zip(self._sorted, self._order, strict=True)]
        order = sorted_by(by, order[::-1] if last else order)
        parts = [[part for key in self._keys for part in key_columns(key.read(block))] for block in blocks]
        keys = [one[0] if len(one) == 1 else pa.concat_arrays(one) for one in map(list, zip(*parts, strict=True))]
        return ranked(keys, order)

    def _opened(self) -> pa.Schema:
        if self._schema is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._schema

    def _bind(self, schema: pa.Schema) -> tuple[list[FieldPath], list[FieldPath]]:
        binding = Binding()
        keys = [binding.find(text, schema, f"{self._path}.by[{at}]") for at, text in enumerate(self._by or ())]
        ordered = [binding.find(term.field, schema, f"{self._path}.orderBy") for term in self._order]
        for term, path in zip(self._order, ordered, strict=True):
            if path is not None and not sortable(path.type):
                message = f"expected a field whose values have an order, got {term.field!r}, a {path.type}"
                binding.refuse(message, f"{self._path}.orderBy", "name a field inside of it, or convert it in a map step")
        binding.check(f"step {self.id!r} cannot be carried out")
        if self._by is None:
            keys = [FieldPath(field.name, (), field.type, field.nullable) for field in schema]
        return [key for key in keys if key is not None], [path for path in ordered if path is not None]
