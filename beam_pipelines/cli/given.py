"""Where rows come from, as a word of the command line says it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beam_pipelines.spec import DatabaseSource, FileSource

__all__ = ["INPUT", "source_of"]

INPUT = "FILE|CONNECTION:TABLE"


def source_of(text: str) -> DatabaseSource | FileSource:
    """Return the source that a text names: a connection and a table, else a file."""
    from beam_pipelines.spec import DatabaseSource, FileSource

    connection, colon, table = text.partition(":")
    if connection and colon and table and not Path(text).exists():
        return DatabaseSource(connection=connection, table=table)
    return FileSource(path=str(Path(text).absolute()))
