from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

from beam_pipelines.cli import store
from beam_pipelines.cli.output import Output
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import SpecError


@pytest.fixture
def here(room, monkeypatch):
    monkeypatch.chdir(room.folder)
    return room


def located(service=None, state=None, connections=None):
    return store.locate(argparse.Namespace(service=service, state=state, connections=connections), Session(Output(sys.stdout)))


def test_a_definition_leads_to_the_store_beside_it(here):
    place = located(service="service.yaml")
    assert place.url == f"sqlite:///{here.folder}/.beam_pipelines/state.db"
    assert place.service_id == "customers"
    assert place.empty


def test_a_state_url_wins_over_the_one_beside_the_definition(here):
    place = located(service="service.yaml", state="elsewhere.db")
    assert place.url == f"sqlite:///{here.folder}/elsewhere.db"
    assert place.service_id == "customers"


def test_the_only_definition_of_the_working_directory_is_taken(here):
    assert located().service_id == "customers"


def test_the_store_of_the_working_directory_serves_all_definitions_there(here):
    here.write("other.yaml", (here.folder / "service.yaml").read_text().replace("name: Customers", "name: Others"))
    with pytest.raises(SpecError, match=r"there are 2 definitions \(other\.yaml, service\.yaml\)"):
        located()
    (here.folder / ".beam_pipelines").mkdir()
    (here.folder / ".beam_pipelines" / "state.db").touch()
    assert located().url == f"sqlite:///{here.folder}/.beam_pipelines/state.db"
    assert located().service is None


def test_nothing_to_go_by_says_what_to_give(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="give --service FILE or --state URL: there is no definition in the working directory"):
        located()


def test_a_store_that_is_named_must_exist_and_is_not_made(here):
    with pytest.raises(SpecError, match="there is no state store at"):
        located(state="no.db").open()
    assert not (here.folder / "no.db").exists()


def test_connections_and_other_yaml_are_no_definitions(here):
    here.write("compose.yaml", "services: {db: {image: postgres}}\n")
    here.write("broken.txt", "pipeline: [")
    assert store.definitions_in(Path()) == [Path("service.yaml")]


def test_a_definition_with_mistakes_is_one(here):
    here.write("service.yaml", "pipeline: {source: [}\n")
    assert store.definitions_in(Path()) == [Path("service.yaml")]


def test_paths_become_urls_and_urls_stay(here):
    for given in ({}, {"service": "service.yaml"}):
        assert located(state="a/b.db", **given).url == f"sqlite:///{os.getcwd()}/a/b.db"
        assert located(state="postgresql://h/d", **given).url == "postgresql://h/d"


def test_a_word_that_is_a_connection_leads_where_it_does(here, monkeypatch):
    here.write("other.yaml", "runs: sqlite:///far/away.db\nlocked: 'postgresql://me:${env:STATE_PASSWORD}@db/state'\n")
    monkeypatch.setenv("STATE_PASSWORD", "hunter2")
    for given in ({}, {"service": "service.yaml"}):
        assert located(state="crm", **given).url == f"sqlite:///{here.folder}/crm.db"
        assert located(state="./crm", **given).url == f"sqlite:///{here.folder}/crm"
        with pytest.raises(SpecError, match=r"got 'runs', which is neither; connections: crm, warehouse \(write \./runs for a new"):
            located(state="runs", **given)
        assert located(state="runs", connections="other.yaml", **given).url == f"sqlite:///{here.folder}/far/away.db"
        assert located(state="locked", connections="other.yaml", **given).url == "postgresql://me:hunter2@db/state"
        with pytest.raises(SpecError, match="got the connection 'warehouse', which is duckdb") as refused:
            located(state="warehouse", **given)
        assert refused.value.code == "connection-invalid"


def test_the_secrets_of_a_store_that_is_named_are_taken_out_of_messages(here, monkeypatch):
    monkeypatch.setenv("BEAM_PIPELINES_CONNECTION_RUNS", "postgresql://me:hunter2@db/state")
    for given in (None, "service.yaml"):
        session = Session(Output(sys.stdout))
        store.locate(argparse.Namespace(service=given, state="runs", connections=None), session)
        assert session.redact("cannot log in with hunter2") == "cannot log in with ***"


def test_options_in_hints_lead_back_and_hold_no_password(here):
    assert store.options_text(Path("service.yaml"), None) == ""
    assert store.options_text(Path("sub dir/service.yaml"), None) == " --service 'sub dir/service.yaml'"
    hint = store.options_text(Path("service.yaml"), "postgresql://me:hunter2@db/state")
    assert "hunter2" not in hint
    assert hint.startswith(" --state ")
    # A connection is looked up beside the definition, or in the file that was given.
    assert store.options_text(Path("service.yaml"), "runs") == " --state runs"
    assert store.options_text(Path("sub/service.yaml"), "runs") == " --service sub/service.yaml --state runs"
    assert store.options_text(Path("sub/service.yaml"), "runs", "c.yaml") == " --connections c.yaml --state runs"
    assert store.options_text(Path("sub/service.yaml"), "runs.db", "c.yaml") == " --state runs.db"
