"""The results as a table, for a terminal and for docs/benchmarks.md."""

from __future__ import annotations

from benchmarks.result import Line, Results

__all__ = ["line", "markdown", "summary"]


def summary(results: Results) -> str:
    """Say once more what was found, on what, and whether the targets are met."""
    blocks = [line(one) for one in results.lines]
    made = f"{results.made}, {_machine(results.machine)}; {_settings(results)}"
    versions = [f"{who}: {', '.join(f'{name} {version}' for name, version in found.items())}" for who, found in results.versions.items()]
    missed = [one for one in results.lines if one.met is False]
    verdict = f"{len(missed)} targets missed" if missed else "all targets met"
    return "\n".join(["", *blocks, "", made, *versions, verdict])


def line(one: Line) -> str:
    """Lay one comparison out for a terminal."""
    peer = f"{one.peer_name} {_value(one.peer, one.unit)}" if one.peer is not None else ""
    met = {True: "met", False: "MISSED", None: ""}[one.met]
    verdict = f"{one.target}: {met}" if one.target else ""
    parts = [f"ours {_value(one.ours, one.unit)}", peer, _ratio(one), verdict]
    return f"[{one.case}] {one.job}\n    " + "; ".join(part for part in parts if part)


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"


def _ratio(one: Line) -> str:
    if one.ratio is None:
        return ""
    spread = f" [{one.spread[0]:.2f}-{one.spread[1]:.2f}]" if one.spread and one.spread[0] != one.spread[1] else ""
    return f"{one.means} = {one.ratio:.2f}{spread}"


def _machine(machine: dict[str, str]) -> str:
    return f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}"


def _settings(results: Results) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in results.settings.items())


_PAGE = """\
# Benchmarks

One command measures this package against its peers on your machine, checks every result, and prints the table below:

```text
make bench
```

<!-- Everything from here on is written by `python -m benchmarks --write-docs`, from benchmarks/results.json. -->

Made on {machine}; {settings}. Each case is one run, whose ratios compare; those of different days do not.
{remark}
{table}

{verdict}

## How to read it

- Every program is a process of its own, from its start to its exit, as a user starts it.
  Seconds are medians over the rounds; contestants take turns in each round.
- Only ratios within a round are compared: **ratio** is their median, with the least and the greatest in brackets.
  The machine's mood moves seconds by a third from one minute to the next, and ratios much less.
- Before each timed run the target is put back to the same state (a copy of a template database, then a checkpoint).
  After it, rows and a checksum are compared with what SQL works out from the source; a wrong result fails the benchmark.
- PostgreSQL has its stock settings: fsync and autovacuum are on, `shared_buffers` is 128 MB. It shares the cores with the contestants.
- *Merge cases*: our service filters 3.9 % of the rows out and cleans three fields; dlt moves the rows as they are, and so writes 4 % more.
  Ours also fixes a safe ceiling, stages, checks the staged counts, counts inserted and updated rows,
  and commits rows and watermark in one transaction.
- *dlt, tuned*: connectorx into Arrow, parquet files into PostgreSQL by ADBC, `merge` with the strategy named. It makes no index on the key.
  *dlt, defaults*: no back end and no file format named, `merge`.
- *Parquet cases*: processor time (user and system, the whole process tree) with all rows, less that with 10 rows, by row.
  Their ratio is that of the medians: the difference of two small times is too noisy in a single round.
  Polars streams lazily. Beam YAML runs on the same in-process runner as ours. All write snappy or their own default.
- *Rules*: over a table in memory by the clock of the program, the best of 7 calls (Great Expectations: of 2) without import and reading;
  on Beam what a run takes above one of 10 rows; Spark the best of 3 calls in one session, to files, and then from memory to nowhere.
  Rows are told apart with all their reasons; ours writes these to the dead letters as well.
  Great Expectations names rows and tells none apart. It and Spark count every member of a repeated value.
  *By hand*: record batches on Beam with our kernels and our coder, and nothing else that a service does.
- *Streams*: Apache Kafka on the same machine, a topic of 4 partitions, loaded before; every window that is closed is compared with SQL.
  Of 2 million events what a program takes on a topic of 100 events is taken off, on both sides; against Beam whole processes are compared.
  Quix Streams has no exact distinct: it counts and sums, and keeps no changelog. bytewax takes part with 1,000 users alone, for its event
  clock moves with the wall clock too. Beam reads by a DoFn of confluent-kafka, for its own source of Kafka needs Java.
- *Fixed cost*: the empty pipeline imports Beam, runs `Create` on the same runner and leaves by `os._exit`, as our command does.
- *Peak memory*: the greatest resident size of the process; 1 MB is 10^6 bytes.

## Versions

{versions}
"""


def markdown(results: Results) -> str:
    """Write the page docs/benchmarks.md."""
    rows = [_row(one) for one in results.lines]
    table = "\n".join(["| job | ours | peer | ratio | target | met | day | rounds |", "|---|---|---|---|---|---|---|---|", *rows])
    versions = "\n".join(
        f"- {who}: {', '.join(f'{name} {number}' for name, number in found.items())}" for who, found in results.versions.items()
    )
    missed = sum(one.met is False for one in results.lines)
    return _PAGE.format(
        machine=_machine(results.machine),
        settings=_settings(results),
        remark=f"\n**{results.remark}**\n" if results.remark else "",
        table=table,
        verdict="All targets are met." if not missed else f"{missed} targets are missed.",
        versions=versions,
    )


def _row(one: Line) -> str:
    peer = f"{_value(one.peer, one.unit)} ({one.peer_name})" if one.peer is not None else ""
    ratio = _ratio(one).replace(f"{one.means} = ", "")
    means = f"{ratio}, {one.means}" if ratio else ""
    met = {True: "yes", False: "**no**", None: ""}[one.met]
    return f"| {one.job} | {_value(one.ours, one.unit)} | {peer} | {means} | {one.target} | {met} | {one.made[:10]} | {one.rounds} |"
