"""A file of rules as it is written for a person: YAML with a comment above each rule."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["Suggestion", "rules_text"]

Suggestion = tuple[dict[str, Any], str]  # a rule, and why it is suggested

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}  # that YAML, of one version or another, takes for something else


def rules_text(head: Sequence[str], suggestions: Sequence[Suggestion]) -> str:
    """Return a file of rules.

    Args:
        head: Lines of the comment that it begins with.
        suggestions: At least one.
    """
    lines = [f"# {line}".rstrip() for line in head]
    lines.append("rules:")
    for rule, why in suggestions:
        lines.append(f"  # {_printable(why)}")
        first, *others = (f"{key}: {written(value)}" for key, value in rule.items())
        lines += [f"  - {first}", *(f"    {line}" for line in others)]
    return "\n".join(lines) + "\n"


def written(value: Any) -> str:
    """Return a value in YAML, on one line."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain else _printable(json.dumps(value, ensure_ascii=False))
    return json.dumps(value)


def _printable(text: str) -> str:
    """Return a text with escapes for what no line of YAML may hold, as its double quotes take them."""
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)
