from __future__ import annotations

import contextlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.errors import TransientError
from beam_pipelines.examples import crm
from beam_pipelines.examples.customer_data_etl import people

NOW = datetime(2026, 3, 1, 12, 0, 5, tzinfo=timezone.utc)
CUSTOMERS = 20_000
NOTHING = ("", "-", "n/a", "none")


def rows(path: Path, columns: str = "*", where: str = "1") -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT {columns} FROM customers WHERE {where} ORDER BY id").fetchall()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crm") / "crm.db"
    crm.create(path, CUSTOMERS, now=NOW)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "crm.db"
    crm.create(path, 4_000)
    return path


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


def test_every_customer_has_an_id_and_a_stamp(made: Path) -> None:
    assert [id_ for (id_,) in rows(made, "id")] == list(range(1, CUSTOMERS + 1))
    assert rows(made, "id", "updated_at IS NULL OR created_at IS NULL") == []


def test_the_same_seed_and_moment_make_the_same_rows(made: Path, tmp_path: Path) -> None:
    crm.create(tmp_path / "again.db", CUSTOMERS, now=NOW)
    assert rows(tmp_path / "again.db") == rows(made)


def test_the_moment_changes_stamps_alone(made: Path, tmp_path: Path) -> None:
    crm.create(tmp_path / "later.db", CUSTOMERS, now=NOW + timedelta(days=1))
    data = ", ".join(people.COLUMNS)
    assert rows(tmp_path / "later.db", data) == rows(made, data)
    day_later = [(f"{datetime.fromisoformat(stamp) + timedelta(days=1)}",) for (stamp,) in rows(made, "updated_at")]
    assert rows(tmp_path / "later.db", "updated_at") == day_later


def test_another_seed_makes_other_people(made: Path, tmp_path: Path) -> None:
    crm.create(tmp_path / "other.db", 100, seed=8, now=NOW)
    assert rows(tmp_path / "other.db", "name") != rows(made, "name", "id <= 100")


def test_stamps_have_the_form_of_the_database_and_lie_in_the_three_years_before(made: Path) -> None:
    stamps = rows(made, "created_at, updated_at")
    form = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
    assert all(form.fullmatch(created) and form.fullmatch(updated) for created, updated in stamps)
    assert all(created <= updated for created, updated in stamps)
    assert min(created for created, _ in stamps) >= f"{NOW - timedelta(days=3 * 365):%Y-%m-%d %H:%M:%S}"
    assert max(updated for _, updated in stamps) <= f"{NOW - timedelta(minutes=10):%Y-%m-%d %H:%M:%S}"


def test_stamps_are_real_moments_whatever_the_time_of_day(tmp_path: Path) -> None:
    for hour in (0, 23):
        path = tmp_path / f"{hour}.db"
        crm.create(path, 3_000, now=datetime(2024, 2, 29, hour, 5, tzinfo=timezone.utc))
        stamps = [stamp for pair in rows(path, "created_at, updated_at") for stamp in pair]
        assert [f"{datetime.fromisoformat(stamp)}" for stamp in stamps] == stamps
        assert max(stamps) <= f"{datetime(2024, 2, 29, hour, 5) - timedelta(minutes=10)}"


def test_newest_changes_can_be_found_by_an_index(made: Path) -> None:
    with contextlib.closing(sqlite3.connect(made)) as database:
        plan = database.execute("EXPLAIN QUERY PLAN SELECT * FROM customers WHERE updated_at > '2026-02-28'").fetchall()
    assert "customers_updated_at" in str(plan)


