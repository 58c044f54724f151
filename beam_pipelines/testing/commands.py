"""Command lines, carried out by forks (`testing.forked`): what they answer, without waiting for an interpreter to import everything."""

from __future__ import annotations

import gc
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from beam_pipelines.testing import forked

__all__ = ["carry_out"]


def carry_out(
    program: str, *words: str, folder: Path, environ: Mapping[str, str], seconds: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Do what `python PROGRAM WORDS` or `python -m PROGRAM WORDS` does, in a process of its own that need not import anything first.

    What first imports do (warnings, time), signals and options of the interpreter are not for it: start the real command for them.

    Args:
        program: Path of a script, or name of a module.
        words: The rest of the command line.
        folder: Working directory.
        environ: The whole environment.
        seconds: How long it may take.

    Raises:
        TimeoutError: It took longer, and was killed.
    """
    with tempfile.TemporaryDirectory() as place:
        streams = [Path(place, name) for name in ("out", "err")]
        for stream in streams:
            stream.touch()
        process = forked.start(_carry_out, program, words, str(folder), dict(environ), *map(str, streams))
        code = forked.code_of(process, seconds)
        if code is None:
            process.kill()
        out, err = (stream.read_text(encoding="utf-8") for stream in streams)
    if code is None:
        raise TimeoutError(f"{program} {' '.join(words)} goes on after {seconds} s: {err}")
    return subprocess.CompletedProcess([program, *words], code, out, err)


def _carry_out(program: str, words: tuple[str, ...], folder: str, environ: dict[str, str], out: str, err: str) -> None:
    for number, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    gc.enable()
    sys.argv = [program, *words]
    # Its first place is the folder of the program that this process was forked for.
    if os.path.isfile(program):
        sys.path[0] = os.path.dirname(program)
        runpy.run_path(program, run_name="__main__")
    else:
        sys.path[0] = folder
        runpy.run_module(program, run_name="__main__", alter_sys=True)
