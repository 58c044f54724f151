"""A service definition: everything a user writes about one service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.destination import Destination, NoDestination
from beam_pipelines.spec.limit import Limit, limit_rows, limit_share
from beam_pipelines.spec.model import Model, mistake, nearest
from beam_pipelines.spec.named import Named, identified, repeated
from beam_pipelines.spec.one_of import Met
from beam_pipelines.spec.output import EXAMPLES, Examples, Output
from beam_pipelines.spec.pricing import Pricing
from beam_pipelines.spec.rule import Actions, Rule
from beam_pipelines.spec.schedule import Schedule
from beam_pipelines.spec.source import BatchSource, EventSource, Source
from beam_pipelines.spec.step import Processor, StepBase, Transformation, every_step
from beam_pipelines.spec.values import Count, Duration, Identifier, ModuleName, Size, Text, shown, slug

if TYPE_CHECKING:
    from beam_pipelines.spec.case import Case
else:
    Case = Any  # the model is imported when a test is met

__all__ = [
    "SECTIONS",
    "Batch",
    "Definition",
    "ErrorBudget",
    "Kind",
    "Pipeline",
    "Processing",
    "Retention",
    "Stream",
    "Validation",
]

Kind = Literal["etl", "stream", "batch", "quality", "incomplete"]
RULES = "rules"  # id of the one step of a quality service
SECTIONS: dict[str, Kind] = {"pipeline": "etl", "stream": "stream", "batch": "batch", "validation": "quality"}


class Pipeline(Model):
    """Extract, transform, load."""

    source: Source = Field(description="Where rows come from.")
    transformations: tuple[Transformation, ...] = Field(default=(), description="Steps, in order.")
    destination: Destination = Field(description="Where rows go.")


class Stream(Model):
    """Events as they come."""

    source: EventSource = Field(description="The topic to read.")
    processors: tuple[Processor, ...] = Field(default=(), description="Steps, in order.")
    sinks: tuple[Destination, ...] = Field(default=(), description="Where results go, all at once.")


class Processing(Model):
    """How the files of a batch are worked through."""

    chunk_size: Count = Field(default=10_000, description="Rows a batch.")
    parallelism: Count | None = Field(default=None, description="Parallel workers; default: the runner's.")
    transformations: tuple[Transformation, ...] = Field(default=(), description="Steps, in order.")
    error_handling: Literal["stop", "continue"] = Field(
        default="continue", description="A file that cannot be read: continue puts it into the dead letters, stop fails the run."
    )


class Batch(Model):
    """Files of an object store, to files."""

    source: BatchSource = Field(description="The files to read.")
    processing: Processing = Field(default_factory=Processing, description="How they are worked through.")
    destination: Destination = Field(description="Where rows go.")


class Validation(Model):
    """Rules over a whole data set."""

    source: Source | None = Field(default=None, description="Where rows come from; default: --input.")
    rules: tuple[Rule, ...] = Field(min_length=1, description="What must hold.")
    actions: Actions = Field(default_factory=Actions, description="What becomes of a row, by the severity of its violation.")
    profile: bool = Field(
        default=False,
        description="Tell in the record what the columns are like: counts, least and greatest values, quantiles, values that occur often.",
    )
    destination: Destination | None = Field(default=None, description="Where valid rows go; default: nowhere, they are counted.")
    rejected: Output | None = Field(default=None, description="Where rejected rows go, beside the dead letters; default: nowhere else.")
    violations: Output | None = Field(
        default=None, description="Where every violation goes, as a table; default: nowhere, they are counted."
    )
    examples: Examples = Field(
        default=EXAMPLES, description="Violations of each rule that the record of a run shows; 0: no value of a row."
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Rules have names of their own."""
        yield from repeated(identified(raw.get("rules"), ("rules",)))

    @property
    def step(self) -> StepBase:
        """The rules as the one step of an ETL service between source and destination."""
        from beam_pipelines.spec.step.validate import ValidateStep  # services without rules start without it

        return ValidateStep(
            id=RULES,
            rules=self.rules,
            actions=self.actions,
            profile=self.profile,
            rejected=self.rejected,
            violations=self.violations,
            examples=self.examples,
        )


