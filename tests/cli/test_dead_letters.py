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


def test_a_purge_deletes_files_and_index_of_runs_that_are_old_enough(copied):
    run = json.loads((copied.folder / "record.json").read_text())["runId"]
    file = copied.folder / ".beam_pipelines" / "dead-letters" / "customers" / f"{run}.jsonl"
    answer = copied("dead-letters", "purge", "--older-than", "1h")
    assert (answer.code, answer.out) == (0, "deleted 0 dead letters of 0 runs (0 files)\n")
    assert file.exists()
    import sqlite3

    with sqlite3.connect(copied.folder / ".beam_pipelines" / "state.db") as store:
        store.execute("UPDATE failed_records SET timestamp = '2020-01-01T00:00:00.000000+00:00', url = ?", [str(file)])
    store.close()
    gone = copied("dead-letters", "purge", "--older-than", "30d", "--output", "json").json()
    assert gone == {"serviceId": "customers", "runs": 1, "letters": 12, "files": 1}
    assert not file.exists()
    assert copied("dead-letters", "list").out == "there are no dead letters\n"


def test_a_purge_needs_an_age_of_an_hour_at_least(room):
    for words, said in ((["--older-than", "59m"], "at least 1h"), (["--older-than", "old"], "expected a duration"), ([], "--older-than")):
        answer = room("dead-letters", "purge", *words)
        assert answer.code == 2
        assert said in answer.err
