from __future__ import annotations

import pytest

from beam_pipelines.cli.report import Written
from beam_pipelines.errors import FatalError


@pytest.mark.parametrize(("run", "missing"), [(0, 1), (1, 1), (3, 1), (130, 130)])
def test_a_report_that_is_missing_turns_success_into_failure_and_nothing_else(run: int, missing: int) -> None:
    assert Written(("a.html",)).exit_code(run) == run
    assert Written((), FatalError("full")).exit_code(run) == missing
