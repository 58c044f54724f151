"""From text to a checked tree. The parser is DuckDB's own, so that what is checked and what runs cannot differ.

A tree is the JSON that DuckDB's `json_serialize_sql` gives; `Node` is one expression in it. Only node classes and keys known here pass.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.expression.engine import TABLE, Engine
from beam_pipelines.columnar.expression.vocabulary import CLOCK, FUNCTIONS, NAMED_ARGUMENTS, OPERATORS, TYPES, refusal
from beam_pipelines.errors import Code

__all__ = [
    "Mistake",
    "Node",
    "cast",
    "children",
    "column",
    "comparison",
    "conditional",
    "function",
    "junction",
    "literal",
    "negation",
    "operation",
    "parse",
    "parse_statement",
    "part_of_statement",
    "resolve",
    "slot",
    "span",
    "statement_place",
    "walk",
]

Node = dict[str, Any]

MAX_CHARACTERS = 65_536  # a list of a few thousand codes; DuckDB itself stops at a depth of 1,000
_BEFORE = "SELECT (\n"
_AFTER = f"\n) AS v FROM {TABLE}"
_NOWHERE = (1 << 64) - 1  # DuckDB's position of nodes it made itself
_PLACES = {"query_location", "query_location_length"}
_COMMON = {"class", "type", "alias", *_PLACES}
_KEYS: dict[str, set[str]] = {
    "CONSTANT": {"literal"},
    "COLUMN_REF": {"column_names"},
    "FUNCTION": {
        *("function_name", "schema", "catalog", "order_bys", "distinct", "is_operator", "export_state", "filter", "arguments"),
        *("qualified_name", "is_legacy_function_call"),
    },
    "CAST": {"child", "try_cast", "type_expr"},
    "TYPE": {"type_name", "qualified_name", "children", "schema"},
    "COMPARISON": {"left", "right"},
    "CONJUNCTION": {"children"},
    "OPERATOR": {"children"},
    "CASE": {"case_checks", "else_expr"},
    "BETWEEN": {"input", "lower", "upper"},
    "COLLATE": {"child", "collation"},
    "LAMBDA": {"lhs", "expr", "syntax_type"},
}
_OPERATOR_TYPES = {
    *("OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_COALESCE", "OPERATOR_TRY"),
    *("COMPARE_IN", "ARRAY_EXTRACT", "ARRAY_SLICE", "STRUCT_EXTRACT"),
}
_COLLATIONS = {"nocase", "noaccent", "nfc", "nocase.noaccent", "noaccent.nocase"}
_REFUSED = {
    "WINDOW": "a window function would see one batch of the rows",
    "SUBQUERY": "a subquery would be run for one batch of the rows; use a list, as in x IN (1, 2)",
    "STAR": "'*' names no single value",
    "PARAMETER": "parameters have no value here",
    "LAMBDA": "lambdas are not served; use a step of type function",
    "POSITIONAL_REFERENCE": "name the field instead of its position",
    "DEFAULT": "DEFAULT has no meaning here",
}


class Mistake(Exception):  # noqa: N818 (it never leaves this package)
    """A mistake in an expression, before it is known where the expression stands.

    Args:
        message: What was expected and what came.
        place: Byte offset into the text, None when unknown.
        hint: What to do.
        code: Error code.
    """

    def __init__(self, message: str, place: int | None = None, hint: str = "", code: Code = "expression-invalid") -> None:
        super().__init__(message)
        self.message, self.place, self.hint, self.code = message, place, hint, code


def place(node: Node) -> int | None:
    """Return the byte offset of a node in the text it was parsed from."""
    at = node.get("query_location", _NOWHERE)
    return None if at == _NOWHERE or at < len(_BEFORE) else int(at) - len(_BEFORE)


def span(node: Node) -> tuple[int, int]:
    """Return the bytes of the text that a node was parsed from, its parts included (the engine places `a::int` at its `::`)."""
    parts = [part for part in walk(node) if place(part) is not None]
    begins = [place(part) or 0 for part in parts]
    ends = [begin + int(part.get("query_location_length", 0)) for begin, part in zip(begins, parts, strict=True)]
    return min(begins, default=0), max(ends, default=0)


def literal(value: Any) -> Node:
    """Return the node of a constant: text, number, boolean or None."""
    if value is None:
        content = {"kind": "NULL_LITERAL"}
    elif isinstance(value, bool):
        content = {"kind": "BOOLEAN", "text": "true" if value else "false"}
    elif isinstance(value, int):
        content = {"kind": "INTEGER", "text": str(value)}
    elif isinstance(value, str):
        content = {"kind": "STRING", "text": value}
    else:
        content = {"kind": "NUMERIC", "text": str(value)}
    return {"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": content}


def column(*names: str) -> Node:
    """Return the node of a field, nested fields by their names."""
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", "column_names": list(names)}


def slot(index: int) -> Node:
    """Return the node of the schema's field `index` as the engine's table names it: odd characters and case cannot collide there."""
    return column(f"c{index}")


def function(name: str, *arguments: Node) -> Node:
    """Return the node of a function call."""
    return {
        "class": "FUNCTION",
        "type": "FUNCTION",
        "function_name": name,
        "arguments": [{"expression": argument} for argument in arguments],
        "qualified_name": {"path": [name]},
        "order_bys": {"type": "ORDER_MODIFIER"},
        "is_operator": False,
    }


def operation(kind: str, *parts: Node) -> Node:
    """Return the node of an operator: `COMPARE_IN`, `OPERATOR_NOT`, `OPERATOR_IS_NULL`, `OPERATOR_TRY`..."""
    return {"class": "OPERATOR", "type": kind, "children": list(parts)}


def negation(part: Node) -> Node:
    """Return `NOT part`."""
    return operation("OPERATOR_NOT", part)


def comparison(kind: str, left: Node, right: Node) -> Node:
    """Return the node of a comparison: `COMPARE_EQUAL`, `COMPARE_LESSTHAN`..."""
    return {"class": "COMPARISON", "type": kind, "left": left, "right": right}


def junction(kind: str, parts: Sequence[Node]) -> Node:
    """Return `AND` or `OR` of the parts."""
    return parts[0] if len(parts) == 1 else {"class": "CONJUNCTION", "type": f"CONJUNCTION_{kind}", "children": list(parts)}


def conditional(when: Node, then: Node, otherwise: Node) -> Node:
    """Return `CASE WHEN when THEN then ELSE otherwise END`."""
    return {"class": "CASE", "type": "CASE_EXPR", "case_checks": [{"when_expr": when, "then_expr": then}], "else_expr": otherwise}


def cast(part: Node, type_name: str) -> Node:
    """Return `CAST(part AS type_name)`."""
    kind = {"class": "TYPE", "type": "TYPE", "type_name": type_name, "qualified_name": {"path": [type_name]}}
    return {"class": "CAST", "type": "OPERATOR_CAST", "child": part, "try_cast": False, "type_expr": kind}


def children(node: Node) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of each expression below a node, so that a caller may also replace it; types are not expressions."""
    for key in ("child", "left", "right", "input", "lower", "upper", "else_expr", "lhs", "expr"):
        if key in node:
            yield node, key
    if node.get("class") != "TYPE":
        parts = node.get("children", [])
        yield from ((parts, number) for number in range(len(parts)))
    yield from ((argument, "expression") for argument in node.get("arguments", ()))
    for check in node.get("case_checks", ()):
        yield check, "when_expr"
        yield check, "then_expr"


