"""A definition made runnable: which source, steps and target it means. It travels in the pipeline's proto: names, and no secrets."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from beam_pipelines import __version__
from beam_pipelines.engine import artifact, sources
from beam_pipelines.engine.lineage import remembers
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.errors import PlanError
from beam_pipelines.functions import Functions
from beam_pipelines.io import registry
from beam_pipelines.io.connections import Connections
from beam_pipelines.io.connector import Policy, Source, Target
from beam_pipelines.runs.balance import Budget
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.threshold import Threshold
from beam_pipelines.runs.window import Window
from beam_pipelines.spec import Definition
from beam_pipelines.spec.definition import ErrorBudget
from beam_pipelines.spec.destination import NoDestination
from beam_pipelines.transforms.registry import build
from beam_pipelines.transforms.step import Step

if TYPE_CHECKING:
    from beam_pipelines.spec.source import TopicSource
    from beam_pipelines.spec.step.join import JoinStep

__all__ = ["Job"]


def _sink(sinks: Sequence[Any], place: int | None, *, by_key: bool) -> Any:
    if place is None:
        return NoDestination()
    where = sinks[place]
    if by_key and where.type in ("database", "data-warehouse") and "mode" not in where.model_fields_set:
        return where.model_copy(update={"mode": "upsert"})
    return where


_TRAVELS = ("text", "package", "context", "path", "refresh", "beside")


def _text(data: Any) -> str:
    """JSON without white space; by the library that knows integers of any size."""
    return json.dumps(data, separators=(",", ":"))


@dataclass(frozen=True)
class Job:
    """One service, as workers need it.

    Args:
        text: The definition as JSON.
        folder: Folder of the definition on this machine, for `functions.py` and relative paths; None when there is none. It is not
            pickled: another machine has other folders, and workers take theirs from the run context (`at`).
        package: The folder's Python files as a package that workers elsewhere install (`packed`); None: it was not packed.
        context: Of a service inside a user's own pipeline, which has no launcher: all but the run, whose id is made at run time.
        path: Where the steps stand in the definition, when they are those of a join's own source (`side`).
        refresh: Of such a source of a stream: ms that its rows may be old; None: they are read by each drain.
        beside: Whether such a source is a topic that a stream meets: messages of it come for ever as well.
    """

    text: str
    folder: str | None = None
    package: str | None = None
    context: RunContext | None = None
    path: str = ""
    refresh: int | None = None
    beside: bool = False

    @classmethod
    def of(cls, definition: Definition, folder: Path | None = None) -> Job:
        # Without its tests: what travels with a pipeline is what runs.
        data = definition.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"tests"})
        return cls(_text(data), str(folder) if folder else None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name in _TRAVELS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in {**state, "folder": None}.items():
            object.__setattr__(self, name, value)

    def run_context(self) -> RunContext:
        """The context of the run that this worker is at; `run` is empty in a user's own pipeline, where the windows say it.

        Raises:
            FatalError: The pipeline was started without one.
        """
        return self.context or RunContext.current()

    def packed(self, into: Path) -> tuple[Job, Path | None]:
        """The job as workers on other machines can run it, and the wheel that they need; None when no step calls code of the folder.

        Raises:
            PlanError: The folder holds too much.
        """
        if not self.folder or not artifact.needs(self.definition.steps):
            return self, None
        package, wheel = artifact.pack(Path(self.folder), into)
        return replace(self, package=package), wheel

    def at(self, context: RunContext) -> Job:
        """The job in the folder that a run says, else where its packed folder was installed.

        Raises:
            PlanError: `function-missing`: it was packed, and is not installed here.
        """
        folder = context.folder
        if folder is None and self.folder is None and self.package is not None:
            installed = artifact.folder_of(self.package)
            if installed is None:
                raise PlanError(
                    f"the functions of this pipeline are in the package {self.package!r}, which is not installed in this worker:"
                    " give the wheel that was made with the pipeline as --extra_package",
                    code="function-missing",
                )
            folder = str(installed)
        return self if folder in (None, self.folder) else replace(self, folder=folder)

    @cached_property
    def definition(self) -> Definition:
        return Definition.model_validate(json.loads(self.text))

    @property
    def service(self) -> str:
        return self.definition.service_id

    @property
    def by_file(self) -> bool:
        """Whether the file is the unit: each is read whole or not at all, once, and its rows go to a file of their own."""
        return self.definition.batch is not None

    @property
    def live(self) -> bool:
        """Whether the service is a stream: rows come for ever, and each commit goes on from the one before."""
        return self.definition.stream is not None

    @property
    def window_at(self) -> int | None:
        """Position of the step that sums up by windows of time; None: there is none."""
        return next((place for place, step in enumerate(self.definition.steps) if step.type == "window"), None)

    @property
    def live_joins(self) -> dict[str, str]:
        """The topic of each join of a stream with one, whose rows wait for each other, by its id."""
        steps = cast("Sequence[JoinStep]", self.definition.steps if self.live else ())
        return {step.id: cast("TopicSource", step.source).topic for step in steps if getattr(step, "live", False)}

    @property
    def remembers(self) -> bool:
        """Whether a stream remembers keys of its rows."""
        return self.live and any(map(remembers, self.definition.steps))

    @property
    def others(self) -> tuple[tuple[str, Any], ...]:
        """The sinks of a stream beside the one whose transaction holds its offsets: id and model of each."""
        first = self._first_sink
        return tuple((f"sinks[{place}]", model) for place, model in enumerate(self.definition.destinations) if place != first)

    @property
    def _first_sink(self) -> int | None:
        """Place of the sink that is committed with the offsets; None: it is none of them."""
        return self.definition.first_sink if self.live else 0

    @property
    def shard_size(self) -> int | None:
        """Bytes of each file that is written, about; None: nothing is said."""
        size: int | None = getattr(self.destination, "shard_size", None)
        return size

    @property
    def reading(self) -> str:
        """A digest of what decides whether a file can be read, and its columns written: another is reason to try a bad one again."""
        definition = self.definition
        parts = [definition.source, *definition.steps]
        told = [part.model_dump(mode="json", by_alias=True) for part in parts if part is not None]
        more = [getattr(self.destination, "format", None), definition.naming, definition.max_cell_bytes, __version__]
        text = json.dumps([told, more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def goes_on(self) -> bool:
        """Whether a file that cannot be read becomes a dead letter; else it stops the run."""
        batch = self.definition.batch
        return batch is not None and batch.processing.error_handling == "continue"

    @property
    def chunk_rows(self) -> int:
        """Most rows of a batch that is read, of a service whose unit is the file."""
        assert self.definition.batch is not None
        return self.definition.batch.processing.chunk_size

    @property
    def destination(self) -> Any:
        """Where rows are committed: the one destination of a bounded service, or the sink of a stream that holds its offsets.

        Files of a batch have the format of its input where they are given none. Results of windows are written by key unless the sink says
        otherwise: one that comes out again takes the place of itself.
        """
        if self.live:
            return _sink(self.definition.destinations, self._first_sink, by_key=self.window_at is not None)
        where = self.definition.destinations[0]
        if self.by_file and hasattr(where, "prefix") and where.format is None:
            return where.model_copy(update={"format": registry.format_given(self.definition.source)})
        return where

    @property
    def step_ids(self) -> list[str]:
        return [step.id for step in self.definition.steps]

    @cached_property
    def functions(self) -> Functions:
        return Functions(Path(self.folder) if self.folder else None, self.definition.functions)

    def code(self) -> str:
        """A digest of this package's release and the engine's, the steps as declared and the modules their functions are in.

        To these belongs what they import from the definition's folder. The schemas that were planned or sampled of the steps belong to
        the digest, and the expressions that were compiled.
        """
        # Where rejected rows and violations go changes nothing of what comes out.
        aside = {"rejected", "violations", "examples"}
        steps = [step.model_dump(mode="json", by_alias=True, exclude=aside) for step in self.definition.steps]
        digest = hashlib.sha256(json.dumps(steps).encode())
        digest.update(f"{__version__} {importlib.metadata.version('duckdb')}".encode())
        handlers = [(step.id, getattr(step, "handler", None)) for step in self.definition.steps if step.type == "function"]
        codes = [self.functions.find(step_id, handler).code for step_id, handler in handlers]
        files: dict[str, bytes] = {}
        if self.folder and handlers:
            modules = [handler.partition(":")[0] if handler else "functions" for _, handler in handlers]
            files = sources.beside(Path(self.folder), [*modules, *self.definition.functions])
        for name, content in files.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        known = {str(Path(self.folder or "").resolve() / name) for name in files}
        for module in (inspect.getmodule(code) or code for code in codes):
            if getattr(module, "__file__", None) not in known:
                with contextlib.suppress(OSError, TypeError):
                    digest.update(inspect.getsource(module).encode())
        return digest.hexdigest()[:16]

    def connections(self, context: RunContext | None) -> Connections:
        return Connections(Path(context.connections) if context and context.connections else None)

    def open_source(self, context: RunContext | None) -> Source:
        """Open the source; the caller closes it."""
        kind = self.definition.source.type if self.definition.source is not None else ""
        if kind in ("kafka", "stream") and not (self.beside or (self.live and not self.path)):
            what = f"type {kind!r}: a topic has no end, and is the source of streams (a definition with `stream`) and of their joins"
            raise PlanError(f"{what}; as what others read it is not served yet", code="not-served")
        limit = self.definition.max_cell_bytes
        source = registry.open_source(self.definition.source, self.connections(context), self._folder, context, limit)
        if self.refresh is None or context is None or not context.session:
            return source
        from beam_pipelines.engine.live.remembered import RememberedSource

        return RememberedSource(source, self.refresh / 1000, context.session, self.path)

    def open_target(self, context: RunContext | None) -> Target:
        """Open the target; the caller closes it."""
        return registry.open_target(self.destination, self.connections(context), self._folder, context)

    @property
    def _folder(self) -> Path | None:
        return Path(self.folder) if self.folder else None

    def steps(self) -> list[Step]:
        """The steps, not yet opened."""
        path = self.path or self.definition.steps_path
        return [build(model, self.functions, f"{path}[{index}]") for index, model in enumerate(self.definition.steps)]

    def schema_before(self, window: Window, position: int) -> pa.Schema:
        """The planned schema of what reaches a step."""
        return window.schema(self.step_ids[position - 1] if position else "")

    def side(self, step: str) -> Job:
        """The job of the right side of a join: its source, its own steps, and the same target.

        Args:
            step: Id of the step; of the reference of a foreign key `STEP/RULE`.
        """
        if step not in self._sides:
            self._sides[step] = self._side(step)
        return self._sides[step]

    @cached_property
    def _sides(self) -> dict[str, Job]:
        return {}

    def _side(self, step: str) -> Job:
        data = json.loads(self.text)
        kind = next(kind for kind in ("validation", "batch", "stream", "pipeline") if kind in data)
        section = data.pop(kind)
        step, _, rule = step.partition("/")
        position = self.step_ids.index(step)
        path = f"{self.path or self.definition.steps_path}[{position}]"
        steps = (section["processing"] if kind == "batch" else section).get("processors" if kind == "stream" else "transformations", ())
        written = section if kind == "validation" else steps[position]
        if rule:
            place = [one["id"] for one in written["rules"]].index(rule)
            path += f".rules[{place}].reference"
            source = self._reference(written["rules"][place]["reference"], path)
        else:
            source = dict(written["source"])
        refresh = source.pop("refresh", None)
        data.pop("pricing", None)  # it names steps that a side does not have
        data["pipeline"] = {
            "destination": section.get("destination") or self.destination.model_dump(mode="json", by_alias=True, exclude_unset=True),
            "transformations": source.pop("transformations", []),
            "source": source,
        }
        beside = step in self.live_joins
        return replace(self, text=_text(data), path=f"{path}.source.transformations", refresh=refresh, beside=beside)

    def _reference(self, reference: dict[str, Any], path: str) -> dict[str, Any]:
        """The source of what a foreign key refers to, with no more columns than it names.

        Raises:
            PlanError: It names no connection, and neither destination nor source have one.
        """
        source = dict(reference.get("source", ()))
        if not source:
            known = (
                reference.get("connection"),
                *(getattr(one, "connection_name", None) for one in (self.destination, self.definition.source)),
            )
            connection = next((name for name in known if name), None)
            if connection is None:
                message = f"expected the connection of the table {reference['table']!r}: neither destination nor source have one"
                raise refusal(f"{path}.connection", message, "connection-missing")
            source = {"type": "database", "connection": connection, "table": reference["table"]}
        names = reference.get("fields") or [reference["field"]]
        if not any(set(".[") & set(name) for name in names):
            taken = {step["id"] for step in source.get("transformations", ())}
            name = next(name for name in (f"columns{'-' * more}" for more in range(len(taken) + 1)) if name not in taken)
            columns = {"id": name, "type": "map", "mappings": {name: {"source": name} for name in names}}
            source["transformations"] = [*source.get("transformations", ()), columns]
        return source

    def load_of(self, table: str) -> str:
        """The ledger key of a source table: the target table, with `{table}` filled in by the table's own name."""
        where = self.destination
        if where.type == "none":
            return table  # there is no other name
        name = str(getattr(where, "table", None) or getattr(where, "path", None) or f"{where.bucket}/{where.prefix}")
        return name.replace("{table}", table.rpartition(".")[2])

    def loads(self, tables: Sequence[str]) -> dict[str, str]:
        """Source table by load.

        Raises:
            PlanError: Two tables would be loaded into one.
        """
        by_load: dict[str, str] = {}
        for table in tables:
            load = self.load_of(table)
            if load in by_load:
                raise refusal(
                    "pipeline.destination.table",
                    f"{by_load[load]!r} and {table!r} would both be loaded into {load!r}; write it with {{table}} in it",
                    "mode-refused",
                )
            by_load[load] = table
        return by_load

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """How many rows may violate each rule of the `validate` steps, where it says so."""
        if not any(step.type == "validate" for step in self.definition.steps):
            return ()
        from beam_pipelines.rules.tally import threshold  # few services have rules

        limits = [(step.id, rule) for step in self.definition.steps for rule in getattr(step, "rules", ())]
        return tuple(limit for step, rule in limits if (limit := threshold(rule, step)) is not None)

    def _stops_at(self, budget: ErrorBudget) -> bool:
        """Whether a run above the error budget fails: a stream only if the definition says so, for it would be stopped for good."""
        return budget.on_exceed == "fail" and not (self.live and "error_budget" not in self.definition.model_fields_set)

    def policy(self, context: RunContext | None = None) -> Policy:
        """How rows go into the target; a full refresh of an insert service replaces the whole table."""
        where = self.destination
        budget = self.definition.error_budget
        keyed = bool(getattr(where, "key_fields", ()))
        # Files of a batch that are read again replace their own output, and no more.
        refresh = bool(context and context.full_refresh) and where.mode == "insert" and not self.by_file
        return Policy(
            mode="replace" if refresh else where.mode,
            whole=refresh or (where.mode == "replace" and not keyed),
            stop=where.error_handling == "stop",
            evolve=getattr(where, "schema_policy", "evolve") == "evolve",
            swap=getattr(where, "strategy", "") == "swap",
            allow_empty=where.allow_empty or self.live,  # the first commit of a stream that begins anew may close no window
            by_file=self.by_file,
            refresh=self.by_file and bool(context and context.full_refresh),
            shard_size=self.shard_size,
            batch_size=getattr(where, "batch_size", 1000),
            thresholds=self.thresholds,
            budget=Budget(budget.rows, float(budget.share) if budget.share is not None else None, self._stops_at(budget)),
        )
