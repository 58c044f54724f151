"""`beam-pipelines suggest-rules INPUT`: a first file of rules, from what held of all rows of an input. It writes nothing else."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import given
from beam_pipelines.cli.arguments import Parser, add_log
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import FatalError, SpecError

if TYPE_CHECKING:
    from beam_pipelines.cli.rules_text import Suggestion
    from beam_pipelines.engine.profiled import Profiled

__all__ = ["add"]

_HELP = """\
Every row that was read obeys the rules; those to come need not: look them over before you use them, as with
  python -m beam_pipelines.quality --rules FILE --input INPUT
A rule may hold values of rows: the ends of numbers, and the texts of a column that has no more than 20 different ones. Of a column that is
named like a secret (password, token, api_key, ...) it holds none."""


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("suggest-rules", help="write a first file of rules from what held of all rows", epilog=_HELP)
    parser.add_argument("input", metavar="INPUT", help=f"{given.INPUT}: where rows come from, as `--input` of the quality command has it")
    parser.add_argument("--connections", metavar="FILE", help="default: connections.yaml in the working directory")
    parser.add_argument("--rows", metavar="N", type=_rows, help="look at the first N rows alone (default: all)")
    parser.add_argument(
        "--output",
        metavar="FILE",
        default="text",
        help="file to write the rules to (default: they are printed); `json` prints them as JSON, with the profile of the columns",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file, when it is there")
    add_log(parser)
    parser.set_defaults(handler=_suggest, parser=parser)


def _rows(text: str) -> int:
    if not text.isdecimal() or not text.strip("0"):
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text[:40]!r}")
    return int(text) if len(text) < 19 else 10**18  # more than there are


def _suggest(arguments: argparse.Namespace, session: Session) -> int:
    file = None if arguments.output in ("text", "json") else Path(arguments.output)
    if file is not None and not arguments.overwrite:
        _refuse_existing(file)
    seen, suggestions, left_out = _looked(arguments, session)
    if not suggestions:
        raise FatalError(
            f"expected rows that a rule follows from in {arguments.input!r}, got {seen.profile.rows:,}: no column always has a value",
            code="empty-source",
        )
    if session.out.as_json:
        session.out.json(_told(arguments.input, seen, suggestions))
        return 0
    from beam_pipelines.cli.rules_text import rules_text

    text = rules_text([*_head(arguments.input, seen), *left_out], suggestions)
    if file is None:
        session.out.raw(text)
        return 0
    _write(file, text, overwrite=arguments.overwrite)
    session.out.line(f"{len(suggestions)} rules, from {_extent(seen)} of {seen.table}, written to {file}")
    return 0


def _looked(arguments: argparse.Namespace, session: Session) -> tuple[Profiled, list[Suggestion], list[str]]:
    """Return what the rows are like, the rules that follow with their reasons, and what is said of rules that do not."""
    from beam_pipelines.rules.profiling.reason import reason
    from beam_pipelines.rules.profiling.suggest import suggest
    from beam_pipelines.spec import parse

    model = given.source_of(arguments.input)
    source = {"type": model.type, **model.model_dump(mode="json", by_alias=True, exclude_unset=True)}
    loaded = parse({"id": "suggest-rules", "pipeline": {"source": source, "destination": {"type": "none"}}}, arguments.input)
    service = session.opened(loaded, Path.cwd() / "rules.yaml", arguments.connections)
    seen = service.profile(arguments.rows)
    # What rests on an estimate may not hold of every row that was read.
    unknown = [name for name, column in seen.profile.columns.items() if column.perhaps_key and name not in seen.once]
    once = {**dict.fromkeys(unknown, False), **seen.once}
    left_out = [f"Whether a value of {name!r} occurs twice is not known: there are too many to tell." for name in unknown]
    return seen, [(rule, reason(rule, seen.profile)) for rule in suggest(seen.profile, once)], left_out


def _extent(seen: Profiled) -> str:
    rows = seen.profile.rows
    return f"all {rows:,} rows" if seen.whole else f"the first {rows:,} rows"


def _head(name: str, seen: Profiled) -> list[str]:
    head = [
        f"Suggested by `beam-pipelines suggest-rules` from {_extent(seen)} of {name}.",
        "Each of these rows obeys every rule. What has held so far need not hold for ever: look the rules over.",
    ]
    if seen.misfits:
        rows = "1 more row" if seen.misfits == 1 else f"{seen.misfits:,} more rows"
        head.append(f"{rows} cannot be read as the types of their columns: a run keeps them as dead letters.")
    return head


def _told(name: str, seen: Profiled, suggestions: list[Suggestion]) -> dict[str, Any]:
    return {
        "input": name,
        "rows": seen.profile.rows,
        "whole": seen.whole,
        "misfits": seen.misfits,
        "rules": [{**rule, "reason": why} for rule, why in suggestions],
        "profile": seen.profile.told(),
    }


def _refuse_existing(file: Path) -> None:
    if os.path.lexists(file):
        raise SpecError(f"expected no file at {str(file)!r}, and there is one: name another, or say --overwrite", code="option-invalid")


def _write(file: Path, text: str, *, overwrite: bool) -> None:
    """Write beside the file and put it in its place whole: a reader, or a crash, finds all of it or nothing."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        if overwrite:
            beside.replace(file)
        else:
            os.link(beside, file)  # fails where somebody was faster
    except FileExistsError:
        _refuse_existing(file)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise SpecError(f"expected to write {str(file)!r}, got: {reason}", code="option-invalid") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
