"""`beam-pipelines plan FILE`: what a run would do, without reading a row."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import quantity
from beam_pipelines.cli.arguments import Parser, add_format, add_log
from beam_pipelines.cli.files import overlooked
from beam_pipelines.cli.output import Output
from beam_pipelines.cli.session import Session
from beam_pipelines.cli.table import Table

if TYPE_CHECKING:
    from beam_pipelines.engine.file_plan import FilePlan
    from beam_pipelines.engine.plan import Plan

__all__ = ["add", "show"]


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("plan", help="show what a run would do, without reading a row")
    parser.add_argument("definition", metavar="FILE", help="the service definition, YAML or JSON")
    parser.add_argument("--connections", metavar="FILE", help="default: connections.yaml beside the definition")
    refresh = parser.add_mutually_exclusive_group()
    refresh.add_argument("--full-refresh", action="store_true", help="plan a run that forgets the watermark")
    refresh.add_argument("--keep-watermark", action="store_true", help="plan a run that keeps the watermark although something changed")
    add_format(parser)
    add_log(parser)
    parser.set_defaults(handler=_plan, parser=parser)


def _plan(arguments: argparse.Namespace, session: Session) -> int:
    service = session.load(arguments.definition, arguments.connections)
    return show(session, service.plan(full_refresh=arguments.full_refresh, keep_watermark=arguments.keep_watermark))


def show(session: Session, plan: Plan) -> int:
    """Write a plan; returns the exit code."""
    out = session.out
    if out.as_json:
        out.json(plan.to_json())
        return 0
    out.line(f"{plan.service}: what a run would do")
    _block(out, "graph", [f"{number}. {line}" for number, line in enumerate(plan.graph, 1)])
    for promise in plan.promises:
        _block(out, f"guarantee: {promise.level}", [f"- {reason}" for reason in promise.guarantee.reasons])
    if plan.by_file is not None:
        _block(out, "files", list(_files(plan.by_file)))
        _block(out, "output", list(_outputs(plan.by_file)))
    else:
        out.line()
        out.table(_readings(plan))
    if plan.schedule:
        _block(out, f"schedule: {plan.schedule}", [quantity.moment(when) for when in plan.next_times])
    _block(out, "notes", [f"- {note}" for note in plan.notes])
    return 0


def _files(files: FilePlan) -> Iterator[str]:
    count = quantity.count
    yield f"{count(files.new)} to read, {quantity.size(files.bytes)}" if files.new else "none to read"
    if files.broken:
        yield f"- {count(files.broken)} of these cannot be read, by a first look, and would be dead letters"
    if files.done:
        yield f"{count(files.done)} skipped: earlier runs are done with them"
    if files.waiting:
        yield f"- {count(files.waiting)} of these could not be read, and did not change since"
    yield from overlooked(files.hidden, len(files.closed), files.gone)


def _outputs(files: FilePlan) -> Iterator[str]:
    if files.shard_size is not None:
        yield f"{files.form}, files of about {quantity.size(files.shard_size)}, at {files.place}"
        return
    yield f"{files.form}, a file for each input, at {files.place}"
    for name, output in files.outputs:
        yield f"- {output} of {name}"
    if files.new > len(files.outputs):
        yield f"- and {quantity.count(files.new - len(files.outputs))} more"


def _readings(plan: Plan) -> Table:
    rows = [
        [
            reading.table,
            reading.low or "the start",
            "unknown" if reading.rows is None else quantity.count(reading.rows),
            reading.load,
            "exists" if reading.exists else "will be created",
        ]
        for reading in plan.readings
    ]
    return Table(["would read", "from", "rows in all>", "into", "target"], rows)


def _block(out: Output, head: str, lines: list[str]) -> None:
    if lines:
        out.line()
        out.line(head)
        for line in lines:
            out.line(f"  {line}")
