"""The tables of the store, as queries see them. `migrations` creates them; a test compares the two."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, Table, Text

from beam_pipelines.state.column import Json, Message, Moment, Money

__all__ = [
    "SCHEMA",
    "alerts",
    "charges",
    "events",
    "execution_files",
    "execution_steps",
    "executions",
    "failed_records",
    "leases",
    "metadata",
    "pipeline_metrics",
    "quality_history",
    "schedules",
    "schema_version",
    "service_requests",
    "stream_hours",
    "watermarks",
]

SCHEMA = "beam_pipelines"  # on PostgreSQL, whose `public` may well hold an `events` of somebody else; SQLite has none
metadata = MetaData(schema=SCHEMA)

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("store", Text, nullable=False),  # id of the store, the same in every row
    Column("applied_at", Moment, nullable=False),
)

executions = Table(
    "executions",
    metadata,
    Column("run", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("request", Text),
    Column("customer", Text),
    Column("status", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("completed_at", Moment),
    Column("duration", BigInteger),  # milliseconds
    Column("records_extracted", BigInteger, nullable=False),
    Column("records_transformed", BigInteger, nullable=False),
    Column("records_loaded", BigInteger, nullable=False),
    Column("bytes_processed", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("records_filtered", BigInteger, nullable=False),
    Column("records_rejected", BigInteger, nullable=False),
    Column("records_dead_lettered", BigInteger, nullable=False),
    Column("records_inserted", BigInteger, nullable=False),
    Column("records_updated", BigInteger, nullable=False),
    Column("records_unchanged", BigInteger, nullable=False),
    Column("records_stale", BigInteger, nullable=False),
    Column("records_superseded", BigInteger, nullable=False),
    Column("records_deleted", BigInteger, nullable=False),
    Column("guarantee", Message),
    Column("watermark", Json),
    Column("charge", Json),
    Column("error", Message),
    Column("error_code", Text),
    Column("event_sequence", BigInteger, nullable=False),  # number of the run's last event
    Column("place", Text),  # where the target's ledger was
    Column("files", Json),  # counts, of services whose unit is the file
    Column("live", Json),  # how a stream stands
    Column("generation", BigInteger),  # of a stream: commit of its load that it advanced to last
)

execution_files = Table(
    "execution_files",
    metadata,
    Column("run", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("file", Json, nullable=False),
)

execution_steps = Table(
    "execution_steps",
    metadata,
    Column("run", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("phase", Text, nullable=False),
    Column("success", Boolean, nullable=False),
    Column("record_count", BigInteger),
    Column("loaded", BigInteger),
    Column("errors", BigInteger),
    Column("method", Text),
    Column("duration", BigInteger),  # milliseconds
    Column("table", Text),
    Column("transformations", Json, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("service", Text, primary_key=True),
    Column("run", Text),  # null: nobody holds it
    Column("token", BigInteger, nullable=False),
    Column("holder", Json, nullable=False),
    Column("since", Moment, nullable=False),
    Column("until", Moment, nullable=False),
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("service", Text, primary_key=True),
    Column("table", Text, primary_key=True),
    Column("value", Json),
    Column("fingerprint", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("run", Text),
    Column("updated_at", Moment, nullable=False),
)

failed_records = Table(
    "failed_records",
    metadata,
    Column("run", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("service", Text, nullable=False),
    Column("table", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("url", Text, nullable=False),
    Column("message", Message, nullable=False),
    Column("timestamp", Moment, nullable=False),
    Column("drain", Text),  # of a stream: the drain that they are of, whose file they are in
)

pipeline_metrics = Table(
    "pipeline_metrics",
    metadata,
    Column("run", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("timestamp", Moment, nullable=False),
    Column("records_processed", BigInteger, nullable=False),
    Column("bytes_processed", BigInteger, nullable=False),
    Column("duration", BigInteger, nullable=False),  # milliseconds
    Column("throughput", Double),  # rows a second
    Column("error_rate", Double),
)

quality_history = Table(
    "quality_history",
    metadata,
    Column("run", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("service", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("table", Text),  # where a run has several loads
    Column("timestamp", Moment, nullable=False),
    Column("status", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("passed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("warnings", BigInteger, nullable=False),
    Column("result", Json, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("message", Message, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("incident", Text),  # null: failures
)

charges = Table(
    "charges",
    metadata,
    Column("key", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("request", Text),
    Column("customer", Text),
    Column("amount", Money, nullable=False),
    Column("currency", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price_version", Text, nullable=False),
    Column("data", Json, nullable=False),
    Column("charged_at", Moment, nullable=False),
)

stream_hours = Table(
    "stream_hours",
    metadata,
    Column("service", Text, primary_key=True),
    Column("hour", Moment, primary_key=True),  # beginning of a UTC clock hour
    Column("run", Text, nullable=False),  # the execution that ran in it first
    Column("events", BigInteger, nullable=False),
    Column("charge", Text),  # key of the charge; null: none, or not yet
    Column("charged_at", Moment),  # null: not settled
)

service_requests = Table(
    "service_requests",
    metadata,
    Column("run", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("request", Text),
    Column("customer", Text),
    Column("status", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("completed_at", Moment),
)

events = Table(
    "events",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("phase", Text),  # of progress events
    Column("time", Moment, nullable=False),
    Column("data", Json, nullable=False),
    Column("delivered_at", Moment),
)

schedules = Table(
    "schedules",
    metadata,
    Column("service", Text, primary_key=True),
    Column("expression", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("recorded_at", Moment, nullable=False),
)
