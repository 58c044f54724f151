"""Staging for files: they are written in their final format beside their final place, so that a commit only has to move them.

They lie in `.bp_staging/` and end in `.part` while they are written, in `.staged` once they are whole and synced: names that no reader of a
folder of data takes for data. Dead letters are staged as Arrow IPC, whatever the rows are: they are read once, and go. (As Parquet,
45,000 of them take 30 ms more to write and to read, at the end of a run, where nothing else is left to do.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.columnar import dead
from beam_pipelines.errors import DataError, FatalError
from beam_pipelines.io.files.writing.form import PARQUET, Form
from beam_pipelines.io.files.writing.parquet import ParquetWriter
from beam_pipelines.io.files.writing.refused import refused_rows
from beam_pipelines.io.files.writing.sink import RowWriter
from beam_pipelines.io.staging_files import FilesOfStaging, FileStager, StagedFileWriter, batches, readable
from beam_pipelines.runs.facts import Staged

__all__ = ["FOLDER", "RowStager", "RowStaging"]

FOLDER = ".bp_staging"
_ARROW = b"ARROW1"  # what a file of Arrow IPC begins with


class RowStaging(FilesOfStaging):
    """The staging files of a target.

    Args:
        folder: Made when the first file is written.
        form: How rows are written.
    """

    suffix = ".staged"

    def __init__(self, folder: Path, form: Form = PARQUET) -> None:
        super().__init__(folder)
        self.form = form

    def stager(self, name: str, schema: pa.Schema, order: int) -> RowStager | FileStager:
        # Told by the schema itself: rows may have one that is equal.
        return FileStager(self, name, schema, order) if schema is dead.SCHEMA else self.rows(name, schema, order)

    def rows(self, name: str, schema: pa.Schema, order: int) -> RowStager:
        """Begin a file of rows."""
        return RowStager(self, name, schema, order, self.form)

    def read(self, staged: Staged) -> Iterator[pa.RecordBatch]:
        """Rows of a finished file of dead letters, or of Parquet, in order; memory holds little more than a batch.

        Raises:
            FatalError: The file is gone or broken (`staging-lost`).
        """
        path = self.path(staged.name)
        with readable(staged), path.open("rb") as file:
            arrow = file.read(len(_ARROW)) == _ARROW
        if arrow:
            yield from batches(staged, path)
            return
        with readable(staged), pq.ParquetFile(path, pre_buffer=False) as rows:
            yield from rows.iter_batches()

    def count(self, staged: Staged) -> int:
        """Rows in a finished file of rows: from its footer; where its format has none, those of the manifest, if it has as many bytes.

        Raises:
            FatalError: The file is gone or broken, or holds another number of rows than its manifest says (`staging-lost`).
        """
        with readable(staged):
            if self.form.format == "parquet":
                rows = int(pq.read_metadata(self.path(staged.name)).num_rows)
            else:
                rows, size = staged.rows, self.path(staged.name).stat().st_size
                if size != staged.bytes:
                    raise FatalError(f"expected {staged.bytes} bytes in the staging file {staged.name}, found {size}", code="staging-lost")
        if rows != staged.rows:
            raise FatalError(f"expected {staged.rows} rows in the staging file {staged.name}, found {rows}", code="staging-lost")
        return rows

    def confirm(self, parts: Sequence[Staged]) -> None:
        """See that files are there which were counted a moment ago: another attempt may have moved them since.

        Raises:
            FatalError: One is not what it was (`staging-lost`).
        """
        for part in parts:
            with readable(part):
                size = self.path(part.name).stat().st_size
            if size != part.bytes:
                raise FatalError(f"expected {part.bytes} bytes in the staging file {part.name}, found {size}", code="staging-lost")


class RowStager(StagedFileWriter):
    """Writes one staging file.

    Args:
        home: Its folder.
        name: Staging name.
        schema: Of every batch.
        order: Sort key of the object among those of its load.
        form: How it is written.
    """

    def __init__(self, home: RowStaging, name: str, schema: pa.Schema, order: int, form: Form) -> None:
        self._form = form
        self._ours = schema.equals(dead.SCHEMA)
        super().__init__(home, name, schema, order)

    def _begun(self, sink: pa.NativeFile) -> RowWriter:
        return self._form.begin(sink, self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        rows, why = ((), "") if self._ours else refused_rows(batch, dates=self._form.dates_are_text)
        if rows:
            raise DataError(f"{self._form.shown} cannot hold the row: {why}", code="target-refused", details={"rows": rows})
        with self._failing():
            self._writer.write(batch)
        self._rows += batch.num_rows

    def full(self, most: int) -> bool:
        """Whether the file has about so many bytes by now: what a compressor still holds is not seen, what waits for its row group is."""
        with self._failing():
            waiting = self._writer.waiting(most) if isinstance(self._writer, ParquetWriter) else 0
            return int(self._sink.tell()) + waiting >= most

    def append(self, staged: Staged) -> None:
        """Add the rows of a finished file.

        Raises:
            FatalError: It is gone or broken (`staging-lost`), or its rows cannot be written (`stage-failed`).
        """
        path = self._home.path(staged.name)
        with readable(staged):
            path.stat()
            with self._failing():
                self._writer.append(str(path))
        self._rows += staged.rows

    def abort(self) -> None:
        if isinstance(self._writer, ParquetWriter):
            self._writer.drop()
        super().abort()
