"""A real MariaDB server on loopback, from Debian's packages, for tests: the portable path meets a database that is not its own there."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from beam_pipelines.errors import SpecError

__all__ = ["MariaDbServer"]

_PATIENCE = 60.0  # seconds in which it starts, on a machine that is busy


class MariaDbServer:
    """A throw-away MariaDB server with an empty database, `test`; a context manager that starts and stops it."""

    user = "tester"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bp_mariadb_"))
        self.password = secrets.token_hex(12)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MariaDbServer:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    @property
    def url(self) -> str:
        """The `mysql+pymysql://` URL of its database."""
        return f"mysql+pymysql://{self.user}:{self.password}@127.0.0.1:{self.port}/test"

    def _start(self) -> None:
        data, log, setup = self.folder / "data", self.folder / "log", self.folder / "setup.sql"
        # A line a statement: so the server reads it.
        setup.write_text(
            f"CREATE DATABASE test;\nCREATE USER {self.user}@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO {self.user}@'127.0.0.1';\n"
        )
        mine = ["--no-defaults", f"--datadir={data}", "--innodb-log-file-size=8M", *(["--user=root"] if os.geteuid() == 0 else [])]
        with log.open("wb") as said:
            install = [_program("mariadb-install-db"), *mine, "--auth-root-authentication-method=normal", "--skip-test-db"]
            subprocess.run(install, stdout=said, stderr=said, stdin=subprocess.DEVNULL, check=True)
            self._process = subprocess.Popen(
                [
                    *(_program("mariadbd"), *mine, f"--init-file={setup}", f"--socket={self.folder / 's'}"),
                    *(f"--pid-file={self.folder / 'pid'}", f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve"),
                    # Of a test nothing has to outlive the machine.
                    *("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"),
                ],
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
            )
        end = time.monotonic() + _PATIENCE
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"MariaDB did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if found is None:
        raise SpecError(
            f"a MariaDB server is needed here, and its program {name} is missing: apt-get install --no-install-recommends mariadb-server",
            code="extra-missing",
        )
    return found


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
