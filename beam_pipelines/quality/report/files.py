"""Reports as files: what kind of one a name asks for, whether it can be written, and how it is."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from beam_pipelines.errors import SpecError

if TYPE_CHECKING:
    from beam_pipelines.quality.report.made import Report

__all__ = ["KINDS", "check", "clear", "write"]

KINDS = {".html": "a page for people", ".json": "values for programs", ".xml": "JUnit's form for a CI"}


def check(paths: Sequence[str]) -> None:
    """Refuse, before anything is done, what cannot become a report.

    Raises:
        SpecError: A name says no known kind, its folder is not there, or may not be written to.
    """
    for path in map(Path, paths):
        if path.suffix.lower() not in KINDS:
            known = ", ".join(f"{suffix} ({what})" for suffix, what in KINDS.items())
            raise SpecError(f"expected a report whose name ends in {known}, got {str(path)!r}", code="option-invalid")
        if path.is_dir():
            raise SpecError(f"expected the name of a file for the report, got the folder {str(path)!r}", code="option-invalid")
        folder = path.absolute().parent
        if not folder.is_dir():
            raise SpecError(f"expected a folder for the report {str(path)!r}, but {str(folder)!r} is not there", code="option-invalid")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise SpecError(f"the report {str(path)!r} cannot be written: no files can be made in {str(folder)!r}", code="option-invalid")


def clear(paths: Sequence[str]) -> None:
    """Remove reports of earlier runs: that of a run which does not come to its report is none, not theirs.

    Raises:
        SpecError: One cannot be removed.
    """
    for path in map(Path, paths):
        try:
            if path.is_file():
                path.resolve().unlink(missing_ok=True)  # the file behind a link, not the link
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SpecError(f"the report {str(path)!r} of an earlier run cannot be removed: {reason}", code="option-invalid") from error


def write(path: str | Path, report: Report) -> None:
    """Write a report as the suffix of a path says: whoever opens it finds the whole of it, or what was there before.

    Raises:
        SpecError: As `check`.
        OSError: It cannot be written.
    """
    check([str(path)])
    _replace(Path(path), _FORMS[Path(path).suffix.lower()](report))


def _json(report: Report) -> bytes:
    # A lone surrogate, which UTF-8 has not, becomes the escape that JSON has for it.
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _html(report: Report) -> bytes:
    from beam_pipelines.quality.report.html import page

    return page(report).encode()


def _xml(report: Report) -> bytes:
    from beam_pipelines.quality.report.junit import xml

    return xml(report)


_FORMS = {".html": _html, ".json": _json, ".xml": _xml}


def _replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another one in a single step; what is no regular file, such as a pipe, is written to."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            path.write_bytes(content)
            return
    path = path.resolve()  # the file behind a link, not the link
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
