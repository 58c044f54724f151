"""What every connector gives: a `Source` that reads windows by ranges, a `Target` that stages by attempt and commits once.

Sources and targets are opened in the worker (`open_source`, `open_target` in `beam_pipelines.io.registry`), used by one thread at a
time, and closed. They hold clients and secrets, so they are never pickled. All times are aware UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from beam_pipelines.errors import Code
from beam_pipelines.runs.balance import Budget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import LoadCounts, Tally
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.held import Held
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.threshold import Threshold
from beam_pipelines.runs.window import Range, Window

__all__ = [
    "CursorSpec",
    "Described",
    "Fixed",
    "Kept",
    "LedgerRow",
    "Left",
    "Policy",
    "SizedStager",
    "Source",
    "SourceTraits",
    "Stager",
    "Standing",
    "Target",
    "TargetTraits",
    "Topic",
    "Unread",
]


@dataclass(frozen=True)
class CursorSpec:
    """How new rows are told from old ones, after defaults (contracts, section 6).

    Args:
        column: Column of the source.
        kind: `timestamp`, `sequence` or `date`.
        stamped_by: `database` or `client`.
        overlap: Seconds (timestamp, date) or units (sequence) re-read below the watermark on each run; 0: none.
        max_lag: Seconds that the ceiling may be behind the clock before somebody is told; None: the default.
    """

    column: str
    kind: str = "timestamp"
    stamped_by: str = "database"
    overlap: float = 0.0
    max_lag: float | None = None


@dataclass(frozen=True)
class Described:
    """What the catalog says of a table or query, without reading its rows.

    Args:
        schema: Arrow schema of the rows, in the source's order.
        primary_key: Columns of its primary key, empty when there is none or it is unknown.
        rows: Estimated rows, None when unknown.
        bytes: Estimated bytes, None when unknown.
        generated: Columns that the database always computes itself, and takes from nobody (of targets).
    """

    schema: pa.Schema
    primary_key: tuple[str, ...] = ()
    rows: int | None = None
    bytes: int | None = None
    generated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fixed:
    """Bounds of a window as the source fixed them.

    Args:
        ceiling: Rows at or above it (above it, if `inclusive`) are left for the next run; None: no bound.
        inclusive: The ceiling itself is read (sequences: the noted maximum).
        ranges: Parts of the window, together exactly the rows between low and ceiling; one at least, even for an empty window.
        snapshot: Token of one snapshot for all ranges, None: each range reads its own.
        by: How the ceiling was found, in words.
        held: What holds the ceiling back for too long, None: nothing does.
    """

    ceiling: Mark | None
    inclusive: bool
    ranges: tuple[Range, ...]
    snapshot: str | None = None
    by: str = ""
    held: Held | None = None


@dataclass(frozen=True)
class SourceTraits:
    """What a source can promise; the guarantee is derived from it.

    Args:
        system: `postgresql`, `sqlite`, `duckdb`, `parquet`, or the SQLAlchemy dialect's name.
        incremental: The source understands cursors.
        safe_ceiling: A timestamp stamped by the database can be read without losing rows that commit late.
        snapshot: All ranges can be read from one snapshot on a local run.
        assumptions: Each thing the promise rests on, in words.
        columnar: Columns are stored apart, so that only those need be read that the steps use.
        counts_late: Where a file is read in parts, numbers of rows and lines are known when all were read (`columnar.numbering`).
    """

    system: str
    incremental: bool = True
    safe_ceiling: bool = False
    snapshot: bool = False
    assumptions: tuple[str, ...] = ()
    columnar: bool = False
    counts_late: bool = False


@dataclass(frozen=True)
class Unread:
    """Rows of a range that cannot be rows of the planned schema: they count as read, and become dead letters.

    Args:
        batch: What is known of them, in any columns, with origin columns.
        codes: One a row.
        messages: One a row, without values of it.
    """

    batch: pa.RecordBatch
    codes: Sequence[Code]
    messages: Sequence[str]


class Source(Protocol):
    """One connection to what a definition's `source` names.

    Constructors take the source's model from `beam_pipelines.spec`, the connection, and the definition's folder for relative paths.
    """

    traits: SourceTraits
    cursor: CursorSpec | None  # as the definition gives it, after defaults; None: every run reads everything

    def identity(self, table: str) -> str:
        """What is read, normalised, for the fingerprint: table or query, and the cursor's column."""

    def tables(self) -> list[str]:
        """Names of what is read: the table, the files' path, `query`; with `tables: [crm.*]` each table that matches now, sorted.

        Raises:
            PlanError: A pattern matches nothing.
        """

    def describe(self, table: str) -> Described:
        """Ask the catalog (or plan the query with no rows) for schema and key.

        Raises:
            PlanError: No such table or column; names the nearest ones.
        """

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:
        """Fix ceiling, snapshot and ranges; runs once a load, in Prepare. `parts` is the number of ranges wanted.

        The window of an incremental read is `low < cursor < ceiling` (`<=` where `inclusive`, here of `low`), rows with a null cursor
        excluded, and counted by nobody: the guarantee says so. Overlap has been taken off `low` by the caller.
        """

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch | Unread]:
        """Yield the rows of one range, in an order that a second read repeats, in batches within `columnar.size`, with origin columns.

        Batches have the columns of `window.schema()` but perhaps the database's own types: the caller casts them and splits off rows
        that will not cast. A column of the planned schema that is gone is a FatalError `schema-changed`; a new one is not selected.
        """

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        """At most `limit` rows with origin columns, for previews and for the schema of functions."""

    def check(self) -> str:
        """Connect, and say in one line what answered (`PostgreSQL 18.4, database crm, 12 tables`)."""

    def close(self) -> None:
        """Let go of connections; may be called twice."""


