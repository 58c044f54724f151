"""The batch service: the files of an object store, each to a file of its own.

`Service` runs it on its own, `Batch` inside a pipeline of the user's. Names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_pipelines.batch.transform import Batch
    from beam_pipelines.etl.service import Service

__all__ = ["Batch", "Service"]

_LAZY = {"Batch": "beam_pipelines.batch.transform", "Service": "beam_pipelines.etl.service"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
