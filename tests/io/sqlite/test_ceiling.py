from __future__ import annotations

import datetime as dt
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError
from beam_pipelines.runs.mark import Mark

UTC = dt.timezone.utc


def ago(**delta: float) -> dt.datetime:
    return dt.datetime.now(UTC).replace(tzinfo=None, microsecond=0) - dt.timedelta(**delta)


def test_the_seeds_form_and_cursor_read_the_same_increments(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    start = ago(seconds=100)
    db.run("INSERT INTO t VALUES (?, ?)", [(n, (start + dt.timedelta(seconds=n)).isoformat(" ")) for n in range(10)])
    for source in (db.source(query="select * from t where updated_at > ?"), db.cursor()):
        (table,) = source.tables()
        first = reading.poll(source, table)
        assert first.column("id") == list(range(10))
        assert first.newest == Mark.of(start + dt.timedelta(seconds=9))
        assert reading.poll(source, table, first.newest).rows == []
        assert reading.poll(source, table, first.newest, inclusive=True).column("id") == [9]
    db.run("INSERT INTO t VALUES (?, ?)", [(10, ago(seconds=10).isoformat(" ")), (11, None)])
    db.run("UPDATE t SET updated_at = ? WHERE id = 3", [(ago(seconds=5).isoformat(" "),)])
    assert reading.poll(db.cursor(), "t", first.newest).column("id") == [3, 10]


def test_the_ceiling_is_floored_to_the_precision_of_the_stamps(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE s (updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, x); INSERT INTO s (x) VALUES (1)")
    db.run("CREATE TABLE m (updated_at TIMESTAMP DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')), x); INSERT INTO m (x) VALUES (1)")
    db.run("CREATE TABLE d (updated_at TIMESTAMP DEFAULT CURRENT_DATE, x); INSERT INTO d (x) VALUES (1)")
    seconds, days = (db.cursor(table=table).fix(table, db.cursor(table=table).cursor, None, False, 1).ceiling for table in "sd")
    assert seconds.value.microsecond == 0
    assert days.value.time() == dt.time(0)
    millis = [db.cursor(table="m").fix("m", db.cursor(table="m").cursor, None, False, 1).ceiling.value.microsecond for _ in range(5)]
    assert any(millis)
    assert all(micro % 1000 == 0 for micro in millis)
    # Rows of the second that has not ended are left for the next run.
    assert reading.poll(db.cursor(table="d"), "d").rows == []


STAMPS = [
    ("seconds", lambda moment: moment.replace(microsecond=0).isoformat(" ")),
    ("T and Z", lambda moment: moment.replace(microsecond=0).isoformat("T") + "Z"),
    ("isoformat", lambda moment: moment.isoformat(" ")),
    ("milliseconds", lambda moment: moment.isoformat(" ", timespec="milliseconds")),
    ("microseconds, offset", lambda moment: moment.isoformat("T", timespec="microseconds") + "+00:00"),
    ("nanoseconds", lambda moment: moment.isoformat(" ", timespec="microseconds") + "000"),
]


@pytest.mark.parametrize("declared", ["TIMESTAMP", "TEXT"])
@pytest.mark.parametrize(("name", "write"), STAMPS, ids=[name for name, _ in STAMPS])
def test_each_form_of_stamps_is_read_once_over_many_increments(db: Any, reading: Any, declared: str, name: str, write: Any) -> None:
    db.run(f"CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at {declared}); CREATE INDEX i ON t (updated_at)")
    start = ago(days=3)
    seen: list[int] = []
    mark = None
    for step in range(6):
        moments = [start + dt.timedelta(seconds=1000 * step + n, milliseconds=(n % 4) * 250) for n in range(8)]
        db.run("INSERT INTO t VALUES (?, ?)", [(step * 8 + n, write(moment)) for n, moment in enumerate(moments)])
        read = reading.poll(db.cursor(), "t", mark)
        seen += read.column("id")
        mark = read.newest
    assert sorted(seen) == list(range(48))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 3), st.sampled_from(range(6))), min_size=1, max_size=30),
    st.integers(0, 400_000),
)
def test_mixed_forms_are_compared_as_the_moments_they_mean(db: Any, reading: Any, rows: list[tuple[int, int, int]], low: int) -> None:
    start = ago(days=30)
    offset = dt.timezone(dt.timedelta(hours=9))
    writers = [*[write for _, write in STAMPS[:5]], lambda moment: moment.replace(tzinfo=UTC).astimezone(offset).isoformat()]
    moments = [start + dt.timedelta(seconds=seconds, milliseconds=quarter * 250 if form >= 2 else 0) for seconds, quarter, form in rows]
    db.run("DROP TABLE IF EXISTS t; CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at DATETIME)")
    db.run(
        "INSERT INTO t VALUES (?, ?)",
        [(n, writers[form](moment)) for n, (moment, (_, _, form)) in enumerate(zip(moments, rows, strict=True))],
    )
    bound = start + dt.timedelta(seconds=low)
    for inclusive in (False, True):
        read = reading.poll(db.cursor(), "t", Mark.of(bound), inclusive)
        expected = [n for n, moment in enumerate(moments) if moment > bound or (inclusive and moment == bound)]
        assert sorted(read.column("id")) == expected
    assert sorted(reading.poll(db.cursor(), "t").column("id")) == list(range(len(rows)))


