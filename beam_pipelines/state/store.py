"""The state store: what a service remembers of its runs, beside the target's ledger, which is the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, select

from beam_pipelines.errors import FatalError
from beam_pipelines.state import advance as advancing
from beam_pipelines.state import hours, outbox, query
from beam_pipelines.state import lease as leasing
from beam_pipelines.state.database import Database
from beam_pipelines.state.event import CREATED, Event, PhaseProgress, created_data
from beam_pipelines.state.finish import finish, put_watermark
from beam_pipelines.state.forget import forget_events, forget_failed_records, runs_with_letters
from beam_pipelines.state.history import find_quality, forget_quality, old_quality
from beam_pipelines.state.migrations import migrate
from beam_pipelines.state.record import (
    ACTIVE,
    STREAM,
    Advance,
    Alert,
    ChargeRecord,
    Execution,
    FailedRecord,
    Failure,
    Lease,
    Outcome,
    PipelineMetric,
    QualityRecord,
    Schedule,
    ServiceRequest,
    Status,
    Step,
    StreamHour,
    Watermark,
    aware,
)
from beam_pipelines.state.tables import events, executions, schedules, service_requests, watermarks

__all__ = ["StateStore", "default_url"]

_DELIVERED_AT_ONCE = 500  # ids in one statement: SQLite allows few parameters in old versions


def default_url(definition: Path) -> str:
    """Return the store's place beside a definition: `.beam_pipelines/state.db` (a cron job's working directory is not the user's)."""
    return f"sqlite:///{definition.absolute().parent / '.beam_pipelines' / 'state.db'}"


