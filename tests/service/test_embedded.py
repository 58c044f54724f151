"""The service as one transform of a user's own pipeline: no launcher, the same rows, record, charge and dead letters."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineRunner

from beam_pipelines.errors import BeamPipelinesError, FatalError, FencedError, PlanError, TransientError
from beam_pipelines.etl import Etl
from beam_pipelines.etl.service import Service
from beam_pipelines.state.lease import at_work

Desk = Any

QUERY = {"query": "SELECT * FROM people WHERE updated_at > ?", "incremental": True}
STEPS = [{"id": "adults", "type": "filter", "condition": "age >= 18"}, {"id": "greet", "type": "function"}]
FUNCTIONS = """
def greet(row: dict) -> dict:
    return {"id": row["id"], "greeting": f"hello {row['id']}", "updated_at": row["updated_at"]}
"""


def greetings(desk: Desk, **more: Any) -> Path:
    desk.functions(FUNCTIONS)
    price = {"model": "per-record", "rate": "0.01"}
    path: Path = desk.etl(QUERY, {"table": "people", "mode": "upsert", "keyFields": ["id"]}, STEPS, pricing=price, **more)
    return path


def pipeline_at(desk: Desk, runner: str = "FnApiRunner") -> beam.Pipeline:
    """An empty pipeline of a user's."""
    return beam.Pipeline(runner=runner, options=PipelineOptions(list(desk.options)))


def run(desk: Desk, out: Path, etl: Etl, *, runner: str = "FnApiRunner") -> list[dict[str, Any]]:
    """A pipeline of a user's: the service, what hangs on its record, and something of its own beside it."""
    with pipeline_at(desk, runner) as pipeline:
        record = pipeline | etl
        record | "Tell" >> beam.Map(lambda record, to: Path(to).write_text(json.dumps(record)), str(out))
        mine = pipeline | beam.Create([1, 2, 3]) | beam.CombineGlobally(sum)
        mine | "Mine" >> beam.Map(lambda total, to: Path(to).write_text(str(total)), f"{out}.mine")
    assert Path(f"{out}.mine").read_text() == "6"
    return [json.loads(out.read_text())]


def test_a_full_load_and_an_increment_beside_other_transforms(desk: Desk, tmp_path: Path) -> None:
    desk.people(1, 200, bad=3)
    path, out = greetings(desk), tmp_path / "record.json"
    (first,) = run(desk, out, Etl(path, customer="acme", request="r-1"))
    assert first["status"] == "success"
    # 3 of 200 ages are words, 14 are below 18.
    assert {"recordsExtracted": 200, "recordsLoaded": 183, "recordsFiltered": 14, "recordsDeadLettered": 3}.items() <= first[
        "metrics"
    ].items()
    assert (first["customerId"], first["requestId"], first["charge"]["amount"]) == ("acme", "r-1", "2.00")
    assert len(desk.letters()) == 3
    desk.people(201, 250, seconds_ago=500)
    (second,) = run(desk, out, Etl(Service.load(path)))
    assert (second["metrics"]["recordsExtracted"], second["metrics"]["recordsLoaded"]) == (50, 50)
    assert desk.duckdb("target.duckdb", "SELECT count(*), count(DISTINCT id), max(greeting) FROM people") == [(233, 233, "hello 99")]
    with desk.store() as store:
        kept = store.executions("desk")
        assert [one.to_json() for one in kept] == [second, first]
        assert len(store.charges("desk")) == 2
        kinds = [event.type for event in store.events("desk", run=first["runId"])]
        assert kinds == ["ServiceRequest.created", "ServiceResult.deliver", "Payment.charge"]
    # The command goes on from where the pipeline stopped.
    assert desk.ran()["metrics"]["recordsExtracted"] == 0


