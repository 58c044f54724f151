"""What a run used, as it is billed: bytes, records, and rows out of single steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal

__all__ = ["EXACT", "GIB", "Usage", "gigabytes", "metered_steps"]

GIB = 1 << 30  # bytes in the "GB" that is billed: the seed divides by 1024 * 1024 * 1024

# A quotient by 2**30 has up to 30 decimals and a product adds the rate's digits; Python's default of 28 digits would round
# inside the sum. 200 digits hold every product of a 64-bit count with any rate that a person writes, so lines add up exactly.
EXACT = Context(prec=200)


@dataclass(frozen=True)
class Usage:
    """What one run used.

    Args:
        bytes: Bytes processed: of files the object's bytes, else the canonical size of the values.
        records: Records processed.
        step_rows: Rows out of each step, by its id.
        step_types: `type` of each step, by its id. A step that is missing here is taken to be a `function`.
    """

    bytes: int = 0
    records: int = 0
    step_rows: Mapping[str, int] = field(default_factory=dict)
    step_types: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        amounts = {"bytes": self.bytes, "records": self.records, **self.step_rows}
        for name, amount in amounts.items():
            if amount < 0:
                raise ValueError(f"expected a usage of 0 or more, got {amount} for {name!r}")


def gigabytes(count: int) -> Decimal:
    """Return bytes as billed gigabytes (1024^3), exactly.

    Args:
        count: Bytes.
    """
    return EXACT.divide(Decimal(count), Decimal(GIB))


def metered_steps(key: str, step_types: Mapping[str, str]) -> list[str]:
    """Return the ids of the steps whose output `additionalCosts.KEY` meters.

    That is the step with id KEY; the seed's key `enrichment` also meters every step of type `enrich` and the function step
    with id `enrich`. An empty list means that the price names no step, which a plan should refuse.

    Args:
        key: A key of `additionalCosts`.
        step_types: `type` of each step of the definition, by its id, in order.
    """
    return [step for step, kind in step_types.items() if step == key or (key == "enrichment" and _enriches(step, kind))]


def _enriches(step: str, kind: str) -> bool:
    return kind == "enrich" or (step == "enrich" and kind == "function")
