"""The profile of a data set, measured bundle by bundle beside the rules of the data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.origin import PREFIX
from beam_pipelines.rules.profiling.columns import Profile
from beam_pipelines.rules.profiling.room import BUNDLE

__all__ = ["COLUMNS", "Profiler"]

COLUMNS = 200  # of a data set that are profiled, the first ones: Commit holds those of all bundles, and the record what is told of them
_TOP = 10


class Profiler:
    """Profiles rows of one schema, in states of bounded size: of each column `rules.profiling.room.BUNDLE`.

    Args:
        schema: Of the rows; hidden columns are left out.
    """

    def __init__(self, schema: pa.Schema) -> None:
        fields = [field for field in schema if not field.name.startswith(PREFIX)]
        self._schema, self._rest = pa.schema(fields[:COLUMNS]), fields[COLUMNS:]

    def nothing(self) -> Profile:
        """Return the state of no rows."""
        return Profile.nothing(self._schema, BUNDLE)

    def measure(self, batch: pa.RecordBatch) -> Profile:
        """Return the state of the rows of a batch."""
        return Profile.of(batch.select(self._schema.names), BUNDLE)

    def merge(self, one: Profile, other: Profile) -> Profile:
        """Return the state of the rows of two states."""
        return one + other

    def told(self, state: Profile) -> Sequence[dict[str, Any]]:
        """Return what is told of the columns, in their order, as JSON can hold it; of those that were not looked at that they were not."""
        return [*state.told(_TOP), *({"name": field.name, "type": str(field.type), "notProfiled": True} for field in self._rest)]