def test_texts_that_are_no_moment_are_dead_letters_once(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    db.run(
        "INSERT INTO t VALUES (?, ?)",
        [(1, ago(hours=2).isoformat(" ")), (2, "soon"), (3, 17), (4, "0000"), (5, ago(hours=1).isoformat("T"))],
    )
    first = reading.poll(db.cursor(), "t")
    assert first.column("id") == [1, 5]
    assert len(first.reasons) == 3
    second = reading.poll(db.cursor(), "t", first.newest, inclusive=True)
    assert (second.column("id"), second.reasons) == ([5], [])


def test_a_text_column_of_mixed_forms_is_refused_as_cursor(db: Any) -> None:
    db.run("CREATE TABLE t (updated_at TEXT)")
    db.run("INSERT INTO t VALUES (?)", [("2026-01-01 10:00:00",), ("2026-01-01T10:00:00Z",)])
    source = db.cursor()
    with pytest.raises(PlanError, match="declare the column as TIMESTAMP") as raised:
        source.fix("t", source.cursor, None, False, 1)
    assert raised.value.code == "cursor-invalid"


@pytest.mark.parametrize(("unit", "name"), [(1, "seconds"), (1000, "milliseconds"), (1_000_000, "microseconds")])
def test_epoch_numbers_are_moments_in_their_own_unit(db: Any, reading: Any, unit: int, name: str) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at DATETIME)")
    now = int(ago(seconds=0).replace(tzinfo=UTC).timestamp())
    db.run("INSERT INTO t VALUES (?, ?)", [(1, (now - 100) * unit), (2, (now - 50) * unit), (3, (now + 1000) * unit)])
    first = reading.poll(db.cursor(), "t")
    assert first.column("id") == [1, 2]  # 3 has not happened yet
    assert name in db.cursor().fix("t", db.cursor().cursor, None, False, 1).by
    assert reading.poll(db.cursor(), "t", first.newest).rows == []
    # The caller takes an overlap off as plain numbers; it is meant in seconds.
    overlapped = db.cursor(overlap="60s", stampedBy="client")
    assert reading.poll(overlapped, "t", Mark.of(int(first.newest.value) - 60)).column("id") == [1, 2]


def test_overlap_of_text_stamps_is_taken_off_by_the_source(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TEXT)")
    db.run("INSERT INTO t VALUES (?, ?)", [(n, ago(seconds=1000 - 100 * n).isoformat("T")) for n in range(5)])
    newest = reading.poll(db.cursor(), "t").newest
    assert reading.poll(db.cursor(overlap="250s", stampedBy="client"), "t", newest).column("id") == [2, 3, 4]


@pytest.mark.parametrize("varied", [False, True])
def test_a_watermark_may_be_the_text_that_is_stored(db: Any, reading: Any, varied: bool) -> None:
    """The newest value before it is cast; then nobody but the source can take the overlap off."""
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    start = ago(hours=1)
    stamps = [(start + dt.timedelta(seconds=100 * n)).isoformat(" ") for n in range(5)]
    db.run("INSERT INTO t VALUES (?, ?)", [(n, stamp + (".5" if varied and n % 2 else "")) for n, stamp in enumerate(stamps)])
    newest = Mark("text", stamps[4])
    assert reading.poll(db.cursor(), "t", newest, inclusive=True).column("id") == [4]
    assert reading.poll(db.cursor(), "t", newest).column("id") == []
    assert reading.poll(db.cursor(overlap="250s", stampedBy="client"), "t", newest).column("id") == [2, 3, 4]


