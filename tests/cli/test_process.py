from __future__ import annotations

import signal
import subprocess
import sys
import time

LOOP = """
import time
from beam_pipelines.cli.process import interruptible

def wait(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)

with interruptible():
    try:
        with interruptible("stopping"):
            print("ready", flush=True)
            wait(30)
    except KeyboardInterrupt as stop:
        wait(0.2)
        print("stopped by", stop, flush=True)
"""


def started(*words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", LOOP, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_first_signal_is_an_interrupt_with_its_name():
    for number in (signal.SIGINT, signal.SIGTERM):
        process = started()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert out == f"stopped by {number.name}\n"
        assert err == "stopping\n"
        assert process.returncode == 0


def test_one_press_that_arrives_twice_counts_once():
    process = started()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert out == "stopped by SIGINT\n"
    assert process.returncode == 0


HELD_UP = """
import os, signal, threading
from beam_pipelines.cli.process import interruptible, left_in_time

with interruptible(), left_in_time(0.3):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(30)
    except KeyboardInterrupt:
        threading.Event().wait(30)  # a server that says nothing
"""


def test_what_does_not_end_in_time_is_left():
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HELD_UP], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, "the next run settles it" in done.stderr) == (0, True)
    assert time.monotonic() - began < 15


SECOND = """
import os, signal, time
from beam_pipelines.cli import process
process._ONE_PRESS = 0.0
with process.interruptible():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
"""


def test_a_second_press_ends_the_process_at_once():
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", SECOND], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert "leaving at once" in done.stderr
    assert time.monotonic() - began < 8


def test_an_interrupt_passes_through_a_dofn_whole():
    import apache_beam as beam
    import pytest
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from beam_pipelines.cli.process import Interrupted

    def stop(_: object) -> None:
        raise Interrupted("SIGINT")

    pipeline = beam.Pipeline(runner=FnApiRunner())
    pipeline | beam.Create([None], reshuffle=False) | beam.Map(stop)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(test_runner_api=False)


def test_a_job_that_was_started_with_sigint_ignored_goes_on_ignoring_it(tmp_path):
    code = LOOP.replace("30", "1", 1)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert out == ""
    assert process.returncode == 0


EARLY = """
import os, sys, threading
from beam_pipelines.cli.process import not_left_early
with not_left_early():
    if sys.argv[1] == "main":
        try:
            os._exit(0)
        except SystemExit as leave:
            print("stopped", leave.code)
    elif sys.argv[1] == "thread":
        thread = threading.Thread(target=os._exit, args=(int(sys.argv[2]),))
        thread.start()
        thread.join()
    elif sys.argv[1] == "fork":
        child = os.fork()
        if not child:
            os._exit(int(sys.argv[2]))
        print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os._exit(7)
"""


def early(*words: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-u", "-c", EARLY, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip(), done.stderr


def test_a_function_cannot_make_a_command_look_well_by_leaving_early():
    assert early("main") == (7, "stopped 0", "")
    for status, code in ((0, 1), (5, 5)):
        returned, _, said = early("thread", str(status))
        assert returned == code
        assert f"os._exit({status}) was called before the command was done" in said
    assert early("fork", "4") == (7, "child 4", "")
