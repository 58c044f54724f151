"""Errors that cross processes: unit by unit, and in runs with real worker processes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from beam_pipelines.engine.worker import received, told
from beam_pipelines.errors import (
    ActiveRunError,
    BalanceError,
    BeamPipelinesError,
    DataError,
    FatalError,
    FencedError,
    PlanError,
    Problem,
    SpecError,
    TransientError,
)

World = Any
WORKERS = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


def crossed(error: BaseException) -> BaseException:
    """What arrives of an error that was raised in a worker: Beam hands on the text alone."""
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001 - any error may cross
        text = told(raised)
    return received(RuntimeError(text))


@pytest.mark.parametrize(
    "error",
    [
        FencedError("overtaken by run 7"),
        BalanceError("4 in, 3 out", details={"in": 4, "out": 3}),
        TransientError("the server is away", code="locked", details={"tries": 5}),
        FatalError("lost", code="staging-lost"),
        DataError("row 3", details={"rows": [3]}),
        ActiveRunError("another one"),
        BeamPipelinesError("of no class"),
        SpecError("two lines\nof text", code="connection-missing"),
        FatalError('looks like one:\nbeam_pipelines error: {"type": "FencedError", "message": "no"}', code="internal"),
        FatalError("ünï 'quoted' \"twice\" {braces} \\ \x00", code="internal"),
    ],
)
def test_an_error_of_this_package_arrives_as_it_was(error: BeamPipelinesError) -> None:
    arrived = crossed(error)
    assert type(arrived) is type(error)
    assert isinstance(arrived, BeamPipelinesError)
    assert (arrived.message, arrived.code, arrived.details) == (error.message, error.code, error.details)
    assert arrived.exit_code == error.exit_code


def test_problems_keep_their_paths_and_places() -> None:
    problems = (Problem("no such column", "pipeline.source.query", hint="did you mean id?"), Problem("x", "a[0].b", "f.yaml", 3, 7))
    arrived = crossed(PlanError("cannot be run", problems=problems, code="column-missing"))
    assert isinstance(arrived, PlanError)
    assert arrived.problems == problems
    assert arrived.code == "column-missing"


def test_of_several_errors_the_one_that_was_raised_last_arrives() -> None:
    fenced = FencedError("while handling it")
    fenced.__cause__ = TransientError("the first")
    assert isinstance(crossed(fenced), FencedError)


def test_of_any_other_error_type_and_message_arrive() -> None:
    arrived = crossed(ZeroDivisionError("division by zero"))
    assert type(arrived) is RuntimeError
    assert str(arrived) == "ZeroDivisionError: division by zero"


def test_the_workers_traceback_stays_with_the_error() -> None:
    arrived = crossed(FencedError("overtaken"))
    assert "in crossed" in str(arrived.__cause__)


@pytest.mark.parametrize("error", [RuntimeError("something of Beam"), ValueError(told(FencedError("not Beam's way"))), KeyboardInterrupt()])
def test_what_no_worker_told_is_left_alone(error: BaseException) -> None:
    assert received(error) is error


FAILS_IN_THE_WORKER = """
import os

from beam_pipelines.errors import TransientError
from beam_pipelines.io.staging_files import FileStager

if "CONTROL_API_SERVICE_DESCRIPTOR" in os.environ:  # this module is loaded by the launcher as well

    def finish(stager):
        {statement}

    FileStager.finish = finish


def same(row: dict) -> dict:
    return {{"id": row["id"], "name": row["name"], "updated_at": row["updated_at"]}}
