"""Keys of rules on their way to the shards, and what is told of them on its way back to the batches.

Keys of a batch go by shard, with the batch's name and the positions of their rows; what violates comes back as notes: positions by batch.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import hashing, origin
from beam_pipelines.columnar.compact import joined
from beam_pipelines.columnar.index import valid_keys
from beam_pipelines.engine import beside, shuffle
from beam_pipelines.rules.judgement import Positions
from beam_pipelines.rules.key.known import Known
from beam_pipelines.rules.key.unique import Repeats, repeats

__all__ = [
    "NOTE",
    "PLACE",
    "REFERENCE",
    "ROW",
    "ROWS",
    "RULE",
    "TIE",
    "Block",
    "Shard",
    "by_batch",
    "by_name",
    "key_batch",
    "key_column",
    "key_names",
    "note_of",
    "repeated_rows",
    "rule_of",
    "sharded",
    "told_of",
    "told_whole",
    "unknown",
]

ROWS, REFERENCE = 0, 1
BATCH, ROW, PLACE, TIE = "batch", "row", "place", "tie"
NOTE = pa.schema([(BATCH, pa.string()), (ROW, pa.int32())])
RULE = b"bp:rule"  # of the schema of a batch: the rule that it is about

Shard = tuple[str, int, int]  # load, place of the rule, number
Block = tuple[int, str, bytes]  # which side the keys are of, a name of theirs, and they


def told_of(rule: str, batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch that says which rule it is about."""
    return batch.replace_schema_metadata({**(batch.schema.metadata or {}), RULE: rule.encode()})


def rule_of(batch: pa.RecordBatch) -> str:
    """The rule that a batch is about."""
    return str((batch.schema.metadata or {})[RULE].decode())


def key_batch(
    columns: Sequence[pa.Array], more: Mapping[str, pa.Array] | None = None, about: Mapping[str, str] | None = None
) -> pa.RecordBatch:
    """Keys as a batch, with `more` columns; what is alike for all rows goes `about` them, into the schema's metadata."""
    more = more or {}
    names = [f"k{number}" for number in range(len(columns))]
    return pa.RecordBatch.from_arrays([*columns, *more.values()], names=[*names, *more], metadata=dict(about or {}))


def sharded(
    load: str,
    at: int,
    side: int,
    columns: Sequence[pa.Array],
    more: Mapping[str, pa.Array],
    about: Mapping[str, str],
    *,
    one_type: bool,
) -> Iterator[tuple[Shard, Block]]:
    """Keys by shard, packed; `more` and `about` as of `key_batch`."""
    keys = key_batch(columns, more, about)
    if not keys.num_rows:
        return
    for number, part in shuffle.cut(keys, hashing.shard(keys, key_names(keys), shuffle.SHARDS, one_type=one_type)):
        name = uuid.uuid4().hex
        yield (load, at, number), (side, name, beside.packed(name, part))


def told_whole(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Keys of rows as they came, with what was told about them as columns; it may be done already."""
    if BATCH in rows.schema.names:
        return rows
    about = rows.schema.metadata or {}
    name = pa.array([about[BATCH.encode()].decode()])
    # With room for the names of all batches, for those of a shard are put together.
    columns = {BATCH: pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows.num_rows, dtype=np.int32)), name)}
    if (first := about.get(PLACE.encode())) is not None:
        columns[PLACE] = pa.array(np.asarray(rows.column(ROW), dtype=np.int64) + int(first))
    return pa.RecordBatch.from_arrays([*rows.columns, *columns.values()], names=[*rows.schema.names, *columns])


def key_names(rows: pa.RecordBatch) -> list[str]:
    """The columns of keys among those of rows that came to a shard."""
    return [name for name in rows.schema.names if name.startswith("k")]


def key_column(blocks: Sequence[pa.RecordBatch], name: str, like: pa.RecordBatch) -> pa.Array:
    """One column of the keys of several blocks; of none in the type of another one."""
    return joined([block.column(name) for block in blocks]) if blocks else pa.nulls(0, like.column(name).type)


def unknown(rows: pa.RecordBatch, known: Known) -> Positions:
    """The rows whose keys are not among those that are known; ascending."""
    keys = [rows.column(name) for name in key_names(rows)]
    return np.flatnonzero(valid_keys(keys, rows.num_rows) & ~known.has(keys)).astype(np.int64)


def repeated_rows(rows: pa.RecordBatch, keep: Any) -> tuple[Repeats, pa.RecordBatch]:
    """Find the rows of a shard that repeat a key, in the order of the source."""
    by = [np.asarray(rows.column(PLACE))]
    if TIE in rows.schema.names:
        by.insert(0, np.asarray(rows.column(TIE)))
    order = np.lexsort(by).astype(np.int64)
    found = repeats([[rows.column(name).take(pa.array(order))] for name in key_names(rows)], keep)
    return found, note_of(rows, order[found.rows])


def note_of(rows: pa.RecordBatch, positions: Positions) -> pa.RecordBatch:
    """What goes back of some rows: their batches, and their positions there."""
    taken = pa.array(positions)
    return pa.RecordBatch.from_arrays([rows.column(BATCH).take(taken).cast(pa.string()), rows.column(ROW).take(taken)], schema=NOTE)


def by_name(note: pa.RecordBatch) -> Iterator[tuple[str, Positions]]:
    """Positions of a note by the name of the batch that they are of, in their order."""
    encoded = note.column(BATCH).dictionary_encode()
    codes, rows = np.asarray(encoded.indices), np.asarray(note.column(ROW), dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(encoded.dictionary)))
    for name, begin, end in zip(encoded.dictionary.to_pylist(), [0, *ends], ends, strict=False):
        yield name, rows[order[begin:end]]


def by_batch(notes: Iterable[pa.RecordBatch]) -> dict[tuple[str, str], dict[int, Positions]]:
    """Positions that violate, by load and batch and by the place of the rule; ascending."""
    gathered: dict[tuple[str, str], dict[int, list[Positions]]] = {}
    for note in notes:
        load, at = origin.load_of(note), int(rule_of(note))
        for name, rows in by_name(note):
            gathered.setdefault((load, name), {}).setdefault(at, []).append(rows)
    return {batch: {at: np.sort(np.concatenate(parts)) for at, parts in told.items()} for batch, told in gathered.items()}
