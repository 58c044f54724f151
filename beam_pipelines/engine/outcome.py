"""How a run ended, worked out from the ledger rows alone: the same whether its launcher lived to see it or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.numbers import Numbers
from beam_pipelines.errors import BeamPipelinesError
from beam_pipelines.io.connector import LedgerRow
from beam_pipelines.pricing import Charge, Usage, charge
from beam_pipelines.runs.counts import LoadCounts
from beam_pipelines.runs.facts import StepFact
from beam_pipelines.runs.file import FileResult, results
from beam_pipelines.spec.rule import Actions, RuleBase
from beam_pipelines.state.record import KEPT_FILES, Failure, Files, Incident, Metrics, Outcome, Step, Transformation, Watermark

# Of charges, by the kind of the service.
_TITLES: dict[str, str] = {"etl": "ETL Pipeline", "stream": "Stream Pipeline", "batch": "Batch Processing", "quality": "Data Quality"}

__all__ = ["all_committed", "exceeds_budget", "outcome_of"]


def all_committed(rows: Sequence[LedgerRow]) -> bool:
    """Every load of the run committed, and there was one at least."""
    return bool(rows) and all(row.status == "committed" for row in rows)


def exceeds_budget(rows: Sequence[LedgerRow]) -> bool:
    """The run committed above an error budget that only warns."""
    return any(row.counts is not None and row.counts.budget_exceeded for row in rows)


def outcome_of(
    job: Job, rows: Sequence[LedgerRow], failures: tuple[Failure, ...] = (), error: BaseException | None = None, status: str | None = None
) -> Outcome:
    """The outcome of a run.

    Args:
        job: The service, for its prices.
        rows: Ledger rows of the run, one a load.
        failures: Index of its exported dead letters.
        error: What ended it, when that is known.
        status: `cancelled` or `lost` when the launcher knows better than the ledger; ignored when every load committed.
    """
    done = [row for row in rows if row.counts is not None]
    counts = [row.counts for row in done if row.counts is not None]
    metrics = _metrics(counts)
    committed = all_committed(rows)
    verdict = next((row.counts for row in done if row.status == "failed"), None)
    final = "success" if committed else (status or "failed")
    message, code = _reason(error, verdict) if not committed else (None, None)
    ended = [datetime.fromisoformat(row.ended_at) for row in done if row.ended_at]
    return Outcome(
        status=final,  # type: ignore[arg-type]
        metrics=metrics,
        steps=tuple(step for row in done for step in _steps(job, row, len(rows) > 1)),
        completed_at=max(ended) if committed and ended else None,
        error=message,
        error_code=code,
        failures=failures,
        watermarks=tuple(_watermark(row) for row in done if row.status == "committed"),
        charge=_charge(job, counts) if committed else None,
        incidents=tuple(_incidents(rows)),
        files=_files(rows, committed=committed) if job.by_file else None,
        to_read=sum(part.bytes for row in rows for part in row.window.ranges) if job.by_file else 0,
    )


def _files(rows: Sequence[LedgerRow], *, committed: bool) -> Files:
    """What became of each file; where nothing was committed, no file has an output."""
    every: list[FileResult] = []
    for row in rows:
        if row.counts is not None:
            every += row.counts.merged.files or results(row.window, row.counts.tally)
    if not committed:
        every = [replace(file, output="", written=0) for file in every]
    processed = [file for file in every if committed and not file.error]
    return Files(
        processed=len(processed),
        records=sum(file.written for file in processed),
        bytes=sum(file.size for file in processed),
        skipped=sum(row.window.skipped for row in rows),
        waiting=sum(row.window.waiting for row in rows),
        hidden=sum(row.window.hidden for row in rows),
        closed=sum(row.window.closed for row in rows),
        gone=sum(row.window.gone for row in rows),
        failed=sum(1 for file in every if file.error),
        told=tuple(file.to_json() for file in sorted(every, key=lambda file: not file.error)[:KEPT_FILES]),
    )


def _incidents(rows: Sequence[LedgerRow]) -> list[Incident]:
    """What held ceilings back: of several tables it is mostly one transaction."""
    held = {row.window.held.incident: row.window.held for row in rows if row.window.held}
    return [Incident(f"ceiling: {one.incident}", one.message) for one in held.values()]


def _reason(error: BaseException | None, verdict: LoadCounts | None) -> tuple[str | None, str | None]:
    if verdict is not None:
        return verdict.message, verdict.code
    if isinstance(error, BeamPipelinesError):
        return str(error), error.code
    if isinstance(error, KeyboardInterrupt):
        return "the run was interrupted: nothing of it is loaded, and the next run goes on from where the last one ended", "cancelled"
    if error is not None:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", "internal"
    return None, None


def _metrics(counts: Sequence[LoadCounts]) -> Metrics:
    return Metrics(
        records_extracted=sum(one.tally.read for one in counts),
        records_transformed=sum(one.tally.stage_in for one in counts),
        records_loaded=sum(one.merged.loaded for one in counts),
        bytes_processed=sum(one.tally.bytes for one in counts),
        errors=sum(one.dead for one in counts),
        records_filtered=sum(one.tally.filtered for one in counts),
        records_rejected=sum(one.tally.rejected for one in counts),
        records_dead_lettered=sum(one.dead for one in counts),
        records_inserted=sum(one.merged.inserted for one in counts),
        records_updated=sum(one.merged.updated for one in counts),
        records_unchanged=sum(one.merged.unchanged for one in counts),
        records_stale=sum(one.merged.stale for one in counts),
        records_superseded=sum(one.merged.superseded for one in counts),
        records_deleted=sum(one.merged.deleted for one in counts),
    )


def _rules(job: Job, step: StepFact) -> tuple[dict[str, Any], ...]:
    """What each rule of a step came to, in the order of the definition."""
    model: Any = next((one for one in job.definition.steps if one.id == step.step), None)
    rules = getattr(model, "rules", ())
    if not rules:
        return ()
    from beam_pipelines.rules.tally import Tally  # few services have rules

    told = {rule: Tally(**counts).to_dict() for rule, counts in step.rules.items()}
    limits = {limit.rule: limit for limit in job.thresholds if limit.step == step.step}
    for rule in limits.keys() & told.keys():
        looked_at, violated = (told[rule][name] + told[rule]["ruleErrors"] for name in ("evaluated", "violated"))
        told[rule]["holds"] = limits[rule].passed(looked_at, violated) is None if looked_at else None
    told |= {rule: _measured(said) for rule, said in step.verdicts.items()}
    # Where no row came, no rule was held against one.
    return tuple({**_about(rule, model.actions), **(told[rule.id] if rule.id in told else Tally().to_dict())} for rule in rules)


def _about(rule: RuleBase, actions: Actions) -> dict[str, Any]:
    """What a rule is, as far as a reader of the record has to know; what is not set is left out."""
    from beam_pipelines.spec.rule.dataset import SetRule

    action = None if isinstance(rule, SetRule) else rule.action or actions.of(rule.severity)
    field, fields = getattr(rule, "field", None), getattr(rule, "fields", None)
    about = {
        "rule": rule.id,
        "type": rule.type,
        "severity": rule.severity,
        "action": action,
        "fields": [field] if field else list(fields or ()) or None,
        "mostly": None if rule.least_share is None else float(rule.least_share),
        "maxFailures": rule.max_failures,
        "description": rule.description or None,
    }
    return {name: value for name, value in about.items() if value is not None}


def _quality(step: StepFact, rules: tuple[dict[str, Any], ...], numbers: Numbers | None) -> dict[str, Any]:
    """What came of the rows of a step of rules, and some that violate them."""
    passed = step.records_in - step.failed
    told: dict[str, Any] = {"total": step.records_in, "passed": passed, "failed": step.failed, "warnings": step.warned}
    examples = step.examples.listed([rule["rule"] for rule in rules])
    examples = examples if numbers is None else [_numbered(one, numbers) for one in examples]
    if examples:
        told["examples"] = examples
    return {**told, "profile": list(step.profile)} if step.profile else told


def _numbered(example: dict[str, Any], numbers: Numbers) -> dict[str, Any]:
    place = numbers.place(example["origin"])
    return {**example, "origin": place, "recordIndex": place.get("row")}


def _measured(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule of the data set as a whole came to, as `rules.Result` tells it."""
    names = {"holds": "holds", "measured": "measured", "message": "message", "unevaluated": "notEvaluated"}
    return {**{told: said[name] for name, told in names.items()}, **said["details"]}


