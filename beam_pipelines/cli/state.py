"""`beam-pipelines state show | set | reset`: where the next run of a service goes on from.

The target's ledger is the truth, and is changed first; the state store keeps a copy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import live
from beam_pipelines.cli.arguments import Parser, add_store
from beam_pipelines.cli.session import Session
from beam_pipelines.cli.store import Place, definitions_in, locate, locate_service
from beam_pipelines.cli.table import Table
from beam_pipelines.errors import BeamPipelinesError, SpecError
from beam_pipelines.runs.offsets import told

if TYPE_CHECKING:
    from beam_pipelines.engine.job import Job
    from beam_pipelines.etl.service import Service
    from beam_pipelines.io.connector import Standing, Target
    from beam_pipelines.runs.context import RunContext
    from beam_pipelines.runs.mark import Mark
    from beam_pipelines.state.record import Watermark
    from beam_pipelines.state.store import StateStore

__all__ = ["add"]

_LOG = logging.getLogger(__name__)
_TYPES = ("timestamp", "timestamptz", "date", "int", "decimal", "float", "text", "offsets")
_LEASE = 60.0  # seconds: changing a mark takes one of them


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("state", help="show, set or reset watermarks")
    which = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    shown: Parser = which.add_parser("show", help="show the watermarks of a service, by table")
    set_: Parser = which.add_parser("set", help="have the next run go on from a value")
    set_.add_argument("value", metavar="VALUE", help='such as 2026-01-31T00:00:00 or 4711; of a stream {"offsets": {"0": 4711}}')
    set_.add_argument("--type", choices=_TYPES, help="type of the value; default: that of the watermark that is there")
    reset: Parser = which.add_parser("reset", help="have the next run read everything")
    for one, handler in ((shown, _show), (set_, _set), (reset, _reset)):
        one.add_argument("--table", metavar="NAME", help="target table, where a service loads several")
        add_store(one)
        one.set_defaults(handler=handler, parser=one)


@dataclass(frozen=True)
class _Row:
    """A watermark as the target's ledger and as the state store have it; None where one has nothing or was not asked."""

    service: str
    table: str
    head: Standing | None = None
    copy: Watermark | None = None

    def to_json(self) -> dict[str, Any]:
        head, copy = self.head, self.copy
        mark = head.mark.to_json() if head and head.mark else None
        return {
            "serviceId": self.service,
            "table": self.table,
            "watermark": told(mark if head else (copy.value if copy else None)),
            "generation": head.generation if head else (copy.generation if copy else 0),
            "fingerprint": head.fingerprint if head else (copy.fingerprint if copy else ""),
            "runId": (head.run if head else (copy.run if copy else None)) or None,
            "from": "ledger" if head else "state store",
            "same": head is None or copy is None or (mark == copy.value and head.generation == copy.generation),
        }


def _show(arguments: argparse.Namespace, session: Session) -> int:
    # The definition leads to the target, which knows best; without one, the store's copies have to do.
    known = arguments.service or (not arguments.state and len(definitions_in(Path())) == 1)
    place = (locate_service if known else locate)(arguments, session)
    heads = _heads(place.service)
    copies = [] if place.empty else _copies(place)
    keys = dict.fromkeys([*((place.service_id or "", load) for load in heads), *((copy.service, copy.table) for copy in copies)])
    by_key = {(copy.service, copy.table): copy for copy in copies}
    rows = [_Row(service, table, heads.get(table), by_key.get((service, table))) for service, table in keys]
    found = [row.to_json() for row in rows if arguments.table in (None, row.table)]
    if session.out.as_json:
        session.out.json(found)
    elif found:
        session.out.table(_table(found))
    else:
        session.out.line("there are no watermarks yet")
    return 0


def _heads(service: Service | None) -> dict[str, Standing]:
    """Ask the target's ledger; when it is away, the copies have to do."""
    if service is None:
        return {}
    try:
        with _target(service) as target:
            return target.heads(service.id)
    except BeamPipelinesError as away:
        _LOG.warning("the target cannot be asked, so these are the state store's copies: %s", away.message)
        return {}


def _copies(place: Place) -> list[Watermark]:
    with place.open() as store:
        services = [place.service_id] if place.service_id else sorted({one.service for one in store.executions(limit=None)})
        return [copy for service in services for copy in store.watermarks(service)]


def _table(found: list[dict[str, Any]]) -> Table:
    rows = [
        [
            row["serviceId"],
            row["table"],
            *_told(row["watermark"]),
            str(row["generation"]),
            row["runId"] or "",
            row["from"] if row["same"] else f"{row['from']}, the state store's copy differs",
        ]
        for row in found
    ]
    return Table(["service", "table", "watermark", "type", "commits>", "by run", "says"], rows)


def _told(mark: dict[str, Any] | None) -> tuple[str, str]:
    """A watermark and its type, for people."""
    if mark is None:
        return "none", ""
    return (live.read_up_to(mark), "offsets") if "offsets" in mark else (mark["text"], mark["type"])


def _set(arguments: argparse.Namespace, session: Session) -> int:
    return _move(arguments, session, arguments.value)


def _reset(arguments: argparse.Namespace, session: Session) -> int:
    return _move(arguments, session, None)


