"""The columns of files that say themselves what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import pyarrow as pa

from beam_pipelines.errors import PlanError

__all__ = ["misfits", "united"]

F = TypeVar("F")
_EARLIER = "the files of earlier runs"


def united(files: Sequence[tuple[F, pa.Schema]], label: Callable[[F], str], before: pa.Schema | None = None) -> pa.Schema:
    """The columns of all files by name, in the order they first come; one that is nothing but null is text.

    Args:
        files: Each with its own columns.
        label: What messages call one.
        before: Columns of earlier files, which come first, and whose types stand.

    Raises:
        PlanError: Two files have a column of one name in different types, or one has two of a name.
    """
    known: dict[str, tuple[pa.DataType, F | None]] = {column.name: (column.type, None) for column in before or ()}
    for file, schema in files:
        if len(set(schema.names)) != len(schema.names):
            raise PlanError(f"{label(file)!r} has two columns of one name", code="type-unsupported")
        for column in schema:
            kind, path = known.get(column.name, (column.type, file))
            if pa.types.is_null(kind):
                kind, path = column.type, file
            if kind != column.type and not pa.types.is_null(column.type):
                one, other = _EARLIER if path is None else repr(label(path)), label(file)
                raise PlanError(
                    f"column {column.name!r} is {kind} in {one} and {column.type} in {other!r}:"
                    " read them by two services, or write one of them anew",
                    code="type-unsupported",
                    details={"column": column.name, "files": [str(path or _EARLIER), str(file)]},
                )
            known[column.name] = (kind, path)
    return pa.schema([(name, pa.string() if pa.types.is_null(kind) else kind) for name, (kind, _) in known.items()])


def misfits(files: Sequence[tuple[F, pa.Schema]], before: pa.Schema | None) -> dict[F, str]:
    """The files that do not go with the others, and why.

    The type of a column is the one that it had before, else the one that more than half of the files have that have it. Where there is no
    such type nobody knows which file is at fault, and none is named.

    Args:
        files: Each with its own columns.
        before: Columns of earlier files.
    """
    found: dict[str, Counter[pa.DataType]] = {}
    for _, schema in files:
        for column in schema:
            if not pa.types.is_null(column.type):
                found.setdefault(column.name, Counter())[column.type] += 1
    settled = {column.name: (column.type, _EARLIER) for column in before or ()}
    for name, kinds in found.items():
        ((kind, count),) = kinds.most_common(1)
        if name not in settled and 2 * count > kinds.total():
            settled[name] = (kind, "most of the others")
    return {file: why for file, schema in files if (why := _misfit(schema, settled))}


def _misfit(schema: pa.Schema, settled: dict[str, tuple[pa.DataType, str]]) -> str:
    if len(set(schema.names)) != len(schema.names):
        return "it has two columns of one name"
    for column in schema:
        kind, where = settled.get(column.name, (column.type, ""))
        if column.type != kind and not pa.types.is_null(column.type):
            more = ", or read all files again with --full-refresh" if where == _EARLIER else ""
            return f"column {column.name!r} is {column.type} in it, and {kind} in {where}: write it anew{more}"
    return ""
