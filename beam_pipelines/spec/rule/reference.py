"""Values that must occur elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.rule.base import RuleBase, one_of
from beam_pipelines.spec.step.join import JoinSource
from beam_pipelines.spec.values import ConnectionName, Text

__all__ = ["ForeignKey", "Reference"]


class Reference(Model):
    """The column, or the columns together, in which a foreign key must occur: of a table, or of any other source."""

    connection: ConnectionName | None = Field(default=None, description="Of the table; default: the destination's, else the source's.")
    table: Text | None = Field(default=None, description="Table that is referred to.")
    source: JoinSource | None = Field(
        default=None, description="In the place of a table: a whole source, such as a file, with its own `transformations` if wanted."
    )
    field: Text | None = Field(default=None, description="Its column.")
    fields: tuple[Text, ...] | None = Field(default=None, min_length=1, description="Its columns, in the order of the rule's fields.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """One column or several, of a table or of a source."""
        yield from one_of(raw, "field", "fields")
        yield from one_of(raw, "table", "source")
        if raw.get("source") is not None and raw.get("connection") is not None:
            yield mistake("expected the connection inside of 'source'", "connection", at="key")

    @property
    def where(self) -> str:
        """What is referred to, in words."""
        return self.table or str(getattr(self.source, "table", None) or getattr(self.source, "path", None) or "the other source")

    @property
    def names(self) -> tuple[str, ...]:
        return self.fields or (str(self.field),)


class ForeignKey(RuleBase):
    """A value, or several together, that occurs in another table; null, or a null among several, is not checked."""

    type: Literal["foreign-key"] = Field(default="foreign-key", description="A value that occurs in another table.")
    field: Text | None = Field(default=None, description="Field to look at.")
    fields: tuple[Text, ...] | None = Field(default=None, min_length=1, description="Fields to look at together.")
    reference: Reference = Field(description="Where the value must occur.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """As many fields as the reference has."""
        yield from one_of(raw, "field", "fields")
        reference = raw.get("reference")
        if isinstance(reference, Mapping):
            ours, theirs = _count(raw), _count(reference)
            if ours and theirs and ours != theirs:
                yield mistake(f"expected as many fields as the rule has ({ours}), got {theirs}", "reference")

    @property
    def names(self) -> tuple[str, ...]:
        return self.fields or (str(self.field),)


def _count(raw: Mapping[str, Any]) -> int:
    fields = raw.get("fields")
    return len(fields) if isinstance(fields, (list, tuple)) else int(raw.get("field") is not None)
