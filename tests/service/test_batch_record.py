"""What a batch tells of its files: in the record, in the store, in events and in the charge. Every number here is counted by hand."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.batch import Batch
from beam_pipelines.errors import PlanError
from beam_pipelines.state.store import StateStore

pytestmark = pytest.mark.long

Desk = Any
TOTALS = ("filesProcessed", "totalRecords", "totalBytes", "filesSkipped", "filesWaiting", "filesFailed", "filesShown")


def define(desk: Desk, *steps: dict[str, Any], processing: dict[str, Any] | None = None, **more: Any) -> None:
    batch = {
        "source": {"type": "file", "path": "in/*.csv*"},
        "processing": {"transformations": list(steps), **(processing or {})},
        "destination": {"type": "file", "path": "out", "format": "parquet"},
    }
    batch["source"] |= {"format": "csv", "columns": {"id": "bigint"}}
    desk.define({"name": "Desk", "batch": batch, "errorBudget": {"max": "100%"}, **more})


def put(desk: Desk, name: str, *ids: object) -> int:
    """Write a file of ids; gives its size."""
    return write(desk, name, "".join(f"{line}\n" for line in ("id", *ids)).encode())


def write(desk: Desk, name: str, content: bytes) -> int:
    path = Path(desk.folder) / "in" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return len(content)


def cut_off(desk: Desk, name: str) -> int:
    """A compressed file whose end is missing, which only those notice who read all of it."""
    whole = gzip.compress(("id\n" + "".join(f"{number * 7919 % 100_003}\n" for number in range(200_000))).encode())
    return write(desk, name, whole[: len(whole) * 9 // 10])


def totals(record: dict[str, Any]) -> tuple[int, ...]:
    return tuple(record[name] for name in TOTALS)


def told(file: dict[str, Any]) -> dict[str, Any]:
    """What is told of a file, but for how long it took."""
    assert file["duration"] >= 0
    return {name: value for name, value in file.items() if name != "duration"}


def test_the_record_tells_what_became_of_each_file_and_the_store_keeps_it(desk: Desk) -> None:
    rules = {"id": "rules", "type": "validate", "rules": [{"id": "small", "type": "numeric-range", "field": "id", "max": 50}]}
    define(desk, {"id": "odd", "type": "filter", "condition": "id % 2 = 1"}, rules)
    size = put(desk, "a.csv", 1, 2, 3) + put(desk, "b.csv", "none", 5, 99, 7) + put(desk, "c.csv")
    cut_off(desk, "d.csv.gz")
    record = desk.ran()
    # Of a: 1 and 3. Of b: 5 and 7; 99 is rejected, `none` is no number. Of c nothing, in a file of no rows. d is a dead letter.
    assert totals(record) == (3, 4, size, 0, 0, 1, 4)
    assert record["metrics"]["bytesProcessed"] == size
    broken, *others = map(told, record["files"])
    assert broken["file"] == "in/d.csv.gz"
    assert "output" not in broken
    assert broken["recordsWritten"] == 0
    assert broken["error"]
    assert others == [
        {"file": "in/a.csv", "output": "a.parquet", "records": 3, "recordsWritten": 2, "rejected": 0, "bytes": 9},
        {"file": "in/b.csv", "output": "b.parquet", "records": 4, "recordsWritten": 2, "rejected": 2, "bytes": 15},
        {"file": "in/c.csv", "output": "c.parquet", "records": 0, "recordsWritten": 0, "rejected": 0, "bytes": 3},
    ]
    with desk.store() as store:
        assert store.execution(record["runId"]).to_json() == record
        (listed,) = store.executions()
    assert listed.to_json() == {name: value for name, value in record.items() if name not in ("files", "filesShown")}


def test_later_runs_tell_what_they_skip_and_what_waits_broken(desk: Desk) -> None:
    define(desk)
    put(desk, "a.csv", 1)
    put(desk, "b.csv", 2)
    cut_off(desk, "c.csv.gz")
    assert totals(desk.ran())[:1] == (2,)
    size = put(desk, "b.csv", 20, 21) + put(desk, "d.csv", 4)
    record = desk.ran()
    assert totals(record) == (2, 3, size, 2, 1, 0, 2)
    assert [file["file"] for file in record["files"]] == ["in/b.csv", "in/d.csv"]
    record = desk.ran()
    assert (totals(record), record["files"]) == ((0, 0, 0, 4, 1, 0, 0), [])


def test_a_service_of_another_kind_tells_nothing_of_files(desk: Desk) -> None:
    desk.people(1, 3)
    desk.etl({"table": "people"}, {"table": "people", "mode": "insert"})
    record = desk.ran()
    assert not {*TOTALS, "files"} & set(record)


def test_a_run_that_loads_nothing_has_processed_no_file_and_says_which_one_is_broken(desk: Desk) -> None:
    define(desk, errorBudget={"max": 0})
    put(desk, "a.csv", 1, 2)
    put(desk, "b.csv", "x")
    failed = desk.run()
    assert (failed.exit_code, failed.execution.error_code) == (1, "budget-exceeded")
    record = failed.to_json()
    assert totals(record) == (0, 0, 0, 0, 0, 0, 2)
    assert [(file["file"], file["records"], file["recordsWritten"], file["rejected"]) for file in record["files"]] == [
        ("in/a.csv", 2, 0, 0),
        ("in/b.csv", 1, 0, 1),
    ]
    assert [file for file in record["files"] if "output" in file] == []


def test_a_run_that_died_before_its_record_is_told_by_the_next_as_it_was(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    define(desk)
    size = put(desk, "a.csv", 1, 2)
    with monkeypatch.context() as patched:
        patched.setattr(StateStore, "finish", lambda *_: (_ for _ in ()).throw(MemoryError("the process dies here")))
        with pytest.raises(MemoryError):
            desk.run()
    second = desk.run()
    assert second.exit_code == 0
    assert totals(second.to_json()) == (0, 0, 0, 1, 0, 0, 0)
    (died,) = second.settled
    with desk.store() as store:
        record = store.execution(died).to_json()
        last = [event for event in store.events(run=died) if event.type == "PipelineProgress.updated"][-1]
    assert totals(record) == (1, 2, size, 0, 0, 0, 1)
    assert told(record["files"][0]) == {
        "file": "in/a.csv",
        "output": "a.parquet",
        "records": 2,
        "recordsWritten": 2,
        "rejected": 0,
        "bytes": size,
    }
    assert last.data["progress"] == 1.0


def test_events_tell_how_many_bytes_of_all_are_done_and_in_the_end_all(desk: Desk) -> None:
    define(desk)
    sizes = [put(desk, f"{number:02d}.csv", *range(number * 50)) for number in range(40)]
    record = desk.ran(request="r-9")
    with desk.store() as store:
        events = store.events(run=record["runId"])
    progress = [event.data for event in events if event.type == "PipelineProgress.updated"]
    read = [data for data in progress if "totalBytes" in data]
    assert {data["totalBytes"] for data in read} == {sum(sizes)}
    assert all(data["progress"] == data["processedBytes"] / sum(sizes) <= 1 for data in read)
    assert [data["processedBytes"] for data in read] == sorted(data["processedBytes"] for data in read)
    assert progress[-1] == {
        "requestId": "r-9",
        "phase": "commit",
        "status": "completed",
        "recordCount": 50 * 780,
        "processedBytes": sum(sizes),
        "totalBytes": sum(sizes),
        "progress": 1.0,
    }
    outputs = next(event.data for event in events if event.type == "ServiceResult.deliver")["outputs"]
    assert {name: outputs[name] for name in TOTALS[:3]} == {"filesProcessed": 40, "totalRecords": 50 * 780, "totalBytes": sum(sizes)}
    assert "files" not in outputs


def test_a_run_without_a_new_file_is_all_done_too(desk: Desk) -> None:
    define(desk)
    put(desk, "a.csv", 1)
    desk.ran()
    record = desk.ran()
    with desk.store() as store:
        last = [event.data for event in store.events(run=record["runId"]) if event.type == "PipelineProgress.updated"][-1]
    assert (last["processedBytes"], last["totalBytes"], last["progress"]) == (0, 0, 1.0)


def test_who_listens_hears_the_bytes_of_all(desk: Desk) -> None:
    define(desk)
    sizes = [put(desk, f"{number}.csv", *range(5_000)) for number in range(6)]
    heard: list[tuple[int, int]] = []
    assert desk.run(listener=lambda progress: heard.append((progress.bytes, progress.total_bytes))).exit_code == 0
    times = 2 if desk.options else 1  # a bundle that is executed again reads again
    assert heard[-1] == (sum(sizes) * times, sum(sizes))


def test_the_price_is_of_the_bytes_of_the_files_that_were_processed(desk: Desk) -> None:
    define(desk, pricing={"model": "per-gb", "rate": 1024**3, "minimumCharge": 0})  # a unit of money a byte
    size = put(desk, "a.csv", 1, 2, 3) + write(desk, "b.csv.gz", gzip.compress(b"id\n" + b"7\n" * 1000, mtime=0))
    cut_off(desk, "c.csv.gz")
    record = desk.ran()
    assert Decimal(record["charge"]["amount"]) == record["totalBytes"] == size
    assert Decimal(desk.ran()["charge"]["amount"]) == 0  # the broken one is not asked to be paid for, nor what is skipped
    size = put(desk, "a.csv", 1)
    assert Decimal(desk.ran()["charge"]["amount"]) == size
    with desk.store() as store:
        assert [charge.description for charge in store.charges()] == ["Batch Processing - 0.00 GB processed"] * 3


def test_a_batch_inside_a_pipeline_of_the_users_gives_the_same_record(desk: Desk, tmp_path: Path) -> None:
    define(desk)
    size = put(desk, "a.csv", 1, 2) + put(desk, "b.csv", 3)
    cut_off(desk, "c.csv.gz")
    told_to = tmp_path / "record.json"
    for expected in ((2, 3, size, 0, 0, 1, 3), (0, 0, 0, 3, 1, 0, 0)):
        with beam.Pipeline(runner="FnApiRunner", options=PipelineOptions(list(desk.options))) as pipeline:
            record = pipeline | Batch(desk.folder / "service.json")
            record | beam.Map(lambda told, to: Path(to).write_text(json.dumps(told)), str(told_to))
        given = json.loads(told_to.read_text())
        assert totals(given) == expected
        with desk.store() as store:
            assert store.execution(given["runId"]).to_json() == given


@pytest.mark.no_bundle
def test_a_service_of_another_kind_is_refused_inside_a_pipeline(desk: Desk) -> None:
    path = desk.etl({"table": "people"}, {"table": "people", "mode": "insert"})
    with pytest.raises(PlanError, match=r"batch: expected one, for Batch runs it; this definition is of kind 'etl'"):
        beam.Pipeline(runner="FnApiRunner") | Batch(path)
