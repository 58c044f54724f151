"""PostgreSQL to PostgreSQL, by key, with a filter and a 3-field map, against dlt, which moves the rows as they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import customers
from benchmarks.contest import Contestant, Rounds, hold
from benchmarks.process import Command, run
from benchmarks.result import Line, at_least, compared
from benchmarks.servers import Databases
from benchmarks.service import CLEAN, OurService
from benchmarks.settings import Settings

__all__ = ["changes", "cold", "defaults", "half"]

_DLT = Path(__file__).parent.parent / "peers" / "dlt_load.py"
_CHANGED = 1000
_STRATEGIES = {"dlt upsert": "upsert", "dlt delete-insert": "delete-insert"}
_TUNED = "dlt is tuned: connectorx, parquet through ADBC"


@dataclass(frozen=True)
class _Field:
    """Where the contestants of one case meet: a source, and for each a target that is put back from a template before each round."""

    settings: Settings
    databases: Databases
    folder: Path
    source: str

    def ours(self, name: str, template: str, expected: tuple[int, int], *, cursor: bool, warm: bool = False) -> Contestant:
        """Our service; its target's template is made by the caller."""
        service = self.our_service(name, cursor=cursor)
        if warm:
            self.databases.empty(template)
            self.databases.copy(template, name)
            service.forget()
            run(service.command())
            service.remember()
            self._keep(name, template)

        def prepare() -> Command:
            self.databases.copy(template, name)
            service.recall() if warm else service.forget()
            return service.command()

        return Contestant(name, prepare, lambda: self.databases.expect(name, "customers", expected, name))

    def our_service(self, name: str, *, cursor: bool) -> OurService:
        source = {
            "type": "database",
            "connection": "source",
            "table": "customers",
            **({"cursor": {"column": "updated_at"}} if cursor else {}),
        }
        target = {"type": "database", "connection": "target", "table": "customers", "mode": "upsert", "keyFields": ["id"]}
        urls = {"source": self.databases.url(self.source), "target": self.databases.url(name)}
        return OurService(self.folder / name, source, CLEAN, target, urls)

    def dlt(
        self,
        name: str,
        strategy: str,
        expected: tuple[int, int],
        *,
        before: str | None = None,
        index: bool = False,
        options: tuple[str, ...] = (),
    ) -> Contestant:
        """A dlt pipeline.

        Args:
            name: Of contestant and databases.
            strategy: Of dlt's merge.
            expected: Rows and checksum of the result.
            before: Source of the load that went before; None: there was none.
            index: With a unique index on the key, which dlt makes none of itself.
            options: Of `peers/dlt_load.py`.
        """
        database, template = _identifier(name), f"{_identifier(name)}_before"
        target, pipelines, kept = database, self.folder / database / "pipelines", self.folder / database / "kept"

        def command(source: str) -> Command:
            argv = [self.settings.peers_python, str(_DLT), "--source", self.databases.url(source), "--target", self.databases.url(target)]
            return Command([*argv, "--folder", str(pipelines), "--strategy", strategy, *options], pipelines)

        pipelines.mkdir(parents=True)
        self.databases.empty(template)
        if before is not None:
            self.databases.copy(template, target)
            run(command(before))
            if index:
                self.databases.run(target, "CREATE UNIQUE INDEX ON bench.customers (id)")
            self._keep(target, template, table="bench.customers")
        shutil.copytree(pipelines, kept)

        def prepare() -> Command:
            self.databases.copy(template, target)
            shutil.rmtree(pipelines)
            shutil.copytree(kept, pipelines)
            return command(self.source)

        return Contestant(name, prepare, lambda: self.databases.expect(target, "bench.customers", expected, name))

    def _keep(self, database: str, template: str, table: str = "customers") -> None:
        """Make a template of a database as it is, as autovacuum would have left it long after."""
        self.databases.run(database, f"VACUUM ANALYZE {table}")
        self.databases.copy(database, template)


