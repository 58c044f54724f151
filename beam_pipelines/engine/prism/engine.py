"""A job on Prism that drains a stream when it is asked to, with this process as its worker."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PrismRunnerOptions
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.worker import sdk_worker, statesampler

from beam_pipelines.engine import beside
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.local import BEAMS_THREADS, threads_of_beam_quiet
from beam_pipelines.engine.prism import asked
from beam_pipelines.engine.prism.pipeline import RunDrains
from beam_pipelines.engine.prism.server import Server, find
from beam_pipelines.errors import TransientError
from beam_pipelines.runs.context import RunContext

__all__ = ["Engine"]

_PATIENCE = 5.0  # seconds for workers to end
_LOOK = 0.5  # seconds between two looks whether the process is there
# Prism asks sources to split, and fails the job where that is answered while nothing is read yet (Beam 2.77).
_EXPERIMENTS = ["prism_disable_sdf_split"]


class Engine:
    """Runs the drains of one service; a job is begun with the first, and anew behind a failure.

    Args:
        options: Beam's, as the user gave them.
    """

    def __init__(self, options: PipelineOptions) -> None:
        self._options, self._program = options, find(options.view_as(PrismRunnerOptions).prism_location)
        self._open: _Open | None = None
        self._number = 0

    def next(self) -> int:
        """The number of the next drain, from 1."""
        self._number += 1
        return self._number

    def run(self, job: Job, options: Any) -> None:  # noqa: ARG002 - the options are those that the engine was made with
        """Drain once; the run context is in the environment.

        Raises:
            TransientError: Prism is gone.
            Exception: What a step raised.
        """
        try:
            if self._open is None:
                self._open = _Open(job, self._options, self._program)
            with beside.room():
                self._open.drain(RunContext.current())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the job, and Prism."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()


class _Open:
    """A job that runs."""

    def __init__(self, job: Job, options: PipelineOptions, program: str) -> None:
        self._name = uuid.uuid4().hex
        self._exchange = asked.exchange(self._name)
        self._closing = contextlib.ExitStack()
        self._closing.callback(asked.forget, self._name)
        self._pool = _Pool(self._failed)
        try:
            # What ends last is entered first: threads that talk to Prism tell of its end, which is as it should be.
            self._closing.enter_context(threads_of_beam_quiet())
            self._closing.callback(self._pool.join)
            self.server = Server(program)
            self._closing.callback(self.server.close)
            self._result = self._submit(job, options)
        except BaseException:
            self._closing.close()
            raise
        self._closed = False
        threading.Thread(target=self._watch, name="prism", daemon=True).start()

    def _submit(self, job: Job, options: PipelineOptions) -> Any:
        given = options.get_all_options(drop_default=True)
        ours = {
            "runner": "PortableRunner",
            "job_endpoint": self.server.endpoint,
            "environment_type": "EXTERNAL",
            "environment_config": self._closing.enter_context(self._pool.serving()),
            "streaming": True,
            "experiments": [*(given.get("experiments") or []), *_EXPERIMENTS],
        }
        pipeline = beam.Pipeline(runner=PortableRunner(), options=PipelineOptions.from_dictionary({**given, **ours}))
        pipeline | "Run" >> RunDrains(job, self._name)
        try:
            return pipeline.run(test_runner_api=False)
        except grpc.RpcError as error:
            raise _gone(error) from error

    def _failed(self, error: BaseException) -> None:
        self._exchange.ended.put(("", error))

    def _watch(self) -> None:
        """Wait for the end of the job, which none has that is as it should be."""
        try:
            state = self._result.wait_until_finish()
            error: BaseException = RuntimeError(f"the job on Prism ended: {state}")
        except grpc.RpcError as gone:
            error = _gone(gone)
        except Exception as failed:  # noqa: BLE001 - raised where the drain is waited for
            error = failed
        if not self._closed:
            self._failed(error)

    def drain(self, context: RunContext) -> None:
        """Ask for a drain, and wait for its end."""
        self._exchange.asked.put((context.drain, context.run))
        while True:
            try:
                run, error = self._exchange.ended.get(timeout=_LOOK)
            except queue.Empty:
                if not self.server.running:
                    raise _gone() from None
                continue
            if error is not None:
                raise error
            if run == context.run:
                return

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(Exception):  # it may be gone, and goes with its process
            self._result.cancel()
        self._closing.close()


def _gone(error: BaseException | None = None) -> TransientError:
    told = f": {error.code().name}" if isinstance(error, grpc.Call) else ""
    return TransientError(f"Prism is gone{told}", code="unreachable")


class _Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts workers that are threads of this process. Beam's own one listens on every network, and prints the tracebacks of steps."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._workers: list[threading.Thread] = []

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Take requests until the block ends; gives the address."""
        server = grpc.server(futures.ThreadPoolExecutor(2))
        port = server.add_insecure_port("127.0.0.1:0")
        beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(self, server)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(1)

    def join(self) -> None:
        """Wait for the workers, which end with Prism, or with what they are at; and for the threads by which they talk to it."""
        until = time.monotonic() + _PATIENCE
        for thread in [*self._workers, *(one for one in threading.enumerate() if one.name.startswith(BEAMS_THREADS))]:
            thread.join(max(0.0, until - time.monotonic()))

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 - the name is Beam's
        failed = self._failed

        class Harness(sdk_worker.SdkHarness):
            """Beam's harness, which hands errors over as they are."""

            def _execute(self, task: Any, request: Any) -> None:
                with statesampler.instruction_id(request.instruction_id):
                    try:
                        response = task()
                    except BaseException as error:  # noqa: BLE001 - raised where the drain is waited for
                        failed(error)
                        response = beam_fn_api_pb2.InstructionResponse(instruction_id=request.instruction_id, error=str(error))
                    self._responses.put(response)

        harness = Harness(request.control_endpoint.url, worker_id=request.worker_id, state_cache_size=0, data_buffer_time_limit_ms=0)
        worker = threading.Thread(name=f"run_worker_{request.worker_id}", target=harness.run, daemon=True)
        worker.start()
        self._workers.append(worker)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 - it ends with its stream
        return beam_fn_api_pb2.StopWorkerResponse()
