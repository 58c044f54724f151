"""Text of any origin, made fit to be shown: what cannot be seen, or turns around what stands beside it, is named instead."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["clean", "pieces", "xml_text"]

_MARKS = 4  # combining ones on one letter: more, and they pile up over whatever stands around

# Control characters but tab and line feed, what separates lines unseen, marks of writing direction, characters of no width (but the joiners
# that scripts and emoji need), halves of surrogate pairs, and what is no character.
_UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff"
)
_COMBINING = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_ODD = re.compile(f"([{_COMBINING}]{{{_MARKS + 1},}})|[{_UNSEEN}]")
# XML 1.0, section 2.2: these cannot be written, not even escaped.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Cut text into what is shown as it is and what is named instead; the second of each pair says which it is.

    >>> list(pieces("a" + chr(0x202E) + "b"))
    [('a', False), ('U+202E', True), ('b', False)]
    """
    begin = 0
    for found in _ODD.finditer(text):
        if found[1]:
            yield text[begin : found.start() + _MARKS], False
            yield f"{found.end() - found.start() - _MARKS} more marks", True
        else:
            yield text[begin : found.start()], False
            yield f"U+{ord(found[0]):04X}", True
        begin = found.end()
    yield text[begin:], False


def clean(text: str) -> str:
    """Return text with a mark in the place of each character that cannot be seen."""
    return "".join("\ufffd" if odd else piece for piece, odd in pieces(text))


def xml_text(text: str) -> str:
    """Return text as XML can hold it."""
    return _NOT_XML.sub("\ufffd", text)
