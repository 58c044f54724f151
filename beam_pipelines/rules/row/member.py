"""Values out of a list."""

from __future__ import annotations

import contextlib
from decimal import Decimal

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.rules.judgement import Judgement, finding
from beam_pipelines.rules.key.known import Known
from beam_pipelines.spec.rule.member import InSet, NotInSet
from beam_pipelines.spec.values import Scalar, shown

__all__ = ["Member", "NotMember"]

# How values of a type are written in a definition; those of all others as text.
_WRITTEN: dict[str, tuple[type, ...]] = {"int": (int, float), "float": (int, float), "decimal": (int, float), "bool": (bool,)}


class _Listed:
    """Whether a value is one of the list: 1 is 1.0 and not "1"; a null in the list stands for nothing."""

    def __init__(self, model: InSet | NotInSet, schema: pa.Schema, expected: str) -> None:
        self.field = Field.find(model.field, schema)
        if pa.types.is_union(self.field.type):
            raise RuleMisfit(f"expected a field whose values are of one type, got {self.field.name!r} of type {self.field.type}", "field")
        values = [(at, value) for at, value in enumerate(model.values) if value is not None]
        listed = [_typed(value, at, self.field.type) for at, value in values]
        self._known = Known([pa.concat_arrays(listed) if listed else pa.nulls(0, self.field.type)])
        text = ", ".join(shown(value) for _, value in values[:10]) + (", ..." if len(values) > 10 else "")
        self._message = f"{expected} {text}"

    def judge(self, batch: pa.RecordBatch, *, allowed: bool) -> Judgement:
        """Return the rows whose value is listed, unless such are `allowed`: then those whose value is not."""
        values = self.field.read(batch)
        violated = self._known.has([values])
        if allowed:
            violated = ~violated
        if values.null_count:
            violated &= np.asarray(values.is_valid())
        return Judgement(tuple(finding(pa.array(violated), self.field.name, values, self._message)), values.null_count)


class Member:
    """The value is one of the list: 1 is 1.0 and not "1". Null is not evaluated. Dates, times and UUIDs are listed as text."""

    def __init__(self, model: InSet, schema: pa.Schema) -> None:
        self._listed = _Listed(model, schema, "expected one of")

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        return self._listed.judge(batch, allowed=True)


class NotMember:
    """The value is none of the list, whose values are written as those of `Member`. Null is not evaluated."""

    def __init__(self, model: NotInSet, schema: pa.Schema) -> None:
        self._listed = _Listed(model, schema, "expected none of")

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        return self._listed.judge(batch, allowed=False)


def _typed(value: Scalar, at: int, kind: pa.DataType) -> pa.Array:
    """Return one value of the list as the field holds it."""
    wanted = _WRITTEN.get(family(kind), (str,))
    typed, wrong = pa.nulls(1, kind), None
    if isinstance(value, wanted) and isinstance(value, bool) == (wanted == (bool,)):
        with contextlib.suppress(OverflowError, pa.ArrowInvalid):  # a number that is of no type of Arrow's
            typed, wrong = convert_column(_written(value, kind), kind)
    if wrong is not None or typed.null_count:
        raise RuleMisfit(f"expected a value that a field of type {kind} can hold, got {shown(value)}", f"values[{at}]")
    return typed


def _written(value: Scalar, kind: pa.DataType) -> pa.Array:
    """Return one value as it is written, for a field of a type. Arrow takes a whole number for one of 64 bits with a sign.

    Raises:
        OverflowError: A whole number that neither such a field nor 64 bits can hold.
        pyarrow.ArrowInvalid: A decimal of too many digits.
    """
    if pa.types.is_decimal(kind):
        return pa.array([Decimal(str(value))])
    if isinstance(value, int) and value >= 2**63:
        if pa.types.is_uint64(kind):
            return pa.array([value], kind)
        if pa.types.is_floating(kind) and float(value) == value:
            return pa.array([float(value)])
    return pa.array([value])
