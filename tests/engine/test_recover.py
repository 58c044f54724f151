from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import dead, origin
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.letters import Archive
from beam_pipelines.engine.recover import check_ahead, roll_forward
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import LedgerRow, Standing
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import LoadCounts, Merged, Tally
from beam_pipelines.runs.facts import Dead, Staged
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Window
from beam_pipelines.spec import parse
from beam_pipelines.state.record import Execution, Watermark
from beam_pipelines.state.store import StateStore

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
MINE = "ffffffffffff"


@dataclass
class Ledger:
    """A target as far as roll-forward sees it."""

    entries: list[LedgerRow] = field(default_factory=list)
    staged: dict[str, pa.RecordBatch] = field(default_factory=dict)
    standing: dict[str, Standing] = field(default_factory=dict)
    place: str = "duckdb:////here.duckdb"

    def rows(self, service: str, run: str) -> list[LedgerRow]:
        return [entry for entry in self.entries if entry.run == run]

    def give_up(self, service: str, run: str) -> list[LedgerRow]:
        self.entries = [replace(entry, status="lost") if entry.run == run and not entry.counts else entry for entry in self.entries]
        return self.rows(service, run)

    def read_staged(self, staged: Staged) -> Iterable[pa.RecordBatch]:
        yield self.staged[staged.name]

    def drop_staged(self, names: Sequence[str]) -> None:
        for name in names:
            self.staged.pop(name, None)

    def heads(self, service: str) -> dict[str, Standing]:
        return self.standing

    def add(self, run: str, status: str, load: str = "customers", rows: int = 7, letters: int = 0) -> None:
        window = Window("customers", load, load, run, generation=4, fingerprint="f")
        counts = None
        if status != "prepared":
            found: tuple[Dead, ...] = ()
            if letters:
                name = f"_bp_00000000_{run}_{'0' * 16}"
                batch = origin.attach(pa.record_batch({"id": list(range(letters))}), "customers", key=["id"])
                arguments = {"codes": ["cast-failed"] * letters, "messages": ["no"] * letters}
                self.staged[name] = dead.letters(batch, range(letters), load=load, step="extract", at=AT, **arguments)
                found = (Dead(Staged(name, letters), {"cast-failed": letters}),)
            tally = Tally(load, rows + letters, 1 << 30, letters, None, (), (Staged("x", rows),), rows, 0, found)
            good = status == "committed"
            merged = Merged(inserted=rows) if good else Merged()
            counts = LoadCounts(
                tally, merged, Mark("int", "9") if good else None, code="" if good else "budget-exceeded", message="too many"
            )
        self.entries.append(LedgerRow(run, load, status, window, counts, AT.isoformat(), AT.isoformat() if counts else None))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with StateStore(f"sqlite:///{tmp_path / 'state.db'}") as opened:
        yield opened


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "dead-letters")


@pytest.fixture
def job() -> Job:
    pipeline = {
        "source": {"type": "database", "connection": "crm", "table": "customers"},
        "destination": {"type": "database", "connection": "target", "table": "{table}"},
    }
    definition = {"name": "Customers", "pipeline": pipeline, "pricing": {"model": "per-gb", "rate": 3}}
    return Job.of(parse(definition).definition)


def began(store: StateStore, *runs: str) -> None:
    for run in runs:
        store.begin(Execution(service="customers", run=run, started_at=AT, customer="acme"))


def events(store: StateStore, run: str) -> list[str]:
    return [event.type for event in store.events("customers", run=run)]


def forward(job: Job, store: StateStore, ledger: Any, archive: Archive, *, accepted: bool = False) -> list[str]:
    return roll_forward(job, store, ledger, archive, RunContext(MINE, AT.isoformat()), accepted=accepted)


def test_a_run_that_committed_and_died_gets_its_record_charge_events_and_dead_letters(
    job: Job, store: StateStore, archive: Archive
) -> None:
    ledger, run = Ledger(), "00000000000a"
    began(store, run)
    ledger.add(run, "committed", letters=3)
    assert forward(job, store, ledger, archive) == [run]
    execution = store.execution(run)
    assert execution is not None
    assert (execution.status, execution.completed_at) == ("success", AT)
    assert (execution.metrics.records_loaded, execution.metrics.records_dead_lettered) == (7, 3)
    assert [str(charge.amount) for charge in store.charges(run=run)] == ["3.00"]
    assert [record.count for record in store.failed_records(run=run)] == [3]
    assert len(archive.path("customers", run).read_text().splitlines()) == 3
    assert {"ServiceResult.deliver", "Payment.charge"} <= set(events(store, run))
    assert [(mark.table, mark.generation) for mark in store.watermarks("customers")] == [("customers", 5)]
    assert ledger.staged == {}


