"""How one target field of a map comes about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.values import Scalar, Text, shown

__all__ = ["Converter", "FieldMapping"]

_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_ARGUMENT = re.compile(r"""\s*(?:'((?:[^']|'')*)'|(-?\d+)|(-?\d+\.\d+)|([A-Za-z_][\w/+-]*))\s*(,|$)""")


class Converter(Model):
    """A converter by its name, with arguments by position or by name."""

    name: str = Field(description="Name in the catalogue of converters.")
    args: tuple[Scalar, ...] = Field(default=(), description="Arguments by position, as in `round(2)`.")
    options: dict[str, Scalar | dict[str, Scalar]] = Field(
        default_factory=dict, description="Arguments by name, as in {name: date, format: '%d.%m.%Y'}."
    )


def _read_converter(value: Any) -> Any:
    """Return a converter from `trim`, `round(2)`, `date('%d.%m.%Y')` or `{name: date, format: ...}`."""
    if value is None or isinstance(value, Converter):
        return value
    if isinstance(value, Mapping):
        if not isinstance(value.get("name"), str):
            raise ValueError("expected 'name' in a converter's mapping, such as {name: round, digits: 2}")
        if isinstance(value.get("options"), Mapping) or isinstance(value.get("args"), (list, tuple)):
            return value  # as a model is written out
        return {"name": value["name"], "options": {key: entry for key, entry in value.items() if key != "name"}}
    match = _CALL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"expected a converter such as trim, round(2) or {{name: date, format: '%d.%m.%Y'}}, got {shown(value)}")
    return {"name": match[1], "args": _arguments(match[2] or "", value)}


def _arguments(text: str, whole: str) -> tuple[str | int | float, ...]:
    arguments: list[str | int | float] = []
    position = 0
    while position < len(text.rstrip()):
        match = _ARGUMENT.match(text, position)
        if match is None:
            raise ValueError(f"expected numbers, words or quoted text as a converter's arguments, got {shown(whole)}")
        quoted, whole_number, number, word, _ = match.groups()
        if quoted is not None:
            arguments.append(quoted.replace("''", "'"))
        else:
            arguments.append(int(whole_number) if whole_number else float(number) if number else word)
        position = match.end()
    return tuple(arguments)


class FieldMapping(Model):
    """A target field: a source field or an expression, then a converter, then a default for null."""

    source: Text | None = Field(
        default=None, description="Field of the row, nested by dots and list positions, such as `address.city` or `phones[0]`."
    )
    expression: Text | None = Field(default=None, description="SQL expression over the fields before the map.")
    converter: Annotated[
        Converter | None,
        BeforeValidator(_read_converter),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "pattern": r"^\s*[A-Za-z_]\w*\s*(\(.*\))?\s*$"},
                    {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
                    {"type": "null"},
                ]
            }
        ),
    ] = Field(default=None, description="Converter, such as trim, round(2) or {name: date, format: '%d.%m.%Y'}.")
    default: Scalar = Field(default=None, description="Value in place of null.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """A source or an expression."""
        if raw.get("source") is None and raw.get("expression") is None:
            yield mistake(
                "expected 'source' or 'expression', got neither",
                at="key",
                hint="a constant: {expression: \"'EU'\"}",
                wants=("source", "expression"),
            )
        elif raw.get("source") is not None and raw.get("expression") is not None:
            yield mistake("expected 'source' or 'expression', got both", "expression", at="key")
