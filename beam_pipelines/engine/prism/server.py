"""Prism as a process of its own: found, started for one job, and gone with the process that started it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from beam_pipelines.errors import PlanError, TransientError

__all__ = ["Server", "find"]

_PATIENCE = 20.0  # seconds until it takes jobs; it takes a tenth of one
_STOPPING = 5.0  # seconds for it to end by itself
# Linux ends a process with its parent if it is asked to. It is asked by a program between, for `preexec_fn` may hang where threads are.
_WITH_PARENT = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def find(location: str | None) -> str:
    """Return the path of the program.

    Args:
        location: As `--prism_location` gives it; None: it is on PATH.

    Raises:
        PlanError: There is none.
    """
    found = shutil.which(location or "prism")
    if found is None:
        from apache_beam import version

        where = f"at --prism_location={location}" if location else "on PATH, or by --prism_location=FILE"
        raise PlanError(
            f"expected the program prism {where}; Go makes it: go install"
            f" github.com/apache/beam/sdks/v2/go/cmd/prism@v{version.__version__}",
            code="runner-refused",
        )
    return str(Path(found).absolute())


class Server:
    """One process of Prism, that takes jobs at `endpoint`.

    Args:
        program: Its path.

    Raises:
        TransientError: It has not come up.
    """

    def __init__(self, program: str) -> None:
        port = _free_port()
        self.endpoint = f"localhost:{port}"
        command = [program, f"--job_port={port}", "--serve_http=false", "--log_kind=text", "--log_level=error"]
        # In a session of its own, so that Ctrl-C is ours alone. A job whose worker is gone has failed, and it ends without one.
        command.append("--idle_shutdown_timeout=60s")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WITH_PARENT, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._await(port)

    def _await(self, port: int) -> None:
        until = time.monotonic() + _PATIENCE
        while self.running and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.02)
        self.close()
        raise TransientError("prism did not begin to take jobs", code="unreachable")

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOPPING)
        if self.running:
            self._process.kill()
        self._process.wait()


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port
