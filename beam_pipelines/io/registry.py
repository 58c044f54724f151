"""Which class serves which source and destination; each is imported when it is asked for, because clients are heavy."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_pipelines.errors import PlanError, Problem, SpecError
from beam_pipelines.io.connections import Connection, Connections
from beam_pipelines.io.files.format import format_of

if TYPE_CHECKING:
    from beam_pipelines.io.connector import Source, Target
    from beam_pipelines.runs.context import RunContext

__all__ = ["connection_of", "format_given", "open_source", "open_target", "system_of"]

_SOURCES = {
    "postgresql": "beam_pipelines.io.postgres.source:PostgresSource",
    "sqlite": "beam_pipelines.io.sqlite.source:SqliteSource",
    "duckdb": "beam_pipelines.io.duckdb.source:DuckDbSource",
    "parquet": "beam_pipelines.io.files.parquet:ParquetSource",
    "csv": "beam_pipelines.io.files.text.csv:CsvSource",
    "jsonl": "beam_pipelines.io.files.text.jsonl:JsonLinesSource",
    "json": "beam_pipelines.io.files.text.json_array:JsonSource",
    "avro": "beam_pipelines.io.files.avro.source:AvroSource",
    "kafka": "beam_pipelines.io.kafka.source:KafkaSource",
}
_TARGETS = {
    "postgresql": "beam_pipelines.io.postgres.target:PostgresTarget",
    "sqlite": "beam_pipelines.io.sqlite.target:SqliteTarget",
    "duckdb": "beam_pipelines.io.duckdb.target:DuckDbTarget",
    "nowhere": "beam_pipelines.io.files.nowhere:NowhereTarget",
}
_MAX_CELL_BYTES = 32 << 20  # the default of a definition
_FILES = ("parquet", "csv", "jsonl", "json", "avro")
_FILE_TARGET = "beam_pipelines.io.files.target:FileTarget"
_BUCKET_TARGET = "beam_pipelines.io.objects.target:BucketTarget"
_PORTABLE_SOURCE = "beam_pipelines.io.sql.portable_source:PortableSource"
_PORTABLE_TARGET = "beam_pipelines.io.sql.portable_target:PortableTarget"
# Modules of optional clients, and the extra that brings them.
_EXTRAS = {"psycopg": "postgres", "adbc_driver_postgresql": "postgres", "adbc_driver_manager": "postgres"}
# What a definition may say (the product's brief prints it), but no code of this version does.
_LATER = {"api": "HTTP APIs"}
_TOPICS = ("kafka", "stream")
_SCHEMES = {"s3": "s3", "gcs": "gs"}


def system_of(model: Any, connections: Connections) -> str:
    """The system behind a source or destination: `postgresql`, `sqlite`, `duckdb`, a format of files, or a SQLAlchemy dialect's name.

    Args:
        model: A source or destination of `beam_pipelines.spec`.
        connections: Where its connection is looked up.

    Raises:
        PlanError: No code serves it (`not-served`), or its connection is missing.
        SpecError: Its connection cannot be understood, or needs a secret that is missing.
    """
    kind = str(model.type)
    if kind in _LATER:
        raise PlanError(
            f"type {kind!r}: {_LATER[kind]} are not served yet; this version serves database, data-warehouse, file, s3, gcs and kafka",
            code="not-served",
        )
    if kind == "none":
        return "nowhere"
    if kind == "file" or kind in _SCHEMES:
        return _file_format(model, connections)
    connection = connections.get(model.connection)
    if kind in _TOPICS:
        if connection.kind != "kafka":
            expected = f"expected brokers as connection {connection.name!r} ({{bootstrap.servers: host:9092}})"
            raise PlanError(f"{expected}, got {connection.kind}: {connection.display}", code="connection-invalid")
        return "kafka"
    if connection.kind != "url":
        raise PlanError(
            f"expected a database as connection {connection.name!r}, got {connection.kind}: {connection.display}", code="connection-invalid"
        )
    return connection.system


def open_source(
    model: Any,
    connections: Connections,
    folder: Path | None = None,
    context: RunContext | None = None,
    max_cell_bytes: int = _MAX_CELL_BYTES,
) -> Source:
    """Open what a definition's `source` names; the caller closes it.

    Args:
        model: A source of `beam_pipelines.spec`.
        connections: Where its connection is looked up.
        folder: The definition's, for relative paths.
        context: The run, None outside of one; ranges of a local run can share a snapshot.
        max_cell_bytes: Of the definition; no record of a file of text is longer.

    Raises:
        PlanError: See `system_of`; or the client of an extra is not installed (`extra-missing`).
    """
    system = system_of(model, connections)
    made = _load(_SOURCES.get(system, _PORTABLE_SOURCE), system)
    connection = connection_of(model, connections)
    source: Source
    if system == "parquet":
        source = made(model, connection, folder)
    elif system in _FILES:
        source = made(model, connection, folder, max_cell_bytes)
    elif system == "postgresql":
        source = made(model, connection, context=context)
    elif system == "kafka":
        source = made(model, connection, max_cell_bytes, context)
    else:
        source = made(model, connection)
    return source


def open_target(model: Any, connections: Connections, folder: Path | None = None, context: RunContext | None = None) -> Target:
    """Open what a definition's `destination` names; the caller closes it.

    Args:
        model: A destination of `beam_pipelines.spec`.
        connections: Where its connection is looked up, and the state store where that is named like one.
        folder: The definition's, for relative paths.
        context: The run, None outside of one.

    Raises:
        PlanError: See `system_of`; or the client of an extra is not installed (`extra-missing`).
    """
    system = system_of(model, connections)
    if system == "kafka":
        raise PlanError(
            "type 'kafka': a topic is written by streams, as one of their sinks; this command serves database, data-warehouse, file, s3"
            " and gcs",
            code="not-served",
        )
    made = _load(_FILE_TARGET if system in _FILES else _TARGETS.get(system, _PORTABLE_TARGET), system)
    connection = connection_of(model, connections)
    ledger_schema = getattr(model, "ledger_schema", None)
    if ledger_schema and system not in ("postgresql", "duckdb"):
        raise PlanError(
            "the ledger cannot be where the definition says",
            code="mode-refused",
            problems=[
                Problem(f"expected ledgerSchema on PostgreSQL or DuckDB only, got it on {system}", "pipeline.destination.ledgerSchema")
            ],
        )
    target: Target
    if system in _FILES and connection is not None and connection.path is None:
        target = _load(_BUCKET_TARGET, system)(model, connection, folder, context, system)
    elif system in _FILES:
        target = made(model, connection, folder, context, system)
    elif system == "nowhere":
        target = made(model, connection, folder, context)
    elif system == "duckdb":
        assert connection is not None  # their model names one
        target = made(connection.path, ledger_schema=ledger_schema)
    elif system == "sqlite":
        assert connection is not None
        target = made(connection.path)
    elif system == "postgresql":
        target = made(connection, ledger_schema=ledger_schema)
    else:
        target = made(connection, batch_size=model.batch_size)
    return target


def connection_of(model: Any, connections: Connections) -> Connection | None:
    """What a source or destination is reached by: its connection, or the bucket of its own name; None: neither, but a path."""
    name = model.connection_name
    if name and model.type in _SCHEMES:
        return connections.bucket(name, _SCHEMES[model.type])
    return connections.get(name) if name else None


def format_given(model: Any) -> str | None:
    """The format of files by the keys of their source or destination; None: it is not said."""
    names = [text for text in (model.path, getattr(model, "pattern", None), model.prefix) if text]
    return model.format or next((found for found in map(format_of, names) if found), None)


def _file_format(model: Any, connections: Connections) -> str:
    given = format_given(model)
    if model.bucket is not None:
        connection = connection_of(model, connections)
        if connection is not None and connection.kind != "bucket":
            raise PlanError(f"expected a bucket as connection {connection.name!r}, got {connection.display}", code="connection-invalid")
    if given is None:
        shown = repr(model.path) if model.path is not None else "the files"
        message = f"expected format: {' or '.join(_FILES)}, or a name that ends with it, for that of {shown} does not say it"
        raise PlanError(message, code="spec-incomplete")
    return str(given)


def _load(place: str, system: str) -> Any:
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as missing:
        top = (missing.name or "").partition(".")[0]
        if top not in _EXTRAS:
            raise
        raise SpecError(
            f"{system} needs the module {top!r}, which is not installed: pip install 'beam-pipelines[{_EXTRAS[top]}]'", code="extra-missing"
        ) from missing