def _identifier(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_")


@contextmanager
def _field(settings: Settings, databases: Databases, source: str) -> Iterator[_Field]:
    folder = settings.folder / source
    folder.mkdir()
    try:
        yield _Field(settings, databases, folder, source)
    finally:
        shutil.rmtree(folder)


def cold(settings: Settings, databases: Databases) -> list[Line]:
    """A first load into an empty table without index."""
    rows = settings.rows
    databases.create("source", customers.raw(1, rows), key=True)
    databases.create("ours_before")
    with _field(settings, databases, "source") as field:
        whole = databases.sums("source", ["TABLE customers"])
        contestants = [
            field.ours("ours", "ours_before", databases.sums("source", [customers.mapped("TABLE customers")]), cursor=True),
            *(field.dlt(name, strategy, whole) for name, strategy in _STRATEGIES.items()),
        ]
        rounds = hold(contestants, settings.rounds)
    job = f"cold load of {rows:,} rows, empty target without index"
    return [at_least(_seconds("cold", job, rounds, "ours", peer), 1.3) for peer in _STRATEGIES]


def half(settings: Settings, databases: Databases) -> list[Line]:
    """A load of which half the keys are there already, older; the target is as large as the load."""
    rows, shift = settings.rows, settings.rows // 2
    older = customers.older(shift + 1, rows + shift)
    databases.create("source", customers.raw(1, rows), key=True)
    databases.create("before", older, key=True)
    databases.create("plain_before", older)
    databases.create("keyed_before", older, key=True)
    with _field(settings, databases, "source") as field:
        # What the filter keeps out leaves the older rows as they are.
        kept = f"SELECT * FROM customers WHERE id > {rows} OR NOT {customers.ADULT}"
        mine = _sum(databases.sums("source", [customers.mapped("TABLE customers")]), databases.sums("before", [kept]))
        theirs = _sum(
            databases.sums("source", ["TABLE customers"]), databases.sums("before", [f"SELECT * FROM customers WHERE id > {rows}"])
        )
        contestants = [
            field.ours("plain", "plain_before", mine, cursor=False),
            field.ours("keyed", "keyed_before", mine, cursor=True),
            *(field.dlt(name, strategy, theirs, before="before") for name, strategy in _STRATEGIES.items()),
            field.dlt("dlt upsert indexed", "upsert", theirs, before="before", index=True),
        ]
        rounds = hold(contestants, settings.rounds)
    job = f"upsert of {rows:,} rows, half of them there"
    lines = [at_least(_seconds("half", f"{job}, no index, no guards", rounds, "plain", peer), 1.3) for peer in _STRATEGIES]
    guarded = f"{job}, ours with primary key and both guards"
    lines += [at_least(_seconds("half", f"{guarded}, dlt's target without index", rounds, "keyed", peer), 1.0) for peer in _STRATEGIES]
    lines.append(at_least(_seconds("half", f"{guarded}, dlt's target with unique index", rounds, "keyed", "dlt upsert indexed"), 1.15))
    return lines


def changes(settings: Settings, databases: Databases) -> list[Line]:
    """1,000 rows changed since the last run, found by `updated_at`."""
    rows = settings.rows
    databases.create("source", customers.raw(1, rows), key=True)
    with _field(settings, databases, "source") as field:
        step = max(1, rows // _CHANGED)
        change = f"UPDATE customers SET amount = amount + 0.5, updated_at = clock_timestamp() WHERE id % {step} = 0"
        databases.create("changed", customers.raw(1, rows), key=True)
        databases.run("changed", change, "VACUUM ANALYZE customers")
        expected, whole = databases.sums("changed", [customers.mapped("TABLE customers")]), databases.sums("changed", ["TABLE customers"])
        contestants = [
            field.ours("ours", "ours_before", expected, cursor=True, warm=True),
            *(field.dlt(name, strategy, whole, before="source", options=("--incremental",)) for name, strategy in _STRATEGIES.items()),
        ]
        # All have loaded the source as it was; now it changes under their feet.
        databases.copy("changed", "source")
        rounds = hold(contestants, settings.rounds)
    job = f"{_CHANGED:,} changes into {rows:,} rows, ours with primary key and both guards"
    return [at_least(_seconds("changes", job, rounds, "ours", peer), 1.5) for peer in _STRATEGIES]


def defaults(settings: Settings, databases: Databases) -> list[Line]:
    """A cold load, once, against dlt as it comes: rows through SQLAlchemy, INSERT statements."""
    rows = settings.rows
    databases.create("source", customers.raw(1, rows), key=True)
    databases.create("ours_before")
    with _field(settings, databases, "source") as field:
        contestants = [
            field.ours("ours", "ours_before", databases.sums("source", [customers.mapped("TABLE customers")]), cursor=True),
            field.dlt("dlt defaults", "delete-insert", databases.sums("source", ["TABLE customers"]), options=("--defaults",)),
        ]
        rounds = hold(contestants, 1)
    line = _seconds("defaults", f"cold load of {rows:,} rows, empty target without index, one run each", rounds, "ours", "dlt defaults")
    return [at_least(Line(**{**line.__dict__, "note": "dlt with its default back end, file format and merge"}), 8.0)]


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _seconds(case: str, job: str, rounds: Rounds, ours: str, peer: str) -> Line:
    return compared(case, job, "s", rounds.seconds(ours), rounds.seconds(peer), peer, note=_TUNED)
