"""The name of a type as databases and people write it: `decimal(10,2)`, `timestamp(3) with time zone`, `STRUCT(a INTEGER, b VARCHAR[])`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["TypeText", "TypeTextError", "parse"]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<word>[^\W\d]\w*(?:\.[^\W\d]\w*)*)
      | (?P<number>-?\d+)
      | "(?P<quoted>(?:[^"]|"")*)"
      | '(?P<text>(?:[^']|'')*)'
      | (?P<sign>[()<>\[\],:])
    )""",
    re.VERBOSE,
)
_NESTED = ("STRUCT", "ROW", "MAP", "LIST", "ARRAY", "UNION")
_DEEPEST = 32
_LONGEST_ARRAY = 2**31 - 1
_CLOSING = {"(": ")", "<": ">"}


class TypeTextError(ValueError):
    """The text is no type; says where it stops making sense."""


@dataclass(frozen=True)
class TypeText:
    """The parts of a type's name.

    Args:
        name: Its words in capitals, one blank between them, without arguments: `TIMESTAMP WITH TIME ZONE`.
        numbers: Arguments such as precision and scale.
        parts: Types within it, with the name of the field where it has one.
        dimensions: `[]` and `[3]` after it, from the inside out; None: of any length.
        quoted: The name was written in quotes, which tells PostgreSQL's `"char"` from `char`.
    """

    name: str
    numbers: tuple[int, ...] = ()
    parts: tuple[tuple[str, TypeText], ...] = ()
    dimensions: tuple[int | None, ...] = ()
    quoted: bool = field(default=False, compare=False)


def parse(text: str) -> TypeText:
    """Take a type's name apart.

    Raises:
        TypeTextError: It does not read as a type.
    """
    reader = _Reader(text)
    found = reader.type()
    reader.end()
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                raise TypeTextError(f"expected the name of a type, got {text!r}: {text[at:].strip()!r} is not understood")
            kind = str(match.lastgroup)
            self.tokens.append((kind, match.group(kind).replace('""', '"') if kind == "quoted" else match.group(kind)))
            at = match.end()
        self.at = 0
        self.depth = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def next(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def expect(self, sign: str) -> None:
        token = self.next()
        if token != ("sign", sign):
            raise TypeTextError(f"expected {sign!r} in the type {self.text!r}, got {token[1] or 'its end'!r}")

    def end(self) -> None:
        if self.peek()[0] != "end":
            raise TypeTextError(f"expected one type, got {self.text!r}: {self.peek()[1]!r} is left over")

    def type(self) -> TypeText:
        kind, word = self.next()
        if kind not in ("word", "quoted"):
            raise TypeTextError(f"expected the name of a type in {self.text!r}, got {word or 'its end'!r}")
        quoted, words = kind == "quoted", [word if kind == "quoted" else word.upper()]
        numbers: tuple[int, ...] = ()
        parts: tuple[tuple[str, TypeText], ...] = ()
        while True:
            kind, word = self.peek()
            if kind == "word":
                words.append(self.next()[1].upper())
            elif (kind, word) == ("sign", "<") or ((kind, word) == ("sign", "(") and words[-1] in _NESTED):
                parts = self.parts()
            elif (kind, word) == ("sign", "("):
                numbers = self.arguments()
            else:
                break
        return TypeText(" ".join(words), numbers, parts, self.dimensions(), quoted)

    def arguments(self) -> tuple[int, ...]:
        """Numbers in brackets; the values of an enum are read over."""
        self.expect("(")
        found: list[int] = []
        while True:
            kind, word = self.next()
            if kind == "number":
                found.append(int(word))
            elif kind not in ("text", "word"):
                raise TypeTextError(f"expected a number in brackets in the type {self.text!r}, got {word or 'its end'!r}")
            if self.peek() != ("sign", ","):
                break
            self.next()
        self.expect(")")
        return tuple(found)

    def parts(self) -> tuple[tuple[str, TypeText], ...]:
        """Types in brackets, each with or without the name of a field before it (`a INTEGER`, `a: integer`)."""
        opening = self.next()[1]
        self.depth += 1
        if self.depth > _DEEPEST:
            raise TypeTextError(f"expected a type nested at most {_DEEPEST} deep, got one of {len(self.text)} characters")
        found: list[tuple[str, TypeText]] = []
        while True:
            found.append(self.part())
            if self.peek() != ("sign", ","):
                break
            self.next()
        self.expect(_CLOSING[opening])
        self.depth -= 1
        return tuple(found)

    def part(self) -> tuple[str, TypeText]:
        (kind, name), following = self.peek(), self.tokens[self.at + 1 : self.at + 2]
        if following == [("sign", ":")]:
            self.at += 2
            return name, self.type()
        named = kind in ("word", "quoted") and following and following[0][0] in ("word", "quoted")
        if named and not (kind == "word" and name.upper() in ("DOUBLE", "TIMESTAMP", "TIME", "CHARACTER", "BIT")):
            self.at += 1
            return name, self.type()
        return "", self.type()

    def dimensions(self) -> tuple[int | None, ...]:
        found: list[int | None] = []
        while self.peek() == ("sign", "["):
            self.next()
            found.append(self.length() if self.peek()[0] == "number" else None)
            self.expect("]")
        if len(found) > _DEEPEST:
            raise TypeTextError(f"expected an array of at most {_DEEPEST} dimensions, got {len(found)}")
        return tuple(found)

    def length(self) -> int:
        length = int(self.next()[1])
        if not 0 < length <= _LONGEST_ARRAY:
            raise TypeTextError(f"expected an array of 1 to {_LONGEST_ARRAY} items, got {length} in the type {self.text!r}")
        return length
