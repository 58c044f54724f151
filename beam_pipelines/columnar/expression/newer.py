"""The trees of DuckDB 1.5, the last line for Python 3.10, as those of DuckDB 2: all other modules see one tree (docs/design/0009).

As strict as they are: a class, a key, a type or a constant without a rule here is refused. Where the two lines read one text differently
(`a ~ 'x'`, `NOT (a > b)`), it means here what it means to DuckDB 2, or is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from beam_pipelines.columnar.expression.older import COMMON, HALF, KEYS, NO_BOUND, PLAIN_TYPES, Unknown, below, call, replace
from beam_pipelines.columnar.expression.places import NOWHERE, Places
from beam_pipelines.columnar.expression.vocabulary import TYPES

__all__ = ["newer"]

Node = dict[str, Any]

MAX_DEPTH = 1_000  # of brackets; DuckDB 2 stops there by itself
_NEVER = {"WINDOW", "SUBQUERY", "STAR", "PARAMETER", "POSITIONAL_REFERENCE", "DEFAULT"}  # `tree` says why; what is in them does not matter
_OF_STARS = {"columns", "exclude_list", "qualified_exclude_list", "relation_name", "rename_list", "replace_list"}
_SYNTAX = {  # functions that the parser of 1.5 puts for syntax and writes with the schema `main`
    *("list_value", "struct_pack", "map", "row", "date_part", "timezone", "trim", "ltrim", "rtrim", "substring", "position", "overlay"),
    *("like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape", "list_apply", "list_filter"),
}
_OPPOSITES = (
    *(("COMPARE_EQUAL", "COMPARE_NOTEQUAL"), ("COMPARE_LESSTHAN", "COMPARE_GREATERTHANOREQUALTO")),
    *(("COMPARE_GREATERTHAN", "COMPARE_LESSTHANOREQUALTO"), ("COMPARE_DISTINCT_FROM", "COMPARE_NOT_DISTINCT_FROM")),
)
_OPPOSITE = {**dict(_OPPOSITES), **{other: one for one, other in _OPPOSITES}}


def newer(found: Node, statement: str) -> Node:
    """Return what 1.5 answered for a statement as 2 would have answered. Changes `found`.

    Expressions are translated where there is one statement; the rest stays, for its readers to compare with what it must be.

    Args:
        found: Of `json_serialize_sql`.
        statement: Its text.
    """
    statements = found.get("statements", [])
    select = statements[0].get("node", {}) if len(statements) == 1 else {}
    if found["error"] or select.get("type") != "SELECT_NODE":
        return found
    select.setdefault("cte_map", {})
    table = select.get("from_table", {})
    if table.get("type") == "BASE_TABLE" and not {"schema_name", "catalog_name"} & set(table):
        table["qualified_name"] = {"path": [table["table_name"]]}
    places = Places(statement)
    try:
        if statement.count("(") > MAX_DEPTH and places.depth() > MAX_DEPTH:
            raise Unknown("the expression is nested too deeply")
        for container, key in list(_tops(select)):
            top = [container[key]]
            replace(top, below, lambda node: _newer(node, places))
            replace(top, below, places.strip)
            container[key] = top[0]
    except Unknown as unknown:
        return {"error": True, "error_message": unknown.message, "position": unknown.place or 0}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # a shape that no rule here thought of
        return {"error": True, "error_message": "expected an expression of plain parts: DuckDB 1.5 says it in a way that is not known"}
    return found


def _tops(select: Node) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of the expressions of a SELECT."""
    for part in ("select_list", "group_expressions"):
        yield from ((select[part], number) for number in range(len(select.get(part, ()))))
    yield from ((select, part) for part in ("where_clause", "having") if part in select)
    for star in select.get("select_list", ()):
        yield from ((entry, "value") for entry in star.get("replace_list", ()))


