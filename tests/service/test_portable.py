"""Portable by construction: a pipeline's proto, written by one process, is run by another that has nothing else of the first.

The other process has the proto with its staged artifacts (the user's functions), this package, and in its environment the run context and
the connections. The definition's folder is away when it runs. Rows, commit and record must be those of a run at home.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engine.artifact import pack
from beam_pipelines.engine.job import Job
from beam_pipelines.errors import PlanError
from beam_pipelines.etl.service import Service
from beam_pipelines.io.connections import variable
from beam_pipelines.runs.context import VARIABLE, RunContext
from beam_pipelines.runs.names import new_run
from beam_pipelines.state import Execution, StateStore
from beam_pipelines.testing.portable import write

Desk = Any

SOURCE = (
    "CREATE TABLE people (id bigint PRIMARY KEY, name text, age int, updated_at timestamptz NOT NULL)",
    "INSERT INTO people SELECT i, 'person ' || i, i % 80, now() - interval '1 hour' FROM generate_series(1, 2000) i",
    "UPDATE people SET name = NULL WHERE id % 100 = 0",
    "ANALYZE people",  # windows hold the estimate of their rows: it must not change between two runs
)
MORE = (
    "INSERT INTO people SELECT i, 'person ' || i, i % 80, now() - interval '1 minute' FROM generate_series(2001, 2050) i",
    "UPDATE people SET age = 79, updated_at = now() - interval '1 minute' WHERE id <= 10",
    "ANALYZE people",
)
FUNCTIONS = """
from wording.names import shout


def greet(row: dict) -> dict:
    return {**row, "greeting": shout(row["name"])}
