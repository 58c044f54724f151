"""The rows of one file, in chunks, and what there is to say of the file: a file that cannot be read to its end costs itself alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.size import gather
from beam_pipelines.errors import FatalError
from beam_pipelines.io.connector import Source, Unread
from beam_pipelines.io.files.whole import blameless
from beam_pipelines.runs.facts import FileFact
from beam_pipelines.runs.window import Range, Window

__all__ = ["FILE", "FileReader"]

FILE = "$file"  # what the dead letter of a file calls its name


class FileReader:
    """Reads one range of a file.

    Args:
        source: Opened.
        window: Of the load.
        part: The range.
        goes_on: A file that cannot be read becomes a dead letter; else what hinders it is raised.
        rows: Most rows of a batch.
    """

    def __init__(self, source: Source, window: Window, part: Range, *, goes_on: bool, rows: int) -> None:
        self._source, self._window, self._part, self._goes_on, self._most = source, window, part, goes_on, rows
        self._rows = 0
        self._seconds = 0.0
        self._error, self._passing = str(part.bounds.get("broken", "")), False

    @property
    def fact(self) -> FileFact:
        """What was read so far."""
        return FileFact(self._part.index, self._rows, self._seconds, self._error, self._passing)

    @property
    def unbilled(self) -> int:
        """Bytes that nobody pays for: those of a file that cannot be read."""
        return int(self._part.bounds.get("billed", 0)) if self._error else 0

    def __iter__(self) -> Iterator[pa.RecordBatch | Unread]:
        """Yield the rows in order, and of a file that fails one dead letter in the end.

        Raises:
            FatalError: The file cannot be read, and the service does not go on without it.
        """
        try:
            if not self._error:
                yield from self._timed(self._chunks())
        except FatalError as error:
            if not self._goes_on or error.code != "read-failed":
                raise
            self._error, self._passing = error.message, blameless(error)
        if self._error:
            yield self._letter()

    def _chunks(self) -> Iterator[pa.RecordBatch | Unread]:
        """As many rows a batch as are asked for, or as are in its room; what is no row comes in between."""
        aside: list[Unread] = []

        def rows() -> Iterator[pa.RecordBatch]:
            for batch in self._source.read(self._part, self._window, self._source.cursor):
                if isinstance(batch, Unread):
                    aside.append(batch)
                else:
                    yield batch

        for batch in gather(rows(), self._most):
            while aside:
                yield aside.pop(0)
            yield batch
        yield from aside

    def _timed(self, batches: Iterator[pa.RecordBatch | Unread]) -> Iterator[pa.RecordBatch | Unread]:
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches, None)
            finally:
                self._seconds += time.perf_counter() - began
            if batch is None:
                return
            self._rows += batch.batch.num_rows if isinstance(batch, Unread) else batch.num_rows
            yield batch

    def _letter(self) -> Unread:
        bounds = self._part.bounds
        told = pa.RecordBatch.from_pylist([{FILE: bounds["label"], "size": bounds["size"], "tag": str(bounds["tag"])}])
        label = str(bounds["label"])
        return Unread(origin.attach(told, label, first_row=0), ["file-unreadable"], [self._error])
