"""How large the values of an expression can get, from its text or from each row: the engine does not count strings inside a vector.

(Tried on DuckDB 2.0: `max(length(repeat('x', 20_000_000)))` over 40 rows takes 800 MB under a limit of 256 MB.)
A row may need `ROW_BYTES` plus `ROW_FACTOR` times the bytes of its own fields, at every node of the tree; the limit is a row's own, so that
it does not depend on how rows were batched. Most expressions keep it whatever the row and are never checked at run time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from beam_pipelines.columnar.expression.tree import Mistake, Node, cast, children, function, literal, operation, place, slot, walk

__all__ = ["ROW_BYTES", "ROW_FACTOR", "limit"]

ROW_BYTES = 16 * 1024  # 64k rows of it are 1 GiB at worst, and 2,048 (a vector) 32 MiB
ROW_FACTOR = 24  # a list of a text's characters takes 17 times its bytes
_SPLIT = 17.0  # bytes of a list of texts for each byte of the text it was made from: 16 an element, and at most one element a byte
_NUMBER = 64  # bytes of a number or a time, as text or not
_GROWTH = {
    **dict.fromkeys(("upper", "lower", "ucase", "lcase", "base64", "to_base64"), 1.5),
    **dict.fromkeys(("hex", "to_hex", "nfc_normalize", "regexp_escape"), 3.0),
    **dict.fromkeys(("bin", "to_binary"), 8.0),
    **dict.fromkeys(("to_json", "json_quote", "json_object", "json_array", "url_encode", "json_merge_patch"), 6.0),
    **dict.fromkeys(("string_split", "split", "str_split", "string_to_array", "str_split_regex", "string_split_regex"), _SPLIT),
    **dict.fromkeys(("regexp_split_to_array", "regexp_extract_all"), _SPLIT),
    **dict.fromkeys(("translate",), 4.0),
}
_PADDED = ("lpad", "rpad")
_FORMATTED = ("format", "printf", "strftime")
_AMPLIFIERS = ("repeat", *_PADDED, "replace", "regexp_replace", "array_to_string", "concat_ws", *_FORMATTED)


@dataclass(frozen=True)
class _Size:
    """Bytes of a value: at most `factor` x the row's bytes + `constant`; `node` computes a bound for each row."""

    node: Node
    factor: float
    constant: float


def limit(node: Node, schema: pa.Schema) -> Node | None:
    """Return a condition that is true for rows whose values could get too large, None when no row's can.

    Args:
        node: Resolved tree.
        schema: Of the slots.

    Raises:
        Mistake: A width or count that cannot be bounded.
    """
    peaks: list[_Size] = []
    whole = _size(node, schema, peaks)
    if whole not in peaks:
        peaks.append(whole)
    if all(peak.factor <= ROW_FACTOR and peak.constant <= ROW_BYTES for peak in peaks):
        return None
    used = sorted({part["column_names"][0] for part in walk(node) if part.get("class") == "COLUMN_REF"})
    own = _sum([_column(int(name[1:]), schema).node for name in used])
    allowed = _arithmetic("+", literal(ROW_BYTES), _arithmetic("*", literal(ROW_FACTOR), own))
    largest = _largest([peak.node for peak in peaks])
    return {"class": "COMPARISON", "type": "COMPARE_GREATERTHAN", "left": largest, "right": allowed}


def _arithmetic(sign: str, left: Node, right: Node) -> Node:
    return {**function(sign, left, right), "is_operator": True}


def _double(node: Node) -> Node:
    return operation("OPERATOR_COALESCE", operation("OPERATOR_TRY", cast(node, "DOUBLE")), cast(literal(0), "DOUBLE"))


def _sum(nodes: Sequence[Node]) -> Node:
    total = cast(literal(0), "DOUBLE")
    for node in nodes:
        total = _arithmetic("+", total, node)
    return total


def _largest(nodes: Sequence[Node]) -> Node:
    return nodes[0] if len(nodes) == 1 else function("greatest", *nodes)


def _fixed(size: float) -> _Size:
    return _Size(cast(literal(size), "DOUBLE"), 0, size)