class ErrorBudget(Model):
    """How many rows may fail before the run does."""

    max: Limit = Field(default="10%", description="Rows (100) or a share of the rows read (1%).")
    on_exceed: Literal["fail", "warn"] = Field(default="fail", description="fail loads nothing (exit 1); warn loads (exit 3).")

    @property
    def rows(self) -> int | None:
        """Greatest number of failed rows; None when it is a share."""
        return limit_rows(self.max)

    @property
    def share(self) -> Decimal | None:
        """Greatest share of failed rows, from 0 to 1; None when it is a count."""
        return limit_share(self.max)


def _kept_an_hour(value: timedelta | None) -> timedelta | None:
    if value is not None and value < timedelta(hours=1):
        raise ValueError("expected at least 1h (alerts count the failures of the last hour)")
    return value


Kept = Annotated[Duration | None, AfterValidator(_kept_an_hour)]


class Retention(Model):
    """How long things are kept that runs leave behind; what is not named is kept for ever, but for `qualityHistory`."""

    dead_letters: Kept = Field(default=None, description="Dead letters of runs that ended longer ago are deleted, such as 30d.")
    events: Kept = Field(default=None, description="Events of the outbox that are older are deleted, delivered or not, such as 30d.")
    quality_history: Kept = Field(
        default=None,
        description="What rules came to in runs that ended longer ago is forgotten, such as 90d; default: all but the last 100.",
    )


def _automation(value: Any) -> Any:
    return "automation" if value == "$.ServiceType.Automation" else value


def _positive(value: int) -> int:
    if value < 1:
        raise ValueError("expected at least 1 byte, got 0")
    return value


