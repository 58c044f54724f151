"""What sources of files have in common, whatever their format: files are found by a place, read whole, and keep no cursor."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, TypeVar

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.errors import BeamPipelinesError, FatalError, PlanError
from beam_pipelines.io.connector import CursorSpec, Fixed
from beam_pipelines.io.files.format import SUFFIXES
from beam_pipelines.io.files.place import Listing, Place
from beam_pipelines.io.files.stretch import Stretch
from beam_pipelines.io.files.united import misfits
from beam_pipelines.io.objects.local import LocalStore
from beam_pipelines.io.objects.store import Stored
from beam_pipelines.io.prefetch import prefetch
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range

__all__ = ["UNNAMED", "WholeFiles", "blameless", "of_one_file"]

UNNAMED = "expected a file name in UTF-8, and its bytes are none (they are shown as \\x and two digits): rename it"

_AT_ONCE = 8  # files of a bucket that are looked at together: each waits for the network
_OF_THE_FILE = ("type-unsupported", "option-invalid", "column-missing")  # what a plan may find wrong with one file, and not with others
_SMALL = 1 << 20  # bytes of a file that gives a batch or two
T = TypeVar("T")


class _SaysColumns(Protocol):
    """A file that says itself what columns it has."""

    @property
    def path(self) -> Stored: ...

    @property
    def schema(self) -> pa.Schema: ...


S = TypeVar("S", bound=_SaysColumns)


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
    _passing: set[Stored]  # of the broken ones those that are not to blame (`blameless`)

    @cached_property
    def counted(self) -> dict[int, int]:
        """Lines or rows of ranges that are parts of a file and were read to their ends, by the index of the range."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place.name!r})"

    def identity(self, table: str) -> str:
        return f"{self.format} {table}"

    def tables(self) -> list[str]:
        # Whether there are any is seen when they are described: a service whose unit is the file may be done with all of them.
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
        self._passing = set[Stored]()

    def leave_out(self, file: Stored, why: str, *, passing: bool = False) -> None:
        """Go on without a file that was chosen; `why` is told of it, and `passing`: the next run tries again."""
        assert self._broken is not None
        self._broken[file] = why
        if passing:
            self._passing.add(file)

    def choose_first(self, count: int | None = None) -> int:
        """Read the first so many files by name alone (None: all), and none that cannot be read; gives how many files there are."""
        there = self.present()
        self.choose(there.files[:count], tolerant=True, known=None)
        for file in there.unnamed:
            self.leave_out(file, UNNAMED)
        return len(there.files) + len(there.unnamed)

    def present(self) -> Listing:
        """What is there now."""
        return self.place.listed(SUFFIXES[self.format])

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
        seen = [one[0] for one in found if isinstance(one, tuple)]
        refused = next((one for one in found if isinstance(one, PlanError)), None)
        if refused is not None and not seen and self.known is None:
            raise refused  # no file was ever read as the definition says: it may be what is wrong
        return seen

    def _tried(self, look: Callable[[Stored], T], file: Stored) -> tuple[T] | PlanError | None:
        try:
            found = look(file)
            if self._broken is not None:
                self._refuse_reserved(file, found)
            return (found,)
        except (FatalError, PlanError) as error:
            mine = of_one_file(error) if isinstance(error, FatalError) else error.code in _OF_THE_FILE
            if self._broken is None or not mine:
                raise
            self.leave_out(file, error.message, passing=blameless(error))
            return error if isinstance(error, PlanError) else None

    def _refuse_reserved(self, file: Stored, found: Any) -> None:
        names = found.names if hasattr(found, "names") else found.schema.names
        taken = [name for name in names if name.startswith(origin.PREFIX)]
        if taken:
            shown = ", ".join(map(repr, taken))
            message = (
                f"{self.place.label(file)!r} has columns that begin with {origin.PREFIX!r}, which the service keeps for itself: {shown}"
            )
            raise PlanError(f"{message}; rename them", code="type-unsupported")

    def leave_out_having(self, columns: Set[str], why: str) -> list[str]:
        """Go on without the files that have one of some columns; those without any are left, or nothing is done.

        Returns:
            What the files that have one are called, as far as they can be read.
        """
        having = [file for file, names in self.named() if not columns.isdisjoint(names)]
        if self._broken is not None and (len(having) < len(self.stored()) or self.known is not None):
            for file in having:
                self.leave_out(file, why)
        return [self.place.label(file) for file in having]

    @abstractmethod
    def named(self) -> list[tuple[Stored, Sequence[str]]]:
        """The files that are read, each with the names of its columns, as far as a look at its beginning tells them."""

    def fitting(self, files: Sequence[S]) -> list[S]:
        """Those of the files whose columns go together, and with those of earlier runs; others are noted as `looked` does."""
        if self._broken is None:
            return list(files)
        wrong = misfits([(file.path, file.schema) for file in files], self.known)
        self._broken.update(wrong)
        return [file for file in files if file.path not in wrong]

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:  # noqa: ARG002
        if cursor is not None:
            raise PlanError("files are read whole: remove the cursor", code="cursor-invalid")
        return Fixed(None, False, tuple(self._all(table, parts)), by="no cursor: every file is read")

    def _all(self, table: str, parts: int) -> Iterable[Range]:
        """Ranges, and behind them one for each file that is known not to be readable."""
        index = -1
        for index, part in enumerate(self.ranges(table, parts)):
            yield replace(part, index=index)
        for place, (file, why) in enumerate((self._broken or {}).items(), index + 1):
            told = {"label": self.place.label(file), "broken": why, "passing": file in self._passing}
            yield Range("", table, place, {**file.bounds, "billed": 0, **told}, 1, 0)

    @staticmethod
    def ahead(path: Stored, items: Callable[[], Iterator[T]]) -> Iterator[T]:
        """What is read of a file, made in a thread of its own where the file is worth one."""
        return items() if path.size <= _SMALL else prefetch(items)

    @abstractmethod
    def ranges(self, table: str, parts: int) -> Iterable[Range]:
        """What is read, in about so many parts where a file can be parted."""

    def stretches(self, table: str, file: Stored, rows: int, edges: Sequence[int]) -> Iterable[Range]:
        """The ranges of a file, numbered from 0, which together bill its bytes once.

        Args:
            table: What is read.
            file: The file.
            rows: That it has, about.
            edges: Where it is cut, its beginning and its end included.
        """
        label = self.place.label(file)
        whole = len(edges) == 2
        for part, (start, end) in enumerate(itertools.pairwise(edges)):
            billed = end - start
            bounds = {**file.bounds, "billed": billed, "label": label, **({} if whole else Stretch(part, start, end).bounds)}
            yield Range("", table, part, bounds, rows if whole else rows * billed // file.size, billed)

    def close(self) -> None:  # noqa: B027
        """Nothing is held between calls."""


def of_one_file(error: FatalError) -> bool:
    """Whether a file cannot be read that others may stand beside: it is damaged, or kept back; a store that refuses the key refuses all."""
    return error.code == "read-failed" or (error.code == "authentication-failed" and blameless(error))


def blameless(error: BeamPipelinesError) -> bool:
    """Whether a file that cannot be read is another by now, or gone, or kept back: what a later run finds may be whole."""
    return bool(error.details.get("passing"))
