from __future__ import annotations

import errno

from beam_pipelines.cli import failure
from beam_pipelines.errors import PlanError, Problem, SpecError, TransientError

TEXT = """\
name: Customers
pipeline:
  source: {type: database, connection: crm, table: customers}
  destination: {type: database, connection: warehouse, table: customers, mode: insert}
"""


def told(error, capsys, **settings):
    failure.tell(error, **settings)
    return capsys.readouterr().err


def test_an_error_is_one_paragraph_with_its_code_and_section(capsys):
    assert told(TransientError("the server 'db' does not answer"), capsys) == (
        "error: the server 'db' does not answer [unreachable; see docs/errors.md#unreachable]\n"
    )


def test_a_plan_error_that_names_a_path_is_shown_at_its_line(tmp_path, capsys):
    path = tmp_path / "service.yaml"
    path.write_text(TEXT, encoding="utf-8")
    said = told(PlanError("pipeline.destination.mode: no such mode", code="mode-refused"), capsys, definition=path)
    assert f"{path}:4:80: pipeline.destination.mode: no such mode" in said
    assert said.splitlines()[-1].endswith("^^^^^^")
    assert "[mode-refused; see docs/errors.md#mode-refused]" in said


def test_problems_without_a_line_get_theirs_from_the_definition(tmp_path, capsys):
    path = tmp_path / "service.yaml"
    path.write_text(TEXT, encoding="utf-8")
    problems = [
        Problem("no such table", "pipeline.source.table", hint="customer?"),
        Problem("in another file", file="x.yaml", line=7, column=1),
    ]
    said = told(SpecError("it cannot be run", problems=problems), capsys, definition=path)
    assert "error: it cannot be run [spec-invalid" in said
    assert f"{path}:3:52: pipeline.source.table: no such table (customer?)" in said
    assert "x.yaml:7:1: in another file" in said


def test_lines_of_a_connections_file_are_never_shown(tmp_path, capsys):
    path = tmp_path / "service.yaml"
    path.write_text(TEXT, encoding="utf-8")
    secret = tmp_path / "connections.yaml"
    secret.write_text("crm: {url: hunter2}\n", encoding="utf-8")
    problem = Problem("unknown key", "crm", str(secret), 1, 6)
    said = told(SpecError("cannot be understood", problems=[problem], code="connection-invalid"), capsys, definition=path)
    assert f"{secret}:1:6" in said
    assert "hunter2" not in said


def test_the_unexpected_is_called_a_bug_without_a_traceback(capsys):
    try:
        {}["missing"]
    except KeyError as error:
        said = told(error, capsys)
    assert said.startswith("error: KeyError: 'missing'. this is a bug")
    assert "--log-level debug" in said
    assert "Traceback" not in said
    assert failure.exit_code_of(KeyError()) == 1


def test_a_full_disk_is_not_called_a_bug(capsys):
    said = told(OSError(errno.ENOSPC, "No space left on device", "/data/x"), capsys)
    assert said.startswith("error: no space left on device: /data/x")
    assert "this is a bug" not in said


def test_secrets_are_taken_out(capsys):
    said = told(RuntimeError("password=hunter2 refused"), capsys, redact=lambda text: text.replace("hunter2", "***"))
    assert "password=*** refused" in said


def test_json_holds_code_exit_code_details_and_problems():
    error = PlanError("no", code="key-missing", details={"table": "t"}, problems=[Problem("bad", "a.b", "f", 1, 2, "c")])
    assert failure.to_json(error) == {
        "error": "no",
        "errorCode": "key-missing",
        "exitCode": 2,
        "details": {"table": "t"},
        "problems": [{"message": "bad", "path": "a.b", "file": "f", "line": 1, "column": 2, "hint": "c"}],
    }
    assert failure.to_json(ValueError("x")) == {"error": "x", "errorCode": "internal", "exitCode": 1}
