"""JSON as an API sent it: read to the last digit, and no deeper than the rest of the house can follow."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import orjson

__all__ = ["MAX_DEPTH", "Json", "JsonError", "parsed"]

MAX_DEPTH = 100  # levels of lists and objects; Python and Arrow give up somewhere above 200
# Fewer digits than these a double holds (IEEE 754: 15 significant decimal digits survive).
_LONG = re.compile(rb"\d[\d.]{15}")
_DIGITS = 300  # of a whole number, about as many as the largest double has


class JsonError(ValueError):
    """Bytes that are no JSON, or none that can be used; says which."""


@dataclass(frozen=True)
class Json:
    """A JSON value.

    Args:
        value: Whole numbers of 64 bits as `int`, other numbers as `float`.
        exact: The same, but a number that a float would change is a `Decimal` or an `int`.
    """

    value: Any
    exact: Any

    @classmethod
    def of(cls, value: Any) -> Json:
        """A value that no float has changed."""
        return cls(value, value)


def parsed(content: bytes) -> Json:
    """Read JSON (RFC 8259, in UTF-8).

    Raises:
        JsonError: It is none, is nested too deeply, or holds a number that is out of any range.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise JsonError("the answer is not JSON") from None
    if content.count(b"[") + content.count(b"{") > MAX_DEPTH and _too_deep(value):
        raise JsonError(f"the answer is nested too deeply (more than {MAX_DEPTH} levels)")
    if not _LONG.search(content):
        return Json.of(value)
    return Json(value, json.loads(content.decode(), parse_float=_fraction, parse_int=_whole, parse_constant=_refuse))


def _too_deep(value: Any) -> bool:
    level = [value]  # a list or an object: there is a bracket
    for _ in range(MAX_DEPTH):
        parts = (one.values() if isinstance(one, dict) else one for one in level)
        level = [part for one in parts for part in one if isinstance(part, (dict, list))]
        if not level:
            return False
    return True


def _fraction(text: str) -> float | Decimal:
    number = float(text)
    if number == 0:
        return number
    exact = Decimal(text)
    return number if Decimal(repr(number)) == exact else exact


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        _refuse(text)
    return int(text)


def _refuse(text: str) -> NoReturn:
    del text  # it is a value of a row
    raise JsonError("a number in the answer has too many digits")
