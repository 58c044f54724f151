"""Lookups in real runs: in a table and at an API on this machine, once and with every bundle executed twice.

The source is 60 people: id 1..60, `firm` by i % 6: acme (10), globex, initech (404), hooli (its answer is no number), null, `a/b?c`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.cli.main import main
from beam_pipelines.engine import calls
from beam_pipelines.engine import join as join_module
from beam_pipelines.errors import PlanError
from beam_pipelines.etl import Etl
from beam_pipelines.io.http import client
from beam_pipelines.testing.api import Api, Asked, Reply, serving

Desk = Any
TOKEN = "s3cret-t0ken"
TWO = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
FIRMS = ("acme", "globex", "initech", "hooli", None, "a/b?c")
OUT = {"table": "out", "mode": "replace"}
EVERY = {"errorBudget": {"max": "100%"}}


def know(asked: Asked) -> Reply:
    firm = asked.target.rpartition("/")[2]
    if asked.headers.get("authorization") != f"Bearer {TOKEN}":
        return Reply(401)
    if firm == "initech":
        return Reply(404, {"detail": TOKEN})
    return Reply(body={"firm": {"name": firm.upper()}, "staff": "many" if firm == "hooli" else len(firm)})


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(know) as served:
        yield served


@pytest.fixture
def people(desk: Desk, api: Api, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("FIRMS_TOKEN", TOKEN)
    desk.connect(firms={"url": f"{api.url}/v1", "token": "${env:FIRMS_TOKEN}"})
    values = ", ".join(f"({i}, {f'{FIRMS[i % 6]!r}' if FIRMS[i % 6] else 'NULL'})" for i in range(1, 61))
    desk.sqlite("source.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, firm TEXT)", f"INSERT INTO people VALUES {values}")
    return desk


def firm(**more: Any) -> dict[str, Any]:
    request = {"path": "/firms/{firm}"}
    fields = {"firm.name": "name", "staff": "staff"}
    return {"id": "firm", "type": "enrich", "connection": "firms", "request": request, "output": {"name": "text", "staff": "integer"}} | {
        "fields": fields,
        **more,
    }


def counts(record: dict[str, Any], name: str) -> dict[str, int]:
    (phase,) = [phase for phase in record["steps"] if phase["phase"] == "transform"]
    (found,) = [one for one in phase["transformations"] if one["id"] == name]
    return {key: found[f"records{key}"] for key in ("In", "Out", "Filtered", "DeadLettered", "Nulled", "Made")}


def by_firm(desk: Desk) -> list[tuple[Any, ...]]:
    return desk.duckdb("target.duckdb", "SELECT firm, name, staff, count(*) FROM out GROUP BY ALL ORDER BY 1 NULLS LAST")  # type: ignore[no-any-return]


def everything(desk: Desk, log: str) -> str:
    """What a run left behind: log, record, dead letters, state store, target and staging."""
    kept = [path.read_bytes().decode("latin-1") for path in desk.folder.rglob("*") if path.is_file()]
    return log + "".join(kept)


def test_an_api_is_asked_once_for_each_key_and_every_row_is_accounted_for_and_paid(
    people: Desk, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    pricing = {"model": "per-record", "rate": 0, "additionalCosts": {"enrichment": 3}}
    people.etl({"table": "people"}, OUT, [firm(default={"name": "?"})], pricing=pricing, **EVERY)
    record = people.ran()
    assert by_firm(people) == [
        ("a/b?c", "A%2FB%3FC", 9, 10),
        ("acme", "ACME", 4, 10),
        ("globex", "GLOBEX", 6, 10),
        ("initech", "?", None, 10),
        (None, "?", None, 10),
    ]
    assert counts(record, "firm") == {"In": 60, "Out": 50, "Filtered": 0, "DeadLettered": 10, "Nulled": 0, "Made": 0}
    paths = ("a%2Fb%3Fc", "acme", "globex", "hooli", "initech")
    assert sorted(api.targets) == [f"/v1/firms/{path}" for path in paths]
    # What fits is remembered, also that there is nothing, and by a bundle that is executed again; what does not fit is an answer too.
    assert set(api.targets.values()) == {1}
    assert {letter["code"] for letter in people.letters()} == {"cast-failed"}
    assert Decimal(str(record["charge"]["amount"])) == Decimal("0.15")  # 50 rows at 3 per 1,000
    assert TOKEN not in everything(people, caplog.text + json.dumps(record))
    assert calls._KEPT == {}


@pytest.mark.parametrize(("answer", "on_error"), [("down", "deadletter"), ("hangs", "null"), ("locked", "null")])
def test_a_server_that_serves_no_row_fails_the_run_and_nothing_is_loaded(
    people: Desk, api: Api, answer: str, on_error: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(client, "_LOOKS", (0.0, 0.01))
    replies = {"down": Reply(503, {"token": TOKEN}), "hangs": Reply(hang=True), "locked": Reply(401)}
    api.answer = lambda asked: replies[answer]
    people.etl({"table": "people"}, OUT, [firm(retries=0, timeout="100ms", onError=on_error)], errorBudget={"max": 20})
    result = people.run()
    wanted = {"down": "budget-exceeded", "hangs": "unreachable", "locked": "authentication-failed"}[answer]
    assert (result.exit_code, result.execution.error_code) == (1, wanted), result.execution.error
    assert people.duckdb("target.duckdb", "SELECT table_name FROM duckdb_tables() WHERE table_name = 'out'") == []
    if answer == "down":
        assert {(letter["code"], letter["error"]) for letter in people.letters()} == {("lookup-failed", "the server answered 503")}
    assert TOKEN not in everything(people, caplog.text + str(result.error) + json.dumps(result.to_json()))


@pytest.mark.long
def test_workers_in_two_processes_ask_and_look_up(people: Desk, api: Api) -> None:
    people.sqlite("source.db", "CREATE TABLE sites (firm TEXT, city TEXT)", "INSERT INTO sites VALUES ('acme', 'Aachen')")
    sites = {"id": "site", "type": "enrich", "source": {"type": "database", "connection": "source", "table": "sites"}, "on": ["firm"]}
    people.etl({"table": "people"}, OUT, [firm(), sites], **EVERY)
    people.ran(options=TWO)
    assert people.duckdb("target.duckdb", "SELECT name, city, count(*) FROM out WHERE firm = 'acme' GROUP BY ALL") == [
        ("ACME", "Aachen", 10)
    ]
    assert set(api.targets.values()) <= {1, 2}


def test_a_lookup_in_a_user_s_own_pipeline_asks_as_well_and_its_token_is_not_in_the_pipeline(people: Desk, api: Api) -> None:
    path = people.etl({"table": "people"}, OUT, [firm()], **EVERY)
    pipeline = beam.Pipeline(runner="FnApiRunner", options=PipelineOptions(list(people.options)))
    pipeline | Etl(path)
    assert TOKEN.encode() not in pipeline.to_runner_api().SerializeToString()
    pipeline.run().wait_until_finish()
    assert people.duckdb("target.duckdb", "SELECT DISTINCT name FROM out WHERE firm = 'acme'") == [("ACME",)]
    assert set(api.targets.values()) == {1}


@pytest.mark.parametrize("distance", ["near", "far"])
def test_a_table_is_looked_up_near_and_far_and_paid_for(people: Desk, distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if distance == "far":
        monkeypatch.setattr(join_module, "NEAR", -1)
    people.sqlite(
        "source.db",
        "CREATE TABLE sites (firm TEXT, city TEXT)",
        "INSERT INTO sites VALUES ('acme', 'Aachen'), ('globex', 'Genoa'), ('hooli', 'Hamm'), ('hooli', 'Hull'), (NULL, 'Nowhere')",
    )
    site = {
        "id": "site",
        "type": "enrich",
        "source": {"type": "database", "connection": "source", "query": "SELECT * FROM sites"},
        "on": ["firm"],
        "fields": {"city": "town"},
        "default": {"town": "?"},
    }
    pricing = {"model": "per-record", "rate": 0, "additionalCosts": {"enrichment": 2}}
    people.etl({"table": "people"}, OUT, [site], pricing=pricing, **EVERY)
    record = people.ran()
    rows = people.duckdb("target.duckdb", "SELECT firm, town, count(*) FROM out GROUP BY ALL ORDER BY 1 NULLS LAST")
    assert rows == [("a/b?c", "?", 10), ("acme", "Aachen", 10), ("globex", "Genoa", 10), ("initech", "?", 10), (None, "?", 10)]
    assert {key: value for key, value in counts(record, "site").items() if value} == {"In": 60, "Out": 50, "DeadLettered": 10}
    assert {letter["code"] for letter in people.letters()} == {"lookup-ambiguous"}
    assert Decimal(str(record["charge"]["amount"])) == Decimal("0.10")


@pytest.mark.parametrize("form", ["api", "table"])
def test_the_key_of_the_source_is_still_the_key_behind_a_lookup(people: Desk, form: str) -> None:
    people.sqlite("source.db", "CREATE TABLE sites (firm TEXT, city TEXT)", "INSERT INTO sites VALUES ('acme', 'Aachen')")
    site = {"id": "site", "type": "enrich", "source": {"type": "database", "connection": "source", "table": "sites"}, "on": ["firm"]}
    people.etl({"table": "people"}, {"table": "out", "mode": "upsert"}, [firm() if form == "api" else site], **EVERY)
    people.ran()
    record = people.ran()
    assert people.duckdb("target.duckdb", "SELECT count(*), count(DISTINCT id) FROM out") == [(50, 50)] if form == "api" else [(60, 60)]
    assert record["metrics"]["recordsUnchanged"] == (50 if form == "api" else 60)


@pytest.mark.no_bundle
def test_a_plan_asks_nothing_and_a_preview_says_that_it_asked(people: Desk, api: Api) -> None:
    people.etl({"table": "people"}, OUT, [firm(), {"id": "big", "type": "filter", "condition": "staff > 5"}], **EVERY)
    plan = people.service.plan()
    assert plan.graph[1] == "firm: lookup at firms (HTTP API)"
    assert any("asks an API again" in note for note in plan.notes)
    assert api.asked == []
    preview = people.service.preview(limit=6)
    assert {row["name"] for row in preview.rows} == {"GLOBEX", "A%2FB%3FC"}
    assert preview.notes == ("'firm' asked 'firms' about the sampled rows",)
    assert len(api.asked) == 5
    assert calls._KEPT == {}


@pytest.mark.no_bundle
def test_an_api_that_a_join_s_source_asks_is_told_of_and_asked_about_as_many_rows_as_are_shown(people: Desk, api: Api) -> None:
    api.answer = lambda asked: Reply(body={"staff": 1})
    asks = {**firm(), "request": {"path": "/firms/{id}"}, "output": {"staff": "integer"}, "fields": ["staff"]}
    source = {"type": "database", "connection": "source", "table": "people", "transformations": [asks]}
    people.etl({"table": "people"}, OUT, [{"id": "more", "type": "join", "on": ["id"], "suffix": "_more", "source": source}])
    assert any("asks an API again" in note for note in people.service.plan().notes)
    preview = people.service.preview(limit=6)
    assert {row["staff"] for row in preview.rows} == {1}
    assert len(api.asked) == 6
    assert "of the right side of 'more' the first 6 rows are looked at, so some rows may seem to meet nothing" in preview.notes


@pytest.mark.no_bundle
def test_a_preview_asks_about_no_more_rows_than_it_shows_where_a_step_made_more_of_them(people: Desk, api: Api) -> None:
    api.answer = lambda asked: Reply(body={"staff": 1})
    asks = {**firm(), "request": {"path": "/firms/{id}"}, "output": {"staff": "integer"}, "fields": ["staff"]}
    more = {"id": "more", "type": "union", "source": {"type": "database", "connection": "source", "table": "people"}}
    people.etl({"table": "people"}, OUT, [more, asks])
    preview = people.service.preview(limit=6)
    assert len(preview.rows) == 6
    assert len(api.asked) <= 6
    assert "'firm' was given the first 6 rows, for each may be a call of an API" in preview.notes


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("more", "code", "expected"),
    [
        ({"connection": "frims"}, "connection-missing", "no connection 'frims'"),
        ({"connection": "source"}, "connection-invalid", "expected a connection to an HTTP API"),
        ({"request": {"path": "/{frim}"}}, "column-missing", "no field 'frim'"),
        ({"output": {"firm": "text"}, "fields": None}, "expression-invalid", "there is a column 'firm' already"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_the_plan(people: Desk, api: Api, more: dict[str, Any], code: str, expected: str) -> None:
    step = {key: value for key, value in firm(**more).items() if value is not None}
    people.etl({"table": "people"}, OUT, [step])
    with pytest.raises(PlanError) as raised:
        people.service.plan()
    assert raised.value.code == code
    assert expected in str(raised.value)
    assert "pipeline.transformations[0]" in str(raised.value)
    assert api.asked == []


@pytest.mark.no_bundle
def test_a_function_whose_output_would_be_sampled_is_refused_behind_a_lookup(people: Desk) -> None:
    people.functions("def shout(row: dict):\n    return row\n")
    people.etl({"table": "people"}, OUT, [firm(), {"id": "shout", "type": "function"}])
    with pytest.raises(PlanError, match="behind a join, lookup, union or foreign key"):
        people.service.plan()


@pytest.mark.no_bundle
def test_connections_test_asks_the_api(people: Desk, api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = people.etl({"table": "people"}, OUT, [firm()])
    assert main(["connections", "test", str(path)]) == 0
    out = capsys.readouterr().out
    assert "API of firm" in out
    assert "HTTP API, answered 200" in out
    monkeypatch.setenv("FIRMS_TOKEN", "wrong-t0ken")
    assert main(["connections", "test", "firms", "--connections", str(people.folder / "connections.yaml")]) == 1
    out = capsys.readouterr().out
    assert "authentication-failed" in out
    assert "wrong-t0ken" not in out
