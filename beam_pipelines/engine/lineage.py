"""Which source columns arrive in the target under which name: what a key or a version column is called after the steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beam_pipelines.errors import PlanError

__all__ = ["BY_GROUPS", "gives_one", "group_columns", "meant", "remembers", "snake", "sums_up", "takes_others", "trace"]

BY_GROUPS = ("deduplicate", "top", "limit", "sort")
# Steps that give some of the rows, each with its values, and perhaps columns beside them.
_AS_THEY_ARE = ("filter", "sample", "enrich", "validate", *BY_GROUPS)
_SUMS = ("aggregate", "pivot", "window")


def trace(columns: Iterable[str], steps: Sequence[Any], *, exact: bool) -> dict[str, str]:
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
        if step.type == "map":
            names = _through_map(names, step)
        elif step.type == "union":
            # The other source brings rows of its own.
            names = {} if exact else names
        elif step.type == "join":
            # Of several matches a row comes out several times, but by time; and a right side may bring rows of its own.
            names = {} if exact and step.how not in ("semi", "anti") and step.as_of is None else names
        elif sums_up(step):
            # The rows of a group are one now: what told the source's rows apart does so no more.
            group = {meant(text, names.values()): name for text, name in _groups(step).items()}
            names = {} if exact else {column: group[name] for column, name in names.items() if name in group}
        elif step.type == "explode":
            # What told the source's rows apart does so no more, and what has the name of the list now is its elements.
            names = {} if exact else {column: name for column, name in names.items() if name != meant(step.field, names.values())}
        elif step.type == "sql":
            names = _through_query(names, step)
        elif step.type not in _AS_THEY_ARE and exact:
            return {}
    return names


def group_columns(steps: Sequence[Any]) -> tuple[str, ...] | None:
    """Return what the columns that the last aggregate groups by, or a deduplicate behind it keeps one row of, are called in the end.

    Returns:
        None: there is neither. Nothing: the aggregate has no `groupBy`, or not all of its columns arrive unchanged.
    """
    for at in reversed(range(len(steps))):
        if steps[at].type == "deduplicate" and steps[at].by and not any(set(".[") & set(text) for text in steps[at].by):
            names = trace(steps[at].by, steps[at + 1 :], exact=True)
            if len(names) == len(steps[at].by):
                return tuple(names.values())
        if sums_up(steps[at]):
            groups = tuple(_groups(steps[at]).values())
            names = trace(groups, steps[at + 1 :], exact=True)
            return tuple(names.values()) if len(names) == len(groups) else ()
    return None


def gives_one(steps: Iterable[Any]) -> bool:
    """Whether of each row that comes to some steps one comes out at most; those that nobody knows it of are taken to give several."""
    return all(step.type in ("map", *_AS_THEY_ARE) for step in steps)


def sums_up(step: Any) -> bool:
    """Whether the step of a model makes one row of many."""
    return step.type in _SUMS or (step.type == "sql" and _of_query(step) is not None)


def remembers(step: Any) -> bool:
    """Whether a step of a stream remembers keys of its rows, by which later ones are told to repeat them."""
    return step.type == "validate" and any(rule.type == "unique" for rule in step.rules)


def takes_others(step: Any) -> bool:
    """Whether a step tells of rows what takes other rows to tell, or those of another source, so that they come in any order."""
    if step.type != "validate":
        return False
    from beam_pipelines.spec.rule.dataset import SetRule  # few services have rules

    return step.profile or any(rule.type in ("unique", "foreign-key") or isinstance(rule, SetRule) for rule in step.rules)


def _groups(step: Any) -> Mapping[str, str]:
    """What a step that sums up groups by, with the names of the columns."""
    if step.type == "window":
        return {"windowStart": "windowStart", **dict(zip(step.group_by, step.group_names, strict=True))}
    if step.type in _SUMS:
        return dict(zip(step.group_by, step.group_names, strict=True))
    return _of_query(step) or {}


def _of_query(step: Any) -> Mapping[str, str] | None:
    from beam_pipelines.transforms.sql import group_names

    try:
        return group_names(step.query)
    except PlanError:
        return None  # the step itself refuses it, with its place


def _through_map(names: Mapping[str, str], step: Any) -> dict[str, str]:
    from beam_pipelines.columnar.path import PathProblem, target_parts

    moved: dict[str, str] = {}  # by name before the map
    sources: set[str] = set()
    targets: set[str] = set()
    for target, mapping in step.mappings.items():
        try:
            parts = target_parts(target)
        except PathProblem:
            continue  # the step itself refuses it, with its place
        targets.add(parts[0])
        if mapping.source is None:
            continue
        source = meant(mapping.source, names.values())
        sources.add(source)
        if len(parts) == 1 and mapping.converter is None and mapping.default is None:
            moved.setdefault(source, target)
    # What is the whole source of a mapping was renamed, whatever the mapping made of it, and what a target has the name of was replaced.
    kept = {name for name in names.values() if name not in sources and name not in targets} if step.unmapped == "keep" else set()
    through = {column: moved.get(name, name if name in kept else None) for column, name in names.items()}
    return {column: name for column, name in through.items() if name is not None}


def _through_query(names: Mapping[str, str], step: Any) -> dict[str, str]:
    from beam_pipelines.transforms.sql import renamed

    try:
        return renamed(step.query, names)
    except PlanError:
        return {}  # the step itself refuses it, with its place


def meant(source: str, names: Iterable[str]) -> str:
    """The name among some that a field of a step means: the same, or the only one that differs in case."""
    same = [name for name in names if name.lower() == source.lower()]
    return same[0] if len(same) == 1 else source


def snake(name: str) -> str:
    """`CustomerID` and `customer id` as `customer_id`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^\w]+", "_", name)
    return re.sub(r"_+", "_", spaced).strip("_").lower()
