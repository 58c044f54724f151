"""Converters of text: white space, case, null for given values, JSON."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any, Literal, get_args

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.columnar.plain import plain
from beam_pipelines.columnar.text_data import is_ascii, trimmed
from beam_pipelines.transforms.converters.converter import (
    Bound,
    Converted,
    ConverterProblem,
    Entry,
    Parameter,
    casting,
    plain_text,
    text_type,
)

__all__ = ["ENTRIES"]

Form = Literal["NFC", "NFKC", "NFD", "NFKD"]
_FORMS: tuple[Form, ...] = get_args(Form)
# What Unicode calls white space; RE2's own classes leave out the vertical tab, the separators of ASCII and the next line.
_BLANK = r"[\s\p{Z}\x0b\x1c-\x1f\x{85}]+"


def _kernel(name: str, kernel: Callable[[pa.Array], pa.Array]) -> Callable[[pa.DataType], Bound]:
    def bind(kind: pa.DataType) -> Bound:
        return Bound(text_type(kind, name), lambda array: Converted(kernel(plain_text(array)), [], []))

    return bind


def _lower(array: pa.Array) -> pa.Array:
    return pc.ascii_lower(array) if is_ascii(array) else pc.utf8_lower(array)


def _upper(array: pa.Array) -> pa.Array:
    return pc.ascii_upper(array) if is_ascii(array) else pc.utf8_upper(array)


def _string(kind: pa.DataType) -> Bound:
    return casting(kind, kind if is_text(kind) and not pa.types.is_string_view(kind) else pa.string(), "text")


def _null_if(kind: pa.DataType, values: tuple[Any, ...]) -> Bound:
    given = kind.value_type if pa.types.is_dictionary(kind) else kind
    listed, wrong = convert_column(pa.array([str(value) for value in values], pa.string()), given if not is_text(given) else pa.string())
    if wrong is not None:
        raise ConverterProblem(f"expected values of type {given} for the converter 'null_if', got {', '.join(map(repr, values))}")

    def convert(array: pa.Array) -> Converted:
        array = plain_text(array)
        return Converted(pc.if_else(pc.is_in(array, listed.cast(array.type)), pa.scalar(None, array.type), array), [], [])

    return Bound(pa.string() if pa.types.is_string_view(given) else given, convert)


def _normalize(kind: pa.DataType, form: Form) -> Bound:
    if form not in _FORMS:
        raise ConverterProblem(f"expected one of {', '.join(_FORMS)} as form for the converter 'normalize', got {form!r}")

    def convert(array: pa.Array) -> Converted:
        text = _in_form(plain_text(array), form)
        return Converted(pc.utf8_trim_whitespace(pc.replace_substring_regex(text, _BLANK, " ")), [], [])

    return Bound(text_type(kind, "normalize"), convert)


def _in_form(array: pa.Array, form: Form) -> pa.Array:
    """Return text in a Unicode form; each different text is looked at once, and ASCII is in every form."""
    if pc.all(pc.string_is_ascii(array), min_count=0).as_py():
        return array
    different = array.dictionary_encode()
    # Arrow's own `utf8_normalize` composes nothing (pyarrow 25).
    formed = [unicodedata.normalize(form, text) for text in different.dictionary.to_pylist()]
    return pa.array(formed, array.type).take(different.indices)


def _enum(kind: pa.DataType, values: dict[str, Any]) -> Bound:
    given = kind.value_type if pa.types.is_dictionary(kind) else kind
    known, wrong = convert_column(pa.array(list(values), pa.string()), pa.string() if is_text(given) else given)
    if wrong is not None or not values:
        raise ConverterProblem(f"expected a mapping of values of type {given} for the converter 'enum', got {', '.join(map(repr, values))}")
    try:
        meant = pa.array(list(values.values()))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as mixed:
        raise ConverterProblem(
            "expected new values of one type for the converter 'enum': text, numbers within 64 bits, or true and false"
        ) from mixed
    meant = meant.cast(pa.string()) if pa.types.is_null(meant.type) else meant

    def convert(array: pa.Array) -> Converted:
        array = plain_text(array)
        asked = pc.add(array, 0.0) if pa.types.is_floating(array.type) else array  # Arrow's sets tell -0.0 from 0.0
        places = pc.index_in(asked, value_set=known.cast(array.type))
        unknown = pc.and_(array.is_valid(), places.is_null())
        bad = pc.indices_nonzero(unknown).to_pylist()
        return Converted(pc.take(meant, places, boundscheck=False), bad, ["the value is not among those of the enum"] * len(bad))

    return Bound(meant.type, convert)


def _json(kind: pa.DataType) -> Bound:
    target = pa.json_()
    if is_text(kind) or pa.types.is_dictionary(kind) or kind == target:
        return casting(kind, target, "JSON text")
    return Bound(target, lambda array: Converted(pa.ExtensionArray.from_storage(target, _dumped(array)), [], []))


def _json_text(kind: pa.DataType) -> Bound:
    if kind == pa.json_():
        return Bound(pa.string(), lambda array: Converted(array.storage.cast(pa.string()), [], []))
    return Bound(pa.string(), lambda array: Converted(_dumped(array), [], []))


def _dumped(array: pa.Array) -> pa.Array:
    """Write each value as JSON, as dead letters do: decimals, dates and NaN as text, binary as base64."""
    return pa.array([None if value is None else orjson.dumps(value).decode() for value in plain(array)], pa.string())


ENTRIES = (
    Entry("trim", (), _kernel("trim", trimmed), "text without white space at its ends"),
    Entry("lower", (), _kernel("lower", _lower), "text in lower case"),
    Entry("upper", (), _kernel("upper", _upper), "text in upper case"),
    Entry("title", (), _kernel("title", pc.utf8_title), "text with each word capitalised"),
    Entry(
        "normalize",
        (Parameter("form", "text", "NFC"),),
        _normalize,
        "text in one Unicode form (NFC, NFKC, NFD, NFKD), white space of any kind as one space, none at the ends",
    ),
    Entry(
        "enum",
        (Parameter("values", "mapping"),),
        _enum,
        "new values by old ones, as in {name: enum, values: {m: male, f: female}}; another value cannot be converted",
    ),
    Entry("string", (), _string, "any value as text"),
    Entry("null_if", (Parameter("values", "any", rest=True),), _null_if, "null in place of given values, as in null_if('', 'N/A')"),
    Entry("json", (), _json, "JSON text checked, or any value written as JSON; the column is JSON"),
    Entry("json_text", (), _json_text, "any value written as JSON text"),
)
