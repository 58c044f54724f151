"""What every rule has: a name, how bad a violation is, what becomes of the row, and how many violations are too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.limit import Limit
from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.values import Identifier, Number, Text

__all__ = ["Action", "Actions", "FieldRule", "RuleBase", "Severity", "one_of"]

Severity = Literal["error", "warning", "info"]
Action = Literal["reject", "flag", "log"]


class RuleBase(Model):
    """What every rule has. Severity, action and threshold are independent of each other."""

    type: str = Field(description="What must hold.")
    id: Identifier = Field(description="Name of the rule in results, unique in the definition.")
    severity: Severity = Field(
        default="error", description="error, warning or info: how bad a violation is, and a threshold that is passed."
    )
    action: Action | None = Field(
        default=None, description="What becomes of a row: reject, flag or log; default: what `actions` says of the severity."
    )
    mostly: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        default=None, description="Least share of the rows looked at that must hold, from 0 to 1; fewer, and the rule fails."
    )
    max_failures: Limit | None = Field(
        default=None, description="Most rows that may violate, a count (100) or a share of those looked at (1%); more, and the rule fails."
    )
    description: str = Field(default="", description="For people.")

    @property
    def least_share(self) -> Decimal | None:
        """`mostly`, exactly as it was written."""
        return None if self.mostly is None else Decimal(str(self.mostly))


class FieldRule(RuleBase):
    """A rule of one field."""

    field: Text = Field(description="Field to look at; nested: `address.city`.")


class Actions(Model):
    """What becomes of a row, by the severity of the rule that it violates."""

    error: Action = Field(default="reject", description="reject: out of the result; flag: stays, marked; log: counted only.")
    warning: Action = Field(default="flag", description="reject, flag or log.")
    info: Action = Field(default="log", description="reject, flag or log.")

    def of(self, severity: Severity) -> Action:
        """Return what becomes of a row that violates a rule of a severity."""
        return {"error": self.error, "warning": self.warning, "info": self.info}[severity]


def one_of(raw: Mapping[str, Any], one: str, other: str) -> Iterator[InitErrorDetails]:
    """Yield a mistake unless just one of two keys is there."""
    given = [key for key in (one, other) if raw.get(key) is not None]
    if not given:
        yield mistake(f"expected {one!r} or {other!r}, got neither", at="key", wants=(one, other))
    if len(given) == 2:
        yield mistake(f"expected {one!r} or {other!r}, got both", other, at="key")
