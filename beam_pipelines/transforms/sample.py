"""Keep a share of the rows, the same ones whatever the split and however often it is tried."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import hashing, origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.path import FieldPath
from beam_pipelines.errors import FatalError
from beam_pipelines.spec.step.sample import SampleStep
from beam_pipelines.transforms.binding import Binding
from beam_pipelines.transforms.step import Applied

__all__ = ["Sample"]

_BITS = 53  # of a hash that are compared: a double has no more


class Sample:
    """A sample step: a row is kept when a hash of where it came from, or of the fields of `by`, is below the share.

    So a smaller share with the same seed is a part of a larger one. Equal values of `by` are those that group by would put together.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "sample"
    needs_sample = False

    def __init__(self, model: SampleStep, path: str) -> None:
        self.id, self.required = model.id, model.required
        self._model, self._path = model, path
        self._below = np.uint64(math.ceil(model.fraction * 2**_BITS))
        self._by: list[FieldPath] | None = None

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the step reads."""
        return frozenset(path.name for path in self._opened())

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        self._bind(schema)
        return schema

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (they are the same)
        self._by = self._bind(schema_in)

    def close(self) -> None:
        self._by = None

    def apply(self, batch: pa.RecordBatch) -> Applied:
        hashes = hashing.seeded(self._hashes(batch), self._model.seed)
        kept = np.flatnonzero(hashes >> np.uint64(64 - _BITS) < self._below)
        filtered = batch.num_rows - len(kept)
        if not len(kept):
            return Applied((), filtered=filtered)
        return Applied((take(batch, kept) if filtered else batch,), filtered=filtered)

    @property
    def by_origin(self) -> bool:
        """Whether rows are told apart by where they came from."""
        return self._model.by is None

    def _hashes(self, batch: pa.RecordBatch) -> hashing.Words:
        paths = self._opened()
        if not paths:
            return origin.hashes(batch)
        names = [str(place) for place in range(len(paths))]
        return hashing.row_hashes(pa.RecordBatch.from_arrays([path.read(batch) for path in paths], names=names), names, one_type=True)

    def _opened(self) -> list[FieldPath]:
        if self._by is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._by

    def _bind(self, schema: pa.Schema) -> list[FieldPath]:
        binding = Binding()
        found = [binding.find_key(text, schema, f"{self._path}.by[{place}]") for place, text in enumerate(self._model.by or ())]
        binding.check("a sample cannot be taken")
        return [path for path in found if path is not None]
