"""What an API answered, as the values of new columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from beam_pipelines.errors import Code

__all__ = ["KINDS", "NOTHING", "Failure", "Found", "Nothing", "Reader", "at", "parts_of"]

_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Failure:
    """A call that gave no answer that can be used.

    Args:
        message: Why; no value, URL or secret is in it.
        code: Of the rows that asked.
    """

    message: str
    code: Code = "lookup-failed"

    @property
    def reason(self) -> tuple[Code, str]:
        return self.code, self.message


class Nothing:
    """The API knows nothing of a key."""


NOTHING = Nothing()
Found = dict[str, Any]  # JSON values by new column


class Reader:
    """Takes the new columns out of a JSON answer.

    Args:
        fields: Name of the new column by path in the answer.
        texts: New columns that are text.
        decimals: New columns that are decimals.
    """

    def __init__(self, fields: Mapping[str, str], texts: Collection[str] = (), decimals: Collection[str] = ()) -> None:
        self._fields = [(parts_of(path), name) for path, name in fields.items()]
        self._list = any(isinstance(parts[0], int) for parts, _ in self._fields)
        self._texts, self._exact = frozenset(texts), frozenset((*texts, *decimals))

    def read(self, answer: Any, exact: Any = None) -> Found | Nothing | Failure:
        """Return what an answer says: a field that it does not have is null; null and an empty list know nothing.

        Args:
            answer: JSON.
            exact: The same with numbers as they were sent (`io.http.json.Json`), for columns that hold all of their digits. None: no number
                of it is too long for a float.
        """
        if answer is None or answer == []:
            return NOTHING
        expected = list if self._list else dict
        if not isinstance(answer, expected):
            return Failure(f"expected {KINDS[expected]} as answer, got {KINDS.get(type(answer), 'a value')}")
        found = {name: at(answer, parts) for parts, name in self._fields}
        if exact is not None and exact is not answer:
            found |= self._numbers(exact)
        return found

    def _numbers(self, exact: Any) -> Found:
        """The numbers that would lose digits as floats, in columns that hold them: as text where the column is."""
        found: Found = {}
        for parts, name in self._fields:
            value = at(exact, parts) if name in self._exact else None
            if isinstance(value, Decimal) or (type(value) is int and value not in _INT64):
                found[name] = str(value) if name in self._texts else value
        return found


KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def parts_of(path: str) -> list[str | int]:
    """Return a path in JSON as the names and positions that it leads over."""
    return [name or int(index) for name, index in _PART.findall(path)]


def at(value: Any, parts: Sequence[str | int]) -> Any:
    """Return what is found at a path in JSON, None where there is nothing."""
    for part in parts:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value
