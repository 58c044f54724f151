"""`python -m beam_pipelines.examples.demo`: type the bare command twice, then check by other means that its answers are true.

The service is run as a user runs it, in processes of its own. What is said about its rows is asked from the two databases by their own
clients, and from the files of dead letters.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["main"]

_HOME = Path("beam_pipelines_example")
_ETL = ["-m", "beam_pipelines.etl"]
_CLI = ["-c", "from beam_pipelines.cli.main import main; main()"]
_SERVICE = "customer_data_etl.yaml"


class _DemoError(Exception):
    """The demo cannot go on, or something it shows is not true."""


@dataclass(frozen=True)
class _Customers:
    """What CRM, warehouse and dead letters say of the customers, by id.

    Args:
        crm: When each was changed last, `YYYY-MM-DD HH:MM:SS`.
        warehouse: The same of the version that is loaded.
        dead: Id and stamp of the dead letters of all runs so far.
    """

    crm: dict[int, str]
    warehouse: dict[int, str]
    dead: set[tuple[int, str]]

    @classmethod
    def of(cls, folder: Path) -> _Customers:
        import duckdb

        with contextlib.closing(sqlite3.connect(folder / "crm.db")) as crm:
            there = dict(crm.execute("SELECT id, updated_at FROM customers").fetchall())
        with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
            loaded = dict(
                warehouse.execute("SELECT id, strftime(CAST(updated_at AS TIMESTAMP), '%Y-%m-%d %H:%M:%S') FROM customers").fetchall()
            )
        records = [letter["record"] for letter in _letters(folder)]
        return cls(there, loaded, {(record["id"], record["updated_at"].replace("T", " ")[:19]) for record in records})

    @property
    def current(self) -> int:
        """How many are in the warehouse as they are in the CRM."""
        return sum(self.warehouse.get(key) == stamp for key, stamp in self.crm.items())

    @property
    def lost(self) -> list[int]:
        """Ids that are neither in the warehouse as they are in the CRM, nor dead letters."""
        return [key for key, stamp in self.crm.items() if self.warehouse.get(key) != stamp and (key, stamp) not in self.dead]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code: 0 when all that it shows is true."""
    parser = argparse.ArgumentParser(prog="python -m beam_pipelines.examples.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dir", metavar="DIR", help=f"folder of its files, which must not be there yet; default: a new one in {_HOME}/")
    asked = parser.parse_args(argv)
    began = time.monotonic()
    folder = Path(asked.dir) if asked.dir else _new_folder()
    if folder.exists():
        parser.error(f"expected a folder that is not there yet, got {str(folder)!r}")
    try:
        _demo(folder)
    except _DemoError as failed:
        _say(f"\nthe demo has failed: {failed}; its files are in {folder}/")
        return 1
    _say(f"\nAll of this is in {folder}/, made in {time.monotonic() - began:.0f} s. Look around, or type the first command again.")
    return 0


def _demo(folder: Path) -> None:
    run = ["--runner=DirectRunner", "--example-dir", str(folder)]
    _title("1. The customer ETL of the package, first run: everything")
    _type(_ETL, run)
    first = _newest(folder)
    before = _Customers.of(folder)
    _explain(before, first)

    _title("2. The same command again: a day has passed in the CRM, and only what changed is read")
    _type(_ETL, run)
    second = _newest(folder)
    after = _Customers.of(folder)
    _explain(after, second)
    _compare(before, after, second)

    _title("3. Rows that failed, by reason, and one of them whole")
    _show_letters(folder)

    _title("4. Both runs, and where the next one goes on")
    _type(_CLI, ["runs", "--service", str(folder / _SERVICE)])
    _type(_CLI, ["state", "show", "--service", str(folder / _SERVICE)])


def _explain(customers: _Customers, record: dict[str, Any]) -> None:
    """Say what the two databases hold, and hold it against the record."""
    read, loaded = record["metrics"]["recordsExtracted"], record["metrics"]["recordsLoaded"]
    dead = record["metrics"]["recordsDeadLettered"]
    _say(f"\n  CRM        {len(customers.crm):>9,} customers")
    _say(f"  warehouse  {len(customers.warehouse):>9,} customers, {customers.current:,} of them as they are in the CRM now")
    _say(f"  this run   {read:>9,} read = {loaded:,} loaded + {dead:,} dead letters")
    _check(read == loaded + dead, f"{read} rows were read, but {loaded} + {dead} are accounted for")
    _check(not customers.lost, f"{len(customers.lost)} customers are neither in the warehouse as they are in the CRM nor dead letters")
    _check(set(customers.warehouse) <= set(customers.crm), "the warehouse has customers that the CRM has not")
    _say("  checked: every customer of the CRM is in the warehouse in its newest version, or in the dead letters with a reason")


def _compare(before: _Customers, after: _Customers, record: dict[str, Any]) -> None:
    """Hold what the second run read against what changed in the CRM."""
    fresh = set(after.crm) - set(before.crm)
    changed = {key for key, stamp in after.crm.items() if key in before.crm and before.crm[key] != stamp}
    _say(f"  changed in the CRM between the runs: {len(changed):,} customers, and {len(fresh):,} are new")
    read = record["metrics"]["recordsExtracted"]
    _check(read == len(fresh | changed), f"{len(fresh | changed)} customers changed or are new, but {read} were read")
    _say("  checked: the second run read exactly these")


def _show_letters(folder: Path) -> None:
    reasons = Counter((letter["step"], letter["code"], letter["error"].partition(" (")[0]) for letter in _letters(folder))
    for (step, code, reason), count in reasons.most_common():
        _say(f"  {count:>6,}  {step}: {code}: {reason}")
    service = str(folder / _SERVICE)
    _type(_CLI, ["dead-letters", "show", "--service", service, "--limit", "1"])


def _letters(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted((folder / ".beam_pipelines" / "dead-letters").rglob("*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _newest(folder: Path) -> dict[str, Any]:
    command = [sys.executable, *_CLI, "runs", "--service", str(folder / _SERVICE), "--limit", "1", "--output", "json"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if answer.returncode:
        raise _DemoError(f"beam-pipelines runs ended with {answer.returncode}")
    record: dict[str, Any] = json.loads(answer.stdout)[0]
    return record


def _type(program: Sequence[str], words: Sequence[str]) -> None:
    """Run a command as it is shown; its answer goes where ours goes."""
    shown = ["beam-pipelines"] if program is _CLI else ["python", *program]
    _say(f"\n$ {shlex.join([*shown, *words])}\n")
    done = subprocess.run([sys.executable, *program, *words], check=False)
    if done.returncode:
        raise _DemoError(f"the command ended with {done.returncode}")


def _check(true: bool, otherwise: str) -> None:
    if not true:
        raise _DemoError(otherwise)


def _new_folder() -> Path:
    """A name that is free: what an earlier demo left may have been edited since."""
    number = 1
    while (folder := _HOME / ("demo" if number == 1 else f"demo-{number}")).exists():
        number += 1
    return folder


def _title(text: str) -> None:
    _say(f"\n{text}\n{'=' * len(text)}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
