"""Late commits on PostgreSQL, by the whole service: writers hold transactions open while increments run, and no row is lost or doubled.

Eight writers insert rows, stamp them, hold their transaction for 0 to 50 ms and commit. A service polls meanwhile. When the writers have
ended it runs once more (twice where the last stamps must first age), and target and source are compared by key and value.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from beam_pipelines.runs.mark import Mark

Desk = Any

WRITERS = 8
HOLD = 0.050  # seconds, at most


@dataclass
class Writers:
    """Eight writers of one table.

    Args:
        url: The database.
        write: Given a connection in a transaction, a random source and a running number, writes some rows.
    """

    url: str
    write: Callable[[psycopg.Connection[Any], random.Random, int], None]
    stop: threading.Event = field(default_factory=threading.Event)
    commits: int = 0
    errors: list[BaseException] = field(default_factory=list)

    def _work(self, seed: int) -> None:
        chance, numbers = random.Random(seed), itertools.count(seed, WRITERS)
        try:
            with psycopg.connect(self.url) as connection:
                while not self.stop.is_set():
                    with connection.transaction():
                        self.write(connection, chance, next(numbers))
                        time.sleep(chance.uniform(0, HOLD))
                    self.commits += 1
        except BaseException as error:  # noqa: BLE001 - told by the test that started it
            self.errors.append(error)

    @contextmanager
    def writing(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._work, args=(seed,)) for seed in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
        assert self.errors == []


def stamped(clock: str, cast: str = "") -> Callable[[psycopg.Connection[Any], random.Random, int], None]:
    """A writer whose rows the database stamps by `clock`; every third time it changes an older row of its own instead."""

    def write(connection: psycopg.Connection[Any], chance: random.Random, number: int) -> None:
        connection.execute(
            f"INSERT INTO orders (writer, number, updated_at) VALUES (%s, %s, {clock}{cast})".encode(), (number % WRITERS, number)
        )

    return write


def with_updates(connection: psycopg.Connection[Any], chance: random.Random, number: int) -> None:
    """A writer that inserts, and then changes one of its older rows in the same transaction."""
    writer = number % WRITERS
    connection.execute("INSERT INTO orders (writer, number) VALUES (%s, %s)", (writer, number))
    if chance.random() < 0.5:
        connection.execute(
            "UPDATE orders SET changes = changes + 1, updated_at = now() WHERE id = (SELECT max(id) - 40 FROM orders WHERE writer = %s)"
            " AND writer = %s",
            (writer, writer),
        )


TABLE = """
CREATE TABLE orders (id bigserial PRIMARY KEY, writer int NOT NULL, number bigint NOT NULL, changes int NOT NULL DEFAULT 0,
                     updated_at {type} NOT NULL DEFAULT now())
