"""The trees of DuckDB 2 as those of 1.5, the last line for Python 3.10 (docs/design/0009): before the engine writes them as text.

What the two lines share and how they differ is a list of what is known: a class, a type or a constant that is not in it is refused.
(The shapes were found by comparing 1.5.6 with 2.0.1 over the grammar.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["HALF", "KEYS", "NO_BOUND", "PLAIN_TYPES", "Unknown", "below", "call", "older", "replace"]

Node = dict[str, Any]

COMMON = {"class", "type", "alias", "query_location"}
KEYS: dict[str, set[str]] = {  # of an expression's node in a tree of 1.5, beside the common ones
    "CONSTANT": {"value"},
    "COLUMN_REF": {"column_names"},
    "FUNCTION": {
        *("function_name", "schema", "catalog", "children", "filter", "order_bys", "distinct", "is_operator", "export_state"),
    },
    "CAST": {"child", "cast_type", "try_cast"},
    "COMPARISON": {"left", "right"},
    "CONJUNCTION": {"children"},
    "OPERATOR": {"children"},
    "CASE": {"case_checks", "else_expr"},
    "BETWEEN": {"input", "lower", "upper"},
    "COLLATE": {"child", "collation"},
    "LAMBDA": {"lhs", "expr"},
}
PLAIN_TYPES = {
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
    *("FLOAT", "DOUBLE", "VARCHAR", "BLOB", "BIT", "DATE", "TIME", "TIME WITH TIME ZONE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
    *("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "INTERVAL", "UUID", "NULL"),
}
NO_BOUND = {"id": "LIST", "type_info": {"type": "LIST_TYPE_INFO", "child_type": {"id": "INTEGER"}}}  # of a slice, as in `a[:2]`
HALF = 1 << 64  # integers of 128 bits are written as two halves
_INTEGERS = (
    *(("INTEGER", -(1 << 31), 1 << 31), ("BIGINT", -(1 << 63), 1 << 63)),
    *(("HUGEINT", -(1 << 127), 1 << 127), ("UHUGEINT", 0, 1 << 128)),
)
_DECIMAL_DIGITS, _SHORT_DECIMAL = 38, 18  # of any decimal, and of one that is written as one number and not as two halves


class Unknown(Exception):  # noqa: N818 (it never leaves this package)
    """What a tree of DuckDB 1.5 says and no rule here knows.

    Args:
        message: What came.
        place: Byte offset into the statement, None when unknown.
    """

    def __init__(self, message: str, place: int | None = None) -> None:
        super().__init__(message)
        self.message, self.place = message, place


def older(node: Node) -> Node:
    """Return a tree of DuckDB 2 as one that 1.5 writes as text.

    Raises:
        Unknown: There is none.
    """
    top = [json.loads(json.dumps(node))]  # a tree may have one node in several places, and is the caller's
    replace(top, below, _older)
    result: Node = top[0]
    return result


def replace(top: list[Any], below: Callable[[Node], Iterator[tuple[Any, Any]]], change: Callable[[Node], Node]) -> None:
    """Replace each node of the trees by what `change` makes of it, children first; without recursion: the engine's depth is 1,000."""
    todo: list[tuple[Any, Any]] = [(top, number) for number in range(len(top))]
    order = []
    while todo:
        container, key = todo.pop()
        order.append((container, key))
        todo.extend(below(container[key]))
    for container, key in reversed(order):
        container[key] = change(container[key])


