"""No row is lost however late it commits; against eight writers, and for each thing that can hold a row back."""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError, TransientError
from beam_pipelines.io.postgres import ceiling
from beam_pipelines.io.postgres.ceiling import CeilingFinder
from beam_pipelines.runs.mark import Mark

UTC = dt.timezone.utc
POLLS, WRITERS = 20, 8


@contextmanager
def writers(url: str, insert: str, *, stamp_here: bool = False) -> Iterator[threading.Event]:
    """Eight writers; each transaction inserts a row and stays open for 0 to 50 ms."""
    ended = threading.Event()

    def write(seed: int) -> None:
        dice = random.Random(seed)
        with psycopg.connect(url) as connection:
            while not ended.is_set():
                connection.execute(insert.encode(), [dt.datetime.now(UTC)] if stamp_here else None)
                connection.execute("SELECT pg_sleep(%s)", [dice.random() * 0.05])
                connection.commit()

    threads = [threading.Thread(target=write, args=[seed]) for seed in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield ended
    finally:
        ended.set()
        for thread in threads:
            thread.join()


class Naive:
    """Reads as the product's brief prints it: above the greatest value read so far."""

    def __init__(self, connection: psycopg.Connection[Any], column: str, least: str) -> None:
        self.connection, self.column, self.seen = connection, column, set[int]()
        self.newest: Any = least

    def __call__(self) -> None:
        for row_id, value in self.connection.execute(
            f"SELECT id, {self.column} FROM customers WHERE {self.column} > %s ORDER BY 2".encode(), [self.newest]
        ).fetchall():
            self.seen.add(row_id)
            self.newest = value


def all_ids(connection: psycopg.Connection[Any]) -> list[int]:
    return [row[0] for row in connection.execute("SELECT id FROM customers ORDER BY id").fetchall()]


def poll_until_all(run: Any, got: list[int], wanted: int) -> None:
    """Go on until everything is there: stamps of the running second are left for later."""
    deadline = dt.datetime.now() + dt.timedelta(seconds=10)
    while len(got) < wanted and dt.datetime.now() < deadline:
        got += run().column("id").to_pylist()


@pytest.mark.parametrize(
    ("column", "zone"),
    [
        ("timestamptz", "UTC"),
        ("timestamp", "America/New_York"),
        ("timestamp(0)", "UTC"),
        ("timestamptz(0)", "UTC"),
        ("timestamp(3)", "UTC"),
    ],
)
def test_no_row_is_lost_with_stamps_of_the_database(
    sql: Any, postgres_database: str, make_source: Any, poll: Any, column: str, zone: str
) -> None:
    database = sql.info.dbname
    sql.execute(f"ALTER DATABASE {database} SET timezone = '{zone}'")
    sql.execute(f"CREATE TABLE customers (id bigserial PRIMARY KEY, updated_at {column} DEFAULT now())")
    run = poll(make_source(table="customers", cursor={"column": "updated_at"}))
    naive = Naive(sql, "updated_at", "-infinity")
    got: list[int] = []
    with writers(postgres_database, "INSERT INTO customers DEFAULT VALUES"):
        for _ in range(POLLS):
            got += run().column("id").to_pylist()
            naive()
    expected = all_ids(sql)
    poll_until_all(run, got, len(expected))
    naive()
    assert sorted(got) == expected  # each once
    assert set(expected) - naive.seen  # the workload does lose rows for who reads naively


def test_no_row_is_lost_by_a_user_who_does_not_see_other_transactions(
    sql: Any, postgres_database: str, make_source: Any, poll: Any
) -> None:
    sql.execute("CREATE TABLE customers (id bigserial PRIMARY KEY, updated_at timestamptz DEFAULT now())")
    with role(sql, postgres_database, "GRANT SELECT ON customers TO {role}") as url:
        run = poll(make_source(table="customers", cursor={"column": "updated_at"}, url=url))
        got: list[int] = []
        with writers(postgres_database, "INSERT INTO customers DEFAULT VALUES"):
            for _ in range(POLLS):
                got += run().column("id").to_pylist()
        assert "does not see when they began: GRANT pg_read_all_stats" in run.fixed.by
        got += run().column("id").to_pylist()
        assert sorted(got) == all_ids(sql)


def test_no_row_is_lost_by_ids_that_commit_out_of_order(sql: Any, postgres_database: str, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id bigserial PRIMARY KEY, name text)")
    run = poll(make_source(query="SELECT * FROM customers WHERE id > ?", incremental=True))
    naive = Naive(sql, "id", "0")
    got: list[int] = []
    with writers(postgres_database, "INSERT INTO customers (name) VALUES ('x')"):
        for _ in range(POLLS):
            got += run().column("id").to_pylist()
            naive()
    got += run().column("id").to_pylist()
    naive()
    assert sorted(got) == all_ids(sql)
    assert set(got) - naive.seen
    assert "transactions open then had ended" in run.fixed.by


def test_no_row_is_lost_with_stamps_of_clients_and_an_overlap(sql: Any, postgres_database: str, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id bigserial PRIMARY KEY, updated_at timestamptz)")
    stated = {"column": "updated_at", "stampedBy": "client", "overlap": "2s"}
    run = poll(make_source(table="customers", cursor=stated), inclusive=True)

    def back(mark: Mark) -> Mark:
        return Mark.of(mark.value - dt.timedelta(seconds=run.source.cursor.overlap))

    got: set[int] = set()
    with writers(postgres_database, "INSERT INTO customers (updated_at) VALUES (%s)", stamp_here=True):
        for _ in range(POLLS):
            got |= set(run(back).column("id").to_pylist())
    got |= set(run(back).column("id").to_pylist())
    assert sorted(got) == all_ids(sql)


def test_open_transaction_holds_the_ceiling_even_before_it_writes(sql: Any, postgres_database: str, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id int PRIMARY KEY, updated_at timestamptz DEFAULT now())")
    run = poll(make_source(table="customers", cursor={"column": "updated_at"}))
    with psycopg.connect(postgres_database, application_name="slow app") as slow:
        (began,) = slow.execute("SELECT now()").fetchall()[0]
        sql.execute("INSERT INTO customers VALUES (1)")
        assert run().num_rows == 0
        assert run.fixed.ceiling == Mark.of(began)
        assert "the start of the oldest open transaction" in run.fixed.by
        assert "slow app, idle in transaction" in run.fixed.by
        slow.execute("INSERT INTO customers VALUES (2)")
    assert sorted(run().column("id").to_pylist()) == [1, 2]


def test_ceiling_far_behind_the_clock_is_warned_of(
    sql: Any, postgres_database: str, make_source: Any, poll: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sql.execute("CREATE TABLE customers (id int PRIMARY KEY, updated_at timestamptz DEFAULT now())")
    run = poll(make_source(table="customers", cursor={"column": "updated_at"}, options={"max_lag_seconds": 0.0}))
    with psycopg.connect(postgres_database, application_name="slow app") as slow, caplog.at_level(logging.WARNING):
        slow.execute("SELECT 1")
        run()
        assert f"process {slow.info.backend_pid}, slow app, idle in transaction" in caplog.text
        first = run.fixed.held
        run()
        assert run.fixed.held.incident == first.incident  # the same as long as it is open
        assert run.fixed.held.seconds > first.seconds
        assert first.message in caplog.text
    run()
    assert run.fixed.held is None


@pytest.mark.parametrize(("lag", "told"), [("0ms", True), ("1h", False), (None, False)])
def test_how_far_the_ceiling_may_lag_is_for_the_cursor_to_say(
    sql: Any, postgres_database: str, make_source: Any, poll: Any, lag: str | None, told: bool
) -> None:
    sql.execute("CREATE TABLE customers (id int PRIMARY KEY, updated_at timestamptz DEFAULT now())")
    run = poll(make_source(table="customers", cursor={"column": "updated_at", **({"maxCeilingLag": lag} if lag else {})}))
    with psycopg.connect(postgres_database) as slow:
        slow.execute("SELECT 1")
        run()
        assert (run.fixed.held is not None) is told


def test_transactions_of_other_databases_hold_nothing(sql: Any, postgres_url: str, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id int PRIMARY KEY, updated_at timestamptz DEFAULT now())")
    run = poll(make_source(table="customers", cursor={"column": "updated_at"}))
    with psycopg.connect(postgres_url) as elsewhere:
        elsewhere.execute("SELECT 1")
        sql.execute("INSERT INTO customers VALUES (1)")
        assert run().num_rows == 1


def test_prepared_transaction_holds_its_rows_back_and_none_is_lost(
    sql: Any, postgres_database: str, make_source: Any, poll: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ceiling, "PREPARED_WAIT_SECONDS", 0.05)
    sql.execute("CREATE TABLE customers (id int PRIMARY KEY, updated_at timestamptz DEFAULT now())")
    run = poll(make_source(table="customers", cursor={"column": "updated_at"}))
    sql.execute("INSERT INTO customers VALUES (1, now() - interval '2 days')")
    with psycopg.connect(postgres_database) as other:
        other.execute("INSERT INTO customers VALUES (2)")
        sql.execute("INSERT INTO customers VALUES (3)")
        other.execute("PREPARE TRANSACTION 'payment'")
    sql.execute("INSERT INTO customers VALUES (4)")
    with caplog.at_level(logging.WARNING):
        assert run().column("id").to_pylist() == [1]
    assert "'payment'" in caplog.text
    assert "a day before the prepared transaction 'payment'" in run.fixed.by
    sql.execute("COMMIT PREPARED 'payment'")
    assert sorted(run().column("id").to_pylist()) == [2, 3, 4]


def test_prepared_transaction_of_a_sequence_is_waited_for(sql: Any, postgres_database: str, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id bigserial PRIMARY KEY, name text)")
    with psycopg.connect(postgres_database) as other:
        other.execute("INSERT INTO customers (name) VALUES ('late')")
        other.execute("PREPARE TRANSACTION 'payment'")
    sql.execute("INSERT INTO customers (name) VALUES ('early')")
    run = poll(make_source(table="customers", cursor={"column": "id"}, options={"wait_seconds": 0.05}))
    with pytest.raises(TransientError, match="'payment' may hold rows back") as held:
        run()
    assert held.value.code == "locked"
    sql.execute("COMMIT PREPARED 'payment'")
    assert run().num_rows == 2


def test_transaction_that_does_not_end_is_named(sql: Any, postgres_database: str, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id bigserial PRIMARY KEY, name text); INSERT INTO customers (name) VALUES ('x')")
    run = poll(make_source(table="customers", cursor={"column": "id"}, options={"wait_seconds": 0.05}))
    with psycopg.connect(postgres_database, application_name="slow app") as slow:
        slow.execute("SELECT 1")
        with pytest.raises(TransientError, match=f"process {slow.info.backend_pid}, slow app") as held:
            run()
        assert held.value.code == "locked"
        assert held.value.details == {"pids": [slow.info.backend_pid]}


def test_session_that_hides_its_activity_is_waited_for(sql: Any, postgres_database: str, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id int PRIMARY KEY, updated_at timestamptz DEFAULT now())")
    run = poll(make_source(table="customers", cursor={"column": "updated_at"}, options={"wait_seconds": 0.05}))
    with psycopg.connect(postgres_database, options="-c track_activities=off") as hidden:
        hidden.execute("INSERT INTO customers VALUES (1)")
        with pytest.raises(TransientError, match=f"process {hidden.info.backend_pid}"):
            run()
    assert run().num_rows == 1


def test_dates_of_the_business_are_read_up_to_today(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id int PRIMARY KEY, ordered date)")
    sql.execute("INSERT INTO customers VALUES (1, current_date - 1), (2, current_date), (3, current_date + 1), (4, '2999-12-31')")
    run = poll(make_source(table="customers", cursor={"column": "ordered", "overlap": "1d"}))
    assert sorted(run().column("id").to_pylist()) == [1, 2]
    assert run.fixed.inclusive
    assert run.source.cursor.kind == "date"


def test_client_stamps_of_the_future_do_not_move_the_watermark_past_the_present(sql: Any, make_source: Any, poll: Any) -> None:
    sql.execute("CREATE TABLE customers (id int PRIMARY KEY, at timestamp)")
    sql.execute("INSERT INTO customers VALUES (1, now() AT TIME ZONE 'UTC' - interval '1 minute'), (2, now() + interval '10 years')")
    run = poll(make_source(table="customers", cursor={"column": "at", "stampedBy": "client", "overlap": "1h"}))
    assert run().column("id").to_pylist() == [1]


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        # Zurich puts its clocks back at 01:00 UTC on 25 October 2026, from 03:00 to 02:00.
        ("Europe/Zurich", "2026-10-24 20:59", "2026-10-24 22:59"),
        ("Europe/Zurich", "2026-10-24 23:30", "2026-10-25 01:30"),
        ("Europe/Zurich", "2026-10-25 00:30", "2026-10-25 02:00"),
        ("Europe/Zurich", "2026-10-25 00:59", "2026-10-25 02:00"),
        ("Europe/Zurich", "2026-10-25 01:30", "2026-10-25 02:30"),
        # Lord Howe Island by half an hour, at 15:00 UTC on 4 April 2026, from 02:00 to 01:30.
        ("Australia/Lord_Howe", "2026-04-04 14:40", "2026-04-05 01:30"),
        ("Europe/Zurich", "2026-03-29 00:59", "2026-03-29 01:59"),
        ("UTC", "2026-10-25 00:30", "2026-10-25 00:30"),
    ],
)
def test_local_stamps_wait_for_the_hour_that_comes_twice(sql: Any, zone: str, at: str, expected: str) -> None:
    sql.execute(f"SET timezone = '{zone}'")
    micros = int(dt.datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) * 10**6
    assert CeilingFinder(sql)._mark(micros, pa.timestamp("us"), 6).value == dt.datetime.fromisoformat(expected)


