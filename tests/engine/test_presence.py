"""Runs inside a user's pipelines, known by this process: at work until they end, or until their runner has no pipeline any more."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines.engine import presence
from beam_pipelines.errors import PlanError
from beam_pipelines.state.lease import at_work


class Runner(FnApiRunner):
    """Executes whatever it is given by calling it."""

    def run_via_runner_api(self, pipeline_proto: Any, options: Any) -> Any:
        return pipeline_proto(options)


def test_a_run_is_at_work_until_it_ends() -> None:
    presence.begin("somewhere else", "r1")
    presence.begin("somewhere else", "r1")
    assert at_work == {"r1"}
    presence.end("somewhere else", "r1")
    assert at_work == set()


def test_a_run_is_at_work_until_its_pipeline_is_over_however_it_ends() -> None:
    runner, other = Runner(), Runner()
    name, theirs = presence.watch(runner), presence.watch(other)
    assert (presence.watch(runner), name != theirs) == (name, True)

    def fails(run: str) -> None:
        presence.begin(name, run)
        assert at_work == {"theirs", run}
        raise SystemExit(3)

    def works(_: Any) -> str:
        presence.begin(theirs, "theirs")
        for run in ("r1", "r2"):
            with pytest.raises(SystemExit):
                runner.run_via_runner_api(fails, run)
            assert at_work == {"theirs"}
        return "done"

    assert other.run_via_runner_api(works, options=None) == "done"
    assert at_work == set()


def test_a_runner_of_this_process_that_executes_nothing_is_not_the_one_that_asks() -> None:
    runner = Runner()
    name = presence.watch(runner)
    with pytest.raises(PlanError, match="another runner than it was made with") as refused:
        presence.check(name)
    assert refused.value.code == "runner-refused"
    runner.run_via_runner_api(presence.check, name)
    presence.check("that of a pipeline which another process made")


def test_of_two_pipelines_of_one_runner_the_end_of_one_is_not_that_of_the_other() -> None:
    runner = Runner()
    name = presence.watch(runner)

    def waits(_: Any) -> None:
        presence.begin(name, "r1")
        thread = threading.Thread(target=runner.run_via_runner_api, args=(lambda _: presence.begin(name, "r2"), None))
        thread.start()
        thread.join()
        assert "r1" in at_work

    runner.run_via_runner_api(waits, None)
    assert at_work == set()
