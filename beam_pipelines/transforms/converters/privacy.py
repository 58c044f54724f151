"""Converters that hide: hashes and masks."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.expression import Engine, function
from beam_pipelines.columnar.kinds import is_bytes
from beam_pipelines.transforms.converters.converter import (
    Bound,
    Converted,
    ConverterProblem,
    Entry,
    Parameter,
    computed,
    plain_text,
    text_type,
)

__all__ = ["ENTRIES"]


def _hash(kind: pa.DataType, engine: Engine) -> Bound:
    if is_bytes(kind):
        return computed(
            engine, pa.binary(), lambda value: function("sha256", value), lambda array: Converted(array.cast(pa.binary()), [], [])
        )
    if pa.types.is_nested(kind):
        raise ConverterProblem(f"expected text, bytes or numbers for the converter 'hash', got {kind}", "take one of its fields")

    def prepare(array: pa.Array) -> Converted:
        return Converted(convert_column(plain_text(array), pa.string())[0], [], [])

    return computed(engine, pa.string(), lambda value: function("sha256", value), prepare)


def _mask(kind: pa.DataType, keep: int, by: str) -> Bound:
    if keep < 0 or len(by) != 1:
        raise ConverterProblem(f"expected mask(keep, with) with keep >= 0 and one character, got ({keep}, {by!r})")

    def convert(array: pa.Array) -> Converted:
        values = plain_text(array)
        hidden = pc.replace_substring_regex(values, r"(?s).", _quoted(by))
        if keep == 0:
            return Converted(hidden, [], [])
        shown = pc.binary_join_element_wise(
            pc.utf8_slice_codeunits(hidden, 0, -keep), pc.utf8_slice_codeunits(values, -keep), pa.scalar("", values.type)
        )
        # A value no longer than what is kept would be shown whole.
        return Converted(pc.if_else(pc.greater(pc.utf8_length(values), keep), shown, hidden), [], [])

    return Bound(text_type(kind, "mask"), convert)


def _quoted(character: str) -> str:
    return "\\\\" if character == "\\" else character


ENTRIES = (
    Entry("hash", (), _hash, "the SHA-256 of the value's text, in hexadecimal digits", computes=True),
    Entry(
        "mask", (Parameter("keep", "int", 0), Parameter("by", "text", "*")), _mask, "characters hidden but for the last ones, as in mask(4)"
    ),
)
