"""A service whose unit is the file: which files a run reads, and which file the rows of each go to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import sums_up
from beam_pipelines.engine.prepare import SOURCE
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connector import Source, Standing, Target
from beam_pipelines.io.files.format import SUFFIXES
from beam_pipelines.io.files.place import Listing
from beam_pipelines.io.files.target import FileTarget
from beam_pipelines.io.files.whole import UNNAMED, WholeFiles
from beam_pipelines.io.objects.store import Stored
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.file import shards_of
from beam_pipelines.runs.window import Range, schema_from_text

if TYPE_CHECKING:
    from beam_pipelines.io.files.ledger import FileDone

__all__ = ["Chosen", "check_steps", "choose"]

_CHANGED = (
    "the file changed since it was processed, and its rows are in files together with those of others, or would be: run with"
    " --full-refresh, which reads every file again and replaces these"
)


@dataclass(frozen=True)
class Chosen:
    """What a run has to do.

    Args:
        files: The source, which reads these files alone.
        outputs: Of each file that is read, the name of what becomes of it, below the place of the destination; of one that is not read
            for the sake of its name, none.
        done: Files that are there and that an earlier run is done with.
        waiting: Those of them that cannot be read, and have not changed since.
        hidden: Files that are left out, for their name begins with `.` or `_`.
        closed: Folders of the source that cannot be read, by their paths.
        gone: Files whose outputs were written, where the folder of all outputs is not there any more.
    """

    files: WholeFiles
    outputs: Mapping[Stored, str]
    done: int = 0
    waiting: int = 0
    hidden: int = 0
    closed: tuple[str, ...] = ()
    gone: int = 0

    @property
    def nothing(self) -> bool:
        """There is no new file."""
        return not self.outputs

    @property
    def unread(self) -> bool:
        """None of them can be read, as far as is known once they were looked at."""
        return not self.files.stored()

    def without(self, error: PlanError, arrives: Mapping[str, str]) -> None:
        """Go on without the files whose columns the plan cannot have, where others are left; else it is the plan that is wrong.

        Args:
            error: What the plan stops at; its details name the column, as the target would have it.
            arrives: What each column of the source is called there.

        Raises:
            PlanError: It is of no column, or of one that is not in some of the files alone.
        """
        column = error.details.get("column")
        columns = {name for name, arriving in arrives.items() if arriving == column}
        before = self.files.broken
        having = self.files.leave_out_having(columns, error.message) if columns else []
        if self.files.broken == before:
            where = f" (it is in {having[0]!r})" if having else ""
            raise PlanError(f"{error.message}{where}", code=error.code, details=error.details) from error

    def named(self, ranges: Sequence[Range]) -> tuple[Range, ...]:
        """The ranges, each with the name of what becomes of its file."""
        by_label = {self.files.place.label(file): output for file, output in self.outputs.items()}
        return tuple(replace(part, bounds={**part.bounds, "output": by_label[part.bounds["label"]]}) for part in ranges)


def choose(job: Job, context: RunContext, source: Source, target: Target, load: str, head: Standing, mark: str) -> Chosen:
    """Have the source read the files that no earlier run is done with.

    Args:
        job: The service.
        context: Of the run; a full refresh reads every file.
        source: Its source.
        target: Its target, whose ledger knows the files.
        load: Ledger key.
        head: What the ledger says of the load.
        mark: Fingerprint of what is read and where it goes.

    Raises:
        PlanError: Source or destination are no files; there is no file and never was one; the source is another
            than that of the files that are known; two files would become one; an output is there
            that no run of the service has made, or would be read again.
    """
    files, into = _of_files(source, target)
    known = into.files_done(job.service, load)
    if known and head.fingerprint not in ("", mark) and not (context.full_refresh or context.keep_watermark):
        raise PlanError(
            f"the source of {load!r} changed since files of it were processed, so one that is called alike may be another: run"
            " with --full-refresh to read every file, or with --keep-watermark to read those that are not known",
            code="fingerprint-changed",
        )
    listing = _there(files, known, full=context.full_refresh)
    if listing.unnamed and not job.goes_on:
        raise PlanError(f"{files.place.label(listing.unnamed[0])!r}: {UNNAMED}", code="option-invalid")
    there = [*listing.files, *listing.unnamed]
    label = files.place.label
    reading = job.reading
    new = [file for file in there if context.full_refresh or not _is_done(file, known.get(label(file)), reading)]
    before = head.schemas.get(SOURCE, head.schemas.get("")) if head.fingerprint == mark and not context.full_refresh else None
    files.choose(new, tolerant=job.goes_on, known=schema_from_text(before) if before else None)
    shut = into.shut(load) if new else ""
    if shut:  # one folder of several costs its files alone, this one all of them
        raise FatalError(f"the destination takes nothing: {shut}; mend that, and run again", code="stage-failed")
    for file in listing.unnamed:
        files.leave_out(file, UNNAMED)
    for file in _held(job, files, new, known) if not context.full_refresh else ():
        files.leave_out(file, _CHANGED)
    if job.shard_size is None:
        names = {label(file) for file in there}
        present = {name: done for name, done in known.items() if name in names}
        outputs = _outputs(job, files, into, load, new)
        _check_names(files, into, load, {file: output for file, output in outputs.items() if output}, present)
        _check_taken(context, into, load, list(filter(None, outputs.values())), known)
    else:
        outputs = dict.fromkeys(new, shards_of(context.run, into.form.ending))
        _check_shards(files, into, load, context)
    done = len(there) - len(new)
    waiting = sum(1 for file in there if file not in outputs and known[label(file)].error)
    written = sum(1 for file in known.values() if file.output) if not into.present(load) and not context.full_refresh else 0
    return Chosen(files, outputs, done, waiting, listing.hidden, listing.closed, written)


def _of_files(source: Source, target: Target) -> tuple[WholeFiles, FileTarget]:
    if not isinstance(source, WholeFiles):
        raise refusal("batch.source", "expected files, in a bucket (s3, gcs) or by path (file)", "not-served")
    if not isinstance(target, FileTarget):
        message = "expected files, in a bucket (s3, gcs) or by path (file); rows of files go into a table by a `pipeline` (ETL)"
        raise refusal("batch.destination", message, "not-served")
    if target.replaces:
        message = (
            "a file that is read again replaces its own output, and replace would take away those of all files that are not: leave it out"
        )
        raise refusal("batch.destination.mode", message, "mode-refused")
    return source, target


def _there(files: WholeFiles, known: Mapping[str, FileDone], *, full: bool) -> Listing:
    try:
        return files.present()
    except PlanError as error:
        if error.code != "table-missing" or not known or full:
            raise  # to read everything anew where there is nothing would take away what there is
        # All that was there is done with, and was taken away.
        return Listing([], hidden=error.details.get("hidden", 0), closed=tuple(error.details.get("closed", ())))


def _is_done(file: Stored, known: FileDone | None, options: str) -> bool:
    """Whether there is nothing to do: one that could not be read is tried again when it is to be read otherwise."""
    if known is None or (known.size, known.tag) != (file.size, file.tag):
        return False
    return not known.error or known.options == options


def _held(job: Job, files: WholeFiles, new: Sequence[Stored], known: Mapping[str, FileDone]) -> list[Stored]:
    """Files that have changed and whose rows cannot be replaced alone: they are, or would be, among those of others.

    Raises:
        PlanError: The service does not go on without them, or there is no other file.
    """
    label = files.place.label
    before = {file: known[label(file)] for file in new if label(file) in known}
    held = [file for file, one in before.items() if one.output and (one.shared or job.shard_size is not None)]
    if held and (len(held) == len(new) or not job.goes_on):
        more = f" (and {len(held) - 1} more)" if len(held) > 1 else ""
        raise refusal("batch.destination.shardSize", f"{label(held[0])!r}{more}: {_CHANGED}", "mode-refused")
    return held


def _check_shards(files: WholeFiles, into: FileTarget, load: str, context: RunContext) -> None:
    """Refuse to write what the next run would read."""
    name = f"{context.run}-00000{into.form.ending}"
    if files.place.reads(into.output(load, name), SUFFIXES[files.format]):
        raise refusal(
            "batch.destination",
            f"files such as {name!r} would be read by the next run as input: give another prefix or format",
            "mode-refused",
        )


def _outputs(job: Job, files: WholeFiles, into: FileTarget, load: str, new: Sequence[Stored]) -> dict[Stored, str]:
    """Where the rows of each file go. One whose name can be no file's there is at fault alone, like one that cannot be read."""
    outputs = {}
    for file in new:
        name = files.place.relative(file)
        output = _named(name, files, into)
        bare = any(part in ("", ".", "..") for part in name.split("/"))
        why = "one of its parts is empty, or dots alone" if bare else into.unfit(load, output)
        way = "" if why else into.hindrance(load, output)
        if why or way:
            place = f"a file called {output!r}, for {why}: rename it" if why else f"{into.output(load, output)!r}: {way}"
            told = f"the rows of {files.place.label(file)!r} cannot go to {place}"
            if not job.goes_on:
                raise PlanError(told, code="option-invalid")
            files.leave_out(file, told, passing=bool(way))
            output = ""
        outputs[file] = output
    return outputs


