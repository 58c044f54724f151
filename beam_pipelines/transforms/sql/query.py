"""What a SELECT over `input` asks for; what cannot be distributed over rows, or groups of them, is refused with the reason and the place.

The statement is parsed by DuckDB, as expressions are. Only keys of its tree that are known here pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from beam_pipelines.columnar.expression import Engine, Mistake, Node, parse_statement, plan_error, statement_place

__all__ = ["Chosen", "Query", "Star", "has_aggregate", "is_aggregate", "parse_query", "renamed"]

TABLE = "input"
_KEYS = {
    *("type", "cte_map", "select_list", "from_table", "where_clause", "aggregate_handling", "modifiers"),
    *("group_expressions", "group_sets", "having", "qualify"),
}
_OVER_ROWS = """
    any_value approx_count_distinct approx_quantile arbitrary arg_max arg_min array_agg avg bit_and bit_or bit_xor bool_and bool_or corr
    count count_if count_star countif covar_pop covar_samp first geomean group_concat histogram kurtosis last list listagg mad max max_by
    mean median min min_by mode product quantile quantile_cont quantile_disc regr_slope skewness stddev stddev_pop stddev_samp string_agg
    sum var_pop var_samp variance
"""
_AGGREGATES = frozenset(_OVER_ROWS.split())
_SEVERAL = re.compile(r"\bgroup\s+by\b.*\b(?:rollup|cube|grouping\s+sets)(?:\s|/\*.*?\*/|--[^\n]*\n)*\(", re.IGNORECASE | re.DOTALL)
_MODIFIERS = {
    "ORDER_MODIFIER": (
        "ORDER BY",
        "rows come out of many workers, in no order",
        "number the rows by a step of type sort, or keep the first ones by one of type top",
    ),
    "LIMIT_MODIFIER": ("LIMIT", "each worker sees some of the rows", "use a step of type limit, top or sample"),
    "LIMIT_PERCENT_MODIFIER": ("LIMIT", "each worker sees some of the rows", "use a step of type limit, top or sample"),
    "DISTINCT_MODIFIER": ("DISTINCT ON", "rows come in no order, so there is no first one", "use a step of type deduplicate"),
}
_TABLES = {
    "JOIN": ("a join meets rows of other workers", "use a step of type join"),
    "SUBQUERY": ("a subquery in FROM is not served", "write it as a sql step before this one"),
    "TABLE_FUNCTION": ("a table function is not served", f"select FROM {TABLE}"),
    "EXPRESSION_LIST": ("VALUES are no rows of the service", f"select FROM {TABLE}"),
    "EMPTY": (f"expected FROM {TABLE}, which is missing", ""),
}


@dataclass(frozen=True)
class Star:
    """All columns of the input.

    Args:
        place: In bytes of the query.
        excluded: Columns that are left out, in lower case.
        replaced: Expressions in the place of columns, by their names in lower case.
    """

    place: int | None
    excluded: frozenset[str] = frozenset()
    replaced: dict[str, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Chosen:
    """An expression of the select list.

    Args:
        name: What it is called; None: it is a field, and keeps its name.
        node: Its tree.
    """

    name: str | None
    node: Node


@dataclass(frozen=True)
class Query:
    """A SELECT over `input`.

    Args:
        text: As the user wrote it.
        chosen: The select list.
        where: The condition, if there is one.
        groups: What is grouped by; None: the query is answered row by row.
        having: The condition on groups, if there is one.
        aliases: Names that are grouped by and were taken to be those of what is computed, with their places.
    """

    text: str
    chosen: tuple[Star | Chosen, ...]
    where: Node | None = None
    groups: tuple[Node, ...] | None = None
    having: Node | None = None
    aliases: Mapping[str, int | None] = field(default_factory=dict)


def parse_query(text: str, path: str) -> Query:
    """Read a query.

    Args:
        text: As the user wrote it.
        path: Where it stands in the definition.

    Raises:
        PlanError: Code `expression-invalid`; it is no SELECT, or cannot be distributed.
    """
    try:
        return _parsed(text)
    except Mistake as mistake:
        raise plan_error(mistake, text, path) from mistake


def renamed(text: str, names: Mapping[str, str]) -> dict[str, str]:
    """Follow columns through a query.

    Args:
        text: Of the query.
        names: Names before it, by whatever.

    Returns:
        The names after it, of the columns that come out as they were.

    Raises:
        PlanError: As `parse_query`.
    """
    moved: dict[str, str] = {}
    for one in parse_query(text, "").chosen:
        if isinstance(one, Star):
            gone = {*one.excluded, *one.replaced}
            moved |= {key: name for key, name in names.items() if name.lower() not in gone and key not in moved}
        elif one.node.get("class") == "COLUMN_REF" and len(one.node["column_names"]) == 1:
            (read,) = one.node["column_names"]
            same = [key for key, name in names.items() if name == read] or [
                key for key, name in names.items() if name.lower() == read.lower()
            ]
            if len(same) == 1:
                moved.setdefault(same[0], one.name or names[same[0]])
    return moved


@lru_cache(maxsize=256)
def _parsed(text: str) -> Query:
    engine = Engine()
    try:
        node = parse_statement(engine, text)
    finally:
        engine.close()
    if node.get("type") == "SET_OPERATION_NODE":
        raise Mistake("UNION, INTERSECT and EXCEPT take rows of two queries, and there is one input", hint="use a step of type union")
    if node.get("type") != "SELECT_NODE":
        raise Mistake("expected a plain SELECT")
    if node.get("cte_map"):
        raise Mistake("WITH names a query over all rows", hint="write it as a sql step before this one")
    relation = _relation(node.get("from_table", {}))
    _refuse_whole(node, text)
    unknown = sorted(set(node) - _KEYS)
    if unknown:
        raise Mistake(f"{', '.join(unknown)} is not served in a query")
    chosen = tuple(_chosen(one, relation) for one in node.get("select_list", ()))
    computed = [one for one in chosen if isinstance(one, Chosen)]
    plain = [one for one in node.get("group_expressions", ()) if one.get("class") == "COLUMN_REF" and len(one["column_names"]) == 1]
    aliases = {one["column_names"][0]: statement_place(one) for one in plain if any(_named(computed, one["column_names"][0]))}
    where, having = (None if key not in node else _bare(node[key], relation) for key in ("where_clause", "having"))
    return Query(text, chosen, where, _groups(node, chosen, relation), having, aliases)


def _relation(table: Node) -> str:
    """Return what the query calls its input, in lower case."""
    kind = table.get("type", "EMPTY")
    at = statement_place(table)
    if kind in _TABLES:
        message, hint = _TABLES[kind]
        raise Mistake(message, at, hint)
    name = str(table.get("table_name", ""))
    if kind != "BASE_TABLE" or name.lower() != TABLE or table.get("qualified_name") != {"path": [name]}:
        raise Mistake(f"expected the table {TABLE}, which is the rows that come to the step, got {name!r}", at)
    if table.get("sample"):
        raise Mistake("TABLESAMPLE gives other rows on each retry", at, "use a step of type sample")
    unknown = sorted(set(table) - {"type", "alias", "table_name", "qualified_name", "query_location", "query_location_length"})
    if unknown:
        raise Mistake(f"{', '.join(unknown)} is not served beside {TABLE}", at)
    return str(table.get("alias", name)).lower()


def _refuse_whole(node: Node, text: str) -> None:
    """Refuse what needs all rows at once, or an order of them."""
    for modifier in node.get("modifiers", ()):
        kind = modifier.get("type", "")
        if kind == "DISTINCT_MODIFIER" and "distinct_on_targets" not in modifier:
            continue
        word, why, hint = _MODIFIERS.get(kind, (str(kind), "it is not served", ""))
        raise Mistake(f"{word} cannot be carried out: {why}", _first_place(modifier), hint)
    if "qualify" in node:
        why = "QUALIFY needs a window function, which would see one batch of the rows"
        raise Mistake(why, _first_place(node["qualify"]), "use a step of type deduplicate, top or sort")
    groups = node.get("group_expressions", [])
    # DuckDB 1.5 leaves an empty set out of its tree, so the words are looked for as well.
    if groups and (node.get("group_sets") != [list(range(len(groups)))] or _SEVERAL.search(text)):
        raise Mistake(
            "ROLLUP, CUBE and GROUPING SETS group one row several times", _first_place(groups), "use a sql step for each grouping"
        )


def _groups(node: Node, chosen: Sequence[Star | Chosen], relation: str) -> tuple[Node, ...] | None:
    """Return what a query groups by; None: it sums nothing up."""
    computed = [one for one in chosen if isinstance(one, Chosen)]
    distinct = bool(node.get("modifiers"))
    by_all = node.get("aggregate_handling") != "STANDARD_HANDLING"
    written = [_bare(one, relation) for one in node.get("group_expressions", ())]
    sums = any(has_aggregate(one.node) for one in computed)
    if not (distinct or by_all or written or sums or "having" in node):
        return None
    if len(computed) < len(chosen):
        star = next(one for one in chosen if isinstance(one, Star))
        raise Mistake("'*' names no fields to group by", star.place, "name them")
    if distinct and (by_all or written or sums or "having" in node):
        raise Mistake("DISTINCT beside GROUP BY and aggregates is not served", hint="write it as a sql step behind this one")
    if distinct or by_all:
        return tuple(one.node for one in computed if not has_aggregate(one.node))
    return tuple(_meant(one, computed) for one in written)


def _meant(node: Node, computed: Sequence[Chosen]) -> Node:
    """Return what is grouped by where it is said by the place or the name of a part of the select list."""
    if node.get("class") == "CONSTANT":
        text = str(node["literal"].get("text", ""))
        if not text.isdecimal() or not 1 <= int(text) <= len(computed):
            raise Mistake(f"expected a field, or a place from 1 to {len(computed)} in the select list", statement_place(node))
        node = computed[int(text) - 1].node
    elif node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
        return next((one.node for one in _named(computed, node["column_names"][0])), node)
    if has_aggregate(node):
        raise Mistake("an aggregate cannot be grouped by", statement_place(node))
    return node


def _named(computed: Sequence[Chosen], name: str) -> Iterator[Chosen]:
    """What is computed of a row under a name."""
    for one in computed:
        if (one.name or "").lower() == name.lower() and one.node.get("class") != "COLUMN_REF" and not has_aggregate(one.node):
            yield one


def is_aggregate(node: Node) -> bool:
    """Whether a node is a call of an aggregate, served or not."""
    return node.get("class") == "FUNCTION" and str(node.get("function_name", "")).lower() in _AGGREGATES


def has_aggregate(node: Node) -> bool:
    """Whether there is an aggregate in an expression."""
    return any(is_aggregate(part) for part in _parts(node))


def _parts(value: Any) -> Iterator[Node]:
    """Every node below a value, whatever it is; of a subquery and a window none, for they are refused for what they are."""
    if isinstance(value, list):
        for part in value:
            yield from _parts(part)
    elif isinstance(value, dict):
        yield value
        if value.get("class") not in ("SUBQUERY", "WINDOW"):
            for part in value.values():
                yield from _parts(part)


def _first_place(value: Any) -> int | None:
    places = [at for part in _parts(value) if (at := statement_place(part)) is not None]
    return min(places, default=None)


def _chosen(node: Node, relation: str) -> Star | Chosen:
    at = statement_place(node)
    if node.get("class") == "STAR":
        return _star(node, relation)
    name = node.get("alias")
    if name is None and node.get("class") != "COLUMN_REF":
        raise Mistake("expected a name for what is computed", at, "write ... AS name")
    return Chosen(name, _bare(node, relation))


def _star(node: Node, relation: str) -> Star:
    at = statement_place(node)
    known = {"class", "type", "query_location", "query_location_length", "columns", "exclude_list", "replace_list", "relation_name"}
    unknown = sorted(set(node) - known)
    if unknown or node.get("columns"):
        raise Mistake("expected *, with EXCLUDE or REPLACE if need be; patterns and renamings of columns are not served", at)
    if str(node.get("relation_name", relation)).lower() != relation:
        raise Mistake(f"no table {node['relation_name']!r} in the query", at)
    excluded = [one if isinstance(one, str) else str(one.get("column", "")) for one in node.get("exclude_list", ())]
    replaced = {str(one["key"]).lower(): _bare(one["value"], relation) for one in node.get("replace_list", ())}
    return Star(at, frozenset(name.lower() for name in excluded), replaced)


def _bare(node: Node, relation: str) -> Node:
    """Return a tree whose fields are named without their table."""

    def bare(value: Any) -> Any:
        if isinstance(value, list):
            return [bare(part) for part in value]
        if not isinstance(value, dict):
            return value
        copied = {key: bare(part) for key, part in value.items()}
        names = copied.get("column_names", [])
        if copied.get("class") == "COLUMN_REF" and len(names) > 1 and names[0].lower() == relation:
            copied["column_names"] = names[1:]
        return copied

    found: Node = bare(node)
    return found
