"""A first set of rules from a profile: what held of all rows that were seen, for a person to look over."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Any, get_args

from beam_pipelines.columnar.convert import family
from beam_pipelines.rules.profiling.columns import ColumnProfile, Profile
from beam_pipelines.rules.profiling.discreet import keeps_secrets
from beam_pipelines.rules.profiling.once import KEYS
from beam_pipelines.rules.profiling.shape import CHARACTERS, FORMS, pattern
from beam_pipelines.spec.rule import Rule

__all__ = ["suggest"]

LEAST = 20  # values from which what they have in common is taken for a rule
_SET = 20  # different values that a list may have
_REPEATED = 5  # times that each value of a list occurs, on average
_NUMBERS = ("int", "float", "decimal")
_WHOLE = 2**53  # up to which each whole number is a double
_DIGITS = 700  # of the greatest double and the least together
_TYPES = get_args(Rule)[1].names
_ESTIMATED = {"severity": "warning", "description": "Suggested by an estimate of how many different values there are."}


def suggest(profile: Profile, once: Mapping[str, bool] | None = None) -> list[dict[str, Any]]:
    """Return rules that hold of the rows of a profile, as a definition has them.

    A rule about different values above the profile's bound rests on an estimate; it says so, and is a warning. No rule holds a value of a
    column whose name says that its values are secret.

    Args:
        profile: Of at least `LEAST` rows; of fewer no rule but required-fields follows.
        once: Of columns that may be keys, whether they hold each value once, where that is known better than by the profile.
    """
    named = {name: column for name, column in profile.columns.items() if name.strip()}  # a definition cannot name the others
    required = [name for name, column in named.items() if _complete(column)]
    rules: list[dict[str, Any]] = []
    if required:
        rules.append({"id": "required", "type": "required-fields", "fields": required})
    for name, column in named.items():
        rules += ({"field": name, **rule} for rule in _of(column, (once or {}).get(name), discreet=keeps_secrets(name)))
    ids = [_id(rule) for rule in rules]
    times = Counter(ids)
    return [_named(rule, name if times[name] == 1 else f"{name}-{at}") for at, (name, rule) in enumerate(zip(ids, rules, strict=True))]


def _named(rule: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a rule with an id, which is its field and type, and its place where another is named so as well."""
    rest = {key: value for key, value in rule.items() if key not in ("id", "type", "field")}
    field = {"field": rule["field"]} if "field" in rule else {}
    return {"id": name, "type": rule["type"], **field, **rest}


def _id(rule: dict[str, Any]) -> str:
    words = re.sub(r"[^A-Za-z0-9_]+", "-", str(rule.get("field", ""))).strip("-")
    return str(rule.get("id") or f"{words or 'field'}-{rule['type']}")[:120]


def _complete(column: ColumnProfile) -> bool:
    empty = column.texts.empty if column.texts is not None else 0
    return column.rows > 0 and not (column.nulls or column.nans or empty)


def _of(column: ColumnProfile, once: bool | None, *, discreet: bool) -> Iterator[dict[str, Any]]:
    if column.count < LEAST or column.distinct is None:
        return
    name = family(column.type)
    unique = name in KEYS and (_unique(column) if once is None else once)
    if unique:
        yield {"type": "unique", **(_ESTIMATED if column.distinct.approximate and once is None else {})}
    if discreet and name in _NUMBERS:
        return
    if name in _NUMBERS and not column.nans and not (unique and name == "int"):  # keys go on and on
        yield from _range(column)
    if column.texts is not None:
        yield from _text(column, unique, discreet=discreet)


def _unique(column: ColumnProfile) -> bool:
    assert column.distinct is not None
    return column.nearly_unique if column.distinct.approximate else column.distinct.count == column.count


def _text(column: ColumnProfile, unique: bool, *, discreet: bool) -> Iterator[dict[str, Any]]:
    assert column.texts is not None
    assert column.top is not None
    assert column.distinct is not None
    texts = column.texts
    if texts.broken:  # no rule is sure to read them as they were read here
        return
    some = column.count - texts.empty
    for form in FORMS:
        if some and form in texts.forms:
            yield {"type": form} if form in _TYPES else {"type": "regex", "pattern": FORMS[form]}
            return
    short = texts.longest is not None and texts.longest <= CHARACTERS
    if not unique and not discreet and short and column.distinct.count <= min(_SET, column.count // _REPEATED):
        yield {"type": "in-set", "values": sorted(value for value, _ in column.top.top(_SET, column.type))}
        return
    shapes = texts.shapes.top(2, texts.shapes.values.type)
    if len(shapes) == 1 and not texts.shapes.missed and not shapes[0][0].isalpha():
        found = pattern(shapes[0][0])
        if found is not None:
            yield {"type": "regex", "pattern": found}


def _range(column: ColumnProfile) -> Iterator[dict[str, Any]]:
    figures = column.figures
    if figures is None or figures.least is None or figures.greatest is None or figures.positive or figures.negative:
        return
    least, greatest = (Decimal(str(end)) for end in (figures.least, figures.greatest))
    with localcontext() as context:
        context.prec = _DIGITS
        step = _step(greatest - least or abs(greatest))
        low, high = (least / step).to_integral_value(ROUND_FLOOR) * step, (greatest / step).to_integral_value(ROUND_CEILING) * step
        if any(Decimal(str(float(end))) != end for end in (low, high)):  # more digits than a definition's number has
            low, high = least.to_integral_value(ROUND_FLOOR), greatest.to_integral_value(ROUND_CEILING)
    exact = family(column.type) != "float"
    yield {"type": "numeric-range", "min": _plain(low, exact), "max": _plain(high, exact)}


def _step(span: Decimal) -> Decimal:
    """Return the power of ten that bounds are rounded to: the greatest of which there are three within a span."""
    return Decimal(1).scaleb((span / 3).adjusted()) if span else Decimal(1)


def _plain(number: Decimal, exact: bool) -> int | float:
    """Return a number as a definition has it; of doubles one that is large as a double: 1e308 is not quite 10^308."""
    whole = number == int(number) and (exact or abs(number) < _WHOLE)
    return int(number) if whole else float(number)
