"""Numbers within bounds."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.rules.judgement import Judgement, finding
from beam_pipelines.spec.rule.number import NumericRange

__all__ = ["NumberRange"]

_WIDE = Context(prec=400)  # digits of the greatest double, and of the least
_FAMILIES = ("int", "float", "decimal", "text", "null")


class NumberRange:
    """A number from `min` to `max`, both inclusive, compared exactly; null is not evaluated, NaN and text that is no number violate."""

    def __init__(self, model: NumericRange, schema: pa.Schema) -> None:
        self._field = Field.find(model.field, schema)
        if family(self._field.type) not in _FAMILIES:
            raise RuleMisfit(f"expected a field of numbers or of text, got {model.field!r} of type {self._field.type}", "field")
        kind = pa.float64() if family(self._field.type) in ("text", "null") else self._field.type
        if pa.types.is_decimal(kind) and kind.scale < 0:
            raise RuleMisfit(f"expected decimals of a scale of at least 0, got {model.field!r} of type {kind}", "field")
        if pa.types.is_float16(kind):  # which Arrow does not compare
            kind = pa.float32()
        self._low, self._high = _bound(model.min, kind, ROUND_CEILING), _bound(model.max, kind, ROUND_FLOOR)
        self._message = f"expected {_worded(model.min, model.max)}"

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        values = self._field.read(batch)
        numbers, no_number = values, None
        if family(values.type) in ("text", "null"):
            numbers, wrong = convert_column(values, pa.float64())
            no_number = None if wrong is None else pa.array(wrong)
        if pa.types.is_float16(numbers.type):
            numbers = numbers.cast(pa.float32())
        if pa.types.is_floating(numbers.type):
            nan = pc.is_nan(numbers)
            no_number = nan if no_number is None else pc.or_kleene(nan, no_number)
        findings = list(finding(self._outside(numbers), self._field.name, values, self._message))
        if no_number is not None:
            findings += finding(no_number, self._field.name, values, f"{self._message}, got something that is not a number")
        return Judgement(tuple(findings), values.null_count)

    def _outside(self, numbers: pa.Array) -> pa.Array:
        tests = []
        if self._low is not None:
            tests.append(pc.less(numbers, self._low) if self._low.is_valid else numbers.is_valid())
        if self._high is not None:
            tests.append(pc.greater(numbers, self._high) if self._high.is_valid else numbers.is_valid())
        if not tests:  # every value of the type is within the bounds
            return pa.nulls(len(numbers), pa.bool_())
        return tests[0] if len(tests) == 1 else pc.or_(tests[0], tests[1])


def _bound(bound: float | None, kind: pa.DataType, inwards: str) -> pa.Scalar | None:
    """Return a bound as a value of the type: of exact types the nearest one that is allowed.

    Null: no value of the type is within the bound. None: there is no bound, or every value is within it.
    """
    if bound is None:
        return None
    if pa.types.is_floating(kind):
        return pa.scalar(bound if isinstance(bound, float) else _inner(bound, inwards), kind)
    least, greatest, places = _extent(kind)
    exact = Decimal(bound) if isinstance(bound, int) else Decimal(str(bound))
    if least <= exact <= greatest:
        exact = exact.quantize(Decimal(1).scaleb(-places), inwards, _WIDE)
    if exact < least or exact > greatest:
        reached = (exact < least) == (inwards == ROUND_CEILING)
        return None if reached else pa.scalar(None, kind)
    return pa.scalar(exact if pa.types.is_decimal(kind) else int(exact), kind)


def _inner(bound: int, inwards: str) -> float:
    """Return the double nearest to a whole number among those that it allows: not each is a double itself."""
    try:
        nearest = float(bound)
    except OverflowError:
        nearest = math.inf if bound > 0 else -math.inf
    if inwards == ROUND_CEILING:
        return nearest if nearest >= bound else float(np.nextafter(nearest, math.inf))
    return nearest if nearest <= bound else float(np.nextafter(nearest, -math.inf))


def _extent(kind: pa.DataType) -> tuple[Decimal, Decimal, int]:
    """Return the least and the greatest value of an exact type, and its places behind the point."""
    if pa.types.is_decimal(kind):
        greatest = Decimal(10**kind.precision - 1).scaleb(-kind.scale, _WIDE)
        return -greatest, greatest, kind.scale
    bits = kind.bit_width
    if pa.types.is_unsigned_integer(kind):
        return Decimal(0), Decimal(2**bits - 1), 0
    return Decimal(-(2 ** (bits - 1))), Decimal(2 ** (bits - 1) - 1), 0


def _worded(low: float | None, high: float | None) -> str:
    if low is None:
        return f"a number of at most {high}"
    return f"a number of at least {low}" if high is None else f"a number from {low} to {high}"
