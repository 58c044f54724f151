from __future__ import annotations

import concurrent.futures
import csv
import signal
import subprocess
import sys
from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from beam_pipelines import Service, examples
from beam_pipelines.errors import SpecError
from beam_pipelines.examples.batch import DAYS, place
from beam_pipelines.examples.batch_processor import orders
from beam_pipelines.io.connections import Connections

FILES = ["batch_processor.yaml", "connections.yaml", "functions.py"]
EXPORTS = [f"orders-2026-03-{day:02d}.csv" for day in range(2, 10)]


def exports(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "raw-data" / "daily-exports").iterdir())


def test_the_first_time_makes_everything(tmp_path: Path) -> None:
    placed = place(tmp_path / "x", orders_a_day=10)
    assert sorted(placed.made) == sorted([*FILES, *EXPORTS])
    assert exports(tmp_path / "x") == EXPORTS
    assert (placed.arrived, placed.target.exists()) == (None, False)


def test_the_definition_is_the_packaged_one_and_both_buckets_are_folders_beside_it(tmp_path: Path) -> None:
    placed = place(tmp_path, orders_a_day=10)
    assert placed.definition.read_bytes() == examples.path("batch_processor").read_bytes()
    known = Connections(tmp_path / "connections.yaml")
    assert (known.get("raw-data").path, known.get("processed-data").path) == (placed.source, placed.target)


def test_each_time_after_that_one_day_passes_and_none_for_a_plan(tmp_path: Path) -> None:
    place(tmp_path, orders_a_day=10)
    assert place(tmp_path, business=False).arrived is None
    assert [place(tmp_path, orders_a_day=10).arrived.name for _ in range(2)] == ["orders-2026-03-10.csv", "orders-2026-03-11.csv"]  # type: ignore[union-attr]
    assert len(exports(tmp_path)) == DAYS + 2


def test_the_same_seed_gives_the_same_file_and_every_day_another(tmp_path: Path) -> None:
    for name, day, seed in (("a", 3, 13), ("b", 3, 13), ("c", 4, 13), ("d", 3, 14)):
        orders.create(tmp_path / name, day, 50, seed)
    first, again, other, seeded = (tmp_path.joinpath(name).read_bytes() for name in "abcd")
    assert first == again
    assert len({first, other, seeded}) == 3
    with pytest.raises(FileExistsError):
        orders.create(tmp_path / "a", 3, 50)


def test_files_and_edits_of_the_user_stay(tmp_path: Path) -> None:
    placed = place(tmp_path, orders_a_day=10)
    placed.functions.write_text("# mine")
    (tmp_path / "raw-data/daily-exports/orders-2026-03-02.csv").unlink()
    (tmp_path / "raw-data/daily-exports/mine.csv").touch()
    again = place(tmp_path, orders_a_day=10)
    assert again.arrived is not None
    assert placed.functions.read_text() == "# mine"
    assert exports(tmp_path) == ["mine.csv", *EXPORTS[1:], "orders-2026-03-10.csv"]


def test_several_processes_at_once_make_it_once(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        placed = list(pool.map(lambda _: place(tmp_path, business=False, orders_a_day=500), range(4)))
    assert sorted(name for one in placed for name in one.made) == sorted([*FILES, *EXPORTS])
    assert exports(tmp_path) == EXPORTS


def test_a_kill_while_placing_is_made_good_by_the_next_run(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from beam_pipelines.examples import batch
from beam_pipelines.examples.batch_processor import orders
settled = orders.settle
def settle(building, path):
    if path.name.endswith("06.csv"):
        os.kill(os.getpid(), signal.SIGKILL)
    settled(building, path)
orders.settle = settle
batch.place(Path(sys.argv[1]), orders_a_day=10)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(exports(tmp_path)) == 5  # four files, and one that is half there under a name that no run reads
    assert place(tmp_path, orders_a_day=10).made == tuple(EXPORTS[4:])
    assert exports(tmp_path) == EXPORTS


def test_a_file_in_the_folders_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "batch").write_text("not a folder")
    with pytest.raises(SpecError, match="--example-dir"):
        place(tmp_path / "batch")


def by_hand(file: Path) -> dict[str, tuple[str, str, str, datetime, int, Decimal]]:
    """What the orders of a file mean, worked out row by row; those of no meaning and test orders are left out."""
    words = {"shp": "shipped", "sent": "shipped", "pend.": "pending", "open": "pending", "canceled": "cancelled", "rtn": "returned"}
    found = {}
    for row in csv.DictReader(file.open(encoding="utf-8")):
        status = (row["status"] or "").strip().lower()
        if status == "test" or row["order_id"].startswith("A-BAD"):
            continue
        price = Decimal(row["unit_price"].replace("EUR", "").replace(",", "").strip())
        number = int(row["quantity"].replace("pcs", "").replace(".", "").strip())
        moment = datetime.strptime(row["ordered_at"], "%d/%m/%Y %H:%M")
        product = " ".join(row["product"].split()).lower()
        found[row["order_id"]] = (words.get(status, status), row["country"].strip().upper(), product, moment, number, price * number)
    return found


def test_what_comes_out_is_what_the_orders_mean(tmp_path: Path) -> None:
    placed = place(tmp_path, orders_a_day=200)
    result = Service.load(placed.definition).run()
    assert result.exit_code == 0, result.error
    metrics = result.execution.metrics
    assert (metrics.records_extracted, metrics.records_dead_lettered) == (8 * 200 + len(orders.BAD_ROWS), len(orders.BAD_ROWS))
    for name in EXPORTS:
        expected = by_hand(placed.source / "daily-exports" / name)
        output = placed.target / "processed" / name.replace(".csv", ".parquet")
        rows = duckdb.sql(
            f"SELECT order_id, status, country, product, ordered_at, quantity, total, ordered_on = ordered_at::date FROM '{output}'"
        ).fetchall()
        assert {row[0]: row[1:7] for row in rows} == expected
        assert len(rows) == len(expected)
        assert all(row[7] for row in rows)
    letters = (tmp_path / ".beam_pipelines/dead-letters/batch-data-processor" / f"{result.execution.run}.jsonl").read_text()
    assert Counter(code for line in letters.splitlines() for code in ("row-invalid", "function-failed") if code in line) == {
        "row-invalid": 2,
        "function-failed": 3,
    }
    assert [reason in letters for reason in ("ordered_at cannot be read", "quantity cannot be read", "unit_price cannot be read")] == [
        True,
        True,
        True,
    ]
