"""Where rows go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.one_of import OneOf
from beam_pipelines.spec.source import Compression, Endpoint, FileFormat, file_location
from beam_pipelines.spec.values import ConnectionName, Count, Flag, SecretReference, Size, Text

__all__ = [
    "ApiDestination",
    "BucketDestination",
    "DatabaseDestination",
    "Destination",
    "FileDestination",
    "GcsDestination",
    "KafkaDestination",
    "Mode",
    "S3Destination",
    "TableDestination",
    "WarehouseDestination",
]

Mode = Literal["insert", "upsert", "replace"]
ErrorHandling = Literal["stop", "continue"]
_LEAST_SHARD = 64 * 1024  # bytes


class TableDestination(Model):
    """A table that rows are staged for and committed to in one transaction."""

    default_mode: ClassVar[str] = "insert"

    connection: ConnectionName = Field(description="Name of the target among the connections.")
    table: Text = Field(description="Table, with its schema if wanted; `{table}` stands for the source's when it has several.")
    mode: Mode = Field(
        default="insert",
        description="insert: add; upsert: update by key, else add; replace: matching rows by key, or the whole table without keys.",
    )
    key_fields: tuple[Text, ...] = Field(
        default=(), description="Columns that name a row; upsert's default: the target's primary key, else the source's."
    )
    batch_size: Count = Field(default=1000, description="Rows a statement, where the target takes statements.")
    error_handling: ErrorHandling = Field(
        default="stop", description="Rows that the target refuses: stop loads nothing; continue makes dead letters of them."
    )
    version_column: Text | None = Field(
        default=None,
        description="upsert never lets an older row overwrite a newer by this column, and null is oldest; default: the cursor's, when all"
        " rows that arrive have it.",
    )
    strategy: Literal["delete-insert", "swap"] = Field(
        default="delete-insert",
        description="How replace exchanges a whole table; swap renames a new one into place (views and grants do not follow).",
    )
    allow_empty: Flag = Field(default=False, description="Let replace empty the whole table when the source is empty.")
    ledger_schema: Text | None = Field(
        default=None,
        description="Schema of the ledger tables (PostgreSQL, DuckDB), made if it is missing; default: where new tables of the user go.",
    )
    schema_policy: Literal["evolve", "freeze"] = Field(
        default="evolve",
        validation_alias="schema",
        serialization_alias="schema",
        description="New columns: evolve adds them to the table, freeze refuses them.",
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """What belongs to a mode stands beside that mode."""
        mode, keys = raw.get("mode", cls.default_mode), raw.get("keyFields")
        if mode not in ("insert", "upsert", "replace"):
            return
        if mode != "replace" or keys:
            asked = "whole-table replace (mode: replace without keyFields)"
            if raw.get("allowEmpty") is True:
                yield mistake(f"expected 'allowEmpty' beside {asked} only, got it beside mode {mode!r}", "allowEmpty", at="key")
            if raw.get("strategy") == "swap":
                yield mistake(f"expected 'swap' beside {asked} only, got it beside mode {mode!r}", "strategy")
        if mode != "upsert" and raw.get("versionColumn") is not None:
            yield mistake(f"expected 'versionColumn' beside mode 'upsert' only, got it beside {mode!r}", "versionColumn", at="key")

    @property
    def connection_name(self) -> str:
        """Name to look up among the connections."""
        return self.connection

    @property
    def replaces_table(self) -> bool:
        """Whether a run exchanges the whole table, not rows of it."""
        return self.mode == "replace" and not self.key_fields


class DatabaseDestination(TableDestination):
    """A table of a database."""

    type: Literal["database"] = Field(default="database", description="A table of a database.")


class WarehouseDestination(TableDestination):
    """A table of a warehouse; as in the seed, rows are merged by key unless `mode` says otherwise."""

    default_mode: ClassVar[str] = "upsert"

    type: Literal["data-warehouse"] = Field(default="data-warehouse", description="A table of a data warehouse.")
    mode: Mode = Field(
        default="upsert",
        description="upsert: update by key, else add; insert: add; replace: matching rows by key, or the whole table without keys.",
    )


class Writing(Model):
    """How files are written, wherever they go."""

    format: FileFormat | None = Field(default=None, description="Default: by the path's name; of a batch the input's.")
    compression: Compression | None = Field(
        default=None,
        description="Default: by the name of the one file, or the format's own (snappy for Parquet, deflate for Avro, none for text).",
    )
    shard_size: Size | None = Field(
        default=None,
        description="Bytes of each file, about, such as 64MiB; default: of a batch one file an input, else one or more a worker.",
    )
    mode: Literal["insert", "replace"] = Field(default="insert", description="insert: add files; replace: exchange what stands there.")
    allow_empty: Flag = Field(default=False, description="Let replace exchange what stands there for nothing when the source is empty.")
    error_handling: ErrorHandling = Field(
        default="stop", description="Rows that cannot be written: stop writes nothing; continue makes dead letters of them."
    )

    @field_validator("shard_size")
    @classmethod
    def _check_size(cls, value: int | None) -> int | None:
        if value is not None and value < _LEAST_SHARD:
            raise ValueError(f"expected 64KiB or more, got {value} bytes: a file costs more than its rows then")
        return value

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """`allowEmpty` belongs to replace."""
        if raw.get("allowEmpty") is True and raw.get("mode", "insert") == "insert":
            yield mistake("expected 'allowEmpty' beside mode 'replace' only, got it beside 'insert'", "allowEmpty", at="key")

    @property
    def replaces_table(self) -> bool:
        """Whether a run exchanges everything that stands there."""
        return self.mode == "replace"


class FileDestination(Writing):
    """Files that appear whole or not at all."""

    type: Literal["file"] = Field(default="file", description="Files on disk or in a bucket.")
    path: Text | None = Field(default=None, description="File or folder, relative to the definition.")
    bucket: ConnectionName | None = Field(default=None, description="Bucket, looked up by its name among the connections.")
    prefix: str = Field(default="", description="What the names of the files begin with.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Path or bucket, and what holds of all files."""
        yield from file_location(raw)
        yield from super().laws(raw)

    @property
    def connection_name(self) -> str | None:
        """Name to look up among the connections: the bucket's."""
        return self.bucket


