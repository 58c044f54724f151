"""Crash points, enumerated: every call of a run to target, state store and files can be made to fail, to hang, or to be the process's last.

A run is made in a process of its own (forked from one that has everything imported, so that thousands of runs are affordable). Each call
goes through a *seam*: a method of ours, or of a library, that is wrapped in that process only. Calls are named by kind, thread and number
(`duckdb#3`, `stage@stage#0`), so a name means the same call in every run of the same input; a `Fault` names one of them.

The idea of enumerating rather than sampling is that of FoundationDB's and TigerBeetle's simulators; here the parts are the real ones.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

__all__ = ["KINDS", "SEAMS", "Child", "Ended", "Fault", "Kind", "installed", "start"]

Kind = Literal["die-before", "die-after", "fail-before", "fail-after", "hang-before", "hang-after"]
KINDS: tuple[Kind, ...] = ("die-before", "die-after", "fail-before", "fail-after", "hang-before", "hang-after")

# (module, attribute path, label): what a run calls outside itself. A module that is not installed is passed over.
SEAMS: tuple[tuple[str, str, str], ...] = (
    ("beam_pipelines.io.duckdb.session", "DuckDbSession.execute", "duckdb"),
    ("beam_pipelines.io.sqlite.target", "SqliteSession.execute", "sqlite"),
    ("beam_pipelines.io.postgres.target", "PostgresSession.execute", "postgres"),
    ("beam_pipelines.io.postgres.stage", "PostgresStager.write", "stage"),
    ("beam_pipelines.io.postgres.stage", "PostgresStager.finish", "stage"),
    ("beam_pipelines.io.staging_files", "FileStager.write", "stage"),
    ("beam_pipelines.io.staging_files", "FileStager.finish", "stage"),
    ("beam_pipelines.io.staging_files", "StagingFolder.drop", "stage"),
    ("sqlalchemy.engine.default", "DefaultDialect.do_execute", "state"),
    ("sqlalchemy.engine.default", "DefaultDialect.do_commit", "state"),
    ("os", "replace", "file"),
    ("os", "fsync", "file"),
)


_UNORDERED = ("progress", "lease")  # threads whose calls come by the clock: nothing depends on them


class InjectedError(OSError):
    """What a call that fails on purpose raises where the seam's own errors are not known."""


@dataclass(frozen=True)
class Fault:
    """One call, and what happens to it.

    Args:
        point: Name of the call, as a run without a fault lists it.
        kind: `die` ends the process by SIGKILL, `fail` raises, `hang` stops the process (SIGSTOP); before or after the call's effect.
    """

    point: str
    kind: Kind


