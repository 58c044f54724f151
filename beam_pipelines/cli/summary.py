"""What a run did, at its end or later: its steps, what became of the rows, what it costs and what it promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli import files, live, quantity
from beam_pipelines.cli.output import Output
from beam_pipelines.cli.table import Table
from beam_pipelines.runs.offsets import told

if TYPE_CHECKING:
    from beam_pipelines.state.record import Execution, FailedRecord, Metrics, Step

__all__ = ["dead_letters", "mark_text", "write"]

_OF_WHOLE = ("measured", "holds")  # what is told of rules that are judged as a whole
_NOTHING = "nothing to load"
_FILES = 3  # of dead letters of a stream, that are named
_BY_RULES = ("rule-violated", "rule-failed")  # codes of rejected rows


def write(out: Output, execution: Execution, failed: Sequence[FailedRecord] = (), notes: Sequence[tuple[str, str]] = ()) -> None:
    """Write the summary of a run.

    Args:
        out: Where to.
        execution: The record.
        failed: Index of its dead letters.
        notes: What else to say, label and text.
    """
    took = f" in {quantity.span(execution.duration / 1000)}" if execution.duration is not None else ""
    out.line(f"{execution.service}: {execution.status}{took} (run {execution.run})")
    out.line()
    if execution.steps:
        out.table(_steps(execution))
        out.line()
    if any(one.rules for step in execution.steps for one in step.transformations):
        out.table(_rules(execution))
        out.line()
    if execution.files is not None and (table := files.table(execution.files)) is not None:
        out.table(table)
        out.line()
    out.pairs([*_facts(execution, failed), *notes])


def _steps(execution: Execution) -> Table:
    several = len({step.table for step in execution.steps}) > 1
    head = ["step", "in>", "out>", "filtered>", "rejected>", "dead>", "time>"]
    rows: list[list[str]] = []
    incoming: int | None = None
    for step in execution.steps:
        rows += [[step.table or "", *row] if several else row for row in _rows(step, incoming)]
        incoming = step.record_count
    return Table(["table", *head] if several else head, rows)


def _rules(execution: Execution) -> Table:
    """What each rule of the steps came to."""
    count, several = quantity.count, len({step.table for step in execution.steps}) > 1
    every = [rule for step in execution.steps for one in step.transformations for rule in one.rules]
    more = [name for name in _OF_WHOLE if any(name in rule for rule in every)]
    head = ["rule", "step", "evaluated>", "violated>", "not evaluated>", "rule errors>", *more]
    rows = []
    for step in execution.steps:
        for one in step.transformations:
            for rule in one.rules:
                numbers = (rule.get("evaluated"), rule.get("violated"), rule["notEvaluated"], rule.get("ruleErrors"))
                row = [rule["rule"], one.id, *("" if number is None else count(number) for number in numbers)]
                row += [_of_whole(name, rule) for name in more]
                rows.append([step.table or "", *row] if several else row)
    return Table(["table", *head] if several else head, rows)


def _of_whole(name: str, rule: dict[str, Any]) -> str:
    if name not in rule:
        return ""
    if name == "holds":
        nothing = "nothing to look at" if rule.get("measured") is None else "not judged"
        return {True: "yes", False: "no", None: nothing}[rule[name]]
    return "" if rule[name] is None else str(rule[name])


def _rows(step: Step, incoming: int | None) -> Iterator[list[str]]:
    """One row a phase, one a transformation. `incoming`: rows that the phase before let out."""
    count, took = quantity.count, quantity.span((step.duration or 0) / 1000)
    dead = step.errors or 0
    if step.phase == "extract":
        yield ["extract", count(step.record_count), count((step.record_count or 0) - dead), "", "", count(dead), took]
    before: list[str] = []
    for one in step.transformations:
        numbers = (one.records_in, one.records_out, one.records_filtered, one.records_rejected, one.records_dead_lettered)
        # Steps that ran as one share their time: it is told once.
        shared = next((other for other in before if other in one.fused_with), None)
        yield [one.id, *map(count, numbers), f"with {shared}" if shared else quantity.span(one.duration / 1000)]
        before.append(one.id)
    if step.phase == "load":
        yield ["load", count(incoming), count(step.loaded), "", "", count(dead), took]


def _facts(execution: Execution, failed: Sequence[FailedRecord]) -> list[tuple[str, str]]:
    metrics = execution.metrics
    methods = ", ".join(dict.fromkeys(name for step in execution.steps for name in _methods(step.method)))
    facts = [
        ("started", quantity.moment(execution.started_at)),
        *([("files", files.fact(execution.files))] if execution.files is not None else []),
        (
            "loaded",
            "\n".join([f"{quantity.count(metrics.records_loaded)} rows" + (f" by {methods}" if methods else ""), *_merged(metrics)]),
        ),
        ("filtered", quantity.count(metrics.records_filtered)),
        ("rejected", dead_letters(metrics.records_rejected, [one for one in failed if one.code in _BY_RULES])),
        ("dead-lettered", dead_letters(metrics.records_dead_lettered, [one for one in failed if one.code not in _BY_RULES])),
        *_of_steps(execution),
        ("bytes", "\n".join([quantity.size(metrics.bytes_processed), *_bytes_out(execution)])),
        *([*live.facts(execution.live), *live.offsets(execution.watermark)] if execution.live else _mark(execution)),
    ]
    if execution.guarantee:
        # A line for each group of tables that have the same.
        facts += [("guarantee", _guarantee(line)) for line in execution.guarantee.splitlines()]
    if execution.charge:
        facts.append(("charge", _charge(execution.charge) if execution.charges is None else live.charged(execution)))
    asked = [("customer", execution.customer), ("request", execution.request)]
    facts += [(label, text) for label, text in asked if text]
    if execution.error:
        facts.append(("error", f"{execution.error} [{execution.error_code}]"))
    return facts


def _mark(execution: Execution) -> list[tuple[str, str]]:
    return [("watermark", mark_text(execution.watermark) or "none")]


def _merged(metrics: Metrics) -> Iterator[str]:
    """What became of the loaded rows, a line for each kind that there is."""
    kinds = {
        "inserted": metrics.records_inserted,
        "updated": metrics.records_updated,
        "unchanged": metrics.records_unchanged,
        "stale: a newer version is there": metrics.records_stale,
        "superseded: the same key came again": metrics.records_superseded,
        "deleted from the table before": metrics.records_deleted,
    }
    return (f"- {quantity.count(number)} {what}" for what, number in kinds.items() if number)


def _guarantee(text: str) -> str:
    level, _, reasons = text.partition(": ")
    return "\n".join([level, *(f"- {reason}" for reason in reasons.split("; ") if reason)])


def _of_steps(execution: Execution) -> Iterator[tuple[str, str]]:
    """What makes the rows out of a step other than those in less the ones it lost, and rows that went on although it failed on them."""
    steps = [one for step in execution.steps for one in step.transformations]
    count = quantity.count
    told = {
        "with nulls": [f"{count(one.records_nulled)} on which {one.id} failed" for one in steps if one.records_nulled],
        "made": [f"{count(one.records_made)} more by {one.id}" for one in steps if one.records_made],
        "joined with": [f"{count(one.records_right)} rows by {one.id}" for one in steps if one.records_right and not one.rules],
        "referred to": [f"{count(one.records_right)} rows by {one.id}" for one in steps if one.records_right and one.rules],
        "absorbed": [f"{count(one.records_absorbed)} into the groups of {one.id}" for one in steps if one.records_absorbed],
    }
    return ((label, "\n".join(lines)) for label, lines in told.items() if lines)


def _bytes_out(execution: Execution) -> Iterator[str]:
    """The size of what left each step, a line for those that ran as one; nothing of runs before it was counted."""
    for step in execution.steps:
        for position, one in enumerate(step.transformations):
            behind = {other.id for other in step.transformations[position + 1 :]}
            if one.bytes_out and not behind.intersection(one.fused_with):
                yield f"- {quantity.size(one.bytes_out)} out of {one.id}" + (f" ({step.table})" if step.table else "")


def _methods(method: str | None) -> list[str]:
    """How a step loaded; a stream's commits without a row are told of those that have none but such."""
    names = (method or "").split(", ")
    return [name for name in names if name and name != _NOTHING] or [name for name in names if name]


