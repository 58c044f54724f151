"""Keys are told apart as the target tells them, not as they were read: '7' and '07' are one number."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

pytestmark = pytest.mark.only("postgresql", "duckdb")

TEXTS = pa.schema([("id", pa.string()), ("name", pa.string()), ("version", pa.int64())])
UPPER, LOWER = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
SAME = {"INTEGER": ("07", "7", 7), "UUID": (UPPER, LOWER, LOWER)}


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("mode", ["upsert", "replace"])
@pytest.mark.parametrize("kind", list(SAME))
def test_keys_that_are_one_in_the_target_are_one_row(place: Any, loading: Any, kind: str, mode: str, there: bool, unique: bool) -> None:
    """With no key in the table to refuse the second."""
    one, other, kept = SAME[kind]
    place.sql(f"CREATE TABLE customers (id {kind}, name VARCHAR(40), version BIGINT)")
    if there:
        place.sql(f"INSERT INTO customers VALUES ('{other}', 'before', 0)")
    counts = loading.load([(one, "first", 1), (other, "second", 2)], TEXTS, mode=mode, keys=("id",), unique=unique)
    assert [(str(key), name, version) for key, name, version in place.rows()] == [(str(kept), "second", 2)]
    assert (counts.merged.superseded, counts.merged.inserted, counts.merged.updated) == (1, int(not there), int(there))


def test_a_key_that_will_not_cast_is_a_row_of_its_own_that_is_refused(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE customers (id INTEGER, name VARCHAR(40), version BIGINT)")
    rows = [("07", "first", 1), ("no", "bad", 1), ("7", "second", 2), ("no", "bad too", 2), ("8", "other", 1)]
    run = loading.begin(TEXTS, mode="upsert", keys=("id",), unique=True, stop=False).stage(rows)
    counts = run.commit()
    assert place.rows() == [(7, "second", 2), (8, "other", 1)]
    assert (counts.code, counts.merged.superseded, counts.merged.inserted, counts.merged.dead) == ("", 1, 2, 2)


def test_a_key_that_will_not_cast_stops_a_load_that_stops_at_bad_rows(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE customers (id INTEGER, name VARCHAR(40), version BIGINT)")
    counts = loading.load([("7", "good", 1), ("s3cr3t", "bad", 1)], TEXTS, mode="upsert", keys=("id",), unique=True)
    assert (counts.code, place.rows()) == ("target-refused", [])
    assert "s3cr3t" not in counts.message
