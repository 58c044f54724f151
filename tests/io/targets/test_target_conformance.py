"""What every database target must do, counted by hand: modes, guards, ledger, fence, watermark, staging."""

from __future__ import annotations

import importlib
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import DataError, FatalError, FencedError, PlanError, TransientError
from beam_pipelines.runs.balance import Budget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import Merged
from beam_pipelines.runs.mark import Mark

ADA, BOB, CYD = (1, "Ada", 10), (2, "Bob", 10), (3, "Cyd", 10)
NOTED = pa.schema([("id", pa.int64()), ("name", pa.string()), ("version", pa.int64()), ("note", pa.string())])
# Half of the rows are there already: 1 is newer, 2 is equal, 3 is older, 4 is not touched, 5 is new, 6 is new and comes twice.
THERE = [(1, "Ada", 10), (2, "Bob", 10), (3, "Cyd", 10), (4, "Dan", 10)]
COMES = [(1, "Ada L.", 11), (2, "Bob", 10), (3, "Cyd old", 9), (5, "Eve", 11), (6, "Fay", 11), (6, "Fay F.", 12)]
MERGED = [(1, "Ada L.", 11), (2, "Bob", 10), (3, "Cyd", 10), (4, "Dan", 10), (5, "Eve", 11), (6, "Fay F.", 12)]

KEYED = "CREATE TABLE customers (id BIGINT PRIMARY KEY, name VARCHAR(40), version BIGINT)"
KEYLESS = "CREATE TABLE customers (id BIGINT, name VARCHAR(40), version BIGINT)"
INSERT = "INSERT INTO customers VALUES " + ", ".join(f"({i}, '{n}', {v})" for i, n, v in THERE)


def counted(merged: Merged) -> dict[str, int]:
    """The counters that are not zero."""
    names = ("inserted", "updated", "unchanged", "stale", "superseded", "dead", "deleted")
    return {name: getattr(merged, name) for name in names if getattr(merged, name)}


# Modes.


@pytest.mark.parametrize("mode", ["insert", "upsert", "replace"])
def test_the_first_load_makes_the_table_and_remembers_the_run(place: Any, loading: Any, mode: str) -> None:
    run = loading.begin(mode=mode, keys=() if mode == "insert" else ("id",), newest=Mark.of(10)).stage([ADA, BOB, CYD])
    counts = run.commit()

    assert place.rows() == [ADA, BOB, CYD]
    assert counted(counts.merged) == {"inserted": 3}
    standing = loading.target.standing("shop", "customers")
    assert (standing.generation, standing.mark, standing.fingerprint, standing.run) == (1, Mark.of(10), "f1", run.window.run)
    assert standing.schemas == run.window.schemas
    row = loading.target.row("shop", "customers", run.window.run)
    assert row is not None
    assert (row.status, row.counts, row.window) == ("committed", counts, run.window)
    assert loading.target.staging("shop") == []
    assert not [name for name in place.names() if name.startswith("_bp_")]


@pytest.mark.parametrize("table", [KEYED, KEYLESS])
def test_upsert_counts_each_fate_of_a_row(place: Any, loading: Any, table: str) -> None:
    place.sql(table, INSERT)
    counts = loading.upsert(COMES, version="version")
    assert place.rows() == MERGED
    assert counted(counts.merged) == {"inserted": 2, "updated": 1, "unchanged": 1, "stale": 1, "superseded": 1}


@pytest.mark.parametrize("table", [KEYED, KEYLESS])
def test_upsert_of_keys_known_to_be_unique_counts_the_same(place: Any, loading: Any, table: str) -> None:
    place.sql(table, INSERT)
    counts = loading.upsert(COMES[:4], version="version", unique=True)
    assert place.rows() == MERGED[:5]
    assert counted(counts.merged) == {"inserted": 1, "updated": 1, "unchanged": 1, "stale": 1}


