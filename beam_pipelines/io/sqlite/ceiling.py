"""The bounds of an incremental read of SQLite: below which stamp every row is there, and how that is written for the database.

SQLite has one writer at a time, and it stamps rows (`CURRENT_TIMESTAMP`) while it holds the write lock. Whoever takes that lock for an
instant therefore knows: what was stamped before now is committed, what is not will be stamped at or after now. Without the lock a row
stamped in the same second by a writer that had not committed was lost (tried).
"""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.cast import conform
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import CursorSpec
from beam_pipelines.io.sql.relation import Relation, decide_kind
from beam_pipelines.io.sql.stamps import epoch_ceiling, epoch_low
from beam_pipelines.io.sqlite.connect import File, identifier
from beam_pipelines.io.sqlite.stamps import DEFAULT, Form, Stamps, parse
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Window

__all__ = ["Bounded", "Bounds", "bound", "exactly"]

_MOMENT = re.compile("date|time|stamp", re.IGNORECASE)


@dataclass(frozen=True)
class Bounds:
    """A window as the database compares it, in JSON values.

    Args:
        column: The cursor's column.
        low: Mark as JSON, in the form that is stored; None: from the beginning.
        low_inclusive: Rows at `low` too.
        ceiling: Likewise; None: no bound.
        ceiling_inclusive: Rows at `ceiling` too.
        exact: The database gives some rows too many: tell them apart after the read.
        after: The low bound as the moment it is, overlap taken off, for `exactly`.
        empty: There was no row when the run was prepared.
    """

    column: str
    low: dict[str, str] | None = None
    low_inclusive: bool = False
    ceiling: dict[str, str] | None = None
    ceiling_inclusive: bool = False
    exact: bool = False
    after: dict[str, str] | None = None
    empty: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def arguments(self) -> dict[str, Any]:
        """For `Relation.select`."""
        return {
            "low": Mark.from_json(self.low),
            "low_inclusive": self.low_inclusive,
            "ceiling": Mark.from_json(self.ceiling),
            "ceiling_inclusive": self.ceiling_inclusive,
        }


@dataclass(frozen=True)
class Bounded:
    """A window with its ceiling: as the run remembers it, and as the database compares it.

    Args:
        ceiling: In the planned type of the column; None: nothing was there.
        inclusive: The ceiling itself is read.
        by: How it was found.
        bounds: For the database.
    """

    ceiling: Mark | None
    inclusive: bool
    by: str
    bounds: Bounds


def bound(
    file: File, relation: Relation, table: str, cursor: CursorSpec, field: pa.Field, declared: str, low: Mark | None, inclusive: bool
) -> Bounded:
    """Fix the bounds of a window.

    Args:
        file: The database.
        relation: What is read.
        table: Which table of it.
        cursor: Its cursor; an open `kind` is decided by the column.
        field: The cursor's column as planned.
        declared: What it is declared as: whole numbers declared as a moment count time since 1970.
        low: Watermark, as planned or as the text that is stored. The caller took the overlap off, except of a text, and as if numbers were
            seconds.
        inclusive: Read rows at `low` too.

    Raises:
        PlanError: The column cannot be a cursor of that kind.
        TransientError: A writer held its lock for longer than is waited.
    """
    counts_time = pa.types.is_integer(field.type) and (cursor.kind == "timestamp" or bool(_MOMENT.search(declared)))
    decided = decide_kind(replace(cursor, kind="timestamp") if counts_time else cursor, field.type)
    if pa.types.is_floating(field.type) and decided.kind == "timestamp":
        raise PlanError(
            f"the cursor column {field.name!r} holds real numbers, which are no sure stamps: give it as text in the query,"
            f" datetime({field.name}) AS {field.name}; or say kind: sequence",
            code="cursor-invalid",
        )
    stored, _ = relation.select(table, [f"={identifier(field.name)} AS stamp"])
    with _instant(file, decided.stamped_by == "database" and decided.kind != "date") as now:
        if decided.kind == "sequence":
            return _sequence(field, now, stored, low, inclusive)
        if counts_time:
            return _epoch(field, decided, now, stored, low, inclusive)
        return _moment(field, decided, now, _stamps(now.reader, stored), low, inclusive)


@dataclass(frozen=True)
class _Instant:
    """A reader that sees the database as it was at one moment, the naive UTC clock then (milliseconds), and whether nobody was writing."""

    reader: sqlite3.Connection
    clock: dt.datetime
    alone: bool

    @property
    def by(self) -> str:
        return (
            "the clock while no transaction was writing" if self.alone else "the clock; transactions that were writing are not waited for"
        )

    def greatest(self, stored: str, kind: str) -> Any:
        # Of its own kind only: a stray text is greater than every number.
        return self.reader.execute(f"SELECT max(stamp) FROM ({stored}) WHERE typeof(stamp) IN ({kind})").fetchone()[0]


