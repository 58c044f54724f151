"""Where rows come from."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_serializer, field_validator
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.one_of import OneOf
from beam_pipelines.spec.values import ConnectionName, Count, Duration, Flag, SecretReference, Text, parse_duration, shown

__all__ = [
    "ApiSource",
    "BatchSource",
    "BucketSource",
    "Compression",
    "Cursor",
    "DatabaseSource",
    "Endpoint",
    "EventSource",
    "FileFormat",
    "FileSource",
    "GcsSource",
    "KafkaSource",
    "Metadata",
    "S3Source",
    "Source",
    "StreamSource",
    "TopicSource",
    "file_location",
]

FileFormat = Literal["csv", "json", "jsonl", "parquet", "avro"]
Compression = Literal["none", "gzip", "bz2", "zstd", "snappy", "lz4", "brotli"]

_ENDPOINT = r"^https?://[^\s/?#@]+([/?#]\S*)?$"


def _check_endpoint(value: str) -> str:
    if re.search(r"://[^/?#]*@", value):
        raise ValueError("expected a URL without credentials (it is not shown here): give the key as apiKey: ${env:NAME}")
    if not re.fullmatch(_ENDPOINT, value):
        raise ValueError(f"expected a URL that begins with http:// or https://, got {shown(value)}")
    return value


Endpoint = Annotated[str, AfterValidator(_check_endpoint), Field(json_schema_extra={"pattern": _ENDPOINT})]


class Cursor(Model):
    """The column that says what is new since the last run."""

    column: Text = Field(description="Column that grows with every insert and update.")
    kind: Literal["timestamp", "sequence", "date"] = Field(
        default="timestamp",
        description="timestamp: when the row changed; sequence: a number that grows; date: a business date, which may arrive backdated.",
    )
    stamped_by: Literal["database", "client"] | None = Field(
        default=None,
        description="Who sets the column: the database, or the client (many ORMs); default on PostgreSQL, SQLite and DuckDB: database.",
    )
    overlap: Annotated[
        timedelta | int | None, WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}, {"type": "null"}]})
    ] = Field(
        default=None,
        description="How far before the last mark each run reads again: a duration; for a sequence, a count of numbers. Needs keys.",
    )

    max_ceiling_lag: Duration = Field(
        default=timedelta(minutes=10),
        description="PostgreSQL: when an open transaction holds the ceiling back for longer, an alert names its session (default 10m).",
    )

    @field_validator("overlap", mode="before")
    @classmethod
    def _read_overlap(cls, value: object, info: ValidationInfo) -> timedelta | int | None:
        if value is None:
            return None
        if info.data.get("kind") != "sequence":
            return parse_duration(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise ValueError(f"expected how many numbers of the sequence to read again (a whole number, zero or above), got {shown(value)}")

    @field_serializer("overlap", when_used="json")
    def _write_overlap(self, value: timedelta | int | None) -> int | None:
        return value // timedelta(milliseconds=1) if isinstance(value, timedelta) else value


class DatabaseSource(Model):
    """A query, a table or several tables of a database."""

    type: Literal["database"] = Field(default="database", description="A database by its connection.")
    connection: ConnectionName = Field(description="Name of the database in the connections file.")
    query: Text | None = Field(
        default=None, description="SELECT; with `incremental: true`, `?` stands for the value where the last run stopped."
    )
    table: Text | None = Field(default=None, description="Table to read whole, or by `cursor`.")
    tables: tuple[Text, ...] | None = Field(
        default=None, min_length=1, description="Tables or patterns such as `crm.*`; each keeps its own watermark."
    )
    incremental: Flag | None = Field(
        default=None, description="Read only what changed since the last run; default: when there is a cursor."
    )
    cursor: Cursor | None = Field(default=None, description="The column that says what changed; makes the source incremental.")
    key_fields: tuple[Text, ...] = Field(default=(), description="Columns that name a row; default: the table's primary key.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """One of query, table and tables; an increment needs to know what is new."""
        named = [key for key in ("query", "table", "tables") if raw.get(key) is not None]
        if not named:
            yield mistake("expected 'query', 'table' or 'tables', got none of them", at="key", wants=("query", "table", "tables"))
        for key in named[1:]:
            yield mistake(f"expected one of 'query', 'table' and 'tables', got {named[0]!r} as well", key, at="key")
        cursor, incremental, query = raw.get("cursor"), raw.get("incremental"), raw.get("query")
        if incremental is False and cursor is not None:
            yield mistake("expected true beside a 'cursor', got false", "incremental", hint="leave it out, or remove the cursor")
        if incremental is True and cursor is None and len(named) == 1:
            if named[0] != "query":
                yield mistake(
                    f"expected 'cursor' beside 'incremental' and {named[0]!r}", "incremental", hint="cursor: {column: updated_at}"
                )
            elif isinstance(query, str) and "?" not in query:
                yield mistake(
                    "expected '?' in an incremental query, where the last run's value goes", "query", hint="... WHERE updated_at > ?"
                )

    @property
    def increments(self) -> bool:
        """Whether a run reads only what changed since the last one."""
        return bool(self.incremental) or self.cursor is not None

    @property
    def connection_name(self) -> str:
        """Name to look up among the connections."""
        return self.connection


class ApiSource(Model):
    """Pages of an HTTP API."""

    type: Literal["api"] = Field(default="api", description="An HTTP API, page by page.")
    endpoint: Endpoint = Field(description="URL of the collection, http or https, without credentials.")
    api_key: SecretReference | None = Field(default=None, description="Sent as bearer token; a reference such as ${env:CRM_API_KEY}.")
    rate_limit_delay: Duration = Field(
        default=timedelta(milliseconds=100), description="Pause between pages (the seed's default is 100 ms)."
    )
    incremental: Flag = Field(default=False, description="Ask only for what changed since the last run (`updated_since`).")

    @property
    def increments(self) -> bool:
        """Whether a run reads only what changed since the last one."""
        return self.incremental

    @property
    def connection_name(self) -> str | None:
        """An endpoint stands in the definition: no connection."""
        return None


def file_location(raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    """Yield the mistakes of a place that is either `path`, or `bucket` with `prefix` and `pattern`."""
    if raw.get("path") is None and raw.get("bucket") is None:
        yield mistake("expected 'path' or 'bucket', got neither", at="key", wants=("path", "bucket"))
    if raw.get("path") is not None:
        for key in ("bucket", "prefix", "pattern"):
            if raw.get(key) not in (None, ""):
                yield mistake(f"expected 'path' or {key!r}, got both", key, at="key", hint="a path says the whole place")


def _one_character(value: str) -> str:
    if len(value) == 1 and value.isascii() and value not in "\r\n\0":
        return value
    raise ValueError(f"expected one character of ASCII that ends no line, got {shown(value)}")


def _quote(value: str) -> str:
    return value if not value else _one_character(value)


def _encoding(value: str) -> str:
    try:
        known = codecs.lookup(value)
    except (LookupError, ValueError):
        known = None
    if known is None or not getattr(known, "_is_text_encoding", True):
        raise ValueError(f"expected an encoding of text such as utf-8, latin-1 or utf-16, got {shown(value)}")
    return value


class Reading(Model):
    """How files are read, wherever they are."""

    format: FileFormat | None = Field(default=None, description="Default: by the file's name.")
    compression: Compression | None = Field(default=None, description="Default: by the file's name.")
    columns: dict[Text, Text] | None = Field(
        default=None,
        min_length=1,
        description="CSV, JSON, JSON Lines: types of columns, such as {zip: text, paid: 'decimal(10,2)'}; default: inferred over a sample.",
    )
    sample_rows: Annotated[Count, Field(le=1_000_000)] = Field(
        default=1000, description="CSV, JSON, JSON Lines: rows at the beginning of each file by which types are inferred."
    )
    header: Flag = Field(default=True, description="CSV: the first line names the columns; false: `columns` does, in order.")
    delimiter: Annotated[str, AfterValidator(_one_character), Field(json_schema_extra={"minLength": 1, "maxLength": 1})] | None = Field(
        default=None, description="CSV: the character between fields; default: a comma, in .tsv files a tab."
    )
    quote: Annotated[str, AfterValidator(_quote), Field(json_schema_extra={"maxLength": 1})] = Field(
        default='"', description='CSV: the character around fields, doubled within them; "": none.'
    )
    quoted_newlines: Flag = Field(
        default=True,
        description="CSV: line breaks may stand between quotes; false: every one ends a row, and large files are read in parts.",
    )
    encoding: Annotated[Text, AfterValidator(_encoding)] = Field(
        default="utf-8", description="CSV, JSON, JSON Lines: how the text is written, such as latin-1."
    )
    null_values: tuple[str, ...] = Field(
        default=(), description="CSV: texts that stand for null where they are not quoted, beside the empty one, such as NA."
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Names of columns from somewhere; characters that differ."""
        if raw.get("header") is False and not raw.get("columns"):
            yield mistake(
                "expected 'columns' beside header: false, to name the columns", "header", hint="columns: {id: bigint, name: text}"
            )
        if raw.get("delimiter") is not None and raw.get("delimiter") == raw.get("quote", '"'):
            yield mistake(f"expected another character than the quote, got {shown(raw['delimiter'])}", "delimiter")

    @property
    def increments(self) -> bool:
        """Files have no cursor."""
        return False