def test_one_pipeline_may_run_often_and_hold_several_services(desk: Desk, tmp_path: Path) -> None:
    desk.people(1, 20)
    desk.etl({"table": "people"}, {"table": "all_people", "mode": "replace"})
    other = desk.define({**json.loads((desk.folder / "service.json").read_text()), "name": "Other"}, "other.json")
    definition = json.loads(other.read_text())
    definition["pipeline"]["destination"]["table"] = "others"
    other.write_text(json.dumps(definition))
    pipeline = pipeline_at(desk)
    records = (pipeline | Etl(desk.folder / "service.json"), pipeline | Etl(other))
    (
        records
        | beam.Flatten()
        | beam.Map(lambda record, to: Path(to, record["runId"]).write_text(record["serviceId"]), str(tmp_path / "runs"))
    )
    (tmp_path / "runs").mkdir()
    for _ in range(2):
        pipeline.run().wait_until_finish()
    assert sorted(path.read_text() for path in (tmp_path / "runs").iterdir()) == ["desk", "desk", "other", "other"]
    assert desk.duckdb("target.duckdb", "SELECT (SELECT count(*) FROM all_people), (SELECT count(*) FROM others)") == [(20, 20)]
    with desk.store() as store:
        assert [one.status for one in store.executions()] == ["success"] * 4


def test_a_run_that_fails_raises_in_the_pipeline_and_is_recorded(desk: Desk, tmp_path: Path) -> None:
    desk.people(1, 20, bad=5)
    path = greetings(desk, errorBudget={"max": 4})
    with pytest.raises(FatalError, match="5 of 20 rows failed, the error budget allows 4") as failed:
        run(desk, tmp_path / "record.json", Etl(path))
    assert failed.value.code == "budget-exceeded"
    with desk.store() as store:
        (execution,) = store.executions("desk")
    assert (execution.status, execution.error_code) == ("failed", "budget-exceeded")
    assert len(desk.letters()) == 5
    assert not (tmp_path / "record.json").exists()
    # Its lease is given back: the command runs at once.
    assert desk.run().exit_code == 1


def test_what_prepare_refuses_is_recorded(desk: Desk, tmp_path: Path) -> None:
    desk.people(1, 5)
    desk.etl({"table": "people"}, {"table": "people", "mode": "upsert", "keyFields": ["nowhere"]})
    with pytest.raises(PlanError, match="'nowhere' is not among the columns"):
        run(desk, tmp_path / "record.json", Etl(desk.folder / "service.json"))
    with desk.store() as store:
        assert [(one.status, one.error_code) for one in store.executions("desk")] == [("failed", "key-missing")]


def test_a_pipeline_that_fails_elsewhere_leaves_a_run_that_the_next_one_settles(desk: Desk, tmp_path: Path) -> None:
    desk.people(1, 20)
    desk.functions("def broken(row: dict) -> dict:\n    raise SystemExit(3)\n")
    steps = [{"id": "broken", "type": "function", "output": {"id": "bigint"}}]
    path = desk.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps)
    with pytest.raises(FatalError, match="broken wanted to end the process"):
        run(desk, tmp_path / "record.json", Etl(path))
    desk.functions("def broken(row: dict) -> dict:\n    return {'id': row['id']}\n")
    # The same process, so its lease is no obstacle.
    (record,) = run(desk, tmp_path / "record.json", Etl(path))
    assert record["metrics"]["recordsLoaded"] == 20
    with desk.store() as store:
        assert [one.status for one in store.executions("desk")] == ["success", "lost"]
    assert desk.duckdb("target.duckdb", "SELECT count(*) FROM people") == [(20,)]


@pytest.mark.long
def test_another_process_waits_for_the_lease_and_a_run_that_was_given_up_commits_nothing(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.people(1, 20)
    # A row function that looks like a night's work: meanwhile the command is tried, and another pipeline takes over.
    desk.functions(
        "import subprocess, sys, pathlib\n"
        f"COMMAND = [sys.executable, '-m', 'beam_pipelines.etl', '--service', 'service.json', *{desk.options!r}]\n"
        "def slow(row: dict) -> dict:\n"
        "    if row['id'] == 1 and not pathlib.Path('tried').exists():\n"
        "        done = subprocess.run(COMMAND, capture_output=True)\n"
        "        pathlib.Path('tried').write_text(str(done.returncode))\n"
        "    return {'id': row['id']}\n"
    )
    steps = [{"id": "slow", "type": "function", "output": {"id": "bigint"}}]
    path = desk.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps)
    monkeypatch.chdir(desk.folder)
    (record,) = run(desk, tmp_path / "record.json", Etl(path))
    assert (desk.folder / "tried").read_text() == "4"
    assert record["metrics"]["recordsLoaded"] == 20
    (desk.folder / "tried").unlink()
    with pytest.raises(FencedError, match="its lease had run out, and another run of the service gave it up"):
        run(desk, tmp_path / "record.json", Etl(path, lease_seconds=0.001))
    assert (desk.folder / "tried").read_text() == "0"
    with desk.store() as store:
        assert [one.status for one in store.executions("desk")] == ["success", "lost", "success"]
    assert desk.duckdb("target.duckdb", "SELECT count(*) FROM people") == [(40,)]


