"""Run a program as a user would, to its end, and say what it took."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["BenchmarkError", "Command", "Usage", "run"]

_THIN = Path(__file__).with_name("thin.py")
_SHOWN = 3000  # characters of a failed program's output


class BenchmarkError(Exception):
    """A program failed, or its result is wrong: what it took means nothing."""


@dataclass(frozen=True)
class Command:
    """A program to run.

    Args:
        argv: Absolute path of the program, and its arguments.
        folder: Working directory.
        environment: Variables beside those of this process.
        limit: Seconds until it is ended.
    """

    argv: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    limit: float = 1800.0


@dataclass(frozen=True)
class Usage:
    """What a program took, from its start to its exit.

    Args:
        seconds: By the clock.
        cpu: Seconds of processor, user and system, of the whole process tree.
        peak_bytes: Greatest resident memory of one process of the tree.
        output: What it wrote to stdout.
    """

    seconds: float
    cpu: float
    peak_bytes: int
    output: str = ""


def run(command: Command) -> Usage:
    """Run a program to its end.

    Raises:
        BenchmarkError: It ended with another code than 0, or not in time; with the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="bp_bench_run_") as name:
        report, out, err = Path(name, "report"), Path(name, "out"), Path(name, "err")
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-S", "-E", str(_THIN), str(report), *command.argv],
                cwd=command.folder,
                env={**_inherited(), **command.environment},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                process.wait(command.limit)
            except BaseException as stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(stopped, subprocess.TimeoutExpired):
                    raise BenchmarkError(f"not done after {command.limit:.0f} s: {_shown(command)}") from None
                raise
        said = out.read_text(errors="replace")
        used = json.loads(report.read_text()) if report.exists() else {"code": process.returncode}
        if used["code"]:
            heard = (said + err.read_text(errors="replace"))[-_SHOWN:]
            raise BenchmarkError(f"ended with {used['code']}: {_shown(command)}\n{heard}")
        return Usage(used["seconds"], used["cpu"], used["peak_bytes"], said)


def _inherited() -> dict[str, str]:
    """The variables of this process, but for one: users' programs keep their bytecode, and do not compile themselves on every start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _shown(command: Command) -> str:
    """The command without the URLs in it: they hold the password of the server."""
    return " ".join("postgresql://..." if "://" in word and "@" in word else word for word in command.argv)
