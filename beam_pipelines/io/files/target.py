"""Local files as target: they appear whole, once, or not at all.

Workers write staging files in their final format. A commit is decided in the ledger, which is in the run's state store because files have
no transaction: the transaction that moves the generation on also writes down which staging file becomes which file, and what goes. That is
done right after, and done again by whoever comes next (a second commit, the launcher's roll-forward, the next run's Prepare) until it is
done: each step may be repeated without harm.

- A folder, `mode: insert`: adds `RUN-NUMBER.parquet`, or `.csv.gz` and so on; what is there is not touched.
- A folder, `mode: replace`: what ends as files of the format do in the folder itself (and begins with the prefix, where there is one) is
  the table, whoever wrote it; the new files come first, then the old ones go, so a reader in that moment sees both. Other files and folders
  within are left alone, and so is a file that somebody changed after the commit was decided.
- A folder of a service whose unit is the file: the rows of each input go to the name that its range says, in the place of what an earlier
  run made of that input.
- The same with a wanted size of files: rows of several inputs are in one, the ledger knows which files these are, and all of them go when
  every input is read again.
- A file, `mode: replace`: one rename, which readers see as before or after. `mode: insert` is refused: a file cannot be added to at once.

Of Parquet and Avro the files say what columns are there; of the others the ledger does, to the service that wrote them.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import Described, Policy, TargetTraits
from beam_pipelines.io.files.home import HomedTarget
from beam_pipelines.io.files.ledger import FileDone, Move
from beam_pipelines.io.files.shards import joined
from beam_pipelines.io.files.stage import FOLDER, RowStaging
from beam_pipelines.io.files.writing.form import Form, form_of
from beam_pipelines.io.objects.local import LocalStore, may
from beam_pipelines.io.objects.store import Stored
from beam_pipelines.io.sql.ledger_target import Judged
from beam_pipelines.io.sql.session import Session
from beam_pipelines.io.staging_files import sync
from beam_pipelines.runs import file as files
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import LoadCounts, Merged, Tally
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.names import StagingName, new_attempt
from beam_pipelines.runs.window import Window, schema_from_text

if TYPE_CHECKING:
    from beam_pipelines.spec.destination import FileDestination

__all__ = ["TELLING", "FilePlace", "FileTarget", "Ready", "columns_of"]

_LOG = logging.getLogger(__name__)
_NAME_BYTES, _PATH_BYTES = 255, 4096  # NAME_MAX and PATH_MAX of Linux; other systems take no less of a name
TELLING = ("parquet", "avro")  # formats whose files say what columns they have


@dataclass(frozen=True)
class FilePlace:
    """Where the rows of one load go.

    Args:
        folder: Of the files.
        form: How they are written.
        prefix: What their names begin with.
        file: The one file, None: any number in the folder.
    """

    folder: Path
    form: Form
    prefix: str = ""
    file: Path | None = None

    def files(self) -> list[Path]:
        """What is there now, sorted by name."""
        if self.file is not None:
            return [self.file] if self.file.is_file() else []
        with contextlib.suppress(FileNotFoundError):
            there = [entry for entry in self.folder.iterdir() if self.form.ends(entry.name) and entry.is_file()]
            return sorted(entry for entry in there if entry.name.startswith(self.prefix))
        return []


class FileTarget(HomedTarget):
    """Files of this machine, whose ledger is in the state store.

    Args:
        model: The destination of the definition.
        given: The format of its files, as `system_of` finds it.
        connection: The folder given as bucket, None with `path`.
        folder: The definition's, that `path` is relative to.
        context: The run, whose state store holds the ledger; without one, nothing has been loaded yet.

    Raises:
        PlanError: `insert` into one file, a path with `*`, or a compression that the format has not.
    """

    def __init__(
        self,
        model: FileDestination,
        connection: Connection | None,
        folder: Path | None = None,
        context: RunContext | None = None,
        given: str = "parquet",
    ) -> None:
        self._form = form_of(given, model.compression)
        self._model, self._bucket = model, connection.path if connection else None
        self._base = (folder or Path.cwd()).absolute()
        self.traits = TargetTraits(given, transactional=False, local=True, folds_case=False, modes=("insert", "replace"))
        self._ready: dict[str, tuple[Ready, ...] | FatalError] = {}
        self._leaving: dict[str, list[Path]] = {}
        self._told: dict[str, tuple[files.FileResult, ...]] = {}
        self._looked_at: dict[Path, str] = {}
        name = model.path if model.bucket is None else f"{model.bucket}/{model.prefix}"
        root = self._place(str(name))
        if root.file is not None:
            self._form = form_of(given, model.compression, root.file.name)
        if root.file is not None and model.mode == "insert":
            raise PlanError(
                f"destination.mode: rows cannot be added to one {self._form.shown} file ({root.file.name!r}): give a folder as path, which"
                " gets a file a run, or mode: replace",
                code="mode-refused",
            )
        if root.file is not None and model.shard_size is not None:
            raise PlanError(
                f"destination.shardSize: expected a folder, for there may be several files, got {root.file.name!r}: one file",
                code="mode-refused",
            )
        self._root = self._fixed_part(str(name))
        self.place = self._root.absolute().as_uri()
        super().__init__(context, self._staged(self._root / FOLDER))

    # What another kind of place does otherwise.

    def _staged(self, folder: Path) -> RowStaging:
        return RowStaging(folder, self._form)

    def _make(self, folder: Path) -> None:
        """Have a folder be there."""
        _make(folder)

    def _from_promise(self, name: str) -> Path | None:
        """The file that `_promised` named so; None: it is elsewhere."""
        return None if "://" in name else Path(name)

    def _standing(self, paths: Sequence[Path]) -> list[Path]:
        """Those of some files that are there."""
        return [path for path in paths if path.is_file()]

    def _identity(self, path: Path) -> str:
        """What tells a file that is there from another of its name."""
        return _identity(path) or ""

    def _rows(self, path: Path) -> int:
        """Rows of a file that goes."""
        return _rows(path)

    def _staged_as(self, part: Staged) -> tuple[str, str]:
        """How a staged file is named in a promise, and what tells it from others when it has its final name."""
        path = self._staging.path(part.name)
        return str(path), _version(path)

    def _promised(self, path: Path) -> str:
        """How a file is named in a promise."""
        return str(path)

    def _owns(self, move: Move) -> bool:
        """Whether this target does what was promised: another of the service may be elsewhere."""
        return "://" not in move.path

    def _missing(self, moves: Sequence[Move]) -> list[Move]:
        """Staged files that are not there, nor where they are to be."""
        return [move for move in moves if move.source and not os.path.lexists(move.source) and _version(Path(move.path)) != move.identity]

    def _swept(self, move: Move) -> bool:
        """Whether a staged file that is missing was lost, though moves had begun, and not moved and taken by who reads the outputs.

        The folder of staging goes when nothing is left in it, but that is behind the moves.
        """
        return not os.path.lexists(Path(move.source).parent) and not os.path.lexists(move.path)

    def _lost(self, move: Move) -> bool:
        """Whether a staged file is gone, and another than it has the name that it was to have."""
        if not move.source or not move.identity:
            return False
        return _version(Path(move.path)) not in ("", move.identity)

    def _keep(self, moves: Sequence[Move]) -> None:
        """Do what was promised, in order; each may have been done already."""
        failed: Exception | None = None
        for move in moves:
            if failed is not None and not move.source:
                continue  # what goes stays until all of the new are there
            try:
                _keep(move)
            except (OSError, FatalError) as hindered:  # one folder that is shut is not in the way of the others
                failed = failed or hindered
        if failed is not None:
            raise failed
        for folder in {Path(move.path).parent for move in moves}:
            sync(folder)

    # Places.

    def _place(self, load: str) -> FilePlace:
        """Where a load goes, by its ledger key: the path as the definition has it, or `BUCKET/PREFIX`."""
        if any(sign in load for sign in "*?"):
            raise PlanError(f"destination.path: expected a file or a folder, got a pattern: {load!r}", code="spec-invalid")
        if self._bucket is None:
            path, prefix = self._base / Path(load).expanduser(), ""
        else:
            start, _, last = load.partition("/")[2].rpartition("/")
            whole = self._bucket / start / last
            single = self._form.ends(whole.name)
            path, prefix = (whole, "") if single else (self._bucket / start, last)
        path = Path(os.path.normpath(path))
        if self._form.ends(path.name) and not path.is_dir():
            return FilePlace(path.parent, self._form, file=path)
        if path.is_file():
            raise PlanError(
                f"destination.path: expected a folder or a name that ends in .{self._form.format}, got the file {load!r}",
                code="spec-invalid",
            )
        return FilePlace(path, self._form, prefix)

    def location(self, load: str) -> tuple[Path, str, Path | None]:
        """Folder of the files of a load, what their names begin with, and the one file, if it is one."""
        place = self._place(load)
        return place.folder, place.prefix, place.file

    def _fixed_part(self, name: str) -> Path:
        """The folder that every load of the service is in."""
        fixed, template, _ = name.partition("{table}")
        head, slash, _ = fixed.rpartition("/")
        return self._place(head + slash or ".").folder if template else self._place(name).folder

    def _place_of(self, window: Window) -> FilePlace:
        place = self._place(window.load)
        if not place.folder.is_relative_to(self._root):
            raise PlanError(f"{window.load!r} is not within {str(self._root)!r}: the name of a table leads out of it", code="mode-refused")
        return place

    # What services whose unit is the file ask.

    def files_done(self, service: str, load: str) -> dict[str, FileDone]:
        """The files that earlier runs of a service are done with, by name."""
        with self.reading() as tx:
            if tx is None or not self.has_table(tx, self.ledger.files):
                return {}
            return self.ledger.files_done(tx, service, load)

    def output(self, load: str, name: str) -> str:
        """Where the rows of an input are to be, as messages and promises say it.

        Args:
            load: Ledger key.
            name: Below the place of the load.
        """
        return self._promised(self._output(load, name))

    def _output(self, load: str, name: str) -> Path:
        place = self._place(load)
        if place.file is not None:
            raise PlanError(
                f"expected a folder, for each input gets a file of its own, got {place.file.name!r}: one file", code="mode-refused"
            )
        return place.folder / f"{place.prefix}{name}"

    @property
    def replaces(self) -> bool:
        """Whether a run exchanges all that stands there."""
        return self._model.mode == "replace"

    def unfit(self, load: str, name: str) -> str:
        """Why no file can be called so: what a commit promises to do must be possible. Empty: one can.

        Args:
            load: Ledger key.
            name: Below the place of the load.
        """
        path = self._output(load, name)
        if "\0" in name:
            return "it has a zero byte"
        if any(len(os.fsencode(part)) > _NAME_BYTES for part in path.parts) or len(os.fsencode(path)) >= _PATH_BYTES:
            return f"it is longer than a file system takes ({_NAME_BYTES} bytes a part)"
        return ""

    def hindrance(self, load: str, name: str) -> str:
        """What is in the way of an output, for as long as it is there; the arguments are those of `unfit`."""
        path = self._output(load, name)
        if os.path.isdir(path):
            return "there is a folder of that name"
        return self._in_the_way(path.parent)

    def shut(self, load: str) -> str:
        """Why nothing can be written at the place of a load, where all of it is staged; empty: something can."""
        folders = {self._place(load).folder, self._root}
        return next(filter(None, map(self._in_the_way, folders)), "")

    def present(self, load: str) -> bool:
        """Whether the folder of the outputs is there."""
        return os.path.isdir(self._place(load).folder)

    def _in_the_way(self, folder: Path) -> str:
        """Why no file can be put into a folder, which may have to be made. Many outputs are of one folder."""
        if folder not in self._looked_at:
            above = next((one for one in (folder, *folder.parents) if os.path.lexists(one)), folder)
            why = ""
            if not os.path.isdir(above):
                why = f"{str(above)!r} is a file, and no folder"
            elif not may(above, os.W_OK | os.X_OK):
                why = f"nothing may be written into {str(above)!r}"
            self._looked_at[folder] = why
        return self._looked_at[folder]

    def taken(self, load: str, names: Sequence[str]) -> list[str]:
        """Those of some names of outputs under which something is there."""
        return [name for name in names if os.path.lexists(self._output(load, name))]

    @property
    def form(self) -> Form:
        """How its files are written."""
        return self._form

    # What is there.

    def describe(self, table: str) -> Described | None:
        """The columns of the file written last; files may differ. A folder without one is there, like a table without rows."""
        place = self._place(table)
        files = place.files()
        for path in sorted(files, key=lambda path: (-path.stat().st_mtime_ns, path.name)):
            file = LocalStore(place.folder).look(str(path))
            schema = columns_of(file, self._form) if file is not None else None
            if schema is not None:
                return Described(schema)
        silent = self._form.format not in TELLING
        return Described(pa.schema([])) if (files and silent) or (place.file is None and place.folder.is_dir()) else None

    def stored(self, schema: pa.Schema) -> pa.Schema:
        return pa.schema([pa.field(field.name, self._form.stored(field.type, field.name), field.nullable) for field in schema])

    def check(self) -> str:
        name = self._model.path or f"{self._model.bucket}/{self._model.prefix}"
        if "{table}" in name:
            return f"{self._form.shown} files in {str(self._root)!r}, one place a table"
        files = self._place(name).files()
        return f"{len(files)} {self._form.shown} {'file' if len(files) == 1 else 'files'}, {name}" + (
            "" if files else ", made by the first run"
        )

    # Prepare and commit.

    def prepare(self, window: Window, context: RunContext) -> Window:
        place = self._place_of(window)
        if self._model.mode == "insert" and not context.full_refresh and (place.files() or window.by_file):
            self._same_types(window)
        return super().prepare(window, context)

    def _same_types(self, window: Window) -> None:
        """Refuse to put files of different types side by side: many readers cannot read them together."""
        text = self.standing(window.service, window.load).schemas.get("*")
        known = schema_from_text(text) if text else pa.schema([])
        for field in window.schema("*"):
            before = known.field(field.name).type if field.name in known.names else field.type
            if before != field.type:
                raise PlanError(
                    f"column {field.name!r} is {field.type} now, and {before} in the files that {window.load!r} has: cast it in a map step,"
                    " give another path, or write everything again with --full-refresh",
                    code="schema-changed",
                )

    def commit(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> LoadCounts:
        row = self.row(window.service, window.load, window.run)
        if row is not None and row.status == "prepared":
            if policy.by_file and policy.shard_size is None:
                tally = self._without_hindered(window, policy, tally)
            # Before the transaction: it holds the state store's lock, and others wait for that.
            try:
                self._ready[window.load] = self._made_ready(window, policy, schema, tally)
            except FatalError as broken:
                # Judged in the transaction, which alone knows whether another attempt has moved the files in between.
                self._ready[window.load] = broken
        return super().commit(window, policy, schema, tally)

    def _without_hindered(self, window: Window, policy: Policy, tally: Tally) -> Tally:
        """The facts of a run, where files cannot be read for whose outputs there is no place any more: the next run tries again."""
        self._looked_at.clear()
        load, told = window.load, [file for file in files.results(window, tally) if not file.error]
        with self.reading() as tx:
            assert tx is not None  # there is a run
            ours = {file.output for file in self.ledger.files_done(tx, window.service, load).values()}
        new = [file.output for file in told if file.output not in ours]
        strange = set(self.taken(load, new)) if new and not policy.refresh else set()
        why: dict[str, str] = {}
        for file in told:
            if file.output in strange:
                why[file.name] = (
                    f"{self.output(load, file.output)!r} appeared since the run began, and no run of this service has written it"
                )
            elif way := self.hindrance(load, file.output):
                why[file.name] = f"its rows cannot go to {self.output(load, file.output)!r}: {way}"
        for name, reason in why.items():
            _LOG.error("%r is not loaded: %s", name, reason)
        errors = {part.index: why[label] for part in window.ranges if (label := part.bounds["label"]) in why}
        facts = (replace(fact, error=errors[fact.part], passing=True) if fact.part in errors else fact for fact in tally.files)
        less = replace(tally, files=tuple(facts))
        nobody_pays = files.unbilled(window, less) - files.unbilled(window, tally)
        return replace(less, bytes=tally.bytes - nobody_pays, no_account=files.of_no_account(window, less)) if errors else tally

    def _made_ready(self, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> tuple[Ready, ...]:
        """The staged files as they will be moved: joined into one where the target is one file, an empty one where the table is emptied."""
        place = self._place_of(window)
        if tally.read or tally.staged_rows or window.live:
            # Also when no row arrives: a watermark moves on, and a folder that is not there later was removed by somebody.
            self._make(place.folder)
        parts = tuple(part for part in tally.staged if part.rows)
        if policy.by_file:
            told = self._told[window.load] = files.results(window, tally)
            self._leaving[window.load] = self._outdated(window, policy, told)
            if policy.shard_size is None:
                return self._one_each(window, schema, tally, told)
            parts = self._of_good_files(window, tally, told)
            self._counted_in(parts)
        else:
            for part in parts:
                self._staging.count(part)
        if policy.shard_size is not None:
            groups = joined(parts, policy.shard_size)
            parts = tuple(group[0] if len(group) == 1 else self._joined(window, schema, group) for group in groups)
        alone = place.file is not None
        if policy.whole and not (parts and not (alone and len(parts) > 1)) and (parts or policy.allow_empty):
            parts = (self._joined(window, schema, parts),)
        names = (f"{place.prefix}{window.run}-{number:05d}{self._form.ending}" for number in range(len(parts)))
        return tuple(Ready(place.file or place.folder / name, part) for name, part in zip(names, parts, strict=True))

    def _one_each(self, window: Window, schema: pa.Schema, tally: Tally, told: Sequence[files.FileResult]) -> tuple[Ready, ...]:
        """For each file that was read whole one output, if only of no rows."""
        staged = files.staged_of(window, tally.staged)
        ready = []
        for file in told:
            if file.error:
                continue
            parts = tuple(part for part in staged[file.name] if part.rows)
            if len(parts) != 1:
                self._counted_in(parts)
            one = parts[0] if len(parts) == 1 else self._joined(window, schema, parts)
            ready.append(Ready(self._output(window.load, file.output), one))
        self._counted_in([one.part for one in ready])
        return tuple(ready)

    def _of_good_files(self, window: Window, tally: Tally, told: Sequence[files.FileResult]) -> tuple[Staged, ...]:
        """The staged files with rows of files that were read whole."""
        staged = files.staged_of(window, tally.staged)
        good = {part.name for file in told if not file.error for part in staged[file.name]}
        return tuple(part for part in tally.staged if part.rows and part.name in good)

    def _outdated(self, window: Window, policy: Policy, told: Sequence[files.FileResult]) -> list[Path]:
        """Files that go: outputs in whose place others come, and when every file is read again those with rows of several."""
        with self.reading() as tx:
            assert tx is not None  # there is a run
            known = self.ledger.files_done(tx, window.service, window.load)
            shared = self.ledger.written(tx, window.service, window.load) if policy.refresh else []
        anew = {file.name: file.output for file in told if not file.error}
        theirs = {*anew.values(), *(file.output for name, file in known.items() if name not in anew)}
        names = [known[name].output for name in anew if name in known and known[name].output and known[name].output not in theirs]
        paths = [self._output(window.load, name) for name in names if not files.is_shards(name)]
        return self._standing([path for path in map(self._from_promise, shared) if path is not None] + paths)

    def _counted_in(self, parts: Sequence[Staged]) -> None:
        """Hold staged files against their manifests."""
        for part in parts:
            self._staging.count(part)

    def _joined(self, window: Window, schema: pa.Schema, parts: Sequence[Staged]) -> Staged:
        """One staged file of the rows of several, in order."""
        stager = self._staging.rows(str(StagingName.of(window.service, window.run, new_attempt())), schema, 0)
        try:
            for part in parts:
                stager.append(part)
            return stager.finish()
        except BaseException:
            stager.abort()
            raise

    def merge(self, tx: Session, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> Merged:  # noqa: ARG002
        place, ready = self._place_of(window), self._ready[window.load]
        if isinstance(ready, FatalError):
            raise ready
        self._staging.confirm([one.part for one in ready])
        going = place.files() if policy.whole else self._leaving.get(window.load, [])
        moves = [Move(self._promised(one.path), *self._staged_as(one.part)) for one in ready]
        moves += [Move(self._promised(path), identity=self._identity(path)) for path in going if path != place.file]
        self.ledger.promise(tx, window, moves)
        if policy.by_file:
            return self._merge_files(tx, window, policy, tally, ready)
        if not moves:
            return Merged(method="nothing to load")
        method = "add files" if not policy.whole else "replace the file" if place.file is not None else "replace files"
        deleted = sum(map(self._rows, going)) if self._form.format == "parquet" else 0  # others have no footer that tells it
        return Merged(inserted=tally.staged_rows, deleted=deleted, method=method)

    def _merge_files(self, tx: Session, window: Window, policy: Policy, tally: Tally, ready: Sequence[Ready]) -> Merged:
        told = self._told[window.load]
        if told and all(file.error for file in told) and not self._has_read(tx, window):
            raise Judged("file-unreadable", f"none of the {len(told)} files can be read, such as {told[0].name!r}: {told[0].error}")
        if policy.refresh:
            self._forget(tx, window, told)
        self.ledger.done(tx, window, told)
        method = "a file each" if told else "no new file"
        if policy.shard_size is not None and told:
            method = "files of a size"
            self.ledger.wrote(tx, window, [self._promised(one.path) for one in ready])
        staged = files.staged_of(window, tally.staged)
        withdrawn = sum(part.rows for file in told if file.error for part in staged[file.name])
        return Merged(inserted=sum(one.part.rows for one in ready), withdrawn=withdrawn, method=method, files=told)

    def _forget(self, tx: Session, window: Window, told: Sequence[files.FileResult]) -> None:
        """Forget what goes when every file is read again."""
        known = self.ledger.files_done(tx, window.service, window.load)
        for file in told:
            if file.error and file.name in known and known[file.name].shared:
                raise Judged(
                    "file-unreadable",
                    f"{file.name!r} cannot be read, and the files that hold rows of it together with those of others would go: mend it, or"
                    f" take it away, and nothing is replaced until then ({file.error})",
                )
        self.ledger.forget_shared(tx, window)

    def _has_read(self, tx: Session, window: Window) -> bool:
        """Whether the service has ever read a file: else the definition may be what is wrong, and not the files."""
        return any(not file.error or file.output for file in self.ledger.files_done(tx, window.service, window.load).values())

    def fulfil(self, service: str) -> None:
        """Do what commits of the service promised; each step may have been done already, by a run that died or by one that goes on."""
        with self.reading() as tx:
            promised = self.ledger.promised(tx, service) if tx is not None and self.has_table(tx, self.ledger.moves) else {}
        for (load, run), moves in promised.items():
            if not all(map(self._owns, moves)):
                # Not lost: another target of the service does it, or a run with the destination that it was promised for.
                _LOG.warning("what run %s committed to %r is elsewhere (%s), and waits for a run that goes there", run, load, moves[0].path)
                continue
            missing = self._missing(moves)  # as it was before any of them was made, if nobody has begun
            with self.transaction() as tx:
                first = self.ledger.begin(tx, service, load, run)
            missing = [move for move in missing if first or self._swept(move)]
            try:
                self._keep([move for move in moves if move not in missing])
            except OSError as failed:
                raise FatalError(
                    f"run {run} is committed, but its files could not be moved to {load!r}, or not all of them: {_said(failed)}. Nothing is"
                    " lost: mend that and start again; the next run moves them first, and reads no input anew",
                    code="commit-failed",
                ) from failed
            again, lost = True, [move for move in moves if move in missing or self._lost(move)]
            with self.transaction() as tx:
                if (load, run) not in self.ledger.promised(tx, service):
                    continue  # another has done it, and what is there now may be of a run that came later
                if lost:
                    again = self.ledger.undone(tx, service, load, run, self._below(load, lost))
                self.ledger.kept(tx, service, load, run)
            if lost:
                told = f"{len(lost)} files that run {run} committed are lost with their staging, such as {lost[0].path!r}"
                if not again:
                    raise FatalError(f"{told}: run with --full-refresh, which reads and writes everything again", code="staging-lost")
                _LOG.error("%s (staging-lost): what they were made of is read again by the run that begins next", told)

    def _below(self, load: str, moves: Sequence[Move]) -> list[str]:
        """The names of outputs below the place of a load."""
        place = self._place(load)
        start = self._promised(place.folder).rstrip("/") + "/"
        return [move.path.removeprefix(start).removeprefix(place.prefix) for move in moves]


@dataclass(frozen=True)
class Ready:
    """A staged file, and where it is to be."""

    path: Path
    part: Staged


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    _make(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
    except OSError as failed:
        raise FatalError(f"the folder {str(folder)!r} cannot be made: {failed.strerror or failed}", code="commit-failed") from failed


def _keep(move: Move) -> None:
    path, source = Path(move.path), Path(move.source)
    if not move.source:
        found = _identity(path)
        if found == move.identity:
            path.unlink()
        elif found is not None:
            _LOG.warning("%s was changed while it was being replaced, and stays", path)
        return
    _make(path.parent)
    try:
        os.replace(source, path)
    except FileNotFoundError:
        # It has been moved. If it is not there any more somebody took it away: files are read and removed by those who follow.
        if not path.exists():
            _LOG.warning("%s was loaded, and has been taken away since", path)


def _said(error: OSError) -> str:
    """What the system says of which file; of two, of the one that was to be there."""
    name = error.filename2 or error.filename
    return (error.strerror or str(error)) + (f" ({os.fsdecode(name)!r})" if name else "")


def _identity(path: Path) -> str | None:
    """What tells this file from another of its name; None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def _version(path: Path) -> str:
    """What a file is known by under another name, and in a copy of its folder; empty when there is none."""
    return (_identity(path) or "").partition(":")[2]


def columns_of(file: Stored, form: Form) -> pa.Schema | None:
    """The columns that a file says it has; None where it says none, or cannot be read."""
    try:
        if form.format == "parquet":
            with file.open() as opened:
                return pa.schema(list(pq.read_schema(opened)))
        if form.format == "avro":
            from beam_pipelines.io.files.avro.source import schema_of

            return schema_of(file)
    except (pa.ArrowInvalid, OSError, FatalError, PlanError) as broken:
        _LOG.warning("%s is no %s file, and passed over: %s", file, form.shown, broken)
    return None


def _rows(path: Path) -> int:
    """Rows of a file that goes, where its footer says it."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowInvalid, OSError):
        return 0  # whatever it is, it goes
