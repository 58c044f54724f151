"""Text of a known form: e-mail addresses, URLs, UUIDs and IP addresses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from beam_pipelines.spec.rule.base import FieldRule

__all__ = ["Email", "Ip", "Url", "Uuid"]

_Scheme = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*$")]


class Email(FieldRule):
    """An e-mail address; null and the empty text are not evaluated."""

    type: Literal["email"] = Field(default="email", description="An e-mail address.")


class Url(FieldRule):
    """A URL with a host; null and the empty text are not evaluated."""

    type: Literal["url"] = Field(default="url", description="A URL with a host, well formed.")
    schemes: tuple[_Scheme, ...] = Field(default=("http", "https"), min_length=1, description="Schemes allowed, in any case.")


class Uuid(FieldRule):
    """A UUID in its standard form of 36 characters; null and the empty text are not evaluated."""

    type: Literal["uuid"] = Field(default="uuid", description="A UUID.")
    version: Annotated[int, Field(ge=1, le=8, strict=True)] | None = Field(
        default=None, description="1 to 8: only UUIDs of this version; default: any, also those without one."
    )


class Ip(FieldRule):
    """An IP address; null and the empty text are not evaluated."""

    type: Literal["ip"] = Field(default="ip", description="An IP address.")
    version: Literal[4, 6, "any"] = Field(default="any", description="4, 6 or any.")
