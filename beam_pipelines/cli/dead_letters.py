"""`beam-pipelines dead-letters list` counts rows that failed, by run and reason; `show` prints them with their payload, `purge` deletes."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import quantity
from beam_pipelines.cli.arguments import Parser, add_store
from beam_pipelines.cli.runs import at_least_one, find_run
from beam_pipelines.cli.session import Session
from beam_pipelines.cli.store import locate, locate_service
from beam_pipelines.cli.table import Table
from beam_pipelines.errors import FatalError

if TYPE_CHECKING:
    from beam_pipelines.state.record import FailedRecord

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("dead-letters", help="list, show or delete rows that failed")
    which = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listed: Parser = which.add_parser("list", help="count them by run, step and code, newest run first")
    listed.add_argument("--run", metavar="ID", help="of this run only")
    shown: Parser = which.add_parser("show", help="print them, with origin and payload")
    shown.add_argument("run", metavar="ID", nargs="?", help="run id, or the beginning of one; default: the newest run that has any")
    shown.add_argument("--step", metavar="ID", help="of this step only")
    shown.add_argument("--code", metavar="CODE", help="of this error code only")
    for one, limit, handler in ((listed, 50, _list), (shown, 20, _show)):
        one.add_argument("--limit", metavar="N", type=at_least_one, default=limit, help=f"how many (default {limit})")
        add_store(one)
        one.set_defaults(handler=handler, parser=one)
    purged: Parser = which.add_parser("purge", help="delete those of runs that ended some time ago, with their files")
    purged.add_argument("--older-than", metavar="DURATION", type=_age, required=True, help="such as 30d; at least 1h")
    add_store(purged)
    purged.set_defaults(handler=_purge, parser=purged)


def _age(text: str) -> timedelta:
    from beam_pipelines.spec.values import parse_duration

    try:
        age = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if age < timedelta(hours=1):
        raise argparse.ArgumentTypeError(f"expected at least 1h, got {text!r}: alerts count the failures of the last hour")
    return age


def _list(arguments: argparse.Namespace, session: Session) -> int:
    failed = _index(arguments, session, arguments.limit)
    if session.out.as_json:
        session.out.json([one.to_json() for one in failed])
    elif failed:
        rows = [
            [one.run, quantity.moment(one.timestamp), one.table, one.step, one.code, quantity.count(one.count), one.message]
            for one in failed
        ]
        session.out.table(Table(["run", "time", "table", "step", "code", "rows>", "first reason"], rows))
        session.out.line()
        for url in dict.fromkeys(one.url for one in failed):
            session.out.line(url)
    else:
        session.out.line("there are no dead letters")
    return 0


def _index(arguments: argparse.Namespace, session: Session, limit: int | None) -> list[FailedRecord]:
    place = locate(arguments, session)
    if place.empty:
        return []
    with place.open() as store:
        run = find_run(store, arguments.run).run if arguments.run else None
        return store.failed_records(place.service_id, run, limit)


def _show(arguments: argparse.Namespace, session: Session) -> int:
    failed = _index(arguments, session, None)
    newest = failed[0].run if failed else None
    wanted = [one for one in failed if one.run == newest]
    letters = itertools.islice(_letters(wanted, arguments.step, arguments.code), arguments.limit)
    if session.out.as_json:
        session.out.json(list(letters))
        return 0
    shown = 0
    for letter in letters:
        _write(session, letter)
        shown += 1
    total = sum(one.count for one in wanted if arguments.step in (None, one.step) and arguments.code in (None, one.code))
    session.out.line(
        f"{quantity.count(shown)} of {quantity.count(total)} dead letters of run {newest}" if newest else "there are no dead letters"
    )
    return 0


def _letters(failed: Sequence[FailedRecord], step: str | None, code: str | None) -> Iterator[dict[str, Any]]:
    """Read letters one by one: a file may hold many."""
    from beam_pipelines.engine.letters import Archive

    for url in dict.fromkeys(one.url for one in failed):
        path = Path(url)
        if not path.exists():
            raise FatalError(f"the dead letters at {url!r} are gone; the state store only holds their counts", code="read-failed")
        for letter in Archive(path.parent.parent).read(path):
            if step in (None, letter["step"]) and code in (None, letter["code"]):
                yield letter


def _purge(arguments: argparse.Namespace, session: Session) -> int:
    from beam_pipelines.engine.letters import Archive
    from beam_pipelines.engine.retention import Deleted, delete_letters

    place, gone = locate_service(arguments, session), Deleted()
    service = place.service
    assert service is not None  # it was found by its definition
    if not place.empty:
        with place.open() as store:
            archive = Archive.of(service.definition.dead_letters, service.beside)
            gone = delete_letters(store, archive, service.id, arguments.older_than)
    if session.out.as_json:
        session.out.json({"serviceId": service.id, "runs": gone.runs, "letters": gone.letters, "files": gone.files})
    else:
        count = quantity.count
        session.out.line(f"deleted {count(gone.letters)} dead letters of {count(gone.runs)} runs ({count(gone.files)} files)")
    return 0


def _write(session: Session, letter: dict[str, Any]) -> None:
    session.out.line(f"{letter['step']}: {letter['code']}: {letter['error']}")
    origin = json.dumps(letter["origin"], ensure_ascii=False)
    session.out.pairs([("origin", origin), ("table", letter["table"]), ("record", json.dumps(letter["record"], ensure_ascii=False))])
    session.out.line()
