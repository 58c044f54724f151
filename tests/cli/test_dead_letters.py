from __future__ import annotations

import json


def test_the_list_counts_by_run_step_and_code_and_names_the_file(ran):
    run = json.loads((ran.folder / "record.json").read_text())["runId"]
    answer = ran("dead-letters", "list")
    assert answer.code == 0
    head, line, *_, file = answer.out.splitlines()
    assert head.split() == ["run", "time", "table", "step", "code", "rows", "first", "reason"]
    assert line.split()[0] == run
    assert line.split()[3:7] == ["customers", "extract", "cast-failed", "12"]
    assert "'age'" in line
    assert file == f"{ran.folder}/.beam_pipelines/dead-letters/customers/{run}.jsonl"
    listed = ran("dead-letters", "list", "--output", "json").json()
    assert [(one["runId"], one["count"], one["url"]) for one in listed] == [(run, 12, file)]


def test_letters_are_shown_with_origin_and_payload(ran):
    answer = ran("dead-letters", "show", "--limit", "2")
    assert answer.code == 0
    assert answer.out.count("extract: cast-failed: ") == 2
    assert '"age": "unknown"' in answer.out
    assert answer.out.splitlines()[-1].startswith("2 of 12 dead letters of run ")


def test_letters_in_json_are_whole(ran):
    letters = ran("dead-letters", "show", "--limit", "100", "--output", "json").json()
    assert sorted(one["record"]["id"] for one in letters) == [100 * n for n in range(1, 13)]
    assert {one["record"]["age"] for one in letters} == {"unknown"}
    assert all(one["origin"]["key"] == {"id": one["record"]["id"]} for one in letters)
    assert {one["pipelineId"] for one in letters} == {"customers"}


def test_letters_are_picked_by_run_step_and_code(ran):
    run = json.loads((ran.folder / "record.json").read_text())["runId"]
    for words, count in (([run[:6]], 12), (["--step", "extract"], 12), (["--step", "load"], 0), (["--code", "key-null"], 0)):
        assert len(ran("dead-letters", "show", *words, "--output", "json").json()) == count
    assert ran("dead-letters", "show", "nope").code == 2


def test_a_file_that_is_gone_is_said(copied):
    # A copy's store still names the file of the room it was copied from: lead it to where nothing is.
    import sqlite3

    with sqlite3.connect(copied.folder / ".beam_pipelines" / "state.db") as store:
        store.execute("UPDATE failed_records SET url = '/nowhere/customers/x.jsonl'")
    store.close()
    answer = copied("dead-letters", "show")
    assert answer.code == 1
    assert "the dead letters at '/nowhere/customers/x.jsonl' are gone" in answer.err


def test_where_nothing_failed_there_are_none(room):
    for words in (["list"], ["show", "--service", "service.yaml"]):
        answer = room("dead-letters", *words)
        assert (answer.code, answer.out) == (0, "there are no dead letters\n")
