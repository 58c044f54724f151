"""`beam-pipelines test FILE`: carry out the definition's tests. Connects to nothing, and writes nothing but what `--fix` asks for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import failure
from beam_pipelines.cli.arguments import Parser, add_format, add_log
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import SpecError

if TYPE_CHECKING:
    from beam_pipelines.engine.cases.case import Verdict
    from beam_pipelines.etl.service import Service

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("test", help="carry out the tests in a definition; connect to nothing")
    parser.add_argument("definition", metavar="FILE", help="the service definition, YAML or JSON")
    parser.add_argument("--test", metavar="NAME", help="only the test of this name")
    parser.add_argument("--fix", action="store_true", help="rewrite in FILE what was expected and did not come; look at what changed")
    parser.add_argument("--junit", metavar="XML", help="write the results there as JUnit does, for CI")
    add_format(parser)
    add_log(parser)
    parser.set_defaults(handler=_test, parser=parser)


def _test(arguments: argparse.Namespace, session: Session) -> int:
    service = session.load(arguments.definition)
    if not service.definition.tests:
        raise SpecError(f"expected tests in {arguments.definition}, got none: write them behind `tests:`", code="spec-incomplete")
    verdicts: Sequence[Verdict] = service.test(arguments.test)
    fixed: tuple[str, ...] = ()
    if arguments.fix:
        from beam_pipelines.etl.fix import fix

        done = fix(service, verdicts)
        verdicts, fixed = done.verdicts, done.names
    if arguments.junit:
        from beam_pipelines.cli import junit

        try:
            junit.write(arguments.junit, service.id, verdicts, session.redact)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SpecError(f"expected to write {arguments.junit}, got: {reason}", code="option-invalid") from error
    _tell(session, service, verdicts, fixed)
    return max(failure.exit_code_of(one.error) if one.error else 0 if one.passed else 1 for one in verdicts)


def _tell(session: Session, service: Service, verdicts: Sequence[Verdict], fixed: Sequence[str]) -> None:
    outcomes = [one.to_json()["outcome"] for one in verdicts]
    counts = {outcome: outcomes.count(outcome) for outcome in ("passed", "failed", "error")}
    for verdict in verdicts:
        if verdict.error is not None:
            failure.tell(verdict.error, session.redact, session.definition)
    if session.out.as_json:
        errors = [{} if one.error is None else {"error": failure.to_json(one.error, session.definition)} for one in verdicts]
        tests = [{**one.to_json(), **error} for one, error in zip(verdicts, errors, strict=True)]
        session.out.json({"serviceId": service.id, **counts, "fixed": list(fixed), "tests": tests})
        return
    for verdict, outcome in zip(verdicts, outcomes, strict=True):
        word = "fixed" if verdict.name in fixed else outcome
        session.out.line(f"{word:<6}  {verdict.name}")
        for line in verdict.lines() if verdict.error is None else [str(verdict.error).splitlines()[0]]:
            session.out.line(f"  {line}")
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    session.out.line(f"{told} in {sum(one.seconds for one in verdicts):.1f} s" + (f"; {len(fixed)} rewritten" if fixed else ""))
