"""What a rule came to in a word, and what a whole run did in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from beam_pipelines.quality.report.quantity import count, many, percent, share

__all__ = ["Status", "Verdict", "expected", "looked_at", "sentence", "status_of", "verdict_of", "violating", "worst_first"]

Verdict = Literal["failed", "violated", "warned", "noted", "not-evaluated", "passed"]
Status = Literal["failed", "warned", "passed", "empty"]

_WORST_FIRST: tuple[Verdict, ...] = ("failed", "violated", "warned", "noted", "not-evaluated", "passed")
_BROKEN: dict[str, Verdict] = {"error": "failed", "warning": "warned", "info": "noted"}
_VIOLATED: dict[str, Verdict] = {"error": "violated", "warning": "warned", "info": "noted"}


def looked_at(rule: Mapping[str, Any]) -> int:
    """Return how many rows a rule looked at; those on which it failed itself count."""
    return int(rule.get("evaluated", 0)) + int(rule.get("ruleErrors", 0))


def violating(rule: Mapping[str, Any]) -> int:
    """Return how many rows do not pass a rule; those on which it failed itself do not."""
    return int(rule.get("violated", 0)) + int(rule.get("ruleErrors", 0))


def verdict_of(rule: Mapping[str, Any]) -> Verdict:
    """Return what a rule came to.

    A rule with a threshold, or of the data set, holds or does not: `failed`, `warned` or `noted` by its severity. Of another one it counts
    that rows violate it: `violated`, `warned` or `noted`. Rows on which a rule itself failed are rejected, whatever its severity.
    """
    severity = rule.get("severity", "error")
    if rule.get("holds") is False:
        return _BROKEN[severity]
    whole = "measured" in rule
    if rule.get("holds") is True:
        return "passed"
    if whole or not looked_at(rule):
        return "not-evaluated"
    if rule.get("ruleErrors"):
        return "violated"
    return _VIOLATED[severity] if violating(rule) else "passed"


def worst_first(rules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rules, each with its `verdict` and `violatedShare`, by these; of equal ones that which more rows violate comes first."""
    return sorted(rules, key=lambda rule: (_WORST_FIRST.index(rule["verdict"]), -(rule["violatedShare"] or 0), -violating(rule)))


def expected(rule: Mapping[str, Any]) -> str:
    """Return what a rule asks of the rows as a whole, in words; nothing where it asks for nothing."""
    if "measured" in rule:
        return str(rule.get("message") or "")
    asked = []
    if rule.get("mostly") is not None:
        asked.append(f"at least {percent(float(rule['mostly']))} of rows must hold")
    most = rule.get("maxFailures")
    if most is not None:
        asked.append(f"at most {many(most, 'row') if isinstance(most, int) else f'{most} of rows'} may violate")
    return ", ".join(asked)


def status_of(run: str, steps: Sequence[Mapping[str, Any]]) -> Status:
    """Return what a run came to as a whole.

    Args:
        run: How it ended, as its record says.
        steps: With their `rules` and counts.
    """
    verdicts = {rule["verdict"] for step in steps for rule in step["rules"]}
    if run != "success" or "failed" in verdicts:
        return "failed"
    if verdicts & {"violated", "warned"} or any(step["failed"] or step["warnings"] for step in steps):
        return "warned"
    return "passed" if any(step["total"] for step in steps) or "passed" in verdicts else "empty"


def sentence(run: str, error: str | None, steps: Sequence[Mapping[str, Any]]) -> str:
    """Say why a run came to what it did, in a sentence or two."""
    rules = [rule for step in steps for rule in step["rules"]]
    total, failed, warned = (sum(step[name] for step in steps) for name in ("total", "failed", "warnings"))
    broken = [rule for rule in rules if rule["verdict"] == "failed"]
    if run != "success":
        if broken:
            alone = {step["table"] for step in steps} == {None}
            return f"{_broken(broken)} The run failed{', and delivered nothing' if alone else ''}."
        before = " before its rules were judged" if not steps else ""
        return f"The run was {run}{before}." if not error else f"The run {'failed' if run == 'failed' else f'was {run}'}{before}: {error}"
    if broken:
        return _broken(broken)
    said = []
    if failed:
        said.append(f"{count(failed)} of {many(total, 'row')} ({percent(share(failed, total))}) {_fail(failed)} a rule of severity error.")
    soft = [rule for rule in rules if rule["verdict"] == "warned" and rule.get("holds") is False]
    if soft:
        said.append(_broken(soft, "of severity warning"))
    if warned:
        also = "" if failed else f" of {many(total, 'row')}"
        said.append(f"{count(warned)}{also} ({percent(share(warned, total))}) {'has' if warned == 1 else 'have'} a warning.")
    if not total and not said:
        return "No rows came, so there was nothing to hold against the rules."
    return " ".join(said) or _all_well(rules, total)


def _fail(number: int) -> str:
    return "fails" if number == 1 else "fail"


def _broken(rules: Sequence[Mapping[str, Any]], kind: str = "") -> str:
    """Say which rules do not hold as a whole, and of the first one why."""
    first = rules[0]
    if "measured" in first:
        got = first["measured"]
        why = expected(first) + (f", got {got}" if isinstance(got, (int, float, str)) else "")
    else:
        part, whole = violating(first), looked_at(first)
        why = f"{count(part)} of {many(whole, 'row')} ({percent(share(part, whole))}) {'violates' if part == 1 else 'violate'} it"
        why += f", and {asked}" if (asked := expected(first)) else ""
    named = f"Rule {first['rule']!r}{f' {kind}' if kind else ''} does not hold"
    if len(rules) > 1:
        named = f"{len(rules)} rules{f' {kind}' if kind else ''} do not hold, {first['rule']!r} among them"
    return f"{named}: {why}."


def _all_well(rules: Sequence[Mapping[str, Any]], total: int) -> str:
    unsaid = sum(rule["verdict"] == "not-evaluated" for rule in rules)
    left = f"; {many(unsaid, 'rule')} found nothing to look at" if unsaid else ""
    noted = any(rule["verdict"] == "noted" for rule in rules)
    what = "No row violates a rule of severity error or warning" if noted else f"All {many(total, 'row')} pass every rule"
    return f"{what if total else 'Every rule of the data set holds'}{left}."
