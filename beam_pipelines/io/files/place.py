"""Where the files of a `file` source or destination are: `path`, or a folder given as bucket with `prefix` and `pattern`."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from beam_pipelines.errors import PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.files.stage import FOLDER
from beam_pipelines.io.objects.local import LocalStore
from beam_pipelines.io.objects.place import store_of
from beam_pipelines.io.objects.store import Store, Stored

__all__ = ["Place", "matcher"]


@dataclass(frozen=True)
class Place:
    """Files that a definition means.

    Args:
        name: As the definition says it; what messages and the fingerprint show.
        store: The folder that relative names start from, or the bucket.
        pattern: Names within it: `*` and `?` within one folder, `**` over folders, `[...]` a choice.
        prefix: What names must begin with, literally.
        bucket: The store was given as bucket, and names begin at its root.
    """

    name: str
    store: Store
    pattern: str
    prefix: str = ""
    bucket: bool = False

    @classmethod
    def of(cls, model: Any, connection: Connection | None, folder: Path | None) -> Place:
        """Read it from a model with `path`, or `bucket`, `prefix` and `pattern`.

        Raises:
            SpecError: The connection of the bucket cannot be understood, or its client is not installed.
        """
        if connection is None:
            return cls(model.path, LocalStore((folder or Path.cwd()).absolute()), model.path)
        pattern = model.pattern or "**"
        return cls(f"{connection.name}/{model.prefix}{pattern}", store_of(connection), pattern, model.prefix, bucket=True)

    def files(self, suffixes: tuple[str, ...]) -> list[Stored]:
        """The files that are there now, sorted, each once; those whose name begins with `.` or `_` only when it is named in full.

        Args:
            suffixes: What files of a folder must end with, where the definition names the folder alone.

        Raises:
            PlanError: There is none, or one whose name is no text: origins and records could not tell it.
            FatalError, TransientError: The store refuses or does not answer.
        """
        found, unnamed = self.listed(suffixes)
        if unnamed:
            raise PlanError(f"expected a file name in UTF-8, got '{unnamed[0].key}': rename it", code="option-invalid")
        return found

    def listed(self, suffixes: tuple[str, ...]) -> tuple[list[Stored], list[Stored]]:
        """The same for who goes on without a file whose name is no text: those come apart, under names that nothing can be opened by.

        Raises:
            PlanError: There is none.
            FatalError, TransientError: The store refuses or does not answer.
        """
        if not isinstance(self.store, LocalStore):
            found = [file for file in self.store.list(self.prefix + _literal(self.pattern)) if self._matches(file.key)]
            found = [file for file in found if file.size or not file.key.endswith("/")]  # consoles make folders so
        elif self.prefix or self.pattern == "**":
            found = _looked(self.store, self._by_prefix(self.store.root))
        else:
            found = _looked(self.store, self._by_pattern(self.store.root, suffixes))
        if not found:
            where = str(self.store.root) if isinstance(self.store, LocalStore) else self.store.shown("")
            raise PlanError(f"expected files that match {self.name!r}, found none in {where!r}", code="table-missing")
        unnamed = [file for file in found if not _is_text(file.key)]
        if not unnamed:
            return found, []
        good = [file for file in found if _is_text(file.key)]
        taken, told = {file.key for file in good}, []
        for file in unnamed:
            key = os.fsencode(file.key).decode("utf-8", "backslashreplace")
            while key in taken:  # a file may be called as the other is shown
                key += "\\"
            taken.add(key)
            told.append(replace(file, key=key))
        return good, told

    def label(self, file: Stored) -> str:
        """A file's name for origins and messages: its key, or within the folder where it is there."""
        if not isinstance(self.store, LocalStore):
            return file.key
        path, root = Path(file.key), self.store.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def relative(self, file: Stored) -> str:
        """A file's name below the folder or prefix that the definition gives: what is before the first wildcard of a path."""
        if self.bucket:
            label = self.label(file)
            return label[len(self.prefix) :].lstrip("/") or label.rpartition("/")[2]
        assert isinstance(self.store, LocalStore)
        whole = self.store.root / Path(self.pattern).expanduser()
        base = whole if whole.is_dir() else Path(_literal(str(whole)).rpartition("/")[0])
        path = Path(file.key)
        return path.relative_to(base).as_posix() if path.is_relative_to(base) and path != base else path.name

    def reads(self, name: str, suffixes: tuple[str, ...]) -> bool:
        """Whether a file would be among those that are read, if it were there.

        Args:
            name: As `Store.shown` has it: a path, or a URL.
            suffixes: As for `files`.
        """
        if not isinstance(self.store, LocalStore):
            start = self.store.shown("")
            return name.startswith(start) and self._matches(name.removeprefix(start))
        path = Path(name)
        if self.bucket:
            return path.is_relative_to(self.store.root) and self._matches(path.relative_to(self.store.root).as_posix())
        whole = self.store.root / Path(self.pattern).expanduser()
        if whole.is_dir():
            return path.parent == whole and name.lower().endswith(suffixes) and _shown(path)
        return _shown(path) and matcher(os.path.normpath(whole)).fullmatch(name) is not None

    def at(self, bounds: dict[str, Any]) -> Stored:
        """The file of a range."""
        return self.store.at(bounds)

    def _matches(self, key: str) -> bool:
        # What a target of a run has there that is not committed is nobody's yet.
        staged = f"/{FOLDER}/" in f"/{key}"
        fits = not staged and key.startswith(self.prefix) and matcher(self.pattern).fullmatch(key[len(self.prefix) :]) is not None
        return fits and _shown(Path(key))

    def _by_pattern(self, root: Path, suffixes: tuple[str, ...]) -> list[Path]:
        whole = root / Path(self.pattern).expanduser()
        if whole.is_file():
            return [whole]
        if whole.is_dir():
            return sorted(file for file in whole.iterdir() if file.name.lower().endswith(suffixes) and _shown(file))
        return _each_once(Path(name) for name in glob.glob(str(whole), recursive=True) if os.path.isfile(name) and _shown(Path(name)))

    def _by_prefix(self, root: Path) -> list[Path]:
        found = []
        start = (self.prefix + _literal(self.pattern)).rpartition("/")[0]
        for folder, _, names in os.walk(root / start):
            for name in names:
                file = Path(folder, name)
                if self._matches(file.relative_to(root).as_posix()):
                    found.append(file)
        return _each_once(found)