def below(node: Node) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of the expressions below a node of either line; nothing of a node that is refused whole."""
    if node.get("class") not in KEYS:
        return
    yield from (
        (node, key) for key in ("child", "left", "right", "input", "lower", "upper", "else_expr", "lhs", "expr", "filter") if key in node
    )
    parts = node.get("children", [])
    yield from ((parts, number) for number in range(len(parts)))
    yield from ((argument, "expression") for argument in node.get("arguments", ()))
    for check in node.get("case_checks", ()):
        yield check, "when_expr"
        yield check, "then_expr"


def call(name: str, node: Node) -> Node:
    """Return a call without arguments at the place of `node`."""
    named = {"class": "FUNCTION", "type": "FUNCTION", "function_name": name, "qualified_name": {"path": [name]}, "is_operator": False}
    return {**{key: node[key] for key in ("alias", "query_location") if key in node}, **named, "order_bys": {"type": "ORDER_MODIFIER"}}


def _older(node: Node) -> Node:
    kind = node.get("class", "")
    node.pop("query_location_length", None)
    if kind == "CONSTANT":
        return _older_constant(node)
    if kind == "FUNCTION":
        arguments = node.get("arguments", ())
        parts = [argument["expression"] | ({"alias": argument["name"]} if "name" in argument else {}) for argument in arguments]
        return {**{key: value for key, value in node.items() if key in COMMON | KEYS[kind]}, "children": parts}
    if kind == "CAST":
        return {**{key: value for key, value in node.items() if key != "type_expr"}, "cast_type": _older_type(node["type_expr"])}
    if kind == "LAMBDA":  # only `a -> 'b'`, which reads JSON: as a lambda it would be deprecated
        return {**call("->", node), "is_operator": True, "children": [node["lhs"], node["expr"]]}
    if node.get("type") == "ARRAY_SLICE":
        empty = [part.get("function_name") == "list_value" and not part["children"] for part in node["children"]]
        bounds = [_value(NO_BOUND, {"children": []}) if left_out else part for left_out, part in zip(empty, node["children"], strict=True)]
        return {**node, "children": bounds}
    if kind not in KEYS:
        raise Unknown(f"no node of class {kind} is known to DuckDB 1.5")
    return node


def _value(kind: Node, content: Any) -> Node:
    value = {"type": kind, "is_null": content is None, **({} if content is None else {"value": content})}
    return {"class": "CONSTANT", "type": "VALUE_CONSTANT", "value": value}


def _older_constant(node: Node) -> Node:
    kind, text = node["literal"]["kind"], node["literal"].get("text", "")
    alias = {"alias": node["alias"]} if "alias" in node else {}
    if kind == "NULL_LITERAL":
        return {**alias, **_value({"id": "NULL"}, None)}
    if kind == "BOOLEAN":
        return {**alias, **_value({"id": "BOOLEAN"}, text == "true")}
    if kind == "STRING":
        return {**alias, **_value({"id": "VARCHAR"}, text)}
    if kind in ("INTEGER", "NUMERIC"):
        return {**alias, **_older_number(text.replace("_", ""))}
    raise Unknown(f"no constant of kind {kind} is known to DuckDB 1.5")


def _older_number(text: str) -> Node:
    """Return a number of the type that both lines give it: the smallest integer or decimal that holds its digits, else a double."""
    digits = text.lstrip("-").replace(".", "")
    if re.fullmatch(r"-?\d+", text):
        for name, low, high in _INTEGERS:
            if low <= int(text) < high:
                return _value({"id": name}, _written(int(text), name.endswith("HUGEINT")))
    elif re.fullmatch(r"-?\d*\.\d*", text) and len(digits) <= _DECIMAL_DIGITS:
        info = {"type": "DECIMAL_TYPE_INFO", "width": len(digits), "scale": len(text.partition(".")[2])}
        return _value({"id": "DECIMAL", "type_info": info}, _written(int(text.replace(".", "")), len(digits) > _SHORT_DECIMAL))
    double = {"class": "CAST", "type": "OPERATOR_CAST", "try_cast": False, "cast_type": {"id": "DOUBLE"}}
    return {**double, "child": _value({"id": "VARCHAR"}, text)}  # as a number 1.5 would write 1000.0 for 1e3, which is a decimal


def _written(number: int, halves: bool) -> Any:
    return {"upper": number // HALF, "lower": number % HALF} if halves else number


def _older_type(node: Node) -> Node:
    name, parts = str(node["type_name"]), node.get("children", [])
    upper = name.upper()
    if upper in PLAIN_TYPES:
        return {"id": upper}
    if upper == "DECIMAL" and parts:
        width, scale = (int(part["literal"]["text"]) for part in parts)
        return {"id": upper, "type_info": {"type": "DECIMAL_TYPE_INFO", "width": width, "scale": scale}}
    if upper == "LIST" and parts:
        return {"id": upper, "type_info": {"type": "LIST_TYPE_INFO", "child_type": _older_type(parts[0])}}
    if upper in ("STRUCT", "MAP") and parts:
        names = ["key", "value"] if upper == "MAP" else [part["alias"] for part in parts]
        fields = [{"first": first, "second": _older_type(part)} for first, part in zip(names, parts, strict=True)]
        info = {"type": "STRUCT_TYPE_INFO", "child_types": fields}
        if upper == "STRUCT":
            return {"id": upper, "type_info": info}
        return {"id": upper, "type_info": {"type": "LIST_TYPE_INFO", "child_type": {"id": "STRUCT", "type_info": info}}}
    if parts or "schema" in node:
        raise Unknown(f"no type {name} with parameters or a schema is known to DuckDB 1.5")
    return {"id": "UNBOUND", "type_info": {"type": "UNBOUND_TYPE_INFO", "name": name}}
