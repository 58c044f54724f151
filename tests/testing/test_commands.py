"""A command that a fork carries out answers as one that an interpreter of its own does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from beam_pipelines.testing.commands import carry_out

TELLING = """\
import os, sys, time
import beside
print(sys.argv[1:], os.getcwd(), os.environ["SAID"], "HOME" in os.environ, time.strftime("%H", time.gmtime(0)), time.tzname[0])
os.write(1, b"below Python\\n")
print("über", sys.path[0], beside.WORD, __name__, file=sys.stderr)
if "raise" in sys.argv:
    raise ValueError("no")
sys.exit(int(sys.argv[1]))
"""
ENVIRON = {"SAID": "hello", "TZ": "Asia/Tokyo", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "telling.py").write_text(TELLING)
    (tmp_path / "beside.py").write_text("WORD = 'beside'")
    return tmp_path


def by_interpreter(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=folder, env=ENVIRON, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", ["0", "3"])
def test_a_script_and_a_module_answer_as_those_of_an_interpreter_do(folder: Path, code: str) -> None:
    script, elsewhere = str(folder / "telling.py"), folder / "elsewhere"
    elsewhere.mkdir()
    for forked, real in (
        (carry_out(script, code, "b c", folder=elsewhere, environ=ENVIRON), by_interpreter(elsewhere, script, code, "b c")),
        (carry_out("telling", code, folder=folder, environ=ENVIRON), by_interpreter(folder, "-m", "telling", code)),
    ):
        assert real.returncode == int(code)
        # Not in which order: a stream may be written out at its end.
        assert sorted(forked.stdout.splitlines()) == sorted(real.stdout.splitlines())
        assert (forked.returncode, forked.stderr) == (real.returncode, real.stderr)


def test_what_a_script_raises_is_told_and_ends_it_with_1(folder: Path) -> None:
    done = carry_out(str(folder / "telling.py"), "0", "raise", folder=folder, environ=ENVIRON)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: no"


def test_one_that_takes_too_long_is_ended(folder: Path) -> None:
    (folder / "slow.py").write_text("import pathlib, time\nprint('begun')\ntime.sleep(60)\npathlib.Path('done').touch()\n")
    with pytest.raises(TimeoutError, match=r"slow.py x goes on after 1.0 s"):
        carry_out(str(folder / "slow.py"), "x", folder=folder, environ=ENVIRON, seconds=1.0)


def test_one_that_is_killed_tells_by_which_signal(folder: Path) -> None:
    (folder / "killed.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    assert carry_out(str(folder / "killed.py"), folder=folder, environ=ENVIRON).returncode == -9
