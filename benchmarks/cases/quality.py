"""What rules over rows cost: the five rules of the seed, rows told apart and counts by rule.

Without Beam over a table in memory: against Polars on one thread, Great Expectations on pandas, and PySpark in the style of DQX. On Beam
from Parquet to Parquet: against a pipeline by hand that runs the same kernels, PySpark, and again Great Expectations in memory. Import,
start and the reading of tables in memory are left out on both sides: by the clock of the program itself, best of some calls, or by what a
run takes above one of a few rows.

Great Expectations and Spark call every member of a repeated value a violation, ours and Polars those that come after the first; each is
checked for its own answer. Great Expectations tells no rows apart, it names them; keys that are known can only be given to it as a list.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contest import Contestant, Rounds, hold
from benchmarks.process import BenchmarkError, Command
from benchmarks.result import Line, at_least, at_most, compared
from benchmarks.service import OurService
from benchmarks.settings import Settings
from benchmarks.signups import RULES, Wrong, write_customers, write_signups, wrong

__all__ = ["quality"]

_ROOT = Path(__file__).parent.parent.parent
_PEERS = _ROOT / "benchmarks" / "peers"
_FEW = 10
_CALLS = 7  # of those that take a second
_SLOW_CALLS = 2  # of Great Expectations, which takes ten
_SPARK_CALLS = 3  # the first also compiles
_LIMIT_MB = 700
_ONE_THREAD = {"POLARS_MAX_THREADS": "1"}

Program = Callable[[Path, Path], Command]  # source, folder of its own


def quality(settings: Settings) -> list[Line]:
    """Hold 1,000,000 rows against the five rules: time against four others, and memory."""
    folder = settings.folder / "quality"
    folder.mkdir()
    try:
        return _lines(settings, folder)
    finally:
        shutil.rmtree(folder)


def _lines(settings: Settings, folder: Path) -> list[Line]:
    write_customers(folder / "customers.parquet")
    sources = {rows: folder / f"signups_{rows}.parquet" for rows in (_FEW, settings.rows)}
    for rows, path in sources.items():
        write_signups(path, rows)
    first, members = ({rows: wrong(path, members=each) for rows, path in sources.items()} for each in (False, True))
    many = settings.rows
    programs = _Programs(settings, folder / "customers.parquet", sources[_FEW])
    contestants = [
        *(_in_memory(name, folder, sources[many], programs.alone(name)) for name in ("ours alone", "Polars", "GX")),
        *(
            _to_files(f"{name} {rows}", folder, sources[rows], program, first[rows])
            for name, program in (("ours", programs.ours), ("by hand", programs.by_hand))
            for rows in (_FEW, many)
        ),
        _to_files("Spark", folder, sources[many], programs.spark, members[many]),
        _to_files("ours again", folder, sources[many], programs.again, first[many]),
    ]
    rounds = hold(contestants, settings.rounds)
    for name, taken in rounds.taken.items():
        expected = members if name in ("GX", "Spark") else first
        for usage in taken:
            _expect(name, _counts(usage.output), expected[_FEW if name.endswith(f" {_FEW}") else many].rows)
    return [*_alone(rounds, many), *_on_beam(rounds, many)]


def _alone(rounds: Rounds, rows: int) -> list[Line]:
    job = f"five rules over a table of {rows:,} rows in memory, rows told apart"
    ours = _best(rounds, "ours alone")
    memory = rounds.peak_bytes("ours alone") / 1e6
    return [
        at_most(compared("quality", job, "s", ours, _best(rounds, "Polars"), "Polars, one thread", cost=True), 2.5),
        at_least(compared("quality", job, "s", ours, _best(rounds, "GX"), "Great Expectations, not told apart"), 10),
        at_least(compared("quality", job, "s", ours, _best(rounds, "Spark", "in_memory"), "PySpark as DQX"), 10),
        at_most(Line("quality", f"{job}, peak memory", memory, "MB"), _LIMIT_MB, of=memory, unit=" MB"),
    ]


def _on_beam(rounds: Rounds, rows: int) -> list[Line]:
    job = f"Parquet to Parquet, five rules over {rows:,} rows on Beam"

    def more(taken: Callable[[str], list[float]], name: str) -> list[float]:
        return [max(whole - few, 1e-3) for whole, few in zip(taken(f"{name} {rows}"), taken(f"{name} {_FEW}"), strict=True)]

    row_cpu = {name: [seconds * 1e6 / rows for seconds in more(rounds.cpu, name)] for name in ("ours", "by hand")}
    by_hand = "the same kernels in a pipeline by hand"
    ours = more(rounds.seconds, "ours")
    memory = rounds.peak_bytes(f"ours {rows}") / 1e6
    return [
        at_least(
            compared("quality", f"{job}: processor time of one more row", "us/row", row_cpu["ours"], row_cpu["by hand"], by_hand), 0.8
        ),
        at_least(compared("quality", f"{job}: time above the start", "s", ours, _best(rounds, "Spark"), "PySpark as DQX, its best"), 10),
        at_least(
            compared("quality", f"{job}: time above the start, both the best of {_SPARK_CALLS}", "s", *_warm(rounds), "PySpark as DQX"), 10
        ),
        # Ours is the first of its process, too: a job that runs once has nothing compiled yet.
        at_least(compared("quality", f"{job}: time above the start", "s", ours, _first(rounds, "Spark"), "PySpark as DQX, its first"), 10),
        at_least(compared("quality", f"{job}: time above the start", "s", ours, _best(rounds, "GX"), "Great Expectations, in memory"), 10),
        at_most(Line("quality", f"{job}: peak memory", memory, "MB"), _LIMIT_MB, of=memory, unit=" MB"),
    ]


def _best(rounds: Rounds, name: str, which: str = "seconds") -> list[float]:
    """Of each round the shortest call."""
    return [min(json.loads(usage.output.splitlines()[-1])[which]) for usage in rounds.taken[name]]


def _warm(rounds: Rounds) -> tuple[list[float], list[float]]:
    """Of each round the shortest call above the shortest of a few rows: ours and Spark's, each in a process that has done it before."""

    def told(name: str) -> list[dict[str, Any]]:
        return [json.loads(usage.output.splitlines()[-1]) for usage in rounds.taken[name]]

    ours = [min(many) - min(few) for few, many in (one["taken"] for one in told("ours again"))]
    return ours, [min(one["seconds"]) - min(one["few"]) for one in told("Spark")]


