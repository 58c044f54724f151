from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.io import registry
from beam_pipelines.io.connections import Connections
from beam_pipelines.spec.destination import DatabaseDestination, FileDestination, KafkaDestination, WarehouseDestination
from beam_pipelines.spec.source import ApiSource, DatabaseSource, FileSource, KafkaSource, StreamSource


@pytest.fixture
def known(tmp_path: Path) -> Connections:
    sqlite3.connect(tmp_path / "crm.db").execute("CREATE TABLE t (id INTEGER)").connection.close()
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": [1]}), tmp_path / "in" / "a.parquet")
    file = tmp_path / "connections.yaml"
    file.write_text(
        "crm: crm.db\nwarehouse: w.duckdb\npg: postgresql://u:pw@127.0.0.1:1/d\nmy: mysql+pymysql://u@h/d\n"
        "in: {path: in}\nfar: {endpoint: 'http://h', accessKey: a, secretKey: b}\nkafka: {bootstrap.servers: h}\n"
    )
    return Connections(file, {})


@pytest.mark.parametrize(
    ("model", "system"),
    [
        (DatabaseSource(connection="crm", table="t"), "sqlite"),
        (DatabaseSource(connection="warehouse", table="t"), "duckdb"),
        (DatabaseSource(connection="pg", table="t"), "postgresql"),
        (DatabaseSource(connection="my", table="t"), "mysql"),
        (FileSource(path="in/*.parquet"), "parquet"),
        (FileSource(bucket="in", pattern="*.parquet"), "parquet"),
        (FileSource(bucket="in", format="parquet"), "parquet"),
        (WarehouseDestination(connection="warehouse", table="t"), "duckdb"),
        (DatabaseDestination(connection="crm", table="t"), "sqlite"),
    ],
)
def test_the_system_behind_a_model_is_told(known: Connections, model: Any, system: str) -> None:
    assert registry.system_of(model, known) == system


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (DatabaseSource(connection="crm", table="t"), "SqliteSource"),
        (DatabaseSource(connection="warehouse", table="t"), "DuckDbSource"),
        (DatabaseSource(connection="pg", table="t"), "PostgresSource"),
        (FileSource(path="in", format="parquet"), "ParquetSource"),
        (FileSource(bucket="in", format="parquet"), "ParquetSource"),
        (FileSource(path="a.CSV.GZ"), "CsvSource"),
        (FileSource(path="in/*.tsv"), "CsvSource"),
        (FileSource(path="a.txt", format="csv"), "CsvSource"),
        (FileSource(bucket="in", prefix="a", pattern="*.ndjson.zst"), "JsonLinesSource"),
        (FileSource(path="a.jsonl"), "JsonLinesSource"),
    ],
)
def test_sources_are_opened_by_system(known: Connections, tmp_path: Path, model: Any, name: str) -> None:
    source = registry.open_source(model, known, tmp_path)
    assert type(source).__name__ == name
    assert source.cursor is None
    source.close()
    source.close()


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl.gz", "out.json", "out.avro", "out.parquet"])
def test_files_are_written_in_the_format_of_their_name(known: Connections, tmp_path: Path, name: str) -> None:
    opened = registry.open_target(FileDestination(path=name, mode="replace"), known, tmp_path)
    assert opened.traits.system == name.split(".")[1]
    opened.close()


@pytest.mark.parametrize(("name", "target"), [("crm", "SqliteTarget"), ("warehouse", "DuckDbTarget"), ("pg", "PostgresTarget")])
def test_targets_are_opened_by_system(known: Connections, name: str, target: str) -> None:
    opened = registry.open_target(DatabaseDestination(connection=name, table="t"), known)
    assert type(opened).__name__ == target
    opened.close()


def test_what_no_code_serves_is_refused_with_what_is_served(known: Connections) -> None:
    with pytest.raises(PlanError, match="HTTP APIs") as raised:
        registry.open_source(ApiSource(endpoint="https://h/x"), known)
    assert raised.value.code == "not-served"
    assert "serve" in str(raised.value)


@pytest.mark.parametrize("model", [KafkaSource(topic="t", connection="kafka"), StreamSource(topic="t", connection="kafka")])
def test_topics_are_opened_by_their_brokers(known: Connections, model: Any) -> None:
    opened = registry.open_source(model, known)  # nobody is asked yet
    assert (type(opened).__name__, opened.traits.system, opened.tables()) == ("KafkaSource", "kafka", ["t"])
    opened.close()
    with pytest.raises(PlanError, match="expected brokers as connection 'crm'") as raised:
        registry.open_source(KafkaSource(topic="t", connection="crm"), known)
    assert raised.value.code == "connection-invalid"
    with pytest.raises(PlanError, match="a topic is written by streams") as raised:
        registry.open_target(KafkaDestination(topic="t", connection="kafka"), known)
    assert raised.value.code == "not-served"


def test_files_whose_names_say_no_format_need_one(known: Connections) -> None:
    with pytest.raises(PlanError, match="format: parquet") as raised:
        registry.system_of(FileSource(path="in/*"), known)
    assert raised.value.code == "spec-incomplete"
    assert "or a name that ends with it" in raised.value.message


@pytest.mark.parametrize(
    "model",
    [DatabaseSource(connection="in", table="t"), DatabaseSource(connection="kafka", table="t"), FileSource(bucket="crm", format="parquet")],
)
def test_connections_of_another_kind_are_refused(known: Connections, model: Any) -> None:
    with pytest.raises(PlanError, match="expected a") as raised:
        registry.open_source(model, known)
    assert raised.value.code == "connection-invalid"


def test_a_missing_connection_is_named(known: Connections) -> None:
    with pytest.raises(PlanError, match="did you mean 'crm'") as raised:
        registry.open_source(DatabaseSource(connection="crmm", table="t"), known)
    assert raised.value.code == "connection-missing"


def test_a_missing_extra_says_how_to_install_it(known: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    import beam_pipelines.io
    import beam_pipelines.io.postgres

    monkeypatch.setitem(sys.modules, "psycopg", None)
    # Importing it anew puts another module in this place; the one that others have imported comes back.
    monkeypatch.setattr(beam_pipelines.io, "postgres", beam_pipelines.io.postgres)
    for name in [name for name in sys.modules if name.startswith("beam_pipelines.io.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SpecError, match=r"beam-pipelines\[postgres\]") as raised:
        registry.open_source(DatabaseSource(connection="pg", table="t"), known).check()
    assert raised.value.code == "extra-missing"


def test_opening_a_sqlite_source_imports_no_other_client(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "c.yaml").write_text("crm: crm.db")
    script = (
        "import sys; from pathlib import Path; from beam_pipelines.io import registry;"
        "from beam_pipelines.io.connections import Connections;"
        "from beam_pipelines.spec.source import DatabaseSource;"
        f"registry.open_source(DatabaseSource(connection='crm', table='t'), Connections(Path({str(tmp_path / 'c.yaml')!r})));"
        "heavy = {'duckdb', 'sqlalchemy', 'psycopg', 'adbc_driver_manager', 'apache_beam', 'sqlglot', 'pyarrow.parquet'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("name", "system"), [("crm", "sqlite"), ("my", "mysql")])
def test_a_ledger_in_a_schema_is_refused_where_there_are_none(known: Connections, name: str, system: str) -> None:
    model = DatabaseDestination(connection=name, table="t", ledger_schema="ops")
    with pytest.raises(PlanError, match=f"ledgerSchema on PostgreSQL or DuckDB only, got it on {system}") as refused:
        registry.open_target(model, known)
    assert refused.value.problems[0].path == "pipeline.destination.ledgerSchema"
