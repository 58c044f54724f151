"""Some violations of each rule, with their rows, to be shown: those that come first by where their rows come from.

Rows are ordered by source and by their number in it, or by a key that is a whole number; by any other key in an order that is always the
same, but not that of the key. What a rule finds in a row that is there several times is told apart by what is in the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from beam_pipelines.columnar import hashing, origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.dead import TRUNCATED
from beam_pipelines.columnar.plain import plain
from beam_pipelines.rules.compiled import Compiled
from beam_pipelines.rules.judgement import Finding, Judgement, Positions
from beam_pipelines.rules.violation import VALUE_CHARACTERS, texts
from beam_pipelines.runs.example import ORDER, Examples

__all__ = ["RECORD_CHARACTERS", "examples"]

RECORD_CHARACTERS = 4_000  # of a row that are shown, about


def examples(batch: pa.RecordBatch, rules: Sequence[Compiled], judgements: Sequence[Judgement], most: int) -> Examples:
    """Return the first violations of each rule in a batch.

    Args:
        batch: Rows, with hidden columns.
        rules: In the order of the definition.
        judgements: What each rule says of the batch.
        most: How many of each rule.
    """
    if not most:
        return Examples()
    rows = _Rows(batch)
    told = {}
    for rule, judgement in zip(rules, judgements, strict=True):
        found = [example for finding, severity in _findings(rule, judgement) for example in rows.told(rule, finding, severity, most)]
        if found:
            told[rule.model.id] = tuple(found)
    return Examples(most) + Examples(most, told)


def _findings(rule: Compiled, judgement: Judgement) -> Iterator[tuple[Finding, str]]:
    for found in judgement.findings:
        yield found, rule.model.severity
    for row, reason in judgement.failed.items():
        yield Finding(np.array([row], dtype=np.int64), "", None, f"the rule failed on this row: {reason}"), "error"


class _Rows:
    """The rows of a batch in the order of their source."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    @cached_property
    def _sources(self) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Of each row which source it is of, and the sources in their order; that of rows without one is empty."""
        if origin.SOURCE not in self._batch.schema.names:
            return np.zeros(self._batch.num_rows, dtype=np.int64), [""]
        column = self._batch.column(origin.SOURCE)
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        known = encoded.dictionary.to_pylist()
        ordered = sorted({"", *known})
        ranks = np.array([*(ordered.index(name) for name in known), 0], dtype=np.int64)
        return ranks[np.asarray(encoded.indices.cast(pa.int64()).fill_null(len(known)))], ordered

    @cached_property
    def _numbers(self) -> npt.NDArray[Any]:
        """What the rows of a source are ordered by: int64; uint64, where it is the hash of a key; else Python's numbers."""
        names = self._batch.schema.names
        if origin.IDENTITY not in names and origin.ROW in names:
            return np.asarray(self._batch.column(origin.ROW))
        keys = [name for name in names if name.startswith(origin.KEY) and _whole(self._batch.schema.field(name).type)]
        if not keys and origin.ROW not in names:
            return origin.hashes(self._batch)
        # Where there are several sources each has columns of its own.
        found = np.array(origin.hashes(self._batch).tolist(), dtype=object)
        for name in [*keys, *([origin.ROW] if origin.ROW in names else [])]:
            column = self._batch.column(name)
            if not column.null_count:
                return np.asarray(column).astype(np.int64)
            there = np.flatnonzero(np.asarray(column.is_valid()))
            found[there] = column.take(pa.array(there)).to_pylist()
        return found

    def _first(self, rows: Positions, most: int) -> Positions:
        """Which of some rows come first, and those that come as early as the last of these."""
        ranks, numbers = self._sources[0][rows], self._numbers[rows]
        places = np.arange(len(rows))
        if len(rows) <= most:
            return places
        if numbers.dtype == object:
            numbers = np.unique(numbers, return_inverse=True)[1]
        if len(self._sources[1]) <= 2 and (ranks == ranks[0]).all():
            # Of most batches every row is of one source: no need to sort them all.
            places = np.flatnonzero(numbers <= np.partition(numbers, most - 1)[most - 1])
        order = places[np.lexsort((numbers[places], ranks[places]))]
        last = order[most - 1]
        alike = (ranks[order] == ranks[last]) & (numbers[order] == numbers[last])
        return order[: np.flatnonzero(alike)[-1] + 1]

    def told(self, rule: Compiled, found: Finding, severity: str, most: int) -> Iterator[dict[str, Any]]:
        """Yield the first rows of a finding as examples."""
        places = self._first(found.rows, most)
        ties = self._ties(found.rows[places])
        if len(places) > most:
            ranks, numbers = self._sources[0][found.rows[places]], self._numbers[found.rows[places]]
            order = np.lexsort((ties, np.unique(numbers, return_inverse=True)[1], ranks))[:most]
            places, ties = places[order], ties[order]
        rows = found.rows[places]
        values = [None] * len(rows) if found.values is None else texts(found.values.take(pa.array(places))).to_pylist()
        taken = take(self._batch, rows)
        records = _records(origin.visible(taken))
        for at, (row, place) in enumerate(zip(rows.tolist(), origin.describe(self._batch, rows.tolist()), strict=True)):
            yield {
                "rule": rule.model.id,
                "field": found.field,
                "value": values[at],
                "severity": severity,
                "message": found.message,
                "recordIndex": place.get("row"),
                "origin": place,
                "record": records[at],
                ORDER: [self._sources[1][self._sources[0][row]], int(self._numbers[row]), int(ties[at])],
            }

    def _ties(self, rows: Positions) -> hashing.Words:
        shown = origin.visible(take(self._batch, rows))
        return hashing.row_hashes(shown, shown.schema.names, one_type=True)


def _whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) and not pa.types.is_uint64(kind))


def _records(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as plain values; of a long one the first columns, and how many are left out, and of a long value the first characters."""
    columns = {name: [_shown(value) for value in plain(column)] for name, column in zip(rows.schema.names, rows.columns, strict=True)}
    records = []
    for at in range(rows.num_rows):
        record: dict[str, Any] = {}
        left = RECORD_CHARACTERS
        for name, values in columns.items():
            left -= len(name) + len(orjson.dumps(values[at]))
            if left < 0:
                record[TRUNCATED] = {"columns": len(columns) - len(record)}
                break
            record[name] = values[at]
        records.append(record)
    return records


def _shown(value: Any) -> Any:
    if isinstance(value, list | dict):
        told = orjson.dumps(value).decode()
        return value if len(told) <= VALUE_CHARACTERS else told[:VALUE_CHARACTERS]
    return value[:VALUE_CHARACTERS] if isinstance(value, str) else value
