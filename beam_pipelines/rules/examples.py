"""Some violations of each rule, with their rows, to be shown: those that come first by where their rows come from.

Rows are ordered by source and by their number or line in it, or by a key that is a whole number; by any other key in an order that is
always the same, but not that of the key. What a rule finds in a row that is there several times is told apart by what is in the row.
Records and reports are shown around: of a column that is named like a secret no value is in them.
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
from beam_pipelines.rules.profiling.discreet import keeps_secrets
from beam_pipelines.rules.violation import VALUE_CHARACTERS, texts
from beam_pipelines.runs.example import ORDER, Examples

__all__ = ["RECORD_CHARACTERS", "WITHHELD", "examples"]

WITHHELD = "(withheld)"  # in the place of a value of a column that is named like a secret
RECORD_CHARACTERS = 4_000  # of a row that are shown, about


def examples(
    batch: pa.RecordBatch, rules: Sequence[Compiled], judgements: Sequence[Judgement], most: int, known: Examples | None = None
) -> Examples:
    """Return the first violations of each rule in a batch.

    Args:
        batch: Rows, with hidden columns.
        rules: In the order of the definition.
        judgements: What each rule says of the batch.
        most: How many of each rule.
        known: Those of batches before: what comes behind them is not looked at.
    """
    if not most:
        return Examples()
    rows = _Rows(batch, known or Examples())
    told = {}
    for rule, judgement in zip(rules, judgements, strict=True):
        found = [example for finding, severity in _findings(rule, judgement) for example in rows.told(rule, finding, severity, most)]
        if found:
            told[rule.model.id] = tuple(found)
    return Examples(most) + Examples(most, told)


def _findings(rule: Compiled, judgement: Judgement) -> Iterator[tuple[Finding, str]]:
    for found in judgement.findings:
        yield found, rule.model.severity
    for failed in judgement.failures:
        yield failed, "error"


class _Rows:
    """The rows of a batch in the order of their source."""

    def __init__(self, batch: pa.RecordBatch, known: Examples) -> None:
        self._batch, self._known = batch, known

    @cached_property
    def _sources(self) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Of each row which source it is of, and the sources in their order; that of rows without one is empty."""
        if origin.SOURCE not in self._batch.schema.names:
            return np.zeros(self._batch.num_rows, dtype=np.int64), [""]
        column = self._batch.column(origin.SOURCE)
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        known = encoded.dictionary.to_pylist()
        if len(known) == 1 and not encoded.null_count:  # as of most batches
            return np.zeros(self._batch.num_rows, dtype=np.int64), known
        ordered = sorted({"", *known})
        ranks = np.array([*(ordered.index(name) for name in known), 0], dtype=np.int64)
        return ranks[np.asarray(encoded.indices.cast(pa.int64()).fill_null(len(known)))], ordered

    def _numbers(self, rows: Positions) -> npt.NDArray[Any]:
        """What some rows of a source are ordered by: int64; uint64, where it is the hash of a key; else Python's numbers."""
        names = self._batch.schema.names
        keys = [name for name in names if name.startswith(origin.KEY) and _whole(self._batch.schema.field(name).type)]
        keys += [name for name in (origin.ROW, origin.LINE) if name in names]
        # Where there are several sources each has columns of its own.
        columns = [self._batch.column(name) for name in keys]
        whole = next((column for column in columns if not column.null_count), None)
        if whole is not None:
            return np.asarray(whole)[rows].astype(np.int64)
        hashes = origin.hashes(take(self._batch.select([name for name in names if name.startswith(origin.PREFIX)]), rows))
        if not keys:
            return hashes
        found = np.array(hashes.tolist(), dtype=object)
        for column in columns:
            taken = column.take(pa.array(rows))
            there = np.flatnonzero(np.asarray(taken.is_valid()))
            found[there] = taken.take(pa.array(there)).to_pylist()
        return found

    def _first(self, rows: Positions, most: int) -> tuple[Positions, npt.NDArray[Any], hashing.Words]:
        """Which of some rows come first, with their numbers and ties."""
        ranks, numbers, places = self._sources[0][rows], self._numbers(rows), np.arange(len(rows))
        codes = np.unique(numbers, return_inverse=True)[1] if numbers.dtype == object else numbers
        if len(rows) > most:
            if (ranks == ranks[0]).all():
                # Of most batches every row is of one source: no need to sort them all.
                places = np.flatnonzero(codes <= np.partition(codes, most - 1)[most - 1])
            order = places[np.lexsort((codes[places], ranks[places]))]
            last = order[most - 1]
            alike = (ranks[order] == ranks[last]) & (codes[order] == codes[last])
            places = order[: np.flatnonzero(alike)[-1] + 1]
        ties = self._ties(rows[places])
        order = np.lexsort((ties, codes[places], ranks[places]))[:most]
        return places[order], numbers[places[order]], ties[order]

    def told(self, rule: Compiled, found: Finding, severity: str, most: int) -> Iterator[dict[str, Any]]:
        """Yield the first rows of a finding as examples."""
        if self._late(rule, found.rows, most):
            return
        places, numbers, ties = self._first(found.rows, most)
        rows = found.rows[places]
        values = [None] * len(rows) if found.values is None else texts(found.values.take(pa.array(places))).to_pylist()
        if keeps_secrets(found.field):
            values = [WITHHELD] * len(rows)
        taken = take(self._batch, rows)
        records = _records(origin.visible(taken))
        sources, names = self._sources
        for at, (row, place) in enumerate(zip(rows.tolist(), origin.describe(taken, range(len(rows))), strict=True)):
            yield {
                "rule": rule.model.id,
                "field": found.field,
                "value": values[at],
                "severity": severity,
                "message": found.message,
                "recordIndex": place.get("row"),
                "origin": _discreet(place),
                "record": records[at],
                ORDER: [names[sources[row]], int(numbers[at]), int(ties[at])],
            }

    def _late(self, rule: Compiled, rows: Positions, most: int) -> bool:
        """Whether all of some rows come behind as many as are wanted, as in all but the first batches of a file."""
        known = self._known.told.get(rule.model.id, ())
        _, names = self._sources
        if len(known) < most or len(names) > 1 or not len(rows):
            return False
        source, number, _ = known[-1][ORDER]
        return names[0] > source or (names[0] == source and int(self._numbers(rows).min()) > number)

    def _ties(self, rows: Positions) -> hashing.Words:
        shown = origin.visible(take(self._batch, rows))
        return hashing.row_hashes(shown, shown.schema.names, one_type=True)


def _whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) and not pa.types.is_uint64(kind))


def _records(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as plain values; of a long one the first columns, and how many are left out, and of a long value the first characters."""
    columns = {
        name: [WITHHELD] * rows.num_rows if keeps_secrets(name) else [_shown(value) for value in plain(column)]
        for name, column in zip(rows.schema.names, rows.columns, strict=True)
    }
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


def _discreet(place: dict[str, Any]) -> dict[str, Any]:
    if "key" not in place:
        return place
    return {**place, "key": {name: WITHHELD if keeps_secrets(name) else value for name, value in place["key"].items()}}


def _shown(value: Any) -> Any:
    if isinstance(value, list | dict):
        told = orjson.dumps(value).decode()
        return value if len(told) <= VALUE_CHARACTERS else told[:VALUE_CHARACTERS]
    return value[:VALUE_CHARACTERS] if isinstance(value, str) else value
