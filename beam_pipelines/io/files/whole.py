"""What sources of files have in common, whatever their format: files are found by a place, read whole, and keep no cursor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, TypeVar

import pyarrow as pa

from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connector import CursorSpec, Fixed
from beam_pipelines.io.files.format import SUFFIXES
from beam_pipelines.io.files.place import Place
from beam_pipelines.io.objects.local import LocalStore
from beam_pipelines.io.objects.store import Stored
from beam_pipelines.io.prefetch import prefetch
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range

__all__ = ["WholeFiles", "blameless"]

_AT_ONCE = 8  # files of a bucket that are looked at together: each waits for the network
_SMALL = 1 << 20  # bytes of a file that gives a batch or two
T = TypeVar("T")


class WholeFiles(ABC):
    """Files of one format, of this machine or of a bucket. A subclass sets `place`.

    A service whose unit is the file says which of them are read (`choose`). It may go on without those that cannot be: they are noted, and
    get ranges that say so.
    """

    cursor: CursorSpec | None = None
    format: ClassVar[str]
    place: Place
    known: pa.Schema | None = None  # columns as an earlier run planned them, whose types stand
    _chosen: list[Stored] | None = None
    _broken: dict[Stored, str] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place.name!r})"

    def identity(self, table: str) -> str:
        return f"{self.format} {table}"

    def tables(self) -> list[str]:
        if self._chosen is None:
            self.stored()
        return [self.place.name]

    def choose(self, files: Sequence[Stored], *, tolerant: bool, known: pa.Schema | None) -> None:
        """Read these files alone.

        Args:
            files: Of those that are there.
            tolerant: Go on without those that cannot be read.
            known: Columns as an earlier run planned them: their types are not inferred again.
        """
        self._chosen = list(files)
        self._broken = {} if tolerant else None
        self.known = known

    def choose_first(self, count: int | None = None) -> int:
        """Read the first so many files by name alone (None: all), and none that cannot be read; gives how many files there are."""
        there = self.stored()
        self.choose(there[:count], tolerant=True, known=None)
        return len(there)

    @property
    def broken(self) -> int:
        """Chosen files that cannot be read, as far as they were looked at."""
        return len(self._broken or ())

    def stored(self) -> list[Stored]:
        """The files that are there now, or that were chosen."""
        if self._chosen is None:
            return self.place.files(SUFFIXES[self.format])
        return [file for file in self._chosen if file not in (self._broken or {})]

    def looked(self, look: Callable[[Stored], T]) -> list[T]:
        """Look into each file, those of a bucket together; one that cannot be read is noted where the service goes on without it."""
        files = self.stored()
        if isinstance(self.place.store, LocalStore) or len(files) < 2:
            found = [self._tried(look, file) for file in files]
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                found = list(pool.map(lambda file: self._tried(look, file), files))
        return [one[0] for one in found if one is not None]

    def _tried(self, look: Callable[[Stored], T], file: Stored) -> tuple[T] | None:
        try:
            return (look(file),)
        except FatalError as error:
            if self._broken is None or error.code != "read-failed":
                raise
            self._broken[file] = error.message
            return None

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:  # noqa: ARG002
        if cursor is not None:
            raise PlanError("files are read whole: remove the cursor", code="cursor-invalid")
        return Fixed(None, False, tuple(self._all(table, parts)), by="no cursor: every file is read")

    def _all(self, table: str, parts: int) -> Iterable[Range]:
        """Ranges, and behind them one for each file that is known not to be readable."""
        index = -1
        for part in self.ranges(table, parts):
            index = part.index
            yield part
        for place, (file, why) in enumerate((self._broken or {}).items(), index + 1):
            yield Range("", table, place, {**file.bounds, "billed": 0, "label": self.place.label(file), "broken": why}, 1, 0)

    @staticmethod
    def ahead(path: Stored, items: Callable[[], Iterator[T]]) -> Iterator[T]:
        """What is read of a file, made in a thread of its own where the file is worth one."""
        return items() if path.size <= _SMALL else prefetch(items)

    @abstractmethod
    def ranges(self, table: str, parts: int) -> Iterable[Range]:
        """What is read, in about so many parts where a file can be parted."""

    def one_each(self, table: str, files: Iterable[tuple[Stored, int]]) -> Iterable[Range]:
        """A range a file, with the rows that it has, about."""
        for index, (file, rows) in enumerate(files):
            bounds = {**file.bounds, "billed": file.size, "label": self.place.label(file)}
            yield Range("", table, index, bounds, rows, file.size)

    def close(self) -> None:  # noqa: B027
        """Nothing is held between calls."""


def blameless(error: FatalError) -> bool:
    """Whether a file that cannot be read is another by now, or gone: what a later run finds may be whole."""
    return bool(error.details.get("passing"))
