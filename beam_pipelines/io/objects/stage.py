"""Staging in a bucket: objects in their final format under a prefix of their own, which a commit copies to their final names.

An upload that is not finished is no object, so what is there is whole. The prefix begins with a dot, and its names end in `.staged`: no
reader of data takes them for data.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.columnar import dead
from beam_pipelines.errors import FatalError
from beam_pipelines.io.files.stage import RowStager, RowStaging
from beam_pipelines.io.files.writing.form import PARQUET, Form
from beam_pipelines.io.files.writing.parquet import ParquetWriter
from beam_pipelines.io.files.writing.sink import copied
from beam_pipelines.io.objects.store import Store, Stored, Upload
from beam_pipelines.io.staging_files import readable
from beam_pipelines.runs.facts import Staged

__all__ = ["BucketStaging", "key_of"]


def key_of(path: PurePath) -> str:
    """The key of an object whose place is written as an absolute path: `/out/a.parquet` is `out/a.parquet`."""
    return path.as_posix().lstrip("/")


class BucketStaging(RowStaging):
    """The staging objects of a target.

    Args:
        store: The bucket.
        folder: What their keys begin with, as an absolute path.
        form: How rows are written.
    """

    def __init__(self, store: Store, folder: Path, form: Form) -> None:
        super().__init__(folder, form)
        self.store = store

    def key(self, name: str) -> str:
        """Where the finished object is."""
        return key_of(self.path(name))

    def stager(self, name: str, schema: pa.Schema, order: int) -> RowStager:
        return _BucketStager(self, name, schema, order, PARQUET if schema is dead.SCHEMA else self.form)

    def rows(self, name: str, schema: pa.Schema, order: int) -> RowStager:
        return _BucketStager(self, name, schema, order, self.form)

    def names(self) -> list[str]:
        prefix = f"{key_of(self.folder)}/"
        keys = [file.key for file in self.store.list(prefix)] + list(self.store.unfinished(prefix))
        return sorted({key.removeprefix(prefix).split(".")[0] for key in keys})

    def drop(self, names: Sequence[str]) -> None:
        if not names:
            return
        prefix, keys = f"{key_of(self.folder)}/", set(map(self.key, names))
        for file in [file for file in self.store.list(prefix) if file.key in keys]:
            self.store.discard(file)
        for key in keys.intersection(self.store.unfinished(prefix)):
            self.store.sweep(key)

    def read(self, staged: Staged) -> Iterator[pa.RecordBatch]:
        with readable(staged), self.stored(staged).open() as opened, pq.ParquetFile(opened, pre_buffer=False) as file:
            yield from file.iter_batches()

    def count(self, staged: Staged) -> int:
        file = self.stored(staged)
        if self.form.format != "parquet":
            self._whole(staged, file.size)
            return staged.rows
        with readable(staged), file.open() as opened:
            rows = int(pq.read_metadata(opened).num_rows)
        if rows != staged.rows:
            raise FatalError(f"expected {staged.rows} rows in the staging object {staged.name}, found {rows}", code="staging-lost")
        return rows

    def confirm(self, parts: Sequence[Staged]) -> None:
        there = {file.key: file.size for file in self.store.list(f"{key_of(self.folder)}/")} if parts else {}
        for part in parts:
            self._whole(part, there.get(self.key(part.name)))

    def _whole(self, staged: Staged, found: int | None) -> None:
        if found != staged.bytes:
            got = "there is none" if found is None else f"found {found}"
            raise FatalError(f"expected {staged.bytes} bytes in the staging object {staged.name}, {got}", code="staging-lost")

    def stored(self, staged: Staged) -> Stored:
        found = self.store.look(self.key(staged.name))
        if found is None:
            raise FatalError(f"expected the staging object {staged.name} with {staged.rows} rows, there is none", code="staging-lost")
        return found


class _BucketStager(RowStager):
    """Writes one staging object."""

    _home: BucketStaging
    _upload: Upload

    def _open(self) -> pa.NativeFile:
        self._upload = self._home.store.begin(self._home.key(self._name))
        return pa.PythonFile(self._upload, mode="w")

    def finish(self) -> Staged:
        with self._failing():
            self._writer.close()
            size = self._upload.finish().size
        return Staged(self._name, self._rows, size, self._order)

    def append(self, staged: Staged) -> None:
        # Writers take it from a file: it is one of the few objects that are joined into one, and memory is not to hold it.
        with tempfile.NamedTemporaryFile() as here:
            with readable(staged), self._home.stored(staged).open() as opened:
                copied(opened, here)
            here.flush()
            with readable(staged):
                self._writer.append(here.name)
        self._rows += staged.rows

    def abort(self) -> None:
        if isinstance(self._writer, ParquetWriter):
            self._writer.drop()
        with contextlib.suppress(Exception):
            self._writer.close()
        self._upload.abort()
