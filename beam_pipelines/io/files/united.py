"""The columns of files that say themselves what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pyarrow as pa

from beam_pipelines.errors import PlanError

__all__ = ["united"]

F = TypeVar("F")


def united(files: Sequence[tuple[F, pa.Schema]], label: Callable[[F], str]) -> pa.Schema:
    """The columns of all files by name, in the order they first come; one that is nothing but null is text.

    Args:
        files: Each with its own columns.
        label: What messages call one.

    Raises:
        PlanError: Two files have a column of one name in different types, or one has two of a name.
    """
    known: dict[str, tuple[pa.DataType, F]] = {}
    for file, schema in files:
        if len(set(schema.names)) != len(schema.names):
            raise PlanError(f"{label(file)!r} has two columns of one name", code="type-unsupported")
        for column in schema:
            kind, path = known.get(column.name, (column.type, file))
            if pa.types.is_null(kind):
                kind, path = column.type, file
            if kind != column.type and not pa.types.is_null(column.type):
                one, other = label(path), label(file)
                raise PlanError(
                    f"column {column.name!r} is {kind} in {one!r} and {column.type} in {other!r}:"
                    " read them by two services, or write one of them anew",
                    code="type-unsupported",
                    details={"column": column.name, "files": [str(path), str(file)]},
                )
            known[column.name] = (kind, path)
    return pa.schema([(name, pa.string() if pa.types.is_null(kind) else kind) for name, (kind, _) in known.items()])