def _steps(job: Job, row: LedgerRow, several: bool) -> list[Step]:
    counts = row.counts
    assert counts is not None
    tally, merged, table = counts.tally, counts.merged, row.load if several else None
    numbers = Numbers.of(row)
    transformations = tuple(
        Transformation(
            id=step.step,
            success=row.status == "committed" or not step.error,
            duration=round(step.seconds * 1000),
            records_in=step.records_in,
            records_out=step.records_out,
            error=step.error,
            records_filtered=step.filtered,
            records_rejected=step.rejected,
            records_dead_lettered=step.dead,
            records_nulled=step.nulled,
            records_made=step.made,
            records_absorbed=step.absorbed,
            records_right=step.right,
            bytes_out=step.bytes_out,
            fused_with=step.fused_with,
            rules=(rules := _rules(job, step)),
            quality=_quality(step, rules, numbers) if rules else None,
        )
        for step in tally.steps
    )
    return [
        Step("extract", record_count=tally.read, errors=tally.read_dead, duration=round(tally.read_seconds * 1000), table=table),
        Step("transform", record_count=tally.stage_in, transformations=transformations, table=table),
        Step(
            "load",
            success=row.status == "committed",
            record_count=tally.staged_rows,
            loaded=merged.loaded,
            errors=tally.stage_dead + merged.dead,
            method=merged.method,
            duration=round(tally.stage_seconds * 1000),
            table=table,
        ),
    ]


def _watermark(row: LedgerRow) -> Watermark:
    assert row.counts is not None
    mark = row.counts.watermark
    return Watermark(
        service=row.window.service,
        table=row.load,
        value=mark.to_json() if mark else None,
        fingerprint=row.window.fingerprint,
        generation=row.window.generation + 1,
        run=row.run,
    )


def _charge(job: Job, counts: Sequence[LoadCounts]) -> Charge | None:
    pricing = job.definition.pricing
    if pricing is None or job.live:
        return None  # streams are charged by the hour
    metered: dict[str, int] = {}
    for one in counts:
        for step in one.tally.steps:
            metered[step.step] = metered.get(step.step, 0) + step.records_out
    used = Usage(
        bytes=sum(one.tally.bytes for one in counts),
        records=sum(one.tally.read - one.tally.no_account[0] for one in counts),
        step_rows=metered,
        step_types={step.id: step.type for step in job.definition.steps},
    )
    return charge(pricing, used, title=_TITLES[job.definition.kind])
