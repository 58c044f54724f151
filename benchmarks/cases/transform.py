"""What the transforms cost: filter, map and group by by the processor time of one more row, many groups, a large join.

What a program costs before its first row is taken off where rows are counted; many groups and the join are whole processes.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import customers
from benchmarks.contest import Contestant, Rounds, hold
from benchmarks.process import BenchmarkError, Command
from benchmarks.result import Line, at_least, at_most, compared
from benchmarks.service import FILES, OurService
from benchmarks.settings import Settings

__all__ = ["group", "large"]

_PEERS = Path(__file__).parent.parent / "peers"
_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_FEW = 10
_TIMES = 10
_LIMIT_MB = 2000
_FLAT = 1.2  # ten times the rows take at most a fifth more memory, and at most a fifth more time a row
_KEYS = ["country", "domain", "month"]
_GROUP: list[dict[str, Any]] = [
    *FILES,
    {"id": "groups", "type": "aggregate", "groupBy": _KEYS, "aggregations": {"*": "count", "amount": ["sum", "avg"]}},
]
_GROUPED = (
    f"SELECT {', '.join(_KEYS)}, count(*) AS count, sum(amount) AS sum_amount, avg(amount) AS avg_amount FROM ({{mapped}}) GROUP BY ALL"
)
# Sums of doubles by other orders differ in their last digits.
_SAME = f"SELECT {', '.join(_KEYS)}, count, round(sum_amount, 2) AS total, round(avg_amount * count, 2) AS same FROM ({{query}})"

Program = Callable[[Path, Path, Path, str], Command]  # source, output folder, working folder, the peers' interpreter


def group(settings: Settings) -> list[Line]:
    """Filter, 4-field map and group by, Parquet in and out: ours against Beam row by row, and against engines of their own."""
    folder = settings.folder / "group"
    folder.mkdir()
    try:
        return _group(settings, folder)
    finally:
        shutil.rmtree(folder)


def _group(settings: Settings, folder: Path) -> list[Line]:
    slow, many, most = settings.rows // 5, settings.rows, settings.rows * _TIMES
    fast = {"ours": _ours, "Polars": _polars, "DuckDB": _duckdb}
    rows_of = {"Beam YAML": (_FEW, slow), "plain Beam on dicts": (_FEW, slow)} | dict.fromkeys(fast, (_FEW, many, most))
    programs: dict[str, Program] = {"Beam YAML": _beam_yaml, "plain Beam on dicts": _beam_dicts, **fast}
    sources = {rows: _source(folder, rows) for rows in (_FEW, slow, many, most)}
    contestants = [
        _contestant(f"{name} {rows}", folder, sources[rows], programs[name], settings)
        for name, counts in rows_of.items()
        for rows in counts
    ]
    rounds = hold(contestants, settings.rounds)

    def marginal(name: str, rows: int) -> list[float]:
        pairs = zip(rounds.cpu(f"{name} {rows}"), rounds.cpu(f"{name} {_FEW}"), strict=True)
        return [max(whole - few, 1e-3) * 1e6 / rows for whole, few in pairs]

    job = "Parquet to Parquet, filter, 4-field map and group by: processor time of one more row"
    ours = {rows: marginal("ours", rows) for rows in (many, most)}
    lines = [
        at_least(compared("group", f"{job}, {many:,} rows", "us/row", ours[many], marginal(name, slow), f"{name}, {slow:,} rows"), bound)
        for name, bound in (("Beam YAML", 20.0), ("plain Beam on dicts", 8.0))
    ]
    lines += [
        at_most(compared("group", f"{job}, {rows:,} rows", "us/row", ours[rows], marginal(name, rows), name, cost=True), 3.0)
        for rows in (many, most)
        for name in ("Polars", "DuckDB")
    ]
    return [*lines, *_growth(rounds, ours, many, most)]


def _growth(rounds: Rounds, ours: dict[int, list[float]], many: int, most: int) -> list[Line]:
    less = f"ours, {many:,} rows"
    job = f"the same, {most:,} rows against {many:,}"
    linear = compared("group", f"{job}, processor time of one more row", "us/row", ours[most], ours[many], less, cost=True)
    few, more = (rounds.peak_bytes(f"ours {rows}") / 1e6 for rows in (many, most))
    memory = Line("group", f"{job}, peak memory", more, "MB", few, less, more / few, None, "ours / peer")
    return [at_most(linear, _FLAT), at_most(memory, _FLAT)]


def _source(folder: Path, rows: int) -> Path:
    """A file alone in its folder, for DuckDB makes a view of each."""
    path = folder / f"rows_{rows}" / "customers.parquet"
    path.parent.mkdir()
    customers.write_parquet(path, rows)
    return path


def _contestant(name: str, folder: Path, source: Path, program: Program, settings: Settings) -> Contestant:
    place = folder / name.replace(" ", "_")
    output = place / "out"
    expected = _GROUPED.format(mapped=customers.MAPPED_FILES.format(table=f"read_parquet('{source}')"))

    def prepare() -> Command:
        shutil.rmtree(place, ignore_errors=True)
        output.mkdir(parents=True)
        return program(source, output, place, settings.peers_python)

    return Contestant(name, prepare, lambda: _expect(name, output, expected, _SAME))


def _expect(name: str, output: Path, expected: str, same: str) -> None:
    """Compare every row of the files in a folder with those of a query of DuckDB's."""
    import duckdb

    files = sorted(str(path) for path in output.rglob("*") if path.is_file() and not path.name.startswith((".", "_")))
    if not files:
        raise BenchmarkError(f"{name}: expected files in {output.name}, found none")
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE expected AS {same.format(query=expected)}")
        connection.execute(f"CREATE TABLE found AS {same.format(query=f'SELECT * FROM read_parquet({files!r})')}")
        for one, other in (("expected", "found"), ("found", "expected")):
            rows = connection.execute(f"SELECT count(*) FROM (TABLE {one} EXCEPT ALL TABLE {other})").fetchone()
            if rows is None or rows[0]:
                raise BenchmarkError(f"{name}: {rows and rows[0]} rows of {one} are not among those of {other}")


