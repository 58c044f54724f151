"""Writes CSV as RFC 4180 has it: a header, fields in quotes where they must be, lines that end in a line feed.

Null is an empty field, empty text is two quotes. Numbers are plain digits, instants ISO 8601 (UTC with its offset), bytes base64, lists,
structs and maps JSON. In a file of one column null is two quotes too, for an empty line is no row to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.convert import decoded, family
from beam_pipelines.columnar.json_text import json_texts
from beam_pipelines.columnar.plain import iso_texts, plain
from beam_pipelines.columnar.text_data import data_of
from beam_pipelines.io.files.writing.sink import compressed, copied, decompressed

__all__ = ["CsvWriter"]

_TEXT = pa.string()
_NOTHING, _QUOTE, _END, _EMPTY = (pa.scalar(text, _TEXT) for text in ("", '"', "\n", '""'))
# Arrow writes a decimal below this with an exponent (Java's rule: an adjusted exponent below -6).
_PLAIN_SCALE = 6


class CsvWriter:
    """Writes one file.

    Args:
        sink: Where to.
        schema: Of every batch.
        compression: `gzip`, `bz2`, `zstd`, or None.
        delimiter: One character of ASCII between fields.
    """

    def __init__(self, sink: Any, schema: pa.Schema, compression: str | None = None, delimiter: str = ",") -> None:
        self._compression, self._alone = compression, len(schema) == 1
        self._delimiter = pa.scalar(delimiter, _TEXT)
        # A mark of the byte order in front of a name would be taken for the file's.
        self._odd = f'["{delimiter}\\r\\n\ufeff]'
        header = self._lines([self._quoted(pa.array([name], _TEXT)) for name in schema.names])
        self._header = bytes(header)
        self._out = compressed(sink, compression)
        self._out.write(self._header)

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._out.write(self._lines([self._field(column) for column in batch.columns]))

    def append(self, path: str) -> None:
        with decompressed(path, self._compression) as source:
            copied(source, self._out, skip=len(self._header))

    def close(self) -> None:
        if self._compression:
            self._out.close()

    def _lines(self, fields: list[pa.Array]) -> pa.Buffer | bytes:
        parts: list[Any] = []
        for field in fields:
            parts += [field, self._delimiter]
        parts[-1] = _END
        if self._alone:
            parts[0] = pc.fill_null(parts[0], _EMPTY)
        joined = pc.binary_join_element_wise(*parts, _NOTHING, null_handling="replace", null_replacement="")
        return data_of(joined)

    def _field(self, column: pa.Array) -> pa.Array:
        values = decoded(column)
        what = family(values.type)
        written = _WRITTEN.get(what)
        if written is not None:
            return written(values)
        return self._quoted(_texts(values, what))

    def _quoted(self, texts: pa.Array) -> pa.Array:
        """Texts as fields: in quotes, where they are empty or hold what would end them."""
        odd = pc.or_(pc.match_substring_regex(texts, self._odd), pc.equal(pc.binary_length(texts), 0))
        if not pc.any(odd).as_py():
            return texts
        inner = pc.replace_substring(texts, '"', '""')
        return pc.if_else(odd, pc.binary_join_element_wise(_QUOTE, inner, _QUOTE, _NOTHING), texts)


def _texts(values: pa.Array, what: str) -> pa.Array:
    """What is no number and no instant, as text."""
    if what == "text" or (what == "json" and isinstance(values, pa.ExtensionArray)):
        return (values.storage if isinstance(values, pa.ExtensionArray) else values).cast(_TEXT)
    if what in ("list", "struct", "map"):
        return pc.if_else(values.is_valid(), json_texts(values), pa.scalar(None, _TEXT))
    found = plain(values)
    return pa.array([one if one is None or isinstance(one, str) else orjson.dumps(one).decode() for one in found], _TEXT)


def _numbers(values: pa.Array) -> pa.Array:
    return values.cast(_TEXT)


def _floats(values: pa.Array) -> pa.Array:
    """With a point or an exponent, so that they are seen to be no whole numbers."""
    texts = values.cast(_TEXT)
    if not pc.all(pc.fill_null(pc.is_finite(values), True)).as_py():
        rare = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        texts = pa.array([rare.get(text, text) for text in texts.to_pylist()], _TEXT)
    whole = pc.match_substring_regex(texts, "^-?[0-9]+$")
    if not pc.any(whole).as_py():
        return texts
    return pc.if_else(whole, pc.binary_join_element_wise(texts, pa.scalar(".0", _TEXT), _NOTHING), texts)


def _decimals(values: pa.Array) -> pa.Array:
    return values.cast(_TEXT) if 0 <= values.type.scale <= _PLAIN_SCALE else pa.array(plain(values), _TEXT)


_WRITTEN: dict[str, Callable[[pa.Array], pa.Array]] = {
    "int": _numbers,
    "bool": _numbers,
    "float": _floats,
    "decimal": _decimals,
    "date": iso_texts,
    "timestamp": iso_texts,
}
