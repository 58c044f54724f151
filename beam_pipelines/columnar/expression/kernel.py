"""Simple expressions as Arrow compute: what the engine gives, at a tenth of its price.

Measured on 1,000,000 rows in batches of 64k: `age >= 18 AND amount > 10` takes 2 ms instead of 22, `round(amount * 1.1, 2)` 6 instead of
38, `split_part(email, '@', 2)` 40 instead of 120. Lowered is only what the tests find equal to the engine's for any values, nulls, NaN and
negative zero included; everything else stays with the engine. A kernel that cannot tell for a batch (an overflow, text that is not ASCII
where case or position matter, a number that no double holds) says so, and the engine is asked: so a kernel never fails on a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.expression.tree import Node

__all__ = ["Kernel", "joined", "lower"]

Slots = Mapping[str, pa.Array]
Kernel = Callable[[Slots], "pa.Array | None"]

_BOOL, _DOUBLE, _TEXT, _DATE = pa.bool_(), pa.float64(), pa.string(), pa.date32()
_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32())
_COMPARED = {
    "COMPARE_EQUAL": pc.equal,
    "COMPARE_NOTEQUAL": pc.not_equal,
    "COMPARE_LESSTHAN": pc.less,
    "COMPARE_LESSTHANOREQUALTO": pc.less_equal,
    "COMPARE_GREATERTHAN": pc.greater,
    "COMPARE_GREATERTHANOREQUALTO": pc.greater_equal,
}
_FLOATING = {"+": pc.add, "-": pc.subtract, "*": pc.multiply, "/": pc.divide}
_CHECKED = {"+": pc.add_checked, "-": pc.subtract_checked, "*": pc.multiply_checked}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_PLAIN = re.compile(r"-?\d+(\.\d*)?|-?\.\d+")
_EXACT = 1 << 53  # integers below it are doubles
_PARTS = 1000  # that `split_part` is lowered for
_LONGEST = (1 << 31) - 1  # bytes of a text in a batch, at most
_DIGITS = 15  # decimal constants of so many digits are the same double however they are converted
_MOVED = 2.0**-50  # of a double: eight times what one multiplication may be off
_DECIMALS = 15  # places that `round` is lowered for: powers of ten that are doubles


class _Declined(Exception):  # noqa: N818 (it never leaves this module)
    """Arrow cannot say what the engine would give: for a tree when it is lowered, for a batch when it is evaluated."""


@dataclass(frozen=True)
class _Part:
    """One node, lowered.

    Args:
        type: Of its values.
        compute: From the slots to its values.
        value: Of a constant, else None.
        digits: Of a constant that is a number, as it was written.
    """

    type: pa.DataType
    compute: Callable[[Slots], Any]
    value: Any = None
    digits: str = ""


def lower(node: Node, slots: pa.Schema) -> tuple[Kernel, pa.DataType] | None:
    """Return a kernel that gives what the engine gives for a tree, and the type of its values; None when there is none.

    A kernel holds for the engine's type alone: where the engine says another one, it must not be used.

    Args:
        node: Resolved tree, comparisons as they were written.
        slots: Names and types of the slots it reads, as the engine gets them.
    """
    try:
        part = _lowered(node, slots)
    except _Declined:
        return None
    return (_guarded(part.compute), part.type) if part.value is None else None


def joined(kind: str, kernels: Sequence[Kernel | None]) -> Kernel | None:
    """Return `AND`, `OR` or `NOT` of kernels of conditions; None when one of them has none."""
    found = [kernel for kernel in kernels if kernel is not None]
    if len(found) < len(kernels):
        return None

    def compute(slots: Slots) -> pa.Array:
        arrays = [kernel(slots) for kernel in found]
        if any(array is None for array in arrays):
            raise _Declined
        return pc.invert(arrays[0]) if kind == "NOT" else reduce(pc.and_kleene if kind == "AND" else pc.or_kleene, arrays)

    return _guarded(compute)


def _guarded(compute: Callable[[Slots], Any]) -> Kernel:
    def kernel(slots: Slots) -> pa.Array | None:
        try:
            return compute(slots)
        except (_Declined, pa.ArrowException):
            return None

    return kernel


def _lowered(node: Node, slots: pa.Schema) -> _Part:
    kind = node.get("class")
    if kind == "COLUMN_REF":
        return _slot(node["column_names"][0], slots)
    if kind == "CONSTANT":
        return _constant(node["literal"])
    if kind == "CAST":
        return _cast(node)
    if kind == "COMPARISON" and node["type"] in _COMPARED:
        return _comparison(node["type"], _lowered(node["left"], slots), _lowered(node["right"], slots))
    if kind == "BETWEEN":
        value, low, high = (_lowered(node[key], slots) for key in ("input", "lower", "upper"))
        above = _comparison("COMPARE_GREATERTHANOREQUALTO", value, low)
        below = _comparison("COMPARE_LESSTHANOREQUALTO", value, high)
        return _junction(pc.and_kleene, [above, below])
    if kind == "CONJUNCTION":
        sign = pc.and_kleene if node["type"] == "CONJUNCTION_AND" else pc.or_kleene
        return _junction(sign, [_lowered(part, slots) for part in node["children"]])
    if kind == "OPERATOR":
        return _operator(node["type"], [_lowered(part, slots) for part in node["children"]])
    if kind == "FUNCTION":
        name, parts = node["function_name"].lower(), [_lowered(part["expression"], slots) for part in node.get("arguments", ())]
        return _arithmetic(name, parts) if name in _FLOATING else _function(name, parts)
    raise _Declined


def _slot(name: str, slots: pa.Schema) -> _Part:
    kind = slots.field(name).type
    if kind not in (_BOOL, _DOUBLE, _TEXT, _DATE, *_INTEGERS) and not pa.types.is_decimal128(kind):
        raise _Declined
    return _Part(kind, lambda given: given[name])


def _constant(literal: Mapping[str, str]) -> _Part:
    kind, text = literal["kind"], literal.get("text", "")
    value: Any
    if kind == "STRING":
        return _fixed(text, _TEXT)
    text = text.replace("_", "")
    if kind == "INTEGER" and abs(value := int(text)) < _EXACT:
        return _fixed(value, pa.int64(), text)
    if kind == "NUMERIC" and sum(map(str.isdigit, text)) <= _DIGITS and np.isfinite(value := float(text)) and (value or text[0] != "-"):
        return _fixed(value, _DOUBLE, text)
    raise _Declined


def _cast(node: Node) -> _Part:
    """A date that is written down: `DATE '1998-09-02'`."""
    child, kind = node["child"], node["type_expr"]
    text = child["literal"].get("text", "") if child.get("class") == "CONSTANT" and child["literal"]["kind"] == "STRING" else ""
    if kind.get("type_name", "").upper() != "DATE" or not _DAY.fullmatch(text):
        raise _Declined
    try:
        return _fixed(date.fromisoformat(text), _DATE)
    except ValueError as none:
        raise _Declined from none


def _fixed(value: Any, kind: pa.DataType, digits: str = "") -> _Part:
    scalar = pa.scalar(value, kind)
    return _Part(kind, lambda _: scalar, value, digits)


def _integer(part: _Part) -> bool:
    return part.type in _INTEGERS


def _alike(left: _Part, right: _Part) -> tuple[_Part, _Part]:
    """Return two operands as the engine compares or adds them: both integers, both doubles or both text."""
    if left.value is not None and right.value is not None:
        raise _Declined
    if _DOUBLE in (left.type, right.type):
        if left.type == _DOUBLE and left.value is not None and _integer(right):
            raise _Declined  # an integer is not made a double here, but a decimal
        if right.type == _DOUBLE and right.value is not None and _integer(left):
            raise _Declined
        return _as_double(left), _as_double(right)
    if (_integer(left) and _integer(right)) or (left.type == right.type and left.type == _TEXT):
        return left, right
    raise _Declined


def _measured(left: _Part, right: _Part) -> tuple[_Part, _Part] | None:
    """Return two operands of dates, or a decimal and a number that its column could hold, as they are compared; None: they are others."""
    if left.type == right.type == _DATE:
        if left.value is not None and right.value is not None:
            raise _Declined
        return left, right
    kinds = [pa.types.is_decimal128(part.type) for part in (left, right)]
    if True not in kinds:
        return None
    if kinds == [True, True]:
        if left.type != right.type:
            raise _Declined
        return left, right
    return (left, _as_decimal(right, left.type)) if kinds[0] else (_as_decimal(left, right.type), right)


def _as_decimal(part: _Part, kind: pa.DataType) -> _Part:
    if not part.digits or not _PLAIN.fullmatch(part.digits):
        raise _Declined
    number = Decimal(part.digits)
    _, digits, exponent = number.as_tuple()
    # The engine may refuse, or widen the column for, what the column could not hold.
    if -int(exponent) > kind.scale or len(digits) + int(exponent) > kind.precision - kind.scale:
        raise _Declined
    return _fixed(number, kind)


def _as_double(part: _Part) -> _Part:
    if part.type == _DOUBLE:
        return part
    if not _integer(part):
        raise _Declined
    if part.value is not None:
        return _fixed(float(part.value), _DOUBLE)
    return _Part(_DOUBLE, lambda slots: part.compute(slots).cast(_DOUBLE))  # refuses integers that are no doubles


def _comparison(kind: str, left: _Part, right: _Part) -> _Part:
    left, right = _measured(left, right) or _alike(left, right)
    compare = _COMPARED[kind]
    if left.type != _DOUBLE or left.value is not None or right.value is not None or kind in ("COMPARE_LESSTHAN", "COMPARE_GREATERTHAN"):
        return _Part(_BOOL, lambda slots: compare(left.compute(slots), right.compute(slots)))

    def with_nan(slots: Slots) -> pa.Array:
        """Two NaN are equal."""
        one, other = left.compute(slots), right.compute(slots)
        both = pc.and_kleene(pc.is_nan(one), pc.is_nan(other))
        if kind == "COMPARE_NOTEQUAL":
            return pc.and_kleene(compare(one, other), pc.invert(both))
        return pc.or_kleene(compare(one, other), both)

    return _Part(_BOOL, with_nan)


def _junction(sign: Callable[[Any, Any], Any], parts: Sequence[_Part]) -> _Part:
    if any(part.type != _BOOL for part in parts):
        raise _Declined
    return _Part(_BOOL, lambda slots: reduce(sign, [part.compute(slots) for part in parts]))


def _operator(kind: str, parts: Sequence[_Part]) -> _Part:
    first = parts[0]
    if first.value is not None:
        raise _Declined
    if kind == "OPERATOR_IS_NULL":
        return _Part(_BOOL, lambda slots: pc.is_null(first.compute(slots)))
    if kind == "OPERATOR_IS_NOT_NULL":
        return _Part(_BOOL, lambda slots: pc.is_valid(first.compute(slots)))
    if kind == "OPERATOR_NOT" and first.type == _BOOL:
        return _Part(_BOOL, lambda slots: pc.invert(first.compute(slots)))
    if kind == "COMPARE_IN" and all(part.value is not None for part in parts[1:]):
        return _listed(first, [_alike(first, part)[1] for part in parts[1:]])
    if kind == "OPERATOR_COALESCE" and first.type in (_TEXT, _DOUBLE) and all(part.type == first.type for part in parts):
        return _Part(first.type, lambda slots: pc.coalesce(*(part.compute(slots) for part in parts)))
    raise _Declined


def _listed(part: _Part, constants: Sequence[_Part]) -> _Part:
    if not constants or any(constant.type != constants[0].type for constant in constants):
        raise _Declined
    wanted = pa.int64() if _integer(part) else part.type
    if constants[0].type != wanted:
        raise _Declined
    values = pa.array([constant.value for constant in constants], wanted)
    # -0.0 is 0.0, which Arrow's set does not know.
    values = pa.array([value + 0.0 for value in values.to_pylist()], wanted) if wanted == _DOUBLE else values

    def within(slots: Slots) -> pa.Array:
        array = part.compute(slots)
        array = pc.add(array, 0.0) if wanted == _DOUBLE else array.cast(wanted)
        return pc.if_else(pc.is_valid(array), pc.is_in(array, values), pa.scalar(None, _BOOL))

    return _Part(_BOOL, within)


def _arithmetic(sign: str, parts: Sequence[_Part]) -> _Part:
    if len(parts) != 2:
        raise _Declined
    left, right = _alike(*parts)
    if left.type == _TEXT:
        raise _Declined
    if left.type == _DOUBLE:
        compute = _FLOATING[sign]
        return _Part(_DOUBLE, lambda slots: compute(left.compute(slots), right.compute(slots)))
    # A constant takes the column's type; where it does not fit, or two columns differ, the engine takes a wider one.
    kind = right.type if left.value is not None else left.type
    left, right = (_narrowed(part, kind) for part in (left, right))
    if sign not in _CHECKED or left.type != right.type:
        raise _Declined
    checked = _CHECKED[sign]
    return _Part(kind, lambda slots: checked(left.compute(slots), right.compute(slots)))


def _narrowed(part: _Part, kind: pa.DataType) -> _Part:
    if part.value is None:
        return part
    try:
        return _fixed(part.value, kind)
    except (pa.ArrowInvalid, OverflowError) as wide:
        raise _Declined from wide


def _function(name: str, parts: Sequence[_Part]) -> _Part:
    kinds, values = [part.type for part in parts], [part.value for part in parts]
    if name == "round" and kinds[0] == _DOUBLE and values[0] is None:
        places = values[1] if len(parts) > 1 else 0
        if not isinstance(places, int) or not 0 <= places <= _DECIMALS:
            raise _Declined
        return _Part(_DOUBLE, lambda slots: _rounded(parts[0].compute(slots), 10.0**places))
    if not parts or kinds[0] != _TEXT or values[0] is not None:
        raise _Declined
    text, rest = parts[0].compute, values[1:]
    if name == "||" and len(parts) == 2 and kinds[1] == _TEXT:
        return _Part(_TEXT, lambda slots: pc.binary_join_element_wise(text(slots), parts[1].compute(slots), ""))
    if name in _CASES and not rest:
        kernel = _CASES[name]
        return _Part(_TEXT, lambda slots: kernel(_ascii(text(slots))))
    if name in _FOUND and len(rest) == 1 and isinstance(rest[0], str):
        found = _FOUND[name]
        return _Part(_BOOL, lambda slots: found(text(slots), rest[0]))
    if (
        name == "split_part"
        and len(rest) == 2
        and isinstance(rest[0], str)
        and rest[0]
        and isinstance(rest[1], int)
        and 0 < rest[1] <= _PARTS
    ):
        return _Part(_TEXT, lambda slots: _split(text(slots), rest[0], rest[1]))
    if name in ("substr", "substring", "left") and all(isinstance(value, int) for value in rest):
        return _cut(name, text, rest)
    raise _Declined


_CASES: Mapping[str, Callable[[Any], Any]] = {
    "upper": pc.ascii_upper,
    "ucase": pc.ascii_upper,
    "lower": pc.ascii_lower,
    "lcase": pc.ascii_lower,
}
_FOUND: Mapping[str, Callable[[Any, str], Any]] = {
    "starts_with": lambda array, part: pc.starts_with(array, pattern=part),
    "prefix": lambda array, part: pc.starts_with(array, pattern=part),
    "ends_with": lambda array, part: pc.ends_with(array, pattern=part),
    "suffix": lambda array, part: pc.ends_with(array, pattern=part),
    "contains": lambda array, part: pc.match_substring(array, pattern=part),
}


def _rounded(array: pa.Array, power: float) -> pa.Array:
    """Round half away from zero as the engine does: of the scaled double, and not at all where that is none.

    Raises:
        _Declined: Some scaled double is as near to a half as the scaling may have moved it: the engine decides by the number's own digits
            (2.675, which is a little less, becomes 2.67).
    """
    scaled = pc.multiply(array, power) if power != 1.0 else array
    if power != 1.0:
        from_half = pc.abs(pc.subtract(pc.abs(pc.subtract(scaled, pc.trunc(scaled))), 0.5))
        moved = pc.multiply(pc.add(pc.abs(scaled), 1.0), _MOVED)
        if pc.any(pc.less_equal(from_half, moved)).as_py():
            raise _Declined
    result = pc.round(scaled, ndigits=0, round_mode="half_towards_infinity")
    result = pc.divide(result, power) if power != 1.0 else result
    finite = pc.is_finite(result)
    return result if pc.all(finite, min_count=0).as_py() else pc.if_else(finite, result, array)


def _ascii(array: pa.Array) -> pa.Array:
    """Return text of which each byte is a character.

    Raises:
        _Declined: Some is not.
    """
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return array
    edges = np.frombuffer(offsets, np.int32)
    used = np.frombuffer(data, np.uint8)[edges[array.offset] : edges[array.offset + len(array)]]
    if used.size and used.max() >= 0x80:
        raise _Declined
    return array


def _cut(name: str, text: Callable[[Slots], pa.Array], numbers: Sequence[int]) -> _Part:
    """`left(x, n)` and `substr(x, first, n)` with constants that count from the start."""
    if len(numbers) == 1:
        first, count = (1, numbers[0]) if name == "left" else (numbers[0], _EXACT)
    elif len(numbers) == 2 and name != "left":
        first, count = numbers
    else:
        raise _Declined
    if first < 1 or count < 0:
        raise _Declined
    begin, end = first - 1, min(first - 1 + count, _LONGEST)
    return _Part(_TEXT, lambda slots: pc.binary_slice(_ascii(text(slots)).view(pa.binary()), begin, end).view(_TEXT))


def _split(array: pa.Array, separator: str, number: int) -> pa.Array:
    """The part of a text between separators, from 1; empty where there are fewer."""
    lists = pc.split_pattern(array, separator, max_splits=number)
    offsets = np.asarray(lists.offsets)
    places = offsets[:-1] + (number - 1)
    missing = places >= offsets[1:]
    parts = lists.values.take(pa.array(places, mask=missing if missing.any() else None))
    if not missing.any():
        return parts
    return pc.if_else(pc.is_valid(array), pc.fill_null(parts, ""), pa.scalar(None, _TEXT))
