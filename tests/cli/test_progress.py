from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time

from beam_pipelines.cli.progress import LogLines, describe
from beam_pipelines.engine.progress import Progress


def at(seconds: float, **values: object) -> Progress:
    return Progress(started=time.monotonic() - seconds, **values)  # type: ignore[arg-type]


def test_a_line_every_few_seconds_and_none_for_a_short_run(caplog):
    caplog.set_level("INFO")
    lines = LogLines(every=5.0)
    for second in (0.2, 1, 4.9):
        lines.heard(at(second))
    assert caplog.messages == []
    for second in (5.1, 5.5, 9, 10.2, 11, 30):
        lines.heard(at(second, rows={"extract": 10}))
    assert len(caplog.messages) == 3


def test_a_line_tells_phase_rows_rate_bytes_of_total_and_time_left():
    said = describe(
        at(10, rows={"extract": 50_000, "load": 49_000}, bytes=5 << 20, total_rows=100_000, total_bytes=10 << 20, phase="extract")
    )
    assert re.fullmatch(
        r"extract: 50,000 rows read \((5,000|4,999)/s\), 5\.0 MiB of 10\.0 MiB, 49,000 staged, about (10\.0|9\.9) s left", said
    ), said


def test_what_is_unknown_is_left_out():
    assert describe(at(10)) == "prepare: 0 rows read (0/s)"


def in_terminal(folder, environ, *command: str) -> tuple[int, str]:
    """Run a command in a terminal of 40 by 150; returns exit code and what was drawn."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
    process = subprocess.Popen(command, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the other side is closed (Linux)
            break
        if not part:
            break
        drawn += part
    os.close(ours)
    return process.wait(), drawn.decode()


def test_on_a_terminal_the_progress_is_live_and_the_summary_a_table(room):
    import sys
    from pathlib import Path

    environ = {**os.environ, "TERM": "xterm-256color"}
    script = str(Path(sys.executable).with_name("beam-pipelines"))
    code, drawn = in_terminal(room.folder, environ, script, "run", "service.yaml")
    assert code == 0, drawn
    assert "\x1b[?25l" in drawn  # the cursor is hidden while the display lives,
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")  # and shown again at its end
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    assert "rows read" in plain
    assert "customers: success" in plain
    assert re.search(r"extract +1,200 +1,188", plain)
    assert "──" in plain


def test_of_files_the_line_tells_the_bytes_of_all_and_never_more():
    progress = Progress(rows={"extract": 10}, bytes=3 << 20, total_bytes=2 << 20, phase="extract")
    assert ", 2.0 MiB of 2.0 MiB" in describe(progress)


def test_on_a_terminal_a_batch_shows_how_many_bytes_of_all_are_read(room):
    import sys
    from pathlib import Path

    (room.folder / "in").mkdir()
    for number in range(40):
        (room.folder / "in" / f"{number:02d}.csv").write_text("id,name\n" + "1234567,Ann\n" * 1_000)
    room.write(
        "batch.yaml", "{name: Files, batch: {source: {type: file, path: in/*.csv}, destination: {type: file, path: out, format: parquet}}}"
    )
    script = str(Path(sys.executable).with_name("beam-pipelines"))
    code, drawn = in_terminal(room.folder, {**os.environ, "TERM": "xterm-256color"}, script, "run", "batch.yaml")
    assert code == 0, drawn
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    # 40 files of 12,008 bytes.
    assert re.search(r"[\d.]+ KiB of 469\.1 KiB", plain)
    assert "40 processed, 469.1 KiB: 40,000 rows written" in plain
    assert "the first 20 of 40 files" in plain