class BucketDestination(Writing):
    """Objects of a bucket, each whole or absent."""

    path: ClassVar[None] = None

    bucket: ConnectionName = Field(description="Bucket, looked up by its name among the connections; default: the bucket of that name.")
    prefix: str = Field(default="", description="What the keys begin with, such as `processed/`.")

    @property
    def connection_name(self) -> str:
        """Name to look up among the connections: the bucket's."""
        return self.bucket


class S3Destination(BucketDestination):
    """Objects of an S3 bucket."""

    type: Literal["s3"] = Field(default="s3", description="A bucket of S3 or of a store that speaks its API.")


class GcsDestination(BucketDestination):
    """Objects of a Google Cloud Storage bucket."""

    type: Literal["gcs"] = Field(default="gcs", description="A bucket of Google Cloud Storage.")


class ApiDestination(Model):
    """An HTTP API that takes rows as JSON."""

    type: Literal["api"] = Field(default="api", description="An HTTP API; rows are posted as JSON.")
    endpoint: Endpoint = Field(description="URL that takes the rows, http or https, without credentials.")
    api_key: SecretReference | None = Field(default=None, description="Sent as bearer token; a reference such as ${env:CRM_API_KEY}.")
    batch_size: Count = Field(default=1000, description="Rows a request.")
    error_handling: ErrorHandling = Field(
        default="stop", description="Rows that the API refuses: stop, or continue and make dead letters of them."
    )

    @property
    def connection_name(self) -> str | None:
        """An endpoint stands in the definition: no connection."""
        return None


class KafkaDestination(Model):
    """A Kafka topic."""

    type: Literal["kafka"] = Field(default="kafka", description="A Kafka topic.")
    topic: Text = Field(description="Topic to write.")
    connection: ConnectionName = Field(default="kafka", description="Name of the brokers among the connections.")
    key: tuple[Text, ...] = Field(
        default=(), description="Columns that make the message's key: one as its text, several as a JSON object; default: no key."
    )
    headers: dict[Text, Text] = Field(default={}, description="Headers of each message, and the column that each is taken from.")

    @property
    def connection_name(self) -> str:
        """Name to look up among the connections."""
        return self.connection


class NoDestination(Model):
    """Rows are counted and not kept."""

    type: Literal["none"] = Field(default="none", description="Rows are counted and not kept, as a check of rules wants it.")

    mode: ClassVar[str] = "insert"
    table: ClassVar[str] = "nowhere"
    error_handling: ClassVar[str] = "stop"
    allow_empty: ClassVar[bool] = True
    connection_name: ClassVar[str | None] = None
    replaces_table: ClassVar[bool] = False


Destination = Annotated[
    DatabaseDestination
    | WarehouseDestination
    | FileDestination
    | S3Destination
    | GcsDestination
    | ApiDestination
    | KafkaDestination
    | NoDestination,
    OneOf(
        DatabaseDestination,
        WarehouseDestination,
        FileDestination,
        S3Destination,
        GcsDestination,
        ApiDestination,
        KafkaDestination,
        NoDestination,
    ),
]
