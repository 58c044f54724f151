"""Beam's coder for record batches: Arrow IPC. Importing the module registers it, for the type and for its URN.

In a pipeline's proto the coder stands as a reference to its class (Beam's form for coders of Python), not as the URN alone: a worker reads
the coders of a stage before the functions of that stage, so nothing of ours is imported by then, unless whoever launched the pipeline
named this module in `--beam_plugins`. Tried with Beam 2.77 and `--direct_running_mode=multi_processing`: the URN alone ends in a
`KeyError`, the reference imports this module by itself. Protos that name the URN are read too, by any process that has imported this
module.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from apache_beam.coders import Coder, coder_impl, registry

from beam_pipelines.columnar import ipc

__all__ = ["URN", "RecordBatchCoder", "register"]

URN = "beam_pipelines:coder:record_batch:v1"


class RecordBatchCoder(Coder):
    """One batch as an Arrow IPC stream.

    Deterministic in that the same buffers give the same bytes. Equal batches may still differ in bytes (what stands under a null, the
    order of a dictionary): group by a key of the rows, never by a batch.
    """

    def _create_impl(self) -> Any:
        return coder_impl.CallbackCoderImpl(ipc.encode, ipc.decode, ipc.estimate_size)

    def encode(self, value: pa.RecordBatch) -> bytes:
        return ipc.encode(value)

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        return ipc.decode(encoded)

    def estimate_size(self, value: pa.RecordBatch) -> int:
        return ipc.estimate_size(value)

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> Any:
        return pa.RecordBatch

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


def _from_urn(*_: Any) -> RecordBatchCoder:
    return RecordBatchCoder()


def register() -> None:
    """Make it the coder of `pyarrow.RecordBatch` in this process; importing the module has done so, and it may be called again."""
    registry.register_coder(pa.RecordBatch, RecordBatchCoder)
    Coder.register_urn(URN, None, _from_urn)


register()
