from __future__ import annotations

import json
import os

import pytest

from beam_pipelines.cli.main import main
from beam_pipelines.cli.process import CANCELLED, Interrupted
from beam_pipelines.etl.service import Service


@pytest.fixture
def broken(room, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise KeyError("an invariant of hunter2")

    monkeypatch.setattr(Service, "plan", fail)
    monkeypatch.chdir(room.folder)
    room.write("connections.yaml", "crm: postgresql://me:hunter2@db/crm\nwarehouse: duckdb:///w.duckdb\n")
    return room


def test_the_unexpected_is_told_as_a_bug_without_a_traceback_or_secret(broken, capsys):
    assert main(["plan", "service.yaml"]) == 1
    shown = capsys.readouterr()
    assert "error: KeyError: 'an invariant of ***'. this is a bug" in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_at_debug_level_the_traceback_is_shown_without_the_secret(broken, capsys):
    assert main(["plan", "service.yaml", "--log-level", "debug"]) == 1
    shown = capsys.readouterr()
    assert "Traceback" in shown.err
    assert "hunter2" not in shown.err


def test_in_json_the_unexpected_has_code_internal(broken, capsys):
    assert main(["plan", "service.yaml", "--output", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"error": "'an invariant of ***'", "errorCode": "internal", "exitCode": 1}


def test_an_interrupt_before_a_run_is_said_and_exits_130(room, monkeypatch, capsys):
    def stop(*_: object, **__: object) -> None:
        raise Interrupted("SIGINT")

    monkeypatch.setattr(Service, "plan", stop)
    monkeypatch.chdir(room.folder)
    assert main(["plan", "service.yaml", "--output", "json"]) == CANCELLED
    shown = capsys.readouterr()
    assert "cancelled" in shown.err
    assert json.loads(shown.out)["errorCode"] == "cancelled"


def test_a_signal_before_a_run_exits_130(room):
    import signal

    room.change("transformations: []", "transformations: [{id: slow, type: function, output: {id: bigint}}]")
    room.write(
        "functions.py",
        "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(20)\ndef slow(row: dict) -> dict:\n    return row\n",
    )
    answer = room.interrupted(signal.SIGTERM, room.folder / "begun", "validate", "service.yaml")
    assert answer.code == 130
    assert "cancelled" in answer.err
    assert "Traceback" not in answer.err


def test_output_through_a_pipe_is_whole(ran):
    process = ran.start("dead-letters", "show", "--limit", "100", "--output", "json")
    assert process.stdout is not None
    read = b""
    while part := os.read(process.stdout.fileno(), 100):  # a slow reader
        read += part
    process.wait()
    assert len(json.loads(read)) == 12


def test_a_name_that_is_no_text_is_refused_with_what_to_do(room, monkeypatch, capsys):
    monkeypatch.chdir(room.folder)
    name = os.fsdecode(b"\xff.yaml")
    for words in (["run", name], ["plan", name, "--output", "json"], ["suggest-rules", name]):
        assert main(words) == 2
        assert r"expected a name in UTF-8 on the command line, got '\udcff.yaml': rename it" in capsys.readouterr().err
    folder = os.fsencode(room.folder) + b"/\xe4"
    os.mkdir(folder)
    monkeypatch.chdir(os.fsdecode(folder))
    assert main(["runs", "list"]) == 2
    assert "as the working directory" in capsys.readouterr().err