"""
DEFINITION = {
    "name": "Greetings",
    "pipeline": {
        "source": {"type": "database", "connection": "crm", "query": "SELECT * FROM people WHERE updated_at > ?", "incremental": True},
        "transformations": [
            {
                "id": "greet",
                "type": "function",
                "output": {"id": "bigint", "name": "text", "age": "bigint", "updated_at": "timestamptz", "greeting": "text"},
            },
            {"id": "adults", "type": "filter", "condition": "age >= 18"},
        ],
        "destination": {"type": "data-warehouse", "connection": "warehouse", "table": "greetings", "keyFields": ["id"]},
    },
    "pricing": {"model": "per-record", "rate": "0.001", "additionalCosts": {"greet": "1"}},
}
SECRET = "s3cret-of-the-warehouse"


@pytest.fixture
def greetings(desk: Desk, postgres_server: Any, postgres_database: str) -> Iterator[Desk]:
    """The service with its functions at home, a source, and two empty warehouses: `connections` names the first, `elsewhere` the other."""
    desk.define(DEFINITION)
    desk.functions(FUNCTIONS)
    (desk.folder / "wording").mkdir()
    (desk.folder / "wording" / "names.py").write_text("def shout(name):\n    return 'HELLO ' + name.upper()\n")
    desk.postgres(postgres_database, *SOURCE)
    names = [f"warehouse_{new_run()}" for _ in range(2)]
    admin = postgres_server.url()
    desk.postgres(admin, f"CREATE ROLE writer_{names[0]} LOGIN PASSWORD '{SECRET}'")
    for name in names:
        desk.postgres(admin, f"CREATE DATABASE {name} OWNER writer_{names[0]}")
    at_home, elsewhere = (f"postgresql://writer_{names[0]}:{SECRET}@127.0.0.1:{postgres_server.port}/{name}" for name in names)
    desk.connections = {}
    desk.connect(crm=postgres_database, warehouse=at_home)
    desk.elsewhere = elsewhere
    yield desk
    for name in names:
        desk.postgres(admin, f"DROP DATABASE {name} WITH (FORCE)")
    desk.postgres(admin, f"DROP ROLE writer_{names[0]}")


def context(store: str = "", **more: Any) -> RunContext:
    """The context of a run whose launcher is elsewhere: no folder, no connections file, no progress."""
    now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
    return RunContext(run=new_run(), started_at=now, store=store, local=False, **more)


def run_elsewhere(desk: Desk, folder: Path, run: RunContext, **connections: str) -> subprocess.CompletedProcess[str]:
    """Run a written pipeline in another process, in another folder, with an environment that holds nothing but what it may have."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    environment |= {variable(name.replace("_", "-")): place for name, place in connections.items()}
    environment[VARIABLE] = run.to_text()
    away = folder.parent / "away"
    away.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "beam_pipelines.testing.portable", str(folder), *desk.options],
        cwd=away,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def rows(desk: Desk, url: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = desk.postgres(url, "SELECT id, name, age, greeting, updated_at FROM greetings ORDER BY id")
    return found


def commits(desk: Desk, url: str) -> list[Any]:
    """The ledger's rows, without what differs by nature: run ids, names of staging, times."""
    found = desk.postgres(url, 'SELECT status, generation, counts, "plan" FROM _beam_pipelines_loads ORDER BY generation')
    return [(status, generation, plain(json.loads(counts)), plain(json.loads(window))) for status, generation, counts, window in found]


def plain(value: Any) -> Any:
    """JSON without ids, times and sizes of staging objects."""
    by_nature = (
        "run",
        "name",
        "started_at",
        "seconds",
        "read_seconds",
        "stage_seconds",
        "bytes",
        "ceiling",
        "ceiling_by",
        "runId",
        "startedAt",
    )
    by_nature += ("completedAt", "duration", "durationSeconds", "snapshot", "guarantee")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in by_nature}
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_the_proto_run_elsewhere_gives_the_rows_the_commit_and_the_record_of_a_run_at_home(greetings: Desk, tmp_path_factory: Any) -> None:
    desk, crm = greetings, greetings.connections["crm"]
    written = tmp_path_factory.mktemp("template") / "job"
    write(Job.of(desk.service.definition, desk.folder), written)
    store_url = f"sqlite:///{tmp_path_factory.mktemp('launcher')}/state.db"
    hidden = tmp_path_factory.mktemp("hidden") / "service"
    at_home, away = [], []
    for changes in ((), MORE):
        desk.postgres(crm, *changes)
        at_home.append(desk.ran())
        assert desk.ran()["metrics"]["recordsExtracted"] == 0
        # The definition's folder is away: what runs elsewhere has the artifacts alone. One proto serves the full load and the increment.
        desk.folder.rename(hidden)
        away.append(elsewhere(desk, written, store_url))
        hidden.rename(desk.folder)
        # The launcher: it began the record, was gone when the run ended, and rolls it forward when it comes next.
        settled = launch(desk, store_url)
        assert settled == (away[-1],)
    # 2,050 people; 18 of each 80 ages are below 18; person 1 was changed to 79 years.
    assert rows(desk, desk.elsewhere) == rows(desk, desk.connections["warehouse"])
    assert len(rows(desk, desk.elsewhere)) > 1500
    assert rows(desk, desk.elsewhere)[0][:4] == (1, "person 1", 79, "HELLO PERSON 1")
    assert commits(desk, desk.elsewhere) == commits(desk, desk.connections["warehouse"])
    with StateStore(store_url) as store:
        records = [one.to_json() for one in map(store.execution, away) if one]
        assert [plain(record) for record in records] == [plain(record) for record in at_home]
        assert len(store.charges("greetings")) == 4
        kinds = [[event.type for event in store.events("greetings", run=run) if "Progress" not in event.type] for run in away]
    assert kinds == [["ServiceRequest.created", "ServiceResult.deliver", "Payment.charge"]] * 2


def test_groups_made_elsewhere_are_those_made_at_home(greetings: Desk, tmp_path_factory: Any) -> None:
    desk = greetings
    totals = {
        "id": "totals",
        "type": "aggregate",
        "groupBy": ["age"],
        "aggregations": {"*": "count", "id": ["sum", "median"], "greeting": ["first", "count_distinct"]},
        "having": "count > 24",
    }
    destination = {"type": "data-warehouse", "connection": "warehouse", "table": "totals", "mode": "replace"}
    steps = [*DEFINITION["pipeline"]["transformations"], totals]  # type: ignore[index]
    source = {"type": "database", "connection": "crm", "table": "people"}
    desk.define({"name": "Totals", "pipeline": {"source": source, "transformations": steps, "destination": destination}})
    written = tmp_path_factory.mktemp("template") / "job"
    write(Job.of(desk.service.definition, desk.folder), written)
    desk.ran()
    done = run_elsewhere(desk, written, context(), crm=desk.connections["crm"], warehouse=desk.elsewhere)
    assert done.returncode == 0, done.stderr[-3000:]
    found = desk.postgres(desk.elsewhere, "SELECT * FROM totals ORDER BY age")
    assert found == desk.postgres(desk.connections["warehouse"], "SELECT * FROM totals ORDER BY age")
    # 2,000 people are 25 of each age; of ages 20, 40 and 60, one in five has no name, so there is nothing to greet.
    assert len(found) == 62 - 3
    assert found[0] == (18, 25, sum(range(18, 2000, 80)), 18 + 80 * 12, "HELLO PERSON 18", 25)


