"""What a user reads when the place of the store is wrong, away, locked, full or damaged."""

from __future__ import annotations

import os
import socket
import sqlite3
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import event

from beam_pipelines.errors import BeamPipelinesError, FatalError, SpecError, TransientError
from beam_pipelines.state import StateStore, default_url

SECRET = "hunter2-secret"


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write everywhere: become nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


# Forms of the URL.


@pytest.mark.parametrize("form", ["sqlite:///{path}", "{path}"])
def test_a_file_is_named_by_url_or_path_and_its_folder_is_made(form: str, tmp_path: Path, open_store: Callable[..., StateStore]) -> None:
    path = tmp_path / "new" / "state.db"
    store = open_store(form.format(path=path))
    assert path.exists()
    assert repr(store) == f"StateStore({str(path)!r})"


def test_a_relative_path_is_of_the_working_directory(tmp_path: Path, monkeypatch: Any, open_store: Callable[..., StateStore]) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("sqlite:///here.db")
    assert (tmp_path / "here.db").exists()


def test_the_default_is_beside_the_definition(tmp_path: Path) -> None:
    assert default_url(tmp_path / "customers.yaml") == f"sqlite:///{tmp_path}/.beam_pipelines/state.db"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://root@host/db", "got the scheme 'mysql'"),
        ("duckdb:///x.db", "got the scheme 'duckdb'"),
        ("sqlite://x.db", "expected a state store on SQLite as sqlite:///PATH"),
        ("sqlite:///x.db?mode=ro", "without options"),
        ("sqlite:///:memory:", "would remember nothing"),
        ("", "would remember nothing"),
        ("postgresql://host", "without a database"),
        ("postgresql://user:" + SECRET + "@host:notaport/db", "cannot be read"),
    ],
)
def test_an_unknown_form_is_refused_with_the_forms_that_are_known(url: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        StateStore(url)
    assert caught.value.exit_code == 2
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# Files.


def test_the_writer_that_holds_the_lock_is_named(
    tmp_path: Path, open_store: Callable[..., StateStore], child: Callable[..., Any], processes: ModuleType
) -> None:
    store = open_store(f"{tmp_path}/state.db", busy_timeout_seconds=0.2)
    other = child("hold", f"{tmp_path}/state.db")
    assert other.hear() == "ready"
    with pytest.raises(TransientError, match=rf"locked for longer than 0.2 s; held by process {other.pid} \(python") as caught:
        store.begin(processes.execution("r1"))
    assert caught.value.code == "locked"
    assert store.executions() == []  # reading waits for nobody
    other.kill()
    store.begin(processes.execution("r1"))


def test_a_full_disk_records_nothing_and_the_run_can_be_ended_later(
    tmp_path: Path, open_store: Callable[..., StateStore], processes: ModuleType
) -> None:
    store = open_store(f"{tmp_path}/state.db")
    store.begin(processes.execution("r1"))

    @event.listens_for(store._database.engine, "connect")
    def small(connection: Any, _record: Any) -> None:
        if limited:
            connection.execute("PRAGMA max_page_count=1")  # no less than there are: the next new page finds the disk full

    limited = True
    store.close()
    with pytest.raises(FatalError, match=r"the disk of the state store .* is full"):
        store.finish("r1", big(processes))
    assert [one.status for one in store.executions()] == ["running"]
    assert store.charges() == []
    limited = False
    store.close()
    assert store.finish("r1", big(processes))


def big(processes: ModuleType) -> Any:
    """An outcome of many pages."""
    outcome = processes.outcome()
    return replace(outcome, failures=outcome.failures * 2000)


def test_a_folder_that_may_not_be_written_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a test's own folder is closed to nobody
        os.chmod(folder, 0o555)
        with unprivileged(), pytest.raises(SpecError, match=f"{folder}/state.db' cannot be opened for writing .*--state"):
            StateStore(f"{folder}/state.db")
        with unprivileged(), pytest.raises(SpecError, match=f"{folder}/new/state.db' cannot be opened for writing"):
            StateStore(f"{folder}/new/state.db")
        os.chmod(folder, 0o755)


def test_a_file_that_may_not_be_written_is_named(processes: ModuleType) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        StateStore(f"{folder}/state.db").close()
        os.chmod(f"{folder}/state.db", 0o444)
        os.chmod(folder, 0o555)
        with unprivileged(), pytest.raises(SpecError, match="cannot be opened for writing"):
            StateStore(f"{folder}/state.db").begin(processes.execution("r1"))
        os.chmod(folder, 0o755)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be opened for writing"):
        StateStore(str(tmp_path))


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SpecError, match="cannot be opened for writing"):
        StateStore(str(tmp_path / "file" / "state.db"))


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"id,name\n" * 1000)
    with pytest.raises(FatalError, match=r"is damaged \(file is not a database\): restore it from a backup, or move the file away"):
        StateStore(str(path))
    assert path.read_bytes() == b"id,name\n" * 1000