def _together(sizes: Sequence[_Size], growth: float = 1.0, extra: float = 0.0) -> _Size:
    node = _arithmetic("+", _arithmetic("*", _sum([size.node for size in sizes]), literal(growth)), literal(extra))
    return _Size(node, growth * sum(size.factor for size in sizes), growth * sum(size.constant for size in sizes) + extra)


def _either(sizes: Sequence[_Size]) -> _Size:
    if not sizes:
        return _fixed(0)
    return _Size(_largest([size.node for size in sizes]), max(size.factor for size in sizes), max(size.constant for size in sizes))


def _column(index: int, schema: pa.Schema) -> _Size:
    kind = schema.field(index).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_nested(kind):
        return _Size(_double(function("strlen", cast(slot(index), "VARCHAR"))), 1, 0)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        return _Size(_double(function("octet_length", slot(index))), 1, 0)
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or isinstance(kind, pa.BaseExtensionType)
    ):
        return _Size(_double(function("strlen", cast(slot(index), "VARCHAR"))), 1, 0)
    return _fixed(_NUMBER)


def _size(node: Node, schema: pa.Schema, peaks: list[_Size]) -> _Size:
    """Return the size of a node's value; adds each amplifying node's to `peaks`."""
    kind = node.get("class")
    if kind == "COLUMN_REF":
        return _column(int(node["column_names"][0][1:]), schema)
    if kind == "CONSTANT":
        return _fixed(len(node["literal"].get("text", "").encode()))
    parts = [_size(container[key], schema, peaks) for container, key in children(node)]
    if kind == "FUNCTION":
        return _function(node, parts, peaks)
    if kind == "CASE":
        results = [size for size, (_, key) in zip(parts, children(node), strict=True) if key != "when_expr"]
        return _either(results)
    if kind == "OPERATOR" and node["type"] in ("OPERATOR_COALESCE", "OPERATOR_TRY"):
        return _either(parts)
    if kind == "OPERATOR" and node["type"] in ("ARRAY_EXTRACT", "ARRAY_SLICE", "STRUCT_EXTRACT"):
        return parts[0]
    if kind == "LAMBDA":
        return parts[0]
    if kind == "CAST":
        return _together(parts, 2.0, _NUMBER)
    if kind == "COLLATE":
        return parts[0]
    return _fixed(_NUMBER)


def _function(node: Node, parts: Sequence[_Size], peaks: list[_Size]) -> _Size:
    name = node["function_name"].lower()
    arguments = [argument["expression"] for argument in node.get("arguments", ())]
    if name not in _AMPLIFIERS or len(arguments) < 2:
        return _together(parts, _GROWTH.get(name, 1.0), _NUMBER)
    if name == "repeat":
        size = _times(parts[0], _count(arguments[1]))
    elif name in _PADDED:
        size = _times(_fixed(4), _count(arguments[1]))  # characters of up to four bytes
    elif name == "replace" and len(parts) == 3:
        size = _replaced(arguments, parts)
    elif name == "regexp_replace" and len(parts) >= 3:
        size = _substituted(arguments, parts)
    elif name == "array_to_string":
        split = arguments[0].get("class") == "FUNCTION" and _GROWTH.get(arguments[0]["function_name"].lower()) == _SPLIT
        size = _product(parts[0], _together([parts[1]], 1.0 / _SPLIT if split else 0.5, 1.0))  # as text an element takes two characters
    elif name == "concat_ws":
        size = _together([*parts[1:], *[parts[0]] * (len(parts) - 2)])
    else:
        size = _formatted(name, node, arguments, parts)
    if size.constant > ROW_BYTES and not any(part.get("class") == "COLUMN_REF" for part in walk(node)):
        # The engine computes constants when it is asked for their type.
        raise Mistake(
            f"expected a constant of at most {ROW_BYTES // 1024} KiB from {name}", place(node), "its counts must be plain numbers"
        )
    peaks.append(size)
    return size


def _count(node: Node) -> tuple[Node, float]:
    """Return a count or width as (value of each row, static upper bound)."""
    if node.get("class") == "CONSTANT" and node["literal"]["kind"] in ("INTEGER", "NUMERIC"):
        value = max(float(node["literal"]["text"].replace("_", "")), 0.0)
        return cast(literal(value), "DOUBLE"), value
    if _amplifies(node):
        raise Mistake("expected a count that is a number, a field or plain arithmetic", place(node))
    return function("greatest", _double(node), cast(literal(0), "DOUBLE")), math.inf


