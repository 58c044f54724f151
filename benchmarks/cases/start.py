"""What a run costs that has next to nothing to do: an increment of PostgreSQL against Beam alone; and the command's help."""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path

from benchmarks import customers
from benchmarks.contest import Contestant, hold
from benchmarks.process import Command, run
from benchmarks.result import Line, at_most, compared
from benchmarks.servers import Databases
from benchmarks.service import CLEAN, OurService
from benchmarks.settings import Settings

__all__ = ["fixed", "help_time"]

_EMPTY = Path(__file__).parent.parent / "peers" / "empty_beam.py"
_CHANGED = 1000
_TABLE = 100_000  # rows of the table that the increment is of


def fixed(settings: Settings, databases: Databases) -> list[Line]:
    """An increment of nothing and one of 1,000 rows, against a process that imports Beam and runs an empty pipeline; both leave alike."""
    folder = settings.folder / "fixed"
    databases.create("idle", customers.raw(1, _TABLE), key=True)
    databases.create("busy", customers.raw(1, _TABLE), key=True)
    contestants = []
    for name in ("idle", "busy"):
        target = f"{name}_target"
        databases.empty(target)
        source = {"type": "database", "connection": "source", "table": "customers", "cursor": {"column": "updated_at"}}
        destination = {"type": "database", "connection": "target", "table": "customers", "mode": "upsert", "keyFields": ["id"]}
        urls = {"source": databases.url(name), "target": databases.url(target)}
        service = OurService(folder / name, source, CLEAN, destination, urls)
        service.forget()
        run(service.command())
        contestants.append(_increment(databases, name, target, service))
    contestants.append(Contestant("an empty Beam pipeline", lambda: Command([sys.executable, str(_EMPTY)], folder), lambda: None))
    try:
        rounds = hold(contestants, settings.rounds)
    finally:
        shutil.rmtree(folder)
    peer = "an empty Beam pipeline"
    jobs = {"idle": "PostgreSQL increment without a change", "busy": f"PostgreSQL increment of {_CHANGED:,} changes"}
    return [
        at_most(compared("fixed", f"{job}, whole process", "s", rounds.seconds(name), rounds.seconds(peer), peer, cost=True), 1.5)
        for name, job in jobs.items()
    ]


def _increment(databases: Databases, source: str, target: str, service: OurService) -> Contestant:
    """Change rows of the source (none of `idle`) and let the service pick them up."""

    def prepare() -> Command:
        if source == "busy":
            change = f"UPDATE customers SET amount = amount + 0.5, updated_at = clock_timestamp() WHERE id % {_TABLE // _CHANGED} = 0"
            databases.run(source, change)
        return service.command()

    def check() -> None:
        databases.expect(target, "customers", databases.sums(source, [customers.mapped("TABLE customers")]), source)

    return Contestant(source, prepare, check)


def help_time(settings: Settings) -> list[Line]:
    """The help of the command."""
    argv = [sys.executable, "-m", "beam_pipelines.etl", "--help"]
    taken = [run(Command(argv, settings.folder)).seconds for _ in range(settings.rounds)]
    median = statistics.median(taken)
    return [at_most(Line("help", "python -m beam_pipelines.etl --help", median, "s"), 1.0, of=median, unit=" s")]
