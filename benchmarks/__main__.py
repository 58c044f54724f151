"""`python -m benchmarks`: measure, check, print, and keep what was found."""

from __future__ import annotations

import argparse
import compileall
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import machine, report
from benchmarks.cases import batch, files, live, memory, merge, quality, start, stream, tpch, transform, unique
from benchmarks.process import BenchmarkError
from benchmarks.result import Line, Results
from benchmarks.servers import Databases, databases
from benchmarks.settings import Settings

_ROOT = Path(__file__).parent.parent
_RESULTS = Path(__file__).with_name("results.json")
_DOCS = _ROOT / "docs" / "benchmarks.md"
_PEERS = _ROOT / ".cache" / "bench-venv" / "bin" / "python"
_QUICK_ROWS = 100_000

_ALONE: dict[str, Callable[[Settings], list[Line]]] = {
    "help": start.help_time,
    "parquet": files.parquet,
    "group": transform.group,
    "large": transform.large,
    "tpch": tpch.tpch,
    "quality": quality.quality,
    "unique": unique.unique,
    "batch": batch.batch,
    "many-files": batch.many_files,
    "small-files": batch.small_files,
    "stream": stream.stream,
    "stream-live": live.live,
    "stream-long": live.long,
}
_WITH_SERVER: dict[str, Callable[[Settings, Databases], list[Line]]] = {
    "fixed": start.fixed,
    "cold": merge.cold,
    "half": merge.half,
    "changes": merge.changes,
    "defaults": merge.defaults,
    "memory": memory.memory,
    "stream-drains": live.drains,
}


def _arguments() -> argparse.Namespace:
    cases = [*_ALONE, *_WITH_SERVER]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare beam_pipelines with its peers, in one run on one machine."
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table (default: 1,000,000, which the targets are for)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_ROWS:,} rows and one round: shows that it works, no more")
    parser.add_argument("--only", action="append", choices=cases, metavar="CASE", help=f"a case, repeatable: {', '.join(cases)}")
    parser.add_argument(
        "--peers-python", default=str(_PEERS), metavar="PATH", help="interpreter with the peers installed (make bench makes it)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where the results go; default: benchmarks/results.json, if everything was measured"
    )
    parser.add_argument(
        "--keep", action="store_true", help="with --only: put what is found in the place of what benchmarks/results.json has of these cases"
    )
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md too, if the results are kept")
    parser.add_argument("--render", action="store_true", help="measure nothing: write docs/benchmarks.md from benchmarks/results.json")
    parser.add_argument("--strict", action="store_true", help="end with 1 when a target is missed")
    return parser.parse_args()


def _measure(settings: Settings, only: list[str]) -> tuple[Results, list[str]]:
    """Measure the cases; also those that failed, by a program that ended with an error or by a wrong result."""
    lines: list[Line] = []
    failed: list[str] = []
    with ExitStack() as stack:
        server = stack.enter_context(databases()) if any(name in _WITH_SERVER for name in only) else None
        versions = machine.versions(settings.peers_python)
        if server is not None:
            versions["server"] = {"PostgreSQL": server.version()}
        for name in only:
            logging.info("%s", name)
            try:
                found = _ALONE[name](settings) if name in _ALONE else _WITH_SERVER[name](settings, _needed(server))
            except BenchmarkError as error:
                failed.append(name)
                print(f"[{name}] FAILED: {error}", file=sys.stderr)
                continue
            for line in found:
                print(report.line(line), flush=True)
            made = datetime.now(timezone.utc).isoformat(timespec="seconds")
            lines += [replace(line, made=made, rounds=settings.rounds) for line in found]
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Results(made, machine.describe(), {"rows": settings.rows}, versions, lines), failed


def _render() -> int:
    _DOCS.write_text(report.markdown(Results.read(_RESULTS)))
    print(f"wrote {_DOCS}")
    return 0


def _needed(server: Databases | None) -> Databases:
    assert server is not None
    return server


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    if arguments.render:
        return _render()
    # Not resolved: an environment's interpreter is a link, and finds its packages by where the link is.
    peers_python = os.path.abspath(arguments.peers_python)
    if shutil.which(peers_python) is None:
        print(
            f"no interpreter at {peers_python}: `make bench` makes the peers' environment; or give --peers-python",
            file=sys.stderr,
        )
        return 2
    # An installed package has its bytecode.
    compileall.compile_dir(_ROOT / "beam_pipelines", quiet=1)
    rows, rounds = (_QUICK_ROWS, 1) if arguments.quick else (arguments.rows, arguments.rounds)
    only = [name for name in (*_ALONE, *_WITH_SERVER) if not arguments.only or name in arguments.only]
    with tempfile.TemporaryDirectory(prefix="bp_bench_") as folder:
        results, failed = _measure(Settings(rows, rounds, peers_python, Path(folder)), only)
    print(report.summary(results))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        return 1
    # What was measured in part, or in a hurry, does not stand in for the whole.
    out = arguments.out or (None if arguments.quick or (arguments.only and not arguments.keep) else _RESULTS)
    if out is not None:
        if arguments.only and arguments.keep and not arguments.quick:
            results = Results.read(_RESULTS).with_cases(results, [*_ALONE, *_WITH_SERVER])
        results.write(out)
        print(f"wrote {out}")
    if arguments.write_docs and out == _RESULTS:
        _render()
    return 0 if results.met or not arguments.strict else 1


if __name__ == "__main__":
    sys.exit(main())
