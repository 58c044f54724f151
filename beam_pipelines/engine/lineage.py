"""Which source columns arrive in the target under which name: what a key or a version column is called after the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["snake", "trace"]


def trace(columns: Sequence[str], steps: Sequence[Any], *, exact: bool) -> dict[str, str]:
    """Follow columns through the steps of a definition.

    Args:
        columns: Columns of the source.
        steps: The definition's step models.
        exact: Values must arrive unchanged (keys); else a column that keeps its name through a function is taken to keep its
            meaning (versions).

    Returns:
        Target name by source column; a column that is dropped, converted or, with `exact`, went through a function is not in it.
    """
    names = {column: column for column in columns}
    for step in steps:
        if step.type == "filter" and step.required:
            continue
        if step.type == "filter":
            continue
        if step.type == "map":
            names = _through_map(names, step)
        elif exact:
            return {}
    return names


def _through_map(names: dict[str, str], step: Any) -> dict[str, str]:
    plain: dict[str, str] = {}
    mapped: set[str] = set()
    for target, mapping in step.mappings.items():
        source = getattr(mapping, "source", None)
        mapped.add(target.split(".")[0])
        if source and not getattr(mapping, "converter", None) and getattr(mapping, "expression", None) is None:
            plain.setdefault(source, target)
    kept = {name for name in names.values() if step.unmapped == "keep" and name not in mapped and name not in plain}
    result = {}
    for column, name in names.items():
        if name in plain and getattr(step.mappings[plain[name]], "default", None) is None:
            result[column] = plain[name]
        elif name in kept:
            result[column] = name
    return result


def snake(name: str) -> str:
    """`CustomerID` and `customer id` as `customer_id`."""
    import re

    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^\w]+", "_", name)
    return re.sub(r"_+", "_", spaced).strip("_").lower()
