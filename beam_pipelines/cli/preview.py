"""`beam-pipelines preview FILE --step ID`: rows as they leave a step. Writes nothing."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli.arguments import Parser, add_format, add_log
from beam_pipelines.cli.session import Session
from beam_pipelines.cli.table import Table

if TYPE_CHECKING:
    from beam_pipelines.engine.preview import Preview

__all__ = ["add"]

_WIDEST = 40  # characters of a cell: a table stays readable, `--output json` shows all


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("preview", help="show rows as they leave a step; write nothing")
    parser.add_argument("definition", metavar="FILE", help="the service definition, YAML or JSON")
    parser.add_argument("--step", metavar="ID", help="the step; default: the last one")
    parser.add_argument("--limit", metavar="N", type=_limit, default=20, help="rows to read (default 20, at most 1000)")
    parser.add_argument("--connections", metavar="FILE", help="default: connections.yaml beside the definition")
    add_format(parser)
    add_log(parser)
    parser.set_defaults(handler=_preview, parser=parser)


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 1000, got {text!r}")
    return int(text)


def _preview(arguments: argparse.Namespace, session: Session) -> int:
    service = session.load(arguments.definition, arguments.connections)
    preview = service.preview(arguments.step, arguments.limit)
    if session.out.as_json:
        session.out.json(_plain({**preview.to_json(), "rows": _rows(preview)}))
        return 0
    rows = [[_cell(row[field.name]) for field in preview.schema] for row in _rows(preview)]
    session.out.table(Table([f"{field.name} {field.type}" for field in preview.schema], rows))
    where = f"out of step {preview.step!r}" if preview.step else "from the source"
    session.out.line()
    session.out.line(f"{len(rows)} rows {where}, of {preview.read} read")
    for note in preview.notes:
        session.out.line(note)
    if preview.dead:
        session.out.line()
        dead = [[str(one["step"]), str(one["code"]), str(one["message"]), str(one["origin"])] for one in preview.dead]
        session.out.table(Table(["step", "code", "message", "origin"], dead, title=f"{len(dead)} rows would become dead letters:"))
    return 0


def _rows(preview: Preview) -> list[dict[str, Any]]:
    """Return the rows as JSON can hold them without loss (decimals as text, binary as base64)."""
    import pyarrow as pa

    from beam_pipelines.columnar.plain import plain

    columns = {field.name: plain(pa.array([row[field.name] for row in preview.rows], field.type)) for field in preview.schema}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)] if columns else []


def _plain(value: Any) -> Any:
    """Return a preview whose dead letters say where they come from as values, not as JSON in a text."""
    import json

    return {**value, "dead": [{**one, "origin": json.loads(one["origin"])} for one in value["dead"]]}


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."
