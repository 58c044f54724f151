"""The whole command, in a process of its own: what it answers, and the exit code."""

from __future__ import annotations

import json
import re
import signal

import pytest

ROWS, BAD = 1_200, 12  # as `make_room` makes them


def test_a_run_loads_prints_its_summary_and_the_next_one_picks_up_what_changed(room):
    first = room("run", "service.yaml")
    assert first.code == 0, first.err
    lines = [line.strip() for line in first.out.splitlines()]
    assert re.fullmatch(r"customers: success in .* \(run [0-9a-f]{12}\)", lines[0])
    assert lines[3].split()[:3] == ["extract", "1,200", "1,188"]
    assert any(line.startswith("loaded         1,188 rows by ") for line in lines)
    assert "- 12 cast-failed in extract" in lines
    assert "watermark      2026-01-28T10:00:00.000000" in lines
    assert "guarantee      exactly-once" in lines
    assert "charge         10.00 USD (ETL Pipeline - 0.00 GB processed)" in lines
    assert any(line.startswith("schedule       At minute 0") and "does not wait for it" in line for line in lines)
    hint = lines[-1]
    assert hint.startswith("beam-pipelines runs show ")
    assert room(*hint.split()[1:]).out.startswith("customers: success")
    assert room.warehouse("SELECT count(*) FROM customers") == [(ROWS - BAD,)]

    room.crm("UPDATE customers SET name = 'changed', updated_at = '2026-02-01 00:00:00' WHERE id <= 5")
    second = room("run", "service.yaml", "--output", "json")
    assert second.code == 0, second.err
    assert second.json()["watermark"]["text"] == "2026-02-01T00:00:00.000000"
    assert room.warehouse("SELECT count(*) FROM customers WHERE name = 'changed'") == [(5,)]


def test_json_is_alone_on_stdout_though_functions_print(room):
    room.change("transformations: []", "transformations: [{id: shout, type: function, output: {id: bigint}}]")
    room.write(
        "functions.py",
        """
        import logging, os, sys

        print("imported")

        def shout(row: dict) -> dict:
            if row["id"] <= 3:
                print("a row", row["id"])
                os.write(1, b"and below Python\\n")
                logging.getLogger(__name__).info("logged")
            return {"id": row["id"]}
        """,
    )
    answer = room("run", "service.yaml", "--output", "json", "--request", "r-7", "--customer", "acme", "--log-format", "json")
    assert answer.code == 0, answer.err
    record = answer.json()
    assert record["status"] == "success"
    assert (record["requestId"], record["customerId"]) == ("r-7", "acme")
    assert record["metrics"]["recordsLoaded"] == ROWS - BAD
    assert [step["id"] for step in record["steps"][1]["transformations"]] == ["shout"]
    assert record["charge"]["amount"] == "10.00"
    assert "a row 1" in answer.err
    assert "and below Python" in answer.err
    logged = [json.loads(line) for line in answer.err.splitlines() if line.startswith("{")]
    assert {line["runId"] for line in logged} == {record["runId"]}
    assert {line["serviceId"] for line in logged} == {"customers"}
    assert any(line["message"] == "logged" for line in logged)
    assert any("in-process portable runner" in line["message"] for line in logged)
    assert {"time", "level", "logger", "message", "runId", "serviceId"} <= set(logged[0])


def test_a_definition_with_mistakes_exits_2_with_every_line(room):
    room.change("type: automation", "type: automation\nversoin: 1")
    room.change("mode: upsert", "mode: upsrt")
    answer = room("run", "service.yaml")
    assert answer.code == 2
    assert answer.out == ""
    assert "service.yaml:3:1: versoin: unknown key 'versoin' (did you mean 'version'?)" in answer.err
    assert "service.yaml:15:11: pipeline.destination.mode: " in answer.err
    assert answer.err.count("^") >= 2
    answer = room("run", "service.yaml", "--output", "json")
    assert answer.code == 2
    assert [problem["line"] for problem in answer.json()["problems"]] == [3, 15]


def test_what_cannot_be_run_as_asked_exits_2_at_its_line_and_records_nothing(room):
    room.change("mode: upsert", "mode: replace")
    answer = room("etl", "--service", "service.yaml")
    assert answer.code == 2
    assert "service.yaml:14:11: pipeline.destination.mode: replace without keyFields" in answer.err
    assert "docs/errors.md#mode-refused" in answer.err
    assert not (room.folder / ".beam_pipelines" / "state.db").exists()