class Definition(Model):
    """One service."""

    schema_url: str | None = Field(
        default=None, validation_alias="$schema", serialization_alias="$schema", description="JSON Schema, for editors."
    )
    version: Literal[1] | None = Field(default=None, description="Version of this format.")
    id: Identifier | None = Field(default=None, description="Identity of the service; default: made from its name.")
    name: Text | None = Field(default=None, description="Name of the service, for people.")
    type: Annotated[
        Literal["automation"], BeforeValidator(_automation), WithJsonSchema({"enum": ["automation", "$.ServiceType.Automation"]})
    ] = Field(default="automation", description="Kind of service; data pipelines are automation.")
    subtype: Text | None = Field(default=None, description="For catalogues, such as data-pipeline, stream-pipeline or batch-pipeline.")
    description: str = Field(default="", description="For people.")
    pipeline: Pipeline | None = Field(default=None, description="ETL: from a source through transformations into a destination.")
    stream: Stream | None = Field(default=None, description="Events through processors into sinks.")
    batch: Batch | None = Field(default=None, description="Files of an object store, processed in chunks.")
    validation: Validation | None = Field(default=None, description="Rules over a data set.")
    schedule: Schedule | None = Field(default=None, description="When the service runs.")
    pricing: Pricing | None = Field(default=None, description="What a run costs its customer.")
    delivery: Literal["exactly-once", "at-least-once"] | None = Field(
        default=None, description="Guarantee asked for; one stronger than the parts can give is refused."
    )
    error_budget: ErrorBudget = Field(default_factory=ErrorBudget, description="How many rows may fail before the run does.")
    functions: tuple[ModuleName, ...] = Field(default=(), description="Modules with functions for steps that name no handler.")
    max_cell_bytes: Annotated[Size, AfterValidator(_positive)] = Field(
        default=32 << 20, description="A row with a cell above this becomes a dead letter (default 32MiB)."
    )
    naming: Literal["preserve", "snake"] = Field(default="preserve", description="Names of target columns: as they are, or snake_case.")
    dead_letters: Text | None = Field(
        default=None, description="Folder or URL for dead letters; default: dead-letters/ beside the state store."
    )
    retention: Retention = Field(default_factory=Retention, description="How long dead letters and events are kept; default: for ever.")
    tests: tuple[Annotated[Case, Met("beam_pipelines.spec.case:Case")], ...] = Field(
        default=(), description="Tests of the steps, which `beam-pipelines test` runs; no run looks at them."
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """One identity, one section, steps with names of their own, and costs of steps that exist."""
        name, given = raw.get("name"), raw.get("id")
        if name is None and given is None:
            yield mistake("expected 'name' or 'id', got neither", at="key", wants=("name", "id"))
        elif given is None and isinstance(name, str) and name.strip() and not slug(name):
            yield mistake(f"expected 'id' beside a name without ASCII letters and digits, got {shown(name)} alone", "name")
        sections = [key for key in raw if key in SECTIONS and raw[key] is not None]
        for key in sections[1:]:
            yield mistake(f"expected one of {', '.join(SECTIONS)}, got {sections[0]!r} as well", key, at="key")
        steps = [step for key in sections for step in _steps(raw[key], (key,))]
        yield from repeated(steps)
        enriches = any(_enriches(raw[key]) for key in sections)
        yield from _unmetered(raw, {name for name, _ in steps}, complete=bool(sections), enriches=enriches)
        if raw.get("tests"):
            from beam_pipelines.spec import case  # a definition without tests does not pay for them

            references = [name for key in sections for name in _referring(raw[key])]
            yield from case.laws(raw["tests"], [name for name, _ in steps], references)

    @property
    def service_id(self) -> str:
        """Identity of the service in state, ledger and events."""
        return self.id or slug(self.name or "")

    @property
    def section(self) -> Pipeline | Stream | Batch | Validation | None:
        """The one section that says what kind of service this is."""
        return self.pipeline or self.stream or self.batch or self.validation

    @property
    def kind(self) -> Kind:
        """Which service runs it; `incomplete` when none can."""
        if self.missing:
            return "incomplete"
        return next(kind for key, kind in SECTIONS.items() if getattr(self, key) is not None)

    def reading(self, source: Any) -> Definition:
        """Return a quality service that reads rows from another source.

        Args:
            source: One of the models in `beam_pipelines.spec.source`.
        """
        assert self.validation is not None
        return self.model_copy(update={"validation": self.validation.model_copy(update={"source": source})})

    @property
    def missing(self) -> list[str]:
        """What an incomplete definition lacks, by path; empty when it can be run."""
        if self.section is None:
            return [" or ".join(SECTIONS)]
        return ["stream.sinks"] if self.stream is not None and not self.stream.sinks else []

    @property
    def source(self) -> Any:
        """The section's source, one of the models in `beam_pipelines.spec.source`; None where there is none."""
        return None if self.section is None else self.section.source

    @property
    def steps(self) -> tuple[StepBase, ...]:
        """The section's steps, in order."""
        if self.pipeline is not None:
            return self.pipeline.transformations
        if self.batch is not None:
            return self.batch.processing.transformations
        if self.validation is not None:
            return (self.validation.step,)
        return () if self.stream is None else self.stream.processors

    @property
    def steps_path(self) -> str:
        """Path of `steps` for problems, such as `pipeline.transformations`; `written_path` tells where it is in the file."""
        if self.batch is not None:
            return "batch.processing.transformations"
        if self.validation is not None:
            return "validation.steps"
        return "stream.processors" if self.stream is not None else "pipeline.transformations"

    def written_path(self, path: str) -> str:
        """Return where in the file a path is that was made of `steps_path`, or of the places of an ETL service."""
        section, _, below = path.partition(".")
        if self.stream is not None and section == "pipeline":
            sink = f"sinks[{self.first_sink or 0}]"
            below = f"{sink}{below.removeprefix('destination')}" if below.partition(".")[0] == "destination" else below
            return ".".join(["stream", *([below] if below else [])])
        if self.batch is not None:
            return ".".join(["batch", *([below] if below else [])]) if section == "pipeline" else path
        if self.validation is None:
            return path
        if section == "validation" and below.startswith("steps[0]"):
            below = below.removeprefix("steps[0]").lstrip(".")
        return ".".join(["validation", *([below] if below else [])]) if section in ("pipeline", "validation") else path

    @property
    def destinations(self) -> tuple[Any, ...]:
        """The section's destinations, models of `beam_pipelines.spec.destination`."""
        if self.stream is not None:
            return self.stream.sinks
        if self.validation is not None:
            return (self.validation.destination or NoDestination(),)
        section = self.pipeline or self.batch
        return () if section is None else (section.destination,)

    @property
    def first_sink(self) -> int | None:
        """Place of the sink of a stream that is committed with its offsets: the first with a transaction, else the first of files.

        None: neither is there.
        """
        kinds = [sink.type for sink in self.destinations]
        tables = [place for place, kind in enumerate(kinds) if kind in ("database", "data-warehouse")]
        files = [place for place, kind in enumerate(kinds) if kind in ("file", "s3", "gcs", "none")]
        return next(iter([*tables, *files]), None)

    @property
    def connection_names(self) -> tuple[str, ...]:
        """Every connection that the definition names, in its order, once."""
        places = [self.source, *self.destinations]
        places += [step.source for step in every_step(self.steps) if hasattr(step, "source")]
        names = [place.connection_name for place in places if place is not None]
        names += [step.connection for step in every_step(self.steps) if hasattr(step, "connection")]
        rules = [rule for step in every_step(self.steps) for rule in getattr(step, "rules", ()) if hasattr(rule, "reference")]
        names += [getattr(rule.reference.source, "connection_name", None) or rule.reference.connection for rule in rules]
        outputs = [getattr(step, key, None) for step in every_step(self.steps) for key in ("rejected", "violations")]
        names += [output.connection_name for output in outputs if output is not None]
        return tuple(dict.fromkeys(name for name in names if name is not None))


def _steps(section: Any, place: tuple[str | int, ...]) -> Named:
    """Return the ids of the steps in a raw section or source, joins' own steps included, with their places."""
    if not isinstance(section, Mapping):
        return []
    if "processing" in section:
        return _steps(section["processing"], (*place, "processing"))
    if place == ("validation",):
        named: Named = [(RULES, place)]
        for _, reference, where in _references(section, place):
            named += _steps(reference.get("source"), (*where, "source"))
        return named
    key = "processors" if "processors" in section else "transformations"
    entries = section.get(key)
    found = identified(entries, (*place, key))
    for index, entry in enumerate(entries if isinstance(entries, (list, tuple)) else ()):
        if isinstance(entry, Mapping):
            found += _steps(entry.get("source"), (*place, key, index, "source"))
            for _, reference, where in _references(entry, (*place, key, index)):
                found += _steps(reference.get("source"), (*where, "source"))
    return found


def _references(step: Mapping[str, Any], place: tuple[str | int, ...]) -> Iterator[tuple[str, Mapping[str, Any], tuple[str | int, ...]]]:
    """Yield what the foreign keys of a raw step refer to: the rule's id, the reference and its place."""
    rules = step.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, (list, tuple)) else ()):
        reference = rule.get("reference") if isinstance(rule, Mapping) else None
        if isinstance(reference, Mapping):
            yield str(rule.get("id")), reference, (*place, "rules", index, "reference")


