from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from beam_pipelines import examples
from beam_pipelines.errors import SpecError
from beam_pipelines.examples import crm
from beam_pipelines.examples.example import place
from beam_pipelines.io.connections import Connections
from beam_pipelines.spec import load

FILES = ["connections.yaml", "crm.db", "customer_data_etl.yaml", "functions.py"]


def listing(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


def test_the_first_time_makes_everything(tmp_path: Path) -> None:
    placed = place(tmp_path / "beam_pipelines_example" / "etl", customers=500)
    assert listing(placed.definition.parent) == FILES
    assert sorted(placed.made) == FILES
    assert placed.changes is None
    assert not placed.warehouse.exists()
    assert crm.describe(placed.crm)["customers"] == 500


def test_the_second_time_lets_a_day_pass(tmp_path: Path) -> None:
    place(tmp_path, customers=2_000)
    placed = place(tmp_path, customers=2_000)
    assert placed.made == ()
    assert placed.changes is not None
    assert placed.changes.updated > 100
    assert crm.describe(placed.crm)["customers"] == 2_000 + placed.changes.inserted


def test_a_plan_lets_no_day_pass(tmp_path: Path) -> None:
    place(tmp_path, customers=500)
    before = (tmp_path / "crm.db").read_bytes()
    assert place(tmp_path, business=False).changes is None
    assert (tmp_path / "crm.db").read_bytes() == before


def test_the_definition_is_the_packaged_one_and_its_parts_are_found(tmp_path: Path) -> None:
    placed = place(tmp_path, customers=10)
    assert placed.definition.read_bytes() == examples.path("customer_data_etl").read_bytes()
    definition = load(placed.definition).definition
    assert definition.pipeline is not None
    connections = Connections(placed.connections)
    source, target = connections.get("crm-database"), connections.get("analytics-warehouse")
    assert (source.system, source.path) == ("sqlite", placed.crm)
    assert (target.system, target.path) == ("duckdb", placed.warehouse)
    assert placed.functions.parent == placed.definition.parent


def test_edits_of_the_user_stay(tmp_path: Path) -> None:
    placed = place(tmp_path, customers=10)
    placed.functions.write_text("# mine")
    placed.definition.write_text("name: mine")
    place(tmp_path)
    assert (placed.functions.read_text(), placed.definition.read_text()) == ("# mine", "name: mine")


def test_what_is_missing_is_made_and_no_day_passes(tmp_path: Path) -> None:
    placed = place(tmp_path, customers=10)
    before = placed.crm.read_bytes()
    placed.functions.unlink()
    again = place(tmp_path, customers=10)
    assert (again.made, again.changes) == (("functions.py",), None)
    assert placed.crm.read_bytes() == before


def test_several_processes_at_once_make_it_once(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        placed = list(pool.map(lambda _: place(tmp_path, business=False, customers=2_000), range(4)))
    assert sorted(name for one in placed for name in one.made) == FILES
    assert listing(tmp_path) == FILES
    assert crm.describe(tmp_path / "crm.db")["customers"] == 2_000


def test_a_kill_while_placing_is_made_good_by_the_next_run(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from beam_pipelines.examples import crm, example
crm._put_words_for_ages = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
example.place(Path(sys.argv[1]), customers=2_000)
"""
    assert run(code, tmp_path).returncode == -signal.SIGKILL
    assert "crm.db" not in listing(tmp_path)
    assert len(listing(tmp_path)) == 4  # the three files and a left-over
    assert place(tmp_path, customers=2_000).made == ("crm.db",)
    assert listing(tmp_path) == FILES


def test_left_overs_of_the_living_and_of_other_machines_stay(tmp_path: Path) -> None:
    host = socket.gethostname().replace(".", "-")
    living = tmp_path / f".crm.db.{host}.{os.getpid()}.0123abcd.placing"
    elsewhere = tmp_path / ".crm.db.another-machine.1.0123abcd.placing"
    other = tmp_path / ".x.placing"
    for file in (living, elsewhere, other):
        file.touch()
    place(tmp_path, customers=10)
    assert all(file.exists() for file in (living, elsewhere, other))


def test_a_full_disk_is_an_error_that_names_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from beam_pipelines.errors import SpecError
from beam_pipelines.examples.example import place
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    place(Path(sys.argv[1]), customers=20_000)
except SpecError as error:
    print(error.exit_code, error)
"""
    done = run(code, tmp_path)
    assert done.stdout.startswith(f"2 cannot set the example up in {str(tmp_path)!r}"), done.stderr
    assert "--example-dir" in done.stdout
    assert listing(tmp_path) == [name for name in FILES if name != "crm.db"]


def test_a_file_in_the_folders_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "etl").write_text("not a folder")
    with pytest.raises(SpecError, match="--example-dir"):
        place(tmp_path / "etl")


def test_a_foreign_database_is_not_changed(tmp_path: Path) -> None:
    placed = place(tmp_path, customers=10)
    placed.crm.unlink()
    with sqlite3.connect(placed.crm) as database:
        database.execute("CREATE TABLE other (id INTEGER)")
    database.close()
    before = placed.crm.read_bytes()
    with pytest.raises(SpecError, match="not the example's CRM"):
        place(tmp_path)
    assert placed.crm.read_bytes() == before


def test_a_file_system_without_links_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert sorted(place(tmp_path, customers=10).made) == FILES
    assert listing(tmp_path) == FILES
