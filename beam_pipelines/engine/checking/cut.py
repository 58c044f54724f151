"""Give each batch a name, put it aside, and send the digests of its keys to their shards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import BoundedWindow
from apache_beam.utils.timestamp import Timestamp

from beam_pipelines.columnar import hashing, ipc, origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.digest import digests
from beam_pipelines.engine.bundle import PlainFn
from beam_pipelines.engine.checking.message import KeyBlock, Stamp, span_of
from beam_pipelines.rules.field import Field
from beam_pipelines.rules.key.unique import UniqueKey
from beam_pipelines.spec.rule.unique import Unique

__all__ = ["KEYS", "KEYS_TYPE", "CutFn"]

KEYS = "keys"
KEYS_TYPE = tuple[tuple[int, int], bytes]  # place of the rule and number of the shard; a block
_NOTHING = pa.RecordBatch.from_arrays([], names=[])


class CutFn(PlainFn):
    """Yields batches by their names, and to `KEYS` the keys of each `unique` rule, by rule and shard.

    Every shard hears of every batch, also when no key is its own: it answers, and shards know the same of the time.

    Args:
        rules: The `unique` rules, by their place among all rules.
        schema: Of the rows.
        shards: How many there are for each rule.
        order: Columns by which the first of several rows is the first, where a rule waits for all of them.
    """

    def __init__(self, rules: dict[int, Unique], schema: pa.Schema, shards: int, order: Sequence[str]) -> None:
        self._rules, self._schema, self._shards, self._order = rules, schema, shards, tuple(order)

    def setup(self) -> None:
        self._keys = {at: UniqueKey(rule, self._schema) for at, rule in self._rules.items()}
        self._by = [Field.find(name, self._schema) for name in self._order]

    def process(
        self, batch: pa.RecordBatch, time: Timestamp = beam.DoFn.TimestampParam, window: BoundedWindow = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        if not batch.num_rows:
            return
        stamp = Stamp(uuid.uuid4().hex, int(time.micros), span_of(window))
        yield stamp.name, ipc.encode(stamp.on(batch), "lz4")
        visible = origin.visible(batch)
        for at, key in self._keys.items():
            for number, block in enumerate(self._blocks(stamp, key, visible, waits=self._rules[at].horizon is None)):
                yield TaggedOutput(KEYS, ((at, number), block))

    def _blocks(self, stamp: Stamp, key: UniqueKey, batch: pa.RecordBatch, *, waits: bool) -> Iterator[bytes]:
        columns, rows = key.keys(batch)
        high, low = digests(columns, len(rows))
        beside = take(self._beside(batch), rows) if waits else _NOTHING
        numbers = (high % np.uint64(self._shards)).astype(np.uint16)  # numbers this small are sorted by radix
        order = np.argsort(numbers, kind="stable")
        high, low, rows = high[order], low[order], rows[order]
        ends = np.cumsum(np.bincount(numbers, minlength=self._shards)).tolist()
        if waits:
            beside = take(beside, order)
        for begin, end in zip([0, *ends], ends, strict=False):
            part = slice(begin, end)
            yield KeyBlock(stamp, high[part], low[part], rows[part], beside.slice(begin, end - begin)).to_bytes()

    def _beside(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What the first of several rows is told by: the columns asked for, and in the end all that is in a row.

        Batches come in any order: so rows are in one order on every run and every runner, but for rows that are alike in everything.
        """
        ties = pa.array(hashing.row_hashes(batch, batch.schema.names, one_type=True))
        values = [field.read(batch) for field in self._by]
        return pa.RecordBatch.from_arrays([*values, ties], names=[*(f"o{at}" for at in range(len(values))), "tie"])
