"""Blocks of delimited text made into columns of text by Arrow; rows that are none are found by their bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pv

from beam_pipelines.errors import FatalError
from beam_pipelines.io.files.text.block import Block
from beam_pipelines.io.files.text.rows import Bad, Rows, is_text
from beam_pipelines.io.files.text.stream import unreadable
from beam_pipelines.io.objects.store import Stored

__all__ = ["Parser"]


@dataclass(frozen=True)
class Parser:
    """Makes blocks of one file into columns of text.

    Args:
        path: The file.
        names: Of its columns.
        delimiter: One character.
        quote: One character, or none.
        nulls: Texts that are null where they are not quoted.
        lines: No line break stands between quotes.
    """

    path: Stored
    names: tuple[str, ...]
    delimiter: str
    quote: str
    nulls: tuple[str, ...]
    lines: bool = False

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in self.names])

    def parse(self, block: Block) -> Rows:
        """Rows of a block; records with another number of fields, or with bytes that are no characters, are told apart."""
        if is_text(block.data):
            table, whole = self._read(block.data)
            count = block.breaks + (not block.data.endswith((b"\n", b"\r")))
            if whole and table.num_rows == count and not len(block.gaps[0]):
                # A record a line, for each has one at least.
                lines = pa.array(np.arange(block.line, block.line + count, dtype=np.int64))
                return Rows(table, lines, quoted=bool(len(block.quotes[0])))
            if whole:
                starts = block.starts()
                lines = block.lines_of(starts[:-1])[~_blank(np.frombuffer(block.data, np.uint8), starts)]
                return Rows(self._checked(table, len(lines), block.line), pa.array(lines))
        return self._careful(block)

    def _checked(self, table: pa.RecordBatch, count: int, line: int) -> pa.RecordBatch:
        if table.num_rows != count:
            message = f"{str(self.path)!r}: {count} rows from line {line} on were taken apart into {table.num_rows}"
            raise FatalError(message, code="internal")
        return table

    def _careful(self, block: Block) -> Rows:
        starts = block.starts()
        lines, fields = block.lines_of(starts[:-1]), block.fields(starts)
        data = np.frombuffer(block.data, np.uint8)
        blank = _blank(data, starts)
        broken = np.zeros(len(fields), dtype=bool)
        if not is_text(block.data):
            doubtful = np.unique(np.searchsorted(starts, np.flatnonzero(data >= 0x80), side="right") - 1)
            broken[[at for at in doubtful.tolist() if not is_text(block.data[starts[at] : starts[at + 1]])]] = True
        bad = ~blank & (broken | (fields != len(self.names)))
        good = ~blank & ~bad
        told = [self._bad(block, starts, at, int(lines[at]), int(fields[at]), bool(broken[at])) for at in np.flatnonzero(bad).tolist()]
        table, _ = self._read(_joined(block.data, starts, good))
        return Rows(self._checked(table, int(good.sum()), block.line), pa.array(lines[good]), told)

    def _bad(self, block: Block, starts: npt.NDArray[np.int64], at: int, line: int, fields: int, broken: bool) -> Bad:
        text = block.data[starts[at] : starts[at + 1]].rstrip(b"\r\n")
        if broken:
            return Bad(line, text, "expected text, got bytes that are no characters of the file's encoding")
        return Bad(line, text, f"expected {len(self.names)} fields, got {fields}")

    def _read(self, data: bytes) -> tuple[pa.RecordBatch, bool]:
        """The columns of a block, and whether all of its records have as many fields as there are columns."""
        whole = True

        def skip(_: Any) -> str:
            nonlocal whole
            whole = False
            return "skip"

        if not data:
            return pa.RecordBatch.from_pylist([], self.schema), True
        places = [str(place) for place in range(len(self.names))]
        # Arrow takes a mark of the byte order off the beginning, which is here within the file; an empty line before it costs nothing.
        data = b"\n" + data if data.startswith(b"\xef\xbb\xbf") else data
        # Nor does it see (pyarrow 25) that a last field is null that is empty behind one in quotes, where no line end follows.
        data = data if data.endswith((b"\n", b"\r")) else data + b"\n"
        try:
            table = pv.read_csv(
                pa.BufferReader(data),
                pv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=places),
                pv.ParseOptions(
                    delimiter=self.delimiter,
                    quote_char=self.quote or False,
                    newlines_in_values=bool(self.quote) and not self.lines,
                    invalid_row_handler=skip,
                ),
                pv.ConvertOptions(
                    check_utf8=False,
                    column_types=dict.fromkeys(places, pa.string()),
                    null_values=["", *self.nulls],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as bad:
            raise unreadable(self.path, bad) from bad
        columns = [column.combine_chunks() if column.num_chunks != 1 else column.chunk(0) for column in table.columns]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema), whole


def _blank(data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Records that are an end of line alone."""
    lengths, first = np.diff(starts), data[starts[:-1]]
    ends = (first == 10) | (first == 13)
    found: npt.NDArray[np.bool_] = ends & ((lengths == 1) | ((lengths == 2) & (data[np.minimum(starts[:-1] + 1, len(data) - 1)] == 10)))
    return found


def _joined(data: bytes, starts: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]) -> bytes:
    """Some of the records of a block."""
    if kept.all():
        return data
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
    return b"".join(data[starts[low] : starts[high]] for low, high in edges.reshape(-1, 2))