class FileSource(Reading):
    """Files by path, or by bucket, prefix and pattern."""

    type: Literal["file"] = Field(default="file", description="Files on disk or in a bucket.")
    path: Text | None = Field(default=None, description="File, or pattern such as `in/*.parquet`, relative to the definition.")
    bucket: ConnectionName | None = Field(default=None, description="Bucket, looked up by its name among the connections.")
    prefix: str = Field(default="", description="What the names of the files begin with.")
    pattern: Text | None = Field(default=None, description="Pattern of the rest of the name, such as `*.csv`; default: every file.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Path or bucket, and what holds of all files."""
        yield from file_location(raw)
        yield from super().laws(raw)

    @property
    def connection_name(self) -> str | None:
        """Name to look up among the connections: the bucket's."""
        return self.bucket


class BucketSource(Reading):
    """Objects of a bucket."""

    path: ClassVar[None] = None

    bucket: ConnectionName = Field(description="Bucket, looked up by its name among the connections; default: the bucket of that name.")
    prefix: str = Field(default="", description="What the keys begin with, such as `daily-exports/`.")
    pattern: Text | None = Field(default=None, description="Pattern of the rest of the key, such as `*.csv`; default: every object.")

    @property
    def connection_name(self) -> str:
        """Name to look up among the connections: the bucket's."""
        return self.bucket


class S3Source(BucketSource):
    """Objects of an S3 bucket."""

    type: Literal["s3"] = Field(default="s3", description="A bucket of S3 or of a store that speaks its API.")


class GcsSource(BucketSource):
    """Objects of a Google Cloud Storage bucket."""

    type: Literal["gcs"] = Field(default="gcs", description="A bucket of Google Cloud Storage.")


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"expected a zone of the IANA database such as Europe/Berlin or UTC, got {shown(value)}") from None
    return value