@pytest.mark.parametrize("table", [KEYED, KEYLESS])
def test_a_row_without_a_version_is_older_than_any_that_has_one(place: Any, loading: Any, table: str) -> None:
    place.sql(table, INSERT, "INSERT INTO customers VALUES (7, 'Gil', NULL), (8, 'Hal', NULL)")
    counts = loading.upsert([(1, "none", None), (7, "Gil G.", None), (8, "Hal H.", -5), (9, "Ida", None)], version="version", unique=True)
    assert place.rows() == [*THERE, (7, "Gil G.", None), (8, "Hal H.", -5), (9, "Ida", None)]
    assert counted(counts.merged) == {"inserted": 1, "updated": 2, "stale": 1}


@pytest.mark.parametrize("table", [KEYED, KEYLESS])
def test_without_a_version_the_last_row_wins(place: Any, loading: Any, table: str) -> None:
    place.sql(table, INSERT)
    run = loading.begin(mode="upsert", keys=("id",))
    run.stage([(3, "second", 1), (3, "third", 2)], order=7).stage([(3, "first", 99), (1, "Ada", 10)], order=2)
    counts = run.commit()
    assert place.rows() == [(1, "Ada", 10), (2, "Bob", 10), (3, "third", 2), (4, "Dan", 10)]
    # PostgreSQL's way without index and version rewrites equal rows: what it writes counts as updated.
    assert counts.merged.updated + counts.merged.unchanged == 2
    assert counts.merged.superseded == 2


def test_of_equal_versions_the_later_row_wins(place: Any, loading: Any) -> None:
    run = loading.begin(mode="upsert", keys=("id",), version="version")
    run.stage([(1, "late", 5), (1, "none", None)], order=3).stage([(1, "early", 5), (2, "none", None), (2, "some", 1)], order=1)
    counts = run.commit()
    assert place.rows() == [(1, "late", 5), (2, "some", 1)]
    assert counted(counts.merged) == {"inserted": 2, "superseded": 3}


