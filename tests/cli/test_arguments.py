from __future__ import annotations

import json

import pytest

from beam_pipelines.cli.main import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rum", "service.yaml"], "did you mean 'run'?"),
        (["run", "service.yaml", "--full-refesh"], "unknown option '--full-refesh'; did you mean --full-refresh?"),
        (["run", "service.yaml", "--keep-watermrk=1"], "did you mean --keep-watermark?"),
        (["runs", "--stauts", "failed"], "unknown option '--stauts'; did you mean --status?"),
        (["runs", "--status", "fialed"], "did you mean 'failed'?"),
        (["runs", "show", "x", "--servce", "f"], "unknown option '--servce'; did you mean --service?"),
        (["run"], "the following arguments are required: FILE"),
        (["runs", "show"], "the following arguments are required: ID"),
        (["plan", "a.yaml", "b.yaml"], "unexpected argument 'b.yaml'"),
        (["preview", "a.yaml", "--limit", "0"], "expected a number from 1 to 1000, got '0'"),
        (["run", "a.yaml", "--plan", "--validate"], "not allowed with argument --plan"),
        (["run", "a.yaml", "--full-refresh", "--keep-watermark"], "not allowed with argument --full-refresh"),
        ([], "the following arguments are required: COMMAND"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_ends_with_exit_2_and_what_was_meant(words, said, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert "docs/errors.md#option-invalid" in shown.err
    assert shown.out == ""


def test_a_slip_among_json_options_is_answered_in_json(capsys):
    assert main(["runs", "--output", "json", "--stauts", "failed"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["errorCode"] == "option-invalid"
    assert answer["exitCode"] == 2
    assert "did you mean --status?" in answer["error"]


def test_an_option_that_resembles_one_of_beam_and_one_of_ours_means_the_nearer(ran):
    answer = ran("run", "service.yaml", "--ouput=json")
    assert answer.code == 2
    assert "unknown option '--ouput'; did you mean --output?" in answer.err
    answer = ran("run", "service.yaml", "--full")
    assert answer.code == 2
    assert "unknown option '--full'" in answer.err  # no abbreviations: scripts would break when an option is added
    answer = ran("run", "service.yaml", "--runer=DirectRunner")
    assert answer.code == 2
    assert "did you mean --runner?" in answer.err
