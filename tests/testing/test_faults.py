"""Going through faults: every one is tried, and what goes wrong is told with the fault that it is of."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import pytest

from beam_pipelines.testing import faults
from beam_pipelines.testing.faults import Always, Child, Ended, Fault, can_fail, distinct, explore, once


class Nothing:
    """A subject that nothing happens to."""

    def reset(self) -> None: ...

    def start(self, fault: Fault | None = None) -> Child:
        raise NotImplementedError

    def check(self) -> None: ...


def test_every_fault_is_tried_once_and_what_is_broken_is_named() -> None:
    tried: list[str] = []

    def scenario(_subject: Nothing, fault: Fault) -> None:
        tried.append(fault.point)
        if fault.point in ("a#3", "a#5"):
            raise AssertionError(f"lost a row at {fault.point}")

    told = explore([Nothing(), Nothing()], [Fault(f"a#{number}", "die-after") for number in range(9)], scenario)
    assert sorted(tried) == [f"a#{number}" for number in range(9)]
    assert told == [f"die-after at a#{n}: AssertionError: lost a row at a#{n}" for n in (3, 5)]


@pytest.mark.parametrize(
    ("point", "fails"),
    [
        ("target.commit:duckdb.COMMIT#0", True),
        ("target.commit:duckdb.close#0", False),
        ("state.__exit__:sqlite.close#0", False),
        ("staging.finish:arrow.close@stage#0", True),
    ],
)
def test_letting_go_of_a_connection_cannot_fail(point: str, fails: bool) -> None:
    assert can_fail(point) is fails


def test_of_calls_that_are_alike_one_is_taken_by_a_draw_that_stays_and_of_commits_all() -> None:
    reads = [f"state.finish:sqlite.SELECT#{number}" for number in range(9)]
    others = ["state.begin:sqlite.SELECT#0", "state.finish:sqlite.SELECT@stage#0"]
    durable = ["state.finish:sqlite.commit#0", "state.finish:sqlite.commit#1", "staging.finish:file.replace@stage#0"]
    drawn = {one for draw in "abcdefgh" for one in once([*reads, *others, *durable], draw)}
    assert drawn > {*others, *durable}
    assert len(drawn & {*reads}) > 1
    for draw in "abc":
        (one,) = {*once([*reads, *others, *durable], draw)} - {*others, *durable}
        assert one in reads
        assert once([*reads, *durable], draw) == [one, *durable]


def test_faults_that_come_to_the_same_are_tried_once() -> None:
    begin, insert, commit, close = (f"state.finish:sqlite.{verb}#0" for verb in ("BEGIN", "INSERT", "commit", "close"))
    look, copy = "staging.names:s3.ListObjectsV2#0", "target._copied:s3.CopyObject@pool#3"
    traced = Ended(0, (begin, insert, commit, close, look, copy), effects=(commit,))
    tried = {(fault.point, fault.kind) for fault in distinct(traced)}
    assert {point for point, kind in tried if kind == "die-after"} == {commit, copy}
    assert [point for point, kind in tried if kind == "die-before"] == [begin]
    assert {point for point, kind in tried if kind == "fail-before"} == {begin, insert, commit, look, copy}
    assert {point for point, kind in tried if kind == "fail-after"} == {begin, commit, copy}
    assert len(distinct(traced)) == 11


def test_which_thread_of_a_pool_makes_a_call_is_not_in_its_name() -> None:
    trace = faults._Trace(None, None)
    for one in ("ThreadPoolExecutor-0_1", "ThreadPoolExecutor-7_0", "stage"):
        trace._named("target._copied:s3.CopyObject", threading.Thread(name=one))
    assert trace.calls == [f"target._copied:s3.CopyObject@{who}" for who in ("pool#0", "pool#1", "stage#0")]


def test_what_changes_outside_of_calls_is_noticed(tmp_path: Path) -> None:
    trace = faults._Trace(None, None, tmp_path)

    def write() -> None:
        (tmp_path / "seen").write_text("a")

    with trace._watching("first#0"):
        write()
    with trace._watching("second#0"):
        pass
    (tmp_path / "unseen").write_text("b")
    with trace._watching("third#0"):
        pass
    assert trace.effects == ["first#0"]
    assert trace.unseen == [f"before third#0: {tmp_path / 'unseen'}"]


def test_a_patch_can_be_sent_to_a_child() -> None:
    assert pickle.loads(pickle.dumps(Always(2)))("whatever", more=1) == 2