def _service(place: Path, source: Path, steps: list[dict[str, Any]], output: Path) -> Command:
    destination = {"type": "file", "path": str(output), "format": "parquet", "compression": "snappy"}
    service = OurService(place / "service", {"type": "file", "path": str(source)}, steps, destination, {})
    service.forget()
    return service.command()


def _ours(source: Path, output: Path, place: Path, python: str) -> Command:  # noqa: ARG001 - ours is run by this interpreter
    return _service(place, source, _GROUP, output)


def _polars(source: Path, output: Path, place: Path, python: str) -> Command:
    return Command([python, str(_PEERS / "polars_group.py"), str(source), str(output / "part.parquet")], place)


def _beam_dicts(source: Path, output: Path, place: Path, python: str) -> Command:
    return Command([python, str(_PEERS / "beam_group.py"), str(source), str(output / "part")], place)


def _beam_yaml(source: Path, output: Path, place: Path, python: str) -> Command:
    variables = json.dumps({"source": str(source), "target": str(output / "part")})
    argv = [python, "-m", "apache_beam.yaml.main", f"--yaml_pipeline_file={_PEERS / 'beam_group.yaml'}"]
    return Command([*argv, f"--jinja_variables={variables}", f"--runner={_RUNNER}"], place)


def _duckdb(source: Path, output: Path, place: Path, python: str) -> Command:  # noqa: ARG001 - DuckDB is a dependency of ours
    return _query(_GROUPED.format(mapped=customers.MAPPED_FILES.format(table="customers")), source.parent, output, place)


def _query(query: str, data: Path, output: Path, place: Path) -> Command:
    (place / "query.sql").write_text(query)
    argv = [sys.executable, str(_PEERS / "duckdb_query.py"), str(data), str(place / "query.sql"), str(output / "part.parquet")]
    return Command(argv, place)


