"""A SELECT over the rows that come to a step."""

from __future__ import annotations

from beam_pipelines.spec.step.sql import SqlStep
from beam_pipelines.transforms.sql.grouped import GroupedSql
from beam_pipelines.transforms.sql.query import parse_query, renamed
from beam_pipelines.transforms.sql.split import group_names
from beam_pipelines.transforms.sql.step import Sql

__all__ = ["GroupedSql", "Sql", "build_sql", "group_names", "renamed"]


def build_sql(model: SqlStep, path: str) -> Sql | GroupedSql:
    """Return the step of a query, row by row or by groups.

    Args:
        model: From the definition.
        path: Where the step stands in it.

    Raises:
        PlanError: The query is no SELECT over `input`, or cannot be distributed.
    """
    query = parse_query(model.query, f"{path}.query")
    return Sql(model, query, path) if query.groups is None else GroupedSql(model, query, path)
