"""`Service`: a definition loaded and ready to plan, preview and run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_pipelines.errors import Problem, SpecError
from beam_pipelines.spec import Definition, Loaded, load

if TYPE_CHECKING:
    from beam_pipelines.engine.cases.case import Verdict
    from beam_pipelines.engine.launch import Result
    from beam_pipelines.engine.live.drains import Until
    from beam_pipelines.engine.plan import Plan
    from beam_pipelines.engine.preview import Preview
    from beam_pipelines.engine.profiled import Profiled
    from beam_pipelines.engine.progress import Progress
    from beam_pipelines.io.connector import LedgerRow

__all__ = ["Service"]


@dataclass(frozen=True)
class Service:
    """A data-pipeline service.

    Args:
        definition: What the user declared.
        folder: Folder of the definition: `functions.py`, `connections.yaml` and the state store are beside it.
        connections: Connections file, None: `connections.yaml` in the folder, when it is there.
        state: The state store, a path, a URL or the name of a connection; None: `.beam_pipelines/state.db` in the folder.
        loaded: The text that the definition was read from, for file and line of problems; None when it was made in Python.
    """

    definition: Definition
    folder: Path
    connections: Path | None = None
    state: str | None = None
    loaded: Loaded | None = field(default=None, repr=False, compare=False)

    @classmethod
    def load(cls, path: str | Path, *, connections: str | Path | None = None, state: str | Path | None = None) -> Service:
        """Load a definition from YAML or JSON.

        Args:
            path: Of the definition.
            connections: Connections file.
            state: The state store: a path, `sqlite:///PATH`, `postgresql://...`, or a text without slash and dot that is the name of a
                connection.

        Raises:
            SpecError: With every mistake, each with file, line, column and what was expected.
        """
        return cls.of(load(path), path, connections=connections, state=state)

    @classmethod
    def of(cls, loaded: Loaded, path: str | Path, *, connections: str | Path | None = None, state: str | Path | None = None) -> Service:
        """Make a service of a definition that was read; the arguments are those of `load`."""
        place = Path(connections).absolute() if connections else None
        if isinstance(state, Path):
            state = str(state.expanduser().absolute())  # never the name of a connection
        return cls(loaded.definition, Path(path).absolute().parent, place, state or None, loaded)

    @property
    def id(self) -> str:
        return self.definition.service_id

    def plan(self, *, full_refresh: bool = False, keep_watermark: bool = False, options: Sequence[str] = ()) -> Plan:
        """Work out what a run would do; connects, reads no row, writes nothing. The arguments are those of `run`."""
        from beam_pipelines.engine.plan import make_plan

        with self.placing():
            if options:
                self._check_steps(options)
            return make_plan(self._job, self._context(full_refresh, keep_watermark), every_step=True)

    def _check_steps(self, options: Sequence[str]) -> None:
        """Refuse steps that the runner that is asked for cannot carry out."""
        from beam_pipelines.engine.options import on_prism, parse_beam

        if on_prism(parse_beam(options)):
            from beam_pipelines.engine.prism.steps import check_steps

            check_steps(self._job)

    def preview(self, step: str | None = None, limit: int = 20) -> Preview:
        """Show rows as they leave a step (the last, when none is named); writes nothing."""
        from beam_pipelines.engine.preview import preview

        with self.placing():
            return preview(self._job, self._context(False, False), step, limit)

    def profile(self, rows: int | None = None) -> Profiled:
        """Read the source, and tell what its rows are like, before any step; writes nothing.

        Args:
            rows: The first so many alone; None: all.
        """
        from beam_pipelines.engine.profiled import profiled

        with self.placing():
            return profiled(self._job, self._context(False, False), rows)

    def test(self, name: str | None = None) -> tuple[Verdict, ...]:
        """Carry out the definition's `tests:`. It connects to nothing, and writes nothing.

        Args:
            name: Of the one test wanted; None: all of them.

        Returns:
            What came of each, in the order of the definition; a test that cannot be carried out says why in `error`.

        Raises:
            SpecError: There is no such test.
            PlanError: The service is of a kind that is not served.
        """
        from beam_pipelines.engine.cases.case import run
        from beam_pipelines.engine.plan import refuse_unserved

        names = [case.name for case in self.definition.tests]
        if name is not None and name not in names:
            known = ", ".join(map(repr, names)) or "none"
            raise SpecError(f"expected the name of a test ({known}), got {name!r}", code="option-invalid")
        with self.placing():
            refuse_unserved(self._job)
        verdicts = tuple(run(self.definition, self.folder, at) for at, known in enumerate(names) if name in (None, known))
        for verdict in verdicts:
            if verdict.error is not None:
                self._place(verdict.error)
        return verdicts

    def run(
        self,
        *,
        full_refresh: bool = False,
        keep_watermark: bool = False,
        yes: bool = False,
        customer: str | None = None,
        request: str | None = None,
        options: Sequence[str] = (),
        listener: Callable[[Progress], None] | None = None,
        run: str | None = None,
        until: str | Until | None = None,
        drained: Callable[[LedgerRow], None] | None = None,
    ) -> Result:
        """Run the service once, and record the run.

        Args:
            full_refresh: Forget the watermark and read everything.
            keep_watermark: Go on from the watermark although source or target changed.
            yes: A full refresh of an insert service may replace the table.
            customer: Who pays.
            request: What asked for the run.
            options: Beam's options, as on a command line.
            listener: Called with the progress, from a thread of its own.
            run: Run id, 12 letters a-z and digits; a new one when not given.
            until: Of a stream: `latest`, once it has read what the topic holds when it begins; or a duration such as `10m`. None: it runs
                until it is stopped.
            drained: Of a stream, called with the ledger row of each commit.

        Raises:
            SpecError: It cannot be run as asked; nothing was started.
            ActiveRunError: Another run of the service is active.
        """
        from beam_pipelines.engine.launch import Launch, launch
        from beam_pipelines.engine.options import check_runner, parse_beam
        from beam_pipelines.runs.names import is_run

        if run is not None and not is_run(run):
            raise SpecError(f"expected a run id of 12 letters a-z and digits, got {run!r}", code="option-invalid")
        parsed = parse_beam(options)
        check_runner(parsed, live=self.definition.stream is not None)
        ask = Launch(
            job=self._job,
            state=self.state_place,
            beside=self.beside,
            connections=self.connections_file,
            options=parsed,
            full_refresh=full_refresh,
            keep_watermark=keep_watermark,
            yes=yes,
            customer=customer,
            request=request,
            run=run,
        )
        with self.placing():
            if self.definition.stream is not None:
                from beam_pipelines.engine.live.drains import Until, stream

                result = stream(ask, until if isinstance(until, Until) else Until.of(until), listener, drained)
            elif until is not None:
                raise SpecError(
                    f"expected --until with a stream alone, and this service is of kind {self.definition.kind!r}", code="option-invalid"
                )
            else:
                result = launch(ask, listener)
        self._place(result.error)
        return result

    @property
    def state_url(self) -> str:
        """URL of the state store, with the secrets of a connection it is named like.

        Raises:
            SpecError: It is named like a connection that cannot be one, or that needs a secret that is missing.
        """
        from beam_pipelines.io.connections import Connections
        from beam_pipelines.io.state_place import may_be_name, state_url

        place = self.state or str(self.folder / ".beam_pipelines" / "state.db")
        return state_url(place, Connections(self.connections_file if may_be_name(place) else None))

    @property
    def state_place(self) -> str:
        """The state store as others may be told: the name of a connection when it is given so, else its URL.

        Raises:
            SpecError: As `state_url`.
        """
        from beam_pipelines.io.connections import Connections
        from beam_pipelines.io.state_place import connection_of, may_be_name

        named = self.state and may_be_name(self.state) and connection_of(self.state, Connections(self.connections_file))
        return named.name if named else self.state_url

    @property
    def connections_file(self) -> Path | None:
        beside = self.folder / "connections.yaml"
        return self.connections or (beside if beside.exists() else None)

    @property
    def beside(self) -> Path:
        """Where dead letters go when the definition does not say: beside a local state store, else beside the definition."""
        url = self.state_url
        if url.startswith("sqlite:///"):
            return Path(url.removeprefix("sqlite:///")).expanduser().absolute().parent
        return self.folder / ".beam_pipelines"

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        """Within it, the problems of an error get their places in the definition's file."""
        try:
            yield
        except SpecError as error:
            self._place(error)
            raise

    def _place(self, error: BaseException | None) -> None:
        """Say where in the definition's file the problems of an error are: what raised it knew the keys alone."""
        if self.loaded is None or not isinstance(error, SpecError):
            return
        if not error.problems and "sourceKey" in error.details:
            error.problems = (Problem(error.message, f"pipeline.source.{error.details['sourceKey']}"),)
        error.problems = tuple(
            self.loaded.problem(self.definition.written_path(problem.path), problem.message, problem.hint)
            if problem.path and not problem.file
            else problem
            for problem in error.problems
        )

    @property
    def _job(self) -> Any:
        from beam_pipelines.engine.job import Job

        return Job.of(self.definition, self.folder)

    def _context(self, full_refresh: bool, keep_watermark: bool) -> Any:
        from datetime import datetime, timezone

        from beam_pipelines.runs.context import RunContext

        return RunContext(
            run="000000000000",
            started_at=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
            connections=str(self.connections_file) if self.connections_file else None,
            state=self.state_place,
            full_refresh=full_refresh,
            keep_watermark=keep_watermark,
        )
