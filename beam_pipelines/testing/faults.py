"""Crash points, enumerated: every call of a run to target, state store, source and files can be made to fail, to hang, or to be the last.

A run is made in a process of its own, forked from one that has made a run already, so that thousands of runs are affordable. Each call
goes through a *seam* (`testing.seams`): a driver, wrapped in that process only. Calls are named by who makes them (`testing.rooms`), what
they do, thread and number (`target.commit:duckdb.COMMIT#0`), so a name means the same call in every run of the same input; a `Fault` names
one of them. `explore` goes through many, and after each lets a next run recover and a subject say whether all is well.

The idea of enumerating rather than sampling is that of FoundationDB's and TigerBeetle's simulators; here the parts are the real ones.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol, TypeVar

from beam_pipelines.testing import forked
from beam_pipelines.testing.rooms import caller
from beam_pipelines.testing.seams import wrapped

__all__ = [
    "KINDS",
    "Always",
    "Child",
    "Ended",
    "Fault",
    "Kind",
    "Subject",
    "can_fail",
    "changes",
    "distinct",
    "explore",
    "installed",
    "once",
    "recovers",
    "start",
    "strikes",
    "verb",
]

Kind = Literal["die-before", "die-after", "fail-before", "fail-after", "hang-before", "hang-after", "die-within", "die-later"]
KINDS: tuple[Kind, ...] = ("die-before", "die-after", "fail-before", "fail-after", "hang-before", "hang-after")
_UNORDERED = ("progress", "lease", "heartbeat", "waits")  # threads whose calls come by the clock: nothing depends on them
# Of servers, whose files are not watched. The second line ends what is undone, or let go, for one that is dead as well.
_SERVERS = ("postgres", "adbc", "s3", "gcs")
_HARMLESS = {"SELECT", "SET", "SHOW", "connect", "set_autocommit", "enter", "", "nothing"}
_HARMLESS |= {"rollback", "close", "CLOSE", "exit"}
_HARMLESS |= {"GetObject", "HeadObject", "ListObjectsV2", "ListMultipartUploads", "GET"}
_HOLDS = {"BEGIN", "connect", "open", "map", "begin", "__init__"}  # a transaction, a connection, a file
_DURABLE = {"commit", "COMMIT", "replace"}


@dataclass(frozen=True)
class Fault:
    """One call, and what happens to it.

    Args:
        point: Name of the call, as a run without a fault lists it.
        kind: `die` ends the process by SIGKILL, `fail` raises what the driver raises when its other side goes away, `hang` stops the
            process (SIGSTOP); before the call, or after it was done. `die-within` is a SIGKILL from beside, `seconds` after the call began,
            at the latest when it is done; `die-later` the same, while the run goes on.
        seconds: For `die-within` and `die-later`.
    """

    point: str
    kind: Kind
    seconds: float = 0.0


@dataclass(frozen=True)
class Always:
    """A function that can be sent to a child as a patch: it gives the same, whatever it is asked."""

    value: Any

    def __call__(self, *_args: Any, **_named: Any) -> Any:
        return self.value


def can_fail(point: str) -> bool:
    """Whether the call can raise: letting go of a connection cannot."""
    return not point.partition("#")[0].partition("@")[0].endswith(".close") or ":file." in point or ":arrow." in point


def changes(call: str, traced: Ended) -> bool:
    """Whether a run that dies right after this call leaves something else than one that died before it.

    Args:
        call: Name of the call.
        traced: A run to which nothing happened, with its files watched; those of servers are not, so a call to one that reads or sets
            something for itself is taken to change nothing, and any other one something.
    """
    driver, _, name = call.partition(":")[2].partition("#")[0].partition("@")[0].partition(".")
    return name not in _HARMLESS and not name.startswith("fetch") if driver in _SERVERS else call in traced.effects


def distinct(traced: Ended) -> list[Fault]:
    """Every fault of a run that comes to something else than another one here; what is not here comes to the same as one that is.

    - A run that dies leaves what its last change has left, so it dies before its first call, and after each that changes something. One
      that hangs until it is killed leaves the same.
    - A call that fails is answered by the code around it, so each of them fails. Whether it was done all the same makes a difference where
      that is seen: by who looks at what it changed, or by who waits for what it holds.

    Args:
        traced: A run to which nothing happened, with its files watched.
    """
    changing = [call for call in traced.calls if changes(call, traced)]
    failing = [call for call in traced.calls if can_fail(call)]
    done = [call for call in failing if verb(call) in _HOLDS or call in {*changing}]
    died = [Fault(traced.calls[0], "die-before"), *(Fault(call, "die-after") for call in changing)]
    return died + [Fault(call, "fail-before") for call in failing] + [Fault(call, "fail-after") for call in done]


def verb(call: str) -> str:
    """What a call asks of its driver."""
    return call.partition("#")[0].partition("@")[0].rpartition(".")[2]


def once(calls: Iterable[str], *draw: str) -> list[str]:
    """One of the calls that differ in nothing but their number, and all that make something durable.

    Args:
        calls: Their names.
        draw: What the choice is drawn by, so that elsewhere it is another one; it is the same in each run of the tests.
    """
    alike: dict[str, list[str]] = {}
    for call in calls:
        alike.setdefault(call if verb(call) in _DURABLE else call.partition("#")[0], []).append(call)
    return [same[zlib.crc32("\n".join((*draw, kind)).encode()) % len(same)] for kind, same in alike.items()]


@dataclass
class _Trace:
    fault: Fault | None
    pipe: Connection | None
    watched: Path | None = None
    calls: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    moments: list[float] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] | None = None
    looking: threading.Lock = field(default_factory=threading.Lock)
    naming: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    depth: threading.local = field(default_factory=threading.local)

    def around(self, name: str, call: Callable[[], Any], failure: Callable[[], BaseException]) -> Any:
        thread = threading.current_thread()
        if getattr(self.depth, "deep", False) or thread.name in _UNORDERED or isinstance(thread, threading._DummyThread):
            return call()
        place = caller()
        if place is None and not _temporary():
            self.elsewhere.append(name)
        if place is None or (".fetch" in name and not place.startswith("source.")):
            return call()  # results that are in memory already, or nobody's of ours
        point = self._named(f"{place}:{name}", thread)
        self.depth.deep = True
        try:
            with self._watching(point):
                return self._made(point, call, failure)
        finally:
            self.depth.deep = False

    def _named(self, label: str, thread: threading.Thread) -> str:
        # Which thread of a pool does a task is a matter of chance, and how many are done is none.
        who = "pool" if thread.name.startswith("ThreadPoolExecutor") else thread.name
        place = label if thread is threading.main_thread() else f"{label}@{who}"
        with self.naming:
            number = self.counts.get(place, 0)
            self.counts[place] = number + 1
            self.moments.append(time.monotonic() - self.began)
            self.calls.append(f"{place}#{number}")
        return f"{place}#{number}"

    def _made(self, point: str, call: Callable[[], Any], failure: Callable[[], BaseException]) -> Any:
        if self.fault is None or self.fault.point != point:
            return call()
        if self.pipe is not None:
            self.pipe.send(("struck", point))
        if self.fault.kind in ("die-within", "die-later"):
            _die_in(self.fault.seconds)
        if self.fault.kind == "die-later":
            return call()
        if self.fault.kind.endswith("before"):
            self._strike(point, failure)
        try:
            return call()
        finally:
            # A call that raises by itself (a file that is gone already) is a call as well.
            if not self.fault.kind.endswith("before"):
                self._strike(point, failure)

    def _strike(self, point: str, failure: Callable[[], BaseException]) -> None:
        assert self.fault is not None
        if self.fault.kind == "die-within":
            signal.pause()
        if self.fault.kind.startswith("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault.kind.startswith("hang"):
            if self.pipe is not None:
                self.pipe.send(("hung", point))
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        raise failure()

    @contextmanager
    def _watching(self, point: str) -> Iterator[None]:
        """See which calls change the watched folder; and what changes while no call is made: somebody reaches the disk by another way."""
        if self.watched is None:
            yield
            return
        with self.looking:
            now = _listing(self.watched)
            if not self.inside and self.seen is not None and now != self.seen:
                self.unseen.append(f"before {point}: {', '.join(_changed(now, self.seen))}")
            self.inside += 1
        try:
            yield
        finally:
            with self.looking:
                self.inside -= 1
                self.seen = _listing(self.watched)
                if self.seen != now:  # by this call, or by one of another thread meanwhile
                    self.effects.append(point)


def _listing(folder: Path) -> dict[str, int]:
    """A checksum of every file: sizes and times do not tell two writes of one tick apart. Readers write in SQLite's shared memory."""
    found: dict[str, int] = {}
    for place, _, names in os.walk(folder):
        found[place] = 0
        for name in names:
            path = os.path.join(place, name)
            if not name.endswith("-shm"):
                with contextlib.suppress(FileNotFoundError):
                    found[path] = zlib.crc32(Path(path).read_bytes())
    return found


