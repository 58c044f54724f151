"""A small world for runs of services: a SQLite CRM, a target of each kind, and what is true of both counted by other means."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.launch import Result
from beam_pipelines.etl.service import Service
from beam_pipelines.runs.context import VARIABLE, RunContext
from beam_pipelines.spec import parse
from beam_pipelines.state.store import StateStore
from beam_pipelines.testing import faults

RUN = "00000000000a"
TARGETS = ("duckdb", "postgresql", "sqlite")
# In the runs of children, SQLite as a database that only SQLAlchemy knows.
PORTABLE = {"beam_pipelines.io.registry:_TARGETS": {"sqlite": "beam_pipelines.testing.dialect:portable_sqlite"}}


class RepeatingService(Service):
    """A service whose every bundle is executed twice: what a runner that retries does, and the in-process one never does by itself."""

    def run(self, *, options: Sequence[str] = (), **run: Any) -> Result:
        return super().run(options=[*options, "--direct_runner_bundle_repeat=1"], **run)


FILES = ("parquet", "csv")  # systems that are folders of files


@dataclass
class World:
    """A folder with a definition, its connections, a CRM with `customers`, and a target.

    The CRM's columns: id, name, email, age, amount, updated_at (text of seconds, as CURRENT_TIMESTAMP stamps it).
    """

    folder: Path
    system: str
    url: str
    definition: Path
    children: list[faults.Child] = field(default_factory=list)
    later: int = 0
    repeat: bool = False

    def write(self, mode: str = "upsert", steps: list[dict[str, Any]] | None = None, *, price: bool = True, **destination: Any) -> Path:
        """Write the definition."""
        text: dict[str, Any] = {
            "name": "Customers",
            "pipeline": {
                "source": {
                    "type": "database",
                    "connection": "crm",
                    "query": "SELECT * FROM customers WHERE updated_at > ?",
                    "incremental": True,
                },
                "transformations": steps or [],
                "destination": {**self.place, "mode": mode, **destination},
            },
        }
        if price:
            text["pricing"] = {"model": "per-gb", "rate": 1.0, "minimumCharge": 0.1}
        return self.put(text)

    @property
    def place(self) -> dict[str, Any]:
        """Where the rows go."""
        if self.system in FILES:
            return {"type": "file", "path": "out", "format": self.system}
        return {"type": "database", "connection": "target", "table": "customers"}

    def put(self, definition: dict[str, Any]) -> Path:
        self.definition.write_text(json.dumps(definition))
        return self.definition

    def change(self, path: tuple[str, ...], value: Any) -> None:
        """Change one key of the definition."""
        text = json.loads(self.definition.read_text())
        here = text
        for key in path[:-1]:
            here = here[key]
        if value is None:
            here.pop(path[-1], None)
        else:
            here[path[-1]] = value
        self.put(text)

    @property
    def service(self) -> Service:
        return (RepeatingService if self.repeat else Service).load(self.definition)

    # The CRM.

    def crm(self, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        return self.sqlite(self.folder / "crm.db", statement, parameters)

    @staticmethod
    def sqlite(file: Path, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        with sqlite3.connect(file) as connection:
            rows = connection.execute(statement, parameters).fetchall()
        connection.close()
        return rows

    def fill(self, first: int, last: int, seconds_ago: int = 5000) -> None:
        """Insert customers `first..last`, stamped one second after the other, `seconds_ago` before now."""
        self._insert(first, last, f"'-' || ({seconds_ago} - i % 100) || ' seconds'")

    def more(self, first: int, last: int) -> None:
        """Insert customers, all stamped later than everything before, as a database's clock would."""
        self.later += 1
        self._insert(first, last, f"'-{600 - self.later} seconds'")

    def _insert(self, first: int, last: int, ago: str) -> None:
        self.crm(
            "WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO customers"
            f" SELECT i, 'name ' || i, 'c' || i || '@example.com', i % 90, i * 1.25, datetime('now', {ago}) FROM n",
            (first, last),
        )

    # The target, by its own client.

    def target(self, statement: str) -> list[tuple[Any, ...]]:
        if self.system == "duckdb":
            with duckdb.connect(str(self.folder / "target.duckdb")) as connection:
                return connection.execute(statement).fetchall()
        if self.system in FILES:
            with duckdb.connect() as memory:
                if list((self.folder / "out").glob(f"*.{self.system}")):
                    memory.execute(f"CREATE VIEW customers AS SELECT * FROM '{self.folder}/out/*.{self.system}'")
                else:
                    memory.execute("CREATE TABLE customers (id BIGINT, name TEXT, email TEXT, age BIGINT, amount DOUBLE)")
                return memory.execute(statement).fetchall()
        if self.system in ("sqlite", "portable"):
            return self.sqlite(self.folder / "target.db", statement)
        with psycopg.connect(self.url, autocommit=True) as server:
            cursor = server.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def rows(self, table: str = "customers") -> list[tuple[Any, ...]]:
        """Rows of the target that any engine gives alike: id, name, email, age, amount."""
        return [
            (i, n, e, a, float(x)) for i, n, e, a, x in self.target(f"SELECT id, name, email, age, amount FROM {table} ORDER BY id, name")
        ]

    def source_rows(self, table: str = "customers") -> list[tuple[Any, ...]]:
        return self.crm(f"SELECT id, name, email, age, amount FROM {table} WHERE typeof(age) = 'integer' ORDER BY id, name")

    def leftovers(self) -> list[str]:
        """What runs left in staging."""
        if self.system == "postgresql":
            found = self.target("SELECT tablename FROM pg_tables WHERE starts_with(tablename, '_bp_') AND schemaname <> 'saved'")
            return [name for (name,) in found]
        if self.system == "portable":
            found = self.target("SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 4) = '_bp_'")
            return [name for (name,) in found]
        if self.system in FILES:
            return sorted(entry.name for entry in (self.folder / "out").rglob(".bp_staging/*"))
        folder = self.folder / ("target.duckdb.staging" if self.system == "duckdb" else "target.db.staging")
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    # The record.

    def store(self, url: str | None = None) -> StateStore:
        return StateStore(url or f"sqlite:///{self.folder / '.beam_pipelines' / 'state.db'}")

    def letters(self) -> list[dict[str, Any]]:
        """Every dead letter of every run."""
        files = sorted(self.folder.rglob("dead-letters/*/*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    @contextmanager
    def recorded_sql(self) -> Iterator[list[str]]:
        """The statements that runs of this process send to PostgreSQL, in order."""
        from beam_pipelines.io.postgres.target import PostgresSession

        statements: list[str] = []
        original = PostgresSession.execute

        def execute(session: PostgresSession, sql: str, parameters: Any = ()) -> Any:
            statements.append(sql)
            return original(session, sql, parameters)

        PostgresSession.execute = execute  # type: ignore[method-assign]
        try:
            yield statements
        finally:
            PostgresSession.execute = original  # type: ignore[method-assign]

    def start(self, fault: faults.Fault | None = None, **run: Any) -> faults.Child:
        patches = {**(PORTABLE if self.system == "portable" else {}), **run.pop("patches", {})}
        child = faults.start(self.definition, fault, patches=patches, **run)
        self.children.append(child)
        return child

    def expire_lease(self) -> None:
        """Let the lease run out, as it does while a laptop sleeps."""
        with sqlite3.connect(self.folder / ".beam_pipelines" / "state.db") as state:
            state.execute("UPDATE leases SET until = '2001-01-01T00:00:00.000000+00:00'")
        state.close()

    def end(self) -> None:
        """End what still runs: a stopped process would keep the test session from ending."""
        for child in self.children:
            child.kill()

    def fresh(self) -> None:
        """Forget target, state and dead letters; the CRM stays. The state store is there already, empty: making it is tested elsewhere."""
        shutil.rmtree(self.folder / ".beam_pipelines", ignore_errors=True)
        empty = self.folder / "empty_state.db"
        if not empty.exists():
            StateStore(f"sqlite:///{empty}").close()
        (self.folder / ".beam_pipelines").mkdir()
        shutil.copy(empty, self.folder / ".beam_pipelines" / "state.db")
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        for name in ("target.duckdb", "target.db"):
            for suffix in ("", ".wal", "-wal", "-shm", "-journal"):
                (self.folder / f"{name}{suffix}").unlink(missing_ok=True)
            shutil.rmtree(self.folder / f"{name}.staging", ignore_errors=True)
        if self.system == "postgresql":
            self.target("DROP SCHEMA public CASCADE")
            self.target("CREATE SCHEMA public")

    # Going back to one moment, quicker than by going there again.

    def save(self) -> None:
        """Keep everything as it is now, for `restore`."""
        shutil.rmtree(self.saved, ignore_errors=True)
        shutil.copytree(self.folder, self.saved)
        if self.system == "postgresql":
            self.target("DROP SCHEMA IF EXISTS saved CASCADE")
            self.target("ALTER SCHEMA public RENAME TO saved")
            self._copied()

    def restore(self) -> None:
        """Go back to what was saved."""
        for entry in self.folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        shutil.copytree(self.saved, self.folder, dirs_exist_ok=True)
        if self.system == "postgresql":
            self.target("DROP SCHEMA public CASCADE")
            self._copied()

    @property
    def saved(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-saved")

    def _copied(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as server:
            tables = [name for (name,) in server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'saved'")]
            server.execute("CREATE SCHEMA public")
            for name in tables:
                server.execute(f'CREATE TABLE public."{name}" (LIKE saved."{name}" INCLUDING ALL)')
                server.execute(f'INSERT INTO public."{name}" SELECT * FROM saved."{name}"')


def make_world(folder: Path, system: str, url: str) -> World:
    folder.mkdir(exist_ok=True)
    target = {"duckdb": "target.duckdb", "sqlite": "target.db", "portable": "target.db", "postgresql": url}.get(system, "unused.db")
    (folder / "connections.yaml").write_text(json.dumps({"crm": "crm.db", "target": target}))
    world = World(folder, system, url, folder / "service.json")
    world.crm(
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, email TEXT, age INTEGER, amount REAL, updated_at TIMESTAMP NOT NULL)"
    )
    world.write()
    return world


@pytest.fixture
def worlds(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Make the world of this test, for one kind of target, or several that are apart by a number; its CRM is empty."""
    made: list[World] = []

    def make(system: str, number: int = 0) -> World:
        url = request.getfixturevalue("postgres_database") if system == "postgresql" else ""
        if url and number:
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute(f"DROP DATABASE IF EXISTS also_{number} WITH (FORCE)")
                admin.execute(f"CREATE DATABASE also_{number}")
            url = f"{url.rpartition('/')[0]}/also_{number}"
        made.append(make_world(tmp_path.with_name(f"{tmp_path.name}-{number}") if number else tmp_path, system, url))
        return made[-1]

    yield make
    for world in made:
        world.end()


FORMS = [
    pytest.param((system, repeat), marks=[pytest.mark.soak] if repeat == "once" and system != "duckdb" else [], id=f"{system}-{repeat}")
    for system in TARGETS
    for repeat in ("once", "twice")
]


@pytest.fixture(params=FORMS)
def world(request: pytest.FixtureRequest, worlds: Callable[[str], World]) -> World:
    """A world for each kind of target, with every bundle executed twice, and once: in `make test` that into DuckDB alone."""
    system, repeat = request.param
    made = worlds(system)
    made.repeat = repeat == "twice"
    return made


@pytest.fixture
def duck(worlds: Callable[[str], World]) -> World:
    """A world with DuckDB as target, for what does not depend on it."""
    return worlds("duckdb")


@dataclass(frozen=True)
class Desk(Job):
    """A job whose source and target a test has made."""

    source: Any = None
    target: Any = None

    def open_source(self, context: RunContext | None) -> Any:
        self.source.opened += 1
        return self.source

    def open_target(self, context: RunContext | None) -> Any:
        return self.target


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> str:
    """This process is a worker of the run whose id it gives."""
    monkeypatch.setenv(VARIABLE, RunContext(RUN, "2026-01-01T00:00:00+00:00").to_text())
    return RUN


@pytest.fixture
def job_of(running: str) -> Callable[..., Job]:
    """Makes the job of a service that loads `crm`'s customers, by what differs from its plainest definition."""

    def make(source: Any = None, target: Any = None, *, steps: Any = None, table: str = "{table}", into: Any = None, **more: Any) -> Job:
        pipeline = {
            "source": {"type": "database", "connection": "crm", "table": "customers"},
            **({"transformations": steps} if steps else {}),
            "destination": {"type": "database", "connection": "target", "table": table, **(into or {})},
        }
        return Desk(Job.of(parse({"name": "Customers", "pipeline": pipeline, **more}).definition).text, source=source, target=target)

    return make
