"""`Batch`: the batch service as one transform of a user's own pipeline."""

from __future__ import annotations

from typing import ClassVar

from beam_pipelines.etl.transform import Etl
from beam_pipelines.spec.definition import Kind

__all__ = ["Batch"]


class Batch(Etl):
    """Process the new files of a batch service once, as a part of a pipeline.

    What it gives, and what its arguments are, `Etl` says. Of the record, `files` tells what became of each file. `full_refresh` reads
    files again that earlier runs are done with.
    """

    kind: ClassVar[Kind] = "batch"
