"""What a batch of files costs: CSV through parse, cleanse and transform to Parquet, against four others; many files; small files.

Whole processes are compared, start and end included, for a batch is a command that somebody runs. Plain Beam is given a tenth of the rows.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beam_pipelines.testing.buckets import S3Server
from benchmarks import orders
from benchmarks.contest import Contestant, Rounds, hold
from benchmarks.process import BenchmarkError, Command, run
from benchmarks.result import Line, at_least, at_most, compared
from benchmarks.service import OurService
from benchmarks.settings import Settings

__all__ = ["batch", "many_files", "small_files"]

_PEERS = Path(__file__).parent.parent / "peers"
_TIMES, _FILES = 10, 20  # ten times the rows of the other cases, in so many files
_MANY = 100  # files, each as large as the one that they are compared with
_SMALL, _SMALL_ROWS = 1000, 10
_FLAT = 1.2
_PARALLEL = {"chunkSize": 65_536, "parallelism": 2}

Program = Callable[[Path, Path, Path, str], Command]  # folder of the input, output folder, working folder, the peers' interpreter


def batch(settings: Settings) -> list[Line]:
    """10,000,000 rows of CSV in 20 files, parsed, cleansed, transformed and written as Parquet."""
    folder = settings.folder / "batch"
    folder.mkdir()
    try:
        return _batch(settings, folder)
    finally:
        shutil.rmtree(folder)


def _batch(settings: Settings, folder: Path) -> list[Line]:
    most, few = settings.rows * _TIMES, settings.rows
    orders.write(folder / "most", most, _FILES)
    orders.write(folder / "few", few, 2)
    programs: dict[str, Program] = {"ours": _ours, "Polars": _peer("polars"), "DuckDB": _duckdb, "PySpark": _peer("spark")}
    contestants = [_contestant(name, folder, "most", most, program, settings) for name, program in programs.items()]
    contestants.append(_contestant("plain Beam", folder, "few", few, _peer("beam"), settings))
    rounds = hold(contestants, settings.rounds)
    job = f"{most:,} rows of CSV in {_FILES} files: parse, cleanse, transform, to Parquet"
    ours = rounds.seconds("ours")
    a_million = [seconds * 1e6 / most for seconds in ours]
    beam = [seconds * 1e6 / few for seconds in rounds.seconds("plain Beam")]
    spark = [json.loads(usage.output.splitlines()[-1])["seconds"] for usage in rounds.taken["PySpark"]]
    return [
        *(
            at_most(compared("batch", f"{job}, whole process", "s", ours, rounds.seconds(name), name, cost=True), 2.5)
            for name in ("Polars", "DuckDB")
        ),
        at_least(compared("batch", f"{job}, a million rows of it", "s", a_million, beam, f"plain Beam on dicts, {few:,} rows"), 8.0),
        at_least(compared("batch", f"{job}, whole process", "s", ours, rounds.seconds("PySpark"), "PySpark local[2]"), 5.0),
        compared("batch", f"{job}, without the start of the peer", "s", ours, spark, "PySpark local[2]"),
        *(
            compared("batch", f"{job}, processor time", "s", rounds.cpu("ours"), rounds.cpu(name), name)
            for name in programs
            if name not in ("ours", "PySpark")  # whose work is in a process that is not a child of its own
        ),
        Line("batch", f"{job}, peak memory of a process", rounds.peak_bytes("ours") / 1e6, "MB"),
    ]


def _contestant(name: str, folder: Path, source: str, rows: int, program: Program, settings: Settings) -> Contestant:
    place = folder / name.replace(" ", "_")
    output = place / "out"
    expected = orders.expected(rows)

    def prepare() -> Command:
        shutil.rmtree(place, ignore_errors=True)
        output.mkdir(parents=True)
        return program(folder / source, output, place, settings.peers_python)

    return Contestant(name, prepare, lambda: _expect(name, output, expected))


def _expect(name: str, output: Path, expected: tuple[int, int]) -> None:
    found = orders.found(sorted(str(path) for path in output.rglob("*.parquet")))
    if found != expected:
        raise BenchmarkError(f"{name}: expected {expected[0]} rows with checksum {expected[1]}, found {found[0]} with {found[1]}")


def _peer(name: str) -> Program:
    def command(source: Path, output: Path, place: Path, python: str) -> Command:
        return Command([python, str(_PEERS / f"{name}_batch.py"), str(source), str(output)], place)

    return command


def _duckdb(source: Path, output: Path, place: Path, python: str) -> Command:  # noqa: ARG001 - DuckDB is a dependency of ours
    return Command([sys.executable, str(_PEERS / "duckdb_batch.py"), str(source), str(output)], place)


def _ours(source: Path, output: Path, place: Path, python: str) -> Command:  # noqa: ARG001 - ours is run by this interpreter
    return _service(place, {"path": str(source)}, {"path": str(output)}, _PARALLEL)


def _service(place: Path, source: dict[str, str], output: dict[str, str], processing: dict[str, Any]) -> Command:
    service = OurService(
        place / "service",
        {"type": "s3", "bucket": "raw-data", "pattern": "*.csv", "columns": orders.COLUMNS},
        orders.STEPS,
        {"type": "s3", "bucket": "processed-data", "format": "parquet", "compression": "snappy"},
        {"raw-data": source, "processed-data": output},
        processing,
    )
    service.forget()
    return service.command()


def many_files(settings: Settings) -> list[Line]:
    """Peak memory of 100 files against that of one."""
    folder = settings.folder / "many_files"
    folder.mkdir()
    rows = settings.rows // 4  # a file that alone takes as much memory as it needs
    try:
        peaks = {}
        for files in (1, _MANY):
            orders.write(folder / f"in_{files}", rows * files, files)
            place, output = folder / f"ours_{files}", folder / f"out_{files}"
            usage = run(_service(place, {"path": str(folder / f"in_{files}")}, {"path": str(output)}, {}))
            _expect("ours", output, orders.expected(rows * files))
            peaks[files] = usage.peak_bytes / 1e6
    finally:
        shutil.rmtree(folder)
    job = f"CSV to Parquet, {_MANY} files of {rows:,} rows against one: peak memory"
    line = Line("many-files", job, peaks[_MANY], "MB", peaks[1], "ours, one file", peaks[_MANY] / peaks[1], None, "ours / peer")
    return [at_most(line, _FLAT)]


def small_files(settings: Settings) -> list[Line]:
    """What one more file of a few rows takes, of a folder and of the API of S3."""
    folder = settings.folder / "small_files"
    folder.mkdir()
    few = 2
    try:
        for files in (few, _SMALL):
            orders.write(folder / f"in_{files}", _SMALL_ROWS * files, files)
        lines = []
        for kind, bound in (("a folder", 0.02), ("the API of S3 (moto)", 0.06)):
            rounds = _on_disk(settings, folder, few) if bound == 0.02 else _on_s3(settings, folder, few)
            pairs = zip(rounds.seconds(f"{_SMALL}"), rounds.seconds(f"{few}"), strict=True)
            each = [(many - one) / (_SMALL - few) for many, one in pairs]
            line = Line(
                "small-files", f"{_SMALL:,} files of {_SMALL_ROWS} rows on {kind}: one more file", sorted(each)[len(each) // 2], "s"
            )
            lines.append(at_most(line, bound, of=line.ours, unit=" s"))
    finally:
        shutil.rmtree(folder)
    return lines


def _on_disk(settings: Settings, folder: Path, few: int) -> Rounds:
    contestants = []
    for files in (few, _SMALL):
        place, output = folder / f"ours_{files}", folder / f"out_{files}"

        def prepare(files: int = files, place: Path = place, output: Path = output) -> Command:
            shutil.rmtree(output, ignore_errors=True)
            return _service(place, {"path": str(folder / f"in_{files}")}, {"path": str(output)}, {})

        def check(files: int = files, output: Path = output) -> None:
            _expect(f"{files} files", output, orders.expected(_SMALL_ROWS * files))

        contestants.append(Contestant(f"{files}", prepare, check))
    return hold(contestants, settings.rounds)


def _on_s3(settings: Settings, folder: Path, few: int) -> Rounds:
    with S3Server() as server:
        contestants = []
        for files in (few, _SMALL):
            source, target = f"raw-{files}", f"processed-{files}"
            server.make(source)
            server.make(target)
            for path in sorted((folder / f"in_{files}").iterdir()):
                server.put(source, path.name, path.read_bytes())

            def prepare(files: int = files, source: str = source, target: str = target) -> Command:
                for key in server.objects(target):
                    server.client.delete_object(Bucket=target, Key=key)
                return _service(folder / f"s3_{files}", server.connection(source), server.connection(target), {})

            def check(files: int = files, target: str = target) -> None:
                output = folder / f"s3_{files}" / "out"
                shutil.rmtree(output, ignore_errors=True)
                output.mkdir()
                for key, data in server.objects(target).items():
                    (output / Path(key).name).write_bytes(data)
                _expect(f"{files} files", output, orders.expected(_SMALL_ROWS * files))

            contestants.append(Contestant(f"{files}", prepare, check))
        return hold(contestants, settings.rounds)
