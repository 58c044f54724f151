"""Where things stand in a definition's text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["KeyPath", "Position", "Positions", "format_path", "parse_path"]

KeyPath = tuple[str | int, ...]  # keys and positions from the root
_PART = re.compile(r'\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|([^.\[\]]+)')
_PLAIN_KEY = re.compile(r"[^.\[\]\"\s]+")


@dataclass(frozen=True)
class Position:
    """A place in a text.

    Args:
        line: From 1; 0 when unknown.
        column: From 1; 0 when unknown.
    """

    line: int = 0
    column: int = 0


@dataclass
class Positions:
    """The places of every key and value of a document, by path."""

    keys: dict[KeyPath, Position] = field(default_factory=dict)
    values: dict[KeyPath, Position] = field(default_factory=dict)

    def find(self, path: KeyPath, at: Literal["key", "value"] = "value") -> Position:
        """Return where a path stands, or its nearest known ancestor.

        Args:
            path: Keys and positions from the root.
            at: `value` for what stands behind the key, `key` for the key itself. An ancestor is always shown by its key.
        """
        if path in self.values and not (at == "key" and path in self.keys):
            value = self.values[path]
            key = self.keys.get(path)
            # What stands below its key (a mapping, a list, a block of text) is best shown by the key.
            return key if key is not None and key.line != value.line else value
        while path:
            if path in self.keys or path in self.values:
                return self.keys.get(path) or self.values[path]
            path = path[:-1]
        return self.values.get((), Position())


def format_path(path: Iterable[str | int]) -> str:
    """Return a path as text.

    >>> format_path(["pipeline", "transformations", 0, "mappings", "address.city"])
    'pipeline.transformations[0].mappings["address.city"]'
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            escaped = part.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{escaped}"]'
    return text


def parse_path(text: str | Sequence[str | int]) -> KeyPath:
    """Return the path that a text names.

    >>> parse_path('pipeline.transformations[0].mappings["address.city"]')
    ('pipeline', 'transformations', 0, 'mappings', 'address.city')
    """
    if not isinstance(text, str):
        return tuple(text)
    parts: list[str | int] = []
    for match in _PART.finditer(text):
        index, quoted, plain = match.groups()
        if index is not None:
            parts.append(int(index))
        else:
            parts.append(plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
    return tuple(parts)
