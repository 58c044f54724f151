"""Loading into a target as a run does, without Beam: prepare, stage, commit; and a client of another make that looks at what is there."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest

from beam_pipelines.columnar.cast import conform
from beam_pipelines.io.connections import Connections, variable
from beam_pipelines.io.connector import Policy, Target
from beam_pipelines.io.duckdb.target import DuckDbTarget
from beam_pipelines.io.files.target import FileTarget
from beam_pipelines.io.postgres.target import PostgresTarget
from beam_pipelines.io.sql.portable_target import PortableTarget
from beam_pipelines.io.sqlite.target import SqliteTarget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import LoadCounts, Tally
from beam_pipelines.runs.facts import Dead, ReadFact, Staged, StagedFact
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.names import StagingName, new_attempt
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.destination import FileDestination

STARTED = "2026-03-01T12:00:00.000000+00:00"
CUSTOMERS = pa.schema([("id", pa.int64()), ("name", pa.string()), ("version", pa.int64())])


def quoted(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


class Place(ABC):
    """A database under test, with a client that shares nothing with the target.

    Args:
        system: As `columnar.types` names it.
    """

    system: str
    portable = False

    @abstractmethod
    def target(self) -> Target: ...

    @abstractmethod
    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements, commit, and give the rows of the last."""

    @abstractmethod
    def names(self) -> list[str]:
        """Every table and file that is there, staging included."""

    def rows(self, table: str = "customers", columns: str = "id, name, version", order: str = "1, 2, 3") -> list[tuple[Any, ...]]:
        return self.sql(f"SELECT {columns} FROM {quoted(table)} ORDER BY {order}")

    def has(self, table: str) -> bool:
        return table in self.names()

    quoted = staticmethod(quoted)


class DuckDbPlace(Place):
    system = "duckdb"

    def __init__(self, folder: Path) -> None:
        self.file = folder / "warehouse.duckdb"

    def target(self) -> Target:
        return DuckDbTarget(self.file)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.file)) as connection:
            for statement in statements:
                found = connection.execute(statement)
            return found.fetchall()

    def names(self) -> list[str]:
        tables = self.sql("SELECT table_name FROM information_schema.tables") if self.file.exists() else []
        return [name for (name,) in tables] + [path.name.split(".")[0] for path in self.file.parent.glob("*.staging/*")]


class SqlitePlace(Place):
    system = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.file = folder / "warehouse.db"

    def target(self) -> Target:
        return SqliteTarget(self.file)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.file)
        try:
            for statement in statements:
                found = connection.execute(statement)
            rows = found.fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()

    def names(self) -> list[str]:
        tables = self.sql("SELECT name FROM sqlite_master WHERE type = 'table'") if self.file.exists() else []
        return [name for (name,) in tables] + [path.name.split(".")[0] for path in self.file.parent.glob("*.staging/*")]


