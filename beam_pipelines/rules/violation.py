"""Violations as a table: one row for each way in which a row violates a rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.columnar.plain import plain
from beam_pipelines.rules.compiled import Compiled
from beam_pipelines.rules.judgement import Finding, Judgement, Positions

__all__ = ["SCHEMA", "VALUE_CHARACTERS", "Violations"]

VALUE_CHARACTERS = 1_000  # of a value that are kept
_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("recordIndex", pa.int64(), nullable=False),
        pa.field("rule", _NAME, nullable=False),
        pa.field("type", _NAME, nullable=False),
        pa.field("field", _NAME, nullable=False),
        pa.field("value", pa.string()),
        pa.field("severity", _NAME, nullable=False),
        pa.field("action", _NAME, nullable=False),
        pa.field("message", _NAME, nullable=False),
    ]
)


class Violations:
    """Gathers what rules found, batch after batch.

    Args:
        rules: In the order of the definition.
    """

    def __init__(self, rules: Sequence[Compiled]) -> None:
        self._rules = list(rules)
        self._ways: dict[tuple[str, ...], int] = {}  # one for each way to violate a rule: all but row and value
        self._rows: list[Positions] = []
        self._codes: list[Positions] = []
        self._values: list[pa.Array] = []

    def add(self, judgements: Sequence[Judgement], first_row: int) -> None:
        """Add what the rules say of a batch.

        Args:
            judgements: One a rule.
            first_row: Number of the batch's first row.
        """
        for rule, judgement in zip(self._rules, judgements, strict=True):
            for found in judgement.findings:
                self._add(rule, found, first_row)
            for failed in judgement.failures:
                self._add(rule, failed, first_row, failed=True)

    def _add(self, rule: Compiled, found: Finding, first_row: int, *, failed: bool = False) -> None:
        model = rule.model
        severity, action = ("error", "reject") if failed else (model.severity, rule.action)
        way = (model.id, model.type, found.field, severity, action, found.message)
        code = self._ways.setdefault(way, len(self._ways))
        self._rows.append(found.rows + first_row)
        self._codes.append(np.full(len(found.rows), code, dtype=np.int64))
        self._values.append(pa.nulls(len(found.rows), pa.string()) if found.values is None else texts(found.values))

    def table(self) -> pa.Table:
        """Return all violations in the schema `SCHEMA`, by row, then in the order of the rules, then by field and message."""
        if not self._rows:
            return SCHEMA.empty_table()
        ids = [rule.model.id for rule in self._rules]
        ways = list(self._ways)
        # Not in the order in which they were met: that would differ with the batches.
        ranked = sorted(range(len(ways)), key=lambda at: (ids.index(ways[at][0]), ways[at]))
        rank = np.empty(len(ways), dtype=np.int64)
        rank[ranked] = np.arange(len(ways))
        rows, codes = np.concatenate(self._rows), np.concatenate(self._codes)
        order = np.lexsort((rank[codes], rows))
        codes = codes[order]
        named = [_named([way[at] for way in ways], codes) for at in range(6)]
        values = pa.concat_arrays(self._values).take(pa.array(order))
        columns = [pa.array(rows[order]), *named[:3], values, *named[3:]]
        return pa.Table.from_arrays(columns, schema=SCHEMA)


def _named(names: list[str], codes: Positions) -> pa.Array:
    known = list(dict.fromkeys(names))
    places = np.array([known.index(name) for name in names], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(places[codes]), pa.array(known, pa.string()))


def texts(values: pa.Array) -> pa.Array:
    """Return values as text: what is nested as JSON; at most the first `VALUE_CHARACTERS` of each."""
    if is_text(values.type):
        try:
            return pc.utf8_slice_codeunits(values, 0, VALUE_CHARACTERS).cast(pa.string())
        except pa.ArrowInvalid:
            pass  # bytes that are no UTF-8: shown with replacement characters, one by one
    shown = [None if value is None else value if isinstance(value, str) else orjson.dumps(value).decode() for value in plain(values)]
    return pa.array([None if text is None else text[:VALUE_CHARACTERS] for text in shown], pa.string())
