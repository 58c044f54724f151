"""Windows carried out as the engine does: drain after drain, batches cut anywhere, states combined in any order, in shards."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import hashing, ipc, origin
from beam_pipelines.spec.step.window import WindowStep
from beam_pipelines.transforms.window import Windowed

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.timezone.utc)
SCHEMA = pa.schema([("user", pa.string()), ("page", pa.int64()), ("value", pa.int64()), ("rate", pa.float64())])
HIDDEN = pa.schema(
    [
        pa.field(origin.SOURCE, pa.dictionary(pa.int32(), pa.string())),
        pa.field("__bp_partition", pa.int32()),
        pa.field("__bp_offset", pa.int64()),
        pa.field("__bp_time", pa.int64(), nullable=False),
        pa.field("__bp_behind", pa.int64()),
    ]
)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def step_of(**definition: Any) -> WindowStep:
    window = {"type": "tumbling", "size": "10ms"}
    return WindowStep.model_validate({"id": "sums", "type": "window", "window": window, "aggregations": {"n": "count"}, **definition})


def opened(model: WindowStep, schema: pa.Schema = SCHEMA) -> tuple[Windowed, pa.Schema]:
    step = Windowed(model, "stream.processors[0]")
    planned = step.plan(schema, None)
    step.open(schema, planned, NOW)
    return step, planned


def batch_of(events: Sequence[Mapping[str, Any]], behind: Sequence[int | None], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    columns = [pa.array([event.get(one.name) for event in events], one.type) for one in schema]
    hidden = [
        pa.array(["user-events"] * len(events)).dictionary_encode().cast(HIDDEN.field(0).type),
        *(pa.array([event[name] for event in events], HIDDEN.field(f"__bp_{name}").type) for name in ("partition", "offset", "time")),
        pa.array(behind, pa.int64()),
    ]
    batch = pa.RecordBatch.from_arrays([*columns, *hidden], schema=pa.schema([*schema, *HIDDEN]))
    return origin.with_load(batch, "target")


@dataclass
class Stream:
    """A window step over drains, whose states are kept from one to the next as bytes."""

    model: WindowStep
    out_of_orderness: int
    chance: random.Random
    schema: pa.Schema = SCHEMA
    table: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    written: list[list[dict[str, Any]]] = field(default_factory=list)
    late: list[tuple[int, int]] = field(default_factory=list)
    partly: int = 0
    newest: dict[int, int] = field(default_factory=dict)
    held: list[bytes] = field(default_factory=list)
    closed: int | None = None

    def drain(self, events: Sequence[Mapping[str, Any]], watermark: int | None, **settled: bool) -> list[dict[str, Any]]:
        """Carry out one drain; the law of rows is held over it."""
        # As after a restart: nothing but the bytes of the states is left of the drain before.
        step, planned = opened(self.model, self.schema)
        states = [ipc.decode(one) for one in self.held]
        states += self._states(step, batch_of(events, self._behind(events), self.schema))
        self.chance.shuffle(states)
        while len(states) > 1 and self.chance.random() < 0.6:
            states = [step.combine(states[:2]), *states[2:]]
            self.chance.shuffle(states)
        rows: list[dict[str, Any]] = []
        self.held = []
        for part in self._shards(step, states or [step.nothing()]):
            done = step.settle(part, watermark, "target", **settled)
            assert done.applied.made == done.written == done.applied.rows_out + done.applied.rows_dead
            assert done.held == done.open.num_rows
            for batch in done.applied.batches:
                batch.validate(full=True)
                assert origin.visible_schema(batch.schema) == planned
                assert origin.load_of(batch) == "target"
                rows += [_in_ms(row) for row in origin.visible(batch).to_pylist()]
            if done.held:
                self.held.append(ipc.encode(done.open))
        self.closed = watermark
        self.written.append(rows)
        self.table |= {(row["windowStart"], tuple(row[name] for name in self.model.group_names)): row for row in rows}
        return rows

    def _behind(self, events: Sequence[Mapping[str, Any]]) -> list[int | None]:
        behind = []
        for event in events:
            before = self.newest.get(event["partition"])
            behind.append(None if before is None else before - self.out_of_orderness)
            self.newest[event["partition"]] = event["time"] if before is None else max(before, event["time"])
        return behind

    def _states(self, step: Windowed, rows: pa.RecordBatch) -> list[pa.RecordBatch]:
        cuts = sorted(self.chance.choices(range(rows.num_rows + 1), k=3))
        states = []
        for begin, end in itertools.pairwise([0, *cuts, rows.num_rows]):
            screened = step.screened(rows.slice(begin, end - begin), self.closed)
            self.partly += screened.partly
            late = [] if screened.late is None else screened.late.rows
            assert screened.absorbed + len(late) == end - begin
            if screened.late is not None:
                assert set(screened.late.codes) == {"late-row"}
                for place in origin.hidden(screened.late.batch).take(pa.array(late)).to_pylist():
                    self.late.append((place["__bp_partition"], place["__bp_offset"]))
            states.append(step.states(screened.rows))
        return states

    def _shards(self, step: Windowed, states: list[pa.RecordBatch]) -> list[list[pa.RecordBatch]]:
        count = self.chance.choice([1, 2, 5])
        keys = step.shard_keys(states[0])
        owners = [np.asarray(hashing.shard(state, keys, count)) if keys else np.zeros(state.num_rows) for state in states]
        parts = []
        for number in range(count):
            mine = [state.take(pa.array(np.flatnonzero(owner == number))) for state, owner in zip(states, owners, strict=True)]
            parts.append([part for part in mine if part.num_rows])
        return parts


def _in_ms(row: dict[str, Any]) -> dict[str, Any]:
    moments = {name: (row[name] - EPOCH) // dt.timedelta(milliseconds=1) for name in ("windowStart", "windowEnd")}
    return {**row, **moments}


def comparable(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)
