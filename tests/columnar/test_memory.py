from __future__ import annotations

import subprocess
import sys

import pytest

# 200 MB in pieces that the C library keeps for later, under one that stays: without being asked it gives none of it back.
PROGRAM = """
import os, sys
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
import numpy as np, pyarrow as pa
from beam_pipelines.columnar.memory import give_back

def resident():
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))

pieces = [pa.allocate_buffer(100_000) for _ in range(2000)]
for piece in pieces:
    np.frombuffer(memoryview(piece), np.uint8)[:] = 1
stays = pa.allocate_buffer(100_000)
del piece, pieces
before = resident()
if sys.argv[1] == "give":
    give_back()
print(before - resident())
"""


@pytest.mark.parametrize(("word", "least", "most"), [("give", 150, 250), ("keep", -5, 5)])
def test_what_is_not_used_goes_back_to_the_system(word: str, least: int, most: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, check=True)
    assert least <= int(done.stdout) <= most


LEVEL = """
from beam_pipelines.columnar.memory import keep_level

def left(count):
    pieces = [pa.allocate_buffer(100_000) for _ in range(count)]
    for piece in pieces:
        np.frombuffer(memoryview(piece), np.uint8)[:] = 1
    return pa.allocate_buffer(100_000)  # above what goes

def given_back(count):
    stays.append(left(count))
    before = resident()
    keep_level()
    return before - resident()

stays = [stays]
print(given_back(2000), given_back(2000), given_back(3000))
"""


def test_a_process_that_keeps_its_level_gives_back_once_it_has_grown() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM + LEVEL, "keep"], capture_output=True, text=True, check=True)
    first, again, more = map(int, done.stdout.splitlines()[1].split())
    assert abs(first) < 5  # 200 MB, as it was when it was first asked
    assert abs(again) < 5  # the same memory, used again
    assert more > 150  # 300 MB
