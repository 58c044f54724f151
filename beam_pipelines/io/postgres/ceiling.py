"""How far an increment may read without losing rows that commit late (contracts, section 6).

A row is stamped when its transaction begins (`now()`) or later, and is seen when it commits. So a stamp below the start of the oldest
transaction that is still open can never appear any more: that is the ceiling. The order of the steps matters:

1. note the server's clock;
2. let `SETTLE_SECONDS` pass: a backend takes the time of its transaction a moment before it shows it to others;
3. look for open transactions, then for prepared ones (one that is prepared in between is seen in at least one place);
4. only then take the snapshot that is read: what was not seen open had ended, and what had ended is in the snapshot.

Numbers from a sequence commit out of order too, but say nothing of time: the greatest number is noted, and every transaction open then is
waited for. So are they where this user may not see when other users' transactions began.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_pipelines.errors import PlanError, TransientError
from beam_pipelines.io.connector import CursorSpec
from beam_pipelines.io.postgres import snapshot
from beam_pipelines.runs.held import MAX_LAG_SECONDS, Held
from beam_pipelines.runs.mark import Mark

if TYPE_CHECKING:
    import psycopg

__all__ = ["Ceiling", "CeilingFinder", "Clock"]

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.05  # between taking a transaction's time and showing it a backend runs microseconds; 50 ms outlasts a preempted one
FRESH_SECONDS = 5.0  # rows stamped since the clock was noted wait for the next run
WAIT_SECONDS = 30.0  # for open transactions where they must be waited for; longer ones are somebody's mistake, and named
PREPARED_WAIT_SECONDS = 2.0  # two-phase commits stay prepared for milliseconds, unless their coordinator died
PREPARED_LASTED = dt.timedelta(
    days=1
)  # a prepared transaction does not tell when it began: it is taken to have begun at most so long before
_LOOK_AHEAD = dt.timedelta(hours=3)  # no zone puts its clocks back by more
_EPOCH = dt.datetime(1970, 1, 1)
# Processes that write no rows of their own, by pg_stat_activity.backend_type. Others count, also types that are not known yet.
_HARMLESS = (
    "archiver",
    "autovacuum launcher",
    "autovacuum worker",
    "background writer",
    "checkpointer",
    "io worker",
    "logical replication launcher",
    "parallel worker",
    "slotsync worker",
    "startup",
    "walreceiver",
    "walsummarizer",
    "walwriter",
)
_MICROSECONDS = "(extract(epoch FROM {}) * 1000000)::bigint"

_CLOCK = f"""
SELECT {_MICROSECONDS.format("clock_timestamp()")}, pg_is_in_recovery(), pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
"""
# A client that runs a statement but shows no transaction yet (or no more) counts from the statement's start.
_OPEN = f"""
SELECT pid, application_name, state, {_MICROSECONDS.format("coalesce(xact_start, query_start)")} AS began
FROM pg_stat_activity
WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND pid <> pg_backend_pid() AND pid <> ALL (%s) AND backend_type <> ALL (%s)
  AND (xact_start IS NOT NULL OR (state = 'active' AND backend_type = 'client backend') OR state = 'disabled')
ORDER BY state = 'disabled' DESC, began LIMIT 1
"""
_PREPARED = f"""
SELECT gid, transaction::text, {_MICROSECONDS.format("prepared")}
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared
"""
# Without the privilege, type and user of others' processes are null: those of autovacuum have no user.
_HOLDERS = """
SELECT l.virtualxid, a.pid, a.application_name
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'virtualxid' AND l.granted AND a.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND a.pid <> pg_backend_pid() AND a.pid <> ALL (%s) AND coalesce(a.backend_type <> ALL (%s), a.usesysid IS NOT NULL)
"""
_STILL = """
SELECT l.virtualxid, a.pid, a.application_name FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'virtualxid' AND l.granted AND l.virtualxid = ANY (%s)
"""
# Where clocks are put back, an hour comes twice: what is stamped without a zone may fall to the least local time that is still to come.
_LOCAL = """
SELECT min(moment AT TIME ZONE current_setting('TimeZone'))
FROM (SELECT %(at)s::timestamptz AS moment
      UNION ALL SELECT generate_series(date_trunc('hour', %(at)s::timestamptz), %(at)s::timestamptz + %(ahead)s, '15 minutes')) moments
