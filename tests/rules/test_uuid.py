"""UUIDs, as text or as a type."""

from __future__ import annotations

import uuid

import pyarrow as pa
import pytest

from beam_pipelines.rules import Result, check

FOUR, ONE = "8a6e0804-2bd0-4672-b79d-d97027f9071a", "C232AB00-9414-11EC-B3C8-9F6BDECED846"
NIL = "00000000-0000-0000-0000-000000000000"


def checked(values: pa.Array, **keys: object) -> Result:
    return check(pa.table({"x": values}), [{"id": "r", "type": "uuid", "field": "x", **keys}])


def test_uuids_in_their_standard_form_are_told():
    texts = [FOUR, ONE, NIL, FOUR.replace("-", ""), f"{{{FOUR}}}", f" {FOUR}", f"{FOUR}\n", FOUR[:-1], FOUR[:-1] + "g", None, ""]
    found = checked(pa.array(texts))
    assert found.violations["recordIndex"].to_pylist() == [3, 4, 5, 6, 7, 8]
    assert set(found.violations["message"].to_pylist()) == {"expected a UUID"}
    assert found.rules[0].tally.unevaluated == 2


def typed(texts: list[str | None]) -> pa.Array:
    raw = [None if text is None else uuid.UUID(text).bytes for text in texts]
    return pa.ExtensionArray.from_storage(pa.uuid(), pa.array(raw, pa.binary(16)))


@pytest.mark.parametrize("make", [pa.array, typed])
@pytest.mark.parametrize(("version", "rows"), [(4, [1, 2]), (1, [0, 2]), (7, [0, 1, 2]), (None, [])])
def test_a_version_is_asked_of_text_and_of_uuids(make, version, rows):
    found = checked(make([FOUR, ONE, NIL, None]), **({} if version is None else {"version": version}))
    assert found.violations["recordIndex"].to_pylist() == rows
    assert set(found.violations["message"].to_pylist()) <= {f"expected a UUID of version {version}"}
    assert found.rules[0].tally.unevaluated == 1


def test_a_version_needs_the_variant_that_has_versions():
    other_variant = "8a6e0804-2bd0-4672-c79d-d97027f9071a"
    assert uuid.UUID(other_variant).version is None
    assert checked(pa.array([other_variant]), version=4).violations.num_rows == 1
