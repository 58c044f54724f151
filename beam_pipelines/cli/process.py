"""The process around a command: how it is interrupted, and what keeps it from leaving early."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from beam_pipelines.engine import stopping

__all__ = ["CANCELLED", "Interrupted", "interruptible", "left_in_time", "not_left_early"]

CANCELLED = 130  # exit code of a run that was stopped (contracts, section 5): 128 + SIGINT
_ONE_PRESS = 1.0  # seconds: wrappers (make, uv, timeout) pass on the signal that the terminal sends to the whole group as well
_WATCH = 0.2  # seconds between two looks whether somebody has asked to stop
_exit = os._exit  # the real one, also while `not_left_early` has taken its place
_came: list[float] = []  # when the signal came that interrupts this process


class Interrupted(KeyboardInterrupt):
    """Somebody asked the process to stop: Ctrl-C, or SIGTERM.

    Beam rebuilds exceptions that pass through a DoFn, to append the step's name, and a KeyboardInterrupt becomes a RuntimeError of it.
    The mark keeps this one whole.
    """

    _tagged_with_step = True


@contextlib.contextmanager
def interruptible(notice: str = "") -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `Interrupted`, raised in the main thread; a second one, later, ends the process at once.

    May be nested, to give a part a notice of its own.

    Args:
        notice: Said to stderr when the first one comes.
    """

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of handlers
        now = time.monotonic()
        if _came and now - _came[0] < _ONE_PRESS:
            return
        if _came:
            os.write(2, b"leaving at once; the next run settles what this one left\n")
            _exit(CANCELLED)
        _came.append(now)
        stopping.note()
        if notice:
            os.write(2, f"{notice}\n".encode())
        raise Interrupted(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before: dict[int, Any] = {}
    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        # A job in the background of a script is started with SIGINT ignored: that stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                _came.clear()  # the outermost: what comes now is about something else
                stopping.forget()


@contextlib.contextmanager
def left_in_time(seconds: float) -> Iterator[None]:
    """Leave with 0 where the block has not ended so long after somebody asked to stop: a server that says nothing may hold it up for long.

    For what may die at any time and lose nothing.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH):
            if stopping.asked():
                if not ended.wait(seconds):
                    os.write(2, b"what goes on does not end, and is left as it is; the next run settles it\n")
                    _exit(0)
                return

    threading.Thread(target=watch, name="left-in-time", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextlib.contextmanager
def not_left_early() -> Iterator[None]:
    """While the block runs, `os._exit` called by a function of the service does not make a command look like one that ended well.

    In the main thread it becomes `sys.exit`, which fails the command. In another one nobody would notice that, so the process ends, but
    says why, and never with 0. Processes that are forked from this one leave as they like.
    """
    mine = os.getpid()

    def refused(status: int) -> NoReturn:
        if os.getpid() == mine:
            if threading.current_thread() is threading.main_thread():
                raise SystemExit(status)
            os.write(
                2,
                f"error: os._exit({status}) was called before the command was done; if a run had begun, the next one settles it\n".encode(),
            )
            status = status or 1
        _exit(status)

    os._exit = refused
    try:
        yield
    finally:
        os._exit = _exit
