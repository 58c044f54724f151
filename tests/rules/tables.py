"""What tests of rules share: tables cut into batches, and a result as plain values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules import Result


def cut(table: pa.Table, ends: Sequence[int]) -> pa.Table:
    """Return the rows of a table as batches that end at some rows."""
    table = table.combine_chunks()
    bounds = [0, *sorted(ends), table.num_rows]
    parts = [table.slice(begin, end - begin) for begin, end in itertools.pairwise(bounds)]
    return pa.concat_tables(parts)


def told(result: Result) -> dict[str, Any]:
    """Return all that a result says."""
    return {
        **result.to_dict(),
        "violations": result.violations.to_pylist(),
        "valid": rows(result.valid),
        "rejected": rows(result.rejected),
        "schemas": (result.valid.schema, result.rejected.schema),
    }


def rows(table: pa.Table) -> list[str]:
    """Return rows as texts: NaN is then NaN, and 1 is not 1.0."""
    return [repr(row) for row in table.to_pylist()]


def found(result: Result, rule: str) -> list[int]:
    """Return the rows that violate a rule, as often as they do."""
    chosen = pc.equal(result.violations.column("rule").cast(pa.string()), rule)
    indices: list[int] = result.violations.column("recordIndex").filter(chosen).to_pylist()
    return indices


def of(result: Result, rule: str) -> dict[str, Any]:
    """Return what a result says of a rule."""
    return next(one.to_dict() for one in result.rules if one.rule.id == rule)