@dataclass
class _Trace:
    fault: Fault | None
    pipe: Connection | None
    calls: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def around(self, label: str, call: Callable[[], Any]) -> Any:
        thread = threading.current_thread()
        if thread.name in _UNORDERED:
            return call()
        place = label if thread is threading.main_thread() else f"{label}@{thread.name}"
        number = self.counts.get(place, 0)
        self.counts[place] = number + 1
        name = f"{place}#{number}"
        self.calls.append(name)
        mine = self.fault is not None and self.fault.point == name
        if mine and self.fault is not None and self.fault.kind.endswith("before"):
            self._strike(label)
        result = call()
        if mine and self.fault is not None and self.fault.kind.endswith("after"):
            self._strike(label)
        return result

    def _strike(self, label: str) -> None:
        assert self.fault is not None
        if self.fault.kind.startswith("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault.kind.startswith("hang"):
            if self.pipe is not None:
                self.pipe.send(("hung", label))
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        raise _failure(label)


def _failure(label: str) -> Exception:
    """The error that this kind of call really raises when the thing behind it goes away."""
    if label == "state":
        import sqlite3

        return sqlite3.OperationalError("disk I/O error (injected)")
    if label in ("duckdb", "sqlite", "postgres"):
        from beam_pipelines.errors import TransientError

        return TransientError("the connection was lost (injected)")
    return InjectedError(5, "Input/output error (injected)")


@contextmanager
def installed(fault: Fault | None, pipe: Connection | None = None) -> Iterator[list[str]]:
    """Wrap every seam of this process for as long as the block runs; gives the names of the calls made, in order."""
    trace = _Trace(fault, pipe)
    undo: list[Callable[[], None]] = []
    for module, path, label in SEAMS:
        try:
            owner: Any = importlib.import_module(module)
        except ImportError:
            continue
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        undo.append(_wrap(owner, name, label, trace))
    undo.append(_silence())
    try:
        yield trace.calls
    finally:
        for one in undo:
            one()


def _silence() -> Callable[[], None]:
    """Keep progress out of the state store: a process that is stopped while its progress thread writes would hold the store's lock."""
    from beam_pipelines.engine import launch

    original = launch._PhaseEvents.heard
    launch._PhaseEvents.heard = lambda *_: None  # type: ignore[method-assign]
    return lambda: setattr(launch._PhaseEvents, "heard", original)


def _wrap(owner: Any, name: str, label: str, trace: _Trace) -> Callable[[], None]:
    original = getattr(owner, name)

    @functools.wraps(original)
    def seam(*args: Any, **kwargs: Any) -> Any:
        return trace.around(label, lambda: original(*args, **kwargs))

    setattr(owner, name, seam)
    return lambda: setattr(owner, name, original)


@dataclass(frozen=True)
class Ended:
    """How a run in a child process ended.

    Args:
        exit_code: Its exit code, or minus the signal that ended it.
        calls: Labels of the calls it made; empty when it was killed.
        record: The run's record, None when it did not get that far.
        error: Message of what ended it.
    """

    exit_code: int
    calls: tuple[str, ...] = ()
    record: dict[str, Any] | None = None
    error: str | None = None


class Child:
    """A run in a process of its own."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process, self._pipe = process, pipe

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def hung(self, seconds: float = 60.0) -> bool:
        """Wait until it hangs at its fault; False when it ended without."""
        while self._pipe.poll(seconds):
            try:
                message = self._pipe.recv()
            except EOFError:
                return False
            if message[0] == "hung":
                return True
            self._ended = message
            return False
        return False

    def wake(self) -> None:
        """Let a hung run go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it by SIGKILL, stopped or not."""
        if self._process.exitcode is None:
            os.kill(self.pid, signal.SIGKILL)
            self._process.join(10)

    def kill_after(self, seconds: float) -> None:
        """End it by SIGKILL, unless it ends by itself within `seconds` of its start."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self.kill()

    def wait(self, seconds: float = 120.0) -> Ended:
        """Wait for its end.

        Raises:
            TimeoutError: It goes on.
        """
        message = getattr(self, "_ended", None)
        while message is None and self._pipe.poll(seconds):
            try:
                got = self._pipe.recv()
            except EOFError:
                break
            message = got if got[0] == "ended" else None
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise TimeoutError(f"the run in process {self.pid} goes on after {seconds} s")
        if message is None:
            return Ended(self._process.exitcode)
        return Ended(self._process.exitcode, *message[1:])


def start(definition: Path, fault: Fault | None = None, **run: Any) -> Child:
    """Start a run of a service in a process of its own.

    Args:
        definition: Path of the definition.
        fault: What goes wrong; None: nothing, the calls are recorded.
        run: Arguments of `Service.run`, and `state` and `connections` of `Service.load`.
    """
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(str(definition), fault, theirs, run), daemon=True)
    process.start()
    theirs.close()
    return Child(process, ours)


@functools.cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["beam_pipelines.testing.preload"])
    return context


def _run(definition: str, fault: Fault | None, pipe: Connection, run: dict[str, Any]) -> None:
    from beam_pipelines.errors import BeamPipelinesError
    from beam_pipelines.etl.service import Service

    code, record, error = 1, None, None
    placed = {key: run.pop(key) for key in ("state", "connections") if key in run}
    with installed(fault, pipe) as calls:
        try:
            result = Service.load(definition, **placed).run(**run)
            code, record = result.exit_code, result.to_json()
            error = str(result.error) if result.error else None
        except BeamPipelinesError as refused:
            code, error = refused.exit_code, str(refused)
        except Exception as broken:  # noqa: BLE001 - told to the parent, which judges it
            code, error = 1, f"{type(broken).__name__}: {broken}"
    pipe.send(("ended", tuple(calls), record, error))
    pipe.close()
    os._exit(code)