def dead_letters(number: int, failed: Sequence[FailedRecord]) -> str:
    """Return how many rows became dead letters, or were rejected, of which kinds, and where they are.

    The commits of a stream have a file each: of many the folder is told, and the newest ones.
    """
    several = _several(failed)
    counts: dict[tuple[str, str, str], int] = {}
    for one in failed:
        kind = (one.code, one.step, one.table)
        counts[kind] = counts.get(kind, 0) + one.count
    kinds = [
        f"- {quantity.count(count)} {code} in {step}{f' ({table})' if several else ''}" for (code, step, table), count in counts.items()
    ]
    urls = list(dict.fromkeys(one.url for one in sorted(failed, key=lambda one: one.timestamp)))
    if len(urls) <= _FILES or not any(one.drain for one in failed):
        urls = list(dict.fromkeys(one.url for one in failed))
        return "\n".join([quantity.count(number), *kinds, *(f"in {url}" for url in urls)])
    folders = dict.fromkeys(url.rpartition("/")[0] for url in urls)
    newest = [f"- {url.rpartition('/')[2]}" for url in reversed(urls[-_FILES:])]
    where = f"in {quantity.count(len(urls))} files in {', '.join(f'{folder}/' for folder in folders)}; the newest:"
    return "\n".join([quantity.count(number), *kinds, where, *newest])


def _several(failed: Sequence[FailedRecord]) -> bool:
    return len({one.table for one in failed}) > 1


def mark_text(mark: Any) -> str:
    """Return a recorded watermark for people: of one table, or a line a table."""
    if not mark:
        return ""
    if set(mark) == {"type", "text"}:
        return live.read_up_to(told(mark)) if mark["type"] == "offsets" else str(mark["text"])
    return "\n".join(f"{table}: {mark_text(value) or 'none'}" for table, value in sorted(mark.items()))


def _charge(charge: dict[str, Any]) -> str:
    total = f"{charge['amount']} {charge['currency']} ({charge['description']})"
    return "\n".join([total, *(f"- {_line(line)}" for line in charge.get("lines", ()))])


def _line(line: dict[str, str]) -> str:
    unit = f"x {line['unit']}" if line["unit"][:1].isdecimal() else line["unit"]  # such as `1,000 rows`
    quantities = (quantity.short(line[key]) for key in ("quantity", "rate", "amount"))
    return "{name}: {0} {unit} at {1} = {2}".format(*quantities, name=line["name"], unit=unit)
