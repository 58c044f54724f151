"""What DoFns with state have in common."""

from __future__ import annotations

from typing import Any, ClassVar

import apache_beam as beam
from apache_beam.utils.timestamp import Timestamp

__all__ = ["StatefulFn"]


class StatefulFn(beam.DoFn):
    """A DoFn with state, which says where its state and timers are asked for."""

    CALLBACKS: ClassVar[tuple[str, ...]] = ()

    def __dir__(self) -> list[str]:
        # Beam searches every attribute of a DoFn for them, several times a transform, and some runners each bundle: most of what they do.
        return ["finish_bundle", "process", "setup", "start_bundle", "teardown", *self.CALLBACKS]

    @staticmethod
    def reached(fired: Timestamp, known: Any) -> int:
        """How far timers have fired, microseconds: remembered in `known`, for they may fire in any order."""
        before, now = known.read(), int(fired.micros)
        reached = now if before is None else max(before, now)
        known.write(reached)
        return reached
