"""What a file's name says: how its rows are written, and how it is compressed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from beam_pipelines.errors import PlanError

if TYPE_CHECKING:
    from beam_pipelines.spec.source import FileSource

__all__ = ["SUFFIXES", "TEXT_KEYS", "compression_of", "format_of", "refuse_keys"]
# Keys of the definition that say how text is read.
TEXT_KEYS = ("columns", "sample_rows", "header", "delimiter", "quote", "quoted_newlines", "encoding", "null_values")
_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".avro": "avro",
}
_PACKED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
# What files of a format end with, where a definition names their folder alone.
SUFFIXES = {
    name: tuple(suffix + packed for suffix, kind in _FORMATS.items() if kind == name for packed in ("", *_PACKED))
    for name in ("csv", "json", "jsonl")
} | {"parquet": (".parquet", ".pq"), "avro": (".avro",)}


def format_of(name: str) -> str | None:
    """The format that a name or pattern stands for, None when it does not say: `in/*.csv.gz` is csv."""
    path = Path(name)
    return _FORMATS.get((Path(path.stem) if path.suffix.lower() in _PACKED else path).suffix.lower())


def compression_of(path: Path, given: str | None) -> str | None:
    """How a file is compressed, None: not at all.

    Args:
        path: The file.
        given: `compression` of the definition, None: the name says it.

    Raises:
        PlanError: It is not read.
    """
    if given is None:
        return _PACKED.get(path.suffix.lower())
    if given != "none" and given not in _PACKED.values():
        message = f"expected gzip, bz2, zstd or none, got {given!r}, which is not served"
        raise PlanError(message, code="not-served", details={"sourceKey": "compression"})
    return None if given == "none" else given


def refuse_keys(model: FileSource, keys: Sequence[str], shown: str) -> None:
    """Refuse keys that say nothing of a format.

    Raises:
        PlanError: One of them is given.
    """
    aliases = {name: str(field.alias or name) for name, field in type(model).model_fields.items()}
    given = [aliases[name] for name in keys if name in model.model_fields_set]
    if given:
        raise PlanError(f"{given[0]!r} says nothing of {shown} files; leave it out", code="option-invalid", details={"sourceKey": given[0]})
