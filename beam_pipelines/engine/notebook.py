"""How plans, previews and results show themselves in a notebook: plain HTML, in which every value is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["facts", "lines", "table"]


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; a line break in a heading stands for itself, None is shown as nothing."""
    heads = "".join(f"<th>{_text(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{_text(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """Return names with their values, those without a value left out."""
    told = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in pairs if value not in (None, ""))
    return f"<table><tbody>{told}</tbody></table>"


def lines(title: str, texts: Iterable[str]) -> str:
    """Return a heading with a numbered list below it."""
    return f"<p><b>{_text(title)}</b></p><ol>" + "".join(f"<li>{_text(text)}</li>" for text in texts) + "</ol>"


def _text(value: Any) -> str:
    return html.escape("" if value is None else str(value)).replace("\n", "<br>")