def _named(name: str, files: WholeFiles, into: FileTarget) -> str:
    """What the output of an input is called, below the place of the destination; `name` is the input's, below the place of the source."""
    low = name.lower()
    ending = max((suffix for suffix in SUFFIXES[files.format] if low.endswith(suffix)), key=len, default="")
    return (name[: len(name) - len(ending)] if len(ending) < len(name.rpartition("/")[2]) else name) + into.form.ending


def _check_names(files: WholeFiles, into: FileTarget, load: str, outputs: Mapping[Stored, str], known: Mapping[str, FileDone]) -> None:
    """Refuse outputs that are of two inputs, or that would be read again."""
    of: dict[str, str] = {file.output: name for name, file in known.items() if file.output}
    suffixes = SUFFIXES[files.format]
    for file, output in outputs.items():
        name = files.place.label(file)
        other = of.setdefault(output, name)
        if other != name:
            raise refusal(
                "batch.source",
                f"{other!r} and {name!r} would both become {output!r}: rename one, or read them by two services",
                "mode-refused",
            )
        if files.place.reads(into.output(load, output), suffixes):
            raise refusal(
                "batch.destination",
                f"{output!r}, which {name!r} becomes, would be read by the next run as input: give another prefix or format",
                "mode-refused",
            )
    folders = {output.rpartition("/")[0] for output in of}
    folders |= {folder[:place] for folder in folders for place, sign in enumerate(folder) if sign == "/"}
    inside = sorted(output for output in of if output in folders)
    if inside and into.traits.local:  # a bucket has no folders
        message = f"{of[inside[0]]!r} would become {inside[0]!r}, which is a folder of others: rename it"
        raise refusal("batch.source", message, "mode-refused")


