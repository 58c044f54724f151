from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace

from beam_pipelines.pricing import charge_hour
from beam_pipelines.state import Advance, Execution, Failure, Metrics, StateStore, Watermark


def record(room):
    return json.loads((room.folder / "record.json").read_text())


def test_runs_are_listed_newest_first_with_what_they_did(copied):
    assert copied("run", "service.yaml", "--output", "json").code == 0
    listed = copied("runs")
    assert listed.code == 0
    head, newest, oldest = listed.out.splitlines()
    assert head.split() == ["run", "service", "status", "started", "duration", "read", "loaded", "dead", "bytes", "charge"]
    assert oldest.split()[0] == record(copied)["runId"]
    assert " 1,200 1,188 12 " in " ".join(oldest.split())
    assert oldest.endswith("10.00 USD")
    assert newest.split()[1:3] == ["customers", "success"]
    assert copied("runs", "--limit", "1").out.splitlines()[1].split() == newest.split()


def test_the_list_in_json_holds_the_records(ran):
    assert ran("runs", "list", "--output", "json").json() == [record(ran)]
    assert ran("runs", "--output", "json", "--status", "failed").json() == []


def test_one_run_is_shown_by_the_beginning_of_its_id(ran):
    run = record(ran)["runId"]
    for words in (
        ["runs", "show", run[:5]],
        ["runs", "show", run, "--service", "service.yaml"],
        ["runs", "--service", "service.yaml", "show", run],
    ):
        shown = ran(*words)
        assert shown.code == 0, shown.err
        assert shown.out.startswith("customers: success in ")
        assert "- 12 cast-failed in extract" in shown.out
        assert "customer       acme" in shown.out
        assert "request        r-1" in shown.out
        assert "exactly-once" in shown.out


def test_one_run_in_json_is_its_record_with_the_index_of_its_dead_letters(ran):
    run = record(ran)
    shown = ran("runs", "show", run["runId"], "--output", "json").json()
    letters, alerts = shown.pop("deadLetters"), shown.pop("alerts")
    assert shown == run
    assert alerts == []
    assert [(one["step"], one["code"], one["count"]) for one in letters] == [("extract", "cast-failed", 12)]


def test_an_unknown_run_says_how_to_list_them(ran):
    answer = ran("runs", "show", "nope")
    assert answer.code == 2
    assert "got 'nope': there is none; beam-pipelines runs lists them" in answer.err


def test_before_the_first_run_there_are_none_and_nothing_is_made(room):
    answer = room("runs")
    assert (answer.code, answer.out) == (0, "there are no runs yet\n")
    assert room("runs", "--service", "service.yaml", "--output", "json").json() == []
    assert not (room.folder / ".beam_pipelines").exists()


def test_a_store_that_is_not_there_is_an_error(room):
    answer = room("runs", "--state", "typo.db")
    assert answer.code == 2
    assert "there is no state store at" in answer.err
    assert not (room.folder / "typo.db").exists()


def test_only_the_runs_of_the_named_service_are_listed(copied):
    copied.write("other.yaml", (copied.folder / "service.yaml").read_text().replace("name: Customers", "name: Others"))
    assert copied("runs", "--service", "other.yaml", "--output", "json").json() == []
    assert len(copied("runs", "--service", "service.yaml", "--output", "json").json()) == 1
    assert len(copied("runs", "--state", ".beam_pipelines/state.db", "--output", "json").json()) == 1


def test_a_state_store_on_a_server_that_is_away_is_an_error_without_its_password(room):
    for form in ("text", "json"):
        answer = room("runs", "--state", "postgresql://me:hunter2@127.0.0.1:9/state", "--output", form, "--log-level", "debug")
        assert answer.code == 1
        assert "unreachable" in answer.err
        assert "hunter2" not in answer.out + answer.err


def test_what_a_run_alerted_of_is_shown_with_it(copied):
    import sqlite3

    run = json.loads((copied.folder / "record.json").read_text())["runId"]
    with sqlite3.connect(copied.folder / ".beam_pipelines" / "state.db") as store:
        at = "2026-03-01T09:00:00.000000+00:00"
        store.execute(
            "INSERT INTO alerts VALUES ('e1', 'customers', ?, 'medium', 'process 7 holds rows back', 0, ?, 'ceiling: 7')", [run, at]
        )
        store.execute("INSERT INTO alerts VALUES ('e2', 'customers', 'another', 'high', 'of another run', 101, ?, NULL)", [at])
    store.close()
    answer = copied("runs", "show", run)
    assert "  alert          process 7 holds rows back" in answer.out.splitlines()
    assert "of another run" not in answer.out
    (alert,) = copied("runs", "show", run, "--output", "json").json()["alerts"]
    assert (alert["severity"], alert["incident"], alert["message"]) == ("medium", "ceiling: 7", "process 7 holds rows back")


def test_a_stream_at_work_is_listed_and_shown_with_its_hours(room):
    price = SimpleNamespace(model="per-hour", rate=Decimal("1.50"), currency="USD", includes=100, overage=Decimal("0.01"))
    now = [datetime(2026, 3, 1, 9, 59, tzinfo=timezone.utc)]
    with StateStore(str(room.folder / "streams.db"), clock=lambda: now[0]) as store:
        store.begin(Execution("clicks", "5e5510000001", now[0], name="Clicks", kind="stream"))
        for generation in range(1, 4):
            failures = (Failure("extract", "decode-failed", 1, "/letters/d.jsonl"),)
            watermark = Watermark("clicks", "w", {"type": "offsets", "text": "{}"}, "f", generation, f"d{generation}")
            counts = Metrics(records_extracted=70, records_loaded=5, records_dead_lettered=1)
            live = {"eventsPerSecond": 2.0, "lag": {"0": 4}, "late": 2, "windowsWritten": 5}
            store.advance("5e5510000001", Advance(f"d{generation}", generation, "w", now[0], counts, (), failures, watermark, 70, (), live))
            now[0] += timedelta(hours=1)
            store.charge_hours("clicks", lambda hour, events: charge_hour(price, hour=hour, events=events))
    listed = room("runs", "--state", "streams.db").out.splitlines()[1]
    assert listed.split() == ["5e5510000001", "clicks", "running", "2026-03-01", "09:59:00Z", "210", "15", "3", "0", "B", "4.50", "USD"]
    shown = room("runs", "show", "5e55", "--state", "streams.db")
    assert shown.code == 0, shown.err
    said = "\n".join(line.strip() for line in shown.out.splitlines())
    assert "lag              4 messages in 1 partition\n- 4 in partition 0" in said
    assert "windows written  15\nlate             6\n" in said
    assert "charge           4.50 USD (3 hours)\n- 2026-03-01 09:00Z: 70 events, 1.50 USD" in said
    record = room("runs", "show", "5e55", "--state", "streams.db", "--output", "json").json()
    assert [(one["hour"][:13], one["events"], one["amount"]) for one in record["charges"]] == [
        (f"2026-03-01T{hour}", 70, "1.50") for hour in ("09", "10", "11")
    ]
    assert (record["live"]["late"], record["charge"]["amount"]) == (6, "4.50")
