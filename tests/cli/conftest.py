"""A small CRM, a warehouse, and the real commands in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.testing.commands import carry_out

ROWS = 1_200
BAD = 12  # rows whose age is a word: one in a hundred
DEFINITION = """\
name: Customers
type: automation
pipeline:
  source:
    type: database
    connection: crm
    query: SELECT * FROM customers WHERE updated_at > ?
    incremental: true
  transformations: []
  destination:
    type: data-warehouse
    connection: warehouse
    table: customers
    mode: upsert
schedule: {type: cron, expression: "0 */6 * * *"}
pricing: {model: per-gb, rate: 0.5, minimumCharge: 10}
"""


@dataclass
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Room:
    """A folder with a definition, its connections and its data."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def change(self, old: str, new: str, name: str = "service.yaml") -> None:
        text = (self.folder / name).read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def crm(self, statement: str, *values: Any) -> None:
        with sqlite3.connect(self.folder / "crm.db") as database:
            database.execute(statement, values)
        database.close()

    def warehouse(self, statement: str) -> list[tuple[Any, ...]]:
        import duckdb

        with duckdb.connect(str(self.folder / "warehouse.duckdb"), read_only=True) as database:
            return database.execute(statement).fetchall()

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("BEAM_PIPELINES_")} | self.environ

    @staticmethod
    def _program(words: tuple[str, ...]) -> list[str]:
        """What `etl` and `batch` stand for is a module, and for all else it is `beam-pipelines`."""
        return ["-m", f"beam_pipelines.{words[0]}", *words[1:]] if words[0] in ("etl", "batch") else [_script(), *words]

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `beam-pipelines`, or, when the first word is `etl` or `batch`, `python -m beam_pipelines.etl` or that of batch."""
        command = [sys.executable, *self._program(words)]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __call__(self, *words: str) -> Answer:
        """Carry out such a command line in a fork of a process that has imported everything: what is answered is the same, and sooner."""
        program = self._program(words)
        done = carry_out(*program[program[0] == "-m" :], folder=self.folder, environ=self.environment)
        return Answer(done.returncode, done.stdout, done.stderr)

    def interrupted(self, number: signal.Signals, when: Path, *words: str) -> Answer:
        """Start a command, and send it a signal once a file is there."""
        process = self.start(*words)
        deadline = time.monotonic() + 60
        while not when.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        return Answer(process.returncode, out, err)


def _script() -> str:
    """The console script of the environment that runs the tests."""
    return str(Path(sys.executable).with_name("beam-pipelines"))


def make_room(folder: Path) -> Room:
    folder.mkdir(parents=True, exist_ok=True)
    room = Room(folder)
    room.write("service.yaml", DEFINITION)
    room.write("connections.yaml", "crm: sqlite:///crm.db\nwarehouse: duckdb:///warehouse.duckdb\n")
    with sqlite3.connect(folder / "crm.db") as database:
        database.execute(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, email TEXT, age INTEGER, updated_at TIMESTAMP NOT NULL)"
        )
        rows = [
            (n, f"name {n}", f"n{n}@example.org", "unknown" if n % 100 == 0 else n % 90, f"2026-01-{1 + n % 28:02d} 10:00:00")
            for n in range(1, ROWS + 1)
        ]
        database.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", rows)
    database.close()
    return room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return make_room(tmp_path / "room")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """A room whose service ran once, for commands that only look."""
    room = make_room(tmp_path_factory.mktemp("cli") / "room")
    answer = room("run", "service.yaml", "--output", "json", "--customer", "acme", "--request", "r-1")
    assert answer.code == 0, answer.err
    room.write("record.json", answer.out)
    return room


@pytest.fixture
def copied(ran: Room, tmp_path: Path) -> Room:
    """A copy of that room, for commands that change it."""
    shutil.copytree(ran.folder, tmp_path / "copy")
    return Room(tmp_path / "copy")
