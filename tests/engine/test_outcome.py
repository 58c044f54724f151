from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.outcome import all_committed, exceeds_budget, outcome_of
from beam_pipelines.errors import FencedError, PlanError, Problem
from beam_pipelines.io.connector import LedgerRow
from beam_pipelines.runs.counts import LoadCounts, Merged, Tally
from beam_pipelines.runs.facts import Dead, Staged, StepFact
from beam_pipelines.runs.file import FileResult
from beam_pipelines.runs.held import Held
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window
from beam_pipelines.spec import parse
from beam_pipelines.state.record import Failure, Files, Incident, Transformation

RUN = "00000000000a"
GIB = 1 << 30


def job(**more: Any) -> Job:
    pipeline = {
        "source": {"type": "database", "connection": "crm", "table": "customers"},
        "transformations": [{"id": "adults", "type": "filter", "condition": "age >= 18"}, {"id": "enrich", "type": "function"}],
        "destination": {"type": "database", "connection": "target", "table": "{table}"},
    }
    return Job.of(parse({"name": "Customers", "pipeline": pipeline, **more}).definition)


def counts(load: str = "customers", **more: Any) -> LoadCounts:
    """100 rows read, 3 of them dead; 10 filtered; 2 die in `enrich`; 1 dies in the staging, 4 in the merge; 80 are loaded."""
    steps = (
        StepFact(load, "adults", 97, 87, filtered=10, seconds=0.5),
        StepFact(load, "enrich", 87, 85, dead=2, nulled=5, made=9, absorbed=9, seconds=0.25, error="function-failed: ValueError"),
    )
    tally = Tally(
        load=load,
        read=100,
        bytes=3 * GIB,
        read_dead=3,
        newest=Mark("int", "100"),
        steps=steps,
        staged=(Staged("a", 84),),
        stage_in=85,
        stage_dead=1,
        letters=(Dead(Staged("b", 6), {"cast-failed": 6}),),
        read_seconds=1.5,
        stage_seconds=2.0,
    )
    merged = Merged(inserted=50, updated=20, unchanged=6, stale=3, superseded=1, dead=4, method="merge")
    return replace(LoadCounts(tally, merged, Mark("int", "100")), **more)


def row(status: str = "committed", load: str = "customers", found: LoadCounts | None = None, ended: str | None = None) -> LedgerRow:
    window = Window("customers", load, load, RUN, generation=6, fingerprint="f" * 16)
    if status == "prepared":
        return LedgerRow(RUN, load, status, window, None, "2026-01-01T00:00:00+00:00", None)
    at = ended or "2026-01-01T00:01:00+00:00"
    return LedgerRow(RUN, load, status, window, found or counts(load), "2026-01-01T00:00:00+00:00", at)


def failed(code: str = "budget-exceeded") -> LoadCounts:
    return counts(merged=Merged(), watermark=None, message="9 of 100 rows failed", code=code)


def test_a_run_whose_loads_all_committed_succeeded() -> None:
    outcome = outcome_of(job(), [row()])
    assert (outcome.status, outcome.error, outcome.error_code) == ("success", None, None)
    metrics = outcome.metrics
    assert (metrics.records_extracted, metrics.records_transformed, metrics.records_loaded) == (100, 85, 80)
    assert (metrics.records_filtered, metrics.records_rejected, metrics.records_dead_lettered, metrics.errors) == (10, 0, 10, 10)
    assert metrics.bytes_processed == 3 * GIB
    merged = (
        metrics.records_inserted,
        metrics.records_updated,
        metrics.records_unchanged,
        metrics.records_stale,
        metrics.records_superseded,
    )
    assert (merged, sum(merged)) == ((50, 20, 6, 3, 1), metrics.records_loaded)
    # Each row that was read is in one of them.
    assert metrics.records_loaded + metrics.records_filtered + metrics.records_rejected + metrics.records_dead_lettered == 100


def test_its_phases_and_steps_are_told_in_order() -> None:
    extract, transform, load = outcome_of(job(), [row()]).steps
    assert (extract.phase, extract.record_count, extract.errors, extract.duration, extract.table) == ("extract", 100, 3, 1500, None)
    assert (load.phase, load.record_count, load.loaded, load.errors, load.method, load.duration) == ("load", 84, 80, 5, "merge", 2000)
    adults, enrich = transform.transformations
    assert (adults.id, adults.records_in, adults.records_out, adults.records_filtered, adults.duration) == ("adults", 97, 87, 10, 500)
    assert (enrich.records_in, enrich.records_out, enrich.records_dead_lettered, enrich.records_nulled) == (87, 85, 2, 5)
    assert (enrich.records_made, enrich.records_absorbed, adults.records_absorbed) == (9, 9, 0)
    assert Transformation.from_json(enrich.to_json()) == enrich
    # A row failed in it, and the reason is told; the step as a whole did not.
    assert (enrich.success, enrich.error) == (True, "function-failed: ValueError")