WHERE moment >= %(at)s::timestamptz
"""


@dataclass(frozen=True)
class Ceiling:
    """The bound of a window.

    Args:
        mark: Rows below it are read; None: there is nothing to read.
        inclusive: The mark itself is read.
        by: How it was found, in words.
        held: What holds it back for too long, None: nothing does.
    """

    mark: Mark | None
    inclusive: bool
    by: str
    held: Held | None = None


@dataclass(frozen=True)
class Clock:
    """What the server said when the search for a ceiling began.

    Args:
        at: Its clock, microseconds since 1970, UTC.
        noted: `time.monotonic()` here.
        replica: It is a standby.
        sees_all: This user may see other users' transactions.
    """

    at: int
    noted: float
    replica: bool
    sees_all: bool

    @classmethod
    def note(cls, connection: psycopg.Connection[Any]) -> Clock:
        """Ask the server now."""
        row = _row(connection, _CLOCK)
        return cls(int(row[0]), time.monotonic(), bool(row[1]), bool(row[2]))

    @property
    def fresh(self) -> bool:
        """A ceiling below it leaves nothing unread that anybody would miss."""
        return time.monotonic() - self.noted < FRESH_SECONDS


class CeilingFinder:
    """Finds the ceiling of one window.

    Args:
        connection: In autocommit.
        clock: As it was noted before, so that other work fills the time until it has settled; None: it is noted now.
        wait_seconds: How long open transactions are waited for, where they must be.
        max_lag_seconds: A ceiling further behind the clock is told of, in the log and in what is found.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        clock: Clock | None = None,
        *,
        wait_seconds: float = WAIT_SECONDS,
        max_lag_seconds: float = MAX_LAG_SECONDS,
    ) -> None:
        self._connection = connection
        self._wait_seconds = wait_seconds
        self._max_lag = max_lag_seconds
        self._held: Held | None = None
        self.clock = clock or Clock.note(connection)

    def find(self, cursor: CursorSpec, column: pa.DataType, precision: int, greatest: Callable[[], Any]) -> Ceiling:
        """Fix the ceiling.

        Args:
            cursor: With its kind decided.
            column: Arrow type of the cursor's column.
            precision: Digits of a second that the column keeps, 0 to 6.
            greatest: Asks for the greatest value of a sequence now, as Python knows it; None when there are no rows.

        Raises:
            PlanError: The source is a replica, or the column cannot carry a moment.
            TransientError: A transaction that must be waited for did not end in time.
        """
        if cursor.kind == "sequence":
            return self._sequence(cursor, greatest)
        if not (pa.types.is_timestamp(column) or pa.types.is_date(column)):
            raise PlanError(
                f"expected a timestamp or date as cursor column {cursor.column!r}, got {column}: for numbers say kind: sequence",
                code="cursor-invalid",
            )
        if cursor.stamped_by == "client" or cursor.kind == "date":
            return self._client(column)
        self._refuse_replica("read by a timestamp of the database")
        self._settle()
        moment, by = self._oldest() if self.clock.sees_all else (self.clock.at, "")
        if not by:
            moment, by = self.clock.at, self._barrier()
        moment, by = self._below_prepared(moment, by)
        return Ceiling(self._mark(moment, column, precision), False, by, self._held)

    def _settle(self) -> None:
        time.sleep(max(0.0, SETTLE_SECONDS - (time.monotonic() - self.clock.noted)))

    def _refuse_replica(self, what: str) -> None:
        if self.clock.replica:
            raise PlanError(
                f"a replica cannot be {what}: open transactions of the primary are not seen here, and their rows would be lost;"
                " connect to the primary, or say cursor: {stampedBy: client, overlap: ...}",
                code="guarantee-unreachable",
            )

    def _oldest(self) -> tuple[int, str]:
        """The start of the oldest open transaction, or the clock; no words when some transaction does not show its start."""
        row = self._connection.execute(_OPEN, [snapshot.backends(), list(_HARMLESS)]).fetchone()
        if row is None or (row[2] != "disabled" and row[3] >= self.clock.at):
            return self.clock.at, "the server's clock; no older transaction is open"
        pid, application, state, began = row
        if state == "disabled":  # track_activities is off for it
            return self.clock.at, ""
        holder = f"process {pid}{f', {application}' if application else ''}, {state or 'state unknown'}"
        self._lags(
            int(began),
            f"transaction {pid}/{began}",
            f"a transaction has been open since {_time(int(began))} ({holder}): end it, for example by pg_terminate_backend({pid})",
        )
        return int(began), f"the start of the oldest open transaction ({holder})"

    def _below_prepared(self, moment: int, by: str) -> tuple[int, str]:
        """Keep below prepared transactions, which hold their rows back until somebody commits them, perhaps for days."""
        noted = self._connection.execute(_PREPARED).fetchall()
        if not noted:
            return moment, by
        names = {row[1] for row in noted}
        deadline = time.monotonic() + PREPARED_WAIT_SECONDS
        while noted and time.monotonic() < deadline:
            time.sleep(0.02)
            noted = [row for row in self._connection.execute(_PREPARED).fetchall() if row[1] in names]
        if not noted:
            return moment, by
        gid, _, prepared = noted[0]
        held = int(prepared) - int(PREPARED_LASTED.total_seconds() * 1e6)
        if held >= moment:
            return moment, by
        self._lags(
            held,
            f"prepared {gid}/{prepared}",
            f"the prepared transaction {gid!r} of {_time(int(prepared))} may hold back rows of the day before: commit it or roll it back",
        )
        return held, f"a day before the prepared transaction {gid!r} was prepared (it does not tell when it began)"

    def _lags(self, ceiling: int, incident: str, why: str) -> None:
        """Tell who holds the ceiling back, if it is further behind the clock than it may be."""
        lag = (self.clock.at - ceiling) / 1e6
        if lag <= self._max_lag:
            return
        since = f"{lag // 60:.0f} minutes" if lag >= 120 else f"{lag:.0f} seconds"
        message = f"rows of the last {since} wait for a later run: {why}"
        log.warning("%s", message, extra={"ceiling_lag_seconds": lag})
        self._held = Held(incident, lag, message)

    def _barrier(self) -> str:
        """Wait until every transaction open now has ended."""
        waited = self._wait_for(self._connection.execute(_HOLDERS, [snapshot.backends(), list(_HARMLESS)]).fetchall())
        return (
            f"the server's clock, after {waited} open transactions had ended (this user does not see when they began:"
            " GRANT pg_read_all_stats lets it read below them instead of waiting)"
        )

    def _wait_for(self, open_now: Sequence[tuple[str, int, str | None]]) -> int:
        names = [row[0] for row in open_now]
        left = list(open_now)
        deadline, pause = time.monotonic() + self._wait_seconds, 0.005
        while left:
            left = self._connection.execute(_STILL, [names]).fetchall()
            if not left:
                break
            if time.monotonic() >= deadline:
                _, pid, application = left[0]
                raise TransientError(
                    f"a transaction has been open for more than {self._wait_seconds:.0f} s and may hold rows back (process {pid}"
                    f"{f', {application}' if application else ''}, and {len(left) - 1} more): end it, or try again later",
                    code="locked",
                    details={"pids": [row[1] for row in left]},
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)
        return len(names)

    def _sequence(self, cursor: CursorSpec, greatest: Callable[[], Any]) -> Ceiling:
        self._refuse_replica("read by a sequence")
        value = greatest()
        if value is None:
            return Ceiling(None, False, "there are no rows")
        if cursor.stamped_by == "client":
            return Ceiling(Mark.of(value), True, "the greatest number")
        # Noted after the number: whoever took a smaller one began before, and is open now or has ended.
        prepared = {row[1]: row[0] for row in self._connection.execute(_PREPARED).fetchall()}
        waited = self._wait_for(self._connection.execute(_HOLDERS, [snapshot.backends(), list(_HARMLESS)]).fetchall())
        deadline = time.monotonic() + self._wait_seconds
        while prepared:
            prepared = {row[1]: row[0] for row in self._connection.execute(_PREPARED).fetchall() if row[1] in prepared}
            if prepared and time.monotonic() >= deadline:
                raise TransientError(
                    f"the prepared transaction {next(iter(prepared.values()))!r} may hold rows back: commit it or roll it back",
                    code="locked",
                    details={"prepared": sorted(prepared.values())},
                )
            time.sleep(0.02 if prepared else 0)
        return Ceiling(Mark.of(value), True, f"the greatest number, after {waited} transactions open then had ended")

    def _client(self, column: pa.DataType) -> Ceiling:
        """A bound against stamps of the future only: one would move the watermark past all that comes until then."""
        if pa.types.is_date(column):
            row = _row(self._connection, "SELECT current_date")
            return Ceiling(Mark.of(row[0]), True, "today; what arrives backdated is for the overlap")
        moment = _EPOCH + dt.timedelta(microseconds=self.clock.at)
        if column.tz is None:
            # The clients' zone is not known: UTC and the server's are the likely ones, and neither shall wait for the other.
            row = _row(self._connection, "SELECT greatest(localtimestamp, now() AT TIME ZONE 'UTC')")
            return Ceiling(Mark.of(row[0]), False, "the server's clock; what is stamped late is for the overlap")
        return Ceiling(
            Mark.of(moment.replace(tzinfo=dt.timezone.utc)), False, "the server's clock; what is stamped late is for the overlap"
        )

    def _mark(self, at: int, column: pa.DataType, precision: int) -> Mark:
        """The moment as the column would hold it, never later."""
        if not pa.types.is_date(column) and column.tz is not None:
            return Mark.of((_EPOCH + dt.timedelta(microseconds=_floor(at, precision))).replace(tzinfo=dt.timezone.utc))
        moment = (_EPOCH + dt.timedelta(microseconds=at)).replace(tzinfo=dt.timezone.utc)
        row = _row(self._connection, _LOCAL, {"at": moment, "ahead": _LOOK_AHEAD})
        local: dt.datetime = row[0]
        if pa.types.is_date(column):
            return Mark.of(local.date())
        micros = (local - _EPOCH) // dt.timedelta(microseconds=1)
        return Mark.of(_EPOCH + dt.timedelta(microseconds=_floor(micros, precision)))


def _row(connection: psycopg.Connection[Any], sql: str, parameters: dict[str, Any] | None = None) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(sql.encode(), parameters).fetchone()
    return row if row is not None else ()


def _time(micros: int) -> str:
    return (_EPOCH + dt.timedelta(microseconds=micros)).strftime("%Y-%m-%d %H:%M:%S UTC")


def _floor(micros: int, precision: int) -> int:
    step: int = 10 ** (6 - precision)
    return micros // step * step
