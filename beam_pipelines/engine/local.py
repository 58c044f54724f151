"""A pipeline on this machine: Beam's in-process portable runner, in one process or with workers of ours beside it."""

from __future__ import annotations

import contextlib
import copy
import logging
import shlex
import sys
import threading
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.job.utils import dict_to_struct
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
from apache_beam.runners.worker import statecache

from beam_pipelines.engine import beside
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.pipeline import RunLoads
from beam_pipelines.engine.views import ViewedOptions
from beam_pipelines.engine.worker import received

__all__ = ["BEAMS_THREADS", "LocalRunner", "run_here", "threads_of_beam_quiet", "weight"]

_LOG = logging.getLogger(__name__)
# `exec`: Beam starts it by a shell, which would otherwise stay between and take signals.
_COMMAND = f"exec {shlex.quote(sys.executable)} -m beam_pipelines.engine.worker"
BEAMS_THREADS = ("run_worker", "beam_control_read", "read_grpc_client_inputs", "wait_until_finish")
_STARTER = "apache_beam.runners.worker.sdk_worker_main"  # warns of a folder that only containers have
# The pipeline of the stream that runs here: built once, for what tells one drain from the next is not in it but in the run's context.
_built: tuple[Job, PipelineOptions | None, LocalRunner] | None = None
_CHATTY = ("apache_beam", "urllib3", "google", "sqlglot", "asyncio")


def run_here(job: Job, options: PipelineOptions | None = None) -> None:
    """Build the pipeline of a job and run it to its end; the run context is in the environment.

    Raises:
        Exception: What a step raised, in this process or in a worker's.
    """
    try:
        _run(job, options)
    except RuntimeError as error:
        told = received(error)
        if told is error:
            raise
        raise told from error


def _run(job: Job, options: PipelineOptions | None) -> None:
    global _built
    if _built is not None and _built[0] is job and _built[1] is options:
        _built[2].again()
        return
    runner, viewed = LocalRunner(live=job.live), options or ViewedOptions([])
    pipeline = beam.Pipeline(runner=runner, options=viewed)
    pipeline | "Run" >> RunLoads(job)
    # The round trip through the proto is a test of Beam's own; ours is tested once, in the suite.
    pipeline.run(test_runner_api=False).wait_until_finish()
    if job.live:
        _built = job, options, runner


class LocalRunner(FnApiRunner):
    """Beam's in-process portable runner, whose worker processes are ours, get the options, and log as this process does.

    Args:
        live: Runs are short, and many follow each other: the pipeline can be run again as it was built.
    """

    def __init__(self, *, live: bool = False) -> None:
        super().__init__()
        statecache.get_deep_size = weight
        self._live = live
        self._first: tuple[Any, Any] | None = None  # what was run, and its options

    def again(self) -> None:
        """Run the same pipeline once more.

        Raises:
            Exception: What a step raised.
        """
        assert self._first is not None
        pipeline_proto, options = self._first
        self._carry_out(copy.deepcopy(pipeline_proto), options)

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        if self._live:
            self._first = copy.deepcopy(pipeline_proto), options
        return self._carry_out(pipeline_proto, options)

    def _carry_out(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        environments = pipeline_proto.components.environments.values()
        if all(one.urn == python_urns.EMBEDDED_PYTHON for one in environments):
            with beside.room():
                return super().run_via_runner_api(pipeline_proto, options)
        processes = [one for one in environments if one.urn == python_urns.SUBPROCESS_SDK]
        if not processes:
            return super().run_via_runner_api(pipeline_proto, options)
        from beam_pipelines.engine import forked  # most runs have no other process

        for environment in processes:
            environment.urn, environment.payload = forked.URN, _COMMAND.encode()
        self._provision_info = ExtendedProvisionInfo(_provision(options))
        with threads_of_beam_quiet():
            return super().run_via_runner_api(pipeline_proto, options)


def weight(*values: Any) -> int:
    """Bytes of what a worker caches, as Beam weighs it.

    Beam has the globals of all modules listed first, for each value anew, that none of them is weighed: a twentieth of a small run. It
    walks into no module, function or type, and so comes to none of them.
    """
    size: int = statecache.objsize.get_deep_size(
        *values,
        get_size_func=statecache._size_func,
        get_referents_func=statecache._get_referents_func,
        filter_func=statecache._filter_func,
        exclude_modules_globals=False,
    )
    return size


@contextlib.contextmanager
def threads_of_beam_quiet() -> Iterator[None]:
    """While workers live: the runner's threads that talk to one which is gone raise, and the error of the run says so already."""
    before = threading.excepthook

    def hook(caught: threading.ExceptHookArgs) -> None:
        name = caught.thread.name if caught.thread else ""
        if name.startswith(BEAMS_THREADS):
            _LOG.debug("thread %s of Beam ended", name, exc_info=caught.exc_value)
        else:
            before(caught)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _provision(options: PipelineOptions) -> Any:
    """What workers are told: the user's options, and by default the levels that loggers have here."""
    levels = {name: logging.getLogger(name).getEffectiveLevel() for name in ("", *_CHATTY)}
    quiet = {name: logging.getLevelName(max(logging.WARNING, levels[name])) for name in _CHATTY}
    quiet[_STARTER] = "ERROR"
    given = options.get_all_options(drop_default=True)
    told = {
        "default_sdk_harness_log_level": str(levels[""]),
        **{name: _value(value) for name, value in given.items()},
        "sdk_harness_log_level_overrides": {**quiet, **(given.get("sdk_harness_log_level_overrides") or {})},
    }
    return beam_provision_api_pb2.ProvisionInfo(
        retrieval_token="unused-retrieval-token",
        pipeline_options=dict_to_struct({f"beam:option:{name}:v1": value for name, value in told.items()}),
    )


def _value(value: Any) -> Any:
    """An option as the worker reads it: a number as digits, for in a protobuf struct it would be a fraction (`2.0`)."""
    return value if isinstance(value, (bool, str, list, dict)) else str(value)
