"""The quality service: the rows of a source against rules.

`Service` runs it on its own, `Quality` inside a pipeline of the user's; `CheckRows` holds the batches of such a pipeline against rules.
Names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_pipelines.engine.checking.transform import CheckRows
    from beam_pipelines.etl.service import Service
    from beam_pipelines.quality.transform import Quality

__all__ = ["CheckRows", "Quality", "Service"]

_LAZY = {
    "CheckRows": "beam_pipelines.engine.checking.transform",
    "Quality": "beam_pipelines.quality.transform",
    "Service": "beam_pipelines.etl.service",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