def _newer(node: Node, places: Places) -> Node:
    kind, at = node.get("class", ""), node.get("query_location", NOWHERE)
    known = None if at == NOWHERE else at
    if kind in _NEVER:
        return places.put({key: node[key] for key in (COMMON | _OF_STARS) & set(node)}, [])
    if kind not in KEYS:
        raise Unknown(f"{kind.lower().replace('_', ' ')} is not allowed in an expression", known)
    if unknown := set(node) - COMMON - KEYS[kind]:
        raise Unknown(f"{', '.join(sorted(unknown))} is not allowed in an expression", known)
    parts = [container[key] for container, key in below(node)]
    changed = _RULES[kind](node, places) if kind in _RULES else node
    placed = places.put(changed, parts)
    return _denied(placed, places) if kind == "COMPARISON" else placed


def _newer_constant(node: Node, places: Places) -> Node:
    value, at = node.pop("value"), node.get("query_location", NOWHERE)
    kind, content = value["type"]["id"], value.get("value")
    if value["type"] == NO_BOUND and content is None:
        return call("list_value", node)
    if kind == "VARCHAR" and places.at(at, r"[xb]'"):
        raise Unknown("constants of bytes and bits are not read by DuckDB 1.5; write unhex('...')", at)
    if value["is_null"]:
        return {**node, "literal": {"kind": "NULL_LITERAL"}}
    if kind == "BOOLEAN":  # of `a IS TRUE`, at the IS
        return {**node, "query_location": NOWHERE, "literal": {"kind": "BOOLEAN", "text": "true" if content else "false"}}
    if kind == "VARCHAR":
        return {**node, "literal": {"kind": "STRING", **({"text": content} if content else {})}}
    if kind in ("INTEGER", "BIGINT", "HUGEINT", "UHUGEINT"):
        return {**node, "literal": {"kind": "INTEGER", "text": str(_whole(content))}}
    if kind == "DECIMAL":
        width, scale = value["type"]["type_info"]["width"], value["type"]["type_info"]["scale"]
        text = f"{Decimal(_whole(content)).scaleb(-scale):f}"
        return {**node, "literal": {"kind": "NUMERIC", "text": text.removeprefix("0") if width == scale else text}}  # .5 has one digit
    if kind == "DOUBLE" and math.isfinite(content):
        text = repr(float(content))
        return {**node, "literal": {"kind": "NUMERIC", "text": text if "e" in text else f"{text}e0"}}
    raise Unknown(f"expected a number, text, boolean or NULL, got a constant that is a {kind} or too large", at)


def _whole(content: Any) -> int:
    return content["upper"] * HALF + content["lower"] if isinstance(content, dict) else int(content)


def _newer_function(node: Node, places: Places) -> Node:
    name, parts, at = node["function_name"], node.pop("children", []), node.get("query_location", NOWHERE)
    written = places.at(at, r'"?main"?\s*\.')
    if node.get("schema") == "main" and "catalog" not in node and name in _SYNTAX and not written:
        del node["schema"]
    if not parts and name != "count_star" and at != NOWHERE and not places.at(at, places.NO_ARGUMENTS):
        raise Unknown("'*' names no single value", at)  # 1.5 leaves it out
    if name == "!__postfix":
        node.update(function_name="factorial", is_operator=False)
    elif name == "regexp_full_match" and places.at(at, r"~(?!~)"):
        node["function_name"] = "regexp_matches"  # `~` is a match anywhere in the text since 2.0
    elif name == "row":
        node["function_name"] = "struct_pack"  # that of 1.5 gives its members no names
        for number, part in enumerate(parts, 1):
            part.setdefault("alias", f"element{number}")
    path = [node[key] for key in ("catalog", "schema", "function_name") if key in node]
    arguments = [{**({"name": part["alias"]} if part.get("alias") else {}), "expression": part} for part in parts]
    return {**node, **({"arguments": arguments} if arguments else {}), "qualified_name": {"path": path}}


