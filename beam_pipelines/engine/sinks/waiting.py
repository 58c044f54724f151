"""What a commit of a stream has kept, and the sinks that have not got it.

In the commit's transaction a note is written for each sink that is to get the rows; it is forgotten once the sink has them, and the rows go
before the last note does. So as long as rows are kept it is known for whom, whatever the definition says by then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from beam_pipelines.io.connector import Target
from beam_pipelines.runs.facts import LATE, PENDING

__all__ = ["Waiting", "waiting_of"]


@dataclass(frozen=True)
class Waiting:
    """Rows of one commit.

    Args:
        run: Whose commit.
        kind: `pending` or `late`.
        parts: Blocks of rows; 0: they are where they were to go, and what is left of the notes tells nothing.
        notes: One of each sink that has not got them, as in `runs.window.Window.waits`.
    """

    run: str
    kind: str
    parts: int = 0
    notes: tuple[str, ...] = ()

    def done(self, target: Target, service: str, load: str, note: str) -> Waiting:
        """Note that a sink has got them; safe to repeat."""
        notes = tuple(one for one in self.notes if one != note)
        if not notes:
            target.forget_kept(service, load, self.kind, self.run)
        target.forget_kept(service, load, note, self.run)
        return replace(self, notes=notes)


def waiting_of(target: Target, service: str, load: str) -> list[Waiting]:
    """What is kept for sinks, in the order of the commits: all pending rows, then all that came too late."""
    found: dict[tuple[str, str], Waiting] = {}
    for one in target.left(service, load):
        kind, _, key = one.kind.partition(" ")
        if kind in (PENDING, LATE):
            at = (one.run, kind)
            before = found.get(at, Waiting(one.run, kind))
            found[at] = replace(before, notes=(*before.notes, one.kind)) if key else replace(before, parts=one.parts)
    return sorted(found.values(), key=lambda one: one.kind == LATE)
