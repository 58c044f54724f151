"""The ledger in the target: what was prepared, what committed, and the fence that lets only one commit of a generation through.

Two tables, and a third for streams. `_beam_pipelines_loads` has a row for each (service, load, run): window, status, counters.
`_beam_pipelines_heads` has one for each (service, load): generation, watermark, fingerprint; every commit moves the generation on by one
with a compare-and-set, so a run that was paused while its successor committed is refused, whatever it read. `_beam_pipelines_kept` has what
a commit of a stream leaves to those after it: the states of windows that are open, and rows that other sinks have not got yet.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Sequence

from beam_pipelines.columnar.packed import PIECE
from beam_pipelines.errors import FatalError, FencedError, TransientError
from beam_pipelines.io.connector import Kept, LedgerRow, Left, Standing
from beam_pipelines.io.sql.session import Session, quote
from beam_pipelines.runs.counts import LoadCounts
from beam_pipelines.runs.facts import OPEN
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.names import HEADS, KEPT, LEDGER
from beam_pipelines.runs.window import Window

__all__ = ["Ledger"]

# Reserved words of some database or other are quoted everywhere.
_LOAD, _PLAN, _SCHEMAS = '"load"', '"plan"', '"schemas"'
_NAMED = 400  # rows that a statement names
_PRUNED = 64  # commits between two looks for rows that are old
_COLUMNS = f"run, {_LOAD}, status, {_PLAN}, counts, prepared_at, ended_at"


class Ledger:
    """Statements on the two ledger tables; each method runs in the caller's transaction.

    Args:
        schema: Database schema that holds the tables, made with them where it is missing; None: the connection's default.
        text: Column type of long text (`TEXT` but for databases that have none).
        key: Column type of the key columns.
        short: The same, of those that are never longer than 64 characters: what all columns of a key have together is limited.
    """

    on_conflict = " ON CONFLICT DO NOTHING"
    at_once = 64  # rows that a statement inserts

    def __init__(self, schema: str | None = None, *, text: str = "TEXT", key: str = "TEXT", short: str = "TEXT") -> None:
        prefix = f"{quote(schema)}." if schema else ""
        self.loads, self.heads, self.kept_table = f"{prefix}{LEDGER}", f"{prefix}{HEADS}", f"{prefix}{KEPT}"
        self._schema, self._text, self._key, self._short = schema, text, key, short

    def create(self, tx: Session) -> None:
        """Create the tables where they are missing."""
        # PostgreSQL asks for the right to make a schema even IF it EXISTS.
        if self._schema and not tx.execute("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = ?", (self._schema,)).rows:
            tx.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(self._schema)}")
        for statement in self.statements("IF NOT EXISTS "):
            tx.execute(statement)

    def statements(self, condition: str = "") -> tuple[str, str]:
        """CREATE TABLE of loads and of heads."""
        return (
            f"CREATE TABLE {condition}{self.loads} (service {self._key} NOT NULL, {_LOAD} {self._key} NOT NULL,"
            f" run {self._key} NOT NULL, generation BIGINT NOT NULL, status {self._text} NOT NULL, store {self._text} NOT NULL,"
            f" {_PLAN} {self._text} NOT NULL, counts {self._text}, prepared_at {self._text} NOT NULL, ended_at {self._text},"
            f" PRIMARY KEY (service, {_LOAD}, run))",
            f"CREATE TABLE {condition}{self.heads} (service {self._key} NOT NULL, {_LOAD} {self._key} NOT NULL,"
            f" generation BIGINT NOT NULL, mark {self._text}, fingerprint {self._text} NOT NULL, run {self._text} NOT NULL,"
            f" {_SCHEMAS} {self._text} NOT NULL, updated_at {self._text} NOT NULL, PRIMARY KEY (service, {_LOAD}))",
        )

    def create_kept(self, tx: Session) -> None:
        """Create the table of what commits of streams leave to those after them, where it is missing."""
        tx.execute(self.kept_statement("IF NOT EXISTS "))

    def kept_statement(self, condition: str = "") -> str:
        """CREATE TABLE of what is kept; `content` is a text of `columnar.packed`, or a note.

        Tables of before had no primary key, and are used as they are.
        """
        return (
            f"CREATE TABLE {condition}{self.kept_table} (service {self._key} NOT NULL, {_LOAD} {self._key} NOT NULL,"
            f" run {self._short} NOT NULL, kind {self._short} NOT NULL, part BIGINT NOT NULL, generation BIGINT NOT NULL,"
            f" content {self._text} NOT NULL, PRIMARY KEY (service, {_LOAD}, kind, run, part))"
        )

    def keep(self, tx: Session, window: Window, kind: str, first: int, contents: Sequence[str]) -> None:
        """Keep what a commit leaves of a kind, in parts from number `first` on."""
        numbered = list(enumerate(contents, first))
        while numbered:
            some = _together(numbered[: self.at_once])
            values = ", ".join("(?, ?, ?, ?, ?, ?, ?)" for _ in some)
            tx.execute(
                f"INSERT INTO {self.kept_table} (service, {_LOAD}, run, kind, part, generation, content) VALUES {values}",
                [one for row in some for one in (window.service, window.load, window.run, kind, row[0], window.generation + 1, row[1])],
            )
            numbered = numbered[len(some) :]

    def kept_of(self, tx: Session, service: str, load: str, kind: str, known: Collection[tuple[str, int]] = ()) -> list[Kept]:
        """What is kept of a kind, in the order of the commits; without the contents of what is `known`.

        Raises:
            TransientError: Another execution commits at the same moment (`conflict`).
        """
        where, values = f"FROM {self.kept_table} WHERE service = ? AND {_LOAD} = ? AND kind = ?", (service, load, kind)
        if not known:
            found = tx.execute(f"SELECT run, part, content {where} ORDER BY generation, part", values)
            return [Kept(run, int(part), content) for run, part, content in found.rows]
        names = [(run, int(part)) for run, part in tx.execute(f"SELECT run, part {where} ORDER BY generation, part", values).rows]
        contents: dict[tuple[str, int], str] = {}
        runs = sorted({run for run, part in names if (run, part) not in known})
        for begin in range(0, len(runs), _NAMED):
            some = runs[begin : begin + _NAMED]
            marks = ", ".join("?" for _ in some)
            found = tx.execute(f"SELECT run, part, content {where} AND run IN ({marks})", (*values, *some))
            contents |= {(run, int(part)): content for run, part, content in found.rows}
        if any(name not in known and name not in contents for name in names):
            raise TransientError(f"another execution of {service!r} committed while what it keeps was read", code="conflict")
        return [Kept(*name, "" if name in known else contents[name]) for name in names]

    def left(self, tx: Session, service: str, load: str) -> list[Left]:
        """What is kept of all kinds, in the order of the commits, without contents."""
        found = tx.execute(
            f"SELECT run, kind, COUNT(*) FROM {self.kept_table} WHERE service = ? AND {_LOAD} = ?"
            " GROUP BY run, kind ORDER BY MIN(generation), run, kind",
            (service, load),
        )
        return [Left(run, kind, int(parts)) for run, kind, parts in found.rows]

    def kept_block(self, tx: Session, service: str, load: str, kind: str, run: str, part: int) -> str:
        """The content of one block.

        Raises:
            FatalError: It is not there.
        """
        found = tx.execute(
            f"SELECT content FROM {self.kept_table} WHERE service = ? AND {_LOAD} = ? AND kind = ? AND run = ? AND part = ?",
            (service, load, kind, run, part),
        )
        if len(found.rows) != 1:
            raise FatalError(
                f"expected block {part} of the {kind} rows of commit {run} in {self.kept_table}, found {len(found.rows)}: the target was"
                " restored or changed by hand",
                code="ledger-behind",
            )
        return str(found.rows[0][0])

    def forget_kept(self, tx: Session, service: str, load: str, kind: str, run: str | None = None) -> None:
        """Forget what is kept of a kind; `run`: by that commit alone."""
        where, values = f"service = ? AND {_LOAD} = ? AND kind = ?", (service, load, kind)
        if run is None:
            tx.execute(f"DELETE FROM {self.kept_table} WHERE {where}", values)
        else:
            tx.execute(f"DELETE FROM {self.kept_table} WHERE {where} AND run = ?", (*values, run))

    def forget_open(self, tx: Session, window: Window, stays: set[tuple[str, int]]) -> None:
        """Forget the states of open windows that commits before this one have kept, but for those that it keeps too.

        Args:
            tx: The transaction.
            window: Of the commit.
            stays: Run and part of each that stays.

        Raises:
            FatalError: One of them is not there.
        """
        where, values = f"service = ? AND {_LOAD} = ? AND kind = ?", (window.service, window.load, OPEN)
        found = tx.execute(f"SELECT run, part FROM {self.kept_table} WHERE {where} AND run <> ?", (*values, window.run)).rows
        there = {(run, int(part)) for run, part in found}
        if stays - there:
            raise FatalError(
                f"expected {len(stays)} blocks of the states of open windows in {self.kept_table} that were read before, found"
                f" {len(stays & there)}: the target was restored or changed by hand since; nothing is committed, run it again",
                code="ledger-behind",
            )
        gone: dict[str, list[int]] = {}
        for run, part in sorted(there - stays):
            gone.setdefault(run, []).append(part)
        for run, parts in gone.items():
            for begin in range(0, len(parts), _NAMED):
                some = parts[begin : begin + _NAMED]
                marks = ", ".join("?" for _ in some)
                tx.execute(f"DELETE FROM {self.kept_table} WHERE {where} AND run = ? AND part IN ({marks})", (*values, run, *some))

    def prune(self, tx: Session, window: Window, most: int) -> None:
        """Take rows of runs out of the ledger that ended long ago: a stream commits as often as once a second.

        Runs of the same state store alone, which has recorded them; now and then, for it looks at all rows of the load.
        """
        if window.generation % _PRUNED:
            return
        where = f"service = ? AND {_LOAD} = ?"
        mine = tx.execute(f"SELECT store FROM {self.loads} WHERE {where} AND run = ?", (window.service, window.load, window.run)).rows
        for (store,) in mine:
            tx.execute(
                f"DELETE FROM {self.loads} WHERE {where} AND store = ? AND generation < ?",
                (window.service, window.load, store, window.generation - most),
            )

    def standing(self, tx: Session, service: str, load: str) -> Standing:
        """The head of a load; zero when it never committed."""
        return self.heads_of(tx, service).get(load, Standing())

    def heads_of(self, tx: Session, service: str) -> dict[str, Standing]:
        """Every head of a service, by load."""
        found = tx.execute(
            f"SELECT {_LOAD}, generation, mark, fingerprint, run, {_SCHEMAS} FROM {self.heads} WHERE service = ? ORDER BY {_LOAD}",
            (service,),
        )
        return {
            load: Standing(generation, Mark.from_json(json.loads(mark)) if mark else None, fingerprint, run, json.loads(schemas))
            for load, generation, mark, fingerprint, run, schemas in found.rows
        }

    def insert(self, tx: Session, window: Window, store: str) -> None:
        """Insert the run's row and the load's head, each on conflict nothing: a retry of Prepare changes nothing."""
        self.insert_head(tx, window)
        self.insert_row(tx, window, store)

    def insert_head(self, tx: Session, window: Window) -> None:
        """Insert the load's head, where it is missing."""
        tx.execute(
            f"INSERT INTO {self.heads} (service, {_LOAD}, generation, mark, fingerprint, run, {_SCHEMAS}, updated_at)"
            f" VALUES (?, ?, 0, NULL, ?, ?, ?, ?){self.on_conflict}",
            (window.service, window.load, "", "", "{}", _now()),
        )

    def insert_row(self, tx: Session, window: Window, store: str) -> None:
        """Insert the run's row, where it is missing."""
        tx.execute(
            f"INSERT INTO {self.loads} (service, {_LOAD}, run, generation, status, store, {_PLAN}, prepared_at)"
            f" VALUES (?, ?, ?, ?, 'prepared', ?, ?, ?){self.on_conflict}",
            (window.service, window.load, window.run, window.generation, store, window.to_text(), _now()),
        )

    def row(self, tx: Session, service: str, load: str, run: str) -> LedgerRow | None:
        rows = [row for row in self.rows(tx, service, run) if row.load == load]
        return rows[0] if rows else None

    def rows(self, tx: Session, service: str, run: str) -> list[LedgerRow]:
        """The rows of a run, ordered by load."""
        found = tx.execute(f"SELECT {_COLUMNS} FROM {self.loads} WHERE service = ? AND run = ? ORDER BY {_LOAD}", (service, run))
        return [_row(*columns) for columns in found.rows]

    def committed(self, tx: Session, service: str, load: str, before: int, most: int) -> list[LedgerRow]:
        """The last runs of a load that committed before a generation, the last one first."""
        where = f"FROM {self.loads} WHERE service = ? AND {_LOAD} = ? AND status = 'committed' AND generation"
        # Not every database knows LIMIT, and the counts of all runs are many bytes.
        there = sorted((found for (found,) in tx.execute(f"SELECT generation {where} < ?", (service, load, before)).rows), reverse=True)
        if not there:
            return []
        least = there[min(most, len(there)) - 1]
        kept = tx.execute(f"SELECT {_COLUMNS}, generation {where} < ? AND generation >= ?", (service, load, before, least)).rows
        return [_row(*columns[:-1]) for columns in sorted(kept, key=lambda columns: -columns[-1])][:most]

    def claim(self, tx: Session, window: Window) -> LoadCounts | None:
        """Take the run's row for this commit; None when it is ours now, else the result of the commit that was there first.

        A second attempt waits here on the row, in databases that wait, and then reads the first one's result.

        Raises:
            FatalError: The ledger has no row of this run: the target was restored or changed by hand since Prepare.
        """
        key = (window.service, window.load, window.run)
        claimed = tx.execute(
            f"UPDATE {self.loads} SET status = 'committed', ended_at = ?"
            f" WHERE service = ? AND {_LOAD} = ? AND run = ? AND status = 'prepared'",
            (_now(), *key),
        )
        if claimed.count == 1:
            return None
        row = self.row(tx, *key)
        if row is not None and row.status == "lost":
            raise FencedError(
                f"run {window.run} was given up as lost while it was paused or cut off, and its record says so: it commits nothing;"
                " start a new one"
            )
        if row is None or row.counts is None:
            raise FatalError(
                f"expected the ledger row of run {window.run} in {self.loads}, found none: the target was restored or changed while the run"
                " was going; nothing is committed, run it again",
                code="ledger-behind",
            )
        return row.counts

    def give_up(self, tx: Session, service: str, run: str) -> None:
        """Mark what a dead run has not committed as lost: should it wake, it is refused, and the record stays true."""
        tx.execute(
            f"UPDATE {self.loads} SET status = 'lost', ended_at = ? WHERE service = ? AND run = ? AND status = 'prepared'",
            (_now(), service, run),
        )

    def give_up_all(self, tx: Session, service: str, store: str) -> None:
        """Mark what no run of a state store has committed as lost."""
        tx.execute(
            f"UPDATE {self.loads} SET status = 'lost', ended_at = ? WHERE service = ? AND store = ? AND status = 'prepared'",
            (_now(), service, store),
        )

    def fence(self, tx: Session, window: Window, mark: Mark | None) -> None:
        """Move the generation on by one, if it is still what Prepare saw, and store watermark, fingerprint and schemas.

        Raises:
            FencedError: Another run of the service committed first.
        """
        moved = tx.execute(
            f"UPDATE {self.heads} SET generation = ?, mark = ?, fingerprint = ?, run = ?, {_SCHEMAS} = ?, updated_at = ?"
            f" WHERE service = ? AND {_LOAD} = ? AND generation = ?",
            (
                window.generation + 1,
                json.dumps(mark.to_json()) if mark else None,
                window.fingerprint,
                window.run,
                json.dumps(window.schemas),
                _now(),
                window.service,
                window.load,
                window.generation,
            ),
        )
        if moved.count != 1:
            head = self.standing(tx, window.service, window.load)
            raise FencedError(
                f"run {window.run} of service {window.service!r} read {window.load!r} at generation {window.generation}, but run"
                f" {head.run or '(by hand)'} has committed generation {head.generation} since: this run commits nothing; start a new one"
            )

    def complete(self, tx: Session, window: Window, counts: LoadCounts, status: str = "committed") -> None:
        """Write the counters into the run's row, with its final status."""
        tx.execute(
            f"UPDATE {self.loads} SET counts = ?, status = ?, ended_at = ? WHERE service = ? AND {_LOAD} = ? AND run = ?",
            (json.dumps(counts.to_json()), status, _now(), window.service, window.load, window.run),
        )

    def forget_shown(self, tx: Session, window: Window) -> None:
        """Take what earlier runs show of rows out of their counts: it would stay for ever, and be read by each run that looks back.

        Runs of the same state store alone: before this one began they were recorded there, where what is shown is kept as long as is
        wanted. Of another store's runs nothing is known.
        """
        where = f"service = ? AND {_LOAD} = ?"
        found = tx.execute(
            f"SELECT run, counts FROM {self.loads} WHERE {where} AND run <> ? AND generation BETWEEN ? AND ? AND counts IS NOT NULL"
            f" AND store = (SELECT store FROM {self.loads} WHERE {where} AND run = ?)",
            (
                *(window.service, window.load, window.run, window.generation - 1, window.generation),
                *(window.service, window.load, window.run),
            ),
        )
        for run, text in found.rows:
            counts = json.loads(text)
            showing = [step for step in counts["tally"]["steps"] if step.get("profile") or step.get("examples", {}).get("told")]
            for step in showing:
                step.update(profile=(), examples={})
            if showing:
                key = (json.dumps(counts), window.service, window.load, run)
                tx.execute(f"UPDATE {self.loads} SET counts = ? WHERE {where} AND run = ?", key)

    def set_mark(self, tx: Session, service: str, load: str, mark: Mark | None, fingerprint: str | None) -> Standing:
        """Set or clear the watermark by hand; the generation moves on, so that a run in flight is fenced.

        Raises:
            FatalError: The load has never been prepared, so there is nothing to set.
        """
        moved = tx.execute(
            f"UPDATE {self.heads} SET generation = generation + 1, mark = ?, fingerprint = COALESCE(?, fingerprint), run = '',"
            f" updated_at = ? WHERE service = ? AND {_LOAD} = ?",
            (json.dumps(mark.to_json()) if mark else None, fingerprint, _now(), service, load),
        )
        if moved.count != 1:
            raise FatalError(f"the ledger knows no load {load!r} of service {service!r}: run the service once first", code="table-missing")
        return self.standing(tx, service, load)

    def living(self, tx: Session, service: str, store: str) -> tuple[set[str], set[str]]:
        """Runs of a service that may commit yet, and the names of what is staged that somebody may come for.

        A run has ended when each of its loads committed, failed or was overtaken, or when it belongs to the same state store: whoever
        asks holds that store's lease. Dead letters of runs of *other* stores are kept, and what is put aside for outputs, for their
        launcher has perhaps not taken them yet.
        """
        found = tx.execute(
            f"SELECT l.run, l.status, l.counts, h.generation - l.generation FROM {self.loads} l JOIN {self.heads} h"
            f" ON h.service = l.service AND h.{_LOAD} = l.{_LOAD} WHERE l.service = ? AND l.store <> ?",
            (service, store),
        )
        runs = {run for run, status, _, behind in found.rows if status == "prepared" and behind <= 0}
        return runs, {name for _, _, counts, _ in found.rows for name in _letters(counts)}

    def letters(self, tx: Session, service: str, run: str) -> set[str] | None:
        """Names of what is staged of a run, to be taken out, whose loads have all ended; None while one has not."""
        found = tx.execute(f"SELECT status, counts FROM {self.loads} WHERE service = ? AND run = ?", (service, run))
        if any(status == "prepared" for status, _ in found.rows):
            return None
        return {name for _, counts in found.rows for name in _letters(counts)}


def _row(run: str, load: str, status: str, plan: str, counts: str | None, prepared: str, ended: str | None) -> LedgerRow:
    known = LoadCounts.from_json(json.loads(counts)) if counts else None
    return LedgerRow(run, load, status, Window.from_text(plan), known, prepared, ended)


def _letters(counts: str | None) -> list[str]:
    return list(LoadCounts.from_json(json.loads(counts)).kept) if counts else []


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="microseconds")


def _together(numbered: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    """The first ones that one statement takes: one at least."""
    characters = 0
    for count, (_, content) in enumerate(numbered):
        characters += len(content)
        if count and characters > PIECE:
            return numbered[:count]
    return numbered
