"""`beam-pipelines validate FILE`: is the definition well formed, and is the code there that its steps name? Connects to nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli.arguments import Parser, add_format, add_log
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import Code, PlanError, Problem

if TYPE_CHECKING:
    from beam_pipelines.etl.service import Service
    from beam_pipelines.spec.step import StepBase

__all__ = ["add", "check"]


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("validate", help="check a definition and its functions; connect to nothing")
    parser.add_argument("definition", metavar="FILE", help="the service definition, YAML or JSON")
    add_format(parser)
    add_log(parser)
    parser.set_defaults(handler=_validate, parser=parser)


def _validate(arguments: argparse.Namespace, session: Session) -> int:
    return check(session, session.load(arguments.definition))


def check(session: Session, service: Service) -> int:
    """Check what can be checked without connections: loading found the definition well formed already.

    Raises:
        PlanError: Steps are not served, or their functions are missing; all of them.
    """
    definition = service.definition
    whole = definition.kind != "incomplete"
    if whole:
        _check_steps(service)
    if session.out.as_json:
        session.out.json(
            {
                "valid": True,
                "serviceId": service.id,
                "kind": definition.kind,
                "missing": definition.missing,
                "served": whole,
            }
        )
        return 0
    session.out.line(f"{session.definition}: valid, service {service.id!r} of kind {definition.kind}, {len(definition.steps)} steps")
    if not whole:
        session.out.line(f"it cannot be run: {', '.join(definition.missing)} is missing")
    return 0


def _placed(steps: Sequence[StepBase], path: str) -> Iterator[tuple[str, StepBase]]:
    """Steps and those of the sources of joins and unions, each with its place."""
    for index, step in enumerate(steps):
        yield f"{path}[{index}]", step
        inner = getattr(getattr(step, "source", None), "transformations", ())
        yield from _placed(inner, f"{path}[{index}].source.transformations")


def _check_steps(service: Service) -> None:
    from beam_pipelines.engine.job import Job
    from beam_pipelines.spec import FunctionStep
    from beam_pipelines.transforms.registry import build

    job = Job.of(service.definition, service.folder)
    problems: list[Problem] = []
    codes: dict[Code, None] = {}
    for path, model in _placed(service.definition.steps, service.definition.steps_path):
        try:
            build(model, job.functions, path)
            if isinstance(model, FunctionStep):
                job.functions.find(model.id, model.handler, path)
        except PlanError as error:
            problems += error.problems or [Problem(error.message, path)]
            codes[error.code] = None
    if problems:
        count = f"{len(problems)} steps" if len(problems) > 1 else "a step"
        raise PlanError(f"{count} cannot be run", problems=problems, code=next(iter(codes)))
