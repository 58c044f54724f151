"""What an API answered, as the values of new columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beam_pipelines.errors import Code
from beam_pipelines.spec.step.enrich import RequestBatch

__all__ = ["NOTHING", "Failure", "Found", "Nothing", "Reader", "reader_of_batch"]

_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_FAILED: Code = "lookup-failed"


@dataclass(frozen=True)
class Failure:
    """A call that gave no answer that can be used.

    Args:
        message: Why; no value, URL or secret is in it.
    """

    message: str

    @property
    def reason(self) -> tuple[Code, str]:
        return _FAILED, self.message


class Nothing:
    """The API knows nothing of a key."""


NOTHING = Nothing()
Found = dict[str, Any]  # JSON values by new column


class Reader:
    """Takes the new columns out of a JSON answer.

    Args:
        fields: Name of the new column by path in the answer.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = [(_parts(path), name) for path, name in fields.items()]
        self._list = any(isinstance(parts[0], int) for parts, _ in self._fields)

    def read(self, answer: Any) -> Found | Nothing | Failure:
        """Return what an answer says: a field that it does not have is null; null and an empty list know nothing."""
        if answer is None or answer == []:
            return NOTHING
        expected = list if self._list else dict
        if not isinstance(answer, expected):
            return Failure(f"expected {_KINDS[expected]} as answer, got {_KINDS.get(type(answer), 'a value')}")
        return {name: _at(answer, parts) for parts, name in self._fields}


def reader_of_batch(model: RequestBatch, fields: Sequence[str], reader: Reader) -> Any:
    """Return what takes the answers of several keys out of one response.

    Args:
        model: From the definition.
        fields: Of the request, in the order of the keys.
        reader: Of one answer.

    Returns:
        A function of the response and the keys asked for, which gives one result a key.
    """
    items = _parts(model.items) if model.items else []
    places = [_parts(model.match[field]) for field in fields]

    def read(response: Any, keys: Sequence[tuple[Any, ...]]) -> list[Found | Nothing | Failure]:
        found = _at(response, items)
        if not isinstance(found, list):
            why = Failure(f"expected a list of answers, got {_KINDS.get(type(found), 'a value')}")
            return [why for _ in keys]
        by_key: dict[tuple[str, ...], Any] = {}
        for one in found:
            # As text: an API that was asked for 17 may say that an answer is that of "17". The first answer of a key counts.
            by_key.setdefault(tuple(_told(_at(one, place)) for place in places), one)
        answers = (by_key.get(tuple(_told(part) for part in key)) for key in keys)
        return [reader.read(one) for one in answers]

    return read


def _told(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _parts(path: str) -> list[str | int]:
    return [name or int(index) for name, index in _PART.findall(path)]


def _at(value: Any, parts: Sequence[str | int]) -> Any:
    for part in parts:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value
