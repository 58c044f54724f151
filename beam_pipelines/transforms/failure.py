"""What a user's exception may say in a message: its type, its text without values of the row, and the line of the user's code."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["explain"]

_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_NUMBER = re.compile(r"-?\d[\d.,:_-]*\d")
_SHORT = 2  # digits that may stay: `base 10`, `2 arguments`
_CREDENTIALS = re.compile(r"(://)[^\s/@]*@")
_OF_CODE = (AttributeError, TypeError, NameError, ImportError)  # the interpreter quotes names of the code in these, not values
_CHARACTERS = 300
_HIDDEN = "..."
_OWN = str(Path(__file__).parent.parent)
_STDLIB = sysconfig.get_paths()["stdlib"]


def explain(error: BaseException, row: Mapping[str, Any] | None = None, names: Iterable[str] = ()) -> str:
    """Return an exception as a message may show it: `ValueError: invalid literal for int() with base 10: ... (functions.py, line 12)`.

    Args:
        error: Raised by the user's code.
        row: The values it was given; none of them is shown.
        names: Field names, which are not payload: `KeyError: 'email'` keeps its key when it is one of them.
    """
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - the user's own exception cannot even say what it is
        said = ""
    text = _CREDENTIALS.sub(r"\1***@", said)
    known = set(names)
    for value in sorted((_shown(value) for value in (row or {}).values()), key=len, reverse=True):
        if len(value) > 2:
            text = text.replace(value, _HIDDEN)
    of_code = isinstance(error, _OF_CODE)

    def quoted(found: re.Match[str]) -> str:
        inside = found[1] or found[2] or ""
        return found[0] if inside in known or (of_code and _NAME.fullmatch(inside)) else _HIDDEN

    text = _QUOTED.sub(quoted, text)
    text = _NUMBER.sub(lambda found: found[0] if sum(map(str.isdigit, found[0])) <= _SHORT else _HIDDEN, text).replace("\n", " ").strip()
    if len(text) > _CHARACTERS:
        text = f"{text[: _CHARACTERS - 3]}..."
    where = _line(error.__traceback__)
    return type(error).__name__ + (f": {text}" if text else "") + (f" ({where})" if where else "")


def _shown(value: Any) -> str:
    return "" if value is None or isinstance(value, (bool, dict, list)) else str(value)


def _line(trace: TracebackType | None) -> str:
    """Return the innermost line of the user's own code: not ours, not a library's, when there is another."""
    found = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith((_OWN, _STDLIB)) and "site-packages" not in file and not file.startswith("<"):
            found = f"{Path(file).name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found