@pytest.mark.no_bundle
def test_what_cannot_be_run_so_is_refused_when_the_pipeline_is_made(desk: Desk) -> None:
    path = desk.etl({"table": "people"}, {"table": "people", "mode": "insert"}, [{"id": "nobody", "type": "function"}])
    with pytest.raises(BeamPipelinesError, match="nobody"):
        beam.Pipeline(runner="FnApiRunner") | Etl(path)
    path = desk.etl({"table": "people"}, {"table": "people", "mode": "insert"})
    with pytest.raises(PlanError, match="PrismRunner is not served"):
        beam.Pipeline(options=PipelineOptions(["--runner=PrismRunner"])) | Etl(path)
    with pytest.raises(PlanError, match="PortableRunner is not served"):
        beam.Pipeline(runner=PortableRunner()) | Etl(path)
    for one in ("DaskRunner", "InteractiveRunner"):
        made = type(one, (PipelineRunner,), {})()
        with pytest.raises(PlanError, match=f"^{one} is refused: it ") as refused:
            beam.Pipeline(runner=made) | Etl(path)
        assert refused.value.code == "runner-refused"
    with pytest.raises(PlanError, match="multi_threading is refused"):
        beam.Pipeline(runner="FnApiRunner", options=PipelineOptions(["--direct_running_mode=multi_threading"])) | Etl(path)
    # What `beam.Pipeline()` makes tries Prism, and when that fails runs everything again.
    for runner in (None, "DirectRunner", "BundleBasedDirectRunner"):
        with pytest.raises(PlanError, match=r"give the runner that is, beam\.Pipeline\(runner='FnApiRunner'\)") as refused:
            beam.Pipeline(runner=runner) | Etl(path)
        assert refused.value.code == "runner-refused"
    with pytest.raises(PlanError, match="name it as a connection"):
        Etl(path, state="postgresql://me:s3cret@db/runs")
    with pytest.raises(ValueError, match="lease_seconds above 0"):
        Etl(path, lease_seconds=0)
    with pytest.raises(ValueError, match="beside a Service"):
        Etl(Service.load(path), state="x.db")


def test_on_postgresql_the_state_store_is_named_and_no_secret_is_in_the_pipeline(
    desk: Desk, postgres_database: str, tmp_path: Path
) -> None:
    desk.postgres(
        postgres_database,
        "CREATE TABLE people (id int PRIMARY KEY, age int, updated_at timestamptz NOT NULL)",
        "INSERT INTO people SELECT i, i, now() - interval '1 hour' FROM generate_series(1, 100) i",
    )
    desk.connect(source=postgres_database, target=postgres_database, runs=postgres_database)
    path = desk.etl(QUERY, {"table": "greetings", "mode": "upsert", "keyFields": ["id"]}, STEPS)
    desk.functions(FUNCTIONS)
    pipeline = pipeline_at(desk)
    pipeline | Etl(path, state="runs")
    assert postgres_database.encode() not in pipeline.to_runner_api().SerializeToString()
    (record,) = run(desk, tmp_path / "record.json", Etl(path, state="runs"))
    assert record["metrics"]["recordsLoaded"] == 83
    assert "each from a snapshot of its own" in record["guarantee"]
    assert "snapshot" not in desk.service.plan().guarantee.reasons[-1]
    assert desk.postgres(postgres_database, "SELECT status FROM beam_pipelines.executions") == [("success",)]
    desk.postgres(postgres_database, "UPDATE people SET updated_at = now() WHERE id = 50")
    (again,) = run(desk, tmp_path / "record.json", Etl(path, state="runs"))
    assert (again["metrics"]["recordsExtracted"], again["metrics"]["recordsLoaded"]) == (1, 1)
    assert desk.postgres(postgres_database, "SELECT count(*) FROM greetings") == [(83,)]