def walk(node: Node) -> Iterator[Node]:
    """Yield a node's descendants and then the node itself: children first."""
    for container, key in children(node):
        yield from walk(container[key])
    yield node


def parse(engine: Engine, text: str) -> Node:
    """Return the checked tree of one scalar expression, names still as they are written.

    Raises:
        Mistake: It is not one expression, or says what expressions may not say.
    """
    if not text.strip():
        raise Mistake("expected an expression, got empty text")
    if len(text) > MAX_CHARACTERS or "\0" in text:
        raise Mistake(f"expected at most {MAX_CHARACTERS} characters of text without NUL, got {len(text)}")
    try:
        found = engine.parse(_BEFORE + text + _AFTER)
    except RecursionError as error:
        raise Mistake("the expression is nested too deeply") from error
    if found["error"]:
        at = int(found.get("position", 0)) - len(_BEFORE)
        raise Mistake(_parser_words(str(found["error_message"]), text, at), min(max(at, 0), len(text.encode())))
    node = _only_expression(found)
    return _checked(node)


def parse_statement(engine: Engine, text: str) -> Node:
    """Return the tree of one SELECT as the engine gives it: nothing of it is checked, and places are bytes of the text.

    Raises:
        Mistake: It is not one.
    """
    if len(text) > MAX_CHARACTERS or "\0" in text:
        raise Mistake(f"expected at most {MAX_CHARACTERS} characters of text without NUL, got {len(text)}")
    try:
        found = engine.parse(text)
    except RecursionError as error:
        raise Mistake("the statement is nested too deeply") from error
    if found["error"]:
        if "Only SELECT" in str(found["error_message"]):
            raise Mistake("expected a SELECT, got another statement")
        message = str(found["error_message"]).partition("\n")[0].rstrip()
        raise Mistake(message, min(int(found.get("position", 0)), len(text.encode())))
    statements = found.get("statements", [])
    if len(statements) != 1:
        raise Mistake(f"expected one SELECT, got {len(statements)} statements")
    node: Node = statements[0]["node"]
    return node


