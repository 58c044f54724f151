"""What the tables of all systems share: how types are put together, and how one that nobody knows is refused."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from beam_pipelines.columnar.types.grammar import TypeText
from beam_pipelines.errors import PlanError

__all__ = ["BARE_DECIMAL", "UTC", "assemble", "decimal", "unsupported"]

UTC = "UTC"
# Of a decimal that names no precision (PostgreSQL's `numeric`): 29 digits before the point, 9 behind. A value that needs more is a dead
# letter.
BARE_DECIMAL = (38, 9)
_WIDEST = 76


def decimal(numbers: tuple[int, ...], bare: tuple[int, int] = BARE_DECIMAL) -> pa.DataType:
    """A decimal type by precision and scale; a scale that is not given is 0, as SQL has it. Text where Arrow has no decimal so wide."""
    precision, scale = (numbers[0], numbers[1] if len(numbers) > 1 else 0) if numbers else bare
    # Arrow counts all digits, PostgreSQL allows a scale above the precision (numeric(2,5): 0.00099 at most).
    precision = max(precision, scale)
    if not 1 <= precision <= _WIDEST or scale < -_WIDEST:
        return pa.string()
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def assemble(text: TypeText, scalar: Callable[[TypeText], pa.DataType]) -> pa.DataType:
    """Put a nested type together from its parts.

    Args:
        text: The type, taken apart.
        scalar: Gives the type of a name without parts; raises PlanError for one it does not know.
    """
    kind = _innermost(text, scalar)
    for length in text.dimensions:
        kind = pa.list_(kind) if length is None else pa.list_(kind, length)
    return kind


def _innermost(text: TypeText, scalar: Callable[[TypeText], pa.DataType]) -> pa.DataType:
    parts = [(name, assemble(part, scalar)) for name, part in text.parts]
    if text.name in ("STRUCT", "ROW") and parts and all(name for name, _ in parts):
        return pa.struct(parts)
    if text.name == "MAP" and len(parts) == 2:
        return pa.map_(parts[0][1], parts[1][1])
    if text.name in ("LIST", "ARRAY") and len(parts) == 1:
        return pa.list_(parts[0][1])
    return scalar(text)


def unsupported(kind: object, system: str, column: str, remedy: str) -> PlanError:
    """The error for a type that a system has and we have not, or the other way round."""
    where = f"column {column!r}: " if column else ""
    return PlanError(
        f"{where}expected a type that {system} and this service both have, got {kind}: {remedy}",
        code="type-unsupported",
        details={"column": column, "type": str(kind), "system": system},
    )
