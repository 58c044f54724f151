"""`Quality`: the quality service as one transform of a user's own pipeline."""

from __future__ import annotations

from typing import ClassVar

from beam_pipelines.etl.transform import Etl
from beam_pipelines.spec.definition import Kind

__all__ = ["Quality"]


class Quality(Etl):
    """Hold the rows of a quality service against its rules once, as a part of a pipeline.

    What it gives, and what its arguments are, `Etl` says. Of the record, `steps` tell what each rule came to; a rule of severity error that
    does not hold as a whole raises in the pipeline.
    """

    kind: ClassVar[Kind] = "quality"