def test_a_file_that_may_not_be_written_promises_less(db: Any, reading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    db.run("INSERT INTO t VALUES (?, ?)", [(1, ago(seconds=9).isoformat(" "))])
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    writer = sqlite3.connect(db.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    source = db.cursor()
    assert not source.traits.safe_ceiling
    assert any("read-only" in assumption for assumption in source.traits.assumptions)
    assert "not waited for" in source.fix("t", source.cursor, None, False, 1).by
    assert reading.poll(source, "t").column("id") == [1]
    writer.close()


def test_a_sequence_is_read_up_to_its_greatest_value(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x)")
    source = db.cursor("id", kind="sequence")
    empty = reading.poll(source, "t")
    assert (empty.rows, empty.fixed.ceiling) == ([], None)
    window = reading.window(source, "t")
    db.run("INSERT INTO t (x) VALUES ('a'), ('b'), ('c')")
    assert reading.read(source, window).rows == []  # of a table that was empty when the run was prepared
    window = reading.window(source, "t")
    db.run("INSERT INTO t (x) VALUES ('d')")
    read = reading.read(source, window)
    assert read.column("id") == [1, 2, 3]
    assert read.fixed.ceiling == read.newest == Mark("int", "3")
    assert reading.poll(source, "t", read.newest).column("id") == [4]


def test_dates_are_read_up_to_today(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, day DATE)")
    today = dt.datetime.now(UTC).date()
    db.run("INSERT INTO t VALUES (?, ?)", [(n, (today + dt.timedelta(days=n)).isoformat()) for n in (-3, -1, 0, 5)])
    read = reading.poll(db.cursor("day", overlap="2d"), "t")
    assert read.column("id") == [-3, -1, 0]
    assert read.fixed.ceiling == Mark("date", today.isoformat())


def test_rows_after_the_window_was_fixed_are_left_for_the_next(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)")
    db.run("INSERT INTO t VALUES (1, ?)", [(ago(seconds=5).isoformat(" "),)])
    source = db.cursor()
    window = reading.window(source, "t")
    db.run("INSERT INTO t (id) VALUES (2)")
    assert reading.read(source, window).column("id") == [1]


def test_a_window_travels_as_text(db: Any, reading: Any) -> None:
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)")
    db.run("INSERT INTO t VALUES (?, ?)", [(n, ago(seconds=100 - n).isoformat(" ")) for n in range(10)])
    source = db.cursor()
    window = reading.window(source, "t", Mark.of(ago(seconds=95)))
    assert reading.read(source, type(window).from_text(window.to_text())).rows == reading.read(source, window).rows


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_writer_with_an_open_transaction_is_waited_for(db: Any, reading: Any, journal: str) -> None:
    db.run(f"PRAGMA journal_mode={journal}; CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)")
    writer = sqlite3.connect(db.path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t (id) VALUES (1)")
    source = db.cursor()
    fixed: list[Any] = []
    done = threading.Event()

    def fix() -> None:
        fixed.append(source.fix("t", source.cursor, None, False, 1))
        done.set()

    thread = threading.Thread(target=fix)
    thread.start()
    assert not done.wait(1.2)
    writer.execute("COMMIT")
    writer.close()
    thread.join(20)
    (stamp,) = reading.poll(db.source(table="t"), "t").column("updated_at")
    # The writer's second has passed while it was waited for, so its row is in this window.
    assert stamp < fixed[0].ceiling.value


WRITER = """
import random, sqlite3, sys, time
path, base, until = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
connection = sqlite3.connect(path, isolation_level=None, timeout=60)
print("ready", flush=True)
sys.stdin.readline()
number = base
end = time.monotonic() + until
while time.monotonic() < end:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t (id, x) VALUES (?, ?)", (number, base))
    time.sleep(random.random() * 0.05)
    connection.execute("COMMIT")
    number += 1
print(number - base, flush=True)
"""


@pytest.fixture
def writers(db: Any) -> Iterator[Any]:
    started: list[subprocess.Popen[str]] = []

    def start(count: int, seconds: float) -> list[subprocess.Popen[str]]:
        for number in range(count):
            command = [sys.executable, "-c", WRITER, str(db.path), str(number * 1_000_000), str(seconds)]
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for process in started:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdout.readline()
            process.stdin.write("go\n")
            process.stdin.flush()
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("stamp", ["CURRENT_TIMESTAMP", "(strftime('%Y-%m-%d %H:%M:%f', 'now'))"], ids=["seconds", "milliseconds"])
@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_no_row_of_eight_writers_is_lost_or_doubled(db: Any, reading: Any, writers: Any, stamp: str, journal: str) -> None:
    """Mode insert (`>`), twenty polls or more, over four turns of the second, while eight processes hold transactions of 0 to 50 ms."""
    db.run(f"PRAGMA journal_mode={journal}; CREATE TABLE t (id INTEGER PRIMARY KEY, x, updated_at TIMESTAMP DEFAULT {stamp})")
    processes = writers(8, 4.0)
    source = db.cursor()
    seen: list[int] = []
    mark = None
    polls = 0
    while polls < 20 or any(process.poll() is None for process in processes):
        read = reading.poll(source, "t", mark)
        seen += read.column("id")
        mark = read.newest or mark
        polls += 1
    written = 0
    for process in processes:
        written += int(process.communicate(timeout=60)[0].strip())
    last = ago(seconds=0)
    while ago(seconds=0) <= last:  # the second of the last row must have ended
        pass
    seen += reading.poll(source, "t", mark).column("id")
    assert len(seen) == len(set(seen)) == written > 20
