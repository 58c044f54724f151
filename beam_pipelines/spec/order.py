"""What rows are ordered by: a field, or several, each from the least on or, with a minus before it, from the greatest."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Discriminator, Field, Tag

from beam_pipelines.spec.values import Text, shown

__all__ = ["OrderBy", "Term", "terms"]


class Term(NamedTuple):
    """One field that rows are ordered by.

    Args:
        field: Path of the field.
        descending: The greatest value comes first.
    """

    field: str
    descending: bool


def _check(text: str) -> str:
    if not text.removeprefix("-").strip():
        raise ValueError(f"expected a field, or -field for the greatest first, got {shown(text)}")
    return text


_Field = Annotated[Text, AfterValidator(_check)]
OrderBy = Annotated[
    Annotated[_Field, Tag("type: field")] | Annotated[tuple[_Field, ...], Tag("type: fields"), Field(min_length=1)],
    Discriminator(lambda value: "type: field" if isinstance(value, str) else "type: fields"),
]


def terms(order: str | tuple[str, ...] | None) -> tuple[Term, ...]:
    """Return an `orderBy`, field by field.

    >>> terms("-amount")
    (Term(field='amount', descending=True),)
    """
    texts = () if order is None else (order,) if isinstance(order, str) else order
    return tuple(Term(text.removeprefix("-").strip(), text.startswith("-")) for text in texts)
