"""Staging as Arrow IPC files beside the target, for databases that one process at a time may open.

Workers write attempt-named files without touching the database; Commit alone opens it. A file counts once its manifest names it, and a
manifest is yielded only after the file was synced and renamed from its `.part` name.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from beam_pipelines.errors import FatalError
from beam_pipelines.runs.facts import Staged

__all__ = ["FileStager", "StagingFolder", "staging_failed", "sync"]


class StagingFolder:
    """The folder of a target's staging files.

    Args:
        folder: Made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.arrow"

    def stager(self, name: str, schema: pa.Schema, order: int) -> FileStager:
        return FileStager(self, name, schema, order)

    def names(self) -> list[str]:
        """Names of all staging objects, unfinished ones included."""
        if not self.folder.is_dir():
            return []
        return sorted({entry.name.split(".")[0] for entry in self.folder.iterdir() if entry.name.endswith((".arrow", ".part"))})

    def read(self, staged: Staged) -> Iterator[pa.RecordBatch]:
        """Rows of a closed staging object, in order; memory holds one batch.

        Raises:
            FatalError: The file is gone or broken (`staging-lost`).
        """
        return self._batches(staged, pa.OSFile)

    def _batches(self, staged: Staged, opened: Callable[[str], pa.NativeFile]) -> Iterator[pa.RecordBatch]:
        try:
            with opened(str(self.path(staged.name))) as source, pa.ipc.open_file(source) as reader:
                for index in range(reader.num_record_batches):
                    yield reader.get_batch(index)
        except (OSError, pa.ArrowInvalid) as lost:
            raise FatalError(
                f"expected the staging file {staged.name} with {staged.rows} rows, but it cannot be read: {lost}", code="staging-lost"
            ) from lost

    def count(self, staged: Staged) -> int:
        """Rows in the file, from its footer and batch headers: mapped, so that no value is read.

        Raises:
            FatalError: The file is gone or broken (`staging-lost`).
        """
        return sum(batch.num_rows for batch in self._batches(staged, pa.memory_map))

    def drop(self, names: Sequence[str]) -> None:
        for name in names:
            for path in (self.path(name), self.folder / f"{name}.part"):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class FileStager:
    """Writes one staging file.

    Args:
        home: Its folder.
        name: Staging name.
        schema: Of every batch.
        order: Sort key of the object among those of its load.
    """

    def __init__(self, home: StagingFolder, name: str, schema: pa.Schema, order: int) -> None:
        self._home, self._name, self._schema, self._order = home, name, schema, order
        self._part = home.folder / f"{name}.part"
        self._rows = 0
        with self._failing():
            home.folder.mkdir(parents=True, exist_ok=True)
            self._sink = pa.OSFile(str(self._part), "wb")
            self._writer = pa.ipc.new_file(self._sink, schema)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as failed:
            self.abort()
            raise staging_failed(self._home.folder, self._rows, failed) from failed

    def write(self, batch: pa.RecordBatch) -> None:
        with self._failing():
            self._writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=self._schema))
            self._rows += batch.num_rows

    def finish(self) -> Staged:
        with self._failing():
            self._writer.close()
            self._sink.close()
            sync(self._part)
            final = self._home.path(self._name)
            os.replace(self._part, final)
            size = final.stat().st_size
        return Staged(self._name, self._rows, size, self._order)

    def abort(self) -> None:
        for name in ("_writer", "_sink"):
            with contextlib.suppress(Exception):
                getattr(self, name).close()
        with contextlib.suppress(OSError):
            self._part.unlink()


def staging_failed(folder: Path, rows: int, failed: OSError) -> FatalError:
    """The error of a stager that could not write: disk full, folder gone."""
    return FatalError(
        f"staging into {folder} failed after {rows} rows: {failed.strerror or failed};"
        " nothing of this run counts, free space and run again",
        code="stage-failed",
    )


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
