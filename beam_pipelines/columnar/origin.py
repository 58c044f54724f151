"""Where each row came from: hidden columns beside the data, and the load (target table) a batch belongs to.

A batch carries `SOURCE` and one of `KEY`, `ROW` and `LINE`, so that "customer 17" or "row 17 of file x" is known when the row fails, many
steps later, and whatever the data was cut into. Messages of a topic carry `PARTITION` and `OFFSET` instead, and beside them `TIME` and
`BEHIND`, which are told to nobody. Users never see these columns: kernels work on `visible(batch)` and put the rest back with
`carry`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import hashing
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.json_text import json_objects, json_texts, json_values
from beam_pipelines.columnar.plain import plain
from beam_pipelines.errors import PlanError

__all__ = [
    "BEHIND",
    "IDENTITY",
    "KEY",
    "LINE",
    "LOAD",
    "OFFSET",
    "PARTITION",
    "PREFIX",
    "ROW",
    "SOURCE",
    "TIME",
    "alike",
    "attach",
    "attach_offsets",
    "by_source",
    "carry",
    "describe",
    "hashes",
    "hidden",
    "json_origins",
    "load_of",
    "names",
    "part_of",
    "refuse_reserved",
    "sources_of",
    "visible",
    "visible_schema",
    "with_load",
    "with_part",
]

PREFIX = "__bp_"
SOURCE = f"{PREFIX}source"
KEY = f"{PREFIX}key"
ROW = f"{PREFIX}row"
LINE = f"{PREFIX}line"
IDENTITY = f"{PREFIX}identity"
PARTITION = f"{PREFIX}partition"
OFFSET = f"{PREFIX}offset"
TIME = f"{PREFIX}time"
BEHIND = f"{PREFIX}behind"
_TOLD = {KEY: "key", ROW: "row", LINE: "line"}  # as `describe` names them
LOAD = b"bp:load"
_PART = b"bp:part"
_METADATA = b"bp:"
_KEY_NAMES = b"bp:key"
_SOURCE_TYPE = pa.dictionary(pa.int32(), pa.string())


def refuse_reserved(columns: Iterable[str]) -> None:
    """Refuse column names that would be taken for ours; call it when a schema is planned.

    Raises:
        PlanError: Names each column that begins with `__bp_`.
    """
    taken = sorted(name for name in columns if name.startswith(PREFIX))
    if taken:
        raise PlanError(
            f"expected column names that do not begin with {PREFIX!r}, which the service keeps for itself,"
            f" got {', '.join(map(repr, taken))}: rename them in the query"
        )


def attach(
    batch: pa.RecordBatch, source: str, *, key: Sequence[str] = (), first_row: int | None = None, lines: pa.Array | None = None
) -> pa.RecordBatch:
    """Put the origin beside the rows: zero-copy for the data, 12 bytes a row or less for the rest.

    Args:
        batch: Rows as they were read.
        source: Table, file or query; with the range where there is neither key nor file position.
        key: Columns that identify a row in the source; their values are shared, not copied.
        first_row: Position of the first row in the file or range, where there is no key.
        lines: Of a file of text, the line in which each row begins, int64, from 1.

    Returns:
        The batch with `SOURCE` and `KEY` (the column itself, or a struct of several), `ROW` (int64) or `LINE` (int64).

    Raises:
        PlanError: A column's name is reserved.
        ValueError: Not one of `key`, `first_row` and `lines` was given.
    """
    refuse_reserved(batch.schema.names)
    if bool(key) + (first_row is not None) + (lines is not None) != 1:
        raise ValueError(f"expected key columns, a first row or lines, got key={tuple(key)!r} and first_row={first_row!r}")
    rows = batch.num_rows
    sources = pa.DictionaryArray.from_arrays(_zeros(rows), pa.array([source], pa.string()))
    if lines is not None:
        identity, field = lines, pa.field(LINE, pa.int64())
    elif first_row is not None:
        identity, field = _counting(first_row, rows), pa.field(ROW, pa.int64())
    else:
        columns = [batch.column(name) for name in key]
        identity = columns[0] if len(columns) == 1 else pa.StructArray.from_arrays(columns, names=list(key))
        field = pa.field(KEY, identity.type, metadata={_KEY_NAMES: json.dumps(list(key)).encode()})
    schema = pa.schema([*batch.schema, pa.field(SOURCE, _SOURCE_TYPE), field], metadata=batch.schema.metadata)
    return pa.RecordBatch.from_arrays([*batch.columns, sources, identity], schema=schema)


def attach_offsets(
    batch: pa.RecordBatch, topic: str, partition: int, offsets: pa.Array, times: pa.Array | None = None, behind: pa.Array | None = None
) -> pa.RecordBatch:
    """Put beside messages of a topic where they came from, and when.

    Args:
        batch: Messages of one partition.
        topic: The topic.
        partition: The partition, from 0.
        offsets: Of each message, int64.
        times: Event times, int64, ms since the epoch, UTC; None: they have none (dead letters).
        behind: Of each message the greatest event time of its partition before it less what events may come late, int64, ms since the
            epoch; null where nothing came before.

    Returns:
        The batch with `SOURCE`, `PARTITION` (int32), `OFFSET`, and where they were given `TIME` and `BEHIND` (int64).

    Raises:
        PlanError: A column's name is reserved.
    """
    refuse_reserved(batch.schema.names)
    rows = batch.num_rows
    sources = pa.DictionaryArray.from_arrays(_zeros(rows), pa.array([topic], pa.string()))
    partitions = pa.array(np.full(rows, partition, np.int32))
    added = [(SOURCE, sources), (PARTITION, partitions), (OFFSET, offsets)]
    added += [(name, column) for name, column in ((TIME, times), (BEHIND, behind)) if column is not None]
    fields = [pa.field(name, column.type) for name, column in added]
    schema = pa.schema([*batch.schema, *fields], metadata=batch.schema.metadata)
    return pa.RecordBatch.from_arrays([*batch.columns, *(column for _, column in added)], schema=schema)


def names(schema: pa.Schema) -> list[str]:
    """The names a user sees, in order."""
    return [name for name in schema.names if not name.startswith(PREFIX)]


def visible(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without hidden columns, zero-copy; schema metadata (the load) stays."""
    shown = names(batch.schema)
    return batch if len(shown) == batch.num_columns else batch.select(shown)


