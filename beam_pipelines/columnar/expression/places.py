"""Where the parts of a text stand: DuckDB 1.5 says where a node begins, and not always; DuckDB 2 also says how long it is.

Only words of messages hang on lengths. What a text says at a place (`Places.at`) also tells syntax apart that 1.5 writes as one.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["NOWHERE", "Places"]

NOWHERE = (1 << 64) - 1  # DuckDB's position of nodes it made itself
_GAP = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_WORD = r"[A-Za-z_\x80-\xff][\w$\x80-\xff]*"
_NAME = rf'(?:{_WORD}|"(?:[^"]|"")*")'
_QUOTED = r"""e'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$"""
_LEXEME = re.compile(rf"{_QUOTED}|{_NAME}|[\d.](?:[eE][+-]\d|[\w.])*|--[^\n]*|/\*.*?\*/|::|[^\s]", re.DOTALL | re.IGNORECASE)
_PATH = re.compile(rf"{_NAME}(?:{_GAP}\.{_GAP}{_NAME})*", re.DOTALL)
_OPEN = re.compile(rf"{_GAP}\(", re.DOTALL)
_TYPE = re.compile(
    rf"::{_GAP}{_NAME}(?:{_GAP}\.{_GAP}{_NAME})*(?:\s+(?:with(?:out)?\s+time\s+zone|precision|varying))?"
    rf"(?:{_GAP}\([^()]*\))?(?:\s+with(?:out)?\s+time\s+zone)?(?:{_GAP}\[\s*\d*\s*\])*",
    re.DOTALL | re.IGNORECASE,
)
_TYPED_TEXT = re.compile(r"((?:timestamp|time)\s+with\s+time\s+zone|[A-Za-z_]\w*)\s*\Z", re.IGNORECASE)
_NOT = r"not\b"
_IS = re.compile(r"is(\s+not)?\s+(null|true|false|unknown)|isnull|notnull|not\s+null", re.IGNORECASE)
_IN = re.compile(rf"(not\s+)?in\b{_GAP}", re.DOTALL | re.IGNORECASE)
_CALLED = re.compile(r"(coalesce|ifnull|try|if)\s*\([\s(]*\Z", re.IGNORECASE)
_BRACKET = re.compile(rf"{_GAP}(?:\){_GAP})*\[", re.DOTALL)
_MEMBER = re.compile(rf"{_GAP}(?:\){_GAP})*\.{_GAP}{_NAME}", re.DOTALL)
_COLLATION = re.compile(rf"{_GAP}(?:\){_GAP})*collate{_GAP}{_NAME}(?:\.{_NAME})*", re.DOTALL | re.IGNORECASE)
_INTERVAL = re.compile(r"interval[\s(]*\Z", re.IGNORECASE)
_UNIT = re.compile(r"[\s)]*[A-Za-z]+", re.IGNORECASE)
_LOOK_BACK = 200  # bytes; a call's name is near its first argument

Span = tuple[int, int]