def _newer_cast(node: Node, _places: Places) -> Node:
    kind, child = node.pop("cast_type"), node["child"]
    constant = child["literal"] if child.get("class") == "CONSTANT" else {}
    if node.get("query_location", NOWHERE) == NOWHERE and kind == {"id": "BOOLEAN"} and constant.get("text") in ("t", "f"):
        text = "true" if constant["text"] == "t" else "false"  # the words `true` and `false`
        return {**child, **({"alias": node["alias"]} if "alias" in node else {}), "literal": {"kind": "BOOLEAN", "text": text}}
    return {**node, "type_expr": _newer_type(kind)}


def _newer_lambda(node: Node, places: Places) -> Node:
    arrow = places.at(node.get("query_location", NOWHERE), r"->")
    return {**node, "syntax_type": "SINGLE_ARROW" if arrow else "LAMBDA_KEYWORD"}


def _newer_operator(node: Node, places: Places) -> Node:
    if node["type"] == "COMPARE_NOT_IN":
        within = {"class": "OPERATOR", "type": "COMPARE_IN", "children": node["children"]}
        return {**node, "type": "OPERATOR_NOT", "children": [within]}
    first = node["children"][0] if node.get("children") else {}
    if first.get("function_name") == "regexp_full_match" and places.at(node.get("query_location", NOWHERE), r"!~(?!~)"):
        first.update(function_name="regexp_matches", qualified_name={"path": ["regexp_matches"]})
    return node


def _denied(node: Node, places: Places) -> Node:
    """Return `NOT (a > b)`, which 1.5 reads as `a <= b`, as it was written: where an order is NaN-safe they are not the same."""
    if places.negations(node) % 2 == 0:
        return node
    inner = {**node, "type": _OPPOSITE[node["type"]]}
    inner.pop("alias", None)
    kept = {key: value for key, value in node.items() if key not in ("left", "right")}
    return {**kept, "class": "OPERATOR", "type": "OPERATOR_NOT", "children": [inner]}


_RULES: dict[str, Callable[[Node, Places], Node]] = {
    "CONSTANT": _newer_constant,
    "FUNCTION": _newer_function,
    "CAST": _newer_cast,
    "LAMBDA": _newer_lambda,
    "OPERATOR": _newer_operator,
}


def _type(name: str, *parts: Node, schema: str | None = None) -> Node:
    inner = {"children": list(parts)} if parts else {}
    path = [name] if schema is None else [schema, name]
    named = {"type_name": name, "qualified_name": {"path": path}, **({} if schema is None else {"schema": schema})}
    return {"class": "TYPE", "type": "TYPE", **named, **inner}


def _newer_type(kind: Node) -> Node:
    """Return a type; one that has no rule gets a name that is not in the list of types."""
    name, info = kind["id"], kind.get("type_info", {})
    shape = info.get("type")
    if set(kind) <= {"id", "type_info"}:
        if name in PLAIN_TYPES and not info:
            return _type(name)
        if name == "DECIMAL" and set(info) == {"type", "width", "scale"}:
            return _type(
                name, *({"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": _digits(info[key])} for key in ("width", "scale"))
            )
        if name == "LIST" and set(info) == {"type", "child_type"}:
            return _type("list", _newer_type(info["child_type"]))
        if name in ("STRUCT", "MAP") and set(info) <= {"type", "child_type", "child_types"}:
            return _newer_fields(name, info)
        if shape == "UNBOUND_TYPE_INFO" and set(info) <= {"type", "name", "schema", "catalog"} and info.get("name"):
            return _type(info["name"], schema=info.get("catalog", info.get("schema")))
    named = str(info.get("name", info.get("alias", name)))
    return _type(f"{named} with {shape}" if named.lower() in TYPES else named)


def _digits(number: int) -> Node:
    return {"kind": "INTEGER", "text": str(number)}


def _newer_fields(name: str, info: Node) -> Node:
    fields = info["child_types"] if name == "STRUCT" else info["child_type"]["type_info"]["child_types"]
    parts = [_newer_type(field["second"]) for field in fields]
    return _type(name, *parts) if name == "MAP" else _type(name, *({**p, "alias": f["first"]} for p, f in zip(parts, fields, strict=True)))
