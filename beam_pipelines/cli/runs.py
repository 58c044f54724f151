"""`beam-pipelines runs` lists runs; `runs show ID` shows one with its steps, `runs report` what its rules came to."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import quantity, report, summary
from beam_pipelines.cli.arguments import Parser, add_store
from beam_pipelines.cli.session import Session
from beam_pipelines.cli.store import locate
from beam_pipelines.cli.table import Table
from beam_pipelines.errors import SpecError

if TYPE_CHECKING:
    from beam_pipelines.state.record import Execution
    from beam_pipelines.state.store import StateStore

__all__ = ["add", "at_least_one", "find_run"]

_STATUSES = ("queued", "running", "committing", "success", "failed", "cancelled", "lost")


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("runs", help="list runs, show one, or report what its rules came to")
    _add_list(parser)
    which = parser.add_subparsers(title="commands", metavar="COMMAND")
    listed: Parser = which.add_parser("list", help="list runs, newest first (the default)")
    _add_list(listed, default=argparse.SUPPRESS)
    shown: Parser = which.add_parser("show", help="show a run with its steps")
    shown.add_argument("run", metavar="ID", help="run id, or the beginning of one")
    add_store(shown, default=argparse.SUPPRESS)
    report.add(which, find_run)
    for one, handler in ((parser, _list), (listed, _list), (shown, _show)):
        one.set_defaults(handler=handler, parser=one)


def _add_list(parser: Parser, **default: Any) -> None:
    parser.add_argument("--limit", metavar="N", type=at_least_one, help="runs to list (default 20)", **(default or {"default": 20}))
    parser.add_argument("--status", choices=_STATUSES, help="only runs of this status", **(default or {"default": None}))
    add_store(parser, **default)


def at_least_one(text: str) -> int:
    """Read a number of lines to show."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)


def _list(arguments: argparse.Namespace, session: Session) -> int:
    place = locate(arguments, session)
    executions: list[Execution] = []
    if not place.empty:
        with place.open() as store:
            executions = store.executions(place.service_id, arguments.status, arguments.limit)
    if session.out.as_json:
        session.out.json([one.to_json() for one in executions])
    elif executions:
        session.out.table(_table(executions))
    else:
        session.out.line(f"there are no runs of status {arguments.status}" if arguments.status else "there are no runs yet")
    return 0


def _table(executions: list[Execution]) -> Table:
    count = quantity.count
    rows = [
        [
            one.run,
            one.service,
            one.status,
            quantity.moment(one.started_at),
            quantity.span(one.duration / 1000) if one.duration is not None else "",
            count(one.metrics.records_extracted),
            count(one.metrics.records_loaded),
            count(one.metrics.records_dead_lettered),
            quantity.size(one.metrics.bytes_processed),
            f"{one.charge['amount']} {one.charge['currency']}" if one.charge else "",
        ]
        for one in executions
    ]
    return Table(["run", "service", "status", "started", "duration>", "read>", "loaded>", "dead>", "bytes>", "charge>"], rows)


def _show(arguments: argparse.Namespace, session: Session) -> int:
    place = locate(arguments, session)
    with place.open() as store:
        execution = find_run(store, arguments.run)
        failed = store.failed_records(run=execution.run, limit=None)
        alerts = store.alerts(run=execution.run)
    if session.out.as_json:
        beside = {"deadLetters": [one.to_json() for one in failed], "alerts": [one.to_json() for one in alerts]}
        session.out.json({**execution.to_json(), **beside})
    else:
        summary.write(session.out, execution, failed, [("alert", one.message) for one in alerts])
    return 0


def find_run(store: StateStore, text: str) -> Execution:
    """Return the run with an id, or with the only id that begins so.

    Raises:
        SpecError: There is none, or there are several.
    """
    exact = store.execution(text)
    if exact is not None:
        return exact
    found = [one for one in store.executions(limit=None) if one.run.startswith(text)]
    if len(found) == 1:
        return store.execution(found[0].run) or found[0]
    several = f"{len(found)} runs begin so" if found else "there is none"
    raise SpecError(
        f"expected the id of a run in this state store, got {text!r}: {several}; beam-pipelines runs lists them", code="option-invalid"
    )