class Metadata(Model):
    """Columns for what Kafka says of a message beside its value."""

    key: Text | None = Field(default=None, description="Column for the message's key: text, or bytes where `columns` says so.")
    headers: Text | None = Field(default=None, description="Column for its headers: a map of text; of a name that comes twice the last.")
    partition: Text | None = Field(default=None, description="Column for its partition.")
    offset: Text | None = Field(default=None, description="Column for its offset.")
    timestamp: Text | None = Field(default=None, description="Column for Kafka's own timestamp of it, in ms, UTC.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Each is a column of its own."""
        seen: dict[str, str] = {}
        for key, name in raw.items():
            if isinstance(name, str) and name in seen:
                yield mistake(f"expected another column than that of {seen[name]!r}, got {shown(name)}", key)
            elif isinstance(name, str):
                seen[name] = key

    @property
    def columns(self) -> dict[str, str]:
        """What each column that is wanted is of: `key`, `headers`, ..., in the order of this model."""
        named = ((getattr(self, part), part) for part in type(self).model_fields)
        return {name: part for name, part in named if name is not None}


class TopicSource(Model):
    """Messages of a Kafka topic."""

    topic: Text = Field(description="Topic to read.")
    consumer_group: Text | None = Field(default=None, description="Group that offsets are mirrored to, so that lag tools work.")
    connection: ConnectionName = Field(default="kafka", description="Name of the brokers among the connections.")
    start_from: str = Field(
        default="committed",
        description="committed (the service's own offsets, else earliest), earliest, latest, or an ISO 8601 time with its zone.",
    )
    format: Literal["json", "avro", "text", "bytes"] = Field(default="json", description="How a message's value is written.")
    columns: dict[Text, Text] | None = Field(
        default=None,
        min_length=1,
        description="JSON: the columns and their types, such as {userId: text, paid: 'decimal(10,2)'}; default: inferred over a sample.",
    )
    sample_rows: Annotated[Count, Field(le=1_000_000)] = Field(
        default=1000, description="JSON: the newest messages, of all partitions, by which columns and types are inferred."
    )
    unknown_keys: Literal["ignore", "reject"] = Field(
        default="ignore", description="JSON: a key that is no column is left out and told in the log, or makes its message a dead letter."
    )
    metadata: Metadata = Field(default=Metadata(), description="Columns for key, headers, partition, offset and timestamp of a message.")
    timestamp_field: Text | None = Field(
        default=None, description="Field with the event's time; default: `timestamp` in ms, else the message's own."
    )
    timestamp_unit: Literal["s", "ms", "us", "ns"] = Field(default="ms", description="What a number in the field counts since 1970, UTC.")
    timestamp_zone: Annotated[Text, AfterValidator(_zone)] | None = Field(
        default=None, description="Zone of texts in the field that say none, such as Europe/Berlin; default: they are dead letters."
    )
    out_of_orderness: Duration = Field(default=timedelta(0), description="How late within its partition an event may come and still count.")
    max_ahead: Duration = Field(
        default=timedelta(days=1),
        description="An event whose time is farther ahead of its message's own is a dead letter: it would make all behind it late.",
    )
    idle_timeout: Duration = Field(
        default=timedelta(seconds=30), description="A partition that is read to its end, and had no message for so long, is not waited for."
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Keys that a format of values has no use for; a name for each column."""
        written = raw.get("format", "json")
        metadata = raw.get("metadata")
        named = [name for name in metadata.values() if isinstance(name, str)] if isinstance(metadata, Mapping) else []
        for key, formats in (("sampleRows", ("json",)), ("unknownKeys", ("json",)), ("timestampField", ("json", "avro"))):
            if raw.get(key) is not None and written not in formats:
                yield mistake(f"expected {key!r} beside format {' or '.join(formats)} only, got it beside {shown(written)}", key, at="key")
        columns = raw.get("columns")
        if isinstance(columns, Mapping):
            key_column = metadata.get("key") if isinstance(metadata, Mapping) else None
            others = [name for name in columns if name != key_column]
            if others and written != "json":
                yield mistake(
                    f"expected 'columns' beside format json only, got {shown(others[0])} beside {shown(written)}", "columns", at="key"
                )
            twice = [name for name in others if name in named]
            if twice:
                yield mistake(f"expected another name than that of a column of 'metadata', got {shown(twice[0])}", "columns", at="key")

    @field_validator("start_from")
    @classmethod
    def _check_start(cls, value: str) -> str:
        if value in ("committed", "earliest", "latest"):
            return value
        try:
            # Python 3.10 does not read the `Z` that everybody writes.
            moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ValueError(f"expected committed, earliest, latest or a time such as 2026-01-31T00:00:00Z, got {shown(value)}")
        return value

    @property
    def start_time(self) -> datetime | None:
        """The moment to start from, aware; None when `start_from` is a word."""
        if self.start_from in ("committed", "earliest", "latest"):
            return None
        return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", self.start_from))

    @property
    def increments(self) -> bool:
        """A topic is read from where the last run stopped."""
        return True

    @property
    def connection_name(self) -> str:
        """Name to look up among the connections."""
        return self.connection


class KafkaSource(TopicSource):
    """Messages of a Kafka topic, `type: kafka`."""

    type: Literal["kafka"] = Field(default="kafka", description="A Kafka topic.")


class StreamSource(TopicSource):
    """Messages of a Kafka topic, `type: stream` as the seed's extract step calls it."""

    type: Literal["stream"] = Field(default="stream", description="A Kafka topic; the same as `type: kafka`.")


Source = Annotated[
    DatabaseSource | ApiSource | FileSource | KafkaSource | StreamSource | S3Source | GcsSource,
    OneOf(DatabaseSource, ApiSource, FileSource, KafkaSource, StreamSource, S3Source, GcsSource),
]
EventSource = Annotated[KafkaSource | StreamSource, OneOf(KafkaSource, StreamSource)]
BatchSource = Annotated[S3Source | GcsSource | FileSource, OneOf(S3Source, GcsSource, FileSource)]
