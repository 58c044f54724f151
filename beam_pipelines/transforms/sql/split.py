"""A query with GROUP BY as three parts: what is computed of a row, what is summed up of a group, what is computed of its sums."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from beam_pipelines.columnar.expression import Mistake, Node, children, column, conditional, junction, literal, operation, plan_error
from beam_pipelines.columnar.expression import statement_place as place
from beam_pipelines.columnar.expression.vocabulary import CLOCK
from beam_pipelines.transforms.sql.query import Chosen, Query, has_aggregate, is_aggregate, parse_query

__all__ = ["Split", "group_names", "split_query"]

_PLACES = ("query_location", "query_location_length")
_FUNCTIONS = {
    **{name: name for name in ("sum", "avg", "min", "max", "median", "stddev")},
    "mean": "avg",
    "stddev_samp": "stddev",
    "stddev_pop": "stddev",
    "any_value": "first",
    "quantile_cont": "percentile",
}
_SERVED = "count, " + ", ".join(sorted(_FUNCTIONS))


@dataclass(frozen=True)
class Split:
    """The parts of a query.

    Args:
        inner: Columns of each row: what is grouped by, and the arguments of aggregates.
        groups: Names of the first of them.
        aggregations: Of an aggregate step over these columns.
        outer: The select list, over the row of a group.
        having: The condition on that row, if there is one.
    """

    inner: tuple[Chosen, ...]
    groups: tuple[str, ...]
    aggregations: dict[str, Any]
    outer: tuple[Chosen, ...]
    having: Node | None


def split_query(query: Query, path: str) -> Split:
    """Split a query that sums up.

    Args:
        query: With groups.
        path: Where it stands in the definition.

    Raises:
        PlanError: An aggregate is not served, or a field is neither grouped by nor in an aggregate.
    """
    try:
        return _split(query.text)
    except Mistake as mistake:
        raise plan_error(mistake, query.text, path) from mistake


def group_names(text: str) -> dict[str, str] | None:
    """Return the fields that a query groups by, as it writes them, with the names of their columns.

    Args:
        text: Of the query.

    Returns:
        None: it sums nothing up. Nothing: what it groups by is computed, or does not come out.

    Raises:
        PlanError: As `parse_query`.
    """
    query = parse_query(text, "")
    if query.groups is None:
        return None
    by_key = {_key(one.node): one.name or one.node["column_names"][-1] for one in reversed(query.chosen) if isinstance(one, Chosen)}
    names = {}
    for node in query.groups:
        if _key(node) not in by_key:
            return {}
        written = node["column_names"][0] if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1 else _key(node)
        names[written] = by_key[_key(node)]
    return names


@lru_cache(maxsize=256)
def _split(text: str) -> Split:
    query = parse_query(text, "")
    splitter = _Splitter(query)
    chosen = [one for one in query.chosen if isinstance(one, Chosen)]
    outer = [Chosen(one.name or str(one.node["column_names"][-1]), splitter.outer(one.node)) for one in chosen]
    having = None if query.having is None else splitter.outer(query.having, {one.name.lower(): one.node for one in chosen if one.name})
    aggregations = splitter.aggregations or {"*": [{"function": "count", "as": splitter.named("count(*)")}]}
    # A batch without columns would have no rows.
    inner = splitter.inner or [Chosen(splitter.named("row"), literal(True))]
    return Split(tuple(inner), tuple(splitter.groups.values()), aggregations, tuple(outer), having)


class _Splitter:
    """Names columns for what a group is, and for what is summed up of it, and puts them in the place of both."""

    def __init__(self, query: Query) -> None:
        self._text = query.text.encode()
        self._taken: set[str] = set()
        self._measures: dict[str, Node] = {}
        self.inner: list[Chosen] = []
        self.aggregations: dict[str, Any] = {}
        self.groups: dict[str, str] = {}
        for node in query.groups or ():
            if _key(node) not in self.groups:
                same = next((one.name for one in query.chosen if isinstance(one, Chosen) and _key(one.node) == _key(node)), None)
                known = node["column_names"][-1] if node.get("class") == "COLUMN_REF" else self._written(node)
                name = self.named(str(same or known))
                self.groups[_key(node)] = name
                self.inner.append(Chosen(name, node))

    def named(self, wish: str) -> str:
        """Return a name that is not taken, and that no path is read out of."""
        plain = re.sub(r"[.\[\]]", "_", wish).strip() or "group"
        name, number = plain, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{plain} {number}"
        self._taken.add(name.lower())
        return name

    def _written(self, node: Node) -> str:
        at = place(node)
        return "" if at is None else self._text[at : at + int(node.get("query_location_length", 0))].decode(errors="ignore")

    def outer(self, node: Node, aliases: dict[str, Node] | None = None) -> Node:
        """Return an expression over the row of a group; `aliases`: what else names mean."""
        key = _key(node)
        if key in self.groups:
            return _at(column(self.groups[key]), node)
        if is_aggregate(node):
            if key not in self._measures:
                self._measures[key] = self._measure(node)
            return _at(copy.deepcopy(self._measures[key]), node)
        if node.get("class") in ("WINDOW", "SUBQUERY"):
            return node  # refused for what it is
        if node.get("class") == "COLUMN_REF":
            name = str(node["column_names"][-1])
            if aliases and len(node["column_names"]) == 1 and name.lower() in aliases:
                return self.outer(aliases[name.lower()])
            if len(node["column_names"]) == 1 and name.lower() in CLOCK:
                return node
            raise Mistake(f"the field {name!r} is neither grouped by nor in an aggregate", place(node), "add it to GROUP BY")
        copied = copy.deepcopy(node)
        for container, at in list(children(copied)):
            container[at] = self.outer(container[at], aliases)
        return copied

    def _measure(self, node: Node) -> Node:
        """Have something summed up, and return what stands for it in the row of a group."""
        function, value, arguments = _called(node)
        label = self.named(self._written(node) or str(node["function_name"]))
        if value is None:
            self.aggregations["*"] = [{"function": function, "as": label}]
            return column(label)
        self.inner.append(Chosen(label, value))
        self.aggregations[label] = [{"function": function, "as": label, "args": arguments}]
        # Counted by a sum, which of no rows is null.
        counted = function == "sum" and str(node["function_name"]).lower() in ("count", "count_star")
        return operation("OPERATOR_COALESCE", column(label), literal(0)) if counted else column(label)


def _called(node: Node) -> tuple[str, Node | None, dict[str, Any]]:
    """Return the function of an aggregate step, what it is of (None: of rows), and its arguments."""
    name, at = str(node["function_name"]).lower(), place(node)
    given = [argument["expression"] for argument in node.get("arguments", ())]
    condition = node.get("filter")
    if node.get("order_bys", {}).get("orders"):
        raise Mistake(f"ORDER BY in {name} is not served", at, "use a step of type aggregate, with orderBy")
    if any(has_aggregate(part) for part in (*given, *([condition] if condition else []))):
        raise Mistake("an aggregate of an aggregate", at, "write the inner one as a sql step before this one")
    if node.get("distinct") and (name != "count" or len(given) != 1):
        raise Mistake(f"DISTINCT is served in count(DISTINCT field), not in {name}", at)
    if name in ("count", "count_star"):
        if node.get("distinct"):
            return "count_distinct", _where(condition, given[0]), {}
        there = [operation("OPERATOR_IS_NOT_NULL", part) for part in given] + ([condition] if condition else [])
        return ("sum", conditional(junction("AND", there), literal(1), literal(0)), {}) if there else ("count", None, {})
    share = given.pop() if name == "quantile_cont" and len(given) == 2 else None
    if name not in _FUNCTIONS or len(given) != 1 or (name == "quantile_cont") != (share is not None):
        raise Mistake(f"expected one of the aggregates {_SERVED}, of one field, got {name!r}", at)
    arguments: dict[str, Any] = {"of": "population"} if name == "stddev_pop" else {}
    if share is not None:
        arguments["p"] = _share(share, at)
    return _FUNCTIONS[name], _where(condition, given[0]), arguments


def _share(node: Node, at: int | None) -> float:
    try:
        return float(node["literal"]["text"])
    except (KeyError, TypeError, ValueError) as error:
        raise Mistake("expected a share from 0 to 1, as in quantile_cont(price, 0.9)", at) from error


def _where(condition: Node | None, value: Node) -> Node:
    return value if condition is None else conditional(condition, value, literal(None))


def _at(node: Node, like: Node) -> Node:
    return {**node, **{key: like[key] for key in _PLACES if key in like}}


def _key(node: Any) -> str:
    """What a part of a query says, wherever it stands; fields are the same whatever their case."""

    def said(value: Any) -> Any:
        if isinstance(value, list):
            return [said(part) for part in value]
        if not isinstance(value, dict):
            return value
        kept = {key: said(part) for key, part in value.items() if key not in (*_PLACES, "alias")}
        return {**kept, "column_names": [name.lower() for name in kept["column_names"]]} if "column_names" in kept else kept

    return json.dumps(said(node), sort_keys=True)
