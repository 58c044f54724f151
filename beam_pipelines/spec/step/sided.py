"""Steps that meet the rows of another source: joins, and lookups in a table or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from beam_pipelines.spec.step.join import AsOf

__all__ = ["Sided", "sided"]


class Sided(Protocol):
    """A step with a right side."""

    id: str

    @property
    def type(self) -> str:
        """`join` or `enrich`."""

    @property
    def source(self) -> Any:
        """The right side: a source with `transformations` of its own."""

    @property
    def how(self) -> str:
        """Which rows come out: as of a join, or `lookup`, where each left row meets one at most."""

    @property
    def suffix(self) -> str | None:
        """Appended to right columns that clash."""

    @property
    def as_of(self) -> AsOf | None:
        """How rows meet by time; None: by their keys alone."""

    @property
    def keys_left_right(self) -> tuple[tuple[str, str], ...]:
        """Pairs of key columns, left and right."""


def sided(step: Any) -> TypeIs[Sided]:
    """Return whether a step meets the rows of another source by keys; one that asks an API does not, nor does a union."""
    return getattr(step, "type", "") in ("join", "enrich") and getattr(step, "source", None) is not None