def visible_schema(schema: pa.Schema) -> pa.Schema:
    """The schema a user sees: without hidden columns and without our own metadata."""
    metadata = {key: value for key, value in (schema.metadata or {}).items() if not key.startswith(_METADATA)}
    return pa.schema([schema.field(name) for name in names(schema)], metadata=metadata or None)


def hidden(batch: pa.RecordBatch) -> pa.RecordBatch | None:
    """The hidden columns alone; None when the batch has none."""
    kept = [name for name in batch.schema.names if name.startswith(PREFIX)]
    return batch.select(kept) if kept else None


def carry(like: pa.RecordBatch, onto: pa.RecordBatch) -> pa.RecordBatch:
    """Give the rows of `onto` the origin and the load of the rows of `like`, by position; zero-copy.

    Hidden columns that `onto` has already are replaced.

    Raises:
        ValueError: The batches have different numbers of rows.
    """
    if like.num_rows != onto.num_rows:
        raise ValueError(f"expected as many rows as the batch whose origin is carried ({like.num_rows}), got {onto.num_rows}")
    ours = {key: value for key, value in (like.schema.metadata or {}).items() if key.startswith(_METADATA)}
    shown, kept = visible(onto), hidden(like)
    metadata = {**(shown.schema.metadata or {}), **ours} or None
    fields, columns = list(shown.schema), list(shown.columns)
    if kept is not None:
        fields += list(kept.schema)
        columns += kept.columns
    if not columns:
        return shown.replace_schema_metadata(metadata)
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, metadata=metadata))


def with_load(batch: pa.RecordBatch, load: str) -> pa.RecordBatch:
    """Label the batch with the load (target table) that its rows belong to."""
    return batch.replace_schema_metadata({**(batch.schema.metadata or {}), LOAD: load.encode()})


def load_of(batch: pa.RecordBatch) -> str:
    """The load of the batch, "" when it has no label."""
    label: bytes = (batch.schema.metadata or {}).get(LOAD, b"")
    return label.decode()


def with_part(batch: pa.RecordBatch, part: int | None) -> pa.RecordBatch:
    """Label the batch with the part of the source that its rows are of; None: they are of several."""
    metadata = {key: value for key, value in (batch.schema.metadata or {}).items() if key != _PART}
    return batch.replace_schema_metadata(metadata if part is None else {**metadata, _PART: str(part).encode()})


def part_of(batch: pa.RecordBatch) -> int | None:
    """The part of the source that the rows are of; None behind a shuffle of rows of all parts."""
    label = (batch.schema.metadata or {}).get(_PART)
    return None if label is None else int(label)


def sources_of(batch: pa.RecordBatch, rows: Sequence[int]) -> list[str]:
    """The source of each of some rows: its table, or the name of its file; none where the batch does not say."""
    if SOURCE not in batch.schema.names:
        return []
    named: list[str] = batch.column(SOURCE).take(pa.array(rows, pa.int64())).to_pylist()
    return named