def part_of_statement(node: Node) -> Node:
    """Return the checked tree of an expression in a statement that was parsed whole; places are bytes of the statement's text.

    Raises:
        Mistake: It says what expressions may not say.
    """
    return _checked(_shifted(node))


def statement_place(node: Node) -> int | None:
    """Return the byte offset of a part of a statement, as `parse_statement` gives it, in its text."""
    at = node.get("query_location", _NOWHERE)
    return None if at == _NOWHERE else int(at)


def _shifted(value: Any) -> Any:
    """Return a copy whose places are as if the text stood where an expression stands."""
    if isinstance(value, list):
        return [_shifted(part) for part in value]
    if not isinstance(value, dict):
        return value
    shifted = {key: _shifted(part) for key, part in value.items()}
    if shifted.get("query_location", _NOWHERE) != _NOWHERE:
        shifted["query_location"] += len(_BEFORE)
    return shifted


def _checked(node: Node) -> Node:
    try:
        for part in walk(node):
            _check(part)
    except RecursionError as error:
        raise Mistake("the expression is nested too deeply") from error
    node.pop("alias", None)
    return node


def _parser_words(message: str, text: str, at: int) -> str:
    """Return the parser's message in our words where it speaks of the statement that we put around the text."""
    if "Only SELECT" in message:
        return "expected one expression, got several statements"
    if at > len(text.encode()):
        if text.count(")") > text.count("("):
            return "expected one '(' for each ')'"
        return "expected more, got the end of the expression"
    return message.partition(_AFTER)[0].partition("\n")[0].rstrip()


def _only_expression(found: dict[str, Any]) -> Node:
    """Return the single selected expression; the statement around it must be exactly ours, or the text closed our bracket."""
    statements = found.get("statements", [])
    select = statements[0].get("node", {}) if len(statements) == 1 else {}
    table = {key: value for key, value in select.get("from_table", {}).items() if key not in _PLACES}
    ours = {"type": "BASE_TABLE", "table_name": TABLE, "qualified_name": {"path": [TABLE]}}
    rest = {key: value for key, value in select.items() if key not in ("select_list", "from_table")}
    frame = {"type": "SELECT_NODE", "cte_map": {}, "aggregate_handling": "STANDARD_HANDLING"}
    chosen = select.get("select_list", [])
    if table != ours or rest != frame or len(chosen) != 1:
        raise Mistake("expected one expression")
    node: Node = chosen[0]
    return node


def _check(node: Node) -> None:
    kind = node.get("class", "")
    arrow = kind == "LAMBDA" and node.get("syntax_type") == "SINGLE_ARROW"  # outside of lambda functions `a -> b` reads JSON
    if kind not in _KEYS or (kind == "LAMBDA" and not arrow):
        raise Mistake(_REFUSED.get(kind, f"{kind.lower().replace('_', ' ')} is not allowed in an expression"), place(node))
    unknown = set(node) - _COMMON - _KEYS[kind]
    if unknown:
        raise Mistake(f"{', '.join(sorted(unknown))} is not allowed in an expression", place(node))
    if kind == "FUNCTION":
        _check_function(node)
    elif kind == "OPERATOR" and node["type"] not in _OPERATOR_TYPES:
        raise Mistake(f"{node['type'].lower().replace('_', ' ')} is not allowed in an expression", place(node))
    elif kind == "CAST":
        _check_type(node["type_expr"])
    elif kind == "COLLATE" and node["collation"].lower() not in _COLLATIONS:
        raise Mistake(f"expected one of the collations {sorted(_COLLATIONS)}, got {node['collation']!r}", place(node))