def _move(arguments: argparse.Namespace, session: Session, value: str | None) -> int:
    """Set or clear marks while no run can be active: in the ledger, then in the store."""
    from beam_pipelines.runs.mark import Mark

    place = locate_service(arguments, session)
    service = place.service
    assert service is not None
    moved = []
    with place.open() as store, _held(store, service.id), _target(service) as target:
        if service.definition.stream is not None:
            _catch_up(service, store, target)
        heads = target.heads(service.id)
        for load in _loads(heads, arguments.table, service.id, every=value is None):
            before = heads[load].mark
            mark = None
            if value is not None:
                kind = _type(arguments, before, load)
                mark = _offsets(value, before, service) if kind == "offsets" else Mark.parse(value, kind)
            standing = target.set_mark(service.id, load, mark, None)
            _copy(store, service.id, load, standing)
            was, now = (_told(told(one.to_json()) if one else None)[0] for one in (before, standing.mark))
            session.out.line(f"{service.id}, {load}: {was} -> {now if standing.mark else 'none: the next run reads everything'}")
            moved.append(_Row(service.id, load, standing).to_json())
    if session.out.as_json:
        session.out.json(moved)
    return 0


def _catch_up(service: Service, store: StateStore, target: Target) -> None:
    """Record what a stream committed that died before it could: a mark moved by hand lies behind it, and nobody would ask for it again.

    Raises:
        BeamPipelinesError: It cannot be written; no mark is moved.
    """
    from beam_pipelines.engine.letters import Archive
    from beam_pipelines.engine.live import drains

    archive = Archive.of(service.definition.dead_letters, service.beside)
    drains.catch_up(_job(service), store, target, archive, _context(service, store.id))


def _offsets(value: str, before: Mark | None, service: Service) -> Mark:
    """What a stream is to go on from, as a person wrote it.

    Raises:
        SpecError: It is written otherwise, or windows would be summed up from a part of their events.
    """
    from beam_pipelines.runs.offsets import Offsets

    there = Offsets.of(before) if before is not None else Offsets()
    try:
        wanted = there.moved(value)
    except ValueError as bad:
        raise SpecError(
            f'expected offsets such as {{"offsets": {{"0": 4711}}, "closed": "2026-01-31T00:00:00Z"}}, got {value!r}: {bad}',
            code="option-invalid",
        ) from bad
    strange = [name for name in wanted.named if name not in there.named]
    if before is not None and strange:
        known = ", ".join(there.named)
        raise SpecError(
            f"partition {', '.join(strange)} is not among those that the service reads ({known}): one that the topic does not"
            " have would hold up all windows, and one that is new is read from its beginning",
            code="option-invalid",
        )
    back, named = wanted.back_from(there), json.loads(value).get("offsets", {})
    stay = [name for name, place in there.named.items() if back and place.next and name not in named]
    if stay and any(step.type == "window" or getattr(step, "live", False) for step in service.definition.steps):
        raise SpecError(
            f"partition {back[0]} goes back, and {', '.join(stay)} would not: windows would be summed up, and rows joined, from a part of"
            " their events; name an offset of each partition",
            code="option-invalid",
        )
    return wanted.to_mark()


def _loads(heads: dict[str, Standing], table: str | None, service: str, *, every: bool) -> list[str]:
    if table is not None and table in heads:
        return [table]
    if table is None and (len(heads) == 1 or (every and heads)):
        return sorted(heads)
    if not heads:
        raise SpecError(
            f"service {service!r} has loaded nothing into this target yet: there is no watermark to change", code="option-invalid"
        )
    got = f"got {table!r}" if table is not None else "got none"
    raise SpecError(f"expected --table with one of {', '.join(sorted(heads))}, {got}", code="option-invalid")


def _type(arguments: argparse.Namespace, there: Mark | None, load: str) -> str:
    kind: str | None = arguments.type
    if there is None and kind is None:
        raise SpecError(
            f"there is no watermark of {load!r} to take the type from: give --type, one of {', '.join(_TYPES)}", code="option-invalid"
        )
    if there is not None and kind not in (None, there.type):
        raise SpecError(
            f"expected a watermark of type {there.type} for {load!r}, as the source's column gives, got --type {kind}",
            code="option-invalid",
        )
    return kind or (there.type if there else "")


def _copy(store: StateStore, service: str, load: str, standing: Standing) -> None:
    from beam_pipelines.state.record import Watermark

    value = standing.mark.to_json() if standing.mark else None
    store.set_watermark(Watermark(service, load, value, standing.fingerprint, standing.generation, run=None))


@contextlib.contextmanager
def _held(store: StateStore, service: str) -> Iterator[None]:
    """Hold the service's lease, so that no run is active.

    Raises:
        ActiveRunError: One is.
    """
    from beam_pipelines.runs.names import new_run
    from beam_pipelines.state.lease import this_process

    lease = store.acquire(service, new_run(), ttl_seconds=_LEASE, holder=this_process())
    try:
        yield
    finally:
        store.release(lease)


@contextlib.contextmanager
def _target(service: Service) -> Iterator[Target]:
    target = _job(service).open_target(_context(service))
    with contextlib.closing(target):
        yield target


def _job(service: Service) -> Job:
    from beam_pipelines.engine.job import Job

    return Job.of(service.definition, service.folder)


def _context(service: Service, store: str = "") -> RunContext:
    from beam_pipelines.runs.context import RunContext

    return RunContext(
        run="",
        started_at=datetime.now(timezone.utc).isoformat(),
        connections=str(service.connections_file) if service.connections_file else None,
        folder=str(service.folder),
        state=service.state_place,
        store=store,
    )