class Places:
    """The places of one statement.

    Args:
        statement: As it was parsed. Offsets are of its UTF-8 bytes, as DuckDB's.
    """

    NO_ARGUMENTS = rf"(?:(?:{_NAME}{_GAP}\.{_GAP})*{_NAME}{_GAP})?(?:\({_GAP}\)|\[{_GAP}\]|\{{{_GAP}\}})"  # `now()`, `[]`, `map {{}}`

    def __init__(self, statement: str) -> None:
        self._text = statement.encode().decode("latin-1")  # one character, one byte

    def at(self, place: int, pattern: str) -> bool:
        """Return whether the text at a place is as the pattern says, whatever its case; never for nodes that have no place."""
        return place != NOWHERE and bool(re.compile(pattern, re.IGNORECASE | re.DOTALL).match(self._text, place))

    def put(self, node: dict[str, Any], parts: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a node with its place and length, and with `extent`, its place with its parts, for the node above it.

        Args:
            node: Of the newer shape.
            parts: The nodes below it, which have their extents.
        """
        extents = [part["extent"] for part in parts if part.get("extent")]
        inner = (min(begin for begin, _ in extents), max(end for _, end in extents)) if extents else None
        place = node.get("query_location", NOWHERE)
        own = self._nowhere(node, parts, inner) if place == NOWHERE else self._own(node, place, inner)
        node["query_location"], node["query_location_length"] = (own[0], own[1] - own[0]) if own else (NOWHERE, 0)
        whole = [span for span in (own, inner) if span]
        node["extent"] = (min(begin for begin, _ in whole), max(end for _, end in whole)) if whole else None
        return node

    def strip(self, node: dict[str, Any]) -> dict[str, Any]:
        """Return a node without what `put` kept for the node above."""
        node.pop("extent", None)
        return node

    def _own(self, node: dict[str, Any], place: int, inner: Span | None) -> Span:
        kind = node["class"]
        if kind == "COLUMN_REF":
            return place, self._match(_PATH, place)
        if kind == "CONSTANT":
            end = self._match(_LEXEME, place)
            return place, self._match(_LEXEME, self._skip(end)) if self._text[place:end] == "-" else end
        if kind == "CASE":
            return place, self._end_of_case(place)
        if kind == "CAST":
            if self._text[place : place + 2] == "::":
                return place, self._match(_TYPE, place)
            interval = self._before(_INTERVAL, place)
            return (place, self._call(place)) if interval is None else (interval, inner[1] if inner else place)
        if kind in ("COMPARISON", "CONJUNCTION", "LAMBDA") and inner:
            return (place if self.at(place, _NOT) else inner[0]), inner[1]
        if kind == "OPERATOR":
            found = _IS.match(self._text, place) or _IN.match(self._text, place)
            end = found.end() if found else place
            return place, self._closing(end) if self._text[end : end + 1] == "(" else end
        return self._function(node, place, inner) if kind == "FUNCTION" else (place, place)

    def negations(self, node: dict[str, Any]) -> int:
        """Return how many NOTs 1.5 has worked into the kind of a comparison: those between its place and its left side."""
        begin = node["query_location"]
        if not self.at(begin, _NOT):
            return 0
        end = node["left"]["extent"][0]  # none: no rule, so that the text is refused
        return sum(found[0].lower() == "not" for found in _LEXEME.finditer(self._text, begin, end))

    def depth(self) -> int:
        """Return how deep brackets are nested."""
        depth = most = 0
        for found in _LEXEME.finditer(self._text):
            depth += (found[0] in "([{") - (found[0] in ")]}")
            most = max(most, depth)
        return most

    def _function(self, node: dict[str, Any], place: int, inner: Span | None) -> Span:
        before = self._text[:place].rstrip()
        if (
            node["function_name"] in ("list_value", "struct_pack")
            and before[-1:] in ("[", "{")
            and not self.at(place, node["function_name"])
        ):
            return len(before) - 1, self._closing(len(before) - 1)
        interval = self._before(_INTERVAL, place)
        if interval is not None and node["function_name"].startswith("to_"):
            return interval, self._match(_UNIT, max(place, inner[1] if inner else place))
        if self._text[place : place + 1] == "(":  # of a row
            return place, self._closing(place)
        return place, place if node.get("is_operator") else self._call(place)

    def _nowhere(self, node: dict[str, Any], parts: list[dict[str, Any]], inner: Span | None) -> Span | None:
        """Return where a node is that has no place of its own, from its parts."""
        if inner is None:
            return None
        kind, first = node.get("type"), parts[0].get("extent") or inner
        if kind in ("OPERATOR_COALESCE", "OPERATOR_TRY", "CASE_EXPR"):
            called = self._before(_CALLED, inner[0])
            return (called, self._call(called)) if called is not None else None
        if kind == "OPERATOR_CAST" and self.at(first[0], "'"):
            typed = self._before(_TYPED_TEXT, first[0])
            return (typed, first[1]) if typed is not None else None
        follows = {"ARRAY_EXTRACT": _BRACKET, "ARRAY_SLICE": _BRACKET, "STRUCT_EXTRACT": _MEMBER, "COLLATE": _COLLATION}.get(str(kind))
        found = follows.match(self._text, first[1]) if follows else None
        if not found:
            return None
        return (first[0] if kind == "COLLATE" else found.end() - 1), self._closing(found.end() - 1) if follows is _BRACKET else found.end()

    def _before(self, pattern: re.Pattern[str], end: int) -> int | None:
        begin = max(0, end - _LOOK_BACK)
        found = pattern.search(self._text[begin:end])
        return begin + found.start() if found else None

    def _match(self, pattern: re.Pattern[str], place: int) -> int:
        found = pattern.match(self._text, place)
        return found.end() if found else place

    def _skip(self, place: int) -> int:
        return place + len(self._text[place:]) - len(self._text[place:].lstrip())

    def _call(self, place: int) -> int:
        """Return the end of `name(...)` or, where no bracket follows, of the name; of an operator: its beginning."""
        name = self._match(_PATH, place)
        opened = _OPEN.match(self._text, name)
        return self._closing(opened.end() - 1) if opened and name > place else name

    def _closing(self, place: int) -> int:
        """Return the end of the bracket that is opened at a place."""
        depth = 0
        for found in _LEXEME.finditer(self._text, place):
            depth += (found[0] in "([{") - (found[0] in ")]}")
            if depth == 0:
                return found.end()
        return place

    def _end_of_case(self, place: int) -> int:
        depth = 0
        for found in _LEXEME.finditer(self._text, place):
            depth += (found[0].lower() == "case") - (found[0].lower() == "end")
            if depth == 0:
                return found.end()
        return place
