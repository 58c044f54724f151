from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from beam_pipelines.cli import summary
from beam_pipelines.cli.output import Output
from beam_pipelines.state.record import Execution, FailedRecord, Metrics, Step, StreamHour, Transformation

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
DONE = Execution(
    service="customers",
    run="abc123",
    started_at=AT,
    status="success",
    duration=2_500,
    metrics=Metrics(1000, 880, 870, 2 << 20, 15, 100, 5, 15),
    steps=(
        Step("extract", record_count=1000, errors=10, duration=400),
        Step(
            "transform",
            record_count=880,
            transformations=(
                Transformation("normalize", records_in=990, records_out=985, records_dead_lettered=5, duration=40),
                Transformation("adults", records_in=985, records_out=880, records_filtered=100, records_rejected=5, duration=7),
            ),
        ),
        Step("load", record_count=880, loaded=870, errors=10, method="merge", duration=90),
    ),
    guarantee="exactly-once: one transaction; an older version never overwrites a newer one",
    watermark={"type": "timestamp", "text": "2026-01-01T00:00:00"},
    charge={
        "amount": "10.00",
        "currency": "USD",
        "description": "ETL Pipeline - 0.00 GB processed",
        "lines": [
            {"name": "usage", "quantity": "0.001953125", "unit": "GB", "rate": "0.50", "amount": "0.0009765625"},
            {"name": "enrichment", "quantity": "12.5", "unit": "1,000 rows", "rate": "0.50", "amount": "6.25"},
        ],
    },
)


def letters(step: str, code: str, count: int, table: str = "customers") -> FailedRecord:
    return FailedRecord("customers", "abc123", 0, step, code, count, "/letters/abc123.jsonl", "why", table, AT)


def written(execution: Execution, *more: object) -> list[str]:
    stream = io.StringIO()
    summary.write(Output(stream), execution, *more)  # type: ignore[arg-type]
    return stream.getvalue().splitlines()


def test_the_headline_says_how_it_ended_and_how_long_it_took():
    assert written(DONE)[0] == "customers: success in 2.5 s (run abc123)"


def test_every_step_has_its_rows_in_and_out():
    table = [line.split() for line in written(DONE)[2:7]]
    assert table == [
        ["step", "in", "out", "filtered", "rejected", "dead", "time"],
        ["extract", "1,000", "990", "10", "400", "ms"],
        ["normalize", "990", "985", "0", "0", "5", "40", "ms"],
        ["adults", "985", "880", "100", "5", "0", "7", "ms"],
        ["load", "880", "870", "10", "90", "ms"],
    ]


def test_the_time_of_steps_that_ran_as_one_is_told_once():
    one = Transformation("normalize", records_in=990, records_out=985, records_dead_lettered=5, duration=40, fused_with=("adults",))
    other = Transformation("adults", records_in=985, records_out=880, records_filtered=105, duration=40, fused_with=("normalize",))
    steps = (DONE.steps[0], replace(DONE.steps[1], transformations=(one, other)), DONE.steps[2])
    table = [line.split() for line in written(replace(DONE, steps=steps))[2:7]]
    assert [line[-2:] for line in table[2:4]] == [["40", "ms"], ["with", "normalize"]]


def test_the_bytes_of_steps_that_ran_as_one_are_told_once():
    one = Transformation("normalize", bytes_out=2048, fused_with=("adults",))
    other = Transformation("adults", bytes_out=2048, fused_with=("normalize",))
    last = Transformation("totals", bytes_out=10)
    steps = (DONE.steps[0], replace(DONE.steps[1], transformations=(one, other, last)), DONE.steps[2])
    lines = [line.strip() for line in written(replace(DONE, steps=steps))]
    assert lines[lines.index("bytes          2.0 MiB") :][1:3] == ["- 2.0 KiB out of adults", "- 10 B out of totals"]


