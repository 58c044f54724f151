"""Logging of a command: to stderr, as text or JSON lines, each with the run it belongs to. No tracebacks unless asked for."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from beam_pipelines.cli import workers

__all__ = ["FORMATS", "LEVELS", "concern", "configure"]

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
_BEAM = "apache_beam"
_JOBS = "portable_runner"  # repeats what a job says of its failure
# Warnings of Beam that say nothing to anybody who runs a service: an optional client is absent, a folder of containers is.
_OF_ITSELF = ("apitools", "semi_persistent_directory")


class _Stderr(logging.Handler):
    """Writes to whatever `sys.stderr` is now: a live progress display puts itself in its place, and lines go above it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - a line that cannot be written must not end the run that it is about
            self.handleError(record)


class _Concern(logging.Filter):
    """What the lines are about, and which lines are worth it."""

    def __init__(self) -> None:
        super().__init__()
        self.run = self.service = ""
        self.debug = False

    def filter(self, record: logging.LogRecord) -> bool:
        workers.unwrap(record)
        record.run, record.service = self.run, self.service
        return self.debug or not _beam_noise(record)


def _beam_noise(record: logging.LogRecord) -> bool:
    """Whether Beam speaks of itself: below WARNING, of optional clients that are absent, of what failed, which is raised as well."""
    if not (record.name.startswith(_BEAM) or (record.name == "root" and f"/{_BEAM}/" in record.pathname.replace("\\", "/"))):
        return False
    return (
        record.levelno < logging.WARNING
        or record.exc_info is not None
        or record.module == _JOBS
        or any(word in str(record.msg) for word in _OF_ITSELF)
    )


class _Text(logging.Formatter):
    def __init__(self, redact: Callable[[str], str], debug: bool) -> None:
        super().__init__()
        self._redact, self._debug = redact, debug

    def format(self, record: logging.LogRecord) -> str:
        about = f" [{record.__dict__['run']}]" if record.__dict__.get("run") else ""
        name = f" {record.name}:" if self._debug else ""
        line = f"{_time(record)} {record.levelname.lower():<7}{about}{name} {record.getMessage()}"
        if self._debug and record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return self._redact(line)


class _Json(logging.Formatter):
    def __init__(self, redact: Callable[[str], str], debug: bool) -> None:
        super().__init__()
        self._redact, self._debug = redact, debug

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
            "runId": record.__dict__.get("run") or None,
            "serviceId": record.__dict__.get("service") or None,
        }
        if record.exc_info:
            kind = record.exc_info[0]
            line["exception"] = kind.__name__ if kind else None
            if self._debug:
                line["traceback"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


_CONCERN = _Concern()


def configure(level: str, form: str, redact: Callable[[str], str]) -> None:
    """Set logging up for this process.

    Args:
        level: One of `LEVELS`; it holds for this package and the user's own code. Beam is heard from WARNING on, or all of it at `debug`.
        form: One of `FORMATS`.
        redact: Takes secrets out of a line.
    """
    _CONCERN.debug = level == "debug"
    handler = _Stderr()
    handler.addFilter(_CONCERN)
    handler.setFormatter((_Json if form == "json" else _Text)(redact, _CONCERN.debug))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Libraries with much to tell of themselves: whoever debugs a service does not want it either.
    for name in (_BEAM, "urllib3", "google", "sqlglot", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(workers.FORWARDER).setLevel(level.upper())
    logging.captureWarnings(True)


def concern(service: str, run: str) -> None:
    """Say which service and run the lines are about from here on."""
    _CONCERN.service, _CONCERN.run = service, run
