"""A quick start, and a quick end, for a program whose purpose is one run of a service.

For `__main__` only: a library leaves its process as it found it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.abc
import importlib.machinery
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NoReturn

__all__ = ["choose_allocator", "import_beam", "leave", "spare_the_collector"]

# What `import apache_beam` would load for connectors and file systems of its own that no run of ours uses, at a quarter of its time.
# Beam does without each of them where their clients are not installed. They can still be imported later, by who wants them.
_WITHHELD = ("apache_beam.io.aws.s3filesystem", "apache_beam.io.gcp.bigquery", "apache_beam.io.gcp.gcsfilesystem", "pymongo")
_REGRETS = "apache_beam.io.mongodbio"  # warns that it has no client
# What it imports, cannot do without, and does not call before a pipeline goes to Dataflow or has type hints of classes.
_DEFERRED = ("httplib2", "beartype.door", "beartype.roar")
_ARENA_MAX, _ARENAS = -8, 1  # M_ARENA_MAX of mallopt(3)
_MMAP_THRESHOLD, _APART = -3, 2 << 20  # M_MMAP_THRESHOLD of the same; bytes
_OBJECTS = 1_000_000  # more than all imports make: collecting while they last finds nothing, and takes a tenth of a small run
_exit = os._exit  # the real one, whatever a command puts in its place while it lasts


def spare_the_collector() -> None:
    """Let the garbage collector wait until there may be garbage. Call it first of all."""
    gc.set_threshold(_OBJECTS)


def choose_allocator() -> None:
    """Let Arrow take its memory from the C library, unless the user chose otherwise. Call it before Arrow is imported.

    Its own choice, mimalloc, asks for huge pages, gives them back after a moment and asks again. Measured, 1,000,000 rows from Parquet to
    Parquet: 0.04 s of the system's time above the start instead of 0.18, and 342 MB at peak instead of 396.

    The C library gives each thread memory of its own, and keeps it when the thread ends; threads that read and write files come and go with
    these. Measured, 4,000,000 rows of CSV in 40 files to Parquet: 0.6 s of the system's time and 345 MB instead of 1.1 s and 545 MB.

    It maps large blocks apart, and gives them back when they are freed; but the first one that is freed raises what it takes for large, up
    to 32 MB, and from then on the blocks of each file leave other holes in the one heap, which the next file's do not fit. Measured, CSV to
    Parquet, 25,000,000 rows in 100 files against 250,000 in one: with a bound that stays 287 MB against 266, without 331 against 275; of
    2,000,000 rows from Parquet to Parquet, 300 MB instead of 317; the same time. A bound of 1 MiB takes a tenth more time there.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        if "MALLOC_ARENA_MAX" not in os.environ:
            ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)
        if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _APART)


def import_beam() -> None:
    """Import Beam, if it is not yet, without its clients of MongoDB and Google Cloud, and with stand-ins for what it calls later."""
    if "apache_beam" in sys.modules:
        return
    regretful = logging.getLogger(_REGRETS)
    level, withheld = regretful.level, _Withheld()
    regretful.setLevel(logging.ERROR)
    sys.meta_path.insert(0, withheld)
    try:
        with _deferred():
            import apache_beam  # noqa: F401
    finally:
        sys.meta_path.remove(withheld)
        regretful.setLevel(level)


class _Withheld(importlib.abc.MetaPathFinder):
    """Says of some modules that they are not installed."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the signature of finders
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in _WITHHELD:
            raise ModuleNotFoundError(f"no module {fullname!r} while Beam is imported", name=fullname)
        return None


@contextlib.contextmanager
def _deferred() -> Iterator[None]:
    """While Beam is imported, let stand-ins be found for modules that nobody has imported; afterwards the modules themselves."""
    made = {name: _StandIn(name) for name in _DEFERRED if name not in sys.modules}
    for name in ("beartype.door", "beartype.roar"):
        if name in made:
            made[name].__dict__.update(is_subhint=_is_subhint, BeartypeDoorException=_BeartypeDoorException)
    sys.modules.update(made)
    try:
        yield
    finally:
        for stand_in in made.values():
            stand_in.leave()


class _StandIn(ModuleType):
    """A module that is imported when something of it is first wanted."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(self.__name__), name)

    def leave(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


class _BeartypeDoorException(Exception):  # noqa: N818 - the name is beartype's
    """What Beam catches in the place of beartype's own."""


def _is_subhint(sub: object, base: object) -> bool:
    """Beartype's function of this name, for Beam."""
    for name in _DEFERRED:
        stand_in = sys.modules.get(name)
        if isinstance(stand_in, _StandIn):
            stand_in.leave()
    from beartype.door import is_subhint
    from beartype.roar import BeartypeDoorException

    try:
        return bool(is_subhint(sub, base))
    except BeartypeDoorException as error:
        raise _BeartypeDoorException(str(error)) from error


def leave(code: int) -> NoReturn:
    """End the process without taking the interpreter apart, which takes a quarter of a second for Beam's modules.

    What has to happen at an end still does: exit functions, logs, and what is written but not flushed.

    Args:
        code: Exit code.
    """
    # Nobody is left to be told by an exception from here on, nor to be stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):
            signal.signal(number, signal.SIG_IGN)
    for close in (atexit._run_exitfuncs, logging.shutdown, _flush):
        with contextlib.suppress(BaseException):
            close()
    _exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