def test_what_became_of_the_rows_where_it_stopped_what_it_promises_and_costs():
    said = "\n".join(
        line.strip() for line in written(DONE, [letters("extract", "cast-failed", 10), letters("normalize", "function-failed", 5)])
    )
    for expected in (
        "loaded         870 rows by merge",
        "filtered       100",
        "rejected       5",
        "dead-lettered  15\n- 10 cast-failed in extract\n- 5 function-failed in normalize\nin /letters/abc123.jsonl",
        "bytes          2.0 MiB",
        "watermark      2026-01-01T00:00:00",
        "guarantee      exactly-once\n- one transaction\n- an older version never overwrites a newer one",
        "charge         10.00 USD (ETL Pipeline - 0.00 GB processed)\n"
        "- usage: 0.001953 GB at 0.5 = 0.000977\n- enrichment: 12.5 x 1,000 rows at 0.5 = 6.25",
    ):
        assert expected in said, expected


def test_a_run_of_several_tables_names_them():
    steps = tuple(replace(step, table=table) for table in ("a", "b") for step in DONE.steps)
    several = replace(DONE, steps=steps, watermark={"b": {"type": "int", "text": "7"}, "a": None})
    lines = written(several)
    assert lines[2].split()[:2] == ["table", "step"]
    assert [line.split()[0] for line in lines[3:11]] == ["a"] * 4 + ["b"] * 4
    assert "  watermark      a: none" in lines
    assert "                 b: 7" in lines


def test_a_failed_run_says_why_and_owes_nothing():
    failed = replace(DONE, status="failed", charge=None, watermark=None, error="too many", error_code="budget-exceeded", steps=())
    lines = written(failed)
    assert "  error          too many [budget-exceeded]" in lines
    assert not any("charge" in line for line in lines)


def test_notes_stand_at_the_end():
    assert written(DONE, (), [("settled", "run x is recorded as success now")])[-1] == "  settled        run x is recorded as success now"


def test_rows_that_went_on_with_nulls_are_counted_where_there_are_any():
    assert not any("with nulls" in line for line in written(DONE))
    extract, transform, load = DONE.steps
    optional = replace(transform, transformations=(replace(transform.transformations[0], records_nulled=1_234),))
    assert "  with nulls     1,234 on which normalize failed" in written(replace(DONE, steps=(extract, optional, load)))


def test_rows_that_a_step_made_or_absorbed_are_told_where_there_are_any() -> None:
    extract, transform, load = DONE.steps
    assert not any("absorbed" in line or "made" in line for line in written(DONE))
    counted = replace(transform, transformations=(replace(transform.transformations[0], records_made=7, records_absorbed=2_345),))
    lines = written(replace(DONE, steps=(extract, counted, load)))
    assert "  made           7 more by normalize" in lines
    assert "  absorbed       2,345 into the groups of normalize" in lines


def test_each_group_of_tables_has_its_guarantee():
    text = "exactly-once for a, b: one transaction; no late commit\nat-least-once for c: mode insert"
    said = "\n".join(line.strip() for line in written(replace(DONE, guarantee=text)))
    assert (
        "guarantee      exactly-once for a, b\n- one transaction\n- no late commit\nguarantee      at-least-once for c\n- mode insert"
        in said
    )


def test_what_became_of_the_loaded_rows_is_told_where_there_are_any():
    assert "  loaded         870 rows by merge" in written(DONE)
    metrics = replace(DONE.metrics, records_inserted=1_200, records_stale=3, records_superseded=1, records_deleted=9)
    lines = written(replace(DONE, metrics=metrics))
    first = lines.index("  loaded         870 rows by merge")
    assert [line.strip() for line in lines[first + 1 : first + 6]] == [
        "- 1,200 inserted",
        "- 3 stale: a newer version is there",
        "- 1 superseded: the same key came again",
        "- 9 deleted from the table before",
        "filtered       100",
    ]


def test_a_rule_of_the_data_set_that_was_not_judged_is_told_from_one_with_nothing_to_look_at() -> None:
    rules = (
        {"rule": "many", "holds": True, "measured": 12, "notEvaluated": 0},
        {"rule": "few", "holds": False, "measured": 12, "notEvaluated": 0},
        {"rule": "steady", "holds": None, "measured": 12, "notEvaluated": 0},
        {"rule": "mean", "holds": None, "measured": None, "notEvaluated": 12},
    )
    step = Step("transform", record_count=12, transformations=(Transformation("check", records_in=12, records_out=12, rules=rules),))
    lines = {line.split()[0]: line for line in written(replace(DONE, steps=(step,))) if line.strip()}
    assert lines["many"].endswith("12        yes")
    assert lines["few"].endswith("12        no")
    assert lines["steady"].endswith("12        not judged")
    assert lines["mean"].endswith("nothing to look at")


