"""Where the files of a `file` source or destination are: `path`, or a folder given as bucket with `prefix` and `pattern`."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.files.stage import FOLDER
from beam_pipelines.io.objects.local import LocalStore, may
from beam_pipelines.io.objects.place import store_of
from beam_pipelines.io.objects.store import Store, Stored

__all__ = ["Listing", "Place", "matcher"]
T = TypeVar("T")
_LOG = logging.getLogger(__name__)


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
        listing = self.listed(suffixes)
        if listing.error is not None:
            raise listing.error  # rows of a file that is there would be missing, and nobody told
        for folder in listing.closed:
            _LOG.warning("the folder %r cannot be read, and what is in there is not known", folder)
        if listing.unnamed:
            raise PlanError(f"expected a file name in UTF-8, got '{listing.unnamed[0].key}': rename it", code="option-invalid")
        return listing.files

    def listed(self, suffixes: tuple[str, ...]) -> Listing:
        """The same for who goes on without files whose name is no text, and tells what is left out.

        Raises:
            PlanError: There is none.
            FatalError, TransientError: The store refuses or does not answer.
        """
        found, aside = [], _Aside()
        if not isinstance(self.store, LocalStore):
            every = [file for file in self.store.list(self.prefix + _literal(self.pattern)) if self._fits(file.key)]
            every = [file for file in every if file.size or not file.key.endswith("/")]  # consoles make folders so
            found = aside.shown(every, lambda file: Path(file.key))
        elif self.prefix or self.pattern == "**":
            found = aside.looked(self.store, self._by_prefix(self.store.root, aside))
        else:
            found = aside.looked(self.store, self._by_pattern(self.store.root, suffixes, aside))
        if not found:
            where = str(self.store.root) if isinstance(self.store, LocalStore) else self.store.shown("")
            more = f" ({len(aside.closed)} folders in there cannot be read, such as {min(aside.closed)!r})" if aside.closed else ""
            raise PlanError(
                f"expected files that match {self.name!r}, found none in {where!r}{more}",
                code="table-missing",
                details={"hidden": aside.hidden, "closed": sorted(aside.closed)} if aside.hidden or aside.closed else None,
            )
        unnamed = [file for file in found if not _is_text(file.key)]
        if not unnamed:
            return Listing(found, [], aside.hidden, tuple(sorted(aside.closed)), aside.error)
        good = [file for file in found if _is_text(file.key)]
        taken, told = {file.key for file in good}, []
        for file in unnamed:
            key = os.fsencode(file.key).decode("utf-8", "backslashreplace")
            while key in taken:  # a file may be called as the other is shown
                key += "\\"
            taken.add(key)
            told.append(replace(file, key=key))
        return Listing(good, told, aside.hidden, tuple(sorted(aside.closed)), aside.error)

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
        return self._fits(key) and _shown(Path(key))

    def _fits(self, key: str) -> bool:
        # What a target of a run has there that is not committed is nobody's yet.
        staged = f"/{FOLDER}/" in f"/{key}"
        return not staged and key.startswith(self.prefix) and matcher(self.pattern).fullmatch(key[len(self.prefix) :]) is not None

    def _by_pattern(self, root: Path, suffixes: tuple[str, ...], aside: _Aside) -> list[Path]:
        whole = root / Path(self.pattern).expanduser()
        if os.path.isfile(whole):
            return [whole]
        if os.path.isdir(whole):
            return sorted(aside.shown([file for file in aside.within(whole) if file.name.lower().endswith(suffixes)], Path))
        aside.look_around(whole)
        return _each_once(Path(name) for name in glob.glob(str(whole), recursive=True) if os.path.isfile(name) and _shown(Path(name)))

    def _by_prefix(self, root: Path, aside: _Aside) -> list[Path]:
        found = []
        start = (self.prefix + _literal(self.pattern)).rpartition("/")[0]
        for folder, _, names in os.walk(root / start, onerror=aside.failed):
            for name in names:
                file = Path(folder, name)
                if self._fits(file.relative_to(root).as_posix()):
                    found.append(file)
        return _each_once(aside.shown(found, Path))


@dataclass(frozen=True)
class Listing:
    """What is at a place.

    Args:
        files: Sorted.
        unnamed: Files whose name is no text, under names that nothing can be opened by.
        hidden: Files that would be among them, if their name did not begin with `.` or `_`.
        closed: Folders that cannot be read, so that nobody knows what is in them, or what it is.
        error: Of the first file whose name is known and that cannot be looked at.
    """

    files: list[Stored]
    unnamed: list[Stored] = field(default_factory=list)
    hidden: int = 0
    closed: tuple[str, ...] = ()
    error: FatalError | None = None


class _Aside:
    """What is not listed."""

    def __init__(self) -> None:
        self.hidden = 0
        self.closed: set[str] = set()
        self.error: FatalError | None = None

    def failed(self, error: OSError) -> None:
        """Note a folder that cannot be read; one that is not there, or went, is none."""
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            self.closed.add(str(error.filename))

    def shown(self, found: Iterable[T], path: Callable[[T], Path]) -> list[T]:
        """Those whose names say that they are data; the others are counted."""
        every = list(found)
        kept = [one for one in every if _shown(path(one))]
        self.hidden += len(every) - len(kept)
        return kept

    def within(self, folder: Path) -> list[Path]:
        try:
            return [folder / name for name in os.listdir(folder)]
        except OSError as error:
            self.failed(error)
            return []

    def looked(self, store: LocalStore, paths: Iterable[Path]) -> list[Stored]:
        found = []
        for path in paths:
            try:
                file = store.look(str(path))
            except FatalError as error:  # its folder may be listed, and no more
                self.closed.add(str(path.parent))
                self.error = self.error or error
                continue
            if file is not None:
                found.append(file)
        return found

    def look_around(self, whole: Path) -> None:
        """Count what a glob passes over: it is silent about folders that it cannot read, and leaves out what begins with a dot.

        Args:
            whole: The pattern.
        """
        name, folders = matcher(whole.name), [whole if whole.name == "**" else whole.parent]
        while glob.has_magic(str(folders[-1])):
            folders.append(folders[-1].parent)
        for place, pattern in enumerate(folders):
            for folder in glob.glob(f"{glob.escape(str(pattern)) if pattern is folders[-1] else pattern}/", recursive=True):
                inside = self.within(Path(folder))
                if not may(folder, os.X_OK):
                    self.closed.add(str(Path(folder)))
                if not place:
                    self.hidden += sum(1 for file in inside if not _shown(file) and name.fullmatch(file.name) and os.path.isfile(file))


def _each_once(paths: Iterable[Path]) -> list[Path]:
    """Files sorted, each once: a link to a folder above itself gives each of its files many names, of which the shortest is taken."""
    real: dict[str, str] = {}
    found: dict[str, Path] = {}
    for path in sorted(set(paths), key=lambda path: (len(path.parts), path)):
        folder, name = os.path.split(path)
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        found.setdefault(os.path.join(real[folder], name), path)
    return sorted(found.values())


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
