"""The worker process of a local run with several: Beam's own, made quiet, with errors that arrive at the launcher as what they are.

Beam's harness prints every traceback, logs it as well and hands it on as a text. Here an error travels as JSON behind the traceback, from
which `received` makes it again. Started as `python -m beam_pipelines.engine.worker`.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import signal
import traceback
import warnings
from dataclasses import asdict
from typing import Any

from beam_pipelines import errors
from beam_pipelines.engine.start import choose_allocator, import_beam, leave, spare_the_collector
from beam_pipelines.errors import BeamPipelinesError, FatalError, Problem, SpecError

__all__ = ["main", "prepare", "received", "told"]

_MARK = "beam_pipelines error: "
_CARRIED = re.compile(rf"^{_MARK}(\{{.*\}})\s*$", re.MULTILINE)
# What is imported once a worker of a batch works, beside the connectors that its definition names.
_WORKS_WITH = (
    "apache_beam.runners.worker.sdk_worker_main",
    "beam_pipelines.engine.by_file",
    "beam_pipelines.engine.files",
    "beam_pipelines.engine.pipeline",
    "beam_pipelines.io.prefetch",
    "duckdb",
)
_SAMPLED_MS = 20
_DIED = "Channel closed prematurely"  # what Beam's runner says when a worker's data stream ends in the middle


def told(error: BaseException) -> str:
    """Return an error as the text that Beam hands on: its traceback, and in the last line all of it."""
    data: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, BeamPipelinesError):
        data |= {"message": error.message, "code": error.code, "details": error.details}
    if isinstance(error, SpecError):
        data["problems"] = [asdict(problem) for problem in error.problems]
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return f"{trace}\n{_MARK}{json.dumps(data, default=str)}"


def received(error: BaseException) -> BaseException:
    """Return the error that a worker told in the text of another; `error` itself when it tells of none.

    An error of this package is made again with code, details and problems; of any other, type and message are kept in a RuntimeError.
    The text of the worker's traceback stays with it as the cause.
    """
    text = str(error)
    if not isinstance(error, RuntimeError):
        return error
    carried = _CARRIED.findall(text)
    if carried:
        made = _made(json.loads(carried[-1]))
    elif _DIED in text:
        made = FatalError("a worker process ended before its work was done: it was killed, or ran out of memory", code="internal")
    else:
        return error
    made.__cause__ = error
    return made


def _made(data: dict[str, Any]) -> BaseException:
    kind = getattr(errors, data["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, BeamPipelinesError)):
        return RuntimeError(f"{data['type']}: {data['message']}")
    known: dict[str, Any] = {"code": data["code"], "details": data["details"]}
    if issubclass(kind, SpecError):
        known["problems"] = [Problem(**problem) for problem in data["problems"]]
    return kind(data["message"], **known)


def prepare() -> None:
    """Import what a worker of a batch works with, so that those which are forked have it."""
    import_beam()
    for name in _WORKS_WITH:
        importlib.import_module(name)


def main() -> None:
    """Serve the launcher until it has no more work."""
    # Before Beam is imported: it logs while it is, and the first line of a process without a handler sets one up that prints.
    logging.getLogger().addHandler(logging.NullHandler())
    # Ctrl-C goes to every process of a terminal. The launcher decides, and a worker ends when the launcher lets it go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Google's client, which Beam imports and no run uses, warns of a Python that it gives up.
    warnings.filterwarnings("ignore", message="You are using a", category=FutureWarning, module=r"google\.api_core")
    import_beam()
    from apache_beam.portability.api import beam_fn_api_pb2
    from apache_beam.runners.worker import sdk_worker, sdk_worker_main, statesampler

    class Harness(sdk_worker.SdkHarness):
        """Beam's harness, which tells errors once, and whole."""

        def _execute(self, task: Any, request: Any) -> None:
            with statesampler.instruction_id(request.instruction_id):
                try:
                    response = task()
                except BaseException as error:  # noqa: BLE001 - handed to the launcher, which raises it
                    response = beam_fn_api_pb2.InstructionResponse(instruction_id=request.instruction_id, error=told(error))
                self._responses.put(response)

    class Sampler(statesampler.StateSampler):
        """Beam's thread that looks what a bundle is at, which the end of the bundle waits for: for 0.2 s where it looks each 0.2 s."""

        def __init__(self, prefix: str, counter_factory: Any) -> None:
            super().__init__(prefix, counter_factory, _SAMPLED_MS)

    statesampler.StateSampler = Sampler
    sdk_worker_main.SdkHarness = Harness
    sdk_worker_main.main([])


if __name__ == "__main__":
    spare_the_collector()
    choose_allocator()
    main()
    leave(0)  # the launcher waits for each of its workers