"""
PLAIN = FAILS_IN_THE_WORKER[FAILS_IN_THE_WORKER.index("def same") :].format()
SAME = {"id": "same", "type": "function", "output": {"id": "bigint", "name": "text", "updated_at": "timestamp"}}


def fails(world: World, statement: str) -> Any:
    """A run whose workers do something when their staging should be finished."""
    world.write("insert", [SAME])
    (world.folder / "functions.py").write_text(FAILS_IN_THE_WORKER.format(statement=statement))
    world.fill(1, 50)
    return world.service.run(options=WORKERS)


def test_a_transient_error_of_a_worker_is_recorded_as_what_it_is(duck: World) -> None:
    result = fails(duck, 'raise TransientError("the disk is away", code="locked", details={"tries": 5})')
    assert (result.exit_code, result.execution.error_code, result.execution.error) == (1, "locked", "the disk is away")
    assert isinstance(result.error, TransientError)
    assert result.error.details == {"tries": 5}


def test_a_bug_in_a_worker_is_recorded_by_its_type(duck: World) -> None:
    result = fails(duck, "1 / 0")
    assert (result.exit_code, result.execution.error_code) == (1, "internal")
    assert "ZeroDivisionError: division by zero" in result.execution.error


def test_a_worker_that_is_killed_fails_the_run_and_the_next_one_does_the_work(duck: World) -> None:
    result = fails(duck, "os.kill(os.getpid(), 9)")
    assert result.exit_code == 1
    assert "a worker process ended before its work was done" in result.execution.error
    (duck.folder / "functions.py").write_text(PLAIN)
    assert duck.service.run().exit_code == 0
    assert duck.target("SELECT count(*), count(DISTINCT id) FROM customers") == [(50, 50)]
    assert duck.leftovers() == []


def test_a_plan_error_of_prepare_exits_with_2_and_is_shown_at_its_line(duck: World) -> None:
    duck.write("upsert")
    duck.change(("pipeline", "source", "query"), "SELECT name, updated_at FROM customers WHERE updated_at > ?")
    duck.fill(1, 5)
    result = duck.service.run(options=WORKERS)
    assert (result.exit_code, result.execution.error_code) == (2, "key-missing")
    assert isinstance(result.error, PlanError)
    (problem,) = result.error.problems
    assert (problem.path, problem.file) == ("pipeline.destination.keyFields", str(duck.definition))


def test_a_run_that_was_overtaken_is_refused_by_its_fence(duck: World) -> None:
    overtakes = f"""
from beam_pipelines.io.duckdb.target import DuckDbTarget
from pathlib import Path

def same(row: dict) -> dict:
    if row["id"] == 1:
        target = DuckDbTarget(Path({str(duck.folder / "target.duckdb")!r}))
        target.set_mark("customers", "customers", None, None)
        target.close()
    return {{"id": row["id"], "name": row["name"], "updated_at": row["updated_at"]}}
"""
    duck.write("insert", [SAME])
    (duck.folder / "functions.py").write_text(overtakes)
    duck.fill(1, 50)
    result = duck.service.run(options=WORKERS)
    assert (result.exit_code, result.execution.error_code) == (1, "fenced")
    assert isinstance(result.error, FencedError)
    assert duck.target("SELECT count(*) FROM information_schema.tables WHERE table_name = 'customers'") == [(0,)]


SCRIPT = """
import sys
from beam_pipelines.etl.service import Service
sys.exit(Service.load("service.json").run(options={options}).exit_code)
"""


def test_workers_print_nothing_of_their_own(duck: World) -> None:
    duck.fill(1, 50)
    duck.write("insert", [SAME])
    (duck.folder / "functions.py").write_text(PLAIN)
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(options=list(WORKERS))],
        cwd=duck.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    # Beam's import in this process says that an optional client is absent.
    assert [line for line in ran.stderr.splitlines() if "apitools" not in line] == []


def test_the_command_line_logs_a_workers_failure_without_traceback_and_with_the_run(duck: World) -> None:
    duck.write("insert", [SAME])
    (duck.folder / "functions.py").write_text(
        FAILS_IN_THE_WORKER.format(statement='raise TransientError("the disk is away", code="locked")')
    )
    duck.fill(1, 50)
    command = [
        sys.executable,
        "-m",
        "beam_pipelines.etl",
        "--service",
        "service.json",
        "--output",
        "json",
        "--log-format",
        "json",
        *WORKERS,
    ]
    ran = subprocess.run(command, cwd=duck.folder, capture_output=True, text=True, timeout=120, check=False)
    record = json.loads(ran.stdout)
    assert (ran.returncode, record["errorCode"], record["error"]) == (1, "locked", "the disk is away")
    assert "Traceback" not in ran.stderr
    logged = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("{")]
    assert {line["runId"] for line in logged} == {record["runId"]}
    assert "the disk is away [locked; see docs/errors.md#locked]" in ran.stderr
