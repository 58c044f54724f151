"""Staging as files beside the target: workers write attempt-named files, and Commit alone touches what they are for.

A file counts once its manifest names it, and a manifest is yielded only after the file was synced and renamed from its `.part` name, and
the name synced too. What is common to all formats is here, with the format of databases that one process at a time may open: Arrow IPC.
"""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_pipelines.errors import FatalError
from beam_pipelines.runs.facts import Staged

__all__ = ["FileStager", "FilesOfStaging", "StagedFileWriter", "StagingFolder", "batches", "readable", "sync"]


class FilesOfStaging:
    """The folder of a target's staging files.

    Args:
        folder: Made when the first file is written, removed with the last.
    """

    suffix: str  # of a file that is whole, with its dot

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the finished file is."""
        return self.folder / f"{name}{self.suffix}"

    def part(self, name: str) -> Path:
        """Where it is while it is written."""
        return self.folder / f"{name}.part"

    def names(self) -> list[str]:
        """Names of all staging objects, unfinished ones included."""
        with contextlib.suppress(FileNotFoundError):
            return sorted({entry.name.split(".")[0] for entry in self.folder.iterdir() if entry.name.endswith((self.suffix, ".part"))})
        return []

    def drop(self, names: Sequence[str]) -> None:
        for name in names:
            for path in (self.path(name), self.part(name)):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class StagedFileWriter(ABC):
    """Writes one staging file.

    Args:
        home: Its folder.
        name: Staging name.
        schema: Of every batch.
        order: Sort key of the object among those of its load.
    """

    def __init__(self, home: FilesOfStaging, name: str, schema: pa.Schema, order: int) -> None:
        self._home, self._name, self._schema, self._order = home, name, schema, order
        self._rows = 0
        self._sink: Any = None
        self._writer: Any = None
        with self._failing():
            self._sink = self._open()
            self._writer = self._begun(self._sink)

    @abstractmethod
    def _begun(self, sink: pa.NativeFile) -> Any:
        """The format's writer into the file."""

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""

    def _open(self) -> pa.NativeFile:
        for last in (False, True):
            self._home.folder.mkdir(parents=True, exist_ok=True)
            try:
                return pa.OSFile(str(self._home.part(self._name)), "wb")
            except FileNotFoundError:
                # Another run may have removed the empty folder in between.
                if last:
                    raise
        raise AssertionError("one of the two tries returns or raises")

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as failed:
            self.abort()
            mend = "make the folder writable" if failed.errno in (errno.EROFS, errno.EACCES, errno.EPERM) else "free space"
            raise FatalError(
                f"staging into {self._home.folder} failed after {self._rows} rows: {failed.strerror or failed};"
                f" nothing of this run counts, {mend} and run again",
                code="stage-failed",
            ) from failed

    def finish(self) -> Staged:
        with self._failing():
            self._writer.close()
            self._sink.close()
            part, final = self._home.part(self._name), self._home.path(self._name)
            sync(part)
            os.replace(part, final)
            sync(self._home.folder)
            size = final.stat().st_size
        return Staged(self._name, self._rows, size, self._order)

    def abort(self) -> None:
        for opened in (self._writer, self._sink):
            with contextlib.suppress(Exception):
                opened.close()
        with contextlib.suppress(OSError):
            self._home.part(self._name).unlink()


class StagingFolder(FilesOfStaging):
    """Staging files of Arrow IPC."""

    suffix = ".arrow"

    def stager(self, name: str, schema: pa.Schema, order: int) -> FileStager:
        return FileStager(self, name, schema, order)

    def read(self, staged: Staged) -> Iterator[pa.RecordBatch]:
        """Rows of a closed staging object, in order; memory holds one batch.

        Raises:
            FatalError: The file is gone or broken (`staging-lost`).
        """
        return batches(staged, self.path(staged.name))

    def count(self, staged: Staged) -> int:
        """Rows in the file, from its footer and batch headers: mapped, so that no value is read.

        Raises:
            FatalError: The file is gone or broken (`staging-lost`).
        """
        return sum(batch.num_rows for batch in batches(staged, self.path(staged.name), pa.memory_map))


class FileStager(StagedFileWriter):
    """Writes one staging file of Arrow IPC."""

    def _begun(self, sink: pa.NativeFile) -> Any:
        return pa.ipc.new_file(sink, self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        with self._failing():
            self._writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=self._schema))
            self._rows += batch.num_rows


def batches(staged: Staged, path: Path, opened: Callable[[str], pa.NativeFile] = pa.OSFile) -> Iterator[pa.RecordBatch]:
    """Rows of a finished file of Arrow IPC, in order; memory holds one batch.

    Raises:
        FatalError: The file is gone or broken (`staging-lost`).
    """
    with readable(staged), opened(str(path)) as source, pa.ipc.open_file(source) as reader:
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


@contextlib.contextmanager
def readable(staged: Staged) -> Iterator[None]:
    """Make what goes wrong with reading a staging file the error of one that is lost.

    Raises:
        FatalError: The file is gone or broken (`staging-lost`).
    """
    try:
        yield
    except (OSError, pa.ArrowInvalid) as lost:
        raise FatalError(
            f"expected the staging file {staged.name} with {staged.rows} rows, but it cannot be read: {lost}", code="staging-lost"
        ) from lost


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