def large(settings: Settings) -> list[Line]:
    """Ten million rows in a million groups, and joined with a million rows, by key and by time: time against DuckDB's, and memory."""
    folder = settings.folder / "large"
    folder.mkdir()
    try:
        facts, keys = _facts(folder, settings.rows)
        size, few = f"{settings.rows * _TIMES:,}", f"{settings.rows:,}"
        totals: list[dict[str, Any]] = [
            {"id": "totals", "type": "aggregate", "groupBy": ["k"], "aggregations": {"*": "count", "v": ["sum", "max"]}}
        ]
        joined: list[dict[str, Any]] = [
            {"id": "joined", "type": "join", "on": ["k"], "source": {"type": "file", "path": str(keys)}},
        ]
        by_time: list[dict[str, Any]] = [{**joined[0], "asOf": {"left": "v", "right": "w", "tolerance": settings.rows}}]
        return [
            *_against_duckdb(
                settings,
                folder,
                facts,
                f"group by, {size} rows in {few} groups",
                totals,
                "SELECT k, count(*) AS count, sum(v) AS sum_v, max(v) AS max_v FROM facts GROUP BY k",
                "SELECT k, count, sum_v::bigint AS s, max_v FROM ({query})",
            ),
            *_against_duckdb(
                settings,
                folder,
                facts,
                f"hash join, {size} rows with {few}",
                joined,
                "SELECT k, v, w FROM facts JOIN keys USING (k)",
                "SELECT count(*), sum(k), sum(v), sum(w), sum(hash(k, v, w)) FROM ({query})",
            ),
            *_against_duckdb(
                settings,
                folder,
                facts,
                f"as-of join, {size} rows with {few}",
                by_time,
                f"SELECT facts.k, v, w FROM facts ASOF JOIN keys ON facts.k = keys.k AND v >= w WHERE v - w <= {settings.rows}",
                "SELECT count(*), sum(k), sum(v), sum(w), sum(hash(k, v, w)) FROM ({query})",
            ),
        ]
    finally:
        shutil.rmtree(folder)


def _facts(folder: Path, rows: int) -> tuple[Path, Path]:
    """`facts` with ten rows a key in no order, and `keys` with one."""
    import duckdb

    facts, keys = folder / "data" / "facts.parquet", folder / "data" / "keys.parquet"
    facts.parent.mkdir()
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2; SET memory_limit = '1GB'")
        for path, query in (
            (facts, f"SELECT i * 7919 % {rows} AS k, i AS v FROM range({rows * _TIMES}) AS r(i)"),
            (keys, f"SELECT i AS k, i * 3 AS w FROM range({rows}) AS r(i)"),
        ):
            connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 100000)")
    return facts, keys


def _against_duckdb(
    settings: Settings, folder: Path, facts: Path, job: str, steps: list[dict[str, Any]], query: str, same: str
) -> Sequence[Line]:
    expected = query.replace("FROM facts", f"FROM read_parquet('{facts}') AS facts").replace(
        "JOIN keys", f"JOIN read_parquet('{facts.parent / 'keys.parquet'}') AS keys"
    )

    def contestant(name: str, command: Callable[[Path, Path], Command]) -> Contestant:
        place = folder / name
        output = place / "out"

        def prepare() -> Command:
            shutil.rmtree(place, ignore_errors=True)
            output.mkdir(parents=True)
            return command(place, output)

        return Contestant(name, prepare, lambda: _expect(name, output, expected, same))

    ours = contestant("ours", lambda place, output: _service(place, facts, steps, output))
    peer = contestant("DuckDB", lambda place, output: _query(query, facts.parent, output, place))
    rounds = hold([ours, peer], settings.rounds)
    line = compared("large", f"{job}, whole process", "s", rounds.seconds("ours"), rounds.seconds("DuckDB"), "DuckDB", cost=True)
    peaks = [rounds.peak_bytes(name) / 1e6 for name in ("ours", "DuckDB")]
    memory = Line("large", f"{job}, peak memory", peaks[0], "MB", peaks[1], "DuckDB", peaks[0] / peaks[1], None, "ours / peer")
    return [line, at_most(memory, _LIMIT_MB, of=peaks[0], unit=" MB")]
