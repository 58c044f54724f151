from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from beam_pipelines.transforms.failure import explain


def caught(code: Callable[[], Any]) -> BaseException:
    with pytest.raises(Exception) as raised:  # noqa: PT011 (any, that is the point)
        code()
    return raised.value


ROW = {"email": "ann@example.com", "card": 4111111111111111, "note": "x", "none": None}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (lambda: int("ann@example.com"), "ValueError: invalid literal for int() with base 10: ..."),
        (lambda: {}["email"], "KeyError: 'email'"),
        (lambda: {}["secret"], "KeyError: ..."),
        (lambda: None.lower(), "AttributeError: 'NoneType' object has no attribute 'lower'"),  # type: ignore[attr-defined]
        (lambda: 1 + "a", "TypeError: unsupported operand type(s) for +: 'int' and 'str'"),  # type: ignore[operator]
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: _raise(ValueError("bad mail ann@example.com")), "ValueError: bad mail ..."),
        (lambda: _raise(ValueError("card 4111111111111111 of 2024-01-01 refused")), "ValueError: card ... of ... refused"),
        (lambda: _raise(ValueError('derived "ANN@EXAMPLE.COM"')), "ValueError: derived ..."),
        (lambda: _raise(RuntimeError("cannot reach postgresql://user:hunter2@db/x")), "RuntimeError: cannot reach postgresql://***@db/x"),
        (lambda: _raise(RuntimeError("line one\nline two")), "RuntimeError: line one line two"),
        (lambda: _raise(RuntimeError()), "RuntimeError"),
    ],
)
def test_an_exception_is_shown_without_the_rows_values(code: Callable[[], Any], expected: str) -> None:
    shown = explain(caught(code), ROW, ["email", "card"])
    assert shown.startswith(expected + " (test_failure.py, line ")


def _raise(error: Exception) -> None:
    raise error


def test_the_line_is_the_users_own_and_not_a_librarys() -> None:
    shown = explain(caught(lambda: json.loads("{")))
    assert "JSONDecodeError" in shown
    assert "line " in shown


def test_a_long_text_is_cut() -> None:
    assert len(explain(caught(lambda: _raise(ValueError("word " * 1000))))) < 400
