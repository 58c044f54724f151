"""Where a step of rules writes what it found: rejected rows and violations, each to a place of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.one_of import OneOf
from beam_pipelines.spec.source import Compression, FileFormat, file_location
from beam_pipelines.spec.values import ConnectionName, Count, Text

__all__ = ["EXAMPLES", "Examples", "FileOutput", "Output", "TableOutput", "WarehouseOutput"]

EXAMPLES = 5  # violations of each rule that a record shows, where nothing else is said
_MODE = "insert: add those of each run; replace: keep those of the last run alone."


def _refused(raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    """Yield the mistake of an output that is to be merged by key, as a destination may be."""
    if raw.get("mode") == "upsert":
        message = "expected 'insert' or 'replace', got 'upsert': there are no keys, for a row may violate several rules, in every run"
        yield mistake(message, "mode", hint="insert adds those of each run, replace keeps those of the last run alone")


class _Table(Model):
    connection: ConnectionName = Field(description="Name of the target among the connections.")
    table: Text = Field(description="Table, with its schema if wanted; `{table}` stands for the source's when it has several.")
    mode: Literal["insert", "replace"] = Field(default="insert", description=_MODE)
    batch_size: Count = Field(default=1000, description="Rows a statement, where the target takes statements.")
    ledger_schema: Text | None = Field(
        default=None, description="Schema of the ledger tables (PostgreSQL, DuckDB), as that of a destination."
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """There are no keys."""
        yield from _refused(raw)

    @property
    def connection_name(self) -> str:
        """Name to look up among the connections."""
        return self.connection

    @property
    def place(self) -> str:
        """Where it is, in one text."""
        return self.table


class TableOutput(_Table):
    """A table of a database."""

    type: Literal["database"] = Field(default="database", description="A table of a database.")


class WarehouseOutput(_Table):
    """A table of a warehouse."""

    type: Literal["data-warehouse"] = Field(default="data-warehouse", description="A table of a data warehouse.")


class FileOutput(Model):
    """Files that appear whole or not at all."""

    type: Literal["file"] = Field(default="file", description="Files on disk or in a bucket.")
    path: Text | None = Field(default=None, description="File or folder, relative to the definition.")
    bucket: ConnectionName | None = Field(default=None, description="Bucket, looked up by its name among the connections.")
    prefix: str = Field(default="", description="What the names of the files begin with.")
    format: FileFormat | None = Field(default=None, description="Default: by the path's name.")
    compression: Compression | None = Field(default=None, description="Default: the format's own (snappy for Parquet).")
    mode: Literal["insert", "replace"] = Field(default="insert", description=_MODE)

    ledger_schema: ClassVar[None] = None
    shard_size: ClassVar[None] = None

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Path or bucket, and no keys."""
        yield from file_location(raw)
        yield from _refused(raw)

    @property
    def connection_name(self) -> str | None:
        """Name to look up among the connections: the bucket's."""
        return self.bucket

    @property
    def place(self) -> str:
        """Where it is, in one text."""
        return self.path if self.path is not None else f"{self.bucket}/{self.prefix}"


Output = Annotated[TableOutput | WarehouseOutput | FileOutput, OneOf(TableOutput, WarehouseOutput, FileOutput)]


Examples = Annotated[int, Field(strict=True, ge=0, le=100)]  # they are kept in the ledger and in the record