def _each_once(paths: Iterable[Path]) -> list[Path]:
    """Files sorted, each once: a link to a folder above itself gives each of its files many names, of which the shortest is taken."""
    real: dict[Path, str] = {}
    found: dict[str, Path] = {}
    for path in sorted(set(paths), key=lambda path: (len(path.parts), path)):
        folder = real.setdefault(path.parent, os.path.realpath(path.parent))
        found.setdefault(os.path.join(folder, path.name), path)
    return sorted(found.values())


def _looked(store: LocalStore, paths: Iterable[Path]) -> list[Stored]:
    return [file for path in paths if (file := store.look(str(path))) is not None]


def _literal(pattern: str) -> str:
    """What a pattern begins with literally: the store need not list what begins otherwise."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that Python took for surrogates
        return False
    return True


def _shown(file: Path) -> bool:
    return not file.name.startswith((".", "_"))


@lru_cache(maxsize=64)
def matcher(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression over a whole name: `*` and `?` stay within a folder, `**/` and `**` do not."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])", pattern)
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(special.get(part) or _choice(part) or re.escape(part) for part in parts))


def _choice(part: str) -> str:
    if len(part) < 3 or not (part.startswith("[") and part.endswith("]")):
        return ""
    inside = part[1:-1].replace("\\", "\\\\")
    return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
