"""What a run would do with files, of a service whose unit is the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beam_pipelines.io.files.target import FileTarget
from beam_pipelines.runs.file import is_shards

if TYPE_CHECKING:
    from beam_pipelines.engine.files import Chosen
    from beam_pipelines.io.connector import Target

__all__ = ["FilePlan"]

_EXAMPLES = 3


@dataclass(frozen=True)
class FilePlan:
    """What a run would do with files.

    Args:
        new: Files that it would read.
        bytes: Of these, as they are stored.
        broken: Of these: files that cannot be read, by a first look at them, and would be dead letters.
        done: Files that earlier runs are done with.
        waiting: Of those: files that could not be read, and have not changed since.
        place: What the names of outputs begin with: a path, or a URL.
        form: How outputs are written, in words.
        outputs: Of the first new files: name, and output below the place; none where files hold rows of several inputs.
        shard_size: Bytes of such a file, about; None: each input has one of its own.
        hidden: Files that are left out, for their name begins with `.` or `_`.
        closed: Folders of the source that cannot be read, by their paths.
        gone: Files whose outputs were written, where the folder of all outputs is not there any more.
    """

    new: int
    bytes: int
    broken: int
    done: int
    waiting: int
    place: str
    form: str
    outputs: tuple[tuple[str, str], ...] = ()
    shard_size: int | None = None
    hidden: int = 0
    closed: tuple[str, ...] = ()
    gone: int = 0

    @classmethod
    def of(cls, chosen: Chosen, target: Target, load: str, shard_size: int | None = None) -> FilePlan:
        """Tell of the files that were chosen, once they were looked at."""
        assert isinstance(target, FileTarget)  # `choose` refuses others
        form, files = target.form, chosen.files
        packed = f", {form.codec}" if form.codec not in ("", "none", "null") else ""
        named = [(files.place.label(file), output) for file, output in chosen.outputs.items() if output and not is_shards(output)]
        return cls(
            new=len(chosen.outputs),
            bytes=sum(file.size for file in chosen.outputs),
            broken=files.broken,
            done=chosen.done,
            waiting=chosen.waiting,
            hidden=chosen.hidden,
            closed=chosen.closed,
            gone=chosen.gone,
            place=target.output(load, ""),
            form=f"{form.shown}{packed}",
            outputs=tuple(named[:_EXAMPLES]),
            shard_size=shard_size,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "new": self.new,
            "bytes": self.bytes,
            "broken": self.broken,
            "done": self.done,
            "waiting": self.waiting,
            "hidden": self.hidden,
            "closed": list(self.closed),
            "gone": self.gone,
            "place": self.place,
            "form": self.form,
            "shardSize": self.shard_size,
            "outputs": [{"file": file, "output": output} for file, output in self.outputs],
        }
