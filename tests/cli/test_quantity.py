from __future__ import annotations

import doctest
from datetime import datetime, timedelta, timezone

from beam_pipelines.cli import quantity


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(quantity) == (0, doctest.testmod(quantity).attempted)
    assert doctest.testmod(quantity).attempted >= 4


def test_moments_are_shown_in_utc():
    east = timezone(timedelta(hours=2))
    assert quantity.moment(datetime(2026, 1, 1, 1, 30, tzinfo=east)) == "2025-12-31 23:30:00Z"
    assert quantity.moment(None) == ""


def test_sizes_change_units_at_1024():
    assert [quantity.size(n) for n in (0, 1023, 1024, 1 << 20, (1 << 40) * 3 // 2)] == ["0 B", "1,023 B", "1.0 KiB", "1.0 MiB", "1.5 TiB"]
