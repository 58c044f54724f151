"""A window step: batches become states of windows, states combine, and come out as rows once time has passed their windows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.origin import OFFSET, PARTITION
from beam_pipelines.errors import Code, FatalError, PlanError, Problem
from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.spec.window import SessionWindow, SlidingWindow
from beam_pipelines.transforms.aggregate.step import ROWS, Dead
from beam_pipelines.transforms.late import NEVER, Longs, closed_to, longs, times_of
from beam_pipelines.transforms.step import Applied, DeadRows, dead_rows
from beam_pipelines.transforms.window import sessions
from beam_pipelines.transforms.window.spans import Flags, Spans
from beam_pipelines.transforms.window.sums import FRESH, LAST, START, WINDOW, Model, WindowSums, extended

__all__ = ["Screened", "Settled", "Windowed"]

MOMENT = pa.timestamp("ms", "UTC")
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999  # of the years 1 and 9999
_OFFSETS = 48  # bits of an offset, beside those of a partition
_MEANING = 1  # of a state, beside what the definition says: goes up when states of before can no longer be combined with


@dataclass(frozen=True)
class Screened:
    """What may count of a batch, and what may not: `rows in = absorbed + late`.

    Args:
        rows: That count in one window at least, as `Windowed.states` takes them; with them everything hidden.
        late: Rows that count in none.
        partly: Of rows that count in some of their windows, how many times one did not count in another one, which was closed.
    """

    rows: pa.RecordBatch
    late: DeadRows | None
    partly: int = 0

    @property
    def absorbed(self) -> int:
        """Rows that go on as a part of a state."""
        return self.rows.num_rows


@dataclass(frozen=True)
class Settled:
    """What came out of states, and what stays.

    Args:
        applied: The results. All of them are `made`, for the rows they stand for were `absorbed` when they became states.
        open: States to keep: those of windows that may still take rows.
        written: Windows, by group, that came out: with those whose result replaces one of before.
    """

    applied: Applied
    open: pa.RecordBatch
    written: int

    @property
    def held(self) -> int:
        """Windows, by group, that stay open."""
        return self.open.num_rows


class Windowed:
    """A window step: one row for each window and group, `windowStart` and `windowEnd` first.

    `screened`, then `states` on every batch; `combine` as wanted; `settle` on all states of a shard, those that were kept before among
    them. States combine in any order and any split (of doubles, sums differ in their last digits).

    Rows have hidden columns: `TIME` (event time, int64 ms), `BEHIND` (int64 ms, null: nothing came before), `PARTITION` and `OFFSET`.
    Keys and functions are those of `Aggregate`; `first` and `last` are by event time, then by partition and offset.

    States are batches: `k0` where the window begins (of a session its first event), `k1, k2, ...` the group, `rows` how many rows a state
    stands for, `fresh` 1 when rows came since it came out, of sessions `last` the last event; then the states of the measures.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "window"
    needs_sample = False
    required = True

    def __init__(self, model: WindowStep, path: str) -> None:
        self.id = model.id
        self._model, self._path = model, path
        self._told = WindowSums(Model.told(model), path)
        self._sums = WindowSums(Model.whole(model), path)
        self._lateness = _ms(model.allowed_lateness)
        self._gap = _ms(model.window.gap) if isinstance(model.window, SessionWindow) else None
        self._spans = Spans(1, 1)
        if not isinstance(model.window, SessionWindow):
            size = _ms(model.window.size)
            self._spans = Spans(size, _ms(model.window.slide) if isinstance(model.window, SlidingWindow) else size)
        self._schema: pa.Schema | None = None

    @property
    def group_by(self) -> tuple[str, ...]:
        """The columns of the result that name a row."""
        return ("windowStart", *self._model.group_names)

    @property
    def ordered(self) -> bool:
        """Whether a result depends on the order of the rows."""
        return self._sums.ordered

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the step reads, hidden ones aside."""
        return frozenset(name for name in self._sums.columns if not name.startswith(origin.PREFIX))

    @property
    def state_version(self) -> str:
        """What states mean, in short: states of another version cannot be combined with those of this step."""
        window = self._model.window
        spans = [f"gap {self._gap}"] if self._gap is not None else [f"size {self._spans.size}", f"slide {self._spans.slide}"]
        words = [str(_MEANING), window.type, *spans, *self._sums.meaning()]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:
        told = self._told.plan(schema, sample)
        width = len(self._model.group_names)
        moments = [pa.field(name, MOMENT, nullable=False) for name in ("windowStart", "windowEnd")]
        planned = [*moments, *map(told.field, range(width)), pa.field("eventCount", pa.int64(), nullable=False)]
        planned += map(told.field, range(width, len(told)))
        self._check([field.name for field in planned])
        return pa.schema(planned)

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:
        self.close()
        self._sums.open(extended(schema_in), schema_out, now)
        self._schema = schema_out

    def close(self) -> None:
        self._sums.close()
        self._schema = None

    def apply(self, batch: pa.RecordBatch) -> Applied:
        """Carry the step out on one batch, as if it held every row and the stream ended behind it."""
        screened = self.screened(batch, None)
        states = [self.states(screened.rows)] if screened.rows.num_rows else []
        done = self.settle(states, None, origin.load_of(batch), end=True).applied
        late = () if screened.late is None else (screened.late,)
        return replace(done, absorbed=done.absorbed + screened.absorbed, dead=(*late, *done.dead))

    def screened(self, batch: pa.RecordBatch, closed: int | None) -> Screened:
        """Tell rows that come too late from the others.

        Args:
            batch: Rows with `TIME`, and with `BEHIND` unless nothing came before any of them.
            closed: The watermark of the last commit, ms; None: nothing is closed.
        """
        times = times_of(batch, self.id)
        reached = closed_to(batch, closed)
        limits = None if reached is None else reached - self._lateness
        if self._gap is not None:
            behind = np.zeros(0, dtype=np.int64) if limits is None else limits - times
            rows, late = self._apart(batch, behind > 0, behind)
            return Screened(rows, late)
        codes, left, ended = self._spans.placed(times, limits)
        placed = batch.append_column(WINDOW, pa.array(codes))
        rows, late = self._apart(batch, ended >= 0, ended, placed)
        return Screened(rows, late, int(left.sum()) - (int(left[ended >= 0].sum()) if late else 0))

    def states(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return one state for each window and group of rows, as `screened` gives them."""
        self._opened()
        ordinals = _ordinals(rows) if self.ordered else None
        if self._gap is not None:
            times = times_of(rows, self.id)
            windows = pa.array(sessions.starts(self._sums.keys_of(rows), times, times, self._gap))
            return self._sums.states_of(rows, windows, ordinals)
        codes = rows.column(WINDOW)
        return self._expanded(self._sums.states_of(rows, codes, ordinals))

    def combine(self, states: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        """Return one state for each window and group of some states; at least one batch must be given."""
        self._opened()
        plain = [one.replace_schema_metadata(None) for one in states]
        return self._sums.combine(plain) if self._gap is None else self._merged(pa.concat_batches(plain))

    def nothing(self) -> pa.RecordBatch:
        """Return the states of no rows."""
        return self._sums.nothing()

    def shard_keys(self, states: pa.RecordBatch) -> list[str]:  # noqa: ARG002 (they are the same for all)
        """Return the columns by whose hash states are cut into shards, so that what may combine meets; none: all are of one shard."""
        self._opened()
        groups = self._sums.group_columns()
        return groups if self._gap is not None else [START, *groups]

    def state_keys(self, states: pa.RecordBatch) -> list[str]:  # noqa: ARG002 (they are the same for all)
        """Return the columns that tell states apart: the window's start, then the groups."""
        self._opened()
        return [START, *self._sums.group_columns()]

    def settle(
        self, states: Sequence[pa.RecordBatch], watermark: int | None, load: str, *, early: bool = False, end: bool = False
    ) -> Settled:
        """Return what comes out of states now, and the states to keep.

        Tumbling and sliding windows come out once their end is reached, and again whenever rows came since; they stay until their
        lateness is over. Sessions come out once, when nothing can belong to them any more.

        Args:
            states: All states of some shards, those kept before among them; none: there are none.
            watermark: ms; None: nothing is known of the time.
            load: What the results belong to.
            early: Open windows to which rows came come out as well; of sessions never.
            end: The stream has ended: everything comes out, and nothing is kept.
        """
        final = self.combine(states) if states else self.nothing()
        ends = self._ends(final)
        fresh = longs(final, FRESH) > 0
        now = NEVER if watermark is None else watermark
        over = np.full(final.num_rows, True) if end else ends + self._lateness <= now
        out = over if self._gap is not None else fresh if early or end else fresh & (ends <= now)
        results = self._results(final, ends, out, load)
        return Settled(results, self._kept(final, fresh & ~out, ~over), int(out.sum()))

    def _kept(self, final: pa.RecordBatch, fresh: Flags, kept: Flags) -> pa.RecordBatch:
        return _put(final, FRESH, fresh.astype(np.int64)).filter(pa.array(kept))

    def _results(self, final: pa.RecordBatch, ends: Longs, out: Flags, load: str) -> Applied:
        schema = self._opened()
        states = final.filter(pa.array(out))
        begins, ends = longs(states, START), ends[out]
        groups, results, dead = self._sums.measured(states, schema)
        for row in np.flatnonzero((begins < _FIRST) | (ends > _LAST)).tolist():
            dead[row] = ("cast-failed", "the window begins before the year 1, or ends after the year 9999")
        moments = [pa.array(values).cast(MOMENT) for values in (begins, ends)]
        rows = pa.RecordBatch.from_arrays([*moments, *groups, states.column(ROWS), *results], schema=schema)
        rows = origin.with_load(origin.attach(rows, self.id, key=self.group_by), load)
        return _alive(rows, dead)

    def _ends(self, states: pa.RecordBatch) -> Longs:
        return longs(states, START) + self._spans.size if self._gap is None else longs(states, LAST) + self._gap

    def _apart(
        self, batch: pa.RecordBatch, late: Flags, behind: Longs, placed: pa.RecordBatch | None = None
    ) -> tuple[pa.RecordBatch, DeadRows | None]:
        """Cut a batch into the rows that may count, and the late ones; `behind`: for how long their window has been closed, ms."""
        placed = batch if placed is None else placed
        rows = np.flatnonzero(late)
        if not len(rows):
            return placed, None
        codes: list[Code] = ["late-row"] * len(rows)
        what = "its last window was closed" if self._gap is None else "its session was closed"
        told = f"with {self._lateness} ms of allowedLateness {what}"
        messages = [f"too late by {ms} ms: {told}" for ms in behind[rows].tolist()]
        return take(placed, np.flatnonzero(~late)), DeadRows(batch, rows.tolist(), codes, messages)

    def _expanded(self, states: pa.RecordBatch) -> pa.RecordBatch:
        """Give states of panes to the windows that they are in."""
        codes = longs(states, START)
        if self._spans.most == 1:
            return _put(states, START, self._spans.expanded(codes)[1])
        shared = self._spans.shared(codes)
        if shared is None:
            rows, windows = self._spans.expanded(codes)
            return self._sums.again(pa.array(windows), take(states, rows))
        combined = self._sums.again(pa.array(shared.sets), take(states, shared.rows))
        rows, windows = shared.windows(longs(combined, START))
        return _put(take(combined, rows), START, windows)

    def _merged(self, states: pa.RecordBatch) -> pa.RecordBatch:
        """Combine sessions so far that are one."""
        assert self._gap is not None
        first = longs(states, START)
        groups = [states.column(name) for name in self._sums.group_columns()]
        return self._sums.again(pa.array(sessions.starts(groups, first, longs(states, LAST), self._gap)), states)

    def _check(self, names: Sequence[str]) -> None:
        """Refuse results that would have one name, or one that is kept."""
        origin.refuse_reserved(names)
        path = f"{self._path}.aggregations"
        taken = {"windowstart", "windowend", "eventcount"}
        problems = []
        results = [*((name, f"{self._path}.groupBy[{at}]") for at, name in enumerate(self._model.group_names))]
        results += [(measure.name, f"{path}.{measure.name}") for measure in self._model.measures]
        for name, place in results:
            if name.lower() in taken:
                hint = "windowStart, windowEnd and eventCount are in every result" if place.startswith(path) else "rename the field before"
                problems.append(Problem(f"two results would be called {name!r}", place, hint=hint))
            taken.add(name.lower())
        if problems:
            raise PlanError("a window cannot be carried out", problems=problems, code="expression-invalid")

    def _opened(self) -> pa.Schema:
        if self._schema is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._schema


def _alive(rows: pa.RecordBatch, dead: Dead) -> Applied:
    """Results without those that died."""
    made = rows.num_rows
    died = dead_rows(rows, dead)
    if dead:
        rows = take(rows, np.delete(np.arange(made), sorted(dead)))
    return Applied((rows,) if rows.num_rows else (), made=made, dead=died)


def _ordinals(rows: pa.RecordBatch) -> pa.Array | None:
    """Where rows stand in the order of the source: by partition and offset."""
    if OFFSET not in rows.schema.names:
        return None
    offsets = longs(rows, OFFSET)
    if len(offsets) and int(offsets.max()) >> _OFFSETS:
        raise FatalError(f"expected offsets below 2^{_OFFSETS}, got {int(offsets.max())}", code="internal")
    return pa.array((longs(rows, PARTITION) << _OFFSETS) | offsets)


def _put(states: pa.RecordBatch, name: str, values: Longs) -> pa.RecordBatch:
    return states.set_column(states.schema.get_field_index(name), name, pa.array(values))


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
