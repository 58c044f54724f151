"""A report as one HTML file: no script, no request, nothing that is not in it."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from beam_pipelines import __version__
from beam_pipelines.quality.report.made import Report
from beam_pipelines.quality.report.quantity import count, day, figure, many, moment, percent, rate
from beam_pipelines.quality.report.text import clean, json_text, pieces
from beam_pipelines.quality.report.view import figures_of, view_of

if TYPE_CHECKING:
    from jinja2 import Environment, Template

__all__ = ["CHARACTERS", "page", "shown", "visible"]

CHARACTERS = 1_000  # of a value
_STATUSES = {"failed": "Failed", "warned": "Passed with findings", "passed": "Passed", "empty": "Nothing to check"}


def page(report: Report) -> str:
    """Return the page of a report."""
    css = _css()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return _template().render(
        report=report,
        css=Markup(css),
        # By its hash: a style that a value brought with it would not be applied.
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        status=_STATUSES[report["status"]],
        figures=figures_of(report),
        steps=[view_of(step, number) for number, step in enumerate(report["steps"])],
        version=__version__,
    )


def visible(value: Any) -> Markup:
    """Return a value as text that does nothing, in which every character can be seen."""
    text = value if isinstance(value, str) else json_text(value)
    more = len(text) - CHARACTERS
    text = text[:CHARACTERS] if more > 0 else text
    parts = [Markup('<span class="unseen">{}</span>').format(piece) if odd else escape(piece) for piece, odd in pieces(text)]
    if more > 0:
        parts.append(Markup('<span class="more"> … {} more</span>').format(many(more, "character")))
    return Markup("").join(parts)


def shown(value: Any) -> Markup:
    """Return a value of a row: what would be seen as nothing, or as another value, is said in words."""
    if value is None or value == "" or (isinstance(value, str) and value.isspace()):
        return Markup('<span class="more">{}</span>').format(
            "null" if value is None else many(len(value), "blank") if value else "empty text"
        )
    return visible(value)


@functools.cache
def _css() -> str:
    return resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8").strip()


@functools.cache
def _template() -> Template:
    return _environment().get_template("page.html")


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # reports alone need it

    made = Environment(
        loader=PackageLoader("beam_pipelines.quality.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever is not made visible on purpose: a title, an attribute.
        finalize=lambda value: clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    made.filters |= {
        "visible": visible,
        "shown": shown,
        "count": count,
        "percent": percent,
        "figure": figure,
        "moment": moment,
        "day": day,
        "many": many,
        "rate": rate,
    }
    return made
