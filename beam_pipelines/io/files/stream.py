"""A file of text as a stream of UTF-8, a piece at a time: decompressed, and decoded from whatever it is written in."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_pipelines.errors import FatalError

__all__ = ["TextStream", "stamp", "unchanged", "unreadable"]

_MARK = codecs.BOM_UTF8
_OTHER_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_LOST = "beam_pipelines.lost"


def _lost(error: UnicodeError) -> tuple[str, int]:
    """Put a character in the place of bytes that are none, which becomes a byte that UTF-8 never has: so the row is found by it."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(_LOST, _lost)


class TextStream:
    """One file, read once from its beginning.

    A mark of the byte order is left out. Bytes that are no characters of the encoding come as bytes that are no UTF-8, so that who reads
    on can tell their rows.

    Args:
        path: The file.
        compression: `gzip`, `bz2`, `zstd` or None.
        encoding: A name that Python's codecs know.

    Raises:
        FatalError: It cannot be opened.
    """

    def __init__(self, path: Path, compression: str | None, encoding: str = "utf-8") -> None:
        self._path = path
        name = codecs.lookup(encoding).name
        self._decoder = None if name in ("utf-8", "utf-8-sig") else codecs.getincrementaldecoder(name)(_LOST)
        self._begun = self._ended = False
        try:
            self._file = pa.OSFile(str(path))
            self._stream = pa.CompressedInputStream(self._file, compression) if compression else self._file
        except (pa.ArrowException, OSError) as bad:
            raise unreadable(path, bad) from bad

    def read(self, size: int) -> bytes:
        """The next bytes of text: about `size` of them, none at the end.

        Raises:
            FatalError: The file is damaged or cut off.
        """
        while not self._ended:
            try:
                raw = self._stream.read(size)
            except (pa.ArrowException, OSError) as bad:
                raise unreadable(self._path, bad) from bad
            self._ended = not raw
            text = raw if self._decoder is None else self._decoder.decode(raw, self._ended).encode("utf-8", "surrogateescape")
            if text and not self._begun:
                text = self._without_mark(text)
                self._begun = True
            if text:
                return bytes(text)
        return b""

    @property
    def taken(self) -> int:
        """Bytes of the file that were read so far, as they are stored."""
        return int(self._file.tell())

    def close(self) -> None:
        self._stream.close()
        self._file.close()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _without_mark(self, text: bytes) -> bytes:
        other = next((name for mark, name in _OTHER_MARKS.items() if text.startswith(mark)), None)
        if other is not None and self._decoder is None:
            raise FatalError(f"{str(self._path)!r} begins with the mark of {other}: say encoding: {other}", code="read-failed")
        return text.removeprefix(_MARK)


def stamp(path: Path) -> dict[str, int]:
    """What tells a file from what it was: size in bytes, and when it was written.

    Raises:
        FatalError: It is gone.
    """
    try:
        stat = path.stat()
    except OSError as gone:
        raise unreadable(path, gone) from gone
    return {"size": stat.st_size, "mtime": stat.st_mtime_ns}


def unchanged(path: Path, bounds: dict[str, Any]) -> None:
    """Stop when a file is not what it was when the run was prepared.

    Args:
        path: The file.
        bounds: Of its range: `size` in bytes and `mtime` in nanoseconds.

    Raises:
        FatalError: It is gone, or another.
    """
    try:
        stat = path.stat()
    except OSError as gone:
        raise FatalError(
            f"{str(path)!r} is gone since the run was prepared ({gone.strerror}): start a new run", code="read-failed"
        ) from gone
    if (stat.st_size, stat.st_mtime_ns) != (bounds["size"], bounds["mtime"]):
        raise FatalError(f"{str(path)!r} changed since the run was prepared: start a new run", code="read-failed")


def unreadable(path: Path, error: Exception, what: str = "it may be damaged or cut off") -> FatalError:
    """What to raise of a file that cannot be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return FatalError(f"{str(path)!r} cannot be read, {what}: {reason}", code="read-failed")
