"""What sources of files have in common, whatever their format: files are found by a place, read whole, and keep no cursor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import CursorSpec, Fixed
from beam_pipelines.io.files.format import SUFFIXES
from beam_pipelines.io.files.place import Place
from beam_pipelines.io.objects.store import Stored
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range

__all__ = ["WholeFiles"]


class WholeFiles(ABC):
    """Files of one format, of this machine or of a bucket. A subclass sets `place`."""

    cursor: CursorSpec | None = None
    format: ClassVar[str]
    place: Place

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place.name!r})"

    def identity(self, table: str) -> str:
        return f"{self.format} {table}"

    def tables(self) -> list[str]:
        self.stored()
        return [self.place.name]

    def stored(self) -> list[Stored]:
        """The files that are there now."""
        return self.place.files(SUFFIXES[self.format])

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:  # noqa: ARG002
        if cursor is not None:
            raise PlanError("files are read whole: remove the cursor", code="cursor-invalid")
        return Fixed(None, False, tuple(self.ranges(table, parts)), by="no cursor: every file is read")

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
