"""What went wrong, as a person can use it: what, where, what to do, and the section of the documentation. Never a traceback."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from beam_pipelines.cli.output import Output
from beam_pipelines.errors import BeamPipelinesError, Problem, SpecError

__all__ = ["answer", "exit_code_of", "placed", "say", "tell", "to_json"]

_LOG = logging.getLogger(__name__)
_PATH = re.compile(
    r"^((?:pipeline|stream|batch|validation|schedule|pricing|errorBudget|delivery|deadLetters|retention|functions|naming|tests)"
    r"[\w.\[\]]*): "
)
_AGAIN = "run again with --log-level debug for the traceback"


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that an error means."""
    return error.exit_code if isinstance(error, BeamPipelinesError) else 1


def tell(error: BaseException, redact: Callable[[str], str] = str, definition: Path | None = None) -> None:
    """Write an error to stderr.

    Args:
        error: Any.
        redact: Takes secrets out of a text.
        definition: The file that problems without a place are about.
    """
    _LOG.debug("what follows was raised here", exc_info=error)
    say(redact(_text(error, definition)))


def _text(error: BaseException, definition: Path | None) -> str:
    if isinstance(error, SpecError):
        problems, text = placed(error, definition)
        if problems:
            # A plan error whose message is its one problem is not said twice.
            headline = "" if len(problems) == 1 and problems[0].message in error.message else error.message
            return "\n".join(
                [_paragraph(headline or "the definition cannot be run as asked", error.code), *_excerpts(problems, text, definition)]
            )
    if isinstance(error, BeamPipelinesError):
        return _paragraph(error.message, error.code)
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return _paragraph(f"{error.strerror.lower()}{where} ({_AGAIN})", "internal")
    said = str(error).strip()
    what = type(error).__name__ + (f": {said.splitlines()[0]}" if said else "")
    return _paragraph(f"{what}. this is a bug, here or in a function of the service: {_AGAIN}, and report it", "internal")


def _paragraph(message: str, code: str) -> str:
    return f"error: {message} [{code}; see docs/errors.md#{code}]"


def placed(error: SpecError, definition: Path | None) -> tuple[list[Problem], str]:
    """Return an error's problems, each at its place in the definition when it names only a path, and the definition's text."""
    from beam_pipelines.spec import load

    problems = list(error.problems)
    named = _PATH.match(error.message)
    if not problems and named:
        problems = [Problem(error.message[named.end() :], path=named[1])]
    if definition is None or not problems:
        return list(error.problems), ""
    try:
        loaded = load(definition)
    except SpecError:  # the definition itself is what is wrong: its problems have places
        return problems, _read(definition)
    return [
        loaded.problem(problem.path, problem.message, problem.hint) if problem.path and not (problem.line or problem.file) else problem
        for problem in problems
    ], loaded.text


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            return stream.read(1 << 20)
    except OSError:
        return ""


def _excerpts(problems: list[Problem], text: str, definition: Path | None) -> list[str]:
    """Return problems as text, with an excerpt of the definition only: a connections file may hold secrets."""
    from beam_pipelines.spec import render

    return [render([problem], text if definition is not None and problem.file == str(definition) else "") for problem in problems]


def to_json(error: BaseException, definition: Path | None = None) -> dict[str, Any]:
    """Return what `--output json` prints when there is no record of a run."""
    data: dict[str, Any] = {"error": str(error) or type(error).__name__, "errorCode": "internal", "exitCode": exit_code_of(error)}
    if isinstance(error, BeamPipelinesError):
        data |= {"error": error.message, "errorCode": error.code, "details": error.details}
    if isinstance(error, SpecError):
        data["problems"] = [asdict(problem) for problem in placed(error, definition)[0]]
    return data


def answer(error: BaseException, out: Output, definition: Path | None = None) -> None:
    """Write an error that ended a command before it had an answer: to stderr, and as JSON where that was asked for."""
    tell(error, out.redact, definition)
    if out.as_json:
        out.json(to_json(error, definition))


def say(text: str) -> None:
    """Say something to stderr that is neither an answer nor a line of the log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