@pytest.mark.parametrize("how", ["left", "full"])
def test_joins_elsewhere_give_the_rows_of_those_at_home(greetings: Desk, tmp_path_factory: Any, how: str) -> None:
    desk = greetings
    desk.functions("from wording.names import shout\n\n\ndef loud(row):\n    return {'age': row['age'], 'label': shout(row['label'])}\n")
    desk.postgres(
        desk.connections["crm"],
        "CREATE TABLE ages (age int PRIMARY KEY, label text)",
        "INSERT INTO ages SELECT i, 'age ' || i FROM generate_series(40, 99) i",
    )
    # The user's code is in the source of the join alone: it must be sent to workers all the same.
    loud = {"id": "loud", "type": "function", "output": {"age": "int", "label": "text"}}
    ages = {"type": "database", "connection": "crm", "table": "ages", "transformations": [loud]}
    source = {"type": "database", "connection": "crm", "table": "people"}
    destination = {"type": "data-warehouse", "connection": "warehouse", "table": "aged", "mode": "replace"}
    steps = [{"id": "aged", "type": "join", "how": how, "on": ["age"], "source": ages}]
    desk.define({"name": "Aged", "pipeline": {"source": source, "transformations": steps, "destination": destination}})
    written = tmp_path_factory.mktemp("template") / "job"
    write(Job.of(desk.service.definition, desk.folder), written)
    content = b"".join(path.read_bytes() for path in written.rglob("*") if path.is_file())
    for hidden in (SECRET, desk.connections["crm"], "127.0.0.1", str(desk.folder)):
        assert hidden.encode() not in content
    desk.ran()
    done = run_elsewhere(desk, written, context(), crm=desk.connections["crm"], warehouse=desk.elsewhere)
    assert done.returncode == 0, done.stderr[-3000:]
    found = desk.postgres(desk.elsewhere, "SELECT id, age, label FROM aged ORDER BY id, age")
    assert found == desk.postgres(desk.connections["warehouse"], "SELECT id, age, label FROM aged ORDER BY id, age")
    # Ages are 0..79: those from 80 are met by nobody.
    assert len(found) == 2000 + (20 if how == "full" else 0)
    assert [row for row in found if row[0] in (39, 40)] == [(39, 39, None), (40, 40, "HELLO AGE 40")]


def launch(desk: Desk, store_url: str) -> tuple[str, ...]:
    """Run the service where the launcher is, into the other warehouse; gives the runs that it settled."""
    place = desk.folder / "elsewhere.yaml"
    place.write_text(json.dumps({"crm": desk.connections["crm"], "warehouse": desk.elsewhere}))
    result = Service.load(desk.folder / "service.json", connections=place, state=store_url).run(options=desk.options)
    assert (result.exit_code, result.to_json()["metrics"]["recordsExtracted"]) == (0, 0)
    settled: tuple[str, ...] = result.settled
    return settled


def elsewhere(desk: Desk, written: Path, store_url: str) -> str:
    """Begin a record, as a launcher does, and run the written pipeline elsewhere; gives the run."""
    with StateStore(store_url) as store:
        one = context(store.id)
        guarantee = "exactly-once"
        store.begin(
            Execution("greetings", one.run, datetime.fromisoformat(one.started_at), name="Greetings", kind="etl", guarantee=guarantee)
        )
    done = run_elsewhere(desk, written, one, crm=desk.connections["crm"], warehouse=desk.elsewhere)
    assert done.returncode == 0, done.stderr[-3000:]
    assert SECRET not in done.stdout + done.stderr
    return one.run