def _times(size: _Size, count: tuple[Node, float]) -> _Size:
    value, most = count
    # 0 x inf is NaN, which no limit would refuse.
    return _Size(_arithmetic("*", size.node, value), size.factor * most if size.factor else 0, size.constant * most if size.constant else 0)


def _product(left: _Size, right: _Size) -> _Size:
    node = _arithmetic("*", left.node, right.node)
    if right.factor:
        return _Size(node, math.inf, math.inf)
    return _Size(node, left.factor * right.constant, left.constant * right.constant)


def _replaced(arguments: Sequence[Node], parts: Sequence[_Size]) -> _Size:
    """Bound `replace(text, found, put)`: exactly, by counting, where the found text is a constant and the text is not amplified itself."""
    text, found, _ = arguments
    if not _is_text(found) or not _constant(found):
        return _product(parts[0], _together([parts[2]], 1.0, 1.0))
    length = len(_constant(found).encode())
    static = _product(parts[0], _either([_fixed(1), _together([parts[2]], 1.0 / length)]))
    if _amplifies(text):
        return static
    cut = function("strlen", function("replace", text, found, literal("")))
    times = _arithmetic("/", _arithmetic("-", _double(function("strlen", text)), _double(cut)), literal(length))
    return _Size(_arithmetic("+", parts[0].node, _arithmetic("*", times, parts[2].node)), static.factor, static.constant)


def _substituted(arguments: Sequence[Node], parts: Sequence[_Size]) -> _Size:
    """Bound `regexp_replace`: each group that is put again may repeat the whole text, and an empty match may put at each character."""
    text, pattern, put, *options = arguments
    repeated = 1.0 + (_constant(put).count("\\") if _is_text(put) else ROW_FACTOR)
    kept = _together([parts[0]], repeated)
    flags = _constant(options[0]) if options and _is_text(options[0]) else ("g" if options else "")
    if "g" not in flags:
        return _together([kept, parts[2]])
    static = _together([kept, _product(_together([parts[0]], 1.0, 1.0), parts[2])])
    if not _is_text(pattern) or _amplifies(text):
        return static
    found = function("regexp_extract_all", text, pattern, literal(0), literal(flags.replace("g", "")))
    times = _double(function("len", found))
    return _Size(_arithmetic("+", kept.node, _arithmetic("*", times, parts[2].node)), static.factor, static.constant)


def _is_text(node: Node) -> bool:
    return node.get("class") == "CONSTANT" and node["literal"]["kind"] == "STRING"


def _constant(node: Node) -> str:
    return str(node["literal"].get("text", ""))


def _amplifies(node: Node) -> bool:
    return any(part.get("class") == "FUNCTION" and part["function_name"].lower() in _AMPLIFIERS for part in walk(node))


def _formatted(name: str, node: Node, arguments: Sequence[Node], parts: Sequence[_Size]) -> _Size:
    """Bound `format`, `printf` and `strftime`: the format must be a constant, for `{:1000000000}` takes a gigabyte a row."""
    formats = [argument for argument in arguments if _is_text(argument)]
    expected = arguments[:1] if name != "strftime" else formats[:1]
    if not expected or expected[0] not in formats:
        raise Mistake(f"expected the format of {name} as a text constant", place(node))
    text = _constant(expected[0])
    widths = [int(digits) for digits in _digits(text)]
    if "*" in text or any(width > 1000 for width in widths) or (name == "format" and _nested(text)):
        raise Mistake(f"expected widths of at most 1000 in the format of {name}, got {text!r}", place(expected[0]))
    uses = text.count("{") + text.count("%") + 1
    return _together(parts, uses if name != "strftime" else 1.0, len(text) * _NUMBER + sum(widths))


def _digits(text: str) -> list[str]:
    return "".join(character if character.isascii() and character.isdigit() else " " for character in text).split()


def _nested(text: str) -> bool:
    depth = 0
    for character in text.replace("{{", "").replace("}}", ""):
        depth += (character == "{") - (character == "}")
        if depth > 1:
            return True
    return False
