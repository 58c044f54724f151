"""What every store of files can do, and one file of it as it was when it was listed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NoReturn

import pyarrow as pa

from beam_pipelines.errors import FatalError

__all__ = ["Store", "Stored", "Upload", "changed", "gone"]


@dataclass(frozen=True)
class Stored:
    """One version of one file: whoever opens it reads that version, or fails.

    Args:
        store: It is there.
        key: Its name in the store; of this machine the absolute path.
        size: Bytes.
        tag: What tells it from another file of its name and size (etag, generation, moment of the last write).
        modified: When it was written, seconds since 1970.
    """

    store: Store = field(compare=False)  # one that was opened anew is the same
    key: str
    size: int
    tag: str
    modified: float = 0.0

    def __str__(self) -> str:
        return self.store.shown(self.key)

    @property
    def name(self) -> str:
        """The last part of its key."""
        return PurePosixPath(self.key).name

    @property
    def suffixes(self) -> list[str]:
        """What follows the dots of its name, with them."""
        return PurePosixPath(self.key).suffixes

    @property
    def bounds(self) -> dict[str, Any]:
        """It, for the bounds of a range; `Store.at` gives it back."""
        return {"file": self.key, "size": self.size, "tag": self.tag}

    def open(self) -> AbstractContextManager[pa.NativeFile]:
        """A seekable file of its bytes.

        Raises:
            FatalError: It is gone, another has its name by now, or it cannot be read. So does each read.
            TransientError: The store does not answer.
        """
        return self.store.open(self)

    def unchanged(self) -> None:
        """Stop when another has its name by now. Of stores that read a version by its tag it is nothing to ask.

        Raises:
            FatalError: It is gone, or another.
        """
        self.store.unchanged(self)


class Upload(ABC):
    """A file that is being written: nobody sees it before `finish`, and then all of it."""

    @abstractmethod
    def write(self, data: Any) -> int:
        """Add bytes."""

    @abstractmethod
    def finish(self) -> Stored:
        """Make it appear, in the place of what has its name."""

    @abstractmethod
    def abort(self) -> None:
        """Leave nothing behind; never fails."""


class Store(ABC):
    """A folder of this machine, or a bucket."""

    @abstractmethod
    def shown(self, key: str) -> str:
        """A file's name for messages, such as `s3://exports/a.csv`."""

    @abstractmethod
    def list(self, prefix: str, deep: bool = True) -> Iterator[Stored]:
        """The files whose keys begin with a text, sorted by key.

        Args:
            prefix: The text.
            deep: Also those that have a `/` behind it.

        Raises:
            FatalError: Nobody may (`authentication-failed`), or there is no such bucket (`read-failed`).
            TransientError: The store does not answer.
        """

    @abstractmethod
    def look(self, key: str) -> Stored | None:
        """A file as it is now; None: there is none. Raises as `list` does."""

    @abstractmethod
    def open(self, file: Stored) -> AbstractContextManager[pa.NativeFile]:
        """See `Stored.open`."""

    @abstractmethod
    def unchanged(self, file: Stored) -> None:
        """See `Stored.unchanged`."""

    @abstractmethod
    def begin(self, key: str) -> Upload:
        """Write a file, in bounded memory."""

    def prove(self, key: str) -> None:  # noqa: B027 - of a folder it can be seen
        """Find out whether a file of that name may be written, and leave nothing that anybody sees.

        Raises:
            FatalError: Nobody may, or there is no such bucket.
            TransientError: The store does not answer.
        """

    @abstractmethod
    def copy(self, file: Stored, key: str) -> None:
        """Have a file under another name as well, in the place of what has that name: whole at once.

        Raises:
            FatalError: It is gone or another (`read-failed`).
            TransientError: The store does not answer.
        """

    @abstractmethod
    def remove(self, file: Stored) -> bool:
        """Remove a version of a file; False: there was none, or another had its name and stays."""

    def discard(self, file: Stored) -> None:
        """Remove a file whose name no other ever has: where that is one request less than `remove`."""
        self.remove(file)

    @abstractmethod
    def unfinished(self, prefix: str) -> Sequence[str]:
        """Keys that begin with a text to which an upload was begun and neither finished nor given up, as far as the store tells."""

    @abstractmethod
    def sweep(self, prefix: str) -> None:
        """Give up the uploads of `unfinished`."""

    @abstractmethod
    def check(self) -> str:
        """Connect, and say what answered."""

    def written(self, key: str) -> Stored:
        """A file that was written just now.

        Raises:
            FatalError: It is gone (`stage-failed`).
        """
        found = self.look(key)
        if found is None:
            raise FatalError(f"{self.shown(key)!r} was written, and is gone", code="stage-failed")
        return found

    def at(self, bounds: dict[str, Any]) -> Stored:
        """The file of a range."""
        return Stored(self, bounds["file"], bounds["size"], bounds["tag"])


def hindered(error: Exception) -> dict[str, bool]:
    """What to say of a file that cannot be read: whether the system hinders it, and not what is in it; then it may be read later."""
    return {"passing": True} if getattr(error, "errno", None) is not None else {}


def gone(file: Stored, why: str = "") -> NoReturn:
    """Stop at a file that is not there any more."""
    reason = f" ({why})" if why else ""
    message = f"{str(file)!r} is gone since the run was prepared{reason}: start a new run"
    raise FatalError(message, code="read-failed", details={"passing": True})


def changed(file: Stored) -> NoReturn:
    """Stop at a file that is another by now."""
    raise FatalError(f"{str(file)!r} changed since the run was prepared: start a new run", code="read-failed", details={"passing": True})
