"""The log of worker processes: Beam's own, on the same stderr and in its own words, made into lines of this command's log."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence

__all__ = ["FORWARDER", "in_reserve", "muffled", "unwrap"]

FORWARDER = "apache_beam.runners.portability.local_job_service"  # the logger that speaks for workers
_FORWARDED = "Worker: "  # Beam's local job service logs what a worker sends it behind this, as a protobuf in text form
_RAW = re.compile(r"^(DEBUG|INFO|WARNING|ERROR|CRITICAL):[\w.]+:")  # what a worker prints as well


def unwrap(record: logging.LogRecord) -> None:
    """Turn a record that forwards a worker's log entry into that entry, in place; others stay as they are."""
    message = record.getMessage()
    if record.name != FORWARDER or not message.startswith(_FORWARDED):
        return
    from apache_beam.portability.api import beam_fn_api_pb2
    from google.protobuf import text_format

    try:
        entry = text_format.Parse(message[len(_FORWARDED) :], beam_fn_api_pb2.LogEntry())
    except text_format.ParseError:
        return
    path, _, line = entry.log_location.rpartition(":")
    record.msg, record.args, record.pathname, record.lineno = entry.message, (), path, int(line) if line.isdecimal() else 0
    # The entry names no logger: the module that logged is the next best.
    record.name = _module_of(path) or "worker"
    if entry.trace:
        record.exc_text = entry.trace


def _module_of(path: str) -> str:
    parts = path.replace("\\", "/").removesuffix(".py").split("/")
    for package in ("beam_pipelines", "apache_beam"):
        if package in parts:
            return ".".join(parts[len(parts) - 1 - parts[::-1].index(package) :])
    return ""


@contextlib.contextmanager
def in_reserve(count: int) -> Iterator[None]:
    """While the block runs, have so many worker processes ready, which know what a run imports; for one, this process is enough.

    Call it before anything is begun.
    """
    if count < 2:
        yield
        return
    from beam_pipelines.engine import launch, local, reserve, worker  # noqa: F401 - what a run imports, they have

    worker.prepare()
    with reserve.kept(count, worker.main):
        yield


@contextlib.contextmanager
def muffled(beam: Sequence[str]) -> Iterator[None]:
    """While worker processes live, drop from stderr the log lines that they print: they are forwarded too, and judged by the log.

    Everything else that they write (a function's prints) goes through.

    Args:
        beam: Beam's options; without worker processes in them nothing happens.
    """
    if not any("multi_processing" in word for word in beam):
        yield
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    before, real = sys.stderr, os.dup(2)
    # Where stdout leads to stderr (`--output json`), what workers print must not fall into the middle of a log line either.
    taken = [2, 1] if os.path.sameopenfile(1, 2) else [2]
    reading, writing = os.pipe()
    for descriptor in taken:
        os.dup2(writing, descriptor)
    os.close(writing)
    sys.stderr = os.fdopen(os.dup(real), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    pump = threading.Thread(target=_pump, args=(reading,), name="worker-log", daemon=True)
    pump.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        ours, sys.stderr = sys.stderr, before
        for descriptor in taken:
            os.dup2(real, descriptor)
        os.close(real)
        # The pipe ends when the last worker has gone; one that will not go does not hold the command up.
        pump.join(timeout=2)
        if not pump.is_alive():
            ours.close()


def _pump(reading: int) -> None:
    with os.fdopen(reading, encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            if not _RAW.match(line):
                sys.stderr.write(line)
