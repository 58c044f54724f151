"""Find a converter by its name and bind it to its arguments and to a column's type."""

from __future__ import annotations

import difflib
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.expression import Engine
from beam_pipelines.spec.mapping import Converter
from beam_pipelines.transforms.converters import country, email, number, phone, privacy, text, time
from beam_pipelines.transforms.converters.converter import Bound, ConverterProblem, Entry, Parameter

__all__ = ["CATALOGUE", "bind", "names"]

CATALOGUE: dict[str, Entry] = {entry.name: entry for home in (text, number, time, email, phone, country, privacy) for entry in home.ENTRIES}
_KINDS: dict[str, tuple[type, ...]] = {"text": (str,), "int": (int,), "any": (str, int, float, bool), "mapping": (dict,)}

_EXPECTED = {"text": "text", "int": "a whole number", "any": "text, a number or a boolean", "mapping": "a mapping"}


def names() -> list[str]:
    """Return the names of all converters, sorted."""
    return sorted(CATALOGUE)


def bind(converter: Converter, kind: pa.DataType, engine: Engine) -> Bound:
    """Bind a converter of a definition to columns of one type.

    Args:
        converter: From the definition.
        kind: Type of the column.
        engine: Of the step; it must outlive what is returned.

    Raises:
        ConverterProblem: There is no such converter, or its arguments or the type do not fit it.
    """
    entry = CATALOGUE.get(converter.name)
    if entry is None:
        near = difflib.get_close_matches(converter.name, CATALOGUE, n=1, cutoff=0.6)
        raise ConverterProblem(
            f"no converter {converter.name!r}", f"did you mean {near[0]!r}?" if near else f"converters: {', '.join(names())}"
        )
    arguments = _arguments(entry, converter)
    if pa.types.is_null(kind):  # a column of nulls has no type of its own
        text = bind(converter, pa.string(), engine)
        return Bound(text.type, lambda array: text.convert(array.cast(pa.string())))
    return entry.bind(kind, **arguments, engine=engine) if entry.computes else entry.bind(kind, **arguments)


def _arguments(entry: Entry, converter: Converter) -> dict[str, Any]:
    given: dict[str, Any] = {}
    value: Any
    for position, value in enumerate(converter.args):
        if entry.parameters and entry.parameters[-1].rest and position >= len(entry.parameters) - 1:
            given.setdefault(entry.parameters[-1].name, []).append(value)
        elif position < len(entry.parameters):
            given[entry.parameters[position].name] = value
        else:
            raise ConverterProblem(f"expected at most {len(entry.parameters)} arguments for {_usage(entry)}, got {len(converter.args)}")
    known = [parameter.name for parameter in entry.parameters]
    for name, value in converter.options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConverterProblem(f"no argument {name!r} for {_usage(entry)}", f"did you mean {near[0]!r}?" if near else "")
        if name in given:
            raise ConverterProblem(f"expected the argument {name!r} of {_usage(entry)} once")
        given[name] = [value] if entry.parameters[known.index(name)].rest else value
    return {parameter.name: _argument(entry, parameter, given) for parameter in entry.parameters}


def _argument(entry: Entry, parameter: Parameter, given: dict[str, Any]) -> Any:
    if parameter.name not in given:
        if parameter.default is ... or parameter.rest:
            raise ConverterProblem(f"expected the argument {parameter.name!r} of {_usage(entry)}, which is missing")
        return parameter.default
    value = given[parameter.name]
    for one in value if parameter.rest else (value,):
        wrong_kind = not isinstance(one, _KINDS[parameter.kind]) or (parameter.kind == "int" and isinstance(one, bool))
        if wrong_kind:
            expected = _EXPECTED[parameter.kind]
            raise ConverterProblem(f"expected {expected} for the argument {parameter.name!r} of {_usage(entry)}, got {one!r}")
    return tuple(value) if parameter.rest else value


def _usage(entry: Entry) -> str:
    return f"{entry.name}({', '.join(parameter.name for parameter in entry.parameters)})"
