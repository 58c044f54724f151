"""A bucket as target: the same as a folder, with a copy that the store makes where there is a rename.

Objects are staged whole under a prefix of their own and copied to their final names once the ledger says so: the final object appears with
all of its bytes, in one moment, and the copy may be made again. They are not left as uploads that the commit completes: the rows of one
could not be counted and joined before the commit, and the names of an undisturbed run would be others than those of one that was repeated.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.errors import BeamPipelinesError, FatalError, PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import Described, Policy, TargetTraits
from beam_pipelines.io.files.ledger import Move
from beam_pipelines.io.files.stage import RowStaging
from beam_pipelines.io.files.target import TELLING, FilePlace, FileTarget, Ready, columns_of
from beam_pipelines.io.objects.place import store_of
from beam_pipelines.io.objects.stage import BucketStaging, key_of
from beam_pipelines.io.objects.store import Store, Stored
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import Tally
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.names import StagingName, new_attempt
from beam_pipelines.runs.window import Window

if TYPE_CHECKING:
    from beam_pipelines.spec.destination import FileDestination

__all__ = ["BucketTarget"]

_LOG = logging.getLogger(__name__)
_AT_ONCE = 8  # copies
_KEY_BYTES, _BREAKS = 1024, {"\r", "\n"}  # of S3 and Google Cloud Storage, and what the latter's keys cannot have


@dataclass(frozen=True)
class _KeyPlace(FilePlace):
    """Where the rows of one load go; paths are keys with a `/` before them.

    Args:
        listed: Lists what there is by prefix, and remembers it.
    """

    listed: Callable[[str], list[Path]] = field(default=lambda _: [])

    def files(self) -> list[Path]:
        if self.file is not None:
            return [path for path in self.listed(key_of(self.file)) if path == self.file]
        folder = key_of(self.folder)
        found = self.listed((f"{folder}/" if folder else "") + self.prefix)
        return [path for path in found if self.form.ends(path.name)]


class BucketTarget(FileTarget):
    """Objects of a bucket, whose ledger is in the state store.

    Args:
        model: The destination of the definition.
        connection: The bucket.
        folder: Of the definition.
        context: The run, whose state store holds the ledger; without one, nothing has been loaded yet.
        given: The format of its objects, as `system_of` finds it.

    Raises:
        PlanError: As `FileTarget`; or the prefix is none that a folder can have.
        SpecError: The connection cannot be understood, or its client is not installed.
    """

    def __init__(
        self,
        model: FileDestination,
        connection: Connection,
        folder: Path | None = None,
        context: RunContext | None = None,
        given: str = "parquet",
    ) -> None:
        self._store: Store = store_of(connection)
        self._seen: dict[Path, Stored] = {}
        self._counted: dict[Stored, int] = {}
        super().__init__(model, connection, folder, context, given)
        self.place = self._store.shown(key_of(self._root))
        self.traits = TargetTraits(given, transactional=False, local=False, folds_case=False, modes=("insert", "replace"))

    def _place(self, load: str) -> FilePlace:
        name = load.partition("/")[2]
        if any(sign in name for sign in "*?"):
            raise PlanError(f"destination.prefix: expected a prefix, got a pattern: {name!r}", code="spec-invalid")
        start, _, last = name.rpartition("/")
        if any(part in ("", ".", "..") for part in start.split("/") if start) or last in (".", ".."):
            raise PlanError(
                f"destination.prefix: expected a prefix without empty parts and dots alone between its slashes, got {name!r}",
                code="spec-invalid",
            )
        folder = Path("/") / start
        if self._form.ends(last):
            return _KeyPlace(folder, self._form, file=folder / last, listed=self._listed)
        return _KeyPlace(folder, self._form, last, listed=self._listed)

    def location(self, load: str) -> tuple[Path, str, Path | None]:
        place = self._place(load)
        # No folder of this machine is called so.
        return Path("/", self._store.shown("")) / key_of(place.folder), place.prefix, place.file

    def _listed(self, prefix: str) -> list[Path]:
        found = {Path("/") / file.key: file for file in self._store.list(prefix, deep=False)}
        self._seen |= found
        return list(found)

    def describe(self, table: str) -> Described | None:
        """The columns of the object written last; a folder of a bucket is there as soon as the bucket is."""
        place = self._place(table)
        files = place.files()
        for path in sorted(files, key=lambda path: (-self._seen[path].modified, path.name)):
            schema = columns_of(self._seen[path], self._form)
            if schema is not None:
                return Described(schema)
        silent = self._form.format not in TELLING
        return Described(pa.schema([])) if place.file is None or (files and silent) else None

    def prepare(self, window: Window, context: RunContext) -> Window:
        if window.ranges and not window.live:
            self._prove(self._staging.path(str(StagingName.of(window.service, window.run, new_attempt()))))
        return super().prepare(window, context)

    def _prove(self, path: Path) -> None:
        """Find out before a row is read whether anything may be written."""
        try:
            self._store.prove(key_of(path))
        except FatalError as refused:
            raise FatalError(
                f"nothing can be written below {self.place!r}: {refused.message}; let whoever the connection names list, read, write and"
                " remove objects there, or give another bucket or prefix. Nothing was read",
                code="stage-failed",
            ) from refused

    # What a bucket does otherwise than a folder.

    def _staged(self, folder: Path) -> RowStaging:
        return BucketStaging(self._store, folder, self._form)

    def _make(self, folder: Path) -> None:
        """Nothing: a bucket has no folders."""

    def _from_promise(self, name: str) -> Path | None:
        return Path("/") / self._key(name) if name.startswith(self._store.shown("")) else None

    def _standing(self, paths: Sequence[Path]) -> list[Path]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(lambda path: self._store.look(key_of(path)), paths))
        self._seen |= {path: file for path, file in zip(paths, found, strict=True) if file is not None}
        return [path for path, file in zip(paths, found, strict=True) if file is not None]

    def _identity(self, path: Path) -> str:
        file = self._seen[path]
        return f"{file.size}:{file.tag}"

    def _made_ready(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> tuple[Ready, ...]:
        if policy.whole and self._form.format == "parquet":  # what goes is counted now, for the transaction is not to wait for the store
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                going = [self._seen[path] for path in self._place_of(window).files()]
                self._counted = dict(zip(going, pool.map(_footer_rows, going), strict=True))
        return super()._made_ready(window, policy, schema, tally)

    def _counted_in(self, parts: Sequence[Staged]) -> None:
        # One listing tells the sizes of all; to read each footer would be four requests a file.
        self._staging.confirm(parts)

    def unfit(self, load: str, name: str) -> str:
        key = key_of(self._output(load, name))
        if len(key.encode()) > _KEY_BYTES:
            return f"it is longer than a bucket takes ({_KEY_BYTES} bytes)"
        if self._store.shown("").startswith("gs:") and _BREAKS & set(key):
            return "it has a line break, which Google Cloud Storage does not take"
        return ""

    def hindrance(self, load: str, name: str) -> str:  # noqa: ARG002 - keys are in nobody's way
        return ""

    def shut(self, load: str) -> str:  # noqa: ARG002 - what a key may do is known when it does it
        return ""

    def present(self, load: str) -> bool:  # noqa: ARG002 - a bucket has no folders
        return True

    def _staged_as(self, part: Staged) -> tuple[str, str]:
        return self._promised(self._staging.path(part.name)), ""  # a copy has a tag of its own

    def taken(self, load: str, names: Sequence[str]) -> list[str]:
        if not names:
            return []
        keys = {key_of(self._output(load, name)): name for name in names}
        there = {file.key for file in self._store.list(_beginning(list(keys)))}
        return [name for key, name in keys.items() if key in there]

    def _rows(self, path: Path) -> int:
        file = self._seen[path]
        return self._counted[file] if file in self._counted else _footer_rows(file)

    def _missing(self, moves: Sequence[Move]) -> list[Move]:
        there = self._staging_of(moves)
        return [move for move in moves if move.source and self._key(move.source) not in there]

    def _staging_of(self, moves: Sequence[Move]) -> dict[str, Stored]:
        """The staged objects of some moves that are there, by key: one listing for all."""
        keys = [self._key(move.source) for move in moves if move.source]
        return {file.key: file for file in self._store.list(_beginning(keys))} if keys else {}

    def _swept(self, move: Move) -> bool:  # noqa: ARG002 - nothing tells it
        return False

    def _promised(self, path: Path) -> str:
        return self._store.shown(key_of(path))

    def _owns(self, move: Move) -> bool:
        return move.path.startswith(self._store.shown(""))

    def _keep(self, moves: Sequence[Move]) -> None:
        try:
            staged = self._staging_of(moves)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for done in [pool.submit(self._copied, move, staged.get(self._key(move.source))) for move in moves if move.source]:
                    done.result()
                # The old ones go when all of the new are there.
                for done in [pool.submit(self._removed, move) for move in moves if not move.source]:
                    done.result()
        except BeamPipelinesError as failed:
            raise OSError(failed.message) from failed

    def _key(self, url: str) -> str:
        return url.removeprefix(self._store.shown(""))

    def _copied(self, move: Move, staged: Stored | None) -> None:
        if staged is not None:
            self._store.copy(staged, self._key(move.path))
            self._store.discard(staged)
        elif self._store.look(self._key(move.path)) is None:
            # It has been copied: somebody took it away, as those who follow do.
            _LOG.warning("%s was loaded, and has been taken away since", move.path)

    def _removed(self, move: Move) -> None:
        now = self._store.look(self._key(move.path))
        if now is None:
            return
        if f"{now.size}:{now.tag}" != move.identity or not self._store.remove(now):
            _LOG.warning("%s was changed while it was being replaced, and stays", move.path)


def _beginning(keys: Sequence[str]) -> str:
    """What all of some keys begin with: what the first and the last begin with."""
    first, last = min(keys), max(keys)
    return first[: next((place for place, sign in enumerate(first) if sign != last[place : place + 1]), len(first))]


def _footer_rows(file: Stored) -> int:
    with contextlib.suppress(pa.ArrowInvalid, OSError, FatalError), file.open() as opened:
        return int(pq.read_metadata(opened).num_rows)
    return 0  # whatever it is, it goes
