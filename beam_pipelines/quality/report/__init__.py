"""What a run of rules came to, for whoever has to know: JSON for programs, JUnit's XML for a CI, one HTML file for people.

`make` is pure: a record and its history in, plain values out. Each form is made of those values alone, so all tell the same.

    from beam_pipelines.quality import report

    result = Service.load("service.yaml").run()
    report.write("quality.html", report.make(result.execution))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_pipelines.quality.report.files import write
    from beam_pipelines.quality.report.made import TREND_RUNS, Report, is_reported, make

__all__ = ["TREND_RUNS", "Report", "is_reported", "make", "write"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "files" if name == "write" else "made"
        return getattr(importlib.import_module(f"beam_pipelines.quality.report.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
