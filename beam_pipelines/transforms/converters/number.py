"""Converters to and of numbers and booleans. Numbers in text are locale-free: digits, a point, an exponent; never a comma or a blank."""

from __future__ import annotations

import pyarrow as pa

from beam_pipelines.columnar.expression import Engine, Node, function, literal
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.transforms.converters.converter import Bound, ConverterProblem, Entry, Parameter, casting, computed

__all__ = ["ENTRIES"]


def _int(kind: pa.DataType) -> Bound:
    return casting(kind, kind if pa.types.is_integer(kind) else pa.int64(), "whole number")


def _float(kind: pa.DataType) -> Bound:
    return casting(kind, kind if pa.types.is_floating(kind) else pa.float64(), "number")


def _decimal(kind: pa.DataType, precision: int, scale: int) -> Bound:
    if not (1 <= precision <= 38 and 0 <= scale <= precision):
        raise ConverterProblem(
            f"expected decimal(precision, scale) with 1 <= precision <= 38 and scale <= precision, got ({precision}, {scale})"
        )
    return casting(kind, pa.decimal128(precision, scale), f"number with {scale} decimals that fits decimal({precision}, {scale})")


def _bool(kind: pa.DataType) -> Bound:
    return casting(kind, pa.bool_(), "boolean")


def _numeric(kind: pa.DataType, name: str) -> tuple[pa.DataType, Bound | None]:
    """Return the numeric type that an expression sees, and what makes it from text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_text(kind):
        return pa.float64(), casting(kind, pa.float64(), "number")
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise ConverterProblem(f"expected numbers for the converter {name!r}, got {kind}")
    return kind, None


def _computed(engine: Engine, kind: pa.DataType, name: str, *arguments: Node) -> Bound:
    seen, prepare = _numeric(kind, name)
    return computed(engine, seen, lambda value: function(name, value, *arguments), prepare.convert if prepare else None)


def _round(kind: pa.DataType, digits: int, engine: Engine) -> Bound:
    if not -18 <= digits <= 18:
        raise ConverterProblem(f"expected digits between -18 and 18 for the converter 'round', got {digits}")
    return _computed(engine, kind, "round", literal(digits))


def _abs(kind: pa.DataType, engine: Engine) -> Bound:
    return _computed(engine, kind, "abs")


ENTRIES = (
    Entry("int", (), _int, "a whole number; fractions fail"),
    Entry("float", (), _float, "a floating-point number"),
    Entry("decimal", (Parameter("precision", "int"), Parameter("scale", "int", 0)), _decimal, "an exact number, as in decimal(12, 2)"),
    Entry("bool", (), _bool, "true or false, from true/false, t/f, yes/no, y/n, on/off, 1/0 in any case"),
    Entry("round", (Parameter("digits", "int", 0),), _round, "a number rounded, halves away from zero, as in round(2)", computes=True),
    Entry("abs", (), _abs, "a number without its sign", computes=True),
)
