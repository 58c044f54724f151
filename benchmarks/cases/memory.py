"""Peak memory of the whole process, at some rows and at ten times as many."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import customers
from benchmarks.cases.files import expected_files, found_files
from benchmarks.process import BenchmarkError, run
from benchmarks.result import Line, at_most
from benchmarks.servers import Databases
from benchmarks.service import CLEAN, FILES, OurService
from benchmarks.settings import Settings

__all__ = ["memory"]

_TIMES = 10
_LIMIT_MB = 700
_FLAT = 1.2  # ten times the rows take at most a fifth more


def memory(settings: Settings, databases: Databases) -> list[Line]:
    """Parquet to Parquet, SQLite to DuckDB, PostgreSQL to DuckDB."""
    folder = settings.folder / "memory"
    peaks: dict[str, list[float]] = {}
    for rows in (settings.rows, settings.rows * _TIMES):
        folder.mkdir()
        try:
            parquet = folder / "customers.parquet"
            customers.write_parquet(parquet, rows)
            peaks.setdefault("Parquet to Parquet, filter and 4-field map", []).append(_files(folder, parquet))
            sqlite = folder / "customers.db"
            customers.write_sqlite(sqlite, parquet)
            peaks.setdefault("SQLite to DuckDB, filter and 3-field map", []).append(
                _to_duckdb(folder / "lite", f"sqlite:///{sqlite}", rows)
            )
            sqlite.unlink()
            databases.create("large", customers.raw(1, rows), key=True)
            peaks.setdefault("PostgreSQL to DuckDB, filter and 3-field map", []).append(
                _to_duckdb(folder / "pg", databases.url("large"), rows)
            )
            databases.drop("large")
        finally:
            shutil.rmtree(folder)
    return [_line(settings, job, *found) for job, found in peaks.items()]


def _line(settings: Settings, job: str, few: float, many: float) -> Line:
    name = f"peak memory, {job}, {settings.rows * _TIMES:,} rows against {settings.rows:,}"
    line = Line("memory", name, many, "MB", few, "ours, a tenth of the rows", many / few, None, "ours / peer")
    judged = at_most(at_most(line, _FLAT), _LIMIT_MB, of=many, unit=" MB")
    return Line(**{**judged.__dict__, "target": f"at most {_LIMIT_MB} MB and {_FLAT:g}x", "met": many <= _LIMIT_MB and many / few <= _FLAT})


def _files(folder: Path, source: Path) -> float:
    output = folder / "out"
    output.mkdir()
    destination = {"type": "file", "path": str(output), "format": "parquet", "compression": "snappy"}
    peak = _peak(OurService(folder / "files", {"type": "file", "path": str(source)}, FILES, destination, {}))
    expected, found = expected_files(source), found_files(output)
    if found != expected:
        raise BenchmarkError(f"expected {expected[0]} rows with checksum {expected[1]} in {output.name}, found {found[0]} with {found[1]}")
    return peak


def _to_duckdb(folder: Path, url: str, rows: int) -> float:
    source = {"type": "database", "connection": "source", "table": "customers", "cursor": {"column": "updated_at"}}
    destination = {"type": "data-warehouse", "connection": "target", "table": "customers", "mode": "upsert", "keyFields": ["id"]}
    warehouse = folder / "warehouse.duckdb"
    peak = _peak(OurService(folder, source, CLEAN, destination, {"source": url, "target": f"duckdb:///{warehouse}"}))
    _expect(warehouse, rows)
    return peak


def _expect(warehouse: Path, rows: int) -> None:
    """Compare the table with sums worked out from the formula of the rows."""
    import duckdb

    adult = f"FROM range(1, {rows + 1}) AS r(i) WHERE 15 + i * 31 % 77 >= 18"
    expected_sql = f"SELECT count(*), sum(i), sum(15 + i * 31 % 77), sum(i * 7919 % 625) {adult}"
    found_sql = (
        "SELECT count(*), sum(id), sum(age), CAST(round(sum(CAST(amount AS decimal(12, 1))) * 10) AS bigint) FROM customers"
        " WHERE name = trim(name) AND email = lower(email) AND country = upper(country)"
    )
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        found, expected = connection.execute(found_sql).fetchone(), connection.execute(expected_sql).fetchone()
    if found != expected:
        raise BenchmarkError(f"expected rows and sums {expected} in the warehouse, found {found}")


def _peak(service: OurService) -> float:
    service.forget()
    return run(service.command()).peak_bytes / 1e6