def test_a_damaged_store_is_said_to_be_damaged(tmp_path: Path, processes: ModuleType) -> None:
    path = tmp_path / "state.db"
    with StateStore(str(path)) as store:
        store.begin(processes.execution("r1"))
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 5000 + content[5100:])
    with pytest.raises(FatalError, match="is damaged"):
        StateStore(str(path)).executions()


def test_a_database_of_something_else_is_left_alone(tmp_path: Path, open_store: Callable[..., StateStore]) -> None:
    with sqlite3.connect(tmp_path / "crm.db") as crm:
        crm.execute("CREATE TABLE events (id INTEGER)")
    crm.close()
    with pytest.raises(SpecError, match=r"not ours \(events\)"):
        open_store(f"{tmp_path}/crm.db")


# PostgreSQL.


def test_a_wrong_password_is_refused_and_never_shown(postgres_database: str) -> None:
    parts = urlsplit(postgres_database)
    url = postgres_database.replace(f":{parts.password}@", f":{SECRET}@")
    with pytest.raises(FatalError, match=r"refused the login .*password authentication failed") as caught:
        StateStore(url)
    assert caught.value.code == "authentication-failed"
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("extra", ["", "?application_name=mine&sslpassword=" + SECRET])
def test_no_password_is_in_a_repr_or_an_error(postgres_database: str, open_store: Callable[..., StateStore], extra: str) -> None:
    password = urlsplit(postgres_database).password
    assert password
    store = open_store(postgres_database + extra)
    assert password not in repr(store) + repr(store._database) + str(store._database)
    assert SECRET not in repr(store)
    assert repr(store).startswith("StateStore('postgresql://postgres@127.0.0.1:")


def test_a_password_in_the_options_is_taken_and_not_shown(postgres_database: str, open_store: Callable[..., StateStore]) -> None:
    parts = urlsplit(postgres_database)
    store = open_store(f"postgresql://{parts.hostname}:{parts.port}{parts.path}?user=postgres&password={parts.password}")
    assert parts.password
    assert parts.password not in repr(store)


def test_a_server_that_is_away_may_be_tried_again() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        StateStore(f"postgresql://postgres:{SECRET}@127.0.0.1:{port}/x")
    assert caught.value.code == "unreachable"
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_database_that_does_not_exist_is_named(postgres_database: str) -> None:
    with pytest.raises(SpecError, match='database "nowhere" does not exist'):
        StateStore(postgres_database.rpartition("/")[0] + "/nowhere")


def test_a_user_without_the_right_to_create_is_told(postgres_database: str) -> None:
    role = "r_" + postgres_database.rpartition("_")[2]
    with psycopg.connect(postgres_database, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")  # type: ignore[call-overload]
    parts = urlsplit(postgres_database)
    with pytest.raises(SpecError, match="may not be written by this user") as caught:
        StateStore(f"postgresql://{role}:{SECRET}@{parts.hostname}:{parts.port}{parts.path}")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    with psycopg.connect(postgres_database, autocommit=True) as admin:
        admin.execute(f"DROP ROLE {role}")  # type: ignore[call-overload]


def test_the_session_that_holds_the_lock_is_named(
    postgres_database: str, open_store: Callable[..., StateStore], processes: ModuleType
) -> None:
    store = open_store(postgres_database, busy_timeout_seconds=0.2)
    with psycopg.connect(postgres_database, application_name="somebody") as other:
        other.execute("LOCK TABLE beam_pipelines.executions IN EXCLUSIVE MODE")
        pid = other.info.backend_pid
        with pytest.raises(TransientError, match=rf"locked for longer than 0.2 s; held by session {pid} \(somebody on 127.0.0.1"):
            store.begin(processes.execution("r1"))
    store.begin(processes.execution("r1"))


def test_a_store_outlives_its_servers_sessions(
    postgres_database: str, open_store: Callable[..., StateStore], processes: ModuleType
) -> None:
    store = open_store(postgres_database)
    store.begin(processes.execution("r1"))
    with psycopg.connect(postgres_database, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'beam-pipelines'")
    assert store.finish("r1", processes.outcome())


def test_an_error_shows_neither_statement_nor_values(store: StateStore, processes: ModuleType) -> None:
    database = store._database
    with database.write() as connection:
        connection.exec_driver_sql(database.ddl("DROP TABLE {s}executions"))
    with pytest.raises(BeamPipelinesError, match="was its schema changed by hand") as caught:
        store.begin(processes.execution("the-run"))
    assert "the-run" not in str(caught.value)
    assert "SELECT" not in str(caught.value)
