from __future__ import annotations

import doctest
import importlib
from typing import Any

import pytest

from beam_pipelines.quality.report.verdict import expected, verdict_of


@pytest.mark.parametrize("module", ["quantity", "text", "charts", "place"])
def test_what_the_texts_of_the_modules_show_is_so(module: str) -> None:
    tried = doctest.testmod(importlib.import_module(f"beam_pipelines.quality.report.{module}"))
    assert (tried.failed, tried.attempted > 0) == (0, True)


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        ({}, "passed"),
        ({"violated": 1}, "violated"),
        ({"violated": 1, "severity": "warning"}, "warned"),
        ({"violated": 1, "severity": "info"}, "noted"),
        ({"violated": 1, "holds": True, "mostly": 0.9}, "passed"),
        ({"violated": 1, "holds": False, "mostly": 1.0}, "failed"),
        ({"violated": 1, "holds": False, "mostly": 1.0, "severity": "warning"}, "warned"),
        ({"violated": 1, "holds": False, "mostly": 1.0, "severity": "info"}, "noted"),
        ({"evaluated": 0, "notEvaluated": 1000}, "not-evaluated"),
        ({"evaluated": 0, "holds": None, "mostly": 0.5}, "not-evaluated"),
        # The rule itself failed on a row: the row is rejected, whatever the severity.
        ({"ruleErrors": 1, "severity": "info"}, "violated"),
        ({"evaluated": 0, "ruleErrors": 1000}, "violated"),
    ],
)
def test_a_rule_of_rows(samples: Any, told: dict[str, Any], verdict: str) -> None:
    assert verdict_of(samples.rule("r", **{"violated": 0, **told})) == verdict


@pytest.mark.parametrize(
    ("holds", "severity", "verdict"),
    [
        (True, "error", "passed"),
        (False, "error", "failed"),
        (False, "warning", "warned"),
        (False, "info", "noted"),
        (None, "error", "not-evaluated"),
    ],
)
def test_a_rule_of_the_data_set(samples: Any, holds: bool | None, severity: str, verdict: str) -> None:
    assert verdict_of(samples.whole("r", 7, holds, severity=severity)) == verdict


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, ""),
        ({"mostly": 0.995}, "at least 99.5% of rows must hold"),
        ({"maxFailures": 1}, "at most 1 row may violate"),
        ({"maxFailures": "1%"}, "at most 1% of rows may violate"),
        ({"mostly": 0.9, "maxFailures": 2000}, "at least 90% of rows must hold, at most 2,000 rows may violate"),
    ],
)
def test_what_a_rule_asks_for_in_words(samples: Any, told: dict[str, Any], words: str) -> None:
    assert expected(samples.rule("r", **told)) == words
