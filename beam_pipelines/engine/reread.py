"""Whether what an output writes would be read as the source of the next run, as far as names tell it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["reads_file", "reads_table"]

_WRITTEN = "000000000000-00000"  # as files of a folder are named: by a run and a number


def reads_table(source: Any, table: str, output: Any, load: str) -> bool:
    """Return whether a source reads the table that an output writes.

    Args:
        source: Model of the source.
        table: One that it reads.
        output: Model of the output.
        load: Its table.
    """
    if "file" in (source.type, output.type) or getattr(source, "connection_name", None) != output.connection_name:
        return False
    return _plain(table) == _plain(load)


def _plain(table: str) -> str:
    return table.lower().removeprefix("main.").removeprefix("public.")


def reads_file(source: Any, output: Any, load: str, folder: Path | None) -> bool:
    """Return whether a source reads files that an output writes.

    Args:
        source: Model of the source.
        output: Model of the output.
        load: Its path, or bucket and prefix.
        folder: The definition's.
    """
    if (source.type, output.type) != ("file", "file") or source.bucket != output.bucket:
        return False
    from beam_pipelines.io.files.place import matcher

    suffix = f".{output.format or 'parquet'}"
    if source.bucket is not None:
        key = load.partition("/")[2]
        key = key if Path(key).suffix else f"{key}{_WRITTEN}{suffix}"
        return key.startswith(source.prefix) and matcher(source.pattern or "**").fullmatch(key[len(source.prefix) :]) is not None
    read, written = (_normal(folder, path) for path in (source.path, load))
    if not written.suffix or written.is_dir():
        written = written / f"{_WRITTEN}{suffix}"
    if read.is_dir():
        return written.parent.resolve() == read.resolve() and (source.format or "parquet") == (output.format or "parquet")
    return read == written or matcher(str(read)).fullmatch(str(written)) is not None


def _normal(folder: Path | None, path: str) -> Path:
    return Path(os.path.normpath((folder or Path.cwd()).absolute() / Path(path).expanduser()))