def _changed(now: dict[str, int], before: dict[str, int]) -> list[str]:
    return sorted(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))


def _temporary() -> bool:
    """Whether the call is for a temporary folder that the standard library or Beam makes for itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(("beam_pipelines.testing.", "shutil", "os", "pathlib", "contextlib", "weakref")):
            return module.startswith(("tempfile", "apache_beam."))
        frame = frame.f_back
    return False


def _die_in(seconds: float) -> None:
    """Have a helper process kill this one: by a thread, a call that holds the interpreter's lock would always live to its end."""
    victim = os.getpid()
    if os.fork() == 0:
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        os._exit(0)


@contextmanager
def installed(fault: Fault | None, pipe: Connection | None = None, watched: Path | None = None) -> Iterator[_Trace]:
    """Wrap every seam of this process for as long as the block runs; gives the trace, which lists the calls made, in order."""
    trace = _Trace(fault, pipe, watched)
    with wrapped(trace.around), _silence():
        yield trace


@contextmanager
def _silence() -> Iterator[None]:
    """Keep progress out of the state store: a process that is stopped while its progress thread writes would hold the store's lock."""
    with _patched({"beam_pipelines.engine.launch:_PhaseEvents.heard": Always(None)}):
        yield


@contextmanager
def _patched(values: Mapping[str, Any]) -> Iterator[None]:
    """Set `module:attribute` for as long as the block runs."""
    undo: list[tuple[Any, str, Any]] = []
    try:
        for place, value in values.items():
            module, _, path = place.partition(":")
            owner: Any = importlib.import_module(module)
            *parents, name = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            undo.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)