class Topic(Source, Protocol):
    """A source without an end: partitions of messages, read from offset to offset."""

    def declared_schema(self) -> pa.Schema | None:
        """The columns, where no message and no server is needed to tell them."""

    def ends(self) -> dict[int, int]:
        """Of each partition that is there now, the offset behind its last message.

        Raises:
            TransientError: The brokers are away.
        """

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Tell whoever shows the lag of the service which offset of each partition it reads next; never fails, and is not waited for."""

    def position(self, part: Range) -> Mark:
        """How far a range is read, once `read` has given all of it: `runs.offsets.Offsets` of its partition."""


@dataclass(frozen=True)
class Policy:
    """How rows go into the target: the definition's `destination` after defaults.

    Args:
        mode: `insert`, `upsert` or `replace`.
        whole: Replace the whole table (mode `replace` without keys, or a full refresh of an insert service).
        stop: The load fails when the target refuses a row; else the row becomes a dead letter.
        evolve: Columns that are new are added to the target; else refused.
        swap: Whole-table replace by renaming a new table (`strategy: swap`).
        allow_empty: An empty source may empty the table.
        by_file: The rows of each file read go to a file of their own, in the place of what an earlier run made of it.
        refresh: Of such a service: every file is read again, so what other files hold of them goes.
        shard_size: Bytes of each file that is written, about; None: of each what was staged together, or what was read of one.
        batch_size: Rows a statement writes where rows are written one by one (portable databases).
        budget: How many dead rows the run may have.
        thresholds: How many rows may violate each rule that says so.
    """

    mode: str = "insert"
    whole: bool = False
    stop: bool = True
    evolve: bool = True
    swap: bool = False
    allow_empty: bool = False
    by_file: bool = False
    refresh: bool = False
    shard_size: int | None = None
    batch_size: int = 1000
    budget: Budget = field(default_factory=Budget)
    thresholds: tuple[Threshold, ...] = ()

    def verdict(self, tally: Tally, dead: int) -> Verdict:
        """Judge a load by the error budget and the thresholds of its rules.

        Args:
            tally: All facts of the load.
            dead: Rows that died, those included that the target refused.
        """
        # A rule that cannot be held against a row is an error, though the row is told as rejected.
        exceeded = self.budget.exceeded(tally.budgeted, dead + tally.rule_errors - tally.no_account[1] - tally.late)
        if exceeded and self.budget.fail:
            return Verdict("budget-exceeded", f"{exceeded}; nothing is loaded, see the dead letters of this run")
        warnings = [exceeded] if exceeded else []
        if tally.files and all(file.error for file in tally.files):
            warnings.append(f"none of the {len(tally.files)} new files can be read, see the dead letters of this run")
        broken = list(self._broken(tally))
        warnings += [said for severity, said in broken if severity == "warning"]
        if any(severity == "error" for severity, _ in broken):
            told = [said for severity, said in broken if severity == "error"]
            return Verdict("rule-broken", "; ".join([*told, "nothing is loaded", *(f"a warning: {said}" for said in warnings)]))
        return Verdict(None, "; ".join(warnings))

    def _broken(self, tally: Tally) -> Iterator[tuple[str, str]]:
        """Severity and words of each rule that does not hold as a whole."""
        for limit in self.thresholds:
            passed = limit.passed(*tally.judged(limit.step, limit.rule))
            if passed:
                yield limit.severity, passed
        for step in tally.steps:
            for rule, said in step.verdicts.items():
                if said["holds"] is False:
                    yield said["severity"], f"the rule {rule!r} does not hold: {said['message']}, got {said['measured']}"


@dataclass(frozen=True)
class Verdict:
    """What is said of a load before its rows are merged.

    Args:
        fails: The load fails, with this code; None: it does not.
        message: Why; of a load that does not fail what it is warned of, else nothing.
    """

    fails: Code | None
    message: str


@dataclass(frozen=True)
class Standing:
    """What the ledger says of a load now.

    Args:
        generation: Commits so far.
        mark: The watermark, None when nothing was committed or the load has no cursor.
        fingerprint: That the mark belongs to, empty at first.
        run: The run that committed last, empty at first.
        schemas: Planned schemas of the last commit, by step id, as `schema_to_text` writes them; what else Prepare compares, by a sign.
    """

    generation: int = 0
    mark: Mark | None = None
    fingerprint: str = ""
    run: str = ""
    schemas: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LedgerRow:
    """One run of one load, as the target's ledger keeps it.

    Args:
        status: `prepared`, `committed`, `failed` (judged in Commit, nothing loaded) or `lost` (given up by a later run).
        counts: None while prepared.
        window: What it read.
        prepared_at: ISO 8601 UTC.
        ended_at: ISO 8601 UTC, None while prepared.
    """

    run: str
    load: str
    status: str
    window: Window
    counts: LoadCounts | None
    prepared_at: str
    ended_at: str | None


@dataclass(frozen=True)
class Kept:
    """A block of what a commit of a stream leaves to those after it.

    Args:
        run: Whose commit.
        part: Position among its blocks of the kind.
        content: A batch of Arrow IPC, in base64; empty where it was not asked for.
    """

    run: str
    part: int
    content: str


@dataclass(frozen=True)
class Left:
    """That a commit of a stream left something to those after it.

    Args:
        run: Whose commit.
        kind: What: one of `runs.facts.KEPT`, or a note of whom that is for (`runs.window.Window.waits`).
        parts: How many blocks.
    """

    run: str
    kind: str
    parts: int


@dataclass(frozen=True)
class TargetTraits:
    """What a target can promise.

    Args:
        system: `postgresql`, `sqlite`, `duckdb`, `parquet`, or the SQLAlchemy dialect's name.
        transactional: Rows, ledger and watermark are committed in one transaction of the target.
        local: A file of this machine: refused on runners whose workers are elsewhere.
        folds_case: Column names that differ only in case are the same to it.
        modes: Modes it serves.
        longest_name: Bytes of the longest name of a table that it keeps whole, None: no limit.
        swaps: A whole table can be replaced by a new one that is renamed into place.
        keeps: Rows are kept; else they are only counted.
        in_process: It works in this process, and wants much memory: what batches have left behind is given back before a commit. Any other
            process keeps it for its next run, for what is given back is asked for again page by page: 0.1 s of processor time of 1,000,000
            rows from Parquet to Parquet.
    """

    system: str
    transactional: bool = True
    local: bool = False
    folds_case: bool = False
    modes: tuple[str, ...] = ("insert", "upsert", "replace")
    longest_name: int | None = None
    swaps: bool = False
    keeps: bool = True
    in_process: bool = False


class Stager(Protocol):
    """One staging object being written: rows of one attempt of one bundle."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch (visible columns only, already of the stager's schema).

        Raises:
            DataError: A row cannot be stored by this target (`details: {"rows": [positions in the batch]}`): nothing of the batch
                was written.
            FatalError: Staging failed (disk full, ...): nothing of the attempt counts.
        """

    def finish(self) -> Staged:
        """Make it durable and closed; only now may a manifest name it."""

    def abort(self) -> None:
        """Drop it; never raises."""


class SizedStager(Stager, Protocol):
    """A staging object that becomes a file."""

    def full(self, most: int) -> bool:
        """Whether the file has about so many bytes by now."""


class Target(Protocol):
    """One connection to what a definition's `destination` names."""

    traits: TargetTraits
    place: str  # where the ledger is, without secrets; of files, whose ledger is in the state store, their folder

    def describe(self, table: str) -> Described | None:
        """Schema and primary key of the target table; None when there is none."""

    def obstacles(self, table: str) -> list[str]:
        """What hangs on a table and would not follow when another takes its place (`the view 'sales'`); empty where none is there."""

    def stored(self, schema: pa.Schema) -> pa.Schema:
        """The schema that rows are cast to before they are staged: what the target keeps of each type.

        Raises:
            PlanError: The target has nothing that keeps a type whole.
        """

    def standing(self, service: str, load: str) -> Standing:
        """Read the head of a load from the ledger; creates nothing: a target without a ledger stands at zero."""

    def prepare(self, window: Window, context: RunContext) -> Window:
        """Insert the run's ledger row, on conflict nothing, and give back what stands; sweep what ended runs left in staging.

        Swept are, of this service: staging of runs that committed or failed, of runs whose generation was overtaken, and of other runs
        of the same state store (`context.store`: this run holds their lease). Staged dead letters of runs in `keep` are left.
        """

    def stager(self, name: str, schema: pa.Schema, order: int) -> Stager:
        """Begin a staging object."""

    def commit(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> LoadCounts:
        """Commit a load, once: claim, fence, count check, merge, judge, watermark and counters in one transaction.

        Called again for a run that is done, it gives back what the ledger holds. When the judgement fails the load (error budget, refused
        row with `stop`, empty source), nothing is loaded, the ledger row becomes `failed`, and its counts carry the reason.

        Raises:
            FencedError: Another run committed since this one was prepared.
            TransientError: The target is away or busy beyond the retries.
        """

    def row(self, service: str, load: str, run: str) -> LedgerRow | None:
        """One ledger row."""

    def rows(self, service: str, run: str) -> list[LedgerRow]:
        """The ledger rows of a run, one a load, ordered by load."""

    def committed(self, service: str, load: str, before: int, most: int) -> list[LedgerRow]:
        """The last runs of a load that committed, the last one first.

        Args:
            service: Service id.
            load: Ledger key of the load.
            before: Generation of a run, as its Prepare saw it: only what committed before it, so that a second attempt of its Commit finds
                the same.
            most: How many. There are fewer where the ledger is young or was pruned.
        """

    def kept(self, service: str, load: str, kind: str, known: Collection[tuple[str, int]] = ()) -> list[Kept]:
        """What commits of a stream left of a kind (`runs.facts.KEPT`), in their order.

        Args:
            service: Service id.
            load: Ledger key of the load.
            kind: Of what is kept.
            known: Run and part of blocks whose content is not asked for.
        """

    def left(self, service: str, load: str) -> list[Left]:
        """What there is of all kinds, in the order of the commits, without contents."""

    def kept_block(self, service: str, load: str, kind: str, run: str, part: int) -> str:
        """The content of one block.

        Raises:
            FatalError: It is not there.
        """

    def forget_kept(self, service: str, load: str, kind: str, run: str) -> None:
        """Forget what a commit left of a kind: it is where it was to go. Safe to repeat."""

    def give_up(self, service: str, run: str) -> list[LedgerRow]:
        """Mark what a dead run has not committed as `lost`, so that it is refused should it wake; give back its rows."""

    def give_up_all(self, service: str, store: str) -> None:
        """The same of every run of a state store, by its id; for who holds the lease of the service there."""

    def set_mark(self, service: str, load: str, mark: Mark | None, fingerprint: str | None) -> Standing:
        """Set or clear (None) the watermark by hand, moving the generation on by one, so that a run in flight is fenced."""

    def heads(self, service: str) -> dict[str, Standing]:
        """Every load of a service, by ledger key."""

    def read_staged(self, staged: Staged) -> Iterable[pa.RecordBatch]:
        """Rows of a closed staging object (dead letters, on their way out)."""

    def staging(self, service: str) -> list[str]:
        """Names of all staging objects of a service, finished or not."""

    def drop_staged(self, names: Sequence[str]) -> None:
        """Drop staging objects that are there; never fails for one that is not."""

    def check(self) -> str:
        """Connect, and say in one line what answered."""

    def close(self) -> None:
        """Let go of connections; may be called twice."""