@pytest.mark.only("postgresql")
def test_it_is_older_also_where_another_writer_was_in_between(place: Any, loading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def conflict(tx: Any, sql: Any) -> Any:
        raise DataError("duplicate key", code="target-refused", details={"sqlstate": "23505"})

    # Not by its name: a test that imports it anew may have left the package without it.
    monkeypatch.setattr(importlib.import_module("beam_pipelines.io.postgres.target"), "_merge", conflict)
    place.sql(KEYED, INSERT, "INSERT INTO customers VALUES (7, 'Gil', NULL)")
    counts = loading.upsert([(1, "none", None), (2, "Bob B.", 11), (3, "Cyd old", 9), (7, "Gil G.", None)], version="version")
    assert (counts.merged.method, counted(counts.merged)) == ("on conflict", {"updated": 2, "stale": 2})
    assert place.rows() == [THERE[0], (2, "Bob B.", 11), *THERE[2:], (7, "Gil G.", None)]


@pytest.mark.only("postgresql")
def test_many_rows_for_their_table_are_written_in_the_order_of_the_key(place: Any, loading: Any) -> None:
    """So that index and table are gone through once: 9,973 is prime, and its multiples come in no order."""
    place.sql(KEYED, "INSERT INTO customers SELECT i, 'old', 10 FROM generate_series(2, 10000, 2) AS i", "ANALYZE customers")
    ids = [number * 9973 % 10_000 for number in range(10_000)]
    counts = loading.upsert([(number, "new", 11) for number in ids], version="version", unique=True)
    assert counted(counts.merged) == {"inserted": 5001, "updated": 4999}
    assert place.sql("SELECT id FROM customers WHERE name = 'new' ORDER BY ctid") == [(number,) for number in range(10_000)]


def test_upsert_by_several_keys_tells_them_apart(place: Any, loading: Any) -> None:
    schema = pa.schema([("country", pa.string()), ("number", pa.int64()), ("name", pa.string())])
    loading.load([("CH", 1, "a"), ("DE", 1, "b")], schema, mode="upsert", keys=("country", "number"))
    counts = loading.load([("DE", 1, "B"), ("DE", 2, "c")], schema, mode="upsert", keys=("country", "number"))
    assert place.rows(columns="country, number, name") == [("CH", 1, "a"), ("DE", 1, "B"), ("DE", 2, "c")]
    assert counted(counts.merged) == {"inserted": 1, "updated": 1}


def test_upsert_of_keys_alone_inserts_those_that_are_new(place: Any, loading: Any) -> None:
    schema = pa.schema([("id", pa.int64())])
    loading.upsert([(1,), (2,)], schema)
    counts = loading.upsert([(2,), (3,)], schema)
    assert place.rows(columns="id", order="1") == [(1,), (2,), (3,)]
    assert counted(counts.merged) == {"inserted": 1, "unchanged": 1}


@pytest.mark.parametrize("table", [KEYED, KEYLESS])
@pytest.mark.parametrize("version", ["version", None])
def test_upsert_leaves_columns_that_do_not_arrive(place: Any, loading: Any, table: str, version: str | None) -> None:
    place.sql(table, INSERT, "ALTER TABLE customers ADD COLUMN note VARCHAR(40)", "UPDATE customers SET note = 'by hand'")
    loading.upsert([(1, "Ada L.", 11), (9, "Ida", 11)], version=version)
    rows = place.rows(columns="id, name, note")
    assert rows[0] == (1, "Ada L.", "by hand")
    assert rows[-1] == (9, "Ida", None)


def test_insert_adds_rows_and_leaves_missing_columns_null(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE customers (note VARCHAR(40), id BIGINT, name VARCHAR(40), version BIGINT)")
    place.sql("INSERT INTO customers VALUES ('by hand', 1, 'Ada', 10)")
    counts = loading.load([ADA, BOB])
    assert place.rows(columns="id, name, version, note", order="1, 4") in (
        [(*ADA, None), (*ADA, "by hand"), (*BOB, None)],
        [(*ADA, "by hand"), (*ADA, None), (*BOB, None)],
    )
    assert counted(counts.merged) == {"inserted": 2}


@pytest.mark.parametrize("table", [KEYED, KEYLESS])
def test_replace_by_key_replaces_whole_rows(place: Any, loading: Any, table: str) -> None:
    place.sql(table, INSERT, "ALTER TABLE customers ADD COLUMN note VARCHAR(40)", "UPDATE customers SET note = 'by hand'")
    counts = loading.load([(1, "Ada L.", 1), (2, "Bob", 10), (5, "Eve", 1), (5, "Eve E.", 0)], mode="replace", keys=("id",))
    assert place.rows(columns="id, name, version, note", order="1") == [
        (1, "Ada L.", 1, None),
        (2, "Bob", 10, None),
        (3, "Cyd", 10, "by hand"),
        (4, "Dan", 10, "by hand"),
        (5, "Eve E.", 0, None),
    ]
    assert counted(counts.merged) == {"inserted": 1, "updated": 2, "superseded": 1}


@pytest.mark.parametrize("table", [KEYED, KEYLESS])
def test_whole_replace_leaves_nothing_of_what_was_there(place: Any, loading: Any, table: str) -> None:
    place.sql(table, INSERT)
    counts = loading.load([(2, "Bob", 10), (9, "Ida", 1)], mode="replace", whole=True)
    assert place.rows() == [(2, "Bob", 10), (9, "Ida", 1)]
    assert counted(counts.merged) == {"inserted": 2, "deleted": 4}


def test_an_empty_source_does_not_empty_the_table(place: Any, loading: Any) -> None:
    place.sql(KEYLESS, INSERT)
    counts = loading.begin(mode="replace", whole=True).commit()
    assert (counts.code, place.rows()) == ("empty-source", THERE)
    assert loading.target.standing("shop", "customers").generation == 0
    row = loading.target.rows("shop", "000000000001")[0]
    assert (row.status, row.counts) == ("failed", counts)


def test_a_source_of_which_nothing_arrives_does_not_empty_the_table(place: Any, loading: Any) -> None:
    place.sql(KEYLESS, INSERT)
    counts = loading.begin(mode="replace", whole=True, budget=Budget(rows=5)).lose(2).commit()
    assert (counts.code, place.rows()) == ("empty-source", THERE)
    assert "none of the 2 rows read arrived" in counts.message


def test_an_empty_source_empties_the_table_when_that_is_allowed(place: Any, loading: Any) -> None:
    place.sql(KEYLESS, INSERT)
    counts = loading.begin(mode="replace", whole=True, allow_empty=True).commit()
    assert place.rows() == []
    assert counted(counts.merged) == {"deleted": 4}


def test_an_empty_increment_commits_and_makes_no_table(place: Any, loading: Any) -> None:
    counts = loading.begin(mode="upsert", keys=("id",)).commit()
    assert counted(counts.merged) == {}
    assert not place.has("customers")
    assert loading.target.describe("customers") is None
    assert loading.target.standing("shop", "customers").generation == 1


# Watermarks.


@pytest.mark.files_too
def test_the_watermark_only_moves_forward_on_increments(loading: Any) -> None:
    for low, newest, stored in ((None, 10, 10), (10, None, 10), (10, 15, 15), (5, 12, 15), (None, 7, 7)):
        mark = None if low is None else Mark.of(low)
        counts = loading.begin(low=mark, newest=None if newest is None else Mark.of(newest)).stage([ADA]).commit()
        assert counts.watermark == Mark.of(stored)
        assert loading.target.standing("shop", "customers").mark == Mark.of(stored)


@pytest.mark.files_too
def test_a_watermark_set_by_hand_fences_the_run_in_flight(place: Any, loading: Any) -> None:
    loading.load([ADA], newest=Mark.of(10))
    flying = loading.begin().stage([BOB])
    standing = loading.target.set_mark("shop", "customers", Mark.of(3), None)
    assert (standing.generation, standing.mark, standing.fingerprint) == (2, Mark.of(3), "f1")
    with pytest.raises(FencedError):
        flying.commit()
    assert place.rows() == [ADA]
    assert loading.target.set_mark("shop", "customers", None, "f2").fingerprint == "f2"
    assert loading.target.heads("shop")["customers"].mark is None


@pytest.mark.files_too
def test_a_watermark_of_a_load_that_never_ran_cannot_be_set(loading: Any) -> None:
    with pytest.raises(FatalError, match="run the service once first"):
        loading.target.set_mark("shop", "nothing", Mark.of(1), None)


# Ledger and fence.


@pytest.mark.files_too
def test_nothing_is_known_before_the_first_run(place: Any, loading: Any) -> None:
    target = loading.target
    assert target.describe("customers") is None
    assert target.standing("shop", "customers").generation == 0
    assert (target.heads("shop"), target.rows("shop", "r"), target.row("shop", "customers", "r"), target.staging("shop")) == (
        {},
        [],
        None,
        [],
    )
    assert target.check()
    assert place.names() == []  # nothing was made by looking


@pytest.mark.files_too
def test_a_second_commit_of_a_run_gives_back_the_first_ones_result(place: Any, loading: Any) -> None:
    run = loading.begin(newest=Mark.of(10)).stage([ADA, BOB])
    first = run.commit()
    assert run.commit() == first
    assert loading.begin(run=run.window.run).stage([CYD]).commit() == first  # another attempt of the same run
    assert place.rows() == [ADA, BOB]
    assert loading.target.standing("shop", "customers").generation == 1


@pytest.mark.files_too
def test_the_last_runs_that_committed_are_told_the_last_first(loading: Any) -> None:
    assert loading.target.committed("shop", "customers", 9, 5) == []  # there is no ledger
    runs = [loading.begin().stage([ADA]) for _ in range(1)]
    runs[0].commit()
    for at in range(3):
        run = loading.begin(low=Mark.of(at)).stage([ADA] * (at + 2))
        run.commit()
        runs.append(run)
    loading.load([BOB], load="others")
    loading.load([BOB], service="another")
    failing = loading.begin(budget=Budget(rows=0)).stage([CYD]).lose(1)
    assert failing.commit().code == "budget-exceeded"
    waiting = loading.begin().stage([CYD])  # prepared, and not committed

    def told(before: int, most: int) -> list[Any]:
        return [(row.run, row.counts.tally.read, row.window.low) for row in loading.target.committed("shop", "customers", before, most)]

    every = [(run.window.run, at + 1, run.window.low) for at, run in enumerate(runs)][::-1]
    assert told(waiting.window.generation, 10) == every
    assert told(waiting.window.generation, 2) == every[:2]
    assert told(runs[2].window.generation, 10) == every[2:]  # neither that run itself nor what came after it
    assert waiting.commit().code == ""
    assert told(waiting.window.generation, 10) == every


@pytest.mark.files_too
def test_two_commits_of_a_run_at_once_load_once(place: Any, loading: Any) -> None:
    run = loading.begin(mode="upsert", keys=("id",)).stage([ADA, BOB])
    other = replace(run, target=place.target())
    results, errors = [], []

    def commit(attempt: Any) -> None:
        try:
            results.append(attempt.commit())
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=commit, args=(attempt,)) for attempt in (run, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert results[0] == results[1]
    assert place.rows() == [ADA, BOB]
    assert loading.target.standing("shop", "customers").generation == 1


@pytest.mark.files_too
def test_prepare_again_gives_back_what_stands(loading: Any) -> None:
    first = loading.begin(low=Mark.of(1)).window
    loading.begin(run=first.run, low=Mark.of(2), generation=5)
    context = RunContext(first.run, first.started_at, store="store")
    assert loading.target.prepare(replace(first, low=Mark.of(3)), context) == first
    assert [row.window for row in loading.target.rows("shop", first.run)] == [first]


@pytest.mark.files_too
def test_two_first_runs_may_prepare_at_once(place: Any, loading: Any) -> None:
    ready, windows, errors = threading.Barrier(2), [], []

    def prepare(run: str) -> None:
        target = place.target()
        try:
            ready.wait()
            windows.append(loading.begin(run=run, target=target).window.run)
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)
        finally:
            target.close()

    threads = [threading.Thread(target=prepare, args=(run * 12,)) for run in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(windows) == ["a" * 12, "b" * 12]


@pytest.mark.files_too
def test_a_run_that_was_overtaken_commits_nothing(place: Any, loading: Any) -> None:
    slow = loading.begin(store="laptop").stage([ADA])
    loading.load([BOB], store="server")
    with pytest.raises(FencedError, match="generation 1"):
        slow.commit()
    assert place.rows() == [BOB]
    row = loading.target.row("shop", "customers", slow.window.run)
    assert row is not None
    assert row.status == "prepared"


@pytest.mark.files_too
def test_a_run_whose_ledger_row_is_gone_commits_nothing(place: Any, loading: Any) -> None:
    run = loading.begin().stage([ADA])
    place.sql("DELETE FROM _beam_pipelines_loads")
    with pytest.raises(FatalError, match="restored or changed") as gone:
        run.commit()
    assert gone.value.code == "ledger-behind"
    assert not place.has("customers")


@pytest.mark.parametrize("mode", ["insert", "upsert"])
@pytest.mark.parametrize("loss", ["dropped", "short"])
def test_lost_staging_is_refused(place: Any, loading: Any, mode: str, loss: str) -> None:
    loading.load([ADA])
    run = loading.begin(mode=mode, keys=() if mode == "insert" else ("id",)).stage([BOB]).stage([CYD], order=1)
    if loss == "dropped":
        loading.target.drop_staged([run.staged[1].name])
    else:
        run.staged[1] = replace(run.staged[1], rows=2)
    lost = run.commit()
    assert lost.code == "staging-lost"
    assert "staging" in lost.message
    assert place.rows() == [ADA]
    assert loading.target.standing("shop", "customers").generation == 1


@pytest.mark.files_too
def test_rows_that_do_not_add_up_are_not_committed(place: Any, loading: Any) -> None:
    run = loading.begin().stage([ADA, BOB])
    tally = replace(run.tally, read=3)
    counts = loading.target.commit(run.window, run.policy, run.schema, tally)
    assert counts.code == "unbalanced"
    assert "do not add up" in counts.message
    assert not place.has("customers")
    assert loading.target.standing("shop", "customers").generation == 0


@pytest.mark.parametrize("version", ["version", None])
@pytest.mark.parametrize("mode", ["upsert", "replace"])
def test_a_key_that_the_target_holds_twice_stops_the_load(place: Any, loading: Any, mode: str, version: str | None) -> None:
    place.sql(KEYLESS, INSERT, "INSERT INTO customers VALUES (1, 'Ada again', 10)")
    before = place.rows()
    rows = [(1, "Ada L.", 11), (2, "Bob", 10), (7, "Gil", 1), (8, "Hal", 1)]
    counts = loading.load(rows, mode=mode, keys=("id",), version=version if mode == "upsert" else None)
    assert counts.code == "key-missing"
    assert "'customers' holds several rows with the same id" in counts.message
    assert place.rows() == before
    row = loading.target.row("shop", "customers", "000000000001")
    assert row is not None
    assert row.status == "failed"


def test_a_table_that_was_dropped_by_hand_is_made_again(place: Any, loading: Any) -> None:
    loading.upsert([ADA])
    place.sql("DROP TABLE customers")
    assert counted(loading.upsert([BOB]).merged) == {"inserted": 1}
    assert place.rows() == [BOB]


# The error budget.


@pytest.mark.files_too
def test_a_spent_error_budget_loads_nothing(place: Any, loading: Any) -> None:
    run = loading.begin(budget=Budget(rows=2)).stage([ADA]).lose(3)
    counts = run.commit()
    assert counts.code == "budget-exceeded"
    assert "3 of 4 rows failed" in counts.message
    assert not place.has("customers")
    assert run.commit() == counts
    assert [letter.staged.name for letter in counts.letters] == loading.target.staging("shop")  # they are kept for the launcher


@pytest.mark.files_too
def test_a_budget_that_warns_loads(place: Any, loading: Any) -> None:
    counts = loading.begin(budget=Budget(rows=2, fail=False)).stage([ADA]).lose(3).commit()
    assert (counts.budget_exceeded, counts.code, counts.dead) == (True, "", 3)
    assert place.rows() == [ADA]


# Staging.


@pytest.mark.files_too
def test_an_aborted_stager_leaves_nothing(place: Any, loading: Any) -> None:
    run = loading.begin()
    stager = loading.target.stager(run.name(), run.schema, 0)
    stager.write(pa.RecordBatch.from_pylist([{"id": 1, "name": "Ada", "version": 1}], schema=run.schema))
    stager.abort()
    stager.abort()
    assert loading.target.staging("shop") == []


@pytest.mark.only("postgresql")
def test_autovacuum_leaves_staging_alone(place: Any, loading: Any) -> None:
    # It would read all of it beside the commit, and hold what is to be dropped: few rows and many are staged in two ways.
    run = loading.begin().stage([ADA]).stage([(n, "Dan", 1) for n in range(3, 25_003)], order=1)
    names = ", ".join(f"'{part.name}'" for part in run.staged)
    kept = place.sql(f"SELECT relpersistence::text, reloptions FROM pg_class WHERE relname IN ({names})")
    assert kept == [("u", ["autovacuum_enabled=false"])] * 2
    assert run.commit().merged.inserted == 25_001
    assert place.sql("SELECT reloptions FROM pg_class WHERE relname = 'customers'") == [(None,)]


@pytest.mark.only("postgresql")
def test_rows_with_a_nul_character_are_named(loading: Any) -> None:
    run = loading.begin()
    rows = pa.RecordBatch.from_pylist(
        [{"id": n, "name": name, "version": 1} for n, name in enumerate(["a\0", "b", "c\0d", None, "e"])], run.schema
    )
    with pytest.raises(DataError, match="NUL") as refused:
        loading.target.stager(run.name(), run.schema, 0).write(rows.slice(1))
    assert refused.value.details["rows"] == [1]  # the first row is none of the slice


@pytest.mark.files_too
def test_staging_of_ended_runs_is_swept_and_of_others_left(loading: Any) -> None:
    mine = loading.begin(run="a" * 12, store="here").stage([ADA])  # died: the next run of the same store holds its lease
    other = loading.begin(run="b" * 12, store="there").stage([BOB])
    foreign = loading.begin(run="c" * 12, service="other", store="there").stage([CYD])
    assert loading.target.staging("shop") == sorted(part.name for part in (*mine.staged, *other.staged))
    runs = loading.begin(run="d" * 12, store="here").stage([CYD])
    assert loading.target.staging("shop") == sorted(part.name for part in (*other.staged, *runs.staged))
    runs.commit()
    assert loading.target.staging("shop") == [other.staged[0].name]
    loading.begin(run="e" * 12, store="elsewhere")  # b was overtaken by d: it can never commit
    assert loading.target.staging("shop") == []
    assert loading.target.staging("other") == [foreign.staged[0].name]


@pytest.mark.files_too
def test_staging_that_the_ledger_does_not_know_is_swept(loading: Any) -> None:
    loading.load([ADA])
    lost = loading.begin(run="f" * 12, store="there").stage([BOB])
    loading.place.sql("DELETE FROM _beam_pipelines_loads WHERE run = 'ffffffffffff'")  # the target was restored
    assert loading.target.staging("shop") == [lost.staged[0].name]
    loading.begin()
    assert loading.target.staging("shop") == []


@pytest.mark.files_too
def test_dead_letters_of_a_committed_run_stay_until_they_are_taken(loading: Any) -> None:
    counts = loading.begin(store="there").stage([ADA]).lose(2).commit()
    letter = counts.letters[0].staged
    loading.begin(store="here")  # another store's letters are not ours to sweep
    assert loading.target.staging("shop") == [letter.name]
    rows = [row for batch in loading.target.read_staged(letter) for row in batch.to_pylist()]
    assert [row["step"] for row in rows] == ["map", "map"]
    loading.target.drop_staged([letter.name, letter.name, "_bp_00000000_000000000000_0000000000000000"])
    assert loading.target.staging("shop") == []


@pytest.mark.files_too
def test_the_commit_of_one_table_leaves_the_staging_of_the_next(place: Any, loading: Any) -> None:
    first = loading.begin(load="customers", run="a" * 12)
    second = loading.begin(load="orders", run="a" * 12)
    first.stage([ADA])
    second.stage([BOB]).lose(1)
    first.commit()
    second.commit()
    assert (place.rows("customers"), place.rows("orders")) == ([ADA], [BOB])
    assert [row.load for row in loading.target.rows("shop", "a" * 12)] == ["customers", "orders"]
    assert loading.target.staging("shop") == [second.letters[0].staged.name]


# The table's shape.


def test_describe_gives_columns_and_key_in_order(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE pairs (v BIGINT, b VARCHAR(9), a BIGINT, PRIMARY KEY (b, a))")
    described = loading.target.describe("pairs")
    assert described is not None
    assert described.primary_key == ("b", "a")
    assert described.schema.names == ["v", "b", "a"]
    assert described.schema.types == [pa.int64(), pa.string(), pa.int64()]


@pytest.mark.parametrize("mode", ["insert", "upsert"])
def test_new_columns_are_added(place: Any, loading: Any, mode: str) -> None:
    keys = ("id",) if mode == "upsert" else ()
    loading.load([ADA], mode=mode, keys=keys)
    loading.load([(2, "Bob", 10, "new")], NOTED, mode=mode, keys=keys)
    assert place.rows(columns="id, name, version, note") == [(*ADA, None), (2, "Bob", 10, "new")]


def test_new_columns_are_refused_when_the_schema_is_frozen(place: Any, loading: Any) -> None:
    loading.load([ADA])
    counts = loading.load([(2, "Bob", 10, "new")], NOTED, evolve=False)
    assert counts.code == "schema-frozen"
    assert "'note'" in counts.message
    assert place.rows() == [ADA]
    assert loading.target.describe("customers").schema.names == ["id", "name", "version"]


def test_columns_are_added_in_the_transaction_of_the_load(loading: Any) -> None:
    loading.load([ADA])
    run = loading.begin(NOTED).stage([(2, "Bob", 10, "new")]).stage([(3, "Cyd", 10, "new")], order=1)
    loading.target.drop_staged([run.staged[1].name])
    assert run.commit().code == "staging-lost"
    assert loading.target.describe("customers").schema.names == ["id", "name", "version"]


def test_names_that_need_quoting_are_only_names(place: Any, loading: Any) -> None:
    names = ["select", 'a "quoted" name', "with space", "naïve 日本", "semi;colon--", "per%cent?", "Mixed"]
    schema = pa.schema([(name, pa.int64()) for name in names])
    table = 'order "of" 50% ?'
    loading.load([tuple(range(7))], schema, load=table, mode="upsert", keys=("select", "per%cent?"), version="Mixed")
    counts = loading.load(
        [(0, 1, 2, 3, 4, 5, 7), (1, 1, 2, 3, 4, 5, 6)], schema, load=table, mode="upsert", keys=("select", "per%cent?"), version="Mixed"
    )
    assert counted(counts.merged) == {"inserted": 1, "updated": 1}
    columns = ", ".join(place.quoted(name) for name in names)
    assert place.rows(table, columns) == [(0, 1, 2, 3, 4, 5, 7), (1, 1, 2, 3, 4, 5, 6)]
    assert loading.target.describe(table).schema.names == names
    grown = schema.append(pa.field("new 'one'", pa.int64()))
    loading.load([(2, 1, 2, 3, 4, 5, 6, 7)], grown, load=table, mode="replace", keys=("select", "per%cent?"))
    assert len(place.rows(table, columns)) == 3


def test_names_of_another_case_are_the_same_where_the_target_says_so(place: Any, loading: Any) -> None:
    if not loading.target.traits.folds_case:
        assert loading.target.traits.system == "postgresql"
        return
    place.sql('CREATE TABLE customers ("ID" BIGINT PRIMARY KEY, "Name" VARCHAR(40), "VERSION" BIGINT)', INSERT)
    counts = loading.upsert(COMES, version="version")
    assert place.rows() == MERGED
    assert counted(counts.merged) == {"inserted": 2, "updated": 1, "unchanged": 1, "stale": 1, "superseded": 1}


@pytest.mark.only("portable-postgresql", "portable-sqlite")
def test_a_ledger_that_another_run_makes_in_between_is_a_conflict(loading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again from the start, and found then; databases without IF NOT EXISTS cannot do both at once."""
    loading.load([ADA])
    with monkeypatch.context() as patched, loading.target.transaction() as tx:
        patched.setattr("beam_pipelines.io.sql.portable_target.sa.inspect", lambda _: SimpleNamespace(has_table=lambda _: False))
        with pytest.raises(TransientError) as lost:
            loading.target.ledger.create(tx)
        tx.connection.rollback()
    assert lost.value.code == "conflict"


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("state", ["42710", "42P07"])
def test_a_ledger_that_is_there_in_between_is_found_when_it_is_tried_again(
    loading: Any, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, begun = loading.target.ledger.create, []

    def beaten(tx: Any) -> None:
        begun.append(state)
        if len(begun) == 1:
            raise PlanError("there already", code="spec-invalid", details={"sqlstate": state})
        create(tx)

    monkeypatch.setattr(loading.target.ledger, "create", beaten)
    assert counted(loading.load([ADA]).merged) == {"inserted": 1}
    assert len(begun) > 1

    def refused(tx: Any) -> None:
        raise PlanError("not understood", code="spec-invalid", details={"sqlstate": "42601"})

    monkeypatch.setattr(loading.target.ledger, "create", refused)
    with pytest.raises(PlanError, match="not understood"):
        loading.begin()
