from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import gc, sys
from beam_pipelines.engine.start import import_beam, spare_the_collector
spare_the_collector()
import_beam()
import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
print([name for name in ("httplib2", "beartype", "beartype.door", "beartype.roar") if name in sys.modules])
print(sorted(name for name in sys.modules if name in ("boto3", "pymongo", "google.cloud.storage", "apache_beam.io.gcp.bigquery")))
pipeline = beam.Pipeline(runner=FnApiRunner())
pipeline | beam.Create([1, 2]) | beam.Map(lambda n: print("element", n))
pipeline.run().wait_until_finish()
import apache_beam.io.gcp.gcsfilesystem
from apache_beam.io.filesystems import FileSystems
print(type(FileSystems.get_filesystem("gs://bucket/name")).__name__)
import apache_beam.io.aws.s3filesystem
print(type(FileSystems.get_filesystem("s3://bucket/name")).__name__)
import_beam()
print(gc.isenabled())
from apache_beam.internal.http_client import get_new_http
import httplib2
print(type(get_new_http()) is httplib2.Http)
from apache_beam.typehints.typehints import is_consistent_with
class Animal: pass
class Dog(Animal): pass
print(is_consistent_with(Dog, Animal), is_consistent_with(Animal, Dog), is_consistent_with(Dog, 5))
import beartype.door
print(beartype.door.is_subhint(bool, int), beartype.door.TypeHint(int) <= beartype.door.TypeHint(object))
"""

LEAVE = """
import atexit, sys
from beam_pipelines.engine.start import leave
atexit.register(lambda: print("exit functions run", file=sys.stderr))
sys.stdout.write("x" * 3_000_000)
sys.stdout.write("end")
leave(3)
"""


def test_beam_runs_without_what_is_withheld_or_deferred_and_it_can_still_be_had_later() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        *("[]", "[]", "element 1", "element 2", "GCSFileSystem", "S3FileSystem", "True"),
        *("True", "True False False", "True True"),
    ]
    assert "bson" not in done.stderr
    assert "Failed to import" not in done.stderr


def test_a_process_that_has_beam_is_left_as_it_is() -> None:
    program = "import apache_beam.io.gcp.gcsfilesystem as before, sys; from beam_pipelines.engine.start import import_beam; import_beam();"
    program += " print(sys.modules['apache_beam.io.gcp.gcsfilesystem'] is before, len(sys.meta_path) == len(set(map(id, sys.meta_path))))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "True"]


@pytest.mark.parametrize(("chosen", "used"), [({}, "system"), ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "mimalloc")])
def test_arrow_takes_its_memory_from_the_c_library_unless_the_user_chose(chosen: dict[str, str], used: str) -> None:
    program = "from beam_pipelines.engine.start import choose_allocator; choose_allocator(); import pyarrow;"
    program += " print(pyarrow.default_memory_pool().backend_name)"
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**environment, **chosen})

    assert done.stdout.split() == [used]


def test_threads_that_come_and_go_leave_no_memory_of_their_own():
    """Of 32 threads that are alive at once, each with a block of its own, all take it from the same arena."""
    program = """
import ctypes, threading
from beam_pipelines.engine.start import choose_allocator
choose_allocator()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
there, places = threading.Barrier(32), []
def take():
    there.wait()
    places.append(library.malloc(1000))
    there.wait()
threads = [threading.Thread(target=take) for _ in range(32)]
[one.start() for one in threads]
[one.join() for one in threads]
print(len({place >> 26 for place in places}))  # an arena begins at a multiple of 64 MiB
"""
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)

    assert int(done.stdout) == 1


def test_large_blocks_are_given_back_however_many_came_before():
    """A block of 3 MB is the system's again once it is freed, also behind one of 30 MB, after which the C library would keep it."""
    program = """
import ctypes
from pathlib import Path
from beam_pipelines.engine.start import choose_allocator
choose_allocator()
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
library.free(library.malloc(30_000_000))
block = library.malloc(3_000_000)
library.malloc(1000)  # what comes behind a block of the heap keeps the heap from shrinking
ctypes.memset(ctypes.c_void_p(block), 1, 3_000_000)
before = int(Path("/proc/self/statm").read_text().split()[1])
library.free(block)
print((before - int(Path("/proc/self/statm").read_text().split()[1])) * 4096)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)

    assert int(done.stdout) > 2_500_000


def test_leaving_loses_no_output_through_a_pipe_and_runs_exit_functions():
    done = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert len(done.stdout) == 3_000_003
    assert done.stdout.endswith("end")
    assert done.stderr == "exit functions run\n"


def test_leaving_after_the_reader_has_gone_still_ends_with_the_code():
    process = subprocess.Popen([sys.executable, "-c", LEAVE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=30) in (3, 1)  # 1: the write itself found no reader, before leaving