def _check_taken(context: RunContext, into: FileTarget, load: str, outputs: Sequence[str], known: Mapping[str, FileDone]) -> None:
    ours = {file.output for file in known.values()}
    strange = into.taken(load, [output for output in outputs if output not in ours]) if not context.full_refresh else []
    if strange:
        shown = ", ".join(map(repr, strange[:3])) + (f" and {len(strange) - 3} more" if len(strange) > 3 else "")
        raise refusal(
            "batch.destination",
            f"expected nothing at {into.output(load, strange[0])!r}, found a file that no run of this service is known to have written"
            f" ({shown}): give another prefix, or say --full-refresh to replace it",
            "mode-refused",
        )


def check_steps(job: Job) -> None:
    """Refuse steps that give rows of no file: they have none to go to.

    Raises:
        PlanError: Names the first one.
    """
    for place, step in enumerate(job.definition.steps):
        how = getattr(step, "how", None)
        if sums_up(step) or step.type == "union" or how in ("right", "full"):
            shown = f"a {how} join" if how in ("right", "full") else f"a step of type {step.type}"
            raise refusal(
                f"{job.definition.steps_path}[{place}]",
                f"{shown} gives rows that are of no file, and each file gets an output of its own rows: do it by a `pipeline` (ETL) whose"
                " source is these files",
                "mode-refused",
            )