def _referring(section: Any) -> Iterator[str]:
    """Yield `STEP/RULE` of each foreign key in a raw section or source, those in the sources of joins and references included."""
    if not isinstance(section, Mapping):
        return
    entries = section.get("transformations")
    steps = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, (list, tuple)) else []
    if "rules" in section:
        steps.append({"id": RULES, "rules": section["rules"]})
    for step in steps:
        yield from _referring(step.get("source"))
        for rule, reference, _ in _references(step, ()):
            yield f"{step.get('id')}/{rule}"
            yield from _referring(reference.get("source"))


def _enriches(section: Any) -> bool:
    """Whether a raw section has a step of type enrich, which the price `enrichment` is about."""
    if not isinstance(section, Mapping):
        return False
    entries = section.get("processors", section.get("transformations", section.get("processing")))
    if isinstance(entries, Mapping):
        return _enriches(entries)
    return isinstance(entries, (list, tuple)) and any(isinstance(entry, Mapping) and entry.get("type") == "enrich" for entry in entries)


def _unmetered(raw: Mapping[str, Any], steps: set[str], *, complete: bool, enriches: bool) -> Iterator[InitErrorDetails]:
    """Yield additional costs that no step would ever incur: they would silently be free."""
    pricing = raw.get("pricing")
    costs = pricing.get("additionalCosts") if isinstance(pricing, Mapping) else None
    for key in costs if complete and isinstance(costs, Mapping) else ():
        if key not in steps and not (key == "enrichment" and (enriches or "enrich" in steps)):
            meant = nearest(key, steps)
            if key == "enrichment":
                hint = "an enrich step in the source of another step is not metered"
                yield mistake(f"expected the id of a step, got {shown(key)}", "pricing", "additionalCosts", key, hint=hint, at="key")
                continue
            hint = f"did you mean {meant!r}?" if meant else f"steps: {', '.join(sorted(steps)) or 'none'}"
            yield mistake(f"expected the id of a step, got {shown(key)}", "pricing", "additionalCosts", key, hint=hint, at="key")
