"""Rules over rows: what must hold, how bad it is when it does not, and what then becomes of the row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.one_of import OneOf
from beam_pipelines.spec.values import ConnectionName, Identifier, Number, Scalar, Text

__all__ = [
    "Action",
    "Actions",
    "ForeignKey",
    "InSet",
    "NumericRange",
    "Reference",
    "Regex",
    "RequiredFields",
    "Rule",
    "RuleBase",
    "Severity",
    "Unique",
]

Severity = Literal["error", "warning", "info"]
Action = Literal["reject", "flag", "log"]


class RuleBase(Model):
    """What every rule has."""

    type: str = Field(description="What must hold.")
    id: Identifier = Field(description="Name of the rule in results, unique in the definition.")
    severity: Severity = Field(default="error", description="error, warning or info; `actions` says what follows.")
    description: str = Field(default="", description="For people.")


class RequiredFields(RuleBase):
    """Fields that must be there and not null."""

    type: Literal["required-fields"] = Field(default="required-fields", description="Fields that must not be missing.")
    fields: tuple[Text, ...] = Field(min_length=1, description="Fields that must not be missing.")


class Regex(RuleBase):
    """A pattern that must be found in the text; null and the empty text are not evaluated."""

    type: Literal["regex"] = Field(default="regex", description="A pattern that the field must match.")
    field: Text = Field(description="Field to look at.")
    pattern: Text = Field(description="RE2 pattern; it may match anywhere unless anchored with ^ and $.")


class NumericRange(RuleBase):
    """A number between bounds, both inclusive; what is not a number violates."""

    type: Literal["numeric-range"] = Field(default="numeric-range", description="A number within bounds.")
    field: Text = Field(description="Field to look at.")
    min: Number | None = Field(default=None, description="Least number allowed.")
    max: Number | None = Field(default=None, description="Greatest number allowed.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """At least one bound, in order."""
        low, high = raw.get("min"), raw.get("max")
        if low is None and high is None:
            yield mistake("expected 'min' or 'max', got neither", at="key", wants=("min", "max"))
        if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
            yield mistake(f"expected at least 'min' ({low}), got {high}", "max")


class Unique(RuleBase):
    """A value that occurs once in the whole data set; repeated null is no violation."""

    type: Literal["unique"] = Field(default="unique", description="A value that occurs only once.")
    field: Text = Field(description="Field to look at.")
    keep: Literal["first", "last", "none"] = Field(default="first", description="Which of several rows with the value does not violate.")


class Reference(Model):
    """The column in which a foreign key must occur."""

    connection: ConnectionName | None = Field(default=None, description="Default: the destination's, else the source's.")
    table: Text = Field(description="Table that is referred to.")
    field: Text = Field(description="Its column.")


class ForeignKey(RuleBase):
    """A value that occurs in another table; null is not checked."""

    type: Literal["foreign-key"] = Field(default="foreign-key", description="A value that occurs in another table.")
    field: Text = Field(description="Field to look at.")
    reference: Reference = Field(description="Where the value must occur.")


class InSet(RuleBase):
    """A value out of a list; null is not evaluated."""

    type: Literal["in-set"] = Field(default="in-set", description="A value out of a list.")
    field: Text = Field(description="Field to look at.")
    values: tuple[Scalar, ...] = Field(min_length=1, description="Values allowed.")


class Actions(Model):
    """What becomes of a row, by the severity of the rule that it violates."""

    error: Action = Field(default="reject", description="reject: out of the result; flag: stays, marked; log: counted only.")
    warning: Action = Field(default="flag", description="reject, flag or log.")
    info: Action = Field(default="log", description="reject, flag or log.")

    def of(self, severity: Severity) -> Action:
        """Return the action for a severity."""
        return {"error": self.error, "warning": self.warning, "info": self.info}[severity]


Rule = Annotated[
    RequiredFields | Regex | NumericRange | Unique | ForeignKey | InSet,
    OneOf(RequiredFields, Regex, NumericRange, Unique, ForeignKey, InSet),
]
