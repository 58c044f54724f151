"""A customer database on the real server, sources of it, and a loop that reads it as Prepare and Read do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from beam_pipelines.columnar.cast import conform
from beam_pipelines.io.connections import Connections
from beam_pipelines.io.connector import Fixed
from beam_pipelines.io.postgres.source import PostgresSource
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.source import DatabaseSource

MakeSource = Callable[..., PostgresSource]


@pytest.fixture
def sql(postgres_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the owner of the data."""
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def make_source(postgres_database: str) -> Iterator[MakeSource]:
    """Make sources: `make_source(table="customers", url=..., options={...})`; they are closed at the end."""
    made: list[PostgresSource] = []

    def make(*, url: str = "", options: dict[str, Any] | None = None, **model: Any) -> PostgresSource:
        connections = Connections(environ={"BEAM_PIPELINES_CONNECTION_CRM": url or postgres_database})
        source = DatabaseSource.model_validate({"type": "database", "connection": "crm", **model})
        made.append(PostgresSource(source, connections.get("crm"), **(options or {})))
        return made[-1]

    yield make
    for source in made:
        source.close()


@dataclass
class Poll:
    """A service that polls one table: what Prepare, Read and the ledger do, without a pipeline.

    Args:
        source: Read by its cursor.
        table: What is read.
        inclusive: Read `>= low`.
        parts: Ranges wanted.
    """

    source: PostgresSource
    table: str = "customers"
    inclusive: bool = False
    parts: int = 1
    low: Mark | None = None
    fixed: Fixed | None = None
    bad: list[str] = field(default_factory=list)

    def __call__(self, back: Callable[[Mark], Mark] | None = None) -> pa.Table:
        """One run; `back` takes the overlap off the watermark."""
        described = self.source.describe(self.table)
        cursor = self.source.cursor
        low = back(self.low) if back and self.low else self.low
        self.fixed = self.source.fix(self.table, cursor, low, self.inclusive, self.parts)
        window = self.window(described.schema, low)
        batches = [batch for part in self.fixed.ranges for batch in self.source.read(part, window, cursor)]
        conformed = [conform(batch, described.schema) for batch in batches]
        self.bad += [reason for each in conformed for reason in each.reasons]
        for batch in batches:
            if cursor is not None and batch.num_rows:
                self.low = Mark.of(pc.max(batch.column(cursor.column))).later(self.low)
        return pa.Table.from_batches([each.batch.select(described.schema.names) for each in conformed], schema=described.schema)

    def window(self, schema: pa.Schema, low: Mark | None = None) -> Window:
        assert self.fixed is not None
        window = Window(
            "crm",
            "customers",
            self.table,
            "run",
            0,
            low=low,
            inclusive=self.inclusive,
            ceiling=self.fixed.ceiling,
            ceiling_inclusive=self.fixed.inclusive,
            ranges=self.fixed.ranges,
            snapshot=self.fixed.snapshot,
        )
        # As Prepare's window reaches the workers: as text.
        return Window.from_text(window.with_schema("", schema).to_text())


@pytest.fixture
def poll() -> type[Poll]:
    return Poll
