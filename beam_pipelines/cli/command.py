"""Carry out one command line: parse, set logging up, run, and say what went wrong."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence

from beam_pipelines.cli import failure, log
from beam_pipelines.cli.arguments import Parser, wants_json
from beam_pipelines.cli.output import Output
from beam_pipelines.cli.process import CANCELLED, interruptible, not_left_early
from beam_pipelines.cli.redaction import Redactor
from beam_pipelines.cli.session import Session
from beam_pipelines.errors import FatalError, SpecError

__all__ = ["execute"]

_ANSWERED = (0, 3)  # exit codes of what succeeded: the answer is all that is missing


def execute(parser: Parser, argv: Sequence[str]) -> int:
    """Carry out a command line.

    Returns:
        The exit code of the process (contracts, section 5).

    Raises:
        SystemExit: `--help` and `--version`, when they are written.
    """
    try:
        _refuse_bytes(argv)
        arguments = parser.read(argv)
    except SpecError as error:
        with Output.opened(as_json=wants_json(argv)) as out:
            failure.answer(error, out)
        return error.exit_code
    redact = Redactor()
    log.configure(arguments.log_level, arguments.log_format, redact)
    with Output.opened(as_json=getattr(arguments, "output", "text") == "json", redact=redact) as out:
        code = _carried_out(arguments, Session(out, redact))
    if out.lost is not None:
        reason = (out.lost.strerror or str(out.lost)).lower()
        message = f"the answer cannot be written to stdout: {reason}. A run that it tells of is recorded"
        failure.tell(FatalError(message, code="option-invalid"))
        return code if code not in _ANSWERED else 1
    return code


def _carried_out(arguments: argparse.Namespace, session: Session) -> int:
    out = session.out
    try:
        with interruptible(), not_left_early():
            return int(arguments.handler(arguments, session))
    except KeyboardInterrupt:
        failure.say("cancelled: what a run left, if one had begun, the next run of the service settles")
        if out.as_json:
            out.json({"error": "cancelled", "errorCode": "cancelled", "exitCode": CANCELLED})
        return CANCELLED
    except SystemExit as leave:
        # A function of the service wanted to end the process where nobody turned that into an error of its own.
        stopped = FatalError("code of the service ended the process before the command was done", code="function-failed")
        stopped.__cause__ = leave
        failure.answer(stopped, out, session.definition)
        return stopped.exit_code
    except Exception as error:  # noqa: BLE001 - the one place where every error ends: it is told, and becomes the exit code
        failure.answer(error, out, session.definition)
        return failure.exit_code_of(error)


def _refuse_bytes(argv: Sequence[str]) -> None:
    """Refuse names that are no text: they are in no record, origin, report or store, all of which are UTF-8.

    Raises:
        SpecError: `option-invalid`.
    """
    words = dict.fromkeys(argv, "on the command line")
    with contextlib.suppress(FileNotFoundError):  # of a folder that is gone; whoever needs it says so
        words[os.getcwd()] = "as the working directory"
    for word, where in words.items():
        if word != word.encode("utf-8", "replace").decode("utf-8"):
            raise SpecError(f"expected a name in UTF-8 {where}, got {word!a}: rename it", code="option-invalid")
