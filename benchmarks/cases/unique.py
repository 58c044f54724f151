"""What it costs that a value occurs once: rows without an end against rows that are all there, by the same transform on one runner.

Both read the same bounded file. What differs is the way through the transform: of the one, shards tell of all rows together when the last
has come; of the other, they answer each batch as it arrives, from the keys that they keep in Beam's state and look up for each block. A
stream that really has no end adds what its source and its runner cost.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from benchmarks.contest import Contestant, Rounds, hold
from benchmarks.process import BenchmarkError, Command
from benchmarks.result import Line, at_least, compared
from benchmarks.settings import Settings
from benchmarks.signups import write_signups, wrong

__all__ = ["unique"]

_ROOT = Path(__file__).parent.parent.parent
_FEW = 10
_WAYS = ("remembered", "together")


def unique(settings: Settings) -> list[Line]:
    """Find the e-mails that occur again among 1,000,000, both ways."""
    folder = settings.folder / "unique"
    folder.mkdir()
    try:
        sources = {rows: folder / f"signups_{rows}.parquet" for rows in (_FEW, settings.rows)}
        for rows, path in sources.items():
            write_signups(path, rows)
        rounds = hold([_contestant(way, rows, path, folder) for way in _WAYS for rows, path in sources.items()], settings.rounds)
        for rows, path in sources.items():
            again = wrong(path).rows["unique"]
            for way in _WAYS:
                for usage in rounds.taken[f"{way} {rows}"]:
                    _expect(way, json.loads(usage.output.splitlines()[-1]), {"rows": rows, "violated": again, "rejected": again})
        return _lines(rounds, settings.rows)
    finally:
        shutil.rmtree(folder)


def _contestant(way: str, rows: int, source: Path, folder: Path) -> Contestant:
    command = Command([sys.executable, "-m", "benchmarks.unique", str(source), way], folder, {"PYTHONPATH": str(_ROOT)})
    return Contestant(f"{way} {rows}", lambda: command, lambda: None)


def _lines(rounds: Rounds, rows: int) -> list[Line]:
    job = f"uniqueness of an e-mail over {rows:,} rows on Beam, each batch answered as it arrives"
    row = {
        way: [
            max(whole - few, 1e-3) * 1e6 / rows for whole, few in zip(rounds.cpu(f"{way} {rows}"), rounds.cpu(f"{way} {_FEW}"), strict=True)
        ]
        for way in _WAYS
    }
    memory = rounds.peak_bytes(f"remembered {rows}") / 1e6
    return [
        at_least(
            compared(
                "unique",
                f"{job}: processor time of one more row",
                "us/row",
                row["remembered"],
                row["together"],
                "ours, all rows together",
                note="the way of rows without an end, over a bounded file",
            ),
            0.2,
        ),
        Line("unique", f"{job}: peak memory", memory, "MB"),
    ]


def _expect(name: str, found: object, expected: object) -> None:
    if found != expected:
        raise BenchmarkError(f"{name}: expected {expected}, found {found}")
