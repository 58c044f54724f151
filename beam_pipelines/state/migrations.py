"""The schema of the store as an ordered list of steps; a store is brought up to date when it is opened.

Each step runs in a transaction of its own together with its row in `schema_version`, under the database's write lock, so that two
processes that open a new store at once do it once. Steps are never edited once released: a change is a new step.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timezone

from sqlalchemy import Connection, inspect, select, text

from beam_pipelines.errors import SpecError
from beam_pipelines.state.database import Database
from beam_pipelines.state.tables import SCHEMA, metadata, schema_version

__all__ = ["STEPS", "migrate"]

# {s} is the schema with its dot (nothing on SQLite), {serial} an integer that counts by itself.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE {s}executions (
            run TEXT PRIMARY KEY, service TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, request TEXT, customer TEXT,
            status TEXT NOT NULL
                CHECK (status IN ('queued', 'running', 'committing', 'success', 'failed', 'cancelled', 'lost')),
            started_at TEXT NOT NULL, completed_at TEXT, duration BIGINT,
            records_extracted BIGINT NOT NULL, records_transformed BIGINT NOT NULL, records_loaded BIGINT NOT NULL,
            bytes_processed BIGINT NOT NULL, errors BIGINT NOT NULL, records_filtered BIGINT NOT NULL,
            records_rejected BIGINT NOT NULL, records_dead_lettered BIGINT NOT NULL,
            guarantee TEXT, watermark TEXT, charge TEXT, error TEXT, error_code TEXT, event_sequence BIGINT NOT NULL)""",
        "CREATE INDEX executions_by_service ON {s}executions (service, started_at)",
        """CREATE TABLE {s}execution_steps (
            run TEXT NOT NULL, position INTEGER NOT NULL, phase TEXT NOT NULL, success BOOLEAN NOT NULL, record_count BIGINT,
            loaded BIGINT, errors BIGINT, method TEXT, duration BIGINT, "table" TEXT, transformations TEXT NOT NULL,
            PRIMARY KEY (run, position))""",
        """CREATE TABLE {s}leases (
            service TEXT PRIMARY KEY, run TEXT, token BIGINT NOT NULL, holder TEXT NOT NULL, since TEXT NOT NULL,
            until TEXT NOT NULL)""",
        """CREATE TABLE {s}watermarks (
            service TEXT NOT NULL, "table" TEXT NOT NULL, value TEXT, fingerprint TEXT NOT NULL, generation BIGINT NOT NULL,
            run TEXT, updated_at TEXT NOT NULL, PRIMARY KEY (service, "table"))""",
        """CREATE TABLE {s}failed_records (
            run TEXT NOT NULL, position INTEGER NOT NULL, service TEXT NOT NULL, "table" TEXT NOT NULL, step TEXT NOT NULL,
            code TEXT NOT NULL, count BIGINT NOT NULL, url TEXT NOT NULL, message TEXT NOT NULL, "timestamp" TEXT NOT NULL,
            PRIMARY KEY (run, position))""",
        'CREATE INDEX failed_records_by_service ON {s}failed_records (service, "timestamp")',
        """CREATE TABLE {s}pipeline_metrics (
            run TEXT PRIMARY KEY, service TEXT NOT NULL, "timestamp" TEXT NOT NULL, records_processed BIGINT NOT NULL,
            bytes_processed BIGINT NOT NULL, duration BIGINT NOT NULL, throughput DOUBLE PRECISION,
            error_rate DOUBLE PRECISION)""",
        'CREATE INDEX pipeline_metrics_by_service ON {s}pipeline_metrics (service, "timestamp")',
        """CREATE TABLE {s}alerts (
            id TEXT PRIMARY KEY, service TEXT NOT NULL, run TEXT NOT NULL, severity TEXT NOT NULL, message TEXT NOT NULL,
            failures BIGINT NOT NULL, created_at TEXT NOT NULL)""",
        "CREATE INDEX alerts_by_service ON {s}alerts (service, created_at)",
        """CREATE TABLE {s}charges (
            key TEXT PRIMARY KEY, service TEXT NOT NULL, run TEXT NOT NULL, request TEXT, customer TEXT, amount TEXT NOT NULL,
            currency TEXT NOT NULL, description TEXT NOT NULL, price_version TEXT NOT NULL, data TEXT NOT NULL,
            charged_at TEXT NOT NULL)""",
        "CREATE INDEX charges_by_service ON {s}charges (service, charged_at)",
        """CREATE TABLE {s}service_requests (
            run TEXT PRIMARY KEY, service TEXT NOT NULL, request TEXT, customer TEXT, status TEXT NOT NULL,
            created_at TEXT NOT NULL, completed_at TEXT)""",
        """CREATE TABLE {s}events (
            position {serial}, id TEXT NOT NULL UNIQUE, service TEXT NOT NULL, run TEXT NOT NULL, type TEXT NOT NULL,
            sequence BIGINT NOT NULL, phase TEXT, time TEXT NOT NULL, data TEXT NOT NULL, delivered_at TEXT)""",
        "CREATE INDEX events_by_run ON {s}events (run, sequence)",
        "CREATE INDEX events_undelivered ON {s}events (position) WHERE delivered_at IS NULL",
        """CREATE TABLE {s}schedules (
            service TEXT PRIMARY KEY, expression TEXT NOT NULL, timezone TEXT NOT NULL, recorded_at TEXT NOT NULL)""",
    ),
    (
        "ALTER TABLE {s}alerts ADD COLUMN incident TEXT",
        "CREATE UNIQUE INDEX alerts_by_incident ON {s}alerts (service, incident) WHERE incident IS NOT NULL",
    ),
    tuple(
        f"ALTER TABLE {{s}}executions ADD COLUMN records_{what} BIGINT NOT NULL DEFAULT 0"
        for what in ("inserted", "updated", "unchanged", "stale", "superseded", "deleted")
    ),
    ("ALTER TABLE {s}executions ADD COLUMN place TEXT",),
    (
        """CREATE TABLE {s}quality_history (
            run TEXT NOT NULL, position INTEGER NOT NULL, service TEXT NOT NULL, step TEXT NOT NULL, "table" TEXT,
            "timestamp" TEXT NOT NULL, status TEXT NOT NULL, total BIGINT NOT NULL, passed BIGINT NOT NULL, failed BIGINT NOT NULL,
            warnings BIGINT NOT NULL, result TEXT NOT NULL, PRIMARY KEY (run, position))""",
        'CREATE INDEX quality_history_by_service ON {s}quality_history (service, "timestamp")',
    ),
    (
        "ALTER TABLE {s}executions ADD COLUMN files TEXT",
        """CREATE TABLE {s}execution_files (
            run TEXT NOT NULL, position INTEGER NOT NULL, file TEXT NOT NULL, PRIMARY KEY (run, position))""",
    ),
    (
        "ALTER TABLE {s}executions ADD COLUMN live TEXT",
        "ALTER TABLE {s}executions ADD COLUMN generation BIGINT",
        "ALTER TABLE {s}failed_records ADD COLUMN drain TEXT",
        """CREATE TABLE {s}stream_hours (
            service TEXT NOT NULL, hour TEXT NOT NULL, run TEXT NOT NULL, events BIGINT NOT NULL, charge TEXT, charged_at TEXT,
            PRIMARY KEY (service, hour))""",
        "CREATE INDEX stream_hours_by_run ON {s}stream_hours (run, hour)",
    ),
)

