"""Outputs of steps of rules: where rejected rows and violations go, and whether they can go there, found out before anything is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.engine.reread import reads_file, reads_table
from beam_pipelines.errors import BeamPipelinesError, PlanError, SpecError
from beam_pipelines.io import registry
from beam_pipelines.io.connector import Target
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.window import Window

if TYPE_CHECKING:
    from beam_pipelines.spec.output import FileOutput, TableOutput, WarehouseOutput

__all__ = ["Output", "check_outputs", "check_rows", "outputs_of"]

KINDS: tuple[Literal["rejected", "violations"], ...] = ("rejected", "violations")
_WORDS = {"rejected": "rejected rows", "violations": "violations"}


@dataclass(frozen=True)
class Output:
    """One output of a step.

    Args:
        step: Id of the step.
        position: Of the step.
        kind: What goes there.
        model: Where.
        path: Of the output in the definition.
    """

    step: str
    position: int
    kind: Literal["rejected", "violations"]
    model: TableOutput | WarehouseOutput | FileOutput
    path: str

    def service(self, service: str) -> str:
        """What the ledger of the output's target knows it as: it is a load of its own."""
        return f"{service}/{self.step}.{self.kind}"

    @property
    def what(self) -> str:
        return f"the {_WORDS[self.kind]} of {self.step!r}"

    @property
    def where(self) -> str:
        """The table or path as it is written."""
        return self.model.place

    def load_of(self, table: str) -> str:
        """Where the rows of a source table go."""
        return self.where.replace("{table}", table.rpartition(".")[2])

    def open(self, job: Job, context: RunContext) -> Target:
        """Open the target; the caller closes it.

        Raises:
            PlanError: It is not served, or its connection is missing; names the key.
        """
        try:
            return registry.open_target(self.model, job.connections(context), Path(job.folder) if job.folder else None, context)
        except PlanError as error:
            if error.problems:
                raise
            raise refusal(self.path, error.message, error.code) from error

    def schema(self, job: Job, window: Window) -> pa.Schema:
        """The columns that it gets, of the source table of a window; what a run adds to each row is among them.

        Raises:
            PlanError: A column of the rows has the name of one that is put beside them.
        """
        from beam_pipelines.rules import aside

        if self.kind == "violations":
            return pa.schema([pa.field("run", pa.string()), pa.field("step", pa.string()), *aside.VIOLATIONS])
        name = job.step_ids[self.position - 1] if self.position else ""
        shown = window.schema(name) if name in window.schemas else pa.schema([])
        ours = {aside.RUN, aside.RULES, aside.ORIGIN}
        taken = [column for column in shown.names if column.lower() in ours]
        if taken:
            message = f"rejected rows get the columns {', '.join(sorted(ours))}, and have {', '.join(map(repr, taken))} already"
            raise refusal(self.path, message, "mode-refused", "rename it in a map step before, or drop it")
        return aside.rejected_schema(shown).append(pa.field(aside.RUN, pa.string()))


def outputs_of(job: Job) -> list[Output]:
    """Every output of the job's own steps, in the order of the definition."""
    return [
        Output(step.id, position, kind, model, f"{job.definition.steps_path}[{position}].{kind}")
        for position, step in enumerate(job.definition.steps)
        for kind in KINDS
        if (model := getattr(step, kind, None)) is not None
    ]


def check_outputs(job: Job, context: RunContext, target: Target, loads: Sequence[str], tables: Sequence[str]) -> list[str]:
    """Refuse outputs that cannot be written as they are asked for, as far as it is known without the columns of rows.

    Args:
        job: The service.
        context: Of the run.
        target: Of the destination.
        loads: What is loaded there.
        tables: What is read.

    Returns:
        A line for each output, for the plan.

    Raises:
        PlanError: Of one: its connection, its mode, or its place, which is that of something else.
    """
    outputs = outputs_of(job)
    taken = [(_Place.of(target, load), "the destination") for load in loads if outputs and target.traits.keeps]
    lines = []
    for output in outputs:
        with contextlib.closing(output.open(job, context)) as opened, _named(output):
            places = list(dict.fromkeys(map(output.load_of, tables)))
            if output.kind == "rejected" and len(places) < len(tables):
                message = f"expected a place for each of {len(tables)} tables, whose columns differ: write it with {{table}} in it"
                raise refusal(output.path, message, "mode-refused")
            _not_the_source(job, output, tables)
            for load in places:
                place = _Place.of(opened, load)
                other = next((what for there, what in taken if there.overlaps(place)), None)
                if other is not None:
                    raise refusal(output.path, f"expected a place of its own, got {load!r}, where {other} goes", "mode-refused")
                taken.append((place, output.what))
                opened.describe(load)  # it answers, and lets us look
            at = output.model.connection_name or "files"
            lines.append(f"{output.what}: {output.model.mode} into {output.load_of('{table}')} at {at} ({opened.traits.system})")
    return lines