def test_the_watermark_follows_the_ledger_with_the_generation_after_the_commit() -> None:
    (watermark,) = outcome_of(job(), [row()]).watermarks
    assert (watermark.service, watermark.table, watermark.run) == ("customers", "customers", RUN)
    assert (watermark.value, watermark.generation, watermark.fingerprint) == ({"type": "int", "text": "100"}, 7, "f" * 16)


def test_a_run_that_the_target_judged_failed_tells_the_verdict_and_loads_nothing() -> None:
    outcome = outcome_of(job(), [row("failed", found=failed())], error=FencedError("not this"))
    assert (outcome.status, outcome.error, outcome.error_code) == ("failed", "9 of 100 rows failed", "budget-exceeded")
    assert (outcome.metrics.records_loaded, outcome.watermarks, outcome.charge) == (0, (), None)
    assert [step.success for step in outcome.steps] == [True, True, False]


def test_a_run_that_died_before_its_commit_is_lost_and_counts_nothing() -> None:
    outcome = outcome_of(job(), [row("prepared")], status="lost")
    assert (outcome.status, outcome.error, outcome.metrics.records_extracted, outcome.steps) == ("lost", None, 0, ())
    assert outcome_of(job(), [], status="lost").status == "lost"


def test_a_run_that_was_cancelled_after_its_commit_succeeded() -> None:
    assert outcome_of(job(), [row()], error=KeyboardInterrupt(), status="cancelled").status == "success"
    assert outcome_of(job(), [row("prepared")], error=KeyboardInterrupt(), status="cancelled").status == "cancelled"


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (FencedError("overtaken by run 7"), "overtaken by run 7", "fenced"),
        (ZeroDivisionError("division by zero\nand more"), "ZeroDivisionError: division by zero", "internal"),
        (MemoryError(), "MemoryError: ", "internal"),
    ],
)
def test_what_ended_a_run_is_recorded_with_its_code(error: BaseException, said: str, code: str) -> None:
    outcome = outcome_of(job(), [row("prepared")], error=error)
    assert (outcome.status, outcome.error, outcome.error_code) == ("failed", said, code)


def test_a_plan_error_is_recorded_with_its_problems() -> None:
    error = PlanError("cannot be run", problems=[Problem("no such column", "pipeline.source.query")], code="column-missing")
    outcome = outcome_of(job(), [], error=error)
    assert "pipeline.source.query: no such column" in (outcome.error or "")
    assert outcome.error_code == "column-missing"


def test_of_several_tables_those_that_committed_keep_their_watermark_though_the_run_failed() -> None:
    rows = [row(load="a"), row("failed", "b", failed()), row("prepared", "c")]
    outcome = outcome_of(job(pricing={"model": "per-gb", "rate": 1}), rows, error=FencedError("c was overtaken"))
    assert (outcome.status, outcome.error_code) == ("failed", "budget-exceeded")
    assert [watermark.table for watermark in outcome.watermarks] == ["a"]
    assert outcome.metrics.records_loaded == 80
    assert outcome.charge is None
    assert [(step.phase, step.table, step.success) for step in outcome.steps if step.phase == "load"] == [
        ("load", "a", True),
        ("load", "b", False),
    ]
    assert not all_committed(rows)


def test_of_several_tables_counts_and_charge_are_the_sum_and_the_last_commit_is_the_end() -> None:
    ends = ("2026-01-01T00:02:00+00:00", "2026-01-01T00:01:00+00:00")
    rows = [row(load=load, ended=end) for load, end in zip("ab", ends, strict=True)]
    outcome = outcome_of(job(pricing={"model": "per-gb", "rate": 2}), rows)
    assert (outcome.status, outcome.metrics.records_extracted, outcome.metrics.records_loaded) == ("success", 200, 160)
    assert outcome.completed_at is not None
    assert outcome.completed_at.minute == 2
    assert outcome.charge is not None
    assert outcome.charge.amount == Decimal("12.00")  # 2 x 3 GiB at 2


