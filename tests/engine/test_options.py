from __future__ import annotations

import pytest
from apache_beam.options.pipeline_options import DebugOptions, DirectOptions, PipelineOptions, StandardOptions

from beam_pipelines.engine.options import check_runner, parse_beam
from beam_pipelines.engine.views import ViewedOptions
from beam_pipelines.errors import PlanError, SpecError

PROCESSES = "--direct_running_mode=multi_processing"


def test_options_are_read_as_beam_reads_them() -> None:
    words = ["--runner", "DirectRunner", "--direct_num_workers=3", "--experiments=a", "--experiments", "b", "--streaming"]
    ours, beams = parse_beam(words), PipelineOptions(words)
    assert ours.get_all_options(drop_default=True) == beams.get_all_options(drop_default=True)
    assert ours.view_as(DirectOptions).direct_num_workers == 3
    assert ours.view_as(DebugOptions).experiments == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runer=DirectRunner"], "unknown option '--runer'; did you mean --runner?"),
        (["--runer", "DirectRunner"], "unknown option '--runer'; did you mean --runner?"),
        (["--direct_num_worker=2"], "unknown option '--direct_num_worker'; did you mean --direct_num_workers?"),
        (["--utterly-different-from-everything"], "unknown option '--utterly-different-from-everything'"),
        (["-x"], "unknown option '-x'"),
        (["DirectRunner"], "expected an option, got 'DirectRunner'"),
        (["--runner", "DirectRunner", "DirectRunner"], "expected an option, got 'DirectRunner'"),
        (["--streaming", "true"], "expected an option, got 'true'"),
        (["--runner"], "option --runner: expected one argument"),
        (["--direct_num_workers=two"], "option --direct_num_workers: invalid int value: 'two'"),
        (["--direct_run=1"], "unknown option '--direct_run'"),  # no abbreviations: Beam's options grow
    ],
)
def test_a_mistaken_option_is_an_error_with_what_was_meant(words: list[str], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_beam(words)
    assert refused.value.code == "option-invalid"
    assert str(refused.value).startswith(message)


def test_a_mistaken_choice_names_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SpecError, match="multi_processing"):
        parse_beam(["--direct_running_mode=processes"])
    assert capsys.readouterr() == ("", "")  # argparse would print its usage: Beam has some 200 options


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        ([], "Beam's in-process portable runner, one process"),
        (["--runner=DirectRunner"], "Beam's in-process portable runner, one process"),
        (["--runner=apache_beam.runners.DirectRunner"], "Beam's in-process portable runner, one process"),
        ([PROCESSES], "Beam's in-process portable runner, 1 worker process"),
        ([PROCESSES, "--direct_num_workers=2"], "Beam's in-process portable runner, 2 worker processes"),
    ],
)
def test_the_engine_that_runs_is_named(words: list[str], engine: str) -> None:
    assert check_runner(parse_beam(words)) == engine


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--runner=DaskRunner"], "DaskRunner is refused: it ends DONE with wrong or missing output"),
        (["--runner=InteractiveRunner"], "InteractiveRunner is refused"),
        (["--runner=FlinkRunner"], "FlinkRunner is not served"),
        (["--runner=DataflowRunner"], "DataflowRunner is not served"),
        (["--runner=PrismRunner"], "PrismRunner serves streams alone"),
        (["--runner=mine.DirectRunner"], "mine.DirectRunner is not served: this version starts runs on the DirectRunner"),
        (["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"], "DaskRunner is refused"),
        (["--runner=DirectRuner"], "DirectRuner is not served: this version starts runs on the DirectRunner; did you mean DirectRunner?"),
        (["--direct_running_mode=multi_threading"], "multi_threading is refused: in Beam 2.77 it loses large batches"),
    ],
)
def test_a_runner_that_would_do_wrong_is_refused_with_its_reason(words: list[str], reason: str) -> None:
    with pytest.raises(PlanError) as refused:
        check_runner(parse_beam(words))
    assert refused.value.code == "runner-refused"
    assert reason in str(refused.value)


@pytest.mark.parametrize("words", [["--direct_num_workers=4"], ["--direct_num_workers=0"], [PROCESSES, "--direct_num_workers=-1"]])
def test_an_option_that_would_not_do_what_it_says_is_refused(words: list[str]) -> None:
    with pytest.raises(PlanError) as refused:
        check_runner(parse_beam(words))
    assert refused.value.code == "option-invalid"


def test_views_share_their_values_and_are_made_once() -> None:
    options = ViewedOptions(["--runner=DirectRunner"])
    assert options.view_as(StandardOptions) is options.view_as(StandardOptions)
    options.view_as(StandardOptions).runner = "FlinkRunner"
    assert PipelineOptions.view_as(options, StandardOptions).runner == "FlinkRunner"
    assert ViewedOptions(["--runner=DirectRunner"]).view_as(StandardOptions).runner == "DirectRunner"


def test_what_is_added_to_the_options_of_one_run_is_not_in_those_of_the_next() -> None:
    words = ["--experiments=a"]
    ViewedOptions(words).view_as(DebugOptions).add_experiment("b")
    assert ViewedOptions(words).view_as(DebugOptions).experiments == ["a"]


def test_prism_runs_streams() -> None:
    assert check_runner(parse_beam(["--runner=PrismRunner"]), live=True) == "Prism, with this process as its worker"
