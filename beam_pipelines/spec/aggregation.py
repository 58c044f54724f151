"""Aggregations: two spellings, one for grouped rows, one for windows of a stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake, nearest
from beam_pipelines.spec.values import Text, shown

__all__ = [
    "AggregateFunction",
    "Aggregation",
    "GroupEntry",
    "Measure",
    "check_entries",
    "check_group",
    "check_window",
    "group_measures",
    "group_names",
    "window_measures",
]

AggregateFunction = Literal[
    "count", "count_distinct", "sum", "avg", "min", "max", "first", "last", "median", "percentile", "stddev", "collect"
]
_FUNCTIONS: tuple[str, ...] = get_args(AggregateFunction)
_GROUP_FORM = "aggregate takes {field: function}, {field: [function, ...]} or {field: [{function, as, args}]}"
_WINDOW_FORM = 'window takes {outputName: "function:field"}, and "count" alone'
_WINDOW_WORDS = (*(name for name in _FUNCTIONS if name != "percentile"), "p50", "p99", "p99.9")
_APPROX = "approx_"
_APPROX_WORDS = tuple(f"{_APPROX}{name}" for name in ("count_distinct", "median", "p50", "p99"))
_SHARE = re.compile(r"p(\d{1,2}(?:\.\d{1,6})?|100)")


class Aggregation(Model):
    """One function with its output's name and its arguments."""

    function: AggregateFunction = Field(description="count counts rows; the others skip null.")
    output: Text | None = Field(
        default=None,
        validation_alias="as",
        serialization_alias="as",
        description="Name of the result; default: function_field, and count for {'*': count}.",
    )
    args: dict[str, Any] = Field(default_factory=dict, description="Arguments of the function, such as {p: 0.95}.")


class Measure(Model):
    """One result of an aggregate or a window, whatever its spelling."""

    name: str = Field(description="Name of the result.")
    function: AggregateFunction = Field(description="What is computed.")
    field: str | None = Field(default=None, description="Over which field; None counts rows.")
    args: dict[str, Any] = Field(default_factory=dict, description="Arguments of the function.")


def _function(word: str, place: str, form: str, known: Sequence[str] = _FUNCTIONS) -> None:
    if word in known:
        return
    meant = nearest(word, known)
    better = f"did you mean {meant!r}?" if meant else f"known: {', '.join(known)}"
    raise ValueError(f"expected a function for {place!r}, got {shown(word)}; {better} ({form})")


def check_group(field: str, value: Any) -> None:
    """Check the shape of one entry of an `aggregate` step.

    Raises:
        ValueError: It is not one, or is written as for a window; the message shows the right form.
    """
    if isinstance(value, str):
        name, colon, column = value.partition(":")
        if colon and name in _FUNCTIONS:
            raise ValueError(
                f"expected a function for field {field!r}, got a window's {value!r}; write {{{column.strip()}: {name}}} ({_GROUP_FORM})"
            )
        _function(value, field, _GROUP_FORM)
    elif isinstance(value, Mapping):
        raise ValueError(f"expected a list for {field!r}, got a mapping; write [{{function: ..., as: ...}}] ({_GROUP_FORM})")
    elif not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"expected a function or a list of functions for {field!r}, got {shown(value)} ({_GROUP_FORM})")


def check_window(name: str, value: Any) -> None:
    """Check one entry of a `window` step: its function is known and its field given.

    Raises:
        ValueError: It is not one, or is written as for an aggregate; the message shows the right form.
    """
    if not isinstance(value, str):
        raise ValueError(f'expected "function:field" for {name!r}, got {shown(value)}; write {name}: "sum:amount" ({_WINDOW_FORM})')
    function, _, field = (part.strip() for part in value.partition(":"))
    if function == "percentile":
        raise ValueError(f'expected "p95:field" for {name!r}, got {shown(value)}; write {name}: "p95:{field or name}" ({_WINDOW_FORM})')
    if not _SHARE.fullmatch(function.removeprefix(_APPROX)):
        if function.startswith(_APPROX) and function not in _APPROX_WORDS:
            raise ValueError(f"expected one of {', '.join(_APPROX_WORDS)} for {name!r}, got {shown(function)} ({_WINDOW_FORM})")
        _function(function, name, _WINDOW_FORM, (*_WINDOW_WORDS, *_APPROX_WORDS))
    if not field and function != "count":
        raise ValueError(f'expected the field of {function!r} for {name!r}; write {function}_{name}: "{function}:{name}" ({_WINDOW_FORM})')


def _one_or_several(value: Any) -> str:
    return "type: several" if isinstance(value, (list, tuple)) else "type: named"


def _named_or_described(value: Any) -> str:
    return "type: described" if isinstance(value, (Mapping, Aggregation)) else "type: named"


_Named = Annotated[AggregateFunction, Tag("type: named")]
_Described = Annotated[Aggregation, Tag("type: described")]
_Several = Annotated[tuple[Annotated[_Named | _Described, Discriminator(_named_or_described)], ...], Tag("type: several")]
GroupEntry = Annotated[_Named | _Several, Discriminator(_one_or_several)]


def group_measures(aggregations: Mapping[str, Any]) -> tuple[Measure, ...]:
    """Return the results of an `aggregate` step in the order of the definition."""
    measures = []
    for field, value in aggregations.items():
        for entry in (value,) if isinstance(value, str) else value:
            part = entry if isinstance(entry, Aggregation) else Aggregation.model_validate({"function": entry})
            name = part.output or (part.function if field == "*" else f"{part.function}_{field}")
            measures.append(Measure(name=name, function=part.function, field=field, args=part.args))
    return tuple(measures)


def group_names(fields: Iterable[str]) -> tuple[str, ...]:
    """Return what the fields of `groupBy` are called in the result: as they are written, with dots and brackets of a path as `_`."""
    return tuple(text.replace("[", ".").replace("]", "").replace(".", "_") for text in fields)


def window_measures(aggregations: Mapping[str, str]) -> tuple[Measure, ...]:
    """Return the results of a `window` step in the order of the definition."""
    measures = []
    for name, value in aggregations.items():
        function, _, field = (part.strip() for part in value.partition(":"))
        args: dict[str, Any] = {"approx": True} if function.startswith(_APPROX) else {}
        function = function.removeprefix(_APPROX)
        if match := _SHARE.fullmatch(function):
            function, args = "percentile", {"p": float(Decimal(match[1]) / 100), **args}
        measures.append(Measure.model_validate({"name": name, "function": function, "field": field or None, "args": args}))
    return tuple(measures)


def check_entries(raw: Mapping[str, Any], check: Callable[[str, Any], None]) -> Iterator[InitErrorDetails]:
    """Yield the mistakes of `aggregations`, each entry of which `check` looks at."""
    entries = raw.get("aggregations")
    for name, value in entries.items() if isinstance(entries, Mapping) else ():
        try:
            check(name, value)
        except ValueError as error:
            yield mistake(str(error), "aggregations", name)
