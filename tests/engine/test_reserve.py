"""Worker processes in reserve. A process of its own forks them, for that of the tests has threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")

PROGRAM = """
import json, logging, os, sys, threading, time
from beam_pipelines.engine import reserve

def work():
    told = dict(os.environ), logging.getLogger().handlers, os.getpid()
    print(json.dumps([told[0], len(told[1]), told[2]]), flush=True)
    sys.exit(int(os.environ["CODE"])) if "CODE" in os.environ else None

logging.basicConfig()
sys.stdout.write("once ")
"""
WORKS = """
with reserve.kept(3, work):
    first, second = reserve.taken(), reserve.taken()
    print(first.work({"NAME": "first"}), second.work({"CODE": "4"}))
    os.kill(third := reserve._idle[0].process, 9)
    while os.path.exists(f"/proc/{third}") and open(f"/proc/{third}/stat").read().split()[2] != "Z":
        time.sleep(0.01)
    print(reserve.taken())
with reserve.kept(2, work):
    pass
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("no child is left")
done = threading.Event()
threading.Thread(target=done.wait).start()
with reserve.kept(2, work):
    print(reserve.taken())
done.set()
"""
WAITS = """
with reserve.kept(2, work):
    print(*(one.process for one in reserve._idle), flush=True)
    time.sleep(60)
"""


def test_one_that_is_taken_works_in_the_environment_it_is_told_and_the_others_end_with_the_command() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM + WORKS], capture_output=True, text=True, check=True, timeout=60)

    first, second, codes, *rest = done.stdout.removeprefix("once ").splitlines()
    (environment, handlers, process), (other, _, another) = json.loads(first), json.loads(second)
    assert (environment, handlers, other) == ({"NAME": "first"}, 0, {"CODE": "4"})
    assert process != another
    assert codes == "0 1"  # one that raises, also SystemExit, is no process of the command's any more
    assert rest == ["None", "no child is left", "None"]  # one that was killed; where another thread runs


def test_those_that_wait_do_not_outlive_a_command_that_is_killed() -> None:
    command = subprocess.Popen([sys.executable, "-c", PROGRAM + WAITS], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    waiting = [int(word) for word in command.stdout.readline().removeprefix("once ").split()]
    assert all(Path(f"/proc/{process}").exists() for process in waiting)

    command.send_signal(signal.SIGKILL)

    assert command.stdout.read() == ""  # the pipe is open as long as one of them lives
    command.wait()
    assert len(waiting) == 2


DEFINITION = """
name: Copies
batch:
  source: {type: file, path: in/*.parquet}
  processing:
    parallelism: 2
    transformations:
      - {id: where, type: function, output: {size: bigint, process: bigint, parent: bigint, main: text}}
  destination: {type: file, path: out, format: parquet}
"""
WHERE = """
import os, sys

def where(row: dict) -> dict:
    main = sys.modules["__main__"].__spec__.name
    return {"size": len(row["data"]), "process": os.getpid(), "parent": os.getppid(), "main": main}
"""


def test_the_workers_of_a_command_are_forked_from_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        data = pa.array([os.urandom(1 << 20) for _ in range(5)], pa.binary())
        pq.write_table(pa.table({"data": data}), tmp_path / "in" / f"{number}.parquet", use_dictionary=False)
    (tmp_path / "service.yaml").write_text(DEFINITION)
    (tmp_path / "functions.py").write_text(WHERE)

    command = subprocess.Popen(
        [sys.executable, "-m", "beam_pipelines.batch", "--service", "service.yaml", "--output", "json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, said = command.communicate(timeout=120)

    assert command.returncode == 0, said
    assert json.loads(out)["status"] == "success"
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert [row["size"] for row in rows] == [1 << 20] * 20
    assert {row["main"] for row in rows} == {"beam_pipelines.batch.__main__"}
    assert {row["parent"] for row in rows} == {command.pid}
    assert command.pid not in {row["process"] for row in rows}