def _check_function(node: Node) -> None:
    name, path = str(node["function_name"]).lower(), node.get("qualified_name", {}).get("path", [])
    if len(path) > 1 or "schema" in node or "catalog" in node:
        written = ".".join(path)
        raise Mistake(f"expected a plain function name, got {written!r}", place(node), hint=f"write {path[-1]}({'.'.join(path[:-1])})")
    if node.get("distinct") or node.get("filter") or node.get("export_state") or node.get("order_bys", {}).get("orders"):
        raise Mistake(f"{name}: DISTINCT, FILTER and ORDER BY belong to aggregates, and an expression sees one row", place(node))
    if name in CLOCK and not node.get("arguments"):
        return
    if name == "age" and len(node.get("arguments", ())) != 2:
        raise Mistake("age needs two timestamps, as in age(now(), born)", place(node))
    is_sign = node.get("is_operator") and not name.isidentifier()  # LIKE ... ESCAPE is an operator by a function's name
    if name not in (OPERATORS if is_sign else FUNCTIONS):
        message, hint = refusal(name)
        raise Mistake(message, place(node), hint)
    if name not in NAMED_ARGUMENTS and any("name" in argument for argument in node.get("arguments", ())):
        raise Mistake(f"the function {name!r} takes no named arguments", place(node))


def _check_type(node: Node) -> None:
    name = str(node.get("type_name", "")).lower()
    if node.get("class") == "CONSTANT":
        return
    if node.get("class") != "TYPE" or "schema" in node or set(node) - _COMMON - _KEYS["TYPE"] or name not in TYPES:
        raise Mistake(f"expected a plain type such as INTEGER, DECIMAL(10, 2), VARCHAR, DATE or TIMESTAMP, got {name!r}", place(node))
    for part in node.get("children", ()):
        _check_type(part)


def resolve(node: Node, schema: pa.Schema, now: datetime) -> Node:
    """Return the tree with fields as slots of the engine's table and the clock as a constant. Changes `node`.

    Fields are found by their exact name, else whatever their case when that is unambiguous, as in SQL.

    Raises:
        Mistake: No such field (code `column-missing`).
    """
    for container, key in list(children(node)):
        container[key] = resolve(container[key], schema, now)
    if node.get("class") == "COLUMN_REF":
        return _field(node, schema, now)
    if node.get("class") == "FUNCTION" and not node.get("arguments") and node["function_name"].lower() in CLOCK:
        return _clock(node["function_name"].lower(), now)
    return node


def _field(node: Node, schema: pa.Schema, now: datetime) -> Node:
    first, *rest = node["column_names"]
    exact = [index for index, name in enumerate(schema.names) if name == first]
    folded = [index for index, name in enumerate(schema.names) if name.lower() == first.lower()]
    if not exact and not folded and not rest and first.lower() in CLOCK:
        return _clock(first.lower(), now)
    found = exact or folded
    if len(found) != 1:
        near = difflib.get_close_matches(first, schema.names, n=2, cutoff=0.6)
        known = ", ".join(schema.names[:20]) + (", ..." if len(schema.names) > 20 else "")
        if found:
            message, hint = (
                f"{first!r} names {len(found)} fields",
                f"write one of {', '.join(repr(schema.names[i]) for i in found)} in quotes",
            )
        else:
            message, hint = f"no field {first!r}", f"did you mean {' or '.join(near)}?" if near else f"fields: {known}"
        raise Mistake(message, place(node), hint, "column-missing")
    result = {**slot(found[0]), **{key: node[key] for key in _PLACES & set(node)}}
    kind = schema.field(found[0]).type
    for name in rest:
        kind = _member(kind, name, node)
        result = {**operation("STRUCT_EXTRACT", result, literal(name)), **{key: node[key] for key in _PLACES & set(node)}}
    return result


def _member(kind: pa.DataType, name: str, node: Node) -> pa.DataType:
    if not pa.types.is_struct(kind):
        raise Mistake(
            f"{'.'.join(node['column_names'])!r}: {name!r} was looked up in a {kind}, not in a struct", place(node), "", "column-missing"
        )
    names = [kind.field(index).name for index in range(kind.num_fields)]
    found = [known for known in names if known == name] or [known for known in names if known.lower() == name.lower()]
    if not found:
        raise Mistake(
            f"{'.'.join(node['column_names'])!r}: no field {name!r} in the struct",
            place(node),
            f"fields: {', '.join(names[:20])}",
            "column-missing",
        )
    return kind.field(names.index(found[0])).type


def _clock(name: str, now: datetime) -> Node:
    return cast(cast(literal(now.isoformat(sep=" ")), "TIMESTAMP WITH TIME ZONE"), CLOCK[name])