class PostgresPlace(Place):
    system = "postgresql"

    def __init__(self, url: str) -> None:
        self.url = url

    def target(self) -> Target:
        return PostgresTarget(Connections(None, {variable("db"): self.url}).get("db"))

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            for statement in statements:
                found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def names(self) -> list[str]:
        return [name for (name,) in self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


class PortableSqlitePlace(SqlitePlace):
    """SQLite as if nothing were known of it."""

    portable = True

    def target(self) -> Target:
        return PortableTarget(Connections(None, {variable("db"): f"sqlite:///{self.file}"}).get("db"))


class PortablePostgresPlace(PostgresPlace):
    """PostgreSQL as if nothing were known of it."""

    portable = True

    def target(self) -> Target:
        return PortableTarget(Connections(None, {variable("db"): self.url}).get("db"))


class ParquetPlace(Place):
    """A folder a table; `sql` speaks to the state store, where the ledger is."""

    system = "parquet"

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder / "out", folder / "state.db"

    def target(self) -> Target:
        model = FileDestination(path="{table}", format="parquet")
        return FileTarget(model, None, self.folder, RunContext("0" * 12, STARTED, state=f"sqlite:///{self.file}"))

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return SqlitePlace.sql(self, *statements)  # type: ignore[arg-type]

    def rows(self, table: str = "customers", columns: str = "id, name, version", order: str = "1, 2, 3") -> list[tuple[Any, ...]]:
        files = f"read_parquet('{self.folder / table}/*.parquet', union_by_name = true)"
        return duckdb.sql(f"SELECT {columns} FROM {files} ORDER BY {order}").fetchall()

    def names(self) -> list[str]:
        return [path.parent.name for path in self.folder.glob("*/*.parquet")] + [
            p.name.split(".")[0] for p in self.folder.glob(".bp_staging/*")
        ]


@dataclass
class Attempt:
    """A run of one load, prepared: rows are staged into it, then it commits.

    Args:
        target: Where it goes.
        window: As Prepare gave it back.
        policy: How rows go in.
        dead: Rows that died before the merge, of `read`.
    """

    target: Target
    window: Window
    policy: Policy
    staged: list[Staged] = field(default_factory=list)
    newest: Mark | None = None
    dead: int = 0
    letters: list[Dead] = field(default_factory=list)

    @property
    def schema(self) -> pa.Schema:
        return self.window.schema("*")

    def name(self) -> str:
        return str(StagingName.of(self.window.service, self.window.run, new_attempt()))

    def stage(self, rows: Sequence[Any] | pa.RecordBatch, order: int = 0) -> Attempt:
        """Stage rows (tuples, or a batch of the source's types) as one bundle does."""
        stager = self.target.stager(self.name(), self.schema, order)
        stager.write(batch_of(rows, self.schema))
        self.staged.append(stager.finish())
        return self

    def lose(self, rows: int) -> Attempt:
        """Rows that became dead letters in a step before the merge."""
        from beam_pipelines.columnar import dead

        at = dead.SCHEMA.field("at").type
        letter = {"load": self.window.load, "step": "map", "code": "row-invalid", "message": "bad", "origin": "{}", "payload": "{}"}
        columns = {**{name: [text] * rows for name, text in letter.items()}, "at": pa.array([0] * rows, pa.int64()).cast(at)}
        stager = self.target.stager(self.name(), dead.SCHEMA, 0)
        stager.write(pa.RecordBatch.from_pydict(columns, schema=dead.SCHEMA))
        self.letters.append(Dead(stager.finish(), {"row-invalid": rows}))
        self.dead += rows
        return self

    @property
    def tally(self) -> Tally:
        load, rows = self.window.load, sum(part.rows for part in self.staged)
        read = ReadFact(load, rows + self.dead, dead=self.dead, newest=self.newest, letters=tuple(self.letters))
        return Tally.of(load, [read, StagedFact(load, rows, tuple(self.staged))], [])

    def commit(self) -> LoadCounts:
        return self.target.commit(self.window, self.policy, self.schema, self.tally)


def batch_of(rows: Sequence[Any] | pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if not isinstance(rows, pa.RecordBatch):
        columns = list(zip(*rows, strict=True)) or [()] * len(schema)
        rows = pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
    cast = conform(rows, schema)
    assert not cast.bad, cast.reasons
    return pa.RecordBatch.from_arrays(cast.batch.columns, schema=schema)


class Loading:
    """Loads into one place, run after run."""

    def __init__(self, place: Place | None, target: Target | None = None) -> None:
        self.place = place
        self.target = target or place.target()  # type: ignore[union-attr]
        self._runs = (f"{number:012x}" for number in count(1))

    def begin(
        self,
        schema: pa.Schema = CUSTOMERS,
        *,
        load: str = "customers",
        run: str | None = None,
        store: str = "store",
        service: str = "shop",
        keys: Sequence[str] = (),
        version: str | None = None,
        unique: bool = False,
        low: Mark | None = None,
        newest: Mark | None = None,
        target: Target | None = None,
        generation: int | None = None,
        **policy: Any,
    ) -> Attempt:
        """Prepare a run of a load.

        Args:
            unique: The keys are known not to repeat among the rows read.
            policy: Arguments of `Policy`.
        """
        target = target or self.target
        context = RunContext(run or next(self._runs), STARTED, store=store)
        standing = target.standing(service, load)
        window = Window(
            service,
            load,
            "source",
            context.run,
            standing.generation if generation is None else generation,
            low,
            fingerprint="f1",
            started_at=STARTED,
            full=low is None,
            key_fields=tuple(keys),
            version_column=version,
            unique_on=tuple(keys) if unique else (),
        ).with_schema("*", target.stored(schema))
        return Attempt(target, target.prepare(window, context), Policy(**policy), newest=newest)

    def load(self, rows: Sequence[Any] | pa.RecordBatch, schema: pa.Schema = CUSTOMERS, **how: Any) -> LoadCounts:
        """One whole run."""
        return self.begin(schema, **how).stage(rows).commit()

    def upsert(self, rows: Sequence[Any] | pa.RecordBatch, schema: pa.Schema = CUSTOMERS, **how: Any) -> LoadCounts:
        return self.load(rows, schema, **{"mode": "upsert", "keys": ("id",), **how})


SYSTEMS = ("duckdb", "sqlite", "postgresql", "portable-sqlite", "portable-postgresql")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "files_too: what targets without transactions must do as well")
    config.addinivalue_line("markers", "only(*systems): what some systems alone can do")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        files = ("parquet",) if metafunc.definition.get_closest_marker("files_too") else ()
        only = metafunc.definition.get_closest_marker("only")
        metafunc.parametrize("place", only.args if only else SYSTEMS + files, indirect=True)


@pytest.fixture(scope="session")
def one_database(postgres_server: Any) -> str:
    """One database for all tests of this folder: making one for each would take most of their time."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute("CREATE DATABASE targets")
    return str(postgres_server.url("targets"))


@pytest.fixture
def emptied_database(one_database: str) -> str:
    with psycopg.connect(one_database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return one_database


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Each system in turn, empty."""
    if request.param.endswith("postgresql"):
        made: type[PostgresPlace] = PortablePostgresPlace if request.param.startswith("portable") else PostgresPlace
        return made(request.getfixturevalue("emptied_database"))
    places: dict[str, Callable[[Path], Place]] = {
        "duckdb": DuckDbPlace,
        "sqlite": SqlitePlace,
        "portable-sqlite": PortableSqlitePlace,
        "parquet": ParquetPlace,
    }
    return places[request.param](tmp_path)


@pytest.fixture
def loading(place: Place) -> Iterator[Loading]:
    loading = Loading(place)
    yield loading
    loading.target.close()


@pytest.fixture(scope="session")
def loads() -> Callable[[Target], Loading]:
    """Loads into a target that a test made itself."""
    return lambda target: Loading(None, target)
