"""How a SQLite column holds moments: SQLite has no type for them, so they are text in some form, or numbers.

A cursor compares in the database as what is stored. `2026-01-31 10:00:05` and `2026-01-31T10:00:05Z` are the same moment, yet one text is
less than every other of that day. So the form is found first, and bounds are written in it; where forms are mixed, bounds are whole days
and the rows between are told apart exactly after the read.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace

__all__ = ["DEFAULT", "Form", "Stamps", "parse"]

_TEXT = re.compile(r"(\d{4}-\d\d-\d\d)(?:([ T])(\d\d:\d\d)(:\d\d)?(?:\.(\d{1,9}))?(Z|\+00:00)?)?")
_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_TWO = "[0-9][0-9]"


@dataclass(frozen=True)
class Form:
    """One way to write a moment as text, such that the order of texts is the order of moments.

    Args:
        separator: Between date and time, ` ` or `T`; empty: the date alone.
        seconds: Seconds are written.
        digits: Digits of the fraction of a second.
        zone: `Z`, `+00:00` or nothing, always UTC.
    """

    separator: str = " "
    seconds: bool = True
    digits: int = 0
    zone: str = ""

    @classmethod
    def of(cls, text: str) -> Form | None:
        """The form of a text, None when it is in none of these forms (another offset, not ISO 8601)."""
        found = _TEXT.fullmatch(text)
        if not found or (found[5] and not found[4]):
            return None
        return cls(found[2] or "", bool(found[4]) if found[2] else False, len(found[5] or ""), found[6] or "")

    @property
    def glob(self) -> str:
        """The SQLite GLOB pattern that texts of this form, and no others, match."""
        if not self.separator:
            return _DAY
        time = f"{_TWO}:{_TWO}" + (f":{_TWO}" if self.seconds else "") + (f".{'[0-9]' * self.digits}" if self.digits else "")
        return f"{_DAY}{self.separator}{time}{self.zone}"

    def floor(self, moment: dt.datetime) -> dt.datetime:
        """The moment cut to what the form can say."""
        if not self.separator:
            return moment.replace(hour=0, minute=0, second=0, microsecond=0)
        if not self.seconds:
            return moment.replace(second=0, microsecond=0)
        step = 10 ** max(0, 6 - self.digits)
        return moment.replace(microsecond=moment.microsecond // step * step)

    def write(self, moment: dt.datetime) -> str:
        """A naive UTC moment in this form, cut to what it can say."""
        moment = self.floor(moment)
        day = moment.strftime("%Y-%m-%d").rjust(10, "0")
        if not self.separator:
            return day
        fraction = f".{moment.microsecond:06d}000"[: self.digits + 1] if self.digits else ""
        return f"{day}{self.separator}{moment.strftime('%H:%M:%S' if self.seconds else '%H:%M')}{fraction}{self.zone}"


DEFAULT = Form()  # of an empty column: what CURRENT_TIMESTAMP writes


@dataclass(frozen=True)
class Stamps:
    """How the moments of one column are written.

    Args:
        kind: `fixed` (one form), `varied` (one form, but for the digits of the fraction: text order is still time order, equal moments
            may be different texts) or `mixed`.
        form: The form; where there are several, the one that says least.
    """

    kind: str
    form: Form

    def holds(self, text: str) -> bool:
        """Whether a text compares with those of the column as its moment does with theirs."""
        form = Form.of(text)
        return form == self.form or (self.kind == "varied" and form is not None and replace(form, digits=0) == self.form)

    def floor(self, moment: dt.datetime) -> dt.datetime:
        """The moment cut to what every text of the column can say."""
        return self.form.floor(moment)

    def low(self, moment: dt.datetime, inclusive: bool) -> tuple[str, bool]:
        """A bound in the database that no row after `moment` is below, and whether rows equal to it are read."""
        if self.kind == "fixed":
            return self.form.write(moment), inclusive or self.form.floor(moment) != moment
        if self.kind == "varied":
            return _shortest(self.form, moment), True
        return _day(moment, -1), True

    def ceiling(self, moment: dt.datetime, inclusive: bool) -> tuple[str, bool]:
        """A bound in the database that no row before `moment` is above, and whether rows equal to it are read."""
        if self.kind == "fixed":
            return self.form.write(moment), inclusive or self.form.floor(moment) != moment
        if self.kind == "varied":
            # All spellings of the moment itself begin with its shortest one and end before the next microsecond's.
            return (
                (_shortest(self.form, moment + dt.timedelta(microseconds=1)), False) if inclusive else (_shortest(self.form, moment), False)
            )
        return _day(moment, 2), True


def _shortest(form: Form, moment: dt.datetime) -> str:
    digits = f"{moment.microsecond:06d}".rstrip("0")
    return Form(form.separator, True, len(digits)).write(moment)


def _day(moment: dt.datetime, days: int) -> str:
    """The date some days off: offsets from UTC reach 14 hours."""
    try:
        return (moment + dt.timedelta(days=days)).strftime("%Y-%m-%d").rjust(10, "0")
    except OverflowError:
        return "0000-00-00" if days < 0 else "9999-99-99"


def parse(text: str) -> dt.datetime | None:
    """A text of one of the forms as naive UTC; None when it is not in one. Digits below microseconds are cut."""
    found = _TEXT.fullmatch(text)
    if not found:
        return None
    fraction = (found[5] or "")[:6].ljust(6, "0")
    try:
        return dt.datetime.fromisoformat(f"{found[1]}T{found[3] or '00:00'}{found[4] or ':00'}.{fraction}")
    except ValueError:
        return None