def test_the_database_keeps_no_write_ahead_log(made: Path) -> None:
    with contextlib.closing(sqlite3.connect(made)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [file.name for file in made.parent.iterdir()] == ["crm.db"]


def test_the_mess_is_there(made: Path) -> None:
    table = rows(made, "name, email, phone, country")
    names = [name for name, *_ in table if name]
    assert sum(name.isupper() for name in names) > 300
    assert sum(name.islower() for name in names) > 300
    assert sum(name != name.strip() for name in names) > 300
    assert sum(not name.isascii() for name in names) > 2_000
    emails = [email for _, email, *_ in table if email]
    assert sum(email != email.lower() for email in emails) > 300
    assert sum("@" not in email for email in emails) > 50
    phones = Counter(re.sub(r"\d", "9", phone) for _, _, phone, _ in table if phone)
    assert len(phones) > 40
    spellings = {country for *_, country in table}
    assert {"Germany", "DE", "Deutschland", "germany", "de", None} <= spellings


def test_description_counts_what_python_counts(made: Path) -> None:
    table = rows(made, "name, email, age, country, updated_at")
    emails = [(email or "").strip().lower().removeprefix("mailto:") for _, email, *_ in table]
    good = [email for email in emails if re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", email)]
    described = crm.describe(made)
    assert described == {
        "customers": CUSTOMERS,
        "newest": max(row[4] for row in table),
        "without_name": sum((name or "").strip().lower() in NOTHING for name, *_ in table),
        "without_email": sum(email in NOTHING for email in emails),
        "with_broken_email": sum(email not in NOTHING for email in emails) - len(good),
        "with_age_in_words": sum(isinstance(row[2], str) for row in table),
        "entered_twice": len(good) - len(set(good)),
        "country_spellings": len({row[3] for row in table} - {None}),
        "bytes": made.stat().st_size,
    }
    assert described["with_age_in_words"] == 3
    assert 200 < described["entered_twice"] < 400


def test_all_customers_are_there_within_seconds(tmp_path: Path) -> None:
    before = time.process_time()
    crm.create(tmp_path / "crm.db")
    assert time.process_time() - before < 15  # 3 s on two slow cores
    described = crm.describe(tmp_path / "crm.db")
    assert described["customers"] == 250_000
    assert described["with_age_in_words"] == 25


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "crm.db").write_text("mine")
    with pytest.raises(FileExistsError, match="never overwritten"):
        crm.create(tmp_path / "crm.db", 10)
    assert (tmp_path / "crm.db").read_text() == "mine"


def test_a_crm_of_no_or_one_customer_is_a_crm(tmp_path: Path) -> None:
    for count in (0, 1):
        crm.create(tmp_path / f"{count}.db", count)
        assert crm.describe(tmp_path / f"{count}.db")["customers"] == count
        assert crm.change(tmp_path / f"{count}.db", 1).inserted >= 60


DIES_AT = """
import os, signal, sys
from pathlib import Path
from beam_pipelines.examples import crm, placing
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
where, path = sys.argv[1], Path(sys.argv[2])
if where == "rows":
    whole = crm.people
    def people(*arguments):
        for number, row in enumerate(whole(*arguments)):
            if number == 30_000: die()
            yield row
    crm.people = people
elif where == "sync":
    placing.os.fsync = die
elif where == "name":
    placing.os.link = die
else:
    link = placing.os.link
    placing.os.link = lambda *names: (link(*names), die())
crm.create(path, 40_000)
"""


@pytest.mark.parametrize("where", ["rows", "sync", "name", "named"])
def test_a_kill_leaves_the_whole_database_or_none(where: str, tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    assert run(DIES_AT, where, path).returncode == -signal.SIGKILL
    assert path.exists() == (where == "named")
    if where == "named":
        assert crm.describe(path)["customers"] == 40_000
    else:
        crm.create(path, 10)
        assert crm.describe(path)["customers"] == 10


def test_a_day_of_business_counts_the_rows_it_stamped(small: Path) -> None:
    before = {row[0]: row for row in rows(small)}
    newest = crm.describe(small)["newest"]
    changes = crm.change(small, 3)
    after = {row[0]: row for row in rows(small)}
    touched = {id_ for id_, row in after.items() if row[-1] > newest}
    assert 250 < changes.updated < 700
    assert changes.inserted >= 60
    assert changes.deleted == 0
    assert len(touched & set(before)) == changes.updated
    assert set(after) - set(before) == touched - set(before)
    assert len(set(after) - set(before)) == changes.inserted
    assert all(after[id_] == row for id_, row in before.items() if id_ not in touched)
    assert all(after[id_][1:-1] != row[1:-1] for id_, row in before.items() if id_ in touched)
    assert max(row[-1] for row in after.values()) <= changes.stamp


def test_a_day_of_business_mends_some_rows_and_spoils_one_or_two(small: Path) -> None:
    before = crm.describe(small)
    changes = crm.change(small, 3)
    after = crm.describe(small)
    bad = ("without_name", "without_email", "with_broken_email", "with_age_in_words")
    assert 1 <= changes.spoiled <= 2
    assert changes.mended == 8
    assert sum(after[name] for name in bad) == sum(before[name] for name in bad) - changes.mended + changes.spoiled


def test_the_second_of_the_stamp_is_over_when_a_day_ends(small: Path) -> None:
    changes = crm.change(small, 3)
    assert f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}" > changes.stamp


def test_the_same_seed_does_the_same_to_the_same_rows(tmp_path: Path) -> None:
    data = ", ".join(people.COLUMNS)
    for name in ("a.db", "b.db"):
        crm.create(tmp_path / name, 2_000, now=NOW)
        crm.change(tmp_path / name, 5)
    assert rows(tmp_path / "a.db", data) == rows(tmp_path / "b.db", data)


def test_two_days_without_a_seed_are_two_different_days(small: Path) -> None:
    newest = crm.describe(small)["newest"]
    first = crm.change(small)
    ids = set(rows(small, "id", f"updated_at > '{newest}' AND id <= 4000"))
    second = crm.change(small)
    later = set(rows(small, "id", f"updated_at > '{first.stamp}' AND id <= 4000"))
    assert later != ids
    assert crm.describe(small)["customers"] == 4_000 + first.inserted + second.inserted


def test_a_locked_crm_is_named_and_left_as_it_is(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crm, "_LOCK_SECONDS", 0.05)
    before = rows(small)
    with contextlib.closing(sqlite3.connect(small, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match=r"crm\.db") as caught:
            crm.change(small, 1)
    assert caught.value.code == "locked"
    assert rows(small) == before


def test_a_day_that_cannot_be_finished_changes_nothing(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(small)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the day is over")

    monkeypatch.setattr(crm, "people", broken)
    with pytest.raises(RuntimeError):
        crm.change(small, 1)
    assert rows(small) == before


def test_a_change_never_makes_a_database(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        crm.change(tmp_path / "none.db", 1)
    assert list(tmp_path.iterdir()) == []


def test_people_are_the_same_whoever_draws_them() -> None:
    first = list(people.people(random.Random(1), range(1, 50)))
    assert list(people.people(random.Random(1), range(1, 50))) == first
    assert all(len(row) == len(people.COLUMNS) for row in first)


def test_people_without_faults_have_names_and_emails() -> None:
    table = list(people.people(random.Random(1), range(1, 5_000), faults=False))
    assert all(row[1].strip() and row[2].count("@") == 1 for row in table)
    assert all(row[8] is None or 18 <= row[8] < 94 for row in table)


def test_no_two_people_share_an_email_but_those_entered_twice() -> None:
    table = list(people.people(random.Random(2), range(1, 30_001), faults=False))
    emails = Counter(row[2].strip().lower().removeprefix("mailto:") for row in table)
    names = {(row[2].strip().lower().removeprefix("mailto:"), re.sub(r"\s+", " ", row[1].strip()).lower()) for row in table}
    assert len(names) == len(emails)


@pytest.mark.parametrize("u", [0.0, 0.2, 0.4, 0.6, 0.8, 0.999])
def test_a_bad_email_is_none(u: float) -> None:
    assert not re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", people.bad_email("ana.lima7@gmail.com", u))
