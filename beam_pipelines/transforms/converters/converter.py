"""What a converter is: a vectorised function on one column, bound to its arguments and to the type that it gets.

Null stays null in every converter. Converters that read text as something else take blank text for null: an empty field of a file is no
value. A value that cannot be converted is reported by position; what becomes of its row is the step's `onError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.expression import Engine, Node, Scope, column
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.columnar.misfit import MisfitError
from beam_pipelines.columnar.text_data import trimmed

__all__ = ["Bound", "Converted", "ConverterProblem", "Entry", "Parameter", "blank_to_null", "casting", "checked", "computed", "plain_text"]


class ConverterProblem(MisfitError):  # noqa: N818 (it never leaves the step)
    """A converter that does not fit its arguments or its column."""


@dataclass(frozen=True)
class Converted:
    """One converted column.

    Args:
        array: Values, null where the conversion failed.
        bad: Positions where it failed, ascending.
        reasons: Why, one for each of `bad`; never the value.
    """

    array: pa.Array
    bad: list[int]
    reasons: list[str]


@dataclass(frozen=True)
class Bound:
    """A converter ready for columns of one type.

    Args:
        type: What it gives.
        convert: The function on one column.
    """

    type: pa.DataType
    convert: Callable[[pa.Array], Converted]


@dataclass(frozen=True)
class Parameter:
    """An argument of a converter, by position or by name.

    Args:
        name: Name in `{name: round, digits: 2}`.
        kind: Python type of the value.
        default: Value when it is left out; `...`: it must be given.
        rest: It takes all further positions.
    """

    name: str
    kind: Literal["text", "int", "any", "mapping"]
    default: Any = ...
    rest: bool = False


@dataclass(frozen=True)
class Entry:
    """A converter of the catalogue.

    Args:
        name: As in definitions.
        parameters: What it takes.
        bind: From a column's type and the arguments, by their names, to the function; raises `ConverterProblem`.
        about: One line for `docs/` and for messages.
        computes: It is an expression: `bind` also takes the `engine` of the step.
    """

    name: str
    parameters: tuple[Parameter, ...]
    bind: Callable[..., Bound]
    about: str
    computes: bool = False


def plain_text(array: pa.Array) -> pa.Array:
    """Return text that Arrow's kernels take: no dictionaries, no views."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.string()) if pa.types.is_string_view(array.type) else array


def text_type(kind: pa.DataType, name: str) -> pa.DataType:
    """Return the type of `plain_text` of a column.

    Raises:
        ConverterProblem: The column is not text.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not is_text(kind):
        raise ConverterProblem(
            f"expected text for the converter {name!r}, got {kind}", "convert it by an expression, as in CAST(x AS VARCHAR)"
        )
    return pa.string() if pa.types.is_string_view(kind) else kind


def blank_to_null(array: pa.Array) -> pa.Array:
    """Return text trimmed of white space, null where nothing is left."""
    texts = trimmed(array)
    empty = pc.equal(pc.binary_length(texts), 0)
    return pc.if_else(empty, pa.scalar(None, texts.type), texts) if pc.any(empty).as_py() else texts


def checked(array: pa.Array, good: pa.Array, reason: str) -> Converted:
    """Return the values where `good` is true; elsewhere, unless the value is null, the conversion failed."""
    bad = pc.and_(array.is_valid(), pc.invert(pc.fill_null(good, False)))
    if not pc.any(bad, min_count=0).as_py():
        return Converted(array, [], [])
    rows: list[int] = pc.indices_nonzero(bad).to_pylist()
    return Converted(pc.if_else(bad, pa.scalar(None, array.type), array), rows, [reason] * len(rows))


def casting(kind: pa.DataType, target: pa.DataType, what: str) -> Bound:
    """Return the converter to a type, by the rules of `columnar.cast`: exactly or not at all."""

    def convert(array: pa.Array) -> Converted:
        if is_text(array.type) or pa.types.is_dictionary(array.type):
            array = plain_text(array)
            if is_text(array.type) and not is_text(target):
                array = blank_to_null(array)
        values, wrong = convert_column(array, target)
        if wrong is None:
            return Converted(values, [], [])
        rows: list[int] = np.flatnonzero(wrong).tolist()
        return Converted(values, rows, [f"the {_word(kind)} is not a {what}"] * len(rows))

    return Bound(target, convert)


def computed(
    engine: Engine, kind: pa.DataType, make: Callable[[Node], Node], prepare: Callable[[pa.Array], Converted] | None = None
) -> Bound:
    """Return a converter that is an expression over the column.

    Args:
        engine: Of the step.
        kind: Type of the values the expression sees.
        make: Tree of the expression from the tree of the value.
        prepare: What makes such values from the column.
    """
    schema = pa.schema([pa.field("value", kind)])
    scope = Scope(schema, engine=engine)
    term = scope.build(make(column("value")))

    def convert(array: pa.Array) -> Converted:
        before = prepare(array) if prepare else Converted(array, [], [])
        found = scope.evaluate([term], pa.RecordBatch.from_arrays([before.array], schema=schema))[0]
        reasons = dict(zip(before.bad, before.reasons, strict=True))
        reasons.update(zip(found.bad, found.reasons, strict=True))
        rows = sorted(reasons)
        return Converted(found.array, rows, [reasons[row] for row in rows])

    return Bound(term.type, convert)


def _word(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return "text" if is_text(kind) else str(kind)