def test_neither_proto_nor_artifacts_hold_a_secret_a_url_or_a_path(greetings: Desk, tmp_path_factory: Any) -> None:
    written = tmp_path_factory.mktemp("template") / "job"
    (greetings.folder / ".venv").mkdir()
    (greetings.folder / ".venv" / "other.py").write_text("")
    write(Job.of(greetings.service.definition, greetings.folder), written)
    content = b"".join(path.read_bytes() for path in written.rglob("*") if path.is_file())
    names: list[str] = []
    for wheel in written.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names += archive.namelist()
            content += b"".join(archive.read(name) for name in archive.namelist())
    for hidden in (SECRET, greetings.connections["crm"], "127.0.0.1", str(greetings.folder)):
        assert hidden.encode() not in content
    assert sorted(name.partition("/")[2] for name in names if ".dist-info" not in name) == [
        "__init__.py",
        "functions.py",
        "wording/names.py",
    ]


def test_without_the_artifact_the_run_says_what_is_missing_and_writes_nothing(greetings: Desk, tmp_path_factory: Any) -> None:
    written = tmp_path_factory.mktemp("template") / "job"
    write(Job.of(greetings.service.definition, greetings.folder), written)
    for wheel in written.glob("*.whl"):
        wheel.unlink()
    done = run_elsewhere(greetings, written, context(), crm=greetings.connections["crm"], warehouse=greetings.elsewhere)
    assert done.returncode != 0
    assert "--extra_package" in done.stderr
    assert greetings.postgres(greetings.elsewhere, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def test_without_a_connection_the_run_names_the_variable(greetings: Desk, tmp_path_factory: Any) -> None:
    written = tmp_path_factory.mktemp("template") / "job"
    write(Job.of(greetings.service.definition, greetings.folder), written)
    done = run_elsewhere(greetings, written, context(), crm=greetings.connections["crm"])
    assert done.returncode != 0
    assert "BEAM_PIPELINES_CONNECTION_WAREHOUSE" in done.stderr


def test_the_state_store_is_named_like_a_connection_where_the_ledger_is_in_it(
    desk: Desk, postgres_database: str, tmp_path_factory: Any
) -> None:
    """Files have no transaction, so their ledger is in the state store; the context of a run elsewhere names it."""
    desk.postgres(postgres_database, *SOURCE)
    out = tmp_path_factory.mktemp("lake")
    desk.connect(source=postgres_database)
    desk.define(
        {
            "name": "Lake",
            "pipeline": {
                "source": {"type": "database", "connection": "source", "table": "people"},
                "destination": {"type": "file", "path": str(out / "people.parquet"), "mode": "replace"},
            },
        }
    )
    written = tmp_path_factory.mktemp("template") / "job"
    write(Job.of(desk.service.definition, desk.folder), written)
    one = context(state="state-store")
    done = run_elsewhere(desk, written, one, source=postgres_database, state_store=postgres_database)
    assert done.returncode == 0, done.stderr[-3000:]
    import pyarrow.parquet as pq

    table = pq.read_table(out / "people.parquet")
    assert sorted(table.column("id").to_pylist()) == list(range(1, 2001))
    loads = desk.postgres(
        postgres_database,
        "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_name LIKE '%loads'",
    )
    assert len(loads) == 1
    assert desk.postgres(postgres_database, f"SELECT run, status FROM {loads[0][0]}") == [(one.run, "committed")]
    # The same proto again: a second run of the template exchanges the file, under a ledger row of its own.
    again = context(state="state-store")
    assert run_elsewhere(desk, written, again, source=postgres_database, state_store=postgres_database).returncode == 0
    assert len(desk.postgres(postgres_database, f"SELECT run FROM {loads[0][0]} WHERE status = 'committed'")) == 2


def test_the_same_code_gives_the_same_artifact_and_other_code_another(tmp_path: Path) -> None:
    folder, out = tmp_path / "service", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    (folder / "functions.py").write_text("def f(row):\n    return row\n")
    (folder / "connections.yaml").write_text("a: postgresql://user:secret@host/db\n")
    first, wheel = pack(folder, out)
    content = wheel.read_bytes()
    assert pack(folder, out)[1].read_bytes() == content
    (folder / "functions.py").write_text("def f(row):\n    return None\n")
    assert pack(folder, out)[0] != first


def test_the_artifact_is_a_wheel_that_pip_installs(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text("ANSWER = 42\n")
    package, wheel = pack(tmp_path, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path / "site"), str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "site" / package / "functions.py").read_text() == "ANSWER = 42\n"


def test_a_folder_that_is_somebodys_home_is_not_sent_to_workers(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text("#" * (17 << 20))
    with pytest.raises(PlanError, match="a folder of its own"):
        pack(tmp_path, tmp_path)