@contextmanager
def _instant(file: File, alone: bool) -> Iterator[_Instant]:
    """Begin to read while holding the write lock (if `alone`, and it can be had), and let go of it again at once."""
    alone = alone and file.writable
    with file.open() as reader:
        if not alone:
            yield _Instant(reader, _begin(reader), False)
            return
        with file.open(write=True) as writer:
            writer.execute("BEGIN IMMEDIATE")
            clock = _begin(reader)
            writer.execute("ROLLBACK")
        yield _Instant(reader, clock, True)


def _begin(reader: sqlite3.Connection) -> dt.datetime:
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM (SELECT 1 FROM sqlite_master LIMIT 1)").fetchone()  # the snapshot is taken by the first read
    (text,) = reader.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')").fetchone()
    clock = parse(text)
    assert clock is not None, text
    return clock


def _sequence(field: pa.Field, now: _Instant, stored: str, low: Mark | None, inclusive: bool) -> Bounded:
    text = pa.types.is_string(field.type)
    greatest = now.greatest(stored, "'text'" if text else "'integer'" if pa.types.is_integer(field.type) else "'integer', 'real'")
    if greatest is None:
        return Bounded(None, True, "nothing was there", Bounds(field.name, empty=True))
    if pa.types.is_decimal(field.type):
        greatest = Decimal(repr(greatest))
    elif pa.types.is_floating(field.type):
        greatest = float(greatest)
    ceiling = Mark.of(greatest)
    by = (
        "the greatest value while no transaction was writing"
        if now.alone
        else "the greatest value; transactions that were writing are not waited for"
    )
    bounds = Bounds(field.name, low.to_json() if low else None, inclusive, ceiling.to_json(), True)
    return Bounded(ceiling, True, by, bounds)


def _epoch(field: pa.Field, cursor: CursorSpec, now: _Instant, stored: str, low: Mark | None, inclusive: bool) -> Bounded:
    greatest = now.greatest(stored, "'integer'")
    ceiling, unit, name = epoch_ceiling(greatest, now.clock.replace(tzinfo=dt.timezone.utc))
    low = epoch_low(low, cursor.overlap, unit)
    bounds = Bounds(field.name, low.to_json() if low else None, inclusive, ceiling.to_json(), False)
    return Bounded(ceiling, False, f"{now.by}, in {name} since 1970", bounds)


def _moment(field: pa.Field, cursor: CursorSpec, now: _Instant, stamps: Stamps, low: Mark | None, inclusive: bool) -> Bounded:
    text = pa.types.is_string(field.type)
    if text and stamps.kind == "mixed":
        raise PlanError(
            f"the cursor column {field.name!r} is text, and not all of it is ISO 8601 in UTC in one form, so text order is not time order:"
            f" declare the column as TIMESTAMP, or give datetime({field.name}) AS {field.name} in the query",
            code="cursor-invalid",
        )
    moment, at_ceiling = stamps.floor(now.clock), False
    if cursor.kind == "date" and (pa.types.is_date(field.type) or (text and not stamps.form.separator)):
        # Rows of today come with it, and again by overlap.
        moment, at_ceiling = now.clock.replace(hour=0, minute=0, second=0, microsecond=0), True
    bounds = _written(field, cursor, stamps, low, inclusive, moment, at_ceiling)
    if text:
        return Bounded(Mark("text", stamps.form.write(moment)), at_ceiling, now.by, bounds)
    if pa.types.is_date(field.type):
        return Bounded(Mark.of(moment.date()), at_ceiling, now.by, bounds)
    return Bounded(Mark.of(moment if field.type.tz is None else moment.replace(tzinfo=dt.timezone.utc)), at_ceiling, now.by, bounds)


