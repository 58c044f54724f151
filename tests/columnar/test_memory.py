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
