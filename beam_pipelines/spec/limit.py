"""How many of some rows may be bad: a count (100) or a share (1%)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from beam_pipelines.spec.values import shown

__all__ = ["Limit", "limit_rows", "limit_share"]


def _check(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = Decimal(value.strip()[:-1].strip())
        except ArithmeticError:
            share = Decimal(-1)
        if share.is_finite() and 0 <= share <= 100:
            return value.strip()
    raise ValueError(f"expected a count of rows such as 100, or a share such as 1%, got {shown(value)}")


Limit = Annotated[
    int | str,
    BeforeValidator(_check),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%\s*$"}]}),
]


def limit_rows(limit: int | str) -> int | None:
    """Greatest number of rows; None when it is a share."""
    return limit if isinstance(limit, int) else None


def limit_share(limit: int | str) -> Decimal | None:
    """Greatest share of the rows, from 0 to 1; None when it is a count."""
    return None if isinstance(limit, int) else Decimal(limit[:-1].strip()) / 100
