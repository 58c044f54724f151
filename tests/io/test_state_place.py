from __future__ import annotations

from pathlib import Path

import pytest

from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.io.connections import Connections
from beam_pipelines.io.state_place import connection_of, may_be_name, state_url

FILE = """\
runs: {url: "postgresql+psycopg://db.example.com/state?sslmode=require", user: keeper, password: "${env:STATE_PASSWORD}"}
locked: {url: "postgresql://db.example.com/state", user: keeper, password: "${env:NOT_SET}"}
small: small.sqlite
warehouse: duckdb:///warehouse.duckdb
shop: mysql+pymysql://root:s3cret@db.example.com/shop
incoming: {path: ./incoming}
bus: {bootstrap.servers: "localhost:9092"}
eu.runs: sqlite:///eu.db
"""


@pytest.fixture
def known(tmp_path: Path) -> Connections:
    file = tmp_path / "connections.yaml"
    file.write_text(FILE)
    return Connections(file, {"STATE_PASSWORD": "p@ss/word", "BEAM_PIPELINES_CONNECTION_ELSEWHERE": "sqlite:////far/away.db"})


def test_a_name_is_the_database_of_its_connection(known: Connections, tmp_path: Path) -> None:
    assert state_url("runs", known) == "postgresql://keeper:p%40ss%2Fword@db.example.com/state?sslmode=require"
    assert state_url("small", known) == f"sqlite:///{tmp_path}/small.sqlite"
    assert state_url("elsewhere", known) == "sqlite:////far/away.db"


@pytest.mark.parametrize("text", ["./runs", "runs.db", "eu.runs", "/srv/runs", "./nobody"])
def test_every_other_text_is_a_path_of_the_working_directory(
    known: Connections, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert connection_of(text, known) is None
    assert state_url(text, known) == f"sqlite:///{tmp_path / text}"


def test_a_word_that_is_a_file_is_that_file_and_one_that_is_nothing_is_refused(
    known: Connections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").touch()
    assert state_url("old", known) == f"sqlite:///{tmp_path / 'old'}"
    with pytest.raises(
        PlanError, match=r"got 'rnus', which is neither; did you mean 'runs'\? \(write \./rnus for a new SQLite file\)"
    ) as refused:
        state_url("rnus", known)
    assert refused.value.code == "connection-missing"


def test_a_url_stays(known: Connections) -> None:
    assert state_url("postgresql://h/d", known) == "postgresql://h/d"
    assert not may_be_name("postgresql://h/d")


@pytest.mark.parametrize(("name", "system"), [("warehouse", "duckdb"), ("shop", "mysql"), ("incoming", "bucket"), ("bus", "kafka")])
def test_what_no_state_store_can_be_in_is_refused_with_what_to_do(known: Connections, name: str, system: str) -> None:
    with pytest.raises(PlanError) as refused:
        state_url(name, known)
    assert refused.value.code == "connection-invalid"
    assert f"expected PostgreSQL or SQLite as state store, got the connection {name!r}, which is {system}: " in refused.value.message
    assert f"give ./{name} if a SQLite file of that name is meant" in refused.value.message
    assert "s3cret" not in refused.value.message


def test_a_secret_that_is_missing_is_not_a_path(known: Connections) -> None:
    with pytest.raises(SpecError, match="needs the environment variable 'NOT_SET'"):
        state_url("locked", known)


def test_a_folder_is_no_state_store(known: Connections, tmp_path: Path) -> None:
    for folder in ("/", str(tmp_path)):
        with pytest.raises(PlanError, match=r"expected a SQLite file as state store, got the folder .*: name a file in it"):
            state_url(folder, known)
