"""What the benchmarks ran on, and with which versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

__all__ = ["describe", "versions"]

_OURS = (
    "beam-pipelines",
    "apache-beam",
    "pyarrow",
    "duckdb",
    "adbc-driver-postgresql",
    "adbc-driver-sqlite",
    "psycopg",
    "pydantic",
    "SQLAlchemy",
    "confluent-kafka",
)
_PEERS = (
    "dlt",
    "connectorx",
    "adbc-driver-postgresql",
    "apache-beam",
    "pyarrow",
    "polars",
    "SQLAlchemy",
    "psycopg2-binary",
    "great-expectations",
    "pandas",
    "pyspark",
    "quixstreams",
    "bytewax",
    "confluent-kafka",
)
_ASK = """
import importlib.metadata as m, json, platform, sys
def version(name):
    try:
        return m.version(name)
    except m.PackageNotFoundError:
        return "not installed"
print(json.dumps({"Python": platform.python_version(), **{name: version(name) for name in sys.argv[1:]}}))
"""


def describe() -> dict[str, str]:
    """Say what machine this is: processor, cores, memory, system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": str(cores),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions(peers_python: str) -> dict[str, dict[str, str]]:
    """Ask both environments for the versions of what is compared."""
    return {"ours": _ask(sys.executable, _OURS), "peers": _ask(peers_python, _PEERS)}


def _ask(python: str, names: tuple[str, ...]) -> dict[str, str]:
    answer = subprocess.run([python, "-c", _ASK, *names], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(answer.stdout)
    return found
