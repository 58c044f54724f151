"""What is known only when a run starts: its id, where connections are, where progress goes. Never part of the pipeline's proto.

A launcher hands it over as pipeline options (`--bp_context=JSON`, which Flink and Dataflow pass on to workers) and, for workers that are
subprocesses of this machine, in the environment, because Beam's in-process runner gives those no options.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from beam_pipelines.errors import FatalError

__all__ = ["OPTION", "VARIABLE", "RunContext"]

OPTION = "bp_context"
VARIABLE = "BEAM_PIPELINES_CONTEXT"


@dataclass(frozen=True)
class RunContext:
    """Run-time values of one run.

    Args:
        run: Run id.
        started_at: ISO 8601, UTC; `now()` in expressions.
        connections: Path of the connections file, None: only environment variables.
        folder: Folder of the definition on the machine of the workers, for its functions and relative paths; None: they have none.
        store: Id of the state store whose lease this run holds; what other runs of the same store staged may be swept.
        state: URL of the state store, or the name of a connection that holds it (targets without transactions keep their ledger there).
        local: Workers run on the launcher's machine and live as long as the run, so that a connection kept by one serves all.
        progress: UDP port on loopback that takes progress datagrams, 0: none.
        full_refresh: Forget the watermark and read everything.
        keep_watermark: Accept a changed fingerprint.
        session: Run id of the execution that the run is a part of; empty: it is one of its own.
        early: Of a stream: results of windows that are open are due.
        drain: Of a pipeline that goes through drain after drain: the number of this one, from 1. 0: it does one run.
    """

    run: str
    started_at: str
    connections: str | None = None
    folder: str | None = None
    store: str = ""
    state: str | None = None
    local: bool = True
    progress: int = 0
    full_refresh: bool = False
    keep_watermark: bool = False
    session: str = ""
    early: bool = False
    drain: int = 0

    def to_text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> RunContext:
        return cls(**json.loads(text))

    @classmethod
    def current(cls) -> RunContext:
        """The context of the run this worker belongs to.

        Raises:
            FatalError: The pipeline was started without one.
        """
        text = _from_options() or os.environ.get(VARIABLE)
        if not text:
            raise FatalError(
                "this pipeline was started without a run context: start it by the command line,"
                f" or give --{OPTION} (see docs/architecture.md)"
            )
        return cls.from_text(text)


def _from_options() -> str | None:
    from apache_beam.options.value_provider import RuntimeValueProvider

    options = RuntimeValueProvider.runtime_options
    return options.get(OPTION) if options else None