def test_rolling_forward_again_changes_nothing(job: Job, store: StateStore, archive: Archive) -> None:
    ledger, run = Ledger(), "00000000000a"
    began(store, run)
    ledger.add(run, "committed", letters=3)
    forward(job, store, ledger, archive)
    before = (
        store.execution(run),
        store.charges(),
        store.failed_records(),
        events(store, run),
        archive.path("customers", run).read_bytes(),
    )
    assert forward(job, store, ledger, archive) == []
    after = (store.execution(run), store.charges(), store.failed_records(), events(store, run), archive.path("customers", run).read_bytes())
    assert after == before
    assert len(store.charges()) == 1


def test_one_that_died_while_it_rolled_forward_is_taken_up_where_it_was(job: Job, store: StateStore, archive: Archive) -> None:
    """Died after the file was written, before the record: the staging is there still, and the file is written again."""
    ledger, run = Ledger(), "00000000000a"
    began(store, run)
    ledger.add(run, "committed", letters=2)
    staged = dict(ledger.staged)

    class DiedError(Exception):
        pass

    class Dying:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def finish(self, *_: Any) -> bool:
            raise DiedError

    with pytest.raises(DiedError):
        forward(job, Dying(), ledger, archive)
    assert ledger.staged == staged
    assert forward(job, store, ledger, archive) == [run]
    assert len(archive.path("customers", run).read_text().splitlines()) == 2
    assert len(store.charges()) == 1


@pytest.mark.parametrize("entries", [[], ["prepared"]])
def test_a_run_that_died_before_its_commit_is_lost_and_costs_nothing(
    job: Job, store: StateStore, archive: Archive, entries: list[str]
) -> None:
    ledger, run = Ledger(), "00000000000a"
    began(store, run)
    for status in entries:
        ledger.add(run, status)
    assert forward(job, store, ledger, archive) == [run]
    execution = store.execution(run)
    assert execution is not None
    assert (execution.status, execution.metrics.records_loaded) == ("lost", 0)
    assert (store.charges(), store.watermarks("customers")) == ([], [])
    assert "ServiceRequest.fail" in events(store, run)
    assert not archive.folder.exists()


def test_a_run_that_the_target_judged_failed_keeps_its_verdict_and_its_letters(job: Job, store: StateStore, archive: Archive) -> None:
    ledger, run = Ledger(), "00000000000a"
    began(store, run)
    ledger.add(run, "failed", letters=2)
    forward(job, store, ledger, archive)
    execution = store.execution(run)
    assert execution is not None
    assert (execution.status, execution.error_code, execution.error) == ("failed", "budget-exceeded", "too many")
    assert len(archive.path("customers", run).read_text().splitlines()) == 2
    assert store.charges() == []


def test_of_a_run_with_several_tables_those_that_committed_stay(job: Job, store: StateStore, archive: Archive) -> None:
    ledger, run = Ledger(), "00000000000a"
    began(store, run)
    ledger.add(run, "committed", "a")
    ledger.add(run, "prepared", "b")
    forward(job, store, ledger, archive)
    execution = store.execution(run)
    assert execution is not None
    assert (execution.status, execution.metrics.records_loaded) == ("lost", 7)
    assert [mark.table for mark in store.watermarks("customers")] == ["a"]
    assert store.charges() == []


def test_every_dead_run_is_settled_and_the_caller_s_own_is_left_alone(job: Job, store: StateStore, archive: Archive) -> None:
    ledger = Ledger()
    began(store, "00000000000a", "00000000000b", MINE)
    ledger.add("00000000000b", "committed")
    ledger.add(MINE, "committed")
    assert sorted(forward(job, store, ledger, archive)) == ["00000000000a", "00000000000b"]
    statuses = {one.run: one.status for one in store.executions("customers")}
    assert statuses == {"00000000000a": "lost", "00000000000b": "success", MINE: "running"}


