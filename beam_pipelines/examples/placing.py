"""Put a file where there is none: whole or not at all, and never over one that a user may have edited."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["copy", "settle", "sweep", "temporary"]

_MARK = ".placing"
_NAME = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<pid>\d+)\.[0-9a-f]{8}\.placing")


@contextlib.contextmanager
def temporary(target: Path) -> Iterator[Path]:
    """A name beside `target` to build it under; what is there at the end is removed."""
    building = target.with_name(f".{target.name}.{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}{_MARK}")
    try:
        yield building
    finally:
        building.unlink(missing_ok=True)


def settle(building: Path, target: Path) -> None:
    """Give a file that is whole its name.

    Raises:
        FileExistsError: There is one of that name already; it stays.
    """
    with building.open("rb") as file:
        os.fsync(file.fileno())  # else the name could survive a power cut, and the content not
    try:
        os.link(building, target)  # a rename would replace what somebody else put there in the meantime
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise FileExistsError(f"expected no file at {str(target)!r}") from None
        building.rename(target)


def copy(source: Path, target: Path) -> bool:
    """Copy a file to where there is none; False when there is one."""
    if target.exists():
        return False
    with temporary(target) as building:
        building.write_bytes(source.read_bytes())
        try:
            settle(building, target)
        except FileExistsError:
            return False
    return True


def sweep(folder: Path) -> None:
    """Remove what processes that died left half built; those of other machines and containers cannot be told from living ones, and stay."""
    for left in folder.glob(f".*{_MARK}"):
        named = _NAME.fullmatch(left.name)
        if named and named["host"] == _host() and not _alive(int(named["pid"])):
            left.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return socket.gethostname().replace(".", "-").replace("/", "-")
