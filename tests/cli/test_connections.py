from __future__ import annotations

import pytest

from beam_pipelines.testing.kafka import mock_broker


def test_both_ends_of_the_definition_answer(room):
    for words in ([], ["service.yaml"]):
        answer = room("connections", "test", *words, "--output", "json")
        assert answer.code == 0, answer.err
        assert [(one["connection"], one["role"], one["ok"]) for one in answer.json()] == [
            ("crm", "source", True),
            ("warehouse", "destination", True),
        ]
        assert "SQLite" in answer.json()[0]["said"]
    assert not (room.folder / "warehouse.duckdb").exists()


def test_the_sources_of_joins_and_unions_answer_as_well(room):
    room.change(
        "transformations: []",
        """transformations:
    - {id: joined, type: join, on: [id], source: {type: database, connection: crm, table: customers}}
    - {id: added, type: union, source: {type: database, connection: crm, table: customers}}""",
    )
    answer = room("connections", "test", "service.yaml", "--output", "json")
    assert [(one["connection"], one["role"]) for one in answer.json()] == [
        ("crm", "source"),
        ("crm", "source of joined"),
        ("crm", "source of added"),
        ("warehouse", "destination"),
    ]


def test_the_outputs_of_rules_answer_as_well(room):
    room.change(
        "transformations: []",
        """transformations:
    - id: check
      type: validate
      rules: [{id: there, type: required-fields, fields: [name]}]
      rejected: {type: file, path: bad, format: parquet}
      violations: {type: database, connection: crm, table: found}""",
    )
    answer = room("connections", "test", "service.yaml", "--output", "json")
    assert [(one["connection"], one["role"], one["ok"]) for one in answer.json()] == [
        ("crm", "source", True),
        ("warehouse", "destination", True),
        ("files", "rejected of check", True),
        ("crm", "violations of check", True),
    ]


def test_all_of_a_connections_file_or_one_by_name(room):
    answer = room("connections", "test", "connections.yaml")
    assert answer.code == 0
    assert [line.split()[:2] for line in answer.out.splitlines()[1:]] == [["OK", "crm"], ["OK", "warehouse"]]
    answer = room("connections", "test", "crm", "--output", "json")
    assert [one["connection"] for one in answer.json()] == ["crm"]


def test_one_in_a_variable_is_found_by_name(room):
    room.environ["BEAM_PIPELINES_CONNECTION_OTHER"] = f"sqlite:///{room.folder}/crm.db"
    assert room("connections", "test", "other").code == 0


def test_one_that_fails_does_not_keep_the_others_from_being_tested(room):
    room.write("connections.yaml", "crm: sqlite:///missing.db\nwarehouse: duckdb:///warehouse.duckdb\n")
    answer = room("connections", "test", "--output", "json")
    assert answer.code == 1
    assert [one["ok"] for one in answer.json()] == [False, True]
    assert not (room.folder / "missing.db").exists()
    said = room("connections", "test").out.splitlines()
    assert said[1].startswith("failed  crm")
    assert said[2].startswith("OK")


def test_a_name_that_is_unknown_suggests_the_nearest(room):
    answer = room("connections", "test", "cmr")
    assert answer.code == 1
    assert "did you mean 'crm'?" in answer.out
    assert "[connection-missing]" in answer.out


def test_buckets_are_folders_and_brokers_are_asked(room, monkeypatch):
    monkeypatch.setattr("beam_pipelines.cli.connections._PATIENCE", 0.3)
    (room.folder / "in").mkdir()
    room.write("connections.yaml", "incoming: {path: ./in}\ngone: {path: ./nope}\nkafka: {bootstrap.servers: 'localhost:1'}\n")
    answer = room("connections", "test", "connections.yaml", "--output", "json")
    assert answer.code == 1
    assert {one["connection"]: one["errorCode"] for one in answer.json()} == {
        "incoming": None,
        "gone": "connection-invalid",
        "kafka": "unreachable",
    }
    with mock_broker(events=1, clicks=2) as broker:
        room.write("connections.yaml", f"kafka: {{bootstrap.servers: '{broker.servers}'}}\n")
        answer = room("connections", "test", "connections.yaml")
    assert answer.code == 0
    assert "Kafka, cluster " in answer.out
    assert "2 topics" in answer.out


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_real_server_that_refuses_the_password_never_shows_it(room, postgres_database, form):
    from sqlalchemy.engine import make_url

    real = make_url(postgres_database)
    room.write(
        "connections.yaml", f"crm: {postgres_database}\nwrong: postgresql://nobody:hunter2hunter2@{real.host}:{real.port}/{real.database}\n"
    )
    answer = room("connections", "test", "connections.yaml", "--output", form)
    assert answer.code == 1
    assert "hunter2" not in answer.out + answer.err
    if real.password:
        assert str(real.password) not in answer.out + answer.err
    assert "PostgreSQL" in answer.out


def test_nothing_to_test_says_what_to_give(tmp_path, room):
    for name in ("service.yaml", "connections.yaml"):
        (room.folder / name).unlink()
    answer = room("connections", "test")
    assert answer.code == 2
    assert "a definition, a connections file or the name of a connection" in answer.err
