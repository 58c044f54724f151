"""How a destination's files are written: format, compression, the endings of their names, and the types that they keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_pipelines.errors import PlanError
from beam_pipelines.io.files.format import SUFFIXES
from beam_pipelines.io.files.types import written
from beam_pipelines.io.files.writing.sink import RowWriter

__all__ = ["PARQUET", "Form", "form_of"]

_NAMES = {"parquet": "Parquet", "csv": "CSV", "jsonl": "JSON Lines", "json": "JSON", "avro": "Avro"}
_TEXT: dict[str | None, str] = {None: "", "none": "", "gzip": "gzip", "bz2": "bz2", "zstd": "zstd"}
# What each format makes of `compression`, in the words of the library that writes it.
_CODECS: dict[str, dict[str | None, str]] = {
    "parquet": {None: "snappy", "none": "none", "snappy": "snappy", "gzip": "gzip", "zstd": "zstd", "lz4": "lz4", "brotli": "brotli"},
    "csv": _TEXT,
    "json": _TEXT,
    "jsonl": _TEXT,
    "avro": {None: "deflate", "none": "null", "gzip": "deflate", "bz2": "bzip2", "zstd": "zstandard", "snappy": "snappy"},
}
_PACKED = {"gzip": ".gz", "bz2": ".bz2", "zstd": ".zst"}


@dataclass(frozen=True)
class Form:
    """How files are written.

    Args:
        format: Of the definition.
        codec: Compression, as the format's library names it; of text `""` for none.
        delimiter: Of CSV.
    """

    format: str
    codec: str
    delimiter: str = ","

    @property
    def shown(self) -> str:
        """The format, in messages."""
        return _NAMES[self.format]

    @property
    def ending(self) -> str:
        """What the names of files end with: `.csv.gz`."""
        inner = self.format in ("parquet", "avro")  # these say themselves how they are compressed
        return f".{self.format}" + ("" if inner else _PACKED.get(self.codec, ""))

    @property
    def dates_are_text(self) -> bool:
        """Days and instants are written as text; else as numbers."""
        return self.format not in ("parquet", "avro")

    def ends(self, name: str) -> bool:
        """Whether a name is that of a file of the format, whatever its compression."""
        low = name.lower()
        return low.endswith(SUFFIXES[self.format]) and low not in SUFFIXES[self.format]

    def stored(self, kind: pa.DataType, column: str) -> pa.DataType:
        """The type that values are cast to before they are written.

        Raises:
            PlanError: The format has nothing that keeps it.
        """
        if self.format == "avro":
            from beam_pipelines.io.files.avro.types import kept

            return kept(kind, column)
        return written(kind, column, self.shown)

    def begin(self, sink: Any, schema: pa.Schema) -> RowWriter:
        """Begin a file.

        Args:
            sink: Takes its bytes: a `pyarrow.NativeFile`, or a file object of Python.
            schema: Of every batch, of types that `stored` gave.
        """
        if self.format == "avro":
            from beam_pipelines.io.files.writing.avro import AvroWriter

            return AvroWriter(sink, schema, self.codec)
        if self.format == "csv":
            from beam_pipelines.io.files.writing.csv import CsvWriter

            return CsvWriter(sink, schema, self.codec or None, self.delimiter)
        if self.format in ("json", "jsonl"):
            from beam_pipelines.io.files.writing.json import JsonArrayWriter, JsonLinesWriter

            return (JsonLinesWriter if self.format == "jsonl" else JsonArrayWriter)(sink, schema, self.codec or None)
        from beam_pipelines.io.files.writing.parquet import ParquetWriter

        return ParquetWriter(sink, schema, self.codec)


PARQUET = Form("parquet", "snappy")


def form_of(given: str, compression: str | None, name: str = "") -> Form:
    """How files are written, by the keys of a definition.

    Args:
        given: `format`.
        compression: None: by the name, else the format's own.
        name: Of the one file that is written; empty: it gets one.

    Raises:
        PlanError: The format has no such compression, or the name says another.
    """
    known, shown = _CODECS[given], _NAMES[given]
    packed = next((kind for kind, ending in _PACKED.items() if name.lower().endswith(ending)), None)
    if compression not in known:
        raise PlanError(
            f"destination.compression: {shown} knows {', '.join(kind for kind in known if kind)}, not {compression!r}",
            code="option-invalid",
        )
    chosen = compression or packed
    form = Form(given, known[chosen], "\t" if ".tsv" in Path(name.lower()).suffixes[-2:] else ",")
    wanted = _PACKED.get(form.codec, "") if known is _TEXT else ""
    if name and (_PACKED[packed] if packed else "") != wanted:
        why = f"expected a name that ends in {wanted!r}" if wanted else f"expected a name without {_PACKED[str(packed)]!r}"
        raise PlanError(
            f"destination.compression: {why} for {chosen or 'no'} compression of {shown}, got {Path(name).name!r}: readers go by the name",
            code="option-invalid",
        )
    return form
