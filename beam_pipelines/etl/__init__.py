"""The ETL service: a source through transformations into a destination, incrementally.

`Service` runs it on its own, `Etl` inside a pipeline of the user's. Names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_pipelines.etl.service import Service
    from beam_pipelines.etl.transform import Etl

__all__ = ["Etl", "Service"]

_LAZY = {"Etl": "beam_pipelines.etl.transform", "Service": "beam_pipelines.etl.service"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
