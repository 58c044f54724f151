"""TPC-H queries 1, 3, 5, 6 and 10 at scale factor 1, as service definitions over Parquet, against DuckDB's own answers and time.

Without ORDER BY and LIMIT: what is compared is every row of the result. The data is made by tpchgen-cli.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.contest import Contestant, hold
from benchmarks.process import BenchmarkError, Command
from benchmarks.result import Line, at_most, compared
from benchmarks.settings import Settings

__all__ = ["tpch"]

_QUERIES = Path(__file__).parent.parent / "tpch"
_PEER = Path(__file__).parent.parent / "peers" / "duckdb_query.py"
_NUMBERS = (1, 3, 5, 6, 10)
_SCALE = 1


def tpch(settings: Settings) -> list[Line]:
    """The whole process, ours against DuckDB, query by query; and the median of them."""
    folder = settings.folder / "tpch"
    data = folder / "data"
    data.mkdir(parents=True)
    try:
        generator = Path(settings.peers_python).with_name("tpchgen-cli")
        subprocess.run([generator, "parquet", "-s", str(_SCALE), "--output-dir", data], check=True, capture_output=True)
        return _lines(settings, folder, data)
    finally:
        shutil.rmtree(folder)


def _lines(settings: Settings, folder: Path, data: Path) -> list[Line]:
    lines = []
    for number in _NUMBERS:
        contestants = [_ours(number, folder, data), _duckdb(number, folder, data)]
        rounds = hold(contestants, settings.rounds)
        job = f"TPC-H {number}, scale factor {_SCALE}, Parquet to Parquet, whole process"
        lines.append(compared("tpch", job, "s", rounds.seconds("ours"), rounds.seconds("DuckDB"), "DuckDB", cost=True))
    ours, peer = ([value for line in lines if (value := getattr(line, side)) is not None] for side in ("ours", "peer"))
    median = compared("tpch", f"the median of the {len(lines)} queries", "s", ours, peer, "DuckDB", cost=True)
    return [*lines, at_most(median, 10.0)]


def _ours(number: int, folder: Path, data: Path) -> Contestant:
    place = folder / f"ours_{number}"

    def prepare() -> Command:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "data").symlink_to(data)
        shutil.copy(_QUERIES / f"q{number}.yaml", place / "service.yaml")
        return Command([sys.executable, "-m", "beam_pipelines.etl", "--service", "service.yaml", "--runner=DirectRunner"], place)

    def check() -> None:
        _check(f"ours {number}", place / "out.parquet", _QUERIES / f"q{number}.sql", data)

    return Contestant("ours", prepare, check)


def _duckdb(number: int, folder: Path, data: Path) -> Contestant:
    target = folder / f"duckdb_{number}.parquet"

    def prepare() -> Command:
        target.unlink(missing_ok=True)
        return Command([sys.executable, str(_PEER), str(data), str(_QUERIES / f"q{number}.sql"), str(target)], folder)

    def check() -> None:
        if not target.is_file():
            raise BenchmarkError(f"DuckDB {number}: expected {target.name}")

    return Contestant("DuckDB", prepare, check)


def _check(name: str, found: Path, query: Path, data: Path) -> None:
    """Compare every row with DuckDB's: numbers that are exact exactly, averages to nine digits."""
    import duckdb

    with duckdb.connect() as connection:
        for file in data.glob("*.parquet"):
            connection.execute(f"CREATE VIEW {file.stem} AS SELECT * FROM read_parquet('{file}')")
        connection.execute(f"CREATE TABLE expected AS {query.read_text()}")
        connection.execute(f"CREATE TABLE found AS SELECT * FROM read_parquet('{found}')")
        columns = connection.execute("SELECT column_name, column_type FROM (DESCRIBE expected)").fetchall()
        same = ", ".join(f"round({name}, 6) AS {name}" if kind == "DOUBLE" else name for name, kind in columns)
        for one, other in (("expected", "found"), ("found", "expected")):
            rows = connection.execute(f"SELECT count(*) FROM (SELECT {same} FROM {one} EXCEPT ALL SELECT {same} FROM {other})").fetchone()
            if rows is None or rows[0]:
                raise BenchmarkError(f"{name}: {rows and rows[0]} rows of {one} are not among those of {other}")
