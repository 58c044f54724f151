"""Files of this machine."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_pipelines.errors import FatalError
from beam_pipelines.io.objects.store import Store, Stored, Upload, changed, gone

__all__ = ["LocalStore", "may"]

_PART = ".part"  # what the name of a file ends with that is being written


def may(path: str | Path, what: int) -> bool:
    """Whether this process may do something (`os.R_OK` and its like) with a file or a folder that is there."""
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


class LocalStore(Store):
    """A folder of this machine; keys are absolute paths, whose beginning may be given relative to the folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    def shown(self, key: str) -> str:
        return key

    def list(self, prefix: str, deep: bool = True) -> Iterator[Stored]:
        within = str(self.root / prefix) + ("/" if prefix.endswith("/") or not prefix else "")
        found: list[str] = []
        for folder, _, names in os.walk(self.root):
            paths = (os.path.join(folder, name) for name in names if not name.endswith(_PART))
            found += [path for path in paths if (prefix == "" or path.startswith(within)) and (deep or "/" not in path[len(within) :])]
        for path in sorted(found):
            if (file := self.look(path)) is not None:
                yield file

    def look(self, key: str) -> Stored | None:
        path = self.root / key
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as bad:
            raise FatalError(f"{str(path)!r} cannot be read: {bad.strerror}", code="read-failed", details={"passing": True}) from bad
        if not path.is_file():
            return None
        return Stored(self, str(path), stat.st_size, str(stat.st_mtime_ns), stat.st_mtime)

    def open(self, file: Stored) -> AbstractContextManager[pa.NativeFile]:
        self.unchanged(file)
        opened: AbstractContextManager[pa.NativeFile] = pa.OSFile(file.key)
        return opened

    def unchanged(self, file: Stored) -> None:
        try:
            stat = os.stat(file.key)
        except OSError as away:
            gone(file, away.strerror or "")
        if (stat.st_size, str(stat.st_mtime_ns)) != (file.size, file.tag):
            changed(file)

    def begin(self, key: str) -> Upload:
        return _LocalUpload(self, self.root / key)

    def copy(self, file: Stored, key: str) -> None:
        upload = self.begin(key)
        try:
            with file.open() as source:
                while piece := source.read(1 << 20):
                    upload.write(piece)
            upload.finish()
        except BaseException:
            upload.abort()
            raise

    def remove(self, file: Stored) -> bool:
        now = self.look(file.key)
        if now is None or (now.size, now.tag) != (file.size, file.tag):
            return False
        Path(file.key).unlink(missing_ok=True)
        return True

    def unfinished(self, prefix: str) -> Sequence[str]:
        # Their names are the file's, a random one and the ending.
        return [str(part.with_name(part.name[: -len(_PART) - 33])) for part in self._parts(prefix)]

    def sweep(self, prefix: str) -> None:
        for part in self._parts(prefix):
            part.unlink(missing_ok=True)

    def _parts(self, prefix: str) -> Sequence[Path]:
        within = str(self.root / prefix)
        return sorted(path for path in self.root.rglob(f"*{_PART}") if str(path).startswith(within))

    def check(self) -> str:
        if not self.root.is_dir():
            raise FatalError(f"expected a folder at {str(self.root)!r}, there is none", code="connection-invalid")
        return f"folder {self.root}"


class _LocalUpload(Upload):
    def __init__(self, store: LocalStore, path: Path) -> None:
        self._store, self._path = store, path
        self._part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_PART}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def finish(self) -> Stored:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self._path)
        handle = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)  # the name, too
        finally:
            os.close(handle)
        found = self._store.look(str(self._path))
        assert found is not None  # it was written a moment ago
        return found

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
            self._part.unlink(missing_ok=True)
