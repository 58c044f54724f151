from __future__ import annotations

import json
import shutil

import pytest

from beam_pipelines.cli import batch, etl, quality
from beam_pipelines.examples.example import place


@pytest.fixture
def placed(room):
    """The example with a small CRM, in the place where the bare command looks for it."""
    for path in room.folder.iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    place(room.folder / "beam_pipelines_example" / "etl", customers=2_000)
    return room


def test_the_bare_command_runs_the_example_and_again_picks_up_what_changed(placed):
    first = placed("etl", "--runner=DirectRunner", "--output", "json")
    assert first.code == 0, first.err
    assert "no --service is given: this is the packaged example, beam_pipelines_example/etl/customer_data_etl.yaml" in first.err
    record = first.json()
    assert record["metrics"]["recordsExtracted"] >= 2_000
    assert [step["id"] for step in record["steps"][1]["transformations"]] == ["normalize", "enrich", "validate"]
    second = placed("etl", "--runner=DirectRunner")
    assert second.code == 0, second.err
    assert "since the last run a day has passed in the CRM" in second.err
    hint = second.out.splitlines()[-1]
    assert hint.endswith(" --service beam_pipelines_example/etl/customer_data_etl.yaml")
    shown = placed(*hint.split()[1:], "--output", "json")
    assert shown.code == 0, shown.err
    assert 0 < shown.json()["metrics"]["recordsExtracted"] < 2_000


def test_planning_the_example_lets_no_day_pass(placed):
    crm = placed.folder / "beam_pipelines_example" / "etl" / "crm.db"
    before = crm.read_bytes()
    answer = placed("etl", "--plan", "--output", "json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["serviceId"] == "customer-data-etl-pipeline"
    assert crm.read_bytes() == before


def test_the_examples_folder_can_be_chosen(placed):
    (placed.folder / "beam_pipelines_example" / "etl").rename(placed.folder / "mine")
    assert placed("etl", "--example-dir", "mine", "--validate").code == 0
    assert not (placed.folder / "beam_pipelines_example" / "etl").exists()


@pytest.mark.parametrize("option", ["--connections", "--state"])
def test_options_of_a_service_of_ones_own_are_refused_without_one(placed, option):
    answer = placed("etl", option, "x")
    assert answer.code == 2
    assert f"{option} goes with --service FILE" in answer.err


def test_the_examples_folder_beside_a_service_is_refused(room):
    answer = room("etl", "--service", "service.yaml", "--example-dir", "x")
    assert answer.code == 2
    assert "--example-dir" in answer.err


@pytest.mark.parametrize(
    ("command", "words"),
    [(etl, ["--service", ""]), (batch, ["--service", ""]), (quality, ["--service", ""]), (quality, ["--rules", "", "--input", "x.csv"])],
)
def test_a_name_that_is_empty_is_no_wish_for_the_example(command, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(words) == 2
    assert "expected a definition at ''" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def orders(room):
    """The batch example with small files, in the place where the bare command looks for it."""
    from beam_pipelines.examples import batch as packaged

    for path in room.folder.iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    packaged.place(room.folder / "beam_pipelines_example" / "batch", orders_a_day=300)
    return room


def test_the_bare_batch_command_processes_the_files_and_again_the_one_that_arrived(orders):
    first = orders("batch", "--runner=DirectRunner", "--output", "json")
    assert first.code == 0, first.err
    assert "no --service is given: this is the packaged example, beam_pipelines_example/batch/batch_processor.yaml" in first.err
    record = first.json()
    assert [step["id"] for step in record["steps"][1]["transformations"]] == ["parse", "cleanse", "transform"]
    assert (record["kind"], record["metrics"]["recordsExtracted"]) == (
        "batch",
        8 * 300 + 5 + 13_000,
    )  # a day has passed since they were made
    written = orders.folder / "beam_pipelines_example" / "batch" / "processed-data" / "processed"
    assert len(list(written.glob("orders-2026-03-*.parquet"))) == 9
    second = orders("batch")
    assert second.code == 0, second.err
    assert "since the last run a day has passed, and its file has arrived" in second.err
    hint = second.out.splitlines()[-1]
    shown = orders(*hint.split()[1:], "--output", "json")
    assert shown.code == 0, shown.err
    assert shown.json()["metrics"]["recordsExtracted"] == 13_000
    assert len(list(written.iterdir())) == 10


def test_planning_the_batch_example_lets_no_day_pass(orders):
    answer = orders("batch", "--plan", "--output", "json")
    assert answer.code == 0, answer.err
    assert len(list(orders.folder.glob("beam_pipelines_example/batch/raw-data/daily-exports/*"))) == 8


def test_a_service_of_another_kind_is_refused_by_the_batch_command(room):
    answer = room("batch", "--service", "service.yaml")
    assert answer.code == 2
    assert "expected a definition with a section `batch`, got one of kind 'etl': beam-pipelines run FILE runs any kind" in answer.err
    assert "--example-dir" in room("batch", "--service", "service.yaml", "--example-dir", "x").err
