"""`beam-pipelines run FILE` and the bare `python -m beam_pipelines.etl`: run a service once, or say what a run would do."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from beam_pipelines.cli import failure, log, progress, quantity, report, summary, workers
from beam_pipelines.cli.arguments import Parser, add_format, add_log
from beam_pipelines.cli.process import CANCELLED, interruptible, left_in_time
from beam_pipelines.cli.session import Session
from beam_pipelines.cli.store import Place, options_text
from beam_pipelines.engine.start import import_beam
from beam_pipelines.errors import Code, FatalError, SpecError

if TYPE_CHECKING:
    from beam_pipelines.engine.launch import Result
    from beam_pipelines.engine.live.drains import Until
    from beam_pipelines.etl.service import Service
    from beam_pipelines.io.connector import LedgerRow
    from beam_pipelines.state.record import FailedRecord

__all__ = ["add", "add_options", "carry_out"]

_LOG = logging.getLogger(__name__)
_IN_TIME = 8.0  # seconds for a stream to stop: what ends services gives them ten or more
BEAM_HELP = """\
Options of Beam follow, as --name=value: --runner=DirectRunner, --direct_num_workers=2 with --direct_running_mode=multi_processing, ...
An unknown one is an error.

exit codes: 0 success, 1 failed, 2 the definition or command is wrong, 3 success above an error budget that only warns,
4 another run of the service is active, 130 cancelled; 1 also when a run succeeded and a --report could not be written"""


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("run", help="run a service once", epilog=BEAM_HELP)
    parser.add_argument("definition", metavar="FILE", help="the service definition, YAML or JSON")
    add_options(parser)
    parser.set_defaults(handler=_run, parser=parser, beam=[])


def add_options(parser: Parser) -> None:
    """Add the options of a run."""
    parser.add_argument("--connections", metavar="FILE", help="default: connections.yaml beside the definition")
    parser.add_argument(
        "--state",
        metavar="URL",
        help="state store, a URL, a path or the name of a connection; default: .beam_pipelines/state.db beside the definition",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--plan", action="store_true", help="show graph, guarantee and what would be read; read no row, write nothing")
    instead.add_argument("--validate", action="store_true", help="check the definition and its functions; connect to nothing")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--full-refresh", action="store_true", help="forget the watermark and read everything")
    again.add_argument(
        "--keep-watermark", action="store_true", help="go on from the watermark although source, query, cursor or target changed"
    )
    parser.add_argument(
        "--until",
        metavar="latest|DURATION",
        type=_moment,
        help="of a stream, when it stops by itself: latest, once it has read what the topic holds now, or after a time such as 10m",
    )
    parser.add_argument("--yes", action="store_true", help="a full refresh with mode: insert may replace the whole table")
    parser.add_argument("--customer", metavar="ID", help="who pays: customerId in record, charge and events")
    parser.add_argument("--request", metavar="ID", help="what asked for the run: requestId in record and events")
    report.add_option(parser)
    add_format(parser)
    add_log(parser)


def _moment(text: str) -> str:
    """Check what `--until` is given.

    Raises:
        ArgumentTypeError: It is neither `latest` nor a duration.
    """
    from beam_pipelines.spec.values import parse_duration

    try:
        if text != "latest" and not parse_duration(text):
            raise ValueError("expected more than nothing")
    except ValueError as bad:
        raise argparse.ArgumentTypeError(f"expected latest, or a duration such as 10m, got {text!r}") from bad
    return text


def _run(arguments: argparse.Namespace, session: Session) -> int:
    service = session.load(arguments.definition, arguments.connections, arguments.state)
    return carry_out(arguments, session, service)


def carry_out(
    arguments: argparse.Namespace,
    session: Session,
    service: Service,
    drained: Callable[[LedgerRow], None] | None = None,
    until: str | Until | None = None,
) -> int:
    """Run, plan or validate a service, as the options say.

    Args:
        arguments: With the options of `add_options`, and what was left over for Beam in `beam`.
        session: Of the command; its definition is loaded.
        service: What to run.
        drained: Of a stream, called with the ledger row of each commit.
        until: When it stops by itself; None: as the options say.

    Returns:
        The exit code.
    """
    report.check(arguments, service)
    if arguments.validate:
        from beam_pipelines.cli import validate

        return validate.check(session, service)
    if arguments.plan:
        from beam_pipelines.cli import plan

        import_beam()
        _name_engine(arguments, service)
        refresh, keep = arguments.full_refresh, arguments.keep_watermark
        return plan.show(session, service.plan(full_refresh=refresh, keep_watermark=keep, options=arguments.beam))
    try:
        return _run_once(arguments, session, service, drained, until or arguments.until)
    except KeyboardInterrupt:
        if service.definition.stream is None:
            raise
        # Streams end so: who stops one that has hardly begun has stopped it as well as any other.
        failure.say("stopped before the stream had begun")
        if session.out.as_json:
            session.out.json({"error": "stopped before the stream had begun", "errorCode": "cancelled", "exitCode": 0})
        return 0


def _run_once(
    arguments: argparse.Namespace,
    session: Session,
    service: Service,
    drained: Callable[[LedgerRow], None] | None,
    until: str | Until | None,
) -> int:
    from beam_pipelines.runs.names import new_run

    import_beam()
    run = new_run()
    log.concern(service.id, run)
    engine = _name_engine(arguments, service)
    batch = service.definition.batch
    parallel = 1
    if batch is not None and batch.processing.parallelism and not any("direct_" in word for word in arguments.beam):
        parallel = batch.processing.parallelism
        engine = engine.replace("one process", f"up to {parallel} worker processes")
    _LOG.info("service %s, run %s, on %s", service.id, run, engine)
    stopping = f"stopping run {run}; again, to leave at once"
    live = service.definition.stream is not None
    with (
        workers.in_reserve(parallel),
        interruptible(stopping),
        left_in_time(_IN_TIME) if live else contextlib.nullcontext(),
        workers.muffled(arguments.beam),
        progress.shown(log_is_json=arguments.log_format == "json") as listener,
    ):
        report.clear(arguments)
        result = service.run(
            full_refresh=arguments.full_refresh,
            keep_watermark=arguments.keep_watermark,
            yes=arguments.yes,
            customer=arguments.customer,
            request=arguments.request,
            options=arguments.beam,
            listener=listener,
            run=run,
            until=until,
            drained=drained,
        )
    written = report.write_all(arguments.report, session, service, result)
    _show(session, service, result, options_text(session.definition, arguments.state, arguments.connections), written.paths)
    report.tell(written, session)
    return written.exit_code(result.exit_code)


def _name_engine(arguments: argparse.Namespace, service: Service) -> str:
    """Check Beam's options, and say which engine runs. Among the options that may have been meant are ours."""
    from beam_pipelines.engine.options import check_runner, parse_beam

    try:
        return check_runner(parse_beam(arguments.beam), live=service.definition.stream is not None)
    except SpecError as error:
        parser: Parser = arguments.parser
        for name in (word.partition("=")[0] for word in arguments.beam):
            ours = parser.nearest(name) if f"unknown option {name!r}" in error.message else None
            theirs = error.message.partition("did you mean ")[2].rstrip("?")
            if ours and difflib.get_close_matches(name, [theirs, ours], n=1, cutoff=0.0) == [ours]:
                parser.refuse(name)
        raise