def _first(rounds: Rounds, name: str) -> list[float]:
    """Of each round the first call."""
    return [json.loads(usage.output.splitlines()[-1])["seconds"][0] for usage in rounds.taken[name]]


def _counts(output: str) -> dict[str, int]:
    """Rows that violate by rule, as a program tells them, or the record of a run of ours."""
    if not output.startswith("{\n"):
        counts: dict[str, int] = json.loads(output.splitlines()[-1])["counts"]
        return counts
    (transform,) = (step for step in json.loads(output)["steps"] if step["phase"] == "transform")
    return {rule["rule"]: rule["violated"] for rule in transform["transformations"][0]["rules"]}


def _expect(name: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise BenchmarkError(f"{name}: expected {expected}, found {found}")


class _Programs:
    """The commands of the contestants."""

    def __init__(self, settings: Settings, customers: Path, few: Path) -> None:
        self._python, self._customers, self._few = settings.peers_python, customers, few

    def alone(self, name: str) -> Program:
        """Over a table in memory."""
        python = self._python
        argv, environment = {
            "ours alone": ([sys.executable, "-m", "benchmarks.check"], {"PYTHONPATH": str(_ROOT)}),
            "Polars": ([python, str(_PEERS / "polars_check.py")], _ONE_THREAD),
            "GX": ([python, str(_PEERS / "gx_check.py")], {}),
        }[name]
        calls = str(_SLOW_CALLS if name == "GX" else _CALLS)
        return lambda source, place: Command([*argv, str(source), str(self._customers), calls], place, environment)

    def ours(self, source: Path, place: Path) -> Command:
        """The whole process."""
        return self._service(source, place).command()

    def again(self, source: Path, place: Path) -> Command:
        """A few rows, then all of them, each some times in one process."""
        services = [self._service(self._few, place / "few"), self._service(source, place)]
        argv = [sys.executable, "-m", "benchmarks.again", str(_SPARK_CALLS), *(str(one.folder) for one in services)]
        return Command(argv, place, {"PYTHONPATH": str(_ROOT)})

    def _service(self, source: Path, place: Path) -> OurService:
        reference = {"source": {"type": "file", "path": str(self._customers)}, "field": "id"}
        step = {"id": "check", "type": "validate", "rules": [*RULES[:-1], {**RULES[-1], "reference": reference}]}
        destination = {"type": "file", "path": str(place / "out"), "format": "parquet", "compression": "snappy"}
        service = OurService(place / "service", {"type": "file", "path": str(source)}, [step], destination, {})
        service.forget()
        return service

    def by_hand(self, source: Path, place: Path) -> Command:
        files = [str(one) for one in (source, self._customers, place / "out" / "good.parquet", place / "rejected.parquet")]
        return Command([sys.executable, str(_PEERS / "beam_check.py"), *files], place, {"PYTHONPATH": str(_ROOT)})

    def spark(self, source: Path, place: Path) -> Command:
        files = [str(one) for one in (source, self._few, self._customers, place / "out", place / "rejected")]
        return Command([self._python, str(_PEERS / "spark_check.py"), *files, str(_SPARK_CALLS)], place)


def _in_memory(name: str, folder: Path, source: Path, program: Program) -> Contestant:
    """One that tells what it found by its counts alone."""
    place = folder / name.replace(" ", "_")
    return Contestant(name, lambda: program(source, _emptied(place)), lambda: None)


def _to_files(name: str, folder: Path, source: Path, program: Program, expected: Wrong) -> Contestant:
    """One that writes the rows which go on."""
    place = folder / name.replace(" ", "_")

    def check() -> None:
        import duckdb

        files = sorted(str(path) for path in (place / "out").rglob("*.parquet"))
        with duckdb.connect() as connection:
            found = connection.execute(f"SELECT sum(id)::bigint FROM read_parquet({files!r})").fetchone() if files else None
        _expect(name, found, (expected.good,))

    return Contestant(name, lambda: program(source, _emptied(place)), check)


def _emptied(place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    (place / "out").mkdir(parents=True)
    return place