def _written(
    field: pa.Field, cursor: CursorSpec, stamps: Stamps, low: Mark | None, inclusive: bool, ceiling: dt.datetime, at_ceiling: bool
) -> Bounds:
    """The bounds as texts of the stored form."""
    text = pa.types.is_string(field.type)
    exact = not text and (stamps.kind != "fixed" or stamps.form.digits > 6)  # marks hold microseconds
    from_text, from_inclusive, start = None, inclusive, None
    if low is not None:
        start = parse(low.text) if low.type == "text" else _naive(low.value)
        if low.type == "text" and start is not None:
            start -= dt.timedelta(seconds=cursor.overlap)
        if start is None or (text and not cursor.overlap and stamps.holds(low.text)):
            from_text = low.text  # to the last digit as it was read
        else:
            exact = exact or (not text and stamps.form.floor(start) != start)
            from_text, from_inclusive = stamps.low(start, inclusive)
    to_text: str | None = None
    to_inclusive = at_ceiling
    if low is not None or stamps.kind != "mixed":  # else texts that are no moments are read too: once, to become dead letters
        to_text, to_inclusive = stamps.ceiling(ceiling, at_ceiling)
    after = Mark.of(start).to_json() if start is not None else None
    return Bounds(field.name, _text(from_text), from_inclusive, _text(to_text), to_inclusive, exact, after)


def _text(text: str | None) -> dict[str, str] | None:
    return Mark("text", text).to_json() if text is not None else None


def _naive(value: Any) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day)
    return value.astimezone(dt.timezone.utc).replace(tzinfo=None) if value.tzinfo else value


def _stamps(reader: sqlite3.Connection, stored: str) -> Stamps:
    """Find how a column's moments are written, of the greatest text first and then whether all others are like it: one scan."""
    (greatest,) = reader.execute(f"SELECT max(stamp) FROM ({stored})").fetchone()
    if greatest is None:
        return Stamps("fixed", DEFAULT)
    form = Form.of(greatest) if isinstance(greatest, str) else None
    if form is None:
        return Stamps("mixed", _least(reader, stored))
    if not _other(reader, stored, f"stamp NOT GLOB '{form.glob}'"):
        return Stamps("fixed", form)
    if form.seconds and not form.zone:
        second = Form(form.separator).glob
        plain = f"(stamp GLOB '{second}' OR (stamp GLOB '{second}.[0-9]*' AND ltrim(substr(stamp, 21), '0123456789') = ''))"
        if not _other(reader, stored, f"NOT {plain}"):
            return Stamps("varied", Form(form.separator))
    return Stamps("mixed", _least(reader, stored))


def _other(reader: sqlite3.Connection, stored: str, condition: str) -> bool:
    return bool(reader.execute(f"SELECT EXISTS (SELECT 1 FROM ({stored}) WHERE typeof(stamp) <> 'text' OR {condition})").fetchone()[0])


def _least(reader: sqlite3.Connection, stored: str) -> Form:
    """A form that says no more than the shortest moment of the column."""
    (length,) = reader.execute(
        f"SELECT min(length(stamp)) FROM ({stored}) WHERE typeof(stamp) = 'text' AND stamp GLOB '[0-9][0-9][0-9][0-9]-*'"
    ).fetchone()
    if length is not None and length < len("2026-01-31T10:00"):
        return Form("", False)
    return Form(" ", length is None or length >= len("2026-01-31T10:00:05"))


def exactly(batches: Iterable[pa.RecordBatch], field: pa.Field, bounds: Bounds, window: Window) -> Iterator[pa.RecordBatch]:
    """Leave out rows that are outside of the window once their cursor is read as what it means.

    Values that are no moment pass on a first run, to become dead letters, and never again.
    """
    limits = (
        (Mark.from_json(bounds.after), pc.greater_equal if window.inclusive else pc.greater),
        (window.ceiling, pc.less_equal if window.ceiling_inclusive else pc.less),
    )
    for batch in batches:
        read = conform(batch.select([field.name]), pa.schema([field]))
        values = read.batch.column(0)
        inside = pc.is_valid(values)
        for mark, compare in limits:
            if mark is not None:
                inside = pc.and_kleene(inside, compare(values, _scalar(mark, field.type)))
        yield batch.filter(_spread_out(inside, read.bad, batch.num_rows, window.low is None))


def _scalar(mark: Mark, kind: pa.DataType) -> pa.Scalar:
    """A mark as a value of the column; moments without zone are UTC."""
    value = mark.value
    if pa.types.is_timestamp(kind) and kind.tz is not None and value.tzinfo is None:
        value = value.replace(tzinfo=dt.timezone.utc)
    if pa.types.is_date(kind) and isinstance(value, dt.datetime):
        value = value.date()
    return pa.scalar(value, kind)


def _spread_out(inside: pa.BooleanArray, bad: list[int], rows: int, keep_bad: bool) -> pa.BooleanArray:
    """The mask over all rows, of one over the rows that could be read."""
    import numpy as np

    mask = np.full(rows, keep_bad)
    good = np.ones(rows, dtype=bool)
    good[bad] = False
    mask[good] = inside.to_numpy(zero_copy_only=False)
    return pa.array(mask)