_VERSION_TABLE = "CREATE TABLE {s}schema_version (version INTEGER PRIMARY KEY, store TEXT NOT NULL, applied_at TEXT NOT NULL)"


def migrate(database: Database) -> str:
    """Bring the store up to date.

    Returns:
        The id of the store: made with it, and never changed.

    Raises:
        SpecError: The store was made by a newer version of this package, or the database holds tables of the same names that
            are somebody else's.
    """
    with database.read() as connection:
        version, store = _version(connection, database)
    while version < len(STEPS):
        version, store = _advance(database)
    if version > len(STEPS):
        raise SpecError(
            f"the state store {database} has schema version {version}, this version of beam-pipelines knows {len(STEPS)}:"
            " upgrade beam-pipelines (pip install -U beam-pipelines), or name another store by --state",
            code="option-invalid",
            details={"found": version, "known": len(STEPS)},
        )
    return store


def _advance(database: Database) -> tuple[int, str]:
    """Do the next step, unless somebody else did meanwhile."""
    with database.write("migration") as connection:
        version, store = _version(connection, database)
        if version >= len(STEPS):
            return version, store
        if version == 0:
            _create(connection, database)
            store = uuid.uuid4().hex
        for statement in STEPS[version]:
            connection.execute(text(database.ddl(statement)))
        now = datetime.now(timezone.utc)
        connection.execute(schema_version.insert().values(version=version + 1, store=store, applied_at=now))
        return version + 1, store


def _version(connection: Connection, database: Database) -> tuple[int, str]:
    """Return (version, store id); (0, "") for a database that has no store."""
    schema = database.schema
    inspector = inspect(connection)
    if not inspector.has_table("schema_version", schema=schema):
        return 0, ""
    columns = {column["name"] for column in inspector.get_columns("schema_version", schema=schema)}
    if not columns >= {"version", "store"}:
        raise _foreign(database, ["schema_version"])
    newest = select(schema_version.c.version, schema_version.c.store).order_by(schema_version.c.version.desc()).limit(1)
    row = connection.execute(newest).first()
    return (row.version, row.store) if row else (0, "")


def _create(connection: Connection, database: Database) -> None:
    """Prepare an empty database, or refuse one that is in use for something else."""
    ours = {table.name for table in metadata.tables.values()}
    if database.schema and not inspect(connection).has_schema(SCHEMA):
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    taken = ours & set(inspect(connection).get_table_names(schema=database.schema))
    if taken:
        raise _foreign(database, sorted(taken))
    connection.execute(text(database.ddl(_VERSION_TABLE)))


def _foreign(database: Database, tables: list[str]) -> SpecError:
    return SpecError(
        f"expected {database} to be a state store or empty, but it has tables that are not ours ({', '.join(tables)}):"
        " name another database by --state",
        code="option-invalid",
        details={"tables": tables},
    )
