"""Lines of JSON read one by one, exactly: numbers keep their digits, and what is doubtful is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from typing import Any

__all__ = ["LineError", "Number", "Twice", "loads", "refuse_twice", "text", "word"]


_TWICE = "expected each key of an object once, got one twice"


class LineError(ValueError):
    """A line that is no row; says why, without any of it."""


class Number(str):
    """A number as it is written."""

    __slots__ = ()


class Twice(dict[str, Any]):
    """An object in which keys come more than once; which they are."""

    names: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise LineError(_TWICE)
    return made


def _any_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    told = Twice(made)
    told.names = frozenset(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return told


def refuse_twice(value: dict[str, Any], names: Collection[str] | None = None) -> None:
    """Refuse an object some of whose keys (of those given) come more than once."""
    if isinstance(value, Twice) and (names is None or not value.names.isdisjoint(names)):
        raise LineError(_TWICE)


def _constant(_: str) -> Any:
    raise LineError("expected JSON, got NaN or Infinity, which it has not")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_constant)
_LENIENT = json.JSONDecoder(object_pairs_hook=_any_object, parse_int=Number, parse_float=Number, parse_constant=_constant)


def loads(line: bytes, *, lenient: bool = False) -> dict[str, Any]:
    """The object that a line holds.

    Args:
        line: Its bytes.
        lenient: Keys that come twice are told by `Twice`, for whoever has no use for them may not care.

    Raises:
        LineError: It is none.
    """
    try:
        value = (_LENIENT if lenient else _DECODER).decode(line.decode())
        if b"\\u" in line:
            _plain(value).encode()  # half of a surrogate pair is no character
    except UnicodeDecodeError:
        raise LineError("expected text, got bytes that are no characters of the file's encoding") from None
    except UnicodeEncodeError:
        raise LineError("expected JSON, got half of a surrogate pair") from None
    except json.JSONDecodeError as bad:
        raise LineError(f"expected a JSON object, got text that is none ({bad.msg}, column {bad.colno})") from None
    except RecursionError:
        raise LineError("expected JSON, got values nested too deep to be read") from None
    if not isinstance(value, dict):
        raise LineError(f"expected a JSON object, got {_WORDS[type(value)]}")
    return value


_WORDS: dict[type, str] = {list: "a list", str: "a text", Number: "a number", bool: "a boolean", type(None): "null", dict: "an object"}


def word(value: Any) -> str:
    """What a value is."""
    return _WORDS[type(value)]


def text(value: Any) -> str:
    """A value as JSON, with the digits of its numbers.

    Raises:
        LineError: It is nested too deep.
    """
    try:
        return _text(value)
    except RecursionError:
        raise LineError("expected JSON, got values nested too deep to be read") from None


def _text(value: Any) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        refuse_twice(value)
        return "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> str:
    """All texts of a value."""
    if isinstance(value, dict):
        return "".join(key + _plain(item) for key, item in value.items())
    if isinstance(value, list):
        return "".join(map(_plain, value))
    return value if isinstance(value, str) else ""