@dataclass(frozen=True)
class Ended:
    """How a run in a child process ended.

    Args:
        exit_code: Its exit code, or minus the signal that ended it.
        calls: Names of the calls it made; empty when it was killed.
        record: The run's record, None when it did not get that far.
        error: Message of what ended it.
        effects: Those of the calls that changed something in the watched folder, by the time they were done.
        elsewhere: Calls to drivers that no room made.
        unseen: Changes in the watched folder that no call made.
        moments: Seconds from the beginning of the run to each of the calls.
    """

    exit_code: int
    calls: tuple[str, ...] = ()
    record: dict[str, Any] | None = None
    error: str | None = None
    effects: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    moments: tuple[float, ...] = ()


class Child:
    """A run in a process of its own."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process, self._pipe = process, pipe
        self.struck = False  # its fault has happened, as far as has been heard

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
            if message[0] == "ended":
                self._ended = message
                return False
            self.struck = True
        return False

    def wake(self) -> None:
        """Let a hung run go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it by SIGKILL, stopped or not."""
        if self._code() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._code(10)

    def kill_after(self, seconds: float) -> None:
        """End it by SIGKILL, unless it ends by itself within `seconds` of its start."""
        if self._code(seconds) is None:
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
            self.struck = self.struck or got[0] == "struck"
        code = self._code(seconds)
        if code is None:
            raise TimeoutError(f"the run in process {self.pid} goes on after {seconds} s")
        self._pipe.close()
        return Ended(code, *(message[1:] if message else ()))

    def _code(self, seconds: float = 0.0) -> int | None:
        """Its exit code, None while it goes on for `seconds`."""
        return forked.code_of(self._process, seconds)


def start(
    definition: Path, fault: Fault | None = None, *, patches: Mapping[str, Any] | None = None, watched: Path | None = None, **run: Any
) -> Child:
    """Start a run of a service in a process of its own.

    Args:
        definition: Path of the definition.
        fault: What goes wrong; None: nothing, the calls are recorded.
        patches: Values to set in the process, by `module:attribute` (a limit of minutes as one of seconds, say).
        watched: Folder in which every change must be some call's.
        run: Arguments of `Service.run`, and `state` and `connections` of `Service.load`.
    """
    ours, theirs = forked.context().Pipe()
    process = forked.start(_run, str(definition), fault, theirs, dict(patches or {}), watched, run)
    theirs.close()
    return Child(process, ours)


def _run(
    definition: str, fault: Fault | None, pipe: Connection, patches: dict[str, Any], watched: Path | None, run: dict[str, Any]
) -> None:
    from beam_pipelines.errors import BeamPipelinesError
    from beam_pipelines.etl.service import Service

    code, record, error = 1, None, None
    placed = {key: run.pop(key) for key in ("state", "connections") if key in run}
    with _patched(patches), installed(fault, pipe, watched) as trace:
        try:
            result = Service.load(definition, **placed).run(**run)
            code, record = result.exit_code, result.to_json()
            error = str(result.error) if result.error else None
        except BeamPipelinesError as refused:
            code, error = refused.exit_code, str(refused)
        except Exception as broken:  # noqa: BLE001 - told to the parent, which judges it
            code, error = 1, f"{type(broken).__name__}: {broken}"
    told = (tuple(trace.calls), record, error, tuple(trace.effects), tuple(trace.elsewhere), tuple(trace.unseen), tuple(trace.moments))
    pipe.send(("ended", *told))
    pipe.close()
    os._exit(code)


class Subject(Protocol):
    """What is put to the test: a service with all it needs, which can be set back to where its faulty run begins."""

    def reset(self) -> None:
        """Set everything back."""

    def start(self, fault: Fault | None = None) -> Child:
        """Start a run."""

    def check(self) -> None:
        """Hold what is there to what must be, once a run without a fault has followed.

        Raises:
            AssertionError: Something is wrong.
        """


def strikes(subject: Subject, fault: Fault, seconds: float = 120.0, look: Callable[[bool], None] | None = None) -> Ended:
    """Let a fault happen to a run; one that hangs is killed where it hangs, once `look(True)` has returned.

    Raises:
        AssertionError: The fault did not happen.
    """
    child = subject.start(fault)
    if fault.kind.startswith("hang") and child.hung(seconds):
        try:
            if look is not None:
                look(True)
        finally:
            child.kill()
    ended = child.wait(seconds)
    if not child.struck:
        raise AssertionError(f"the call was not made, for its name is not stable; the run ended with {ended.exit_code}: {ended.error}")
    return ended


def recovers(
    subject: Subject,
    fault: Fault,
    seconds: float = 120.0,
    *,
    look: Callable[[bool], None] | None = None,
    ends: Collection[int] = (0,),
) -> None:
    """Let a fault happen to a run, let the next run recover, and check. A run that hangs is killed where it hangs.

    Args:
        subject: What it happens to.
        fault: What goes wrong.
        seconds: How long a run may take.
        look: What somebody else sees meanwhile: called with True while the run hangs, and with False once it has ended and before the
            next one begins; raises AssertionError when that must not be.
        ends: Exit codes that the next run may have.

    Raises:
        AssertionError: The fault did not happen, the next run fails, or what is there then is not what must be.
    """
    subject.reset()
    first = strikes(subject, fault, seconds, look)
    ended = f"the run ended with {first.exit_code}: {first.error}"
    if look is not None:
        look(False)
    after = subject.start().wait(seconds)
    if after.exit_code not in ends:
        raise AssertionError(f"{ended}; the next run ends with {after.exit_code}: {after.error}")
    try:
        subject.check()
    except AssertionError as wrong:
        raise AssertionError(f"{ended}; {wrong}") from wrong


T = TypeVar("T", bound=Subject)


def explore(subjects: Sequence[T], faults: Iterable[Fault], scenario: Callable[[T, Fault], None] = recovers) -> list[str]:
    """Go through many faults.

    Args:
        subjects: Alike, and apart from each other: as many faults are tried at a time.
        faults: What goes wrong.
        scenario: What is made of one fault; raises when something is wrong.

    Returns:
        What is wrong, one text a fault; empty when all is well.
    """
    waiting: queue.SimpleQueue[Fault] = queue.SimpleQueue()
    for fault in faults:
        waiting.put(fault)
    broken: list[str] = []

    def work(subject: T) -> None:
        while True:
            try:
                fault = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                scenario(subject, fault)
            except Exception as wrong:  # noqa: BLE001 - told with the fault that it is of; the others go on
                broken.append(f"{fault.kind} at {fault.point}: {type(wrong).__name__}: {wrong}")

    threads = [threading.Thread(target=work, args=(subject,), name=f"explore-{number}") for number, subject in enumerate(subjects)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        # Interrupted: what is under way is ended, nothing more is begun.
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.get_nowait()
    return sorted(broken)