def test_a_death_between_the_commit_and_the_record_is_settled_by_the_next_run(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.people(1, 100, bad=2)
    path = greetings(desk)

    def dies(*_: Any) -> Any:
        raise RuntimeError("the power is cut")

    with monkeypatch.context() as cut:
        cut.setattr("beam_pipelines.engine.embedded.finish", dies)
        with pytest.raises(RuntimeError, match="the power is cut"):
            run(desk, tmp_path / "record.json", Etl(path, customer="acme"))
    with desk.store() as store:
        (left,) = store.executions("desk")
        assert (left.status, store.charges("desk")) == ("committing", [])
    (record,) = run(desk, tmp_path / "record.json", Etl(path))
    assert record["metrics"]["recordsExtracted"] == 0
    with desk.store() as store:
        settled = store.execution(left.run)
        assert (settled.status, settled.metrics.records_loaded, settled.metrics.records_dead_lettered) == ("success", 83, 2)
        assert [charge.amount for charge in store.charges("desk") if charge.run == left.run] == [1]
    assert len(desk.letters()) == 2
    assert desk.duckdb("target.duckdb", "SELECT count(*), count(DISTINCT id) FROM people") == [(83, 83)]


@pytest.mark.parametrize("system", ["sqlite", "postgresql"])
def test_dead_letters_are_where_the_command_has_them_for_the_same_store(
    desk: Desk, system: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(tmp_path_factory.mktemp("working"))
    url = f"sqlite:///{elsewhere / 'runs.db'}" if system == "sqlite" else request.getfixturevalue("postgres_database")
    desk.connect(runs=url)
    desk.people(1, 50, bad=3)
    path = greetings(desk)
    (mine,) = run(desk, elsewhere / "record.json", Etl(path, state="runs"))
    beside = (elsewhere if system == "sqlite" else desk.folder / ".beam_pipelines") / "dead-letters" / "desk"
    assert [file.name for file in beside.iterdir()] == [f"{mine['runId']}.jsonl"]
    assert list(Path.cwd().iterdir()) == []
    theirs = Service.load(path, state=url).run(full_refresh=True, options=desk.options)
    assert sorted(file.name for file in beside.iterdir()) == sorted(f"{one}.jsonl" for one in (mine["runId"], theirs.execution.run))


def test_what_a_step_staged_in_a_pipeline_that_died_is_dropped_by_the_next_run(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.people(1, 20)
    desk.functions("def picky(row: dict) -> dict:\n    if row['id'] <= 3:\n        raise ValueError('no')\n    return {'id': row['id']}\n")
    steps = [{"id": "picky", "type": "function", "output": {"id": "bigint"}}]
    path = desk.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps, errorBudget={"max": 3})

    def staged() -> list[str]:
        names = [found.group() for place in desk.folder.rglob("*") if (found := re.match(r"_bp_[^.]*", place.name))]
        return sorted(set(names))

    def dies(*_: Any) -> Any:
        raise RuntimeError("the power is cut")

    with monkeypatch.context() as cut:
        cut.setattr("beam_pipelines.engine.embedded.commit_loads", dies)
        with pytest.raises(RuntimeError, match="the power is cut"):
            run(desk, tmp_path / "record.json", Etl(path))
    with desk.store() as store:
        (left,) = store.executions("desk")
    assert len(staged()) == (4 if desk.options else 2)  # rows and dead letters, of each execution of the bundle
    assert all(f"_{left.run}_" in name for name in staged())
    (record,) = run(desk, tmp_path / "record.json", Etl(path))
    assert (record["metrics"]["recordsLoaded"], record["metrics"]["recordsDeadLettered"]) == (17, 3)
    assert {letter["runId"] for letter in desk.letters()} == {record["runId"]}
    assert staged() == []


def test_a_locked_state_store_costs_the_word_committing_and_not_the_run(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    desk.people(1, 20)
    path = greetings(desk)

    def locked(*_: Any) -> bool:
        raise TransientError("the state store is locked")

    monkeypatch.setattr("beam_pipelines.state.store.StateStore.set_status", locked)
    (record,) = run(desk, tmp_path / "record.json", Etl(path))
    assert (record["status"], record["metrics"]["recordsLoaded"]) == ("success", 3)
    assert "commits is not recorded: the state store is locked" in caplog.text


OTHER = """
import pathlib, threading
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from beam_pipelines.etl import Etl

def other():
    here = pathlib.Path(__file__).parent
    try:
        with beam.Pipeline(runner="FnApiRunner", options=PipelineOptions(OPTIONS)) as pipeline:
            pipeline | Etl(here / "service.json")
    except Exception as error:
        (here / "tried").write_text(f"{type(error).__name__}: {error}")
    else:
        (here / "tried").write_text("it ran")

def slow(row: dict) -> dict:
    trying = pathlib.Path(__file__).parent / "trying"
    if row["id"] == 1 and not trying.exists():
        trying.touch()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    return {"id": row["id"]}
"""


def test_two_threads_of_one_process_do_not_run_a_service_at_once(desk: Desk, tmp_path: Path) -> None:
    desk.people(1, 20)
    desk.functions(f"{OTHER}\nOPTIONS = {list(desk.options)!r}\n")
    steps = [{"id": "slow", "type": "function", "output": {"id": "bigint"}}]
    path = desk.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps)
    (record,) = run(desk, tmp_path / "record.json", Etl(path))
    assert record["metrics"]["recordsLoaded"] == 20
    tried = (desk.folder / "tried").read_text()
    assert tried.startswith("ActiveRunError: service 'desk' is being run already")
    assert record["runId"] in tried
    with desk.store() as store:
        assert [one.status for one in store.executions("desk")] == ["success"]
    assert at_work == set()


@pytest.mark.no_bundle
@pytest.mark.parametrize("how", ["handed over", "exchanged"])
def test_a_pipeline_that_another_runner_executes_than_it_was_made_with_does_not_begin(desk: Desk, how: str) -> None:
    desk.people(1, 20)
    pipeline = pipeline_at(desk)
    pipeline | Etl(greetings(desk))
    other = BundleBasedDirectRunner()
    if how == "exchanged":
        pipeline.runner = other
    start = pipeline.run if how == "exchanged" else partial(other.run_pipeline, pipeline, pipeline.options)
    with pytest.raises(Exception, match="is executed by another runner than it was made with") as refused:
        start().wait_until_finish()
    assert "beam.Pipeline(runner='FnApiRunner')" in str(refused.value)
    assert at_work == set()
    with desk.store() as store:
        assert store.executions("desk") == []
    assert not (desk.folder / "target.duckdb").exists()


def test_a_pipeline_that_is_run_again_by_the_same_runner_settles_what_it_left(desk: Desk, tmp_path: Path) -> None:
    desk.people(1, 20)
    mended = tmp_path / "mended"
    desk.functions(
        "import pathlib\n"
        f"mended = pathlib.Path({str(mended)!r})\n"
        "def broken(row: dict) -> dict:\n    if not mended.exists():\n        raise SystemExit(3)\n    return {'id': row['id']}\n"
    )
    steps = [{"id": "broken", "type": "function", "output": {"id": "bigint"}}]
    path = desk.etl({"table": "people"}, {"table": "people", "mode": "insert"}, steps)
    pipeline = pipeline_at(desk)
    pipeline | Etl(path)
    for _ in range(2):
        with pytest.raises(FatalError, match="broken wanted to end the process"):
            pipeline.run().wait_until_finish()
        assert at_work == set()
    mended.touch()
    pipeline.run().wait_until_finish()
    with desk.store() as store:
        assert [one.status for one in store.executions("desk")] == ["success", "lost", "lost"]
    assert desk.duckdb("target.duckdb", "SELECT count(*) FROM people") == [(20,)]


@pytest.mark.parametrize("how", ["inner", "full"])
def test_a_service_with_a_join(desk: Desk, tmp_path: Path, how: str) -> None:
    desk.people(1, 100)
    desk.sqlite("source.db", "CREATE TABLE names (number INTEGER PRIMARY KEY, name TEXT)")
    desk.sqlite("source.db", "INSERT INTO names VALUES (5, 'five'), (200, 'two hundred')")
    source = {"type": "database", "connection": "source", "table": "names"}
    step = {"id": "named", "type": "join", "how": how, "on": {"id": "number"}, "source": source}
    path = desk.etl({"table": "people"}, {"table": "people", "mode": "replace"}, [step])
    (record,) = run(desk, tmp_path / "record.json", Etl(path))
    assert record["status"] == "success"
    found = desk.duckdb("target.duckdb", "SELECT id, name FROM people WHERE name IS NOT NULL ORDER BY id")
    assert found == [(5, "five"), (200, "two hundred")][: 2 if how == "full" else 1]
    assert desk.duckdb("target.duckdb", "SELECT count(*) FROM people") == [(101 if how == "full" else 1,)]
