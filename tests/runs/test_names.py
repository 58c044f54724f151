from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.runs.names import StagingName, new_attempt, new_run, service_prefix


@given(st.text())
def test_a_staging_name_fits_postgresql_and_is_read_back(service: str) -> None:
    name = StagingName.of(service, new_run(), new_attempt())
    assert len(str(name).encode()) <= 63
    assert name == StagingName.parse(str(name))
    assert str(name).startswith(service_prefix(service))


def test_tables_of_users_are_never_taken_for_staging() -> None:
    for name in ("customers", "_bp_customers", "_bp_12345678_run_attempt", "_beam_pipelines_loads", ""):
        assert StagingName.parse(name) is None


@pytest.mark.parametrize("run", ["", "nightly", "0123456789AB", "0123456789ab\n", "0123456789abc"])
def test_what_nobody_would_find_again_is_not_staged(run: str) -> None:
    with pytest.raises(ValueError, match="expected a run of 12 letters and digits"):
        StagingName.of("customers", run, new_attempt())


def test_two_attempts_never_share_a_name() -> None:
    assert len({new_attempt() for _ in range(1000)}) == 1000
