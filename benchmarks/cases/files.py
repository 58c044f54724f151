"""Parquet to Parquet: a filter and a 4-field map, by the processor time of one more row.

What a program costs before its first row is taken off.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks import customers
from benchmarks.contest import Contestant, Rounds, hold
from benchmarks.process import BenchmarkError, Command
from benchmarks.result import Line, at_least, at_most, compared
from benchmarks.service import FILES, OurService
from benchmarks.settings import Settings

__all__ = ["expected_files", "found_files", "parquet"]

_PEERS = Path(__file__).parent.parent / "peers"
_FEW = 10
_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"  # the same runner as ours, and no attempt to fetch another
_SUM = "SELECT count(*), coalesce(sum(hash(country, CAST(amount AS decimal(12, 2)), domain, month)), 0) FROM ({query})"


def parquet(settings: Settings) -> list[Line]:
    """Ours against Beam YAML, which takes rows one by one, and Polars, which is as fast as it gets."""
    folder = settings.folder / "parquet"
    folder.mkdir()
    try:
        return _parquet(settings, folder)
    finally:
        shutil.rmtree(folder)


def _parquet(settings: Settings, folder: Path) -> list[Line]:
    contestants = []
    for rows in (_FEW, settings.rows):
        source = folder / f"customers_{rows}.parquet"
        customers.write_parquet(source, rows)
        for name, command in (("ours", _ours), ("Beam YAML", _beam_yaml), ("Polars", _polars)):
            contestants.append(_contestant(f"{name} {rows}", folder, source, command, settings))
    rounds = hold(contestants, settings.rounds)

    def marginal(name: str) -> list[float]:
        """Microseconds of processor a row more, by round."""
        pairs = zip(rounds.cpu(f"{name} {settings.rows}"), rounds.cpu(f"{name} {_FEW}"), strict=True)
        # A round in which noise ate all of it says at least that a row took next to nothing.
        return [max(many - few, 1e-3) * 1e6 / settings.rows for many, few in pairs]

    job = f"Parquet to Parquet, {settings.rows:,} rows, filter and 4-field map: processor time of one more row"
    lines = [
        at_least(_of_medians(compared("parquet", job, "us/row", marginal("ours"), marginal("Beam YAML"), "Beam YAML")), 20.0),
        at_most(_of_medians(compared("parquet", job, "us/row", marginal("ours"), marginal("Polars"), "Polars", cost=True)), 3.0),
    ]
    return [*lines, *(_whole(rounds, rows) for rows in (_FEW, settings.rows))]


def _of_medians(line: Line) -> Line:
    """The line with the ratio of the medians: a difference of two small times has no ratio worth the name in a single round."""
    assert line.peer is not None
    return replace(line, ratio=line.ours / line.peer if line.means == "ours / peer" else line.peer / line.ours)


def _whole(rounds: Rounds, rows: int) -> Line:
    ours, peer = rounds.cpu(f"ours {rows}"), rounds.cpu(f"Beam YAML {rows}")
    return compared("parquet", f"the same, {rows:,} rows, processor time of the whole process", "s", ours, peer, "Beam YAML")


def _contestant(
    name: str, folder: Path, source: Path, command: Callable[[Path, Path, Path, str], Command], settings: Settings
) -> Contestant:
    place = folder / name.replace(" ", "_")
    output = place / "out"
    expected = expected_files(source)

    def prepare() -> Command:
        shutil.rmtree(place, ignore_errors=True)
        output.mkdir(parents=True)
        return command(source, output, place, settings.peers_python)

    def check() -> None:
        found = found_files(output)
        if found != expected:
            raise BenchmarkError(f"{name}: expected {expected[0]} rows with checksum {expected[1]}, found {found[0]} with {found[1]}")

    return Contestant(name, prepare, check)


def expected_files(source: Path) -> tuple[int, int]:
    """Rows and checksum of what the filter and the map make of a file, worked out by DuckDB."""
    return _ask(customers.MAPPED_FILES.format(table=f"read_parquet('{source}')"))


def found_files(folder: Path) -> tuple[int, int]:
    """Rows and checksum of the files in a folder."""
    files = sorted(
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise BenchmarkError(f"expected files in {folder.name}, found none")
    return _ask(f"SELECT * FROM read_parquet({files!r})")


def _ask(query: str) -> tuple[int, int]:
    import duckdb

    with duckdb.connect() as connection:
        row = connection.execute(_SUM.format(query=query)).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _ours(source: Path, output: Path, place: Path, python: str) -> Command:  # noqa: ARG001 - ours is run by this interpreter
    destination = {"type": "file", "path": str(output), "format": "parquet", "compression": "snappy"}
    service = OurService(place / "service", {"type": "file", "path": str(source)}, FILES, destination, {})
    service.forget()
    return service.command()


def _beam_yaml(source: Path, output: Path, place: Path, python: str) -> Command:
    variables = json.dumps({"source": str(source), "target": str(output / "part")})
    argv = [python, "-m", "apache_beam.yaml.main", f"--yaml_pipeline_file={_PEERS / 'beam_map.yaml'}"]
    return Command([*argv, f"--jinja_variables={variables}", f"--runner={_RUNNER}"], place)


def _polars(source: Path, output: Path, place: Path, python: str) -> Command:
    return Command([python, str(_PEERS / "polars_map.py"), str(source), str(output / "part.parquet")], place)