"""


@pytest.fixture
def orders(desk: Desk, postgres_database: str) -> Desk:
    desk.connect(source=postgres_database)
    return desk


def poll(desk: Desk, writers: Writers, runs: int) -> list[int]:
    """Run the service `runs` times while writers write; the rows read by each."""
    with writers.writing():
        return [desk.ran()["metrics"]["recordsExtracted"] for _ in range(runs)]


def same(desk: Desk, target: Callable[[str], list[tuple[Any, ...]]]) -> int:
    """Assert that target and source hold the same rows, each once; gives how many."""
    query = "SELECT id, writer, number, changes FROM orders ORDER BY id"
    there, here = desk.postgres(desk.connections["source"], query), target(query)
    assert len(here) == len(set(here)), "doubled"
    assert sorted(set(there) - set(here)) == [], "lost"
    assert here == there
    return len(there)


def duckdb_of(desk: Desk) -> Callable[[str], list[tuple[Any, ...]]]:
    return lambda query: desk.duckdb("target.duckdb", query)


def marks_rise(desk: Desk) -> None:
    """The ledger: one row a run, generations without a gap, and the watermark never goes back."""
    rows = desk.duckdb("target.duckdb", "SELECT status, generation, counts FROM _beam_pipelines_loads ORDER BY generation")
    assert [row[1] for row in rows] == list(range(len(rows)))
    assert {row[0] for row in rows} == {"committed"}
    kept = [Mark.from_json(json.loads(row[2])["watermark"]) for row in rows]
    marks = [mark.value for mark in kept if mark]
    assert marks == sorted(marks)
    assert len(marks) >= len(rows) - 1


RUNS = pytest.mark.parametrize("runs", [8, pytest.param(20, marks=pytest.mark.soak)])


@pytest.mark.long
@RUNS
def test_runs_of_mode_insert_lose_nothing_and_double_nothing(orders: Desk, runs: int) -> None:
    orders.postgres(orders.connections["source"], TABLE.format(type="timestamptz"))
    orders.etl({"query": "SELECT * FROM orders WHERE updated_at > ?", "incremental": True}, {"table": "orders", "mode": "insert"})
    writers = Writers(orders.connections["source"], stamped("now()"))
    read = poll(orders, writers, runs)
    orders.ran()
    assert same(orders, duckdb_of(orders)) == writers.commits
    assert sum(1 for rows in read if rows) >= runs * 3 // 4, "the runs were meant to overlap with the writers"
    marks_rise(orders)


@pytest.mark.long
@RUNS
def test_runs_of_upsert_into_postgresql_with_changes_lose_nothing(orders: Desk, postgres_server: Any, runs: int) -> None:
    source = orders.connections["source"]
    orders.postgres(source, TABLE.format(type="timestamptz"), "CREATE INDEX ON orders (writer, id)", "CREATE DATABASE late_target")
    target = postgres_server.url("late_target")
    orders.connect(target=target)
    try:
        orders.etl({"query": "SELECT * FROM orders WHERE updated_at > ?", "incremental": True}, {"table": "orders", "mode": "upsert"})
        writers = Writers(source, with_updates)
        read = poll(orders, writers, runs)
        orders.ran()
        assert same(orders, lambda query: orders.postgres(target, query)) == writers.commits
        assert sum(1 for rows in read if rows) >= runs * 3 // 4
        changed = orders.postgres(source, "SELECT count(*) FROM orders WHERE changes > 0")[0][0]
        assert changed > 10
    finally:
        orders.postgres(source, "DROP DATABASE late_target WITH (FORCE)")


@pytest.mark.long
def test_stamps_of_clients_with_an_overlap_lose_nothing(orders: Desk) -> None:
    """The client takes its clock when it begins, as an ORM does; the overlap is longer than any transaction."""
    orders.postgres(orders.connections["source"], TABLE.format(type="timestamptz"))
    cursor = {"column": "updated_at", "stampedBy": "client", "overlap": "2s"}
    orders.etl({"table": "orders", "cursor": cursor}, {"table": "orders", "mode": "upsert"})

    def write(connection: psycopg.Connection[Any], chance: random.Random, number: int) -> None:
        moment = time.time()
        time.sleep(chance.uniform(0, HOLD / 2))
        connection.execute(
            "INSERT INTO orders (writer, number, updated_at) VALUES (%s, %s, to_timestamp(%s))", (number % WRITERS, number, moment)
        )

    writers = Writers(orders.connections["source"], write)
    poll(orders, writers, 6)
    orders.ran()
    assert same(orders, duckdb_of(orders)) == writers.commits


@pytest.mark.long
def test_a_column_that_keeps_whole_seconds_loses_nothing(orders: Desk) -> None:
    orders.postgres(orders.connections["source"], TABLE.format(type="timestamp(0)"))
    orders.etl({"query": "SELECT * FROM orders WHERE updated_at > ?", "incremental": True}, {"table": "orders", "mode": "insert"})
    writers = Writers(orders.connections["source"], stamped("localtimestamp", "::timestamp(0)"))
    poll(orders, writers, 5)
    # Half a second rounds up, so the last stamps may lie in the second to come: they are read once it has passed.
    time.sleep(2.1)
    orders.ran()
    assert same(orders, duckdb_of(orders)) == writers.commits


@pytest.mark.long
def test_numbers_that_commit_out_of_order_lose_nothing(orders: Desk) -> None:
    orders.postgres(orders.connections["source"], TABLE.format(type="timestamptz"))
    orders.etl({"table": "orders", "cursor": {"column": "id", "kind": "sequence"}}, {"table": "orders", "mode": "insert"})
    writers = Writers(orders.connections["source"], stamped("now()"))
    poll(orders, writers, 6)
    orders.ran()
    assert same(orders, duckdb_of(orders)) == writers.commits


@pytest.mark.long
def test_a_prepared_transaction_holds_the_watermark_back_until_it_is_committed(orders: Desk) -> None:
    source = orders.connections["source"]
    orders.postgres(source, TABLE.format(type="timestamptz"))
    orders.etl({"query": "SELECT * FROM orders WHERE updated_at > ?", "incremental": True}, {"table": "orders", "mode": "insert"})
    with psycopg.connect(source) as connection:
        connection.execute("INSERT INTO orders (writer, number) VALUES (9, 9)")
        connection.execute("PREPARE TRANSACTION 'undecided'")
    writers = Writers(source, stamped("now()"))
    # What was written since waits with it, for there is no telling when it began.
    assert poll(orders, writers, 2) == [0, 0]
    orders.postgres(source, "COMMIT PREPARED 'undecided'")
    orders.ran()
    assert same(orders, duckdb_of(orders)) == writers.commits + 1


def test_a_transaction_that_holds_the_ceiling_back_is_told_of_once_by_name(
    desk: Desk, postgres_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk.postgres(
        postgres_database,
        "CREATE TABLE orders (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL)",
        "INSERT INTO orders SELECT i, now() - interval '1 hour' FROM generate_series(1, 10) i",
    )
    desk.connect(source=postgres_database)
    source = {"table": "orders", "cursor": {"column": "updated_at", "maxCeilingLag": "100ms"}}
    desk.etl(source, {"table": "orders", "mode": "upsert"})

    def alerts() -> list[Any]:
        with desk.store() as store:
            found = store.alerts("desk")
            assert [event.data["message"] for event in store.events(type="Alert.create")] == [one.message for one in found]
        return found

    desk.ran()
    assert alerts() == []
    with psycopg.connect(postgres_database, application_name="forgotten notebook") as idle:
        (began,) = idle.execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')").fetchone()
        pid = idle.info.backend_pid
        desk.postgres(postgres_database, "SELECT pg_sleep(0.2)", "INSERT INTO orders VALUES (11, now())")
        assert desk.ran()["metrics"]["recordsLoaded"] == 0
        desk.ran()
        (alert,) = alerts()
        assert (alert.severity, alert.failures) == ("medium", 0)
        assert f"a transaction has been open since {began} UTC (process {pid}, forgotten notebook, idle in transaction)" in alert.message
        assert f"pg_terminate_backend({pid})" in alert.message
        assert alert.message.removeprefix("Pipeline Desk: ") in caplog.text
    # It has ended, and its rows come; another one is another incident.
    assert desk.ran()["metrics"]["recordsLoaded"] == 1
    with psycopg.connect(postgres_database) as other:
        other.execute("SELECT 1")
        desk.postgres(postgres_database, "SELECT pg_sleep(0.2)")
        desk.ran()
    assert [f"process {pid}" in alert.message for alert in alerts()] == [True, False]


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TEXT"])
@pytest.mark.parametrize("form", ["{} {}.{:09d}", "{}T{}.{:09d}Z"])
def test_stamps_finer_than_a_microsecond_are_read_once_each(desk: Desk, kind: str, form: str) -> None:
    """Text with nanoseconds, several rows to a microsecond; mode insert would show a row that is read twice."""
    desk.sqlite("source.db", f"CREATE TABLE orders (id INTEGER PRIMARY KEY, stamp {kind} NOT NULL)")
    desk.etl({"table": "orders", "cursor": {"column": "stamp"}}, {"table": "orders", "mode": "insert"})
    read = []
    for number in range(2):
        seconds, nanoseconds = divmod(time.time_ns() // 1000 * 1000, 1_000_000_000)
        moment = time.gmtime(seconds)
        stamps = [
            form.format(time.strftime("%Y-%m-%d", moment), time.strftime("%H:%M:%S", moment), nanoseconds + more) for more in (1, 500, 999)
        ]
        values = ", ".join(f"({10 * number + index}, '{stamp}')" for index, stamp in enumerate(stamps))
        desk.sqlite("source.db", f"INSERT INTO orders VALUES {values}")
        read.append(desk.ran()["metrics"]["recordsExtracted"])
        read.append(desk.ran()["metrics"]["recordsExtracted"])
    assert read == [3, 0] * 2
    assert desk.duckdb("target.duckdb", "SELECT count(*), count(DISTINCT id) FROM orders") == [(6, 6)]
