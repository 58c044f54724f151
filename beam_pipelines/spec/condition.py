"""Structured conditions: what a SQL expression says, as a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag, field_validator
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.values import Scalar, Text, shown

__all__ = ["AllOf", "AnyOf", "Comparison", "Condition", "Expression", "Negation", "Operator"]

Operator = Literal[
    "eq",
    "ne",
    "lt",
    "lte",
    "gt",
    "gte",
    "in",
    "not_in",
    "between",
    "is_null",
    "not_null",
    "contains",
    "starts_with",
    "ends_with",
    "matches",
]
SYMBOLS: dict[str, Operator] = {"=": "eq", "==": "eq", "!=": "ne", "<>": "ne", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_LISTS = ("in", "not_in", "between")
_TEXTS = ("contains", "starts_with", "ends_with", "matches")
_NOTHING = ("is_null", "not_null")

Expression = Annotated[Text, Field(description="SQL expression over the row's fields.")]


def _count(value: Any) -> str:
    return "type: several" if isinstance(value, (list, tuple)) else "type: one"


class Comparison(Model):
    """One field compared with a value, as SQL compares: a null field is never true."""

    field: Text = Field(description="Field, nested by dots.")
    operator: Operator = Field(
        description="How to compare; = != < <= > >= stand for eq ne lt lte gt gte.",
        json_schema_extra={"enum": [*get_args(Operator), *SYMBOLS]},
    )
    value: Annotated[Annotated[Scalar, Tag("type: one")] | Annotated[tuple[Scalar, ...], Tag("type: several")], Discriminator(_count)] = (
        Field(default=None, description="Value; a list for in, not_in and between; none for is_null and not_null.")
    )

    @field_validator("operator", mode="before")
    @classmethod
    def _name_symbol(cls, value: Any) -> Any:
        return SYMBOLS.get(value, value) if isinstance(value, str) else value

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """The value's shape follows from the operator."""
        operator, value = raw.get("operator"), raw.get("value")
        operator = SYMBOLS.get(operator, operator) if isinstance(operator, str) else None
        if operator not in get_args(Operator):
            return
        if operator in _NOTHING:
            if value is not None:
                yield mistake(f"expected no value beside {operator!r}, got {shown(value)}", "value")
        elif operator in _LISTS:
            if not isinstance(value, (list, tuple)) or not value:
                yield mistake(f"expected a list beside {operator!r}, got {shown(value)}", "value")
            elif operator == "between" and len(value) != 2:
                yield mistake(f"expected [least, greatest] beside 'between', got {len(value)} entries", "value")
            elif any(entry is None for entry in value):
                yield mistake(f"expected values that are not null beside {operator!r}", "value", hint="use operator: is_null")
        elif value is None:
            yield mistake(f"expected 'value' beside {operator!r}, which is missing", "value", hint="to find nulls use operator: is_null")
        elif isinstance(value, (list, tuple)):
            yield mistake(f"expected one value beside {operator!r}, got a list", "value", hint="use operator: in")
        elif operator in _TEXTS and not isinstance(value, str):
            yield mistake(f"expected text beside {operator!r}, got {shown(value)}", "value")


class AllOf(Model):
    """True when every part is."""

    all_of: tuple[Condition, ...] = Field(
        validation_alias="all", serialization_alias="all", min_length=1, description="Conditions that must all be true."
    )


class AnyOf(Model):
    """True when one part is."""

    any_of: tuple[Condition, ...] = Field(
        validation_alias="any", serialization_alias="any", min_length=1, description="Conditions of which one must be true."
    )


class Negation(Model):
    """True when its part is false; null stays null, as in SQL."""

    negated: Condition = Field(validation_alias="not", serialization_alias="not", description="Condition that must be false.")


def _form(value: Any) -> str:
    if isinstance(value, str):
        return "type: sql"
    if isinstance(value, Mapping):
        for key, name in (("all", "all"), ("any", "any"), ("not", "not"), ("all_of", "all"), ("any_of", "any"), ("negated", "not")):
            if key in value:
                return f"type: {name}"
    return _FORMS.get(type(value), "type: comparison")


_FORMS: dict[type, str] = {AllOf: "type: all", AnyOf: "type: any", Negation: "type: not"}


Condition = Annotated[
    Annotated[Expression, Tag("type: sql")]
    | Annotated[Comparison, Tag("type: comparison")]
    | Annotated[AllOf, Tag("type: all")]
    | Annotated[AnyOf, Tag("type: any")]
    | Annotated[Negation, Tag("type: not")],
    Discriminator(_form),
]
