"""Data-pipeline services on Apache Beam: declared once, run anywhere, nothing lost, nothing doubled.

`Service.load(path).plan()`, `.preview()` and `.run()` are the way in from Python; `python -m beam_pipelines.etl` from a shell.
Names are loaded on first use, so that importing the package costs nothing (Beam alone takes more than a second).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_pipelines.etl.service import Service

__version__ = "0.1.0"
__all__ = ["Service", "__version__"]

_LAZY = {"Service": "beam_pipelines.etl.service"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
