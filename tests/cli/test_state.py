from __future__ import annotations

import json

NEWEST = "2026-01-28T10:00:00.000000"


def marks(room, *words):
    return room("state", "show", "--output", "json", *words).json()


def test_the_watermark_is_shown_as_the_ledger_has_it(ran):
    [mark] = marks(ran)
    assert mark.pop("fingerprint")
    assert mark == {
        "serviceId": "customers",
        "table": "customers",
        "watermark": {"type": "timestamp", "text": NEWEST},
        "generation": 1,
        "runId": json.loads((ran.folder / "record.json").read_text())["runId"],
        "from": "ledger",
        "same": True,
    }
    assert NEWEST in ran("state", "show").out


def test_the_store_alone_shows_its_copies(ran):
    [mark] = marks(ran, "--state", ".beam_pipelines/state.db")
    assert (mark["watermark"]["text"], mark["from"]) == (NEWEST, "state store")


def test_set_moves_ledger_and_copy_and_the_next_run_goes_on_from_there(copied):
    answer = copied("state", "set", "2026-01-27 00:00:00")
    assert answer.code == 0, answer.err
    assert f"{NEWEST} -> 2026-01-27T00:00:00.000000" in answer.out
    [mark] = marks(copied)
    assert (mark["watermark"]["text"], mark["generation"], mark["same"], mark["runId"]) == ("2026-01-27T00:00:00.000000", 2, True, None)
    after = copied("run", "service.yaml", "--output", "json")
    assert after.code == 0, after.err
    # 2026-01-27 and 2026-01-28: the ids n with n % 28 of 26 or 27, of 1,200.
    assert after.json()["metrics"]["recordsExtracted"] == sum(1 for n in range(1, 1201) if n % 28 in (26, 27))


def test_reset_has_the_next_run_read_everything(copied):
    answer = copied("state", "reset", "--output", "json")
    assert answer.code == 0, answer.err
    assert answer.json()[0]["watermark"] is None
    assert marks(copied)[0]["same"] is True
    after = copied("run", "service.yaml", "--output", "json")
    assert after.code == 0, after.err
    assert after.json()["metrics"]["recordsExtracted"] == 1200


def test_a_value_of_another_type_is_refused(copied):
    answer = copied("state", "set", "7", "--type", "int")
    assert answer.code == 2
    assert "expected a watermark of type timestamp" in answer.err
    assert marks(copied)[0]["watermark"]["text"] == NEWEST


def test_a_table_that_is_not_loaded_is_refused_with_those_that_are(copied):
    answer = copied("state", "reset", "--table", "nope")
    assert answer.code == 2
    assert "expected --table with one of customers, got 'nope'" in answer.err


def test_while_a_run_is_active_the_watermark_stays(copied):
    from beam_pipelines.state import StateStore, this_process

    with StateStore(f"sqlite:///{copied.folder}/.beam_pipelines/state.db") as store:
        store.acquire("customers", "other0000000", ttl_seconds=60, holder=this_process())
        for words in (["reset"], ["set", NEWEST]):
            answer = copied("state", *words)
            assert answer.code == 4
            assert "run other0000000" in answer.err
    assert marks(copied)[0]["generation"] == 1


def test_afterwards_the_service_can_run(copied):
    assert copied("state", "reset").code == 0
    assert copied("state", "set", NEWEST, "--type", "timestamp").code == 0
    assert copied("run", "service.yaml").code == 0


def test_before_the_first_run_there_is_nothing_to_show_or_change(room):
    assert room("state", "show").out == "there are no watermarks yet\n"
    answer = room("state", "reset")
    assert answer.code == 2
    assert "the first run of the service makes it" in answer.err
    assert not (room.folder / "warehouse.duckdb").exists()


def test_when_the_target_is_away_the_copies_are_shown_with_a_warning(copied):
    (copied.folder / "warehouse.duckdb").write_bytes(b"no database any more")
    answer = copied("state", "show", "--output", "json")
    assert answer.code == 0, answer.err
    assert answer.json()[0]["from"] == "state store"
    assert "the target cannot be asked" in answer.err
