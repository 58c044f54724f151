"""Start a program, wait for it, and write what it used, as JSON, into a file. A program of its own because it is small.

    python -S -E thin.py REPORT COMMAND [ARGUMENT ...]

Linux hands the peak memory of a process down to what it starts: measured from one that holds 200 MB, every program seems to need them.
"""

import json
import os
import sys
import time


def main() -> None:
    report, *command = sys.argv[1:]
    begun = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - begun
    used = {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        # Of the process and of all its children that it waited for.
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
    }
    with open(report, "w") as file:
        json.dump(used, file)


main()
