"""Sums of windows: an aggregate whose groups have a window, and whose states know what of them is new."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from beam_pipelines.columnar.groups import Values
from beam_pipelines.columnar.origin import PREFIX, TIME
from beam_pipelines.columnar.stored import reduced, restored
from beam_pipelines.spec.aggregation import Measure
from beam_pipelines.spec.condition import Condition
from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.transforms.aggregate import Aggregate
from beam_pipelines.transforms.aggregate.step import Dead

__all__ = ["FRESH", "LAST", "START", "WINDOW", "Model", "WindowSums", "extended"]

WINDOW = f"{PREFIX}window"  # of a row: where it counts
NEW = f"{PREFIX}new"  # of a row: 1
START, FRESH, LAST = "k0", "fresh", "last"  # of a state: its window's start; whether rows came since it came out; its last event
_ADDED = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in (TIME, WINDOW, NEW)])


@dataclass(frozen=True)
class Model:
    """What is summed up."""

    id: str
    group_by: tuple[str, ...]
    group_names: tuple[str, ...]
    measures: tuple[Measure, ...]
    having: Condition | None = None

    @classmethod
    def told(cls, step: WindowStep) -> Model:
        """As the definition says it, of columns that it can name."""
        return cls(step.id, step.group_by, step.group_names, step.measures)

    @classmethod
    def whole(cls, step: WindowStep) -> Model:
        """With the window as the first part of the key, and what a state must know beside the results."""
        beside = [Measure(name=f"{PREFIX}{FRESH}", function="max", field=NEW)]
        if step.window.type == "session":
            beside.append(Measure(name=f"{PREFIX}{LAST}", function="max", field=TIME))
        return cls(step.id, (WINDOW, *step.group_by), (WINDOW, *step.group_names), (*beside, *map(_by_time, step.measures)))


def _by_time(measure: Measure) -> Measure:
    if measure.function not in ("first", "last"):
        return measure
    return measure.model_copy(update={"args": {**measure.args, "orderBy": TIME}})


class WindowSums(Aggregate):
    """The sums themselves. Rows come with `TIME` and `WINDOW`; states have a column `fresh` and, of sessions, one `last`."""

    def states_of(self, rows: pa.RecordBatch, windows: pa.Array, ordinals: pa.Array | None) -> pa.RecordBatch:
        """Return one state for each window and group, all of them fresh.

        Args:
            rows: With `TIME`.
            windows: Of each row; int64.
            ordinals: Of each row in the order of the source; None: nothing depends on it.
        """
        ones = pa.repeat(pa.scalar(1, pa.int64()), rows.num_rows)
        kept = [name for name in rows.schema.names if name not in (WINDOW, NEW)]
        columns = [*map(rows.column, kept), windows, ones]
        batch = pa.RecordBatch.from_arrays(columns, names=[*kept, WINDOW, NEW])
        return self.states(batch, 0 if ordinals is None else ordinals.to_numpy())

    def keys_of(self, rows: pa.RecordBatch) -> list[pa.Array]:
        """Return the groups of rows, as states hold them."""
        self._opened()
        return [reduced(key.read(rows)) for key in self._keys[1:]]

    def group_columns(self) -> list[str]:
        """The columns of a state that hold its group."""
        return [f"k{number}" for number in range(1, len(self._keys))]

    def again(self, windows: Values, states: pa.RecordBatch) -> pa.RecordBatch:
        """Give states other windows, and combine those that are one then."""
        width = len(self._keys)
        return self._combined([windows, *states.columns[1:width]], states.columns[width:], states.num_rows)

    def measured(self, final: pa.RecordBatch, schema: pa.Schema) -> tuple[list[pa.Array], list[pa.Array], Dead]:
        """Return the groups of states, and the results in the order of the definition, as `schema` has them; and those that have none."""
        measured, dead = self._measured(final)
        names = [one.measure.name for one in self._measures]
        groups = [restored(final.column(at), schema.field(name).type) for at, name in enumerate(self.group_by) if at > 0]
        results = zip(names, measured, strict=True)
        return groups, [restored(one, schema.field(name).type) for name, one in results if not name.startswith(PREFIX)], dead

    def meaning(self) -> list[str]:
        """What a state holds, in words that change when it does."""
        self._opened()
        words = [f"{key.name} {key.parts} {key.type}" for key in self._keys]
        for one in self._measures:
            of = "rows" if one.source is None else f"{one.source.name} {one.source.parts} {one.source.type}"
            words.append(f"{one.measure.function} {sorted(one.measure.args.items())} {of}")
        return words

    def _names(self) -> list[str]:
        names = super()._names()
        begin = len(self._keys) + 1
        for at, one in enumerate(self._measures):
            if one.measure.name.startswith(PREFIX):  # they come first, and each has one column
                names[begin + at] = one.measure.name.removeprefix(PREFIX)
        return names

    def _entry_path(self, measure: Measure) -> str:
        return f"{self._path}.aggregations.{measure.name}"


def extended(schema: pa.Schema) -> pa.Schema:
    """Return a schema with the columns that sums read beside those of the rows."""
    return pa.schema([*(field for field in schema if not field.name.startswith(PREFIX)), *_ADDED])