def test_additional_costs_meter_the_rows_out_of_their_step() -> None:
    pricing = {"model": "per-gb", "rate": 1, "additionalCosts": {"enrichment": 100}}
    outcome = outcome_of(job(pricing=pricing), [row()])
    assert outcome.charge is not None
    assert outcome.charge.amount == Decimal("11.50")  # 3 GiB at 1, and 85 rows out of `enrich` at 100 for 1,000


def test_without_a_price_nothing_is_charged() -> None:
    assert outcome_of(job(), [row()]).charge is None


def test_dead_letters_that_were_exported_are_indexed_whatever_the_status() -> None:
    failures = (Failure("adults", "cast-failed", 3, "x.jsonl"),)
    assert outcome_of(job(), [row()], failures).failures == failures
    assert outcome_of(job(), [row("failed", found=failed())], failures).failures == failures


def test_an_exceeded_budget_that_only_warns_is_known_by_its_counts() -> None:
    assert exceeds_budget([row(), row(load="b", found=counts("b", budget_exceeded=True))])
    assert not exceeds_budget([row(), row("prepared", "b")])


@pytest.mark.parametrize(
    ("statuses", "all_in"), [([], False), (["committed"], True), (["committed", "prepared"], False), (["failed"], False)]
)
def test_a_run_is_in_when_there_was_something_and_all_of_it_committed(statuses: list[str], all_in: bool) -> None:
    assert all_committed([row(status, load) for status, load in zip(statuses, "abc", strict=False)]) is all_in


def test_one_transaction_that_holds_several_tables_back_is_one_incident_whatever_became_of_the_run() -> None:
    held, other = Held("transaction 7/1", 700.0, "process 7"), Held("prepared 'a'/2", 90_000.0, "'a'")
    rows = [
        replace(row("prepared", load), window=replace(row(load=load).window, held=what))
        for load, what in (("a", held), ("b", held), ("c", None), ("d", other))
    ]
    outcome = outcome_of(job(), rows, status="lost")
    assert outcome.incidents == (Incident("ceiling: transaction 7/1", "process 7"), Incident("ceiling: prepared 'a'/2", "'a'"))
    assert outcome_of(job(), [row()]).incidents == ()


def batch(count: int, **more: Any) -> tuple[Job, LedgerRow]:
    """A run over files of 10 bytes each, the last of which cannot be read."""
    section = {"source": {"type": "file", "path": "in/*.csv"}, "destination": {"type": "file", "path": "out"}}
    files = [FileResult(f"{n}.csv", 10, "t", f"{n}.csv", 3, 2, 1, 0.5) for n in range(count - 1)]
    files.append(FileResult("last.csv", 10, "t", error="it is cut off"))
    ranges = tuple(Range("out", "in/*.csv", n, {"label": file.name, "size": 10, "tag": "t"}, 3, 10) for n, file in enumerate(files))
    found = counts("out", merged=Merged(inserted=2 * (count - 1), files=tuple(files)), **more)
    one = row(load="out", found=found)
    return Job.of(parse({"name": "Files", "batch": section}).definition), replace(
        one, window=replace(one.window, ranges=ranges, skipped=7, waiting=2, by_file=True)
    )


def test_of_many_files_all_are_counted_and_a_thousand_told_those_that_failed_first() -> None:
    made, one = batch(1_200)
    outcome = outcome_of(made, [one])
    files = outcome.files
    assert files is not None
    assert (files.processed, files.records, files.bytes, files.skipped, files.waiting, files.failed) == (1_199, 2_398, 11_990, 7, 2, 1)
    assert files.told is not None
    assert [file["file"] for file in files.told] == ["last.csv", *(f"{n}.csv" for n in range(999))]
    assert files.to_json()["filesShown"] == 1_000
    assert outcome.to_read == 12_000


def test_of_files_that_were_not_committed_none_is_processed() -> None:
    made, one = batch(3)
    files = outcome_of(made, [replace(one, status="failed")]).files
    assert files is not None
    assert (files.processed, files.records, files.bytes, files.failed) == (0, 0, 0, 1)
    assert files.told is not None
    assert [(file["file"], file.get("output"), file["recordsWritten"]) for file in files.told] == [
        ("last.csv", None, 0),
        ("0.csv", None, 0),
        ("1.csv", None, 0),
    ]


def test_a_batch_that_died_before_it_was_prepared_has_an_account_of_no_files_and_another_service_none() -> None:
    made, _ = batch(3)
    assert outcome_of(made, []).files == Files()
    assert outcome_of(job(), [row()]).files is None
