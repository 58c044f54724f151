"""Some violations of each rule, to be shown: always the same ones, however the rows were shared out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ORDER", "Examples"]

ORDER = "order"  # key of what an example is ordered by: source, place in it, and a hash of the row
Example = dict[str, Any]


def _key(example: Example) -> tuple[Any, ...]:
    return (*example[ORDER], example["field"], example["message"])


@dataclass(frozen=True)
class Examples:
    """Violations of each rule: of all that there are those that come first by where their rows come from.

    Args:
        most: How many of each rule.
        told: Plain values, by the rule's id, in their order; each with `order`.
    """

    most: int = 0
    told: dict[str, tuple[Example, ...]] = field(default_factory=dict)

    def __add__(self, other: Examples) -> Examples:
        if not other.told:
            return self if self.told or self.most else other
        most = max(self.most, other.most)
        told = dict(self.told)
        for rule, examples in other.told.items():
            told[rule] = tuple(sorted((*told.get(rule, ()), *examples), key=_key)[:most])
        return Examples(most, told)

    def listed(self, rules: Iterable[str]) -> list[Example]:
        """Return the examples as a record shows them, in the order of some rules."""
        return [{name: value for name, value in one.items() if name != ORDER} for rule in rules for one in self.told.get(rule, ())]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Examples:
        """Return what `dataclasses.asdict` made of it; of nothing, none."""
        return cls(data.get("most", 0), {rule: tuple(one) for rule, one in data.get("told", {}).items()})