def by_source(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of a batch apart by the source that they are of, in the order that each first comes."""
    encoded = batch.column(SOURCE)
    codes = encoded.indices
    for code in pc.unique(codes).to_pylist():
        yield encoded.dictionary[code].as_py(), batch.filter(pc.equal(codes, code))


def hashes(batch: pa.RecordBatch) -> hashing.Words:
    """A hash of where each row came from, the same whatever other rows it is in one batch with; of rows without an origin one for all."""
    places = (SOURCE, KEY, ROW, LINE, PARTITION, OFFSET)
    found = hashing.row_hashes(batch, [name for name in places if name in batch.schema.names], one_type=True)
    if IDENTITY not in batch.schema.names:
        return found
    known = batch.column(IDENTITY)
    if not known.null_count:
        return np.asarray(known)
    return np.where(np.asarray(known.is_null()), found, np.asarray(known.fill_null(0)))


def alike(batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Give rows of several sources one schema, so that they fit into one batch: at least one must be given.

    Keys of another type or name stand in a column of their own, null for the rows of other sources, and `IDENTITY` holds what `hashes`
    says of each row. The columns that a user sees must be the same in all.
    """
    first = batches[0].schema
    if all(batch.schema.equals(first, check_metadata=True) for batch in batches):
        return list(batches)
    fields: dict[tuple[Any, ...], pa.Field] = {}
    for batch in batches:
        for field in map(batch.schema.field, _hidden_names(batch.schema)):
            if field.name != IDENTITY and _meaning(field) not in fields:
                number = sum(meaning[0] == KEY for meaning in fields)
                fields[_meaning(field)] = field.with_name(f"{KEY}{number or ''}") if field.name.startswith(KEY) else field
    shown = names(first)
    schema = pa.schema([*map(first.field, shown), *fields.values(), pa.field(IDENTITY, pa.uint64())], metadata=first.metadata)
    done = []
    for batch in batches:
        known = {_meaning(batch.schema.field(name)): batch.column(name) for name in _hidden_names(batch.schema)}
        columns = [known[meaning] if meaning in known else pa.nulls(batch.num_rows, field.type) for meaning, field in fields.items()]
        arrays = [*map(batch.column, shown), *columns, pa.array(hashes(batch))]
        done.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return done


def _hidden_names(schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name.startswith(PREFIX)]


def _meaning(field: pa.Field) -> tuple[Any, ...]:
    """What makes two hidden columns one: their name, and of keys their type and the names of their columns."""
    return (KEY, field.type, (field.metadata or {}).get(_KEY_NAMES)) if field.name.startswith(KEY) else (field.name,)


def describe(batch: pa.RecordBatch, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Say where rows came from, in values that JSON can hold.

    Args:
        batch: With or without hidden columns.
        rows: Positions in the batch.

    Returns:
        For each row `{"source": "customers", "key": {"id": 17}}`, `{"source": "a.parquet", "row": 17}` or `{"source": "a.csv",
        "line": 17}`, of a message `{"source": "user-events", "partition": 3, "offset": 991}`; `{}` where the origin is unknown.
    """
    taken = hidden(batch)
    if taken is None:
        return [{} for _ in rows]
    taken = take(taken, rows)
    answers: list[dict[str, Any]] = [{} for _ in rows]
    mixed = IDENTITY in taken.schema.names
    for field, column in zip(taken.schema, taken.columns, strict=True):
        # Of several sources in one batch each has columns of its own.
        known = column.is_valid().to_pylist() if mixed else [True] * len(rows)
        if field.name == SOURCE:
            _put(answers, "source", plain(column), known)
        elif field.name == ROW:
            _put(answers, "row", plain(column), known)
        elif field.name == LINE:
            _put(answers, "line", plain(column), known)
        elif field.name in (PARTITION, OFFSET):
            _put(answers, field.name.removeprefix(PREFIX), plain(column), known)
        elif field.name.startswith(KEY):
            _put(answers, "key", _keys(field, column), known)
    return answers


def json_origins(batch: pa.RecordBatch, rows: Sequence[int]) -> pa.Array:
    """Say where rows came from, each as the JSON text of what `describe` says."""
    taken = hidden(batch)
    known = () if taken is None else taken.schema.names
    if taken is not None and set(known) - {TIME, BEHIND} == {SOURCE, PARTITION, OFFSET}:
        taken = take(taken, rows)
        texts = [json_texts(taken.column(name)) for name in (SOURCE, PARTITION, OFFSET)]
        return json_objects(["source", "partition", "offset"], texts, len(rows))
    told = next((name for name in _TOLD if set(known) == {SOURCE, name}), None)
    if taken is None or told is None or pa.types.is_struct(taken.schema.field(told).type):
        return json_values(describe(batch, rows))  # of several sources, of keys of several columns, or of none
    taken = take(taken, rows)
    place = json_texts(taken.column(told))
    if told == KEY:
        place = json_objects(_key_columns(taken.schema.field(KEY)), [place], len(rows))
    return json_objects(["source", _TOLD[told]], [json_texts(taken.column(SOURCE)), place], len(rows))


def _keys(field: pa.Field, column: pa.Array) -> list[dict[str, Any]]:
    columns = _key_columns(field)
    values = plain(column)
    return values if len(columns) > 1 else [{columns[0]: value} for value in values]


def _key_columns(field: pa.Field) -> list[str]:
    names: list[str] = json.loads((field.metadata or {}).get(_KEY_NAMES, b'["key"]'))
    return names


def _put(answers: list[dict[str, Any]], name: str, values: list[Any], known: list[bool]) -> None:
    for answer, value, there in zip(answers, values, known, strict=True):
        if there:
            answer[name] = value


def _zeros(rows: int) -> pa.Array:
    return pa.Array.from_buffers(pa.int32(), rows, [None, pa.py_buffer(bytes(rows * 4))])


def _counting(first: int, rows: int) -> pa.Array:
    return pa.array(np.arange(first, first + rows, dtype=np.int64))