STREAM = replace(
    DONE,
    kind="stream",
    status="running",
    duration=None,
    live={
        "eventsPerSecond": 1234.56,
        "lag": {str(number): number for number in range(13)},
        "watermark": "2026-01-02T03:04:01.500000+00:00",
        "watermarkDelay": 3_500,
        "openWindows": 1_001,
        "late": 7,
        "windowsWritten": 2_002,
        "updatedAt": "2026-01-02T03:04:05.000000+00:00",
    },
    watermark={"type": "offsets", "text": "{}"},
    charge={"amount": "10.50", "currency": "USD", "description": "7 hours"},
    charges=tuple(
        StreamHour("customers", AT + timedelta(hours=n), "abc123", n * 1000, AT, f"k{n}", Decimal("1.50"), "USD") for n in range(7)
    ),
)


def test_a_stream_tells_how_it_stands() -> None:
    said = "\n".join(line.strip() for line in written(STREAM))
    assert said.startswith("customers: running (run abc123)\n")
    for expected in (
        "dead-lettered    15",
        "events           1,234.6 a second",
        "lag              78 messages in 13 partitions\n- 12 in partition 12\n- 11 in partition 11",
        "- 3 in partition 3\n- 3 in 2 others",
        "watermark        2026-01-02 03:04:01Z, 3.5 s behind the clock",
        "open windows     1,001",
        "windows written  2,002",
        "late             7",
        "last commit      2026-01-02 03:04:05Z",
    ):
        assert expected in said, expected
    assert "offsets" not in said


def test_a_stream_tells_the_hours_it_paid_for_the_newest_ones_one_by_one() -> None:
    lines = [line.strip() for line in written(STREAM)]
    first = lines.index("charge           10.50 USD (7 hours)")
    assert lines[first + 1] == "- 2026-01-02 05:00Z: 2,000 events, 1.50 USD"
    assert lines[first + 5 : first + 7] == [
        "- 2026-01-02 09:00Z: 6,000 events, 1.50 USD",
        "- 2 more hours before: --output json tells them",
    ]


def test_a_stream_that_has_committed_nothing_tells_what_there_is() -> None:
    lines = [line.strip() for line in written(replace(STREAM, live=None, charge=None, charges=(), watermark=None, steps=()))]
    assert "watermark      none" in lines
    assert not any(line.startswith(("charge", "lag")) for line in lines)


def test_the_dead_letters_of_a_stream_are_told_by_code_with_the_newest_files():
    drains = [
        replace(
            letters("windows", "late-row", 2), drain=f"d{number}", url=f"/letters/d{number}.jsonl", timestamp=AT + timedelta(seconds=number)
        )
        for number in range(12)
    ]
    poison = replace(letters("extract", "row-invalid", 1), drain="d3", url="/letters/d3.jsonl", timestamp=AT + timedelta(seconds=3))
    said = "\n".join(line.strip() for line in written(DONE, [*reversed(drains), poison]))
    assert (
        "dead-lettered  15\n- 24 late-row in windows\n- 1 row-invalid in extract\n"
        "in 12 files in /letters/; the newest:\n- d11.jsonl\n- d10.jsonl\n- d9.jsonl\nbytes" in said
    )
    assert "d8.jsonl" not in said


def test_a_few_files_of_a_stream_are_all_named():
    drains = [replace(letters("windows", "late-row", 2), drain=f"d{n}", url=f"/letters/d{n}.jsonl") for n in range(3)]
    said = "\n".join(line.strip() for line in written(DONE, drains))
    assert "- 6 late-row in windows\nin /letters/d0.jsonl\nin /letters/d1.jsonl\nin /letters/d2.jsonl" in said


def test_commits_without_a_row_are_not_told_beside_others():
    steps = (*DONE.steps[:2], replace(DONE.steps[2], method="nothing to load, insert, merge"))
    assert any("870 rows by insert, merge" in line for line in written(replace(DONE, steps=steps)))
    steps = (*DONE.steps[:2], replace(DONE.steps[2], method="nothing to load"))
    assert any("870 rows by nothing to load" in line for line in written(replace(DONE, steps=steps)))
