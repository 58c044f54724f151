"""Choose, compute and keep rows by a SELECT that is answered row by row."""

from __future__ import annotations

from datetime import datetime, timezone

import pyarrow as pa

from beam_pipelines.errors import FatalError
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.spec.step.sql import SqlStep
from beam_pipelines.transforms.sql.projection import Projection
from beam_pipelines.transforms.sql.query import Query, Star
from beam_pipelines.transforms.sql.select import selected
from beam_pipelines.transforms.sql.where import Where
from beam_pipelines.transforms.step import Applied

__all__ = ["Sql"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Sql:
    """A sql step: rows on which WHERE is true go on, with the columns of the select list.

    A column that is named is shared, not copied. A row on which an expression fails is a dead letter, shown as it came to the step;
    with `required: false` it goes on with null in all that is computed.

    Args:
        model: From the definition.
        query: Its query, which sums nothing up.
        path: Where the step stands in it.
    """

    type = "sql"
    needs_sample = False

    def __init__(self, model: SqlStep, query: Query, path: str) -> None:
        self.id, self.required = model.id, model.required
        self._path = f"{path}.query"
        self._query = query
        rows = FilterStep(id=model.id, required=model.required, condition="true")
        self._where = None if query.where is None else Where(query.where, query.text, rows, path)
        self._projection: Projection | None = None

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        if self._where is not None:
            self._where.plan(schema, None)
        projection = self._projected(schema, _EPOCH)
        projection.close()
        return projection.schema

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (it follows from the query)
        self.close()
        self._projection = self._projected(schema_in, now)
        if self._where is not None:
            self._where.open(schema_in, schema_in, now)

    def close(self) -> None:
        if self._projection is not None:
            self._projection.close()
        if self._where is not None:
            self._where.close()
        self._projection = None

    @property
    def drops(self) -> bool:
        """Whether only columns that the query names go on."""
        return not any(isinstance(one, Star) for one in self._query.chosen)

    @property
    def reads(self) -> frozenset[str]:
        """The columns that the query reads."""
        return self._opened().reads | (self._where.columns if self._where is not None else frozenset())

    def apply(self, batch: pa.RecordBatch) -> Applied:
        return selected(batch, self._where, self._opened(), required=self.required)

    def _projected(self, schema: pa.Schema, now: datetime) -> Projection:
        return Projection(self._query.chosen, schema, self._query.text, self._path, now, required=self.required)

    def _opened(self) -> Projection:
        if self._projection is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._projection