def test_ceiling_is_floored_to_what_the_column_keeps(sql: Any) -> None:
    micros = 1_767_225_600_987_654  # 2026-01-01 00:00:00.987654 UTC
    sql.execute("SET timezone = 'UTC'")
    finder = CeilingFinder(sql)
    tail = {digits: finder._mark(micros, pa.timestamp("us", "UTC"), digits).value.microsecond for digits in (6, 3, 1, 0)}
    assert tail == {6: 987654, 3: 987000, 1: 900000, 0: 0}
    assert finder._mark(micros, pa.timestamp("us"), 0).value == dt.datetime(2026, 1, 1)
    assert finder._mark(micros, pa.date32(), 6).value == dt.date(2026, 1, 1)


def test_replica_is_refused_for_stamps_of_the_database(sql: Any, make_source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sql.execute("CREATE TABLE customers (id bigserial PRIMARY KEY, updated_at timestamptz)")
    monkeypatch.setattr(ceiling, "_CLOCK", ceiling._CLOCK.replace("pg_is_in_recovery()", "true"))
    for column in ("updated_at", "id"):
        source = make_source(table="customers", cursor={"column": column})
        source.describe("customers")
        with pytest.raises(PlanError, match="a replica cannot be read by a") as refused:
            source.fix("customers", source.cursor, None, False, 1)
        assert refused.value.code == "guarantee-unreachable"
    client = make_source(table="customers", cursor={"column": "updated_at", "stampedBy": "client"})
    client.describe("customers")
    assert client.fix("customers", client.cursor, None, False, 1).ceiling is not None


@pytest.mark.parametrize("kind", ["text", "boolean", "jsonb"])
def test_column_that_cannot_be_a_cursor_is_refused(sql: Any, make_source: Any, kind: str) -> None:
    sql.execute(f"CREATE TABLE customers (id int PRIMARY KEY, at {kind})")
    source = make_source(table="customers", cursor={"column": "at"})
    with pytest.raises(PlanError, match="cursor column 'at', got") as refused:
        source.fix("customers", source.cursor, None, False, 1)
    assert refused.value.code == "cursor-invalid"


def test_assumptions_are_said(sql: Any, make_source: Any) -> None:
    sql.execute("CREATE TABLE customers (id bigserial PRIMARY KEY, a timestamptz, b timestamp)")

    def said(**cursor: Any) -> str:
        source = make_source(table="customers", cursor=cursor)
        source.describe("customers")
        return "; ".join(source.traits.assumptions)

    assert "a is set by the database's clock" in said(column="a")
    assert "time zone" not in said(column="a")
    assert "b has no time zone" in said(column="b")
    assert "CACHE 1" in said(column="id")
    assert "further back than the overlap" in said(column="a", stampedBy="client", overlap="1h")


@contextmanager
def role(sql: psycopg.Connection[Any], url: str, *grants: str) -> Iterator[str]:
    """A user with few rights, as a URL."""
    name = f"few_{sql.info.dbname}"
    sql.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'few'".encode())
    try:
        for grant in grants:
            sql.execute(grant.format(role=name).encode())
        yield f"postgresql://{name}:few@{url.partition('@')[2]}"
    finally:
        sql.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())
