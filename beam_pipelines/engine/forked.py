"""Beam's handler of a worker process of this machine, which takes one that is in reserve before it starts one anew."""

from __future__ import annotations

import os
import threading

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler, WorkerHandler
from apache_beam.runners.portability.local_job_service import BeamFnLoggingServicer
from apache_beam.utils import thread_pool_executor
from google.protobuf import json_format, text_format

from beam_pipelines.engine import reserve

__all__ = ["URN"]

URN = "beam_pipelines:env:worker:v1"


@WorkerHandler.register_environment(URN, bytes)
class _Handler(SubprocessSdkWorkerHandler):
    """Takes the command of a worker that is started anew, and what Beam gives its own handlers."""

    def start_worker(self) -> None:
        idle = reserve.taken()
        if idle is None:
            super().start_worker()
            return
        self.worker_thread = threading.Thread(name="run_worker", target=self._run, args=(idle,))
        self.worker_thread.start()

    def _run(self, idle: reserve.Idle) -> None:
        """As Beam's `SubprocessSdkWorker.run`: take its logs, tell it where to ask for work, and wait for its end."""
        logs = grpc.server(thread_pool_executor.shared_unbounded_instance())
        port = logs.add_insecure_port("localhost:0")
        beam_fn_api_pb2_grpc.add_BeamFnLoggingServicer_to_server(BeamFnLoggingServicer(), logs)
        logs.start()
        told = {
            "CONTROL_API_SERVICE_DESCRIPTOR": _at(self.control_address),
            "LOGGING_API_SERVICE_DESCRIPTOR": _at(f"localhost:{port}"),
            "PIPELINE_OPTIONS": json_format.MessageToJson(self.provision_info.provision_info.pipeline_options),
            "WORKER_ID": self.worker_id,
        }
        try:
            code = idle.work({**os.environ, **told})
            if code:
                raise RuntimeError(f"worker process {idle.process} ended with {code}")
        finally:
            logs.stop(0)


def _at(address: str) -> str:
    return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=address))
