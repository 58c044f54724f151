"""`ledgerSchema`: the ledger's tables in a schema of their own."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.io.connections import Connections, variable
from beam_pipelines.io.duckdb.target import DuckDbTarget
from beam_pipelines.io.postgres.target import PostgresTarget
from beam_pipelines.runs.mark import Mark

pytestmark = pytest.mark.only("duckdb", "postgresql")

WHERE = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_name LIKE '%beam_pipelines%' ORDER BY 1, 2"
LEDGER = ["_beam_pipelines_heads", "_beam_pipelines_loads"]


def target(place: Any, schema: str) -> Any:
    if place.system == "duckdb":
        return DuckDbTarget(place.file, ledger_schema=schema)
    return PostgresTarget(Connections(None, {variable("db"): place.url}).get("db"), ledger_schema=schema)


@pytest.fixture(autouse=True)
def no_ops(request: pytest.FixtureRequest) -> None:
    """Without the schemas of another test."""
    if "postgresql" in request.node.callspec.id:
        place = request.getfixturevalue("place")
        place.sql('DROP SCHEMA IF EXISTS "My ops" CASCADE', "DROP SCHEMA IF EXISTS ops CASCADE")


def test_the_ledger_is_made_in_it_and_found_there_again(place: Any, loads: Any) -> None:
    loading = loads(target(place, "My ops"))
    loading.load([(1, "Ada", 1)], newest=Mark.of(1))
    loading.load([(2, "Bob", 1)], low=Mark.of(1), newest=Mark.of(2))
    assert place.sql(WHERE) == [("My ops", name) for name in LEDGER]
    standing = target(place, "My ops").standing("shop", "customers")
    assert (standing.generation, standing.mark) == (2, Mark.of(2))
    assert place.rows() == [(1, "Ada", 1), (2, "Bob", 1)]
    # Another ledger knows nothing of it.
    assert target(place, "ops").standing("shop", "customers").generation == 0
    assert loading.target.set_mark("shop", "customers", Mark.of(9), None).mark == Mark.of(9)
    loading.target.close()


@pytest.mark.only("duckdb")
def test_duckdb_knows_a_schema_by_any_case(place: Any, loads: Any) -> None:
    place.sql("CREATE SCHEMA Ops")
    loads(target(place, "ops")).load([(1, "Ada", 1)])
    assert target(place, "OPS").standing("shop", "customers").generation == 1


@pytest.mark.only("postgresql")
def test_a_schema_that_is_there_needs_no_right_to_make_one(place: Any, loads: Any) -> None:
    database = place.sql("SELECT current_database()")[0][0]
    place.sql(
        "DROP OWNED BY clerk" if place.sql("SELECT 1 FROM pg_roles WHERE rolname = 'clerk'") else "CREATE ROLE clerk LOGIN PASSWORD 'clerk'"
    )
    place.sql(
        "CREATE SCHEMA ops", "GRANT USAGE, CREATE ON SCHEMA ops, public TO clerk", f"REVOKE CREATE ON DATABASE {database} FROM PUBLIC"
    )
    with psycopg.connect(place.url) as connection:
        info = connection.info
        url = f"postgresql://clerk:clerk@/{info.dbname}?host={info.host}&port={info.port}"
    loading = loads(PostgresTarget(Connections(None, {variable("db"): url}).get("db"), ledger_schema="ops"))
    loading.load([(1, "Ada", 1)])
    loading.target.close()
    assert place.sql(WHERE) == [("ops", name) for name in LEDGER]


@pytest.mark.only("postgresql")
def test_a_name_that_postgresql_would_cut_is_refused(place: Any) -> None:
    with pytest.raises(PlanError, match="cuts names at 63 bytes") as refused:
        target(place, "x" * 64)
    assert "ledgerSchema" in str(refused.value)