@pytest.mark.parametrize(("on_exceed", "code", "status"), [("fail", 1, "failed"), ("warn", 3, "success")])
def test_above_the_error_budget_it_exits_1_or_where_that_only_warns_3(room, on_exceed, code, status):
    room.change("pricing:", f"errorBudget: {{max: 5, onExceed: {on_exceed}}}\npricing:")
    answer = room("run", "service.yaml", "--output", "json")
    assert answer.code == code, answer.err
    assert answer.json()["status"] == status
    assert answer.json()["metrics"]["recordsDeadLettered"] == BAD
    assert ("budget-exceeded" in answer.err) == (code == 1)


def test_while_another_run_is_active_it_exits_4_and_says_which(room):
    from beam_pipelines.state import StateStore, this_process

    (room.folder / ".beam_pipelines").mkdir()
    with StateStore(f"sqlite:///{room.folder}/.beam_pipelines/state.db") as store:
        store.acquire("customers", "other0000000", ttl_seconds=60, holder=this_process())
        answer = room("run", "service.yaml", "--output", "json")
    assert answer.code == 4
    assert "run other0000000" in answer.err
    assert answer.json()["errorCode"] == "active-run"


SLOW = """
import pathlib, time

def wait(row: dict) -> dict:
    pathlib.Path("begun").touch()
    time.sleep(0.02)
    return {"id": row["id"]}
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_recorded_as_cancelled_and_the_next_goes_on(room, number):
    room.change("transformations: []", "transformations: [{id: wait, type: function, output: {id: bigint}}]")
    room.write("functions.py", SLOW)
    answer = room.interrupted(number, room.folder / "begun", "run", "service.yaml")
    assert answer.code == 130, answer.err
    assert "stopping run" in answer.err
    assert "is recorded as cancelled and loaded nothing" in answer.err
    assert "Traceback" not in answer.err
    assert answer.out.startswith("customers: cancelled")
    listed = room("runs", "--output", "json").json()
    assert [one["status"] for one in listed] == ["cancelled"]

    room.write("functions.py", SLOW.replace("time.sleep(0.02)", ""))
    after = room("run", "service.yaml", "--output", "json")
    assert after.code == 0, after.err
    assert after.json()["metrics"]["recordsLoaded"] == ROWS - BAD


def test_a_run_that_died_is_settled_and_said(room):
    from datetime import datetime, timezone

    from beam_pipelines.state import Execution, StateStore

    (room.folder / ".beam_pipelines").mkdir()
    with StateStore(f"sqlite:///{room.folder}/.beam_pipelines/state.db") as store:
        store.begin(Execution("customers", "dead00000000", datetime.now(timezone.utc)))
    answer = room("run", "service.yaml")
    assert answer.code == 0, answer.err
    assert "settled        run dead00000000 had not lived to record its end; it is recorded as lost now" in answer.out


def test_a_function_that_fails_costs_rows_and_no_traceback(room):
    room.change("transformations: []", "transformations: [{id: check, type: function, output: {id: bigint}}]")
    room.change("pricing:", "errorBudget: {max: 50%}\npricing:")
    room.write(
        "functions.py",
        "def check(row: dict) -> dict:\n    if row['id'] % 4 == 0:\n        raise ValueError('four')\n    return {'id': row['id']}\n",
    )
    answer = room("run", "service.yaml")
    assert answer.code == 0, answer.err
    assert "function-failed in check" in answer.out
    assert "Traceback" not in answer.err


def test_code_that_cannot_be_set_up_exits_1_without_a_traceback_unless_it_is_asked_for(room):
    room.change("transformations: []", "transformations: [{id: check, type: function, output: {id: bigint}}]")
    room.write(
        "functions.py",
        """
        class Check:
            def __enter__(self):
                raise RuntimeError("no licence")
            def __exit__(self, *exception):
                pass
            def __call__(self, row: dict) -> dict:
                return row

        check = Check
        """,
    )
    answer = room("run", "service.yaml")
    assert answer.code == 1, answer.err
    assert "no licence" in answer.err
    assert "Traceback" not in answer.err
    debugged = room("run", "service.yaml", "--log-level", "debug")
    assert debugged.code == 1
    assert "Traceback" in debugged.err


PASSWORD = "s3cret!pass/word"


@pytest.mark.parametrize("words", [["run", "service.yaml"], ["connections", "test"], ["plan", "service.yaml"], ["preview", "service.yaml"]])
@pytest.mark.parametrize("form", [["--output", "json", "--log-format", "json"], []], ids=["json", "text"])
def test_no_secret_is_printed_when_a_server_is_away(room, words, form):
    from urllib.parse import quote

    room.write("connections.yaml", "crm: postgresql://bob:${env:CRM_PASSWORD}@127.0.0.1:9/crm\nwarehouse: duckdb:///warehouse.duckdb\n")
    room.environ["CRM_PASSWORD"] = PASSWORD
    answer = room(*words, *form, "--log-level", "debug")
    assert answer.code == 1, answer.err
    assert "unreachable" in answer.out + answer.err
    for text in (answer.out, answer.err):
        assert PASSWORD not in text
        assert quote(PASSWORD, safe="") not in text


def test_a_function_that_prints_or_raises_a_secret_does_not_show_it(room):
    room.write("connections.yaml", "crm: sqlite:///crm.db\nwarehouse: duckdb:///warehouse.duckdb\nother: postgresql://b:${env:PW}@h/d\n")
    room.environ["PW"] = PASSWORD
    room.change("transformations: []", "transformations: [{id: leak, type: function, output: {id: bigint}}]")
    room.write(
        "functions.py",
        """
        import logging, os

        class Leak:
            def __enter__(self):
                logging.getLogger("mine").warning("connecting with %s", os.environ["PW"])
                raise RuntimeError("refused: " + os.environ["PW"])
            def __exit__(self, *exception):
                pass
            def __call__(self, row: dict) -> dict:
                return row

        leak = Leak
        """,
    )
    for form in ([], ["--output", "json", "--log-format", "json", "--log-level", "debug"]):
        answer = room("run", "service.yaml", *form)
        assert answer.code == 1
        assert "connecting with ***" in answer.err
        assert PASSWORD not in answer.out + answer.err


def test_runners_that_are_not_served_are_refused(room):
    answer = room("run", "service.yaml", "--runner=FlinkRunner")
    assert answer.code == 2
    assert "runner-refused" in answer.err


def test_a_full_refresh_of_an_insert_service_wants_yes(room):
    room.change("mode: upsert", "mode: insert")
    assert room("run", "service.yaml").code == 0
    refused = room("run", "service.yaml", "--full-refresh")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert room("run", "service.yaml", "--full-refresh", "--yes").code == 0
    assert room.warehouse("SELECT count(*) FROM customers") == [(ROWS - BAD,)]


def test_a_state_store_elsewhere_is_used_and_named_in_the_hint(room):
    answer = room("run", "service.yaml", "--state", "kept/state.db")
    assert answer.code == 0, answer.err
    assert (room.folder / "kept" / "state.db").exists()
    hint = answer.out.splitlines()[-1]
    assert hint.endswith(" --state kept/state.db")
    assert room(*hint.split()[1:]).code == 0


def test_worker_processes_log_as_this_process_does_and_beam_is_quiet(room):
    room.change("transformations: []", "transformations: [{id: same, type: function, output: {id: bigint}}]")
    room.write(
        "functions.py",
        """
        import logging

        def same(row: dict) -> dict:
            if row["id"] == 7:
                logging.getLogger("mine").warning("it is 'seven', über")
                logging.getLogger("mine").info("an aside")
                print("printed by a worker", flush=True)
            return {"id": row["id"]}
        """,
    )
    workers = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    answer = room("run", "service.yaml", *workers, "--output", "json", "--log-format", "json")
    assert answer.code == 0, answer.err
    assert answer.json()["metrics"]["recordsLoaded"] == ROWS - BAD
    lines = answer.err.splitlines()
    assert [line for line in lines if not line.startswith("{")] == ["printed by a worker"]
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert any("2 worker processes" in line["message"] for line in logged)
    assert "an aside" in [line["message"] for line in logged if line["level"] == "info"]
    assert [line["message"] for line in logged if line["level"] == "warning"] == ["it is 'seven', über"]
    assert {line["runId"] for line in logged} == {answer.json()["runId"]}


@pytest.mark.parametrize("leaving", ["os._exit(0)", "sys.exit()"])
def test_a_function_that_ends_the_process_fails_the_run_and_says_so(room, leaving):
    room.change("transformations: []", "transformations: [{id: leave, type: function, output: {id: bigint}}]")
    room.write("functions.py", f"import os, sys\n\n\ndef leave(row):\n    {leaving}\n")
    answer = room("run", "service.yaml")
    assert answer.code == 1
    assert "functions.py: leave wanted to end the process (functions.py, line 5)" in answer.err
    (run,) = room("runs", "--output", "json").json()
    assert (run["status"], run["errorCode"]) == ("failed", "function-failed")


@pytest.mark.parametrize("command", [["run", "service.yaml"], ["plan", "service.yaml"], ["validate", "service.yaml"]])
@pytest.mark.parametrize("leaving", ["os._exit(0)", "sys.exit(0)"])
def test_a_file_of_functions_that_ends_the_process_is_refused_by_every_command(room, command, leaving):
    room.change("transformations: []", "transformations: [{id: leave, type: function, output: {id: bigint}}]")
    room.write("functions.py", f"import os, sys\n{leaving}\n")
    answer = room(*command)
    assert answer.code == 2
    assert f"{room.folder}/functions.py cannot be imported: it ends the process (line 2)" in answer.err
