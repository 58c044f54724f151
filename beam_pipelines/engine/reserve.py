"""Worker processes in reserve: forked from a command before it has begun anything, idle until there is work for them.

A worker that is started anew imports for more than a second what the command has imported already. One of these is there at once, and
costs some milliseconds and no memory of its own where it is not needed.

A fork is safe while nothing else runs in the process: no lock is held that nobody would let go of. So a reserve is for commands, which know
that they are alone, on Linux; everybody else's workers are started anew, and do the same.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from beam_pipelines.engine.start import leave

__all__ = ["Idle", "kept", "taken"]

_MOST = 16  # each takes some milliseconds, needed or not
_exit = os._exit
_idle: list[Idle] = []


@dataclass(frozen=True)
class Idle:
    """A process that waits to be told what it works for, and ends when nobody is left to tell it.

    Args:
        process: Its id.
        line: What it is told by: a pipe, which this process alone writes to.
    """

    process: int
    line: int

    def work(self, environment: Mapping[str, str]) -> int:
        """Have it work in an environment, and wait for its end.

        Returns:
            Its exit code, negative for the signal that ended it.
        """
        with contextlib.suppress(BrokenPipeError), os.fdopen(self.line, "w") as line:  # it was killed: its exit code says so
            json.dump(dict(environment), line)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def dismiss(self) -> None:
        """Let it go without work."""
        os.close(self.line)
        os.waitpid(self.process, 0)


@contextlib.contextmanager
def kept(count: int, main: Callable[[], None]) -> Iterator[None]:
    """While the block runs, have processes in reserve; none where they cannot be forked.

    Args:
        count: How many are wanted; there are no more than 16, and who wants more starts them anew.
        main: What one does that is taken: works to its end. Everything that it needs is imported before, or by each of them.
    """
    if sys.platform == "linux" and threading.active_count() == 1:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or both processes would write what waits
        with contextlib.suppress(OSError):  # no room for one more: who finds none in reserve starts one anew, or says why not
            for _ in range(min(count, _MOST)):
                _idle.append(_forked(main))  # noqa: PERF401 - each lets go of the pipes of those before it
    try:
        yield
    finally:
        while _idle:
            _idle.pop().dismiss()


def taken() -> Idle | None:
    """Take one of the reserve, if there is any that lives."""
    while _idle:
        one = _idle.pop()
        if os.waitpid(one.process, os.WNOHANG) == (0, 0):
            return one
        os.close(one.line)
    return None


def _forked(main: Callable[[], None]) -> Idle:
    reading, writing = os.pipe()
    try:
        with warnings.catch_warnings():
            # From 3.12 on Python warns of threads that are not its own: those that numpy and Arrow begin stop for a fork, and begin anew.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if process:
        os.close(reading)
        return Idle(process, writing)
    try:
        os.close(writing)
        _wait(reading, main)
    finally:
        _exit(1)  # whatever happens, this is not the process of the command any more


def _wait(reading: int, main: Callable[[], None]) -> NoReturn:
    """Be a worker once one is wanted: with its environment, and none of what the command has put around itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in _idle:
        os.close(other.line)  # which this one would keep waiting
    with os.fdopen(reading) as line:
        told = line.read()
    if not told:
        _exit(0)
    gc.freeze()  # what is there stays: to look at it copies the memory that it shares with the command
    os.environ.clear()
    os.environ.update(json.loads(told))
    logging.getLogger().handlers.clear()
    logging.captureWarnings(False)
    main()
    leave(0)
