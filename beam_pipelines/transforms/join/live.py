"""Join the rows of two streams: those meet whose keys are equal and whose times are near enough, whichever of them comes first.

A pair comes out as soon as both of its rows are there, once. A row waits for others as long as one may still come that it meets, as far
as the watermark tells; a row that met nothing comes out, where that is asked for, when it stops waiting. So which pairs there are is a
function of the topics alone, and not of the batches and commits they came in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.index import Index, valid_keys
from beam_pipelines.columnar.origin import BEHIND, OFFSET, PARTITION, PREFIX, TIME
from beam_pipelines.columnar.path import FieldPath
from beam_pipelines.errors import Code
from beam_pipelines.spec.step.join import JoinStep
from beam_pipelines.transforms.join.step import Join, Positions, Rows
from beam_pipelines.transforms.late import Longs, closed_to, longs, times_of
from beam_pipelines.transforms.step import Applied, DeadRows

__all__ = ["LEFT", "RIGHT", "LiveJoin", "Meeting", "Waiting"]

LEFT, RIGHT = "left", "right"  # sides
MET = f"{PREFIX}met"  # of rows that wait: whether they have met one
_MEANING = 1  # of rows that wait, beside what the definition says: goes up when those of before can no longer be gone on with

Flags = npt.NDArray[np.bool_]
_Keyed = tuple[list[pa.Array], Longs]  # keys of rows, and their times


@dataclass(frozen=True)
class Waiting:
    """Rows of one side, as `LiveJoin.waiting` gives them.

    Args:
        kept: That have waited since commits before: what of them meets has come out.
        new: That came since.
    """

    kept: Sequence[pa.RecordBatch] = ()
    new: Sequence[pa.RecordBatch] = ()


class LiveJoin(Join):
    """A join of two streams.

    `screened`, then `waiting`, on every batch of either side; `meeting` of all rows of a shard, those kept before among them. What comes
    out is as of `Join`: `inner` gives pairs, `left` also the left rows that met none, once none can come any more, and so on. With `window`
    two rows meet whose times are in one tumbling window, with `within` whose times are at most so far apart.

    Rows have hidden columns: `TIME` (event time, int64 ms), `BEHIND` (int64 ms, null: nothing came before), `PARTITION` and `OFFSET`. What
    comes out has those of its left row but for `BEHIND`, and of a pair the later time.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    def __init__(self, model: JoinStep, path: str) -> None:
        super().__init__(model, path)
        self._size = None if model.window is None else _ms(model.window.size)
        self._apart = 0 if model.within is None else _ms(model.within)
        self._version = ""

    @property
    def state_version(self) -> str:
        """What rows that wait mean, in short: those of another version cannot be gone on with."""
        self._opened()
        return self._version

    @property
    def state_keys(self) -> list[str]:
        """The columns that tell rows that wait apart: their time first."""
        return [TIME, PARTITION, OFFSET]

    def keys(self, side: str) -> tuple[FieldPath, ...]:
        """What rows of a side are looked up by."""
        return self.left_keys if side == LEFT else self.right_keys

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:
        super().open(schema_in, schema_out, now)
        reach = [str(self._size), str(self._apart)]
        words = [str(_MEANING), self.how, *reach, repr(self.left_keys), repr(self.right_keys), str(schema_in), str(self._against())]
        self._version = hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]

    def apply(self, batch: pa.RecordBatch) -> Applied:
        """Join with nothing, as if both streams ended behind the batch."""
        return self.ended(batch, [])

    def ended(self, batch: pa.RecordBatch, right: Sequence[pa.RecordBatch]) -> Applied:
        """Join a batch with rows of the right side, as if each held every row and the streams ended behind them."""
        (ours, late), *others = [self.screened(one, None) for one in (batch, *right)]
        theirs = [self.waiting(rows, RIGHT) for rows, _ in others]
        meeting = self.meeting(Waiting(new=[self.waiting(ours, LEFT)]), Waiting(new=theirs), origin.load_of(batch))
        parts = [*meeting.pairs(), *meeting.over(None)]
        out = tuple(one for part in parts for one in part.batches)
        died = [dead for dead in (late, *(dead for _, dead in others)) if dead is not None]
        made = sum(part.made for part in parts) + sum(len(dead.rows) for _, dead in others if dead is not None)
        return Applied(out, absorbed=ours.num_rows, made=made, dead=tuple(died))

    def screened(self, batch: pa.RecordBatch, closed: int | None) -> tuple[pa.RecordBatch, DeadRows | None]:
        """Tell rows that come too late to meet all that they could from the others.

        Args:
            batch: Rows of either side with `TIME`, and with `BEHIND` unless nothing came before any of them.
            closed: The watermark of the last commit, ms; None: nothing is closed.
        """
        limits = closed_to(batch, closed)
        if limits is None:
            return batch, None
        times = times_of(batch, self.id)
        over = times if self._size is None else self._window_end(times) - 1
        rows = np.flatnonzero(over < limits)
        if not len(rows):
            return batch, None
        codes: list[Code] = ["late-row"] * len(rows)
        messages = [f"too late by {ms} ms: rows that it could have met are waited for no longer" for ms in (limits - over)[rows].tolist()]
        return take(batch, np.flatnonzero(over >= limits)), DeadRows(batch, rows.tolist(), codes, messages)

    def waiting(self, rows: pa.RecordBatch, side: str) -> pa.RecordBatch:
        """Rows of a side, as they wait: without what is known of them when they come, and with whether they have met any.

        Those that can meet none, for there is a null in their key, wait only where they come out for that.
        """
        times_of(rows, self.id)
        kept = rows.select([name for name in rows.schema.names if name != BEHIND])
        if not self.alone(side):
            valid = valid_keys([key.read(rows) for key in self.keys(side)], rows.num_rows)
            kept = kept if valid.all() else take(kept, np.flatnonzero(valid))
        return kept.append_column(MET, pa.array(np.zeros(kept.num_rows, dtype=np.bool_)))

    def alone(self, side: str) -> bool:
        """Whether a row of a side that met none comes out."""
        return self.how in (("left", "full", "anti") if side == LEFT else ("right", "full"))

    def meeting(self, left: Waiting, right: Waiting, load: str) -> Meeting:
        """Let the rows of a shard of a load meet."""
        self._opened()
        return Meeting(self, left, right, load)

    def expires(self, times: Longs) -> Longs:
        """The watermark from which on a row of a time can meet no more, ms."""
        return times + self._apart + 1 if self._size is None else self._window_end(times)

    def near(self, left: tuple[pa.RecordBatch, Longs], right: tuple[pa.RecordBatch, Longs]) -> Iterator[tuple[Positions, Positions]]:
        """Find the pairs of rows whose keys are equal and whose times are near enough, some at a time.

        Args:
            left: Rows, and their times.
            right: As `left`.
        """
        once = self._size is not None and self.how in ("semi", "anti")
        # To make an index is the dearer part, and with `within` it has three entries a row.
        turned = not once and len(left[1]) < len(right[1])
        sides = ((right, self.right_keys), (left, self.left_keys))
        (there, there_keys), (here, here_keys) = reversed(sides) if turned else sides
        asked = [key.read(here[0]) for key in here_keys]
        indexed = [key.read(there[0]) for key in there_keys]
        for mine, met in self._near((asked, here[1]), (indexed, there[1]), once):
            yield (met, mine) if turned else (mine, met)

    def _near(self, asked: _Keyed, indexed: _Keyed, once: bool) -> Iterator[tuple[Positions, Positions]]:
        (keys, times), (others, their_times) = asked, indexed
        count = len(their_times)
        if self._size is not None:
            index = Index([*others, pa.array(their_times // self._size)], count, distinct=once)
            yield from index.pairs([*keys, pa.array(times // self._size)], len(times))
            return
        # Time is cut into lengths of which two near ones are in the same or in neighbouring ones: a hot key is not paired with all of it.
        width = max(1, self._apart)
        thrice = pa.array(np.tile(np.arange(count), 3))
        lengths = np.concatenate([their_times // width + step for step in (-1, 0, 1)])
        index = Index([*(key.take(thrice) for key in others), pa.array(lengths)], 3 * count)
        for mine, met in index.pairs([*keys, pa.array(times // width)], len(times)):
            met = met % count
            close = np.abs(times[mine] - their_times[met]) <= self._apart
            yield mine[close], met[close]

    def _window_end(self, times: Longs) -> Longs:
        assert self._size is not None
        return (times // self._size + 1) * self._size


class Meeting:
    """Rows of one shard that meet: `pairs` first, then `over`, and then what is to be `kept`.

    Args:
        step: The join, open.
        left: Rows of the left side.
        right: Of the right side.
        load: What all of them belong to.
    """

    def __init__(self, step: LiveJoin, left: Waiting, right: Waiting, load: str) -> None:
        self._step, self._load = step, load
        self._left, self._right = _Rows.of(left, load), _Rows.of(right, load)
        self._over: dict[str, Flags] = {}

    def pairs(self) -> Iterator[Applied]:
        """What comes out because its rows meet, a part at a time: each new row with all of the other side, so each pair comes once."""
        ours, theirs = self._left, self._right
        yield from self._met(range(ours.kept, ours.count), range(theirs.count))
        yield from self._met(range(ours.kept), range(theirs.kept, theirs.count))

    def _met(self, ours: range, theirs: range) -> Iterator[Applied]:
        if not ours or not theirs:
            return
        step = self._step
        for left, right in step.near(self._left.part(ours), self._right.part(theirs)):
            left, right = left + ours.start, right + theirs.start
            if step.how in ("semi", "anti"):
                fresh = np.unique(left[~self._left.met[left]])
                self._left.met[fresh] = True
                if step.how == "semi" and len(fresh):
                    yield Applied((take(self._left.rows, fresh),), made=len(fresh))
                continue
            for side, rows, met in ((LEFT, self._left, left), (RIGHT, self._right, right)):
                if step.alone(side):  # else it is not asked, and a block of rows that wait stays as it is
                    rows.met[met] = True
            later = np.maximum(self._left.times[left], self._right.times[right])
            at = 0
            for out in step.paired(self._left.rows, self._right.met_by(step), left, right):
                yield Applied((_at(out, later[at : at + out.num_rows]),), made=out.num_rows)
                at += out.num_rows

    def over(self, watermark: int | None) -> Iterator[Applied]:
        """What comes out because it met nothing and can no more; with it all rows that can meet no more stop waiting.

        Args:
            watermark: ms; None: both streams have ended.
        """
        step = self._step
        for side, rows in ((LEFT, self._left), (RIGHT, self._right)):
            self._over[side] = np.full(rows.count, True) if watermark is None else step.expires(rows.times) <= watermark
        alone = np.flatnonzero(self._over[LEFT] & ~self._left.met)
        if len(alone) and step.how == "anti":
            yield Applied((take(self._left.rows, alone),), made=len(alone))
        elif len(alone) and step.alone(LEFT):
            nothing = np.full(len(alone), -1, dtype=np.int64)
            for out in step.paired(self._left.rows, self._right.met_by(step), alone, nothing):
                yield Applied((out,), made=out.num_rows)
        if step.alone(RIGHT) and self._right.count:
            yield step.unmet(Rows(self._right.rows, ~self._over[RIGHT] | self._right.met, None), self._load)

    def kept(self, side: str) -> pa.RecordBatch | None:
        """The rows of a side that go on waiting; None: there are none."""
        rows = self._left if side == LEFT else self._right
        stays = ~self._over[side]
        if side == LEFT and self._step.how in ("semi", "anti"):
            stays &= ~rows.met  # what met one has come out, or never will
        if not stays.any():
            return None
        return rows.rows.append_column(MET, pa.array(rows.met)).filter(pa.array(stays)).replace_schema_metadata(None)


@dataclass
class _Rows:
    """Rows of one side, those kept before the new ones."""

    rows: pa.RecordBatch  # without MET
    kept: int
    times: Longs
    met: Flags

    @classmethod
    def of(cls, waiting: Waiting, load: str) -> _Rows:
        batches = [*waiting.kept, *waiting.new]
        if not batches:
            return cls(pa.RecordBatch.from_arrays([], names=[]), 0, np.zeros(0, np.int64), np.zeros(0, np.bool_))
        names = batches[0].schema.names
        whole = pa.concat_batches([one.select(names).replace_schema_metadata(None) for one in batches])
        met = np.asarray(whole.column(MET))
        rows = origin.with_load(whole.select([name for name in names if name != MET]), load)
        return cls(rows, sum(one.num_rows for one in waiting.kept), longs(rows, TIME), met.copy())

    @property
    def count(self) -> int:
        return len(self.met)

    def part(self, places: range) -> tuple[pa.RecordBatch, Longs]:
        return self.rows.slice(places.start, len(places)), self.times[places.start : places.stop]

    def met_by(self, step: LiveJoin) -> Rows:
        return step.bringing(self.rows if self.count else None, self.met)


def _at(rows: pa.RecordBatch, times: Longs) -> pa.RecordBatch:
    """Rows of a later time than that of the left ones."""
    return rows.set_column(rows.schema.get_field_index(TIME), TIME, pa.array(times))


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
