"""Sum rows up by a SELECT with GROUP BY or aggregates: an aggregate between two select lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone

import pyarrow as pa

from beam_pipelines.columnar.expression import Mistake, plan_error
from beam_pipelines.errors import FatalError, PlanError, Problem
from beam_pipelines.spec.step.aggregate import AggregateStep
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.spec.step.sql import SqlStep
from beam_pipelines.transforms.aggregate import Aggregate
from beam_pipelines.transforms.sql.projection import Projection
from beam_pipelines.transforms.sql.query import Query
from beam_pipelines.transforms.sql.select import selected
from beam_pipelines.transforms.sql.split import split_query
from beam_pipelines.transforms.sql.where import Where
from beam_pipelines.transforms.step import Applied

__all__ = ["GroupedSql"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class GroupedSql(Aggregate):
    """A sql step that sums up: WHERE and the arguments of aggregates before the groups, HAVING and the select list behind them.

    Args:
        model: From the definition.
        query: Its query.
        path: Where the step stands in it.

    Raises:
        PlanError: The query asks for what is not served, or the step is not required.
    """

    type = "sql"

    def __init__(self, model: SqlStep, query: Query, path: str) -> None:
        if not model.required:
            message = "expected true: a query that sums rows up cannot pass failed rows on, got false"
            raise PlanError("a query cannot be carried out", problems=[Problem(message, f"{path}.required")], code="spec-invalid")
        self._place = f"{path}.query"
        self._query, self._split = query, split_query(query, self._place)
        definition = {"id": model.id, "groupBy": list(self._split.groups), "aggregations": self._split.aggregations}
        super().__init__(AggregateStep.model_validate(definition), path)
        rows = FilterStep(id=model.id, condition="true")
        having = self._split.having
        self._where = None if query.where is None else Where(query.where, query.text, rows, path)
        self._of_groups = None if having is None else Where(having, query.text, rows, path, "HAVING")
        self._inner: Projection | None = None
        self._outer: Projection | None = None

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        self.open(schema, schema, _EPOCH)
        try:
            return self._projections()[1].schema
        finally:
            self.close()

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (it follows from the query)
        self._check_aliases(schema_in)
        inner = Projection(self._split.inner, schema_in, self._query.text, self._place, now)
        try:
            middle = self._summed(inner.schema)
            super().open(inner.schema, middle, now)  # which closes what was open
            self._inner = inner
            if self._where is not None:
                self._where.open(schema_in, schema_in, now)
            if self._of_groups is not None:
                self._of_groups.open(middle, middle, now)
            self._outer = Projection(self._split.outer, middle, self._query.text, self._place, now)
        except BaseException:
            inner.close()
            self.close()
            raise

    def close(self) -> None:
        super().close()
        for part in (self._where, self._of_groups, self._inner, self._outer):
            if part is not None:
                part.close()
        self._inner = self._outer = None

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the query reads."""
        return self._projections()[0].reads | (self._where.columns if self._where is not None else frozenset())

    def screened(self, batch: pa.RecordBatch) -> Applied:
        """Return the rows under WHERE, as what is grouped by and what is summed up."""
        return selected(batch, self._where, self._projections()[0])

    def results(self, states: Sequence[pa.RecordBatch], load: str) -> Applied:
        """Return the rows of groups under HAVING, with the columns of the select list."""
        groups = super().results(states, load)
        parts = [selected(batch, self._of_groups, self._projections()[1]) for batch in groups.batches]
        return replace(
            groups,
            batches=tuple(out for part in parts for out in part.batches),
            filtered=groups.filtered + sum(part.filtered for part in parts),
            dead=(*groups.dead, *(died for part in parts for died in part.dead)),
        )

    def _check_aliases(self, schema: pa.Schema) -> None:
        """Refuse to group by what is both a field and the name of something computed: databases do not agree on which is meant."""
        known = {name.lower() for name in schema.names}
        for name, place in self._query.aliases.items():
            if name.lower() in known:
                mistake = Mistake(f"{name!r} is a field, and the name of what is computed", place, "group by the place, as in GROUP BY 1")
                raise plan_error(mistake, self._query.text, self._place)

    def _summed(self, schema: pa.Schema) -> pa.Schema:
        try:
            return super().plan(schema, None)
        except PlanError as error:
            # What it names are parts of an aggregate step that the user has not written.
            problems = [Problem(problem.message, self._place, hint=problem.hint) for problem in error.problems]
            raise PlanError("a query cannot be carried out", problems=problems, code=error.code) from error

    def _projections(self) -> tuple[Projection, Projection]:
        if self._inner is None or self._outer is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._inner, self._outer
