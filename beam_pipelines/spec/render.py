"""Problems as a person reads them on a terminal: the place, the line, a caret."""

from __future__ import annotations

import re
from collections.abc import Iterable

from beam_pipelines.errors import Problem
from beam_pipelines.spec.values import masked_urls

__all__ = ["render"]

_SECRET_KEY = re.compile(r"""(?i)((?:password|passwd|secret|token|api_?key|access_?key|credentials?)[\w-]*["']?\s*:\s*)(\S.*)""")
_REFERENCE = re.compile(r"""["']?\$\{[a-z-]+:[^{}]*\}["']?[\s,}]*""")
_SHOWN_CHARACTERS = 120  # of a line; a terminal's width and a little


def render(problems: Iterable[Problem], text: str = "") -> str:
    """Return problems, each with its line of the text and a caret below the place.

    Args:
        problems: In the order to show them.
        text: The file that they are about; without it, or for a problem without a line, the excerpt is left out.

    Returns:
        Several lines, without colour and without a final newline. What looks like a secret in an excerpt is masked.
    """
    lines = re.split(r"\r\n|\n|\r", text)  # not splitlines: parsers count no other line ends
    return "\n".join(part for problem in problems for part in _one(problem, lines))


def _one(problem: Problem, lines: list[str]) -> Iterable[str]:
    yield str(problem)
    if not 0 < problem.line <= len(lines):
        return
    line = lines[problem.line - 1]
    masked = _masked(line)
    start = max(problem.column - 1, 0)
    if masked[:start] != line[:start]:
        start = len(line) - len(line.lstrip())
    width = _width(masked, start)
    offset = max(start - _SHOWN_CHARACTERS // 2, 0) if len(masked) > _SHOWN_CHARACTERS else 0
    excerpt = masked[offset : offset + _SHOWN_CHARACTERS]
    gutter = f"{problem.line:>5} | "
    # Tabs stay tabs below, so that the caret keeps its place.
    padding = "".join("\t" if character == "\t" else " " for character in excerpt[: start - offset])
    yield f"{gutter}{excerpt}"
    yield f"{' ' * (len(gutter) - 2)}| {padding}{'^' * min(width, _SHOWN_CHARACTERS - (start - offset))}"


def _width(line: str, start: int) -> int:
    """Return how many characters the word at a column has: a key, a number, a quoted text."""
    match = re.match(r"""(["']).*?\1|[^\s,:\]}]+""", line[start:])
    return max(len(match[0]), 1) if match else 1


def _masked(line: str) -> str:
    return _SECRET_KEY.sub(lambda match: match[0] if _REFERENCE.fullmatch(match[2]) else f"{match[1]}***", masked_urls(line))
