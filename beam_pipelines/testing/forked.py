"""Processes of Python that begin with everything imported and a run made: forked from a server that did so once (`testing.preload`).

A fresh interpreter takes more than a second of processor time before a run begins, and a fork of this server none.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait as ready
from types import ModuleType
from typing import Any

__all__ = ["code_of", "context", "start"]

_starting = threading.Lock()


@functools.cache
def context() -> Any:
    """The way to start such processes, as `multiprocessing` calls it."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["beam_pipelines.testing.preload"])
    return made


def start(target: Callable[..., None], *arguments: Any) -> Any:
    """Start a process that calls `target`; gives it as `multiprocessing` does. It ends with this process."""
    process = context().Process(target=target, args=arguments, daemon=True)
    with _starting, _nameless_program():
        process.start()
    return process


def code_of(process: Any, seconds: float = 0.0) -> int | None:
    """The exit code of a process, or minus the signal that ended it; None while it goes on for `seconds`."""
    ready([process.sentinel], seconds)
    with _starting:  # an exit code can be read once, and who starts a process reads those of all others
        code: int | None = process.exitcode
    return code


@contextmanager
def _nameless_program() -> Iterator[None]:
    """Keep children from importing this program's main module again, which they have no use for: for pytest it takes longer than a run."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
