"""What a stream joins with, remembered from one drain to the next: read anew when it is older than the definition says.

It is remembered by the process that read it, for one execution. A process that does not have it, as after a restart, reads it anew; so what
is joined is as old as `refresh` at most, and newer than that after each start.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar import origin, size
from beam_pipelines.io.connector import CursorSpec, Fixed, Source, Unread
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window

__all__ = ["MOST", "RememberedSource"]

_LOG = logging.getLogger(__name__)
MOST = 64 << 20  # bytes of one source that are remembered
_TOKEN = "remembered"  # of a range: which reading it stands for

_now = time.monotonic

Key = tuple[str, str, str]  # execution, place in the definition, table


@dataclass
class _Reading:
    """One reading of a source: the rows of each of its ranges that was read to its end."""

    ranges: int
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    began: float = field(default_factory=lambda: _now())
    rows: dict[int, list[pa.RecordBatch | Unread]] = field(default_factory=dict)
    large: bool = False

    @property
    def whole(self) -> bool:
        return len(self.rows) == self.ranges and not self.large

    def put(self, index: int, rows: list[pa.RecordBatch | Unread]) -> None:
        self.rows[index] = rows
        held = sum(size.slice_bytes(one.batch if isinstance(one, Unread) else one) for some in self.rows.values() for one in some)
        if held > MOST:
            self.large, self.rows = True, {}


_READ: dict[Key, _Reading] = {}


class RememberedSource:
    """A source whose rows are remembered.

    Args:
        source: Which.
        refresh: Seconds after which it is read anew.
        execution: Run id of the execution that remembers it; what others have read is forgotten.
        place: Of the source in the definition.
    """

    def __init__(self, source: Source, refresh: float, execution: str, place: str) -> None:
        self._source, self._refresh, self._execution, self._place = source, refresh, execution, place
        for key in [key for key in _READ if key[0] != execution]:
            del _READ[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)  # all but what follows is the source's own

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:
        """As of a source; what is remembered, and young enough, is one range."""
        key = self._key(table)
        before = _READ.get(key)
        if before is not None and before.whole and _now() - before.began < self._refresh:
            return Fixed(None, False, (Range("", table, 0, {_TOKEN: before.token}),))
        fixed = self._source.fix(table, cursor, low, inclusive, parts)
        _READ[key] = _Reading(len(fixed.ranges), large=before is not None and before.large)
        return fixed

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch | Unread]:
        """As of a source."""
        reading = _READ.get(self._key(part.table))
        if _TOKEN in part.bounds:
            if reading is not None and reading.token == part.bounds[_TOKEN] and _fits(reading, window):
                yield from (row for index in sorted(reading.rows) for row in reading.rows[index])
            else:  # another process has it, or the table has other columns now
                for whole in self._source.fix(part.table, cursor, None, False, 1).ranges:
                    yield from self._source.read(whole, window, cursor)
            return
        rows: list[pa.RecordBatch | Unread] = []
        for row in self._source.read(part, window, cursor):
            if reading is not None and not reading.large:
                rows.append(row)
            yield row
        if reading is not None and not reading.large:
            reading.put(part.index, rows)
            if reading.large:
                _LOG.warning("%s has more than %d MB, and is read anew by each drain", part.table, MOST >> 20)

    def _key(self, table: str) -> Key:
        return self._execution, self._place, table


def _fits(reading: _Reading, window: Window) -> bool:
    """Whether rows that were read have the columns that are planned now."""
    planned = set(window.schema().names)
    batches = (row for rows in reading.rows.values() for row in rows if not isinstance(row, Unread))
    return all(planned <= set(origin.visible(batch).schema.names) for batch in batches)