ELSEWHERE = "postgresql://db.example.com/warehouse#ops"


def wrote_to(store: StateStore, run: str, place: str | None) -> None:
    store.begin(Execution("customers", run, AT, place=place))


def test_of_a_run_that_wrote_elsewhere_nothing_is_assumed(job: Job, store: StateStore, archive: Archive) -> None:
    ledger, run = Ledger(), "00000000000a"
    wrote_to(store, run, ELSEWHERE)
    with pytest.raises(PlanError, match="nobody there knows whether it committed") as stopped:
        forward(job, store, ledger, archive)
    assert stopped.value.code == "ledger-behind"
    assert all(part in str(stopped.value) for part in (ELSEWHERE, ledger.place, "--full-refresh", "--keep-watermark"))
    assert [one.run for one in store.unfinished("customers")] == [run]
    # Led back, it is settled; or the user gives it up.
    back = Ledger(place=ELSEWHERE)
    back.add(run, "committed")
    assert forward(job, store, back, archive) == [run]
    assert store.execution(run).status == "success"  # type: ignore[union-attr]


@pytest.mark.parametrize("here", [ELSEWHERE, Ledger.place])
def test_of_a_run_that_wrote_files_no_database_can_tell(job: Job, store: StateStore, archive: Archive, here: str) -> None:
    run = "00000000000a"
    wrote_to(store, run, "file:///data/out")
    with pytest.raises(PlanError, match="wrote to file:///data/out"):
        forward(job, store, Ledger(place=here), archive)
    assert [one.run for one in store.unfinished("customers")] == [run]


def test_files_have_one_ledger_whatever_their_folder(job: Job, store: StateStore, archive: Archive) -> None:
    run = "00000000000a"
    wrote_to(store, run, "file:///data/out")
    assert forward(job, store, Ledger(place="file:///data/moved"), archive) == [run]
    assert store.execution(run).status == "lost"  # type: ignore[union-attr]


def test_a_run_that_wrote_elsewhere_is_given_up_when_the_user_says_so(job: Job, store: StateStore, archive: Archive) -> None:
    run = "00000000000a"
    wrote_to(store, run, ELSEWHERE)
    assert forward(job, store, Ledger(), archive, accepted=True) == [run]
    execution = store.execution(run)
    assert execution is not None
    assert (execution.status, execution.error_code) == ("lost", "ledger-behind")
    assert ELSEWHERE in str(execution.error)


@pytest.mark.parametrize("place", [ELSEWHERE, None, Ledger.place])
def test_a_ledger_that_has_the_run_settles_it_however_its_place_is_spelled(
    job: Job, store: StateStore, archive: Archive, place: str | None
) -> None:
    ledger, run = Ledger(), "00000000000a"
    wrote_to(store, run, place)
    ledger.add(run, "committed")
    assert forward(job, store, ledger, archive) == [run]
    assert store.execution(run).status == "success"  # type: ignore[union-attr]


def copied(store: StateStore, generation: int, table: str = "customers") -> None:
    store.set_watermark(Watermark("customers", table, {"type": "int", "text": "9"}, "f", generation, run="00000000000a"))


@pytest.mark.parametrize("head", [None, 3])
def test_a_store_that_is_ahead_of_the_ledger_stops_with_a_choice(job: Job, store: StateStore, head: int | None) -> None:
    ledger = Ledger(standing={} if head is None else {"customers": Standing(generation=head)})
    copied(store, 4)
    with pytest.raises(PlanError, match="--full-refresh") as stopped:
        check_ahead(job, store, ledger, accepted=False)
    assert stopped.value.code == "ledger-behind"
    assert f"knows commit 4 of 'customers', the target's ledger only {head or 0}" in str(stopped.value)
    check_ahead(job, store, ledger, accepted=True)
    assert store.watermarks("customers") == []
    check_ahead(job, store, ledger, accepted=False)


@pytest.mark.parametrize("head", [4, 9])
def test_a_ledger_that_is_as_far_or_further_is_the_truth(job: Job, store: StateStore, head: int) -> None:
    copied(store, 4)
    check_ahead(job, store, Ledger(standing={"customers": Standing(generation=head)}), accepted=False)
    assert len(store.watermarks("customers")) == 1
