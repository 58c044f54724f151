"""Two meanings that the engine does not give by itself: NaN is not greater than anything, and a constant must fit what it is compared with.

DuckDB sorts NaN above every number, so that `amount > 10` would keep a NaN. Here (contracts, section 3) an order comparison with a NaN is
false; equality is the engine's (NaN = NaN, -0.0 = 0.0), so `>=` and `<=` are true for two NaN; null stays null.
"""

from __future__ import annotations

import pyarrow as pa

from beam_pipelines.columnar.expression.engine import Engine
from beam_pipelines.columnar.expression.tree import Mistake, Node, cast, children, comparison, junction, literal, operation, place, walk

__all__ = ["Types", "check_constants", "operands", "order_nan"]

Types = dict[int, str]

_GREATER, _GREATER_EQUAL = "COMPARE_GREATERTHAN", "COMPARE_GREATERTHANOREQUALTO"
_LESS, _LESS_EQUAL = "COMPARE_LESSTHAN", "COMPARE_LESSTHANOREQUALTO"
_ORDERS = {_GREATER, _GREATER_EQUAL, _LESS, _LESS_EQUAL}
_NAN = cast(literal("NaN"), "DOUBLE")
MAX_NODES = 100_000  # operands are written twice, so that nested comparisons could double the text at each level


def operands(node: Node) -> list[Node]:
    """Return what a node compares; nothing for nodes that are no comparison."""
    if node.get("class") == "COMPARISON":
        return [node["left"], node["right"]]
    if node.get("class") == "BETWEEN":
        return [node["input"], node["lower"], node["upper"]]
    return list(node["children"]) if node.get("type") == "COMPARE_IN" else []


def check_constants(engine: Engine, node: Node, types: Types) -> None:
    """Refuse text constants that do not fit: `age > 'abc'` would fail on every row of the run.

    Args:
        engine: To try the constants in.
        node: Resolved tree.
        types: The engine's types of all operands that are no constants, by the operand's id.

    Raises:
        Mistake: With the constant's place.
    """
    for part in walk(node):
        typed = [types[id(operand)] for operand in operands(part) if types.get(id(operand), "VARCHAR") not in ("VARCHAR", '"NULL"')]
        for operand in operands(part) if typed else ():
            is_text = operand.get("class") == "CONSTANT" and operand["literal"]["kind"] == "STRING"
            if is_text and not _fits(engine, operand, typed[0]):
                raise Mistake(f"expected text that is a {typed[0]}, got {operand['literal']['text']!r}", place(operand))


def _fits(engine: Engine, constant: Node, kind: str) -> bool:
    import duckdb

    try:
        engine.query([f"CAST({engine.render([constant])[0]} AS {kind})"], pa.table({"c": [0]}))
    except duckdb.Error:
        return False
    return True


def order_nan(node: Node, types: Types) -> Node:
    """Return the tree with order comparisons of floating-point numbers made NaN-safe.

    Args:
        node: Resolved tree; changed.
        types: As in `check_constants`.

    Raises:
        Mistake: Comparisons are nested so deeply that the rewritten expression would be too large.
    """
    floats = {operand for operand, name in types.items() if name in ("FLOAT", "DOUBLE")}
    if not floats:
        return node
    rewritten = _rewrite(node, floats)
    if _nodes(rewritten, {}) > MAX_NODES:
        raise Mistake("comparisons of floating-point numbers are nested too deeply; split the expression over two steps")
    return rewritten


def _rewrite(node: Node, floats: set[int]) -> Node:
    maybe_nan = [id(operand) in floats and operand.get("class") != "CONSTANT" for operand in operands(node)]
    for container, key in list(children(node)):
        container[key] = _rewrite(container[key], floats)
    if not any(maybe_nan):
        return node
    if node["class"] == "BETWEEN":
        value, low, high = operands(node)
        floor = _safe(comparison(_GREATER_EQUAL, value, low), maybe_nan[0], maybe_nan[1])
        return junction("AND", [floor, _safe(comparison(_LESS_EQUAL, value, high), maybe_nan[0], maybe_nan[2])])
    return _safe(node, *maybe_nan) if node["type"] in _ORDERS else node


def _safe(node: Node, left_nan: bool, right_nan: bool) -> Node:
    """Return a comparison that is false when its greater side is NaN (and the other is not, where equal is enough)."""
    greater_is_left = node["type"] in (_GREATER, _GREATER_EQUAL)
    greater, lesser = (node["left"], node["right"]) if greater_is_left else (node["right"], node["left"])
    greater_nan, lesser_nan = (left_nan, right_nan) if greater_is_left else (right_nan, left_nan)
    if not greater_nan:
        return node
    is_number = comparison("COMPARE_NOTEQUAL", greater, _NAN)
    if lesser_nan and node["type"] in (_GREATER_EQUAL, _LESS_EQUAL):
        is_number = junction("OR", [is_number, comparison("COMPARE_EQUAL", lesser, _NAN)])
    elif lesser.get("class") != "CONSTANT" or lesser["literal"]["kind"] == "NULL_LITERAL":
        # Null compared with NaN is null, not false: under a NOT that is a difference.
        is_number = junction("OR", [is_number, operation("OPERATOR_IS_NULL", lesser)])
    return junction("AND", [node, is_number])


def _nodes(node: Node, known: dict[int, int]) -> int:
    """Count the nodes as they will be written; shared ones count each time but are visited once."""
    if id(node) not in known:
        known[id(node)] = 1 + sum(_nodes(container[key], known) for container, key in children(node))
    return known[id(node)]
