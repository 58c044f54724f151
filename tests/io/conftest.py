"""Reading a source as a run does: fix a window, read its ranges, cast, remember the newest value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.cast import conform
from beam_pipelines.io.connections import Connection, Connections, variable
from beam_pipelines.io.connector import Fixed, Source, Unread
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Window


@dataclass
class Read:
    """What one run read.

    Args:
        rows: Good rows as dicts, without origin.
        reasons: Of the rows that did not cast.
        batches: As the source gave them.
        unread: What the source could not read: line, code, message and what is known of the row.
    """

    fixed: Fixed
    rows: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)
    newest: Mark | None = None
    unread: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]


class Reading:
    """Functions of this module, for tests that get them as a fixture."""

    @staticmethod
    def connection(url: str | Path) -> Connection:
        return Connections(None, {variable("db"): str(url)}).get("db")

    @staticmethod
    def window(source: Source, table: str, low: Mark | None = None, inclusive: bool = False, parts: int = 1) -> Window:
        """What Prepare decides."""
        described = source.describe(table)
        fixed = source.fix(table, source.cursor, low, inclusive, parts)
        window = Window(
            "service",
            "load",
            table,
            "run",
            0,
            low,
            inclusive,
            fixed.ceiling,
            fixed.inclusive,
            fixed.ranges,
            source_key=described.primary_key,
        )
        return window.with_schema("", origin.visible_schema(described.schema))

    @staticmethod
    def read(source: Source, window: Window) -> Read:
        """What the read step does."""
        read = Read(Fixed(window.ceiling, window.ceiling_inclusive, window.ranges))
        for part in window.ranges:
            for batch in source.read(part, window, source.cursor):
                if isinstance(batch, Unread):
                    lines = [told.get("line", told.get("row")) for told in origin.describe(batch.batch, range(batch.batch.num_rows))]
                    known = origin.visible(batch.batch).to_pylist()
                    read.unread += zip(lines, batch.codes, batch.messages, known, strict=True)
                    continue
                read.batches.append(batch)
                cast = conform(batch, window.schema())
                read.reasons += cast.reasons
                read.rows += origin.visible(cast.batch).to_pylist()
                if source.cursor and cast.batch.num_rows:
                    names = {name.lower(): name for name in cast.batch.schema.names}
                    newest = Mark.of(pc.max(cast.batch.column(names[source.cursor.column.lower()])))
                    read.newest = newest.later(read.newest)
        return read

    def poll(self, source: Source, table: str, low: Mark | None = None, inclusive: bool = False, parts: int = 1) -> Read:
        return self.read(source, self.window(source, table, low, inclusive, parts))


@pytest.fixture
def reading() -> Reading:
    return Reading()
