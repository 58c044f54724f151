"""A file of text as a stream of UTF-8, a piece at a time: decompressed, and decoded from whatever it is written in."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Callable

import pyarrow as pa

from beam_pipelines.errors import FatalError
from beam_pipelines.io.files.stretch import Lines
from beam_pipelines.io.objects.store import Stored, hindered

__all__ = ["TextStream", "unreadable"]

_MARK = codecs.BOM_UTF8
_OTHER_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_LOST = "beam_pipelines.lost"


def _lost(error: UnicodeError) -> tuple[str, int]:
    """Put a character in the place of bytes that are none, which becomes a byte that UTF-8 never has: so the row is found by it."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(_LOST, _lost)


class TextStream:
    """One file, read once from its beginning; or a stretch of it.

    A mark of the byte order is left out. Bytes that are no characters of the encoding come as bytes that are no UTF-8, so that who reads
    on can tell their rows.

    Args:
        file: The file.
        compression: `gzip`, `bz2`, `zstd` or None.
        encoding: A name that Python's codecs know.
        lines: Makes of the opened file the lines that are read of it, where these are not all.

    Raises:
        FatalError: It cannot be opened.
    """

    def __init__(
        self, file: Stored, compression: str | None, encoding: str = "utf-8", lines: Callable[[pa.NativeFile], Lines] | None = None
    ) -> None:
        self._path = file
        name = codecs.lookup(encoding).name
        self._decoder = None if name in ("utf-8", "utf-8-sig") else codecs.getincrementaldecoder(name)(_LOST)
        self._begun = self._ended = False
        self.lines: Lines | None = None
        try:
            with contextlib.ExitStack() as opened:
                self._file = opened.enter_context(file.open())
                self._stream = opened.enter_context(pa.CompressedInputStream(self._file, compression)) if compression else self._file
                if lines is not None:
                    self._stream = self.lines = lines(self._file)
                    self._begun = bool(self.lines.part)  # a mark is at the beginning of the file
                self._opened = opened.pop_all()
        except (pa.ArrowException, OSError) as bad:
            raise unreadable(file, bad) from bad

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
        self._opened.close()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _without_mark(self, text: bytes) -> bytes:
        other = next((name for mark, name in _OTHER_MARKS.items() if text.startswith(mark)), None)
        if other is not None and self._decoder is None:
            raise FatalError(f"{str(self._path)!r} begins with the mark of {other}: say encoding: {other}", code="read-failed")
        return text.removeprefix(_MARK)


def unreadable(path: Stored, error: Exception, what: str = "it may be damaged or cut off") -> FatalError:
    """What to raise of a file that cannot be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    details = hindered(error)
    what = "" if details else f", {what}"
    return FatalError(f"{str(path)!r} cannot be read{what}: {reason}", code="read-failed", details=details)
