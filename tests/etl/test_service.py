from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import make_url

from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.etl.service import Service
from beam_pipelines.state.store import StateStore

DEFINITION = """\
name: Customers
pipeline:
  source:
    type: database
    connection: crm
    table: customers
    cursor: {column: updated_at}
  transformations:
    - {id: adults, type: filter, condition: age >= 18}
  destination:
    type: data-warehouse
    connection: warehouse
    table: customers
    mode: upsert
"""


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    """A service from a table without a primary key, so that `upsert` needs keyFields; nothing was run yet."""
    with sqlite3.connect(tmp_path / "crm.db") as crm:
        crm.execute("CREATE TABLE customers (id INTEGER, age INTEGER, updated_at TIMESTAMP)")
        crm.execute("INSERT INTO customers VALUES (1, 30, '2026-01-01 00:00:00')")
    crm.close()
    (tmp_path / "connections.yaml").write_text("crm: crm.db\nwarehouse: warehouse.duckdb\n")
    path = tmp_path / "customers.yaml"
    path.write_text(DEFINITION)
    return path


def write(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_what_a_plan_refuses_is_shown_at_its_line(definition: Path) -> None:
    write(definition, "mode: upsert", "mode: replace")
    with pytest.raises(PlanError) as refused:
        Service.load(definition).plan()
    assert f"{definition}:14:11: pipeline.destination.mode: replace without keyFields" in str(refused.value)
    assert refused.value.code == "mode-refused"


def test_what_a_step_refuses_is_shown_at_its_line(definition: Path) -> None:
    write(definition, "age >= 18", "agee >= 18")
    with pytest.raises(PlanError) as refused:
        Service.load(definition).preview()
    assert f"{definition}:9:45: pipeline.transformations[0].condition: " in str(refused.value)


def test_what_a_run_refuses_when_it_has_begun_is_shown_at_its_line_too(definition: Path) -> None:
    result = Service.load(definition).run()
    assert result.exit_code == 2
    assert isinstance(result.error, PlanError)
    (problem,) = result.error.problems
    # keyFields is what is missing: the nearest key that is there is its parent.
    assert (str(definition), 10, "pipeline.destination.keyFields") == (problem.file, problem.line, problem.path)
    assert result.execution.error_code == "key-missing"
    assert "needs to know which columns name a row" in (result.execution.error or "")


def test_a_definition_made_in_python_is_refused_by_its_keys_alone(definition: Path) -> None:
    loaded = Service.load(definition)
    with pytest.raises(PlanError) as refused:
        Service(loaded.definition.model_copy(update={"dead_letters": "s3://letters"}), definition.parent).run()
    assert "deadLetters: expected a local folder" in str(refused.value)
    assert str(definition) not in str(refused.value)


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_dead_letters_are_beside_the_state_store_however_it_is_named(definition: Path, tmp_path: Path, form: str) -> None:
    write(definition, "    mode: upsert\n", "    mode: upsert\n    keyFields: [id]\nerrorBudget: {max: 100%}\n")
    with sqlite3.connect(tmp_path / "crm.db") as crm:
        crm.execute("INSERT INTO customers VALUES (2, 'old', '2026-01-01 00:00:00')")
    crm.close()
    place = tmp_path / "elsewhere" / "runs.db"
    result = Service.load(definition, state=form.format(place)).run()
    assert (result.exit_code, result.execution.metrics.records_dead_lettered) == (0, 1)
    assert place.exists()
    assert (tmp_path / "elsewhere" / "dead-letters" / "customers" / f"{result.execution.run}.jsonl").exists()
    assert not (tmp_path / ".beam_pipelines").exists()


def test_a_state_store_may_be_given_as_a_path_and_is_where_the_working_directory_says(
    definition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    service = Service.load(definition, state=Path("state/runs.db"))
    assert service.state_url == f"sqlite:///{tmp_path}/state/runs.db"
    assert service.beside == tmp_path / "state"
    # A definition of the same name that is loaded elsewhere has its store beside itself.
    assert Service.load(definition).state_url == f"sqlite:///{tmp_path}/.beam_pipelines/state.db"
    assert Service.load(definition, state="postgresql://me@db/runs").beside == tmp_path / ".beam_pipelines"


@pytest.mark.parametrize("run", ["", "nightly", "0123456789AB"])
def test_a_run_id_that_staging_would_not_be_found_by_is_refused_before_anything_starts(definition: Path, run: str) -> None:
    write(definition, "mode: upsert", "mode: insert")
    with pytest.raises(SpecError, match="expected a run id of 12 letters a-z and digits") as refused:
        Service.load(definition).run(run=run)
    assert refused.value.code == "option-invalid"
    assert not (definition.parent / ".beam_pipelines").exists()
    assert Service.load(definition).run(run="nightly00001").execution.run == "nightly00001"


@pytest.mark.parametrize("system", ["sqlite", "postgresql"])
def test_a_state_store_that_is_named_like_a_connection_is_its_database_and_the_run_carries_no_secret(
    definition: Path, tmp_path: Path, system: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"sqlite:///{tmp_path}/far/runs.db" if system == "sqlite" else request.getfixturevalue("postgres_database")
    monkeypatch.setenv("STATE_URL", place)
    (tmp_path / "connections.yaml").write_text("crm: crm.db\nruns: ${env:STATE_URL}\n")
    # Files have no ledger of their own: it is in the state store, which workers find by what the run tells them.
    write(
        definition,
        "    type: data-warehouse\n    connection: warehouse\n    table: customers\n    mode: upsert\n",
        "    type: file\n    path: out.parquet\n    mode: replace\n",
    )
    write(definition, "    cursor: {column: updated_at}\n", "")
    write(definition, "- {id: adults, type: filter, condition: age >= 18}", "- {id: told, type: function}")
    (tmp_path / "functions.py").write_text(
        "import os\nfrom pathlib import Path\n\n\ndef told(row: dict) -> dict:\n"
        f"    Path({str(tmp_path / 'told')!r}).write_text(os.environ['BEAM_PIPELINES_CONTEXT'])\n    return row\n"
    )
    service = Service.load(definition, state="runs")
    result = service.run()
    assert result.exit_code == 0, result.error
    told = (tmp_path / "told").read_text()
    assert '"state": "runs"' in told
    password = make_url(place).password
    assert (password is None) == (system == "sqlite")
    assert password is None or password not in told + repr(result.to_json())
    assert service.beside == (tmp_path / "far" if system == "sqlite" else tmp_path / ".beam_pipelines")
    with StateStore(place) as store:
        assert [one.run for one in store.executions("customers")] == [result.execution.run]
    assert not (tmp_path / ".beam_pipelines" / "state.db").exists()
    # A path object is a path, and so is a text that looks like one.
    for given in (Path("runs"), "./runs", "runs.db"):
        assert Service.load(definition, state=given).state_url == f"sqlite:///{Path(given).absolute()}"


def test_a_state_store_that_is_named_like_a_folder_or_a_duckdb_file_is_refused_before_anything_starts(definition: Path) -> None:
    service = Service.load(definition, state="warehouse")
    for asked in (service.plan, service.run):
        with pytest.raises(
            PlanError, match="expected PostgreSQL or SQLite as state store, got the connection 'warehouse', which is duckdb"
        ):
            asked()
    assert not (definition.parent / "warehouse").exists()