def _show(session: Session, service: Service, result: Result, found_by: str, reports: Sequence[str]) -> None:
    """Answer with the record of a run that was begun, however it ended."""
    if session.out.as_json:
        session.out.json(result.to_json())
    else:
        failed, settled = _remembered(service, result)
        notes = [("settled", line) for line in settled] + _schedule(service) + [("report", path) for path in reports]
        summary.write(session.out, result.execution, failed, notes)
        session.out.line()
        session.out.line(f"beam-pipelines runs show {result.execution.run}{found_by}")
        session.out.flush()
    if result.exit_code == CANCELLED:
        # Tables have a transaction each: of a run that loads several, some may have been in.
        loaded = result.execution.metrics.records_loaded
        rows = f"{quantity.count(loaded)} rows of tables that were done before" if loaded else "nothing"
        failure.say(
            f"cancelled: run {result.execution.run} is recorded as cancelled and loaded {rows}; the next run goes on from the watermark"
        )
    elif not result.success:
        failure.tell(result.error or _verdict(result), session.redact, session.definition)


def _verdict(result: Result) -> FatalError:
    """Return why a load failed that was judged in the target's commit: no exception, but an entry of its ledger."""
    return FatalError(result.execution.error or "the run failed", code=cast(Code, result.execution.error_code or "internal"))


def _remembered(service: Service, result: Result) -> tuple[list[FailedRecord], list[str]]:
    """Return what the store knows beside the record: where the dead letters are, and how earlier runs ended that this one settled."""
    metrics = result.execution.metrics
    if not (result.settled or metrics.records_dead_lettered or metrics.records_rejected):
        return [], []
    with Place(service.state_url).open() as store:
        failed = store.failed_records(run=result.execution.run, limit=None)
        earlier = [store.execution(run) for run in result.settled]
    return failed, [f"run {one.run} had not lived to record its end; it is recorded as {one.status} now" for one in earlier if one]


def _schedule(service: Service) -> list[tuple[str, str]]:
    schedule = service.definition.schedule
    return [("schedule", f"{schedule.describe()}; a run by hand does not wait for it")] if schedule else []
