"""`--report FILE` of a run, and `beam-pipelines runs report`: what rules came to, as a page, as JSON, or as JUnit's XML."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import failure
from beam_pipelines.cli.arguments import Parser, add_store
from beam_pipelines.cli.session import Session
from beam_pipelines.cli.store import Place, locate
from beam_pipelines.errors import FatalError, SpecError

if TYPE_CHECKING:
    from beam_pipelines.engine.launch import Result
    from beam_pipelines.etl.service import Service
    from beam_pipelines.quality.report import Report
    from beam_pipelines.state.record import Execution
    from beam_pipelines.state.store import StateStore

__all__ = ["Written", "add", "add_option", "check", "clear", "tell", "write_all"]


def add_option(parser: Parser) -> None:
    """Add `--report`."""
    parser.add_argument(
        "--report",
        metavar="FILE",
        action="append",
        default=[],
        help="write what the rules came to there, as the suffix says: .html a page, .json values, .xml JUnit's form; may be repeated",
    )


def add(which: Any, find_run: Callable[[StateStore, str], Execution]) -> None:
    """Add `report` to the commands of `runs`, which says how a run is found."""
    parser: Parser = which.add_parser("report", help="report what the rules of a run came to")
    parser.add_argument("run", metavar="ID", nargs="?", help="run id, or the beginning of one; default: the last run that had rules")
    add_option(parser)
    add_store(parser, default=argparse.SUPPRESS)
    parser.set_defaults(handler=_report, parser=parser, find_run=find_run)


def check(arguments: argparse.Namespace, service: Service) -> None:
    """Refuse, before a run, reports that could not be written after it.

    Raises:
        SpecError: There is no run, the service has no rules, a file cannot be one, or is one that the command reads.
    """
    if not arguments.report:
        return
    if arguments.plan or arguments.validate:
        raise SpecError("--report goes with a run: --plan and --validate hold no row against a rule", code="option-invalid")
    if not any(step.type == "validate" for step in service.definition.steps):
        raise SpecError(f"--report tells what rules came to, and {service.id} has none: add a step of type validate", code="option-invalid")
    from beam_pipelines.quality.report import files

    files.check(arguments.report)
    given = [word for word in vars(arguments).values() if isinstance(word, str) and os.path.isfile(word)]
    for path in arguments.report:
        if any(os.path.exists(path) and os.path.samefile(path, word) for word in given):
            raise SpecError(f"expected a file of its own for the report, got {path!r}, which the command reads", code="option-invalid")


def clear(arguments: argparse.Namespace) -> None:
    """Remove reports of earlier runs, right before a run: if it dies, or is refused, nobody takes them for its own."""
    if arguments.report:
        from beam_pipelines.quality.report import files

        files.clear(arguments.report)


@dataclass(frozen=True)
class Written:
    """What became of the reports of a run.

    Args:
        paths: Of those that were written.
        error: Why others were not; None: all were.
    """

    paths: tuple[str, ...] = ()
    error: Exception | None = None

    def exit_code(self, run: int) -> int:
        """Return the exit code of a run with reports: its own, but never that of a success when one is missing."""
        return run if self.error is None or run not in (0, 3) else 1


def write_all(paths: Sequence[str], session: Session, service: Service, result: Result) -> Written:
    """Write the reports of a run that has ended, however it did. The run is recorded: what goes wrong here is told, and changes nothing."""
    if not paths:
        return Written()
    done: list[str] = []
    try:
        from beam_pipelines.quality.report import files

        with Place(service.state_url).open() as store:
            made = _made(store, result.execution, session)
        for path in paths:
            files.write(path, made)
            done.append(path)
    except Exception as error:  # noqa: BLE001 - a report is beside the run, whose record is still to be shown
        run = result.execution.run
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        missing = ", ".join(repr(path) for path in paths if path not in done)
        told = FatalError(
            f"the report {missing} cannot be written: {reason or type(error).__name__}. Run {run} is recorded as it ended:"
            f" beam-pipelines runs report {run} writes its report elsewhere",
            code="option-invalid" if isinstance(error, (OSError, SpecError)) else "internal",
        )
        told.__cause__ = error
        return Written(tuple(done), told)
    return Written(tuple(done))


def _made(store: StateStore, execution: Execution, session: Session) -> Report:
    from beam_pipelines.quality import report

    history = store.quality_history(execution.service, until=execution.completed_at, limit=report.TREND_RUNS)
    return report.make(execution, history, session.redact)


def _report(arguments: argparse.Namespace, session: Session) -> int:
    if not arguments.report and not session.out.as_json:
        raise SpecError("give --report FILE (.html, .json or .xml), or --output json for the report on stdout", code="option-invalid")
    from beam_pipelines.quality.report import files

    files.check(arguments.report)
    place = locate(arguments, session)
    with place.open() as store:
        execution = arguments.find_run(store, arguments.run or _last(store, place))
        if execution.completed_at is None:
            raise SpecError(f"run {execution.run} has not ended: its record says {execution.status}", code="option-invalid")
        made = _made(store, execution, session)
    for path in arguments.report:
        try:
            files.write(path, made)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SpecError(f"expected to write {path}, got: {reason}", code="option-invalid") from error
    if session.out.as_json:
        session.out.json(made)
    for path in arguments.report:
        session.out.line(f"report of run {execution.run}: {path}")
    return 0


def _last(store: StateStore, place: Place) -> str:
    found = store.quality_history(place.service_id, limit=1)
    if not found:
        raise SpecError("there is no run with rules in this state store yet", code="option-invalid")
    return found[0].run


def tell(written: Written, session: Session) -> None:
    """Say why a report is missing."""
    if written.error is not None:
        failure.tell(written.error, session.redact)
