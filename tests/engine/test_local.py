"""A pipeline on this machine: what of Beam's runner is done in another way."""

from __future__ import annotations

import importlib
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.runners.worker import statecache

from beam_pipelines.engine.local import LocalRunner

# What Beam itself asks to be weighed by, which leaves the globals of all modules out.
BEAMS = {
    "get_size_func": statecache._size_func,
    "get_referents_func": statecache._get_referents_func,
    "filter_func": statecache._filter_func,
}


@pytest.mark.parametrize(
    "value",
    [
        [b"x" * 10_000, ("a", 1)],
        [pa.record_batch({"id": [1, 2, 3]})],
        {"function": importlib.import_module, "class": LocalRunner, "module": statecache},
    ],
    ids=["bytes", "batch", "code"],
)
def test_what_a_worker_caches_is_as_heavy_as_beam_says(value: Any) -> None:
    LocalRunner()
    assert statecache.get_deep_size(value) == statecache.objsize.get_deep_size(value, **BEAMS) > 0
