"""The stream service: messages of a topic, through processors and windows of time, into sinks.

`Service` runs it on its own. Names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_pipelines.etl.service import Service

__all__ = ["Service"]

_LAZY = {"Service": "beam_pipelines.etl.service"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
