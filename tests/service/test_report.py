"""Reports of real runs, by the command line: what they say is counted by hand, whatever the exit code is, and whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from beam_pipelines.cli.main import main as cli
from beam_pipelines.cli.quality import main
from beam_pipelines.quality.report import files
from beam_pipelines.state.record import Execution

pytestmark = pytest.mark.long

Desk = Any
LOW = {"id": "low", "type": "numeric-range", "field": "age", "max": 45}
KINDS = ("html", "json", "xml")


@pytest.fixture
def people(desk: Desk) -> Desk:
    """Fifty people, of whom five are older than 45."""
    desk.people(1, 50)
    return desk


def define(desk: Desk, *rules: dict[str, Any], **more: Any) -> None:
    source = {"type": "database", "connection": "source", "table": "people"}
    desk.define({"name": "People, checked", "id": "people", "validation": {"source": source, "rules": rules or [LOW], **more}})


def run(desk: Desk, *words: str, kinds: tuple[str, ...] = KINDS) -> int:
    reports = [word for kind in kinds for word in ("--report", str(desk.folder / f"report.{kind}"))]
    return main(["--service", str(desk.folder / "service.json"), *reports, *words, *desk.options])


def told(desk: Desk, name: str = "report.json") -> dict[str, Any]:
    return dict(json.loads((desk.folder / name).read_text()))


def test_two_runs_make_a_trend(people: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    define(people)
    assert run(people) == 0
    first = told(people)
    assert (first["total"], first["failed"], first["status"], len(first["steps"][0]["trend"])) == (50, 5, "warned", 1)
    people.people(51, 60)
    assert run(people) == 0
    second = told(people)
    trend = second["steps"][0]["trend"]
    assert [(point["runId"], point["total"], point["failed"]) for point in trend] == [(first["runId"], 50, 5), (second["runId"], 60, 15)]
    assert [point["rules"]["low"]["violatedShare"] for point in trend] == [0.1, 0.25]
    page = (people.folder / "report.html").read_text()
    assert "Pass rate over the last 2 runs" in page
    assert "15 of 60 rows (25%) fail a rule of severity error." in page
    (suite,) = ElementTree.parse(people.folder / "report.xml").getroot()
    assert (suite.attrib["name"], suite.attrib["tests"], suite.attrib["failures"]) == ("people.rules", "1", "1")
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["report", str(people.folder / "report.html")] in shown
    with people.store() as store:
        assert [(one.run, one.total, one.failed, one.status) for one in store.quality_history("people")] == [
            (second["runId"], 60, 15, "success"),
            (first["runId"], 50, 5, "success"),
        ]


@pytest.mark.parametrize(("severity", "code", "status"), [("error", 1, "failed"), ("warning", 3, "warned"), ("info", 0, "passed")])
def test_a_run_that_its_rules_fail_is_reported(people: Desk, severity: str, code: int, status: str) -> None:
    define(people, {**LOW, "mostly": 0.99, "severity": severity})
    assert run(people) == code
    report = told(people)
    assert (report["status"], report["steps"][0]["rules"][0]["holds"]) == (status, False)
    assert report["runStatus"] == ("failed" if code == 1 else "success")
    (case,) = ElementTree.parse(people.folder / "report.xml").getroot().iter("testcase")
    assert (case.find("failure") is not None) == (code == 1)
    with people.store() as store:
        (kept,) = store.quality_history("people")
    assert (kept.failed, kept.warnings, kept.status) == (5 * (severity == "error"), 5 * (severity == "warning"), report["runStatus"])


def test_a_run_that_failed_otherwise_does_not_leave_the_report_of_a_better_day(people: Desk) -> None:
    define(people)
    assert run(people) == 0
    people.people(51, 60, bad=1)
    people.define({**json.loads((people.folder / "service.json").read_text()), "errorBudget": {"max": 0}})
    assert run(people) == 1
    report = told(people)
    assert (report["runStatus"], report["status"]) == ("failed", "failed")
    assert report["summary"].startswith("The run failed: ")
    assert (report["total"], report["recordsDeadLettered"]) == (59, 1)
    assert "error" in {child.tag for case in ElementTree.parse(people.folder / "report.xml").getroot().iter("testcase") for child in case}


def test_a_report_that_cannot_be_written_costs_the_exit_code_and_nothing_else(
    people: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    define(people)
    write = files.write

    def fails(path: str, report: Any) -> None:
        if path.endswith(".html"):
            raise OSError(28, "No space left on device")
        write(path, report)

    monkeypatch.setattr(files, "write", fails)
    assert run(people, "--output", "json", kinds=("json", "html")) == 1
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert record["status"] == "success"
    assert told(people)["runId"] == record["runId"]
    assert "report.html' cannot be written: No space left on device" in said.err
    assert f"beam-pipelines runs report {record['runId']}" in said.err
    assert "report.json" not in said.err
    with people.store() as store:
        assert store.execution(record["runId"]).status == "success"


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--report", "r.pdf"], "expected a report whose name ends in .html (a page for people), .json"),
        (["--report", "r.html", "--report", "no/r.xml"], "expected a folder for the report 'no/r.xml'"),
        (["--report", "r.html", "--plan"], "--report goes with a run"),
        (["--report", "r.html", "--validate"], "--report goes with a run"),
        (["--report", "r.html", "--service", "etl.json"], "--report tells what rules came to, and desk has none"),
        (["--report", "./service.json"], "expected a file of its own for the report, got './service.json', which the command reads"),
    ],
)
def test_what_cannot_be_reported_is_refused_before_the_run(
    people: Desk, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(people.folder)
    people.etl({"table": "people"}, {"table": "people"})
    (people.folder / "service.json").rename(people.folder / "etl.json")
    define(people)
    file = "etl.json" if "etl.json" in words else "service.json"
    assert cli(["run", file, *[word for word in words if word not in ("--service", "etl.json")]]) == 2
    assert message in capsys.readouterr().err
    assert not (people.folder / ".beam_pipelines").exists()
    assert not list(people.folder.glob("r.*"))


def test_no_report_of_an_earlier_run_is_taken_for_that_of_one_that_is_refused(people: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    define(people)
    assert run(people) == 0
    (people.folder / "kept.xml").symlink_to(people.folder / "report.xml")
    define(people, {**LOW, "field": "gone"})
    assert run(people) == 2
    assert "no field 'gone'" in capsys.readouterr().err
    assert not list(people.folder.glob("report.*"))
    define(people)
    assert main(["--service", str(people.folder / "service.json"), "--report", str(people.folder / "kept.xml"), *people.options]) == 0
    assert (people.folder / "kept.xml").is_symlink()
    assert (people.folder / "report.xml").exists()


def test_rules_within_an_etl_service_are_reported_too(people: Desk) -> None:
    steps = [
        {"id": "check", "type": "validate", "rules": [LOW]},
        {"id": "again", "type": "validate", "rules": [{**LOW, "id": "lower", "max": 40}]},
    ]
    people.etl({"table": "people"}, {"table": "people"}, steps)
    path = people.folder / "report.json"
    assert cli(["run", str(people.folder / "service.json"), "--report", str(path), *people.options]) == 0
    assert [(step["step"], step["total"], step["failed"]) for step in told(people)["steps"]] == [("check", 50, 5), ("again", 45, 5)]


def report(desk: Desk, *words: str) -> int:
    return cli(["runs", "report", *words, "--state", desk.store_url])


def test_any_recorded_run_can_be_reported(people: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    define(people)
    runs = [people.ran()["runId"] for _ in range(3)]
    capsys.readouterr()
    path = people.folder / "later.json"
    assert report(people, "--report", str(path)) == 0
    assert capsys.readouterr().out == f"report of run {runs[2]}: {path}\n"
    assert [point["runId"] for point in told(people, "later.json")["steps"][0]["trend"]] == runs
    assert report(people, runs[1], "--output", "json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [point["runId"] for point in shown["steps"][0]["trend"]] == runs[:2]
    with people.store() as store:
        store.begin(Execution("people", "zzzzzzzzzzzz", datetime.now(timezone.utc)))
    for words, message in (
        ([], "give --report FILE"),
        (["zzzzzzzzzzzz", "--output", "json"], "run zzzzzzzzzzzz has not ended: its record says running"),
        (["nope", "--output", "json"], "there is none"),
        (["--report", str(people.folder / "x.txt")], "name ends in"),
        (["--report", str(people.folder / "no" / "x.xml")], "is not there"),
    ):
        assert report(people, *words) == 2
        assert message in capsys.readouterr().err


def test_without_rules_there_is_nothing_to_report(people: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    people.etl({"table": "people"}, {"table": "people"})
    people.ran()
    assert report(people, "--output", "json") == 2
    assert "there is no run with rules in this state store yet" in capsys.readouterr().err


_DIES = """
import os, signal, sys
from beam_pipelines.engine import launch
{what} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from beam_pipelines.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("to", "what"),
    [("nowhere", "launch.finish"), ("duckdb", "launch.StateStore.finish"), ("nowhere", "launch.retention.keep_to")],
)
def test_a_run_killed_behind_its_commit_is_in_the_history_once(people: Desk, to: str, what: str) -> None:
    define(people, **({} if to == "nowhere" else {"destination": {"type": "database", "connection": "target", "table": "people"}}))
    path: Path = people.folder / "report.json"
    path.write_text("of an earlier run")
    words = ["run", str(people.folder / "service.json"), "--report", str(path), *people.options]
    died = subprocess.run([sys.executable, "-c", _DIES.format(what=what), *words], check=False, capture_output=True, env=os.environ)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not path.exists()
    with people.store() as store:
        (run,) = [one.run for one in store.executions("people")]
        assert len(store.quality_history("people")) == (what == "launch.retention.keep_to")
    assert cli(words) == 0
    with people.store() as store:
        history = store.quality_history("people")
        assert [(one.total, one.failed, one.status) for one in history] == [(50, 5, "success")] * 2
        assert history[1].run == run
    assert [point["runId"] for point in told(people)["steps"][0]["trend"]] == [run, told(people)["runId"]]


def test_history_is_pruned_when_a_run_ends_and_reports_go_on(people: Desk) -> None:
    from beam_pipelines.state.store import StateStore

    define(people)
    first, second = (people.ran()["runId"] for _ in range(2))
    with people.store() as store, store._database.write("people") as connection:
        from sqlalchemy import text

        connection.execute(text(f"UPDATE quality_history SET \"timestamp\" = '2020-01-01T00:00:00.000000+00:00' WHERE run = '{first}'"))
    people.define({**json.loads((people.folder / "service.json").read_text()), "retention": {"qualityHistory": "30d"}})
    third = people.ran()["runId"]
    with StateStore(people.store_url) as store:
        assert [one.run for one in store.quality_history("people")] == [third, second]
    path = people.folder / "old.json"
    assert report(people, first, "--report", str(path)) == 0
    old = told(people, "old.json")
    assert (old["runId"], old["failed"], [point["runId"] for point in old["steps"][0]["trend"]]) == (first, 5, [first])
