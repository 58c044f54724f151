"""Which runs inside pipelines of a user's this process is at work on: none of them has a launcher that would know.

A run is at work from when it takes its lease until it ends, or until the pipeline that it is a part of is over, however that ends. The
runner alone knows the latter: DoFns are torn down when they were idle for a minute, too. So the runner of the pipeline, which executes it
within one call, is made to say so.

A worker process has no runner in it. It lives no longer than its pipeline, so what it began is at work until it is gone.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any

from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines.errors import PlanError
from beam_pipelines.state.lease import at_work

__all__ = ["begin", "check", "end", "watch"]

_LOCK = threading.Lock()
_NAME = "_beam_pipelines_name"  # attribute of a runner that is watched
_WATCHED: set[str] = set()  # names of the runners that are watched in this process
_EXECUTING: dict[str, int] = {}  # by a runner's name: pipelines that it is executing
_BEGUN: dict[str, set[str]] = {}  # by a runner's name: runs that were begun, and have not ended


def watch(runner: FnApiRunner) -> str:
    """Have a runner say when its pipelines are over.

    Returns:
        A name of the runner, for `begin`.
    """
    with _LOCK:
        name: str | None = getattr(runner, _NAME, None)
        if name is not None:
            return name
        name = uuid.uuid4().hex
        execute = runner.run_via_runner_api

        def watched(*arguments: Any, **named: Any) -> Any:
            with _LOCK:
                _EXECUTING[name] = _EXECUTING.get(name, 0) + 1
            try:
                return execute(*arguments, **named)
            finally:
                _over(name)

        setattr(runner, _NAME, name)
        _WATCHED.add(name)
        runner.run_via_runner_api = watched
        return name


def begin(runner: str, run: str) -> None:
    """A run is about to take its lease; nothing new in a retry.

    Args:
        runner: What `watch` called the runner of its pipeline, in this process or in the one that made the pipeline.
        run: Run id.
    """
    with _LOCK:
        _BEGUN.setdefault(runner, set()).add(run)
        at_work.add(run)


def check(runner: str) -> None:
    """Refuse to begin where the runner of the pipeline is in this process, and executes nothing: another one executes the pipeline.

    That one was not asked for when the pipeline was made, may do wrong, and does not say when it is over. A worker process knows no runner.

    Args:
        runner: As in `begin`.

    Raises:
        PlanError: `runner-refused`.
    """
    with _LOCK:
        elsewhere = runner in _WATCHED and runner not in _EXECUTING
    if elsewhere:
        raise PlanError(
            "this pipeline is executed by another runner than it was made with, which alone was checked: make it with"
            " beam.Pipeline(runner='FnApiRunner'), and start it by its run()",
            code="runner-refused",
        )


def end(runner: str, run: str) -> None:
    """A run has ended, or never had its lease."""
    with _LOCK:
        _BEGUN.get(runner, set()).discard(run)
        at_work.discard(run)


def _over(name: str) -> None:
    """One pipeline of a runner is over. Which runs were in it is not known, so they are over when all of the runner's are."""
    with _LOCK:
        _EXECUTING[name] -= 1
        if not _EXECUTING[name]:
            del _EXECUTING[name]
            at_work.difference_update(_BEGUN.pop(name, ()))