class StateStore:
    """Executions, leases, copies of watermarks, the index of dead letters, metrics, quality, alerts, charges, and the outbox of events.

    Every change is one transaction. Threads may share a store; processes open their own. Opening it creates it, or brings its
    schema up to date.

    Args:
        url: `sqlite:///PATH`, a bare path, or `postgresql://USER:PASSWORD@HOST/DATABASE`.
        clock: Gives aware times; the database's own clock when None.
        busy_timeout_seconds: How long a change waits for somebody else's.

    Raises:
        SpecError: The URL is of no known form, the place cannot be written, is somebody else's, or is newer than this package.
        TransientError: The server is away, or a lock was not had in time; says who holds it.
        FatalError: The file is damaged, the disk is full, or the login was refused.

    All methods raise the last two as well.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] | None = None, busy_timeout_seconds: float = 30.0) -> None:
        self._database = Database(url, busy_timeout_seconds=busy_timeout_seconds)
        self._clock = clock
        try:
            if self._database.sqlite:
                self._database.use_wal()
            self.id = migrate(self._database)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"StateStore({self._database})"

    def __enter__(self) -> StateStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; may be called twice."""
        self._database.close()

    # Leases: one active run a service.

    def acquire(self, service: str, run: str, *, ttl_seconds: float, holder: Mapping[str, Any]) -> Lease:
        """Take the lease of a service, also from a run whose lease ran out or whose process on this host is gone.

        Args:
            service: Service id.
            run: Run that wants it.
            ttl_seconds: How long it lasts unless renewed.
            holder: Who asks: `lease.this_process()`, and what else may help a person to find the process. No secrets.

        Raises:
            ActiveRunError: Another run holds it; says which, where, since when and until when.
        """
        with self._database.write(service) as connection:
            return leasing.acquire(connection, service, run, ttl_seconds, holder, self._now(connection))

    def renew(self, lease: Lease) -> Lease:
        """Prolong a lease by its `ttl_seconds` from now.

        Raises:
            FencedError: Another run holds it now; this run must stop.
        """
        with self._database.write(lease.service) as connection:
            return leasing.renew(connection, lease, self._now(connection))

    def release(self, lease: Lease) -> bool:
        """Give a lease back; False when it was no longer this run's."""
        with self._database.write(lease.service) as connection:
            return leasing.release(connection, lease)

    # Executions.

    def begin(self, execution: Execution) -> None:
        """Record that a run starts, with its request and the event `ServiceRequest.created`.

        Raises:
            FatalError: The run was begun before.
            ValueError: Its status is final.
        """
        if execution.status not in ACTIVE:
            raise ValueError(f"expected a run that begins as one of {', '.join(ACTIVE)}, got {execution.status!r}")
        with self._database.write(execution.service) as connection:
            if self._service_of(connection, execution.run) is not None:
                raise FatalError(f"run {execution.run!r} was begun before in this state store; a run id is used once")
            now = self._now(connection)
            connection.execute(executions.insert().values(_columns(execution)))
            request = {"request": execution.request, "customer": execution.customer, "status": "created", "created_at": now}
            connection.execute(service_requests.insert().values(run=execution.run, service=execution.service, **request))
            outbox.put(connection, execution.service, execution.run, CREATED, created_data(execution), now)

    def set_status(self, run: str, status: Status) -> bool:
        """Move a run that has not ended to `queued`, `running` or `committing`; False when it has ended.

        Raises:
            ValueError: The status is final; `finish` sets those.
        """
        if status not in ACTIVE:
            raise ValueError(f"expected one of {', '.join(ACTIVE)}, got {status!r}: `finish` ends a run")
        active = (executions.c.run == run) & executions.c.status.in_(ACTIVE)
        with self._database.write() as connection:
            return bool(connection.execute(executions.update().where(active).values(status=status)).rowcount)

    def progress(self, run: str, *phases: PhaseProgress) -> bool:
        """Put `PipelineProgress.updated` into the outbox; of each phase only the newest is kept until it is delivered.

        Returns:
            False when the run has ended or is unknown: nothing is told of it any more.
        """
        with self._database.write() as connection:
            return outbox.put_progress(connection, run, phases, self._now(connection))

    def finish(self, run: str, outcome: Outcome) -> bool:
        """Record how a run ended, exactly once, in one transaction with all that follows.

        That is: steps, metrics, the history of quality, the index of dead letters, copies of watermarks, the answer to the request, charge,
        events, alert. Of a stream all that was recorded as it advanced: of its outcome only how it ended is taken.

        Returns:
            True if this call did it; False if the run had ended already, and nothing was written.

        Raises:
            FatalError: There is no such run.
        """
        with self._for_run(run) as connection:
            return finish(connection, run, outcome, self._now(connection))

    # Streams: one execution, in which many drains commit.

    def advance(self, run: str, advance: Advance) -> bool:
        """Add what one drain of a stream committed to the stream's record, exactly once, in one transaction with all that follows.

        That is: metrics, steps, the index of dead letters, the copy of the watermark, events of the clock hour, alerts, progress.

        Returns:
            True if this call did it; False if it had been done, and nothing was written.

        Raises:
            FatalError: There is no such run.
            ValueError: It is no stream, or one of another service than the watermark.
        """
        with self._for_run(run) as connection:
            return advancing.advance(connection, run, advance, self._now(connection))

    def refuse(self, run: str, drain: str, failures: Sequence[Failure], at: datetime) -> bool:
        """Add to the index what another sink of a stream refused of the rows of a drain, once a file of dead letters.

        Args:
            run: The stream's execution.
            drain: The drain.
            failures: Index of one file.
            at: When; aware.

        Returns:
            True if this call did it; False if it had been done, and nothing was written.

        Raises:
            FatalError: There is no such run.
        """
        with self._for_run(run) as connection:
            return advancing.refuse(connection, run, drain, failures, aware(at), self._now(connection))

    def advanced(self, run: str) -> int:
        """Up to which commit of its load the record of a stream goes; 0: none, or there is no such run."""
        with self._database.read() as connection:
            return int(connection.execute(select(executions.c.generation).where(executions.c.run == run)).scalar() or 0)

    def touch_hour(self, run: str, now: datetime | None = None) -> None:
        """Note that a stream runs, though no message may come; to be called at its start, and every minute or so. Safe to repeat.

        The clock hour is charged once it has passed. That the failures of the last hour are few again is told here, too. Of a stream that
        has ended nothing is noted.

        Args:
            run: The stream's execution.
            now: Aware; the store's clock when None.

        Raises:
            FatalError: There is no such run.
        """
        with self._for_run(run) as connection:
            advancing.heartbeat(connection, run, self._now(connection) if now is None else aware(now))

    def charge_hours(self, service: str, price: hours.Price) -> list[StreamHour]:
        """Charge the clock hours of a stream that have passed and are not charged: each once, in a transaction of its own.

        To be called when all commits of earlier runs are rolled forward, and after each `advance`: what is committed in an hour and told
        after its charge is counted into the next one. Each charge is that of the execution which ran in the hour first.

        Args:
            service: Service id.
            price: Gives the charge of an hour, of its beginning and its events; None where there is no price: then the hour is settled
                without one, so that a price that comes later does not reach back.

        Returns:
            The hours that this call settled, oldest first.
        """
        settled: list[StreamHour] = []
        while True:
            with self._database.write(service) as connection:
                hour = hours.charge_next(connection, service, price, self._now(connection))
            if hour is None:
                return settled
            settled.append(hour)

    def hours(self, service: str | None = None, run: str | None = None) -> list[StreamHour]:
        """Clock hours in which streams ran, oldest first."""
        with self._database.read() as connection:
            return hours.find_hours(connection, service=service, run=run)

    def unfinished(self, service: str) -> list[Execution]:
        """Runs of a service that have not ended, oldest first."""
        with self._database.read() as connection:
            return query.find_unfinished(connection, service)

    def executions(self, service: str | None = None, status: str | None = None, limit: int | None = 100) -> list[Execution]:
        """Runs, newest first; what became of each file `execution` tells alone."""
        with self._database.read() as connection:
            return query.find_executions(connection, service=service, status=status, limit=limit)

    def execution(self, run: str) -> Execution | None:
        """One run, with what became of its files, or with the hours that were charged to it; None when it is unknown."""
        with self._database.read() as connection:
            found = query.find_executions(connection, run=run)
            if found and found[0].kind == STREAM:
                charged = [one for one in hours.find_hours(connection, run=run) if one.charge is not None]
                return replace(found[0], charges=tuple(charged))
            files = query.find_files(connection, run) if found and found[0].files is not None else ()
        if not found or found[0].files is None:
            return found[0] if found else None
        return replace(found[0], files=replace(found[0].files, told=files))

    def steps(self, run: str) -> tuple[Step, ...]:
        """The steps of a run that has ended, in order."""
        with self._database.read() as connection:
            return query.find_steps(connection, [run]).get(run, ())

    # Watermarks: copies, for people and for targets without transactions.

    def watermarks(self, service: str) -> list[Watermark]:
        """Watermarks of a service, by table."""
        with self._database.read() as connection:
            return query.find_watermarks(connection, service)

    def set_watermark(self, watermark: Watermark) -> None:
        """Store a watermark, whatever is there. The caller has changed the target's ledger first."""
        with self._database.write(watermark.service) as connection:
            put_watermark(connection, watermark, self._now(connection), guarded=False)

    def clear_watermark(self, service: str, table: str | None = None) -> int:
        """Forget the watermark of a table, or of all tables of a service; returns how many there were."""
        mine = watermarks.c.service == service
        if table is not None:
            mine &= watermarks.c.table == table
        with self._database.write(service) as connection:
            return int(connection.execute(watermarks.delete().where(mine)).rowcount)

    # What follows from runs.

    def failed_records(
        self, service: str | None = None, run: str | None = None, limit: int | None = 100, offset: int = 0
    ) -> list[FailedRecord]:
        """Index of dead letters, newest run first."""
        with self._database.read() as connection:
            return query.find_failed_records(connection, service=service, run=run, limit=limit, offset=offset)

    def charges(self, service: str | None = None, run: str | None = None) -> list[ChargeRecord]:
        """Charges, oldest first."""
        with self._database.read() as connection:
            return query.find_charges(connection, service=service, run=run)

    def metrics(self, service: str | None = None, limit: int | None = 100) -> list[PipelineMetric]:
        """One row a run, newest first."""
        with self._database.read() as connection:
            return query.find_metrics(connection, service=service, limit=limit)

    def quality_history(
        self, service: str | None = None, step: str | None = None, *, until: datetime | None = None, limit: int | None = 100
    ) -> list[QualityRecord]:
        """What the rules of services came to, newest run first; of at most `limit` runs, which ended at `until` or before."""
        with self._database.read() as connection:
            return find_quality(connection, service=service, step=step, until=until, limit=limit)

    def alerts(self, service: str | None = None, run: str | None = None) -> list[Alert]:
        """Alerts, oldest first."""
        with self._database.read() as connection:
            return query.find_alerts(connection, service=service, run=run)

    def requests(self, service: str | None = None) -> list[ServiceRequest]:
        """Who asked for runs, oldest first."""
        with self._database.read() as connection:
            return query.find_requests(connection, service=service)

    # The outbox.

    def events(
        self,
        service: str | None = None,
        run: str | None = None,
        *,
        type: str | None = None,  # noqa: A002 (CloudEvents' own word)
        undelivered: bool = False,
        limit: int | None = None,
    ) -> list[Event]:
        """Events, in the order they happened."""
        with self._database.read() as connection:
            return query.find_events(connection, service=service, run=run, kind=type, undelivered=undelivered, limit=limit)

    def mark_delivered(self, ids: Sequence[str]) -> int:
        """Note that events were delivered; returns how many had not been."""
        marked = 0
        with self._database.write() as connection:
            now = self._now(connection)
            for first in range(0, len(ids), _DELIVERED_AT_ONCE):
                some = events.c.id.in_(ids[first : first + _DELIVERED_AT_ONCE]) & events.c.delivered_at.is_(None)
                marked += connection.execute(events.update().where(some).values(delivered_at=now)).rowcount
        return marked

    # What is kept for a time only.

    def letters_older_than(self, service: str, age: timedelta | None) -> dict[str, list[str]]:
        """Places of dead letters by run, of the runs and drains of a service that ended longer ago than `age` (None: of all)."""
        with self._database.read() as connection:
            return runs_with_letters(connection, service, None if age is None else self._now(connection) - age)

    def forget_failed_records(self, service: str, runs: Sequence[str]) -> int:
        """Take runs and drains out of the index of dead letters, once their letters are deleted; returns how many letters that were."""
        with self._database.write(service) as connection:
            return forget_failed_records(connection, service, runs)

    def forget_events(self, service: str, age: timedelta) -> tuple[int, int]:
        """Delete events older than `age`, but for those of runs other than streams that have not ended.

        Returns:
            How many there were, and how many of them had not been delivered.
        """
        with self._database.write(service) as connection:
            return forget_events(connection, service, self._now(connection) - age)

    def forget_quality(self, service: str, age: timedelta | None) -> int:
        """Forget the history of quality that is older than `age`, or (None) all but the last hundred runs of each step.

        What the records of these runs hold of the rows themselves goes with it.

        Returns:
            Of how many runs it was.
        """
        with self._database.read() as connection:
            before = None if age is None else self._now(connection) - age
            old = old_quality(connection, service, before)
        if not old:
            return 0
        with self._database.write(service) as connection:
            return forget_quality(connection, service, old)

    # Schedules: recorded and shown; nothing here waits for them.

    def schedule(self, service: str) -> Schedule | None:
        """The schedule recorded for a service."""
        with self._database.read() as connection:
            return query.find_schedule(connection, service)

    def set_schedule(self, service: str, schedule: Schedule | None) -> None:
        """Record the schedule that a definition asks for, or (None) that it asks for none."""
        with self._database.write(service) as connection:
            connection.execute(schedules.delete().where(schedules.c.service == service))
            if schedule is not None:
                values = {"expression": schedule.expression, "timezone": schedule.timezone}
                connection.execute(schedules.insert().values(service=service, **values, recorded_at=self._now(connection)))

    @contextmanager
    def _for_run(self, run: str) -> Iterator[Connection]:
        """A transaction that is the only one of the service of a run."""
        with self._database.read() as connection:
            service = self._service_of(connection, run)
        with self._database.write(service) as connection:
            yield connection

    def _now(self, connection: Connection) -> datetime:
        if self._clock is None:
            return self._database.now(connection)
        return aware(self._clock()).astimezone(timezone.utc)

    @staticmethod
    def _service_of(connection: Connection, run: str) -> str | None:
        return connection.execute(select(executions.c.service).where(executions.c.run == run)).scalar()


def _columns(execution: Execution) -> dict[str, Any]:
    """The row of an execution that begins."""
    values = {
        name: getattr(execution, name)
        for name in ("service", "run", "kind", "status", "request", "customer", "started_at", "guarantee", "place")
    }
    return {**values, "name": execution.name or execution.service, **vars(execution.metrics), "event_sequence": 0}
