"""A desk to run services at: a folder with definitions and connections, and the databases beside it read by their own clients.

Every test here that runs a service does so twice: once as Beam's in-process runner does by itself, and once with every bundle executed
twice, as a runner that retries does. Two marks say otherwise of a test:

- `no_bundle`: what it is about happens before the run begins (a refusal, a plan), so there is nothing to repeat. It fails if its process
  starts a bundle.
- `long`: it takes more than about three seconds, and passing with every bundle repeated proves at least as much as passing without. `make
  test` repeats, `make soak` does without as well.

In a repeated test each pipeline of the test's own process is held to repeating: one that was made without the option fails the test.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.etl.service import Service
from beam_pipelines.state.store import StateStore
from beam_pipelines.testing.commands import carry_out

REPEATED = "--direct_runner_bundle_repeat=1"


@dataclass
class Desk:
    """One folder and what is in it.

    Args:
        folder: Definitions, connections, database files and state are in it.
        options: Beam's options of every run.
    """

    folder: Path
    options: tuple[str, ...] = ()
    connections: dict[str, Any] = field(default_factory=dict)

    def connect(self, **places: Any) -> None:
        """Name databases: `crm_db=...` is the connection `crm-db`."""
        self.connections |= {name.replace("_", "-"): place for name, place in places.items()}
        (self.folder / "connections.yaml").write_text(json.dumps(self.connections))

    def define(self, definition: dict[str, Any], file: str = "service.json") -> Path:
        path = self.folder / file
        path.write_text(json.dumps(definition))
        return path

    def etl(self, source: dict[str, Any], destination: dict[str, Any], steps: list[dict[str, Any]] | None = None, **more: Any) -> Path:
        """Write a definition named `Desk` from database `source` to database `target`."""
        pipeline = {
            "source": {"type": "database", "connection": "source", **source},
            "transformations": steps or [],
            "destination": {"type": "database", "connection": "target", **destination},
        }
        return self.define({"name": "Desk", "pipeline": pipeline, **more})

    def functions(self, text: str) -> None:
        (self.folder / "functions.py").write_text(text)

    @property
    def service(self) -> Service:
        return Service.load(self.folder / "service.json")

    def run(self, **run: Any) -> Any:
        return self.service.run(options=[*self.options, *run.pop("options", [])], **run)

    def ran(self, **run: Any) -> dict[str, Any]:
        """Run, expect success, and give the record."""
        result = self.run(**run)
        assert result.exit_code == 0, (result.execution.error_code, result.execution.error, str(result.error))
        record: dict[str, Any] = result.to_json()
        return record

    def command(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The command line, as a user gives it, in a process of its own, which has imported everything already."""
        words, environ = (*arguments, *self.options), {**os.environ, **(environment or {})}
        return carry_out("beam_pipelines.etl", *words, folder=self.folder, environ=environ, seconds=240)

    def program(self, *arguments: str, environment: dict[str, str] | None = None, **process: Any) -> subprocess.CompletedProcess[str]:
        """The same, by an interpreter of its own."""
        return subprocess.run(
            [sys.executable, "-m", "beam_pipelines.etl", *arguments, *self.options],
            cwd=self.folder,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            **process,
        )

    @property
    def store_url(self) -> str:
        return f"sqlite:///{self.folder / '.beam_pipelines' / 'state.db'}"

    def store(self) -> StateStore:
        return StateStore(self.store_url)

    def letters(self) -> list[dict[str, Any]]:
        files = sorted((self.folder / ".beam_pipelines" / "dead-letters").rglob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def sqlite(self, file: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements on a SQLite file of the folder; gives the rows of the last."""
        with sqlite3.connect(self.folder / file) as connection:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    def people(self, first: int, last: int, *, bad: int = 0, seconds_ago: int = 1000) -> None:
        """Put people `first..last` into `source.db`, the first `bad` of whom have an age that is no number."""
        self.sqlite(
            "source.db",
            "CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY, age INTEGER, updated_at TIMESTAMP NOT NULL)",
            f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
            f" INSERT INTO people SELECT i, CASE WHEN i < {first + bad} THEN 'young' ELSE i END,"
            f" datetime('now', '-{seconds_ago} seconds') FROM n",
        )

    def duckdb(self, file: str, *statements: str) -> list[tuple[Any, ...]]:
        """The same on a DuckDB file."""
        import duckdb

        with duckdb.connect(str(self.folder / file)) as connection:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                rows = connection.execute(statement).fetchall()
            return rows

    @staticmethod
    def postgres(url: str, *statements: str) -> list[tuple[Any, ...]]:
        """The same on a PostgreSQL database, each statement a transaction."""
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
            return rows


FORMS = {"once": (), "repeated": (REPEATED,)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test of a desk the forms that its marks ask for."""
    if "desk" not in metafunc.fixturenames:
        return
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "no_bundle" in marks:
        forms = [pytest.param("no bundle", id="single")]
    else:
        once = [pytest.mark.soak] if "long" in marks else []
        forms = [pytest.param("once", id="once", marks=once), pytest.param("repeated", id="repeated")]
    metafunc.parametrize("desk", forms, indirect=True)


@pytest.fixture
def desk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk whose connections are `source` (source.db) and `target` (target.duckdb), with the options of the test's form."""
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    repeats: list[int] = []  # of each pipeline that was run
    run_stages = FnApiRunner.run_stages

    def watched(runner: Any, *stages: Any, **named: Any) -> Any:
        repeats.append(runner._bundle_repeat)
        return run_stages(runner, *stages, **named)

    monkeypatch.setattr(FnApiRunner, "run_stages", watched)
    made = Desk(tmp_path, FORMS.get(request.param, ()))
    made.connect(source="source.db", target="target.duckdb")
    yield made
    assert not (repeats and request.param == "no bundle"), "bundles are started: take the mark no_bundle away"
    assert request.param != "repeated" or set(repeats) <= {1}, "a pipeline was run without the desk's options"
