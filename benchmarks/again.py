"""Ours, again and again in one process, each time as if it had never run: seconds of each call, and the last record.

python -m benchmarks.again CALLS FOLDER...
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from beam_pipelines.engine.start import choose_allocator, spare_the_collector


def main() -> None:
    spare_the_collector()
    choose_allocator()

    from beam_pipelines.etl.service import Service

    calls, *folders = sys.argv[1:]
    taken: list[list[float]] = []
    record: dict[str, Any] = {}
    for folder in map(Path, folders):
        seconds = []
        for _ in range(int(calls)):
            for made in (folder / "state", folder.parent / "out"):
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
            began = time.perf_counter()
            service = Service.load(
                folder / "service.yaml", connections=folder / "connections.yaml", state=f"sqlite:///{folder / 'state' / 'state.db'}"
            )
            result = service.run(options=["--runner=DirectRunner"])
            seconds.append(time.perf_counter() - began)
            if result.error is not None:
                sys.exit(str(result.error))
        taken.append(seconds)
        record = result.to_json()
    (transform,) = (step for step in record["steps"] if step["phase"] == "transform")
    counts = {rule["rule"]: rule["violated"] for rule in transform["transformations"][0]["rules"]}
    print(json.dumps({"taken": taken, "counts": counts}))


if __name__ == "__main__":
    main()