def _not_the_source(job: Job, output: Output, tables: Sequence[str]) -> None:
    source, folder = job.definition.source, Path(job.folder) if job.folder else None
    for table in tables:
        load = output.load_of(table)
        if reads_table(source, table, output.model, load) or reads_file(source, output.model, load, folder):
            raise refusal(output.path, f"expected a place of its own, got {load!r}, which is read", "mode-refused")


@contextlib.contextmanager
def _named(output: Output) -> Iterator[None]:
    """Name the output in what is refused of it."""
    try:
        yield
    except PlanError as error:
        if error.problems:
            raise
        raise refusal(output.path, error.message, error.code) from error
    except SpecError:
        raise
    except BeamPipelinesError as error:
        error.message = f"{output.what} cannot go to {output.where!r}: {error.message}"
        raise


@dataclass(frozen=True)
class _Place:
    """Where rows lie: a table, or files of a folder.

    Args:
        system: The database or folder.
        name: The table, or what the names of files begin with.
        file: The one file, None: any number in the folder.
    """

    system: str
    name: str
    file: str | None = None

    @classmethod
    def of(cls, target: Target, load: str) -> _Place:
        from beam_pipelines.io.files.target import FileTarget

        if isinstance(target, FileTarget):
            folder, prefix, file = target.location(load)
            return cls(str(folder.resolve()), prefix, None if file is None else file.name)
        system, _, _ = target.place.partition("#")  # behind it is where the ledger is
        name = load.removeprefix("main.").removeprefix("public.")
        return cls(system, name.lower() if target.traits.folds_case else name)

    def overlaps(self, other: _Place) -> bool:
        """Whether rows of the one would be among those of the other."""
        if self.system != other.system:
            return False
        if self.file is not None and other.file is not None:
            return self.file == other.file
        if "://" in self.system:  # tables of one database
            return self.name == other.name
        # Whatever ends as files of the format do in a folder, and begins with the prefix, is the table.
        if self.file is not None or other.file is not None:
            return (self.file or other.file or "").startswith(self.name or other.name)
        return self.name.startswith(other.name) or other.name.startswith(self.name)


def check_rows(job: Job, context: RunContext, window: Window) -> None:
    """Refuse outputs whose target has nothing that keeps a column of theirs, once the columns are known.

    Args:
        job: The service.
        context: Of the run.
        window: Of a load, planned.

    Raises:
        PlanError: Of one: a type, the name of a column, or files that have other types.
    """
    for output in outputs_of(job):
        schema = output.schema(job, window)
        with contextlib.closing(output.open(job, context)) as opened, _named(output):
            fold = str.lower if opened.traits.folds_case else str
            names = list(map(fold, schema.names))
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                message = f"{opened.traits.system} does not tell {twice[0]!r} from a column of the same name in other letters"
                raise refusal(output.path, message, "mode-refused", "rename one in a map step before")
            stored = opened.stored(schema)
            there = opened.describe(output.load_of(window.table)) if output.model.type == "file" and output.model.mode == "insert" else None
            for field in there.schema if there else ():
                if field.name in stored.names and stored.field(field.name).type != field.type:
                    message = f"column {field.name!r} is {stored.field(field.name).type} now, and {field.type} in the files that are there"
                    raise refusal(output.path, message, "schema-changed", "cast it in a map step before, or give another path")
